//! Packet rules that are in place: the proof that they cut what they are to cut, and their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::faults::network::follow::Repoint;
use crate::faults::network::installed::Rules;
use crate::faults::network::plan::Proof;
use crate::faults::network::probe::{self, Answer, Proofs};
use crate::faults::network::rules::{Count, Dropped};
use crate::faults::running::Running;
use crate::faults::seen::until_seen_at;
use crate::faults::switch::deadman::{self, BY_SWITCH, Healed};
use crate::faults::{Evidence, FaultError, Healing};
use crate::timeouts;
use crate::wait::pause;

/// Packet rules that are in place.
pub(crate) struct Cutoff {
    rules: Arc<Rules>,
    follow: Repoint,
}

/// How long the lookups that are there anyway get to meet the rules before one is made on purpose.
const QUIET: Duration = Duration::from_millis(1500);

/// How often what could not be looked at before the end is looked at again at least: a busy Docker refuses a command,
/// or takes most of the time that one gets.
const LOOKS: u32 = 3;

/// What is seen of a cut before its end.
struct LastLook {
    proofs: Proofs,
    answers: BTreeMap<usize, Answer>,
    counts: Result<BTreeMap<String, Option<Count>>, FaultError>,
}

impl LastLook {
    /// Why the cut did not last to its end, or why that is not known.
    fn doubts(&self) -> Vec<String> {
        let unknown = "it is not known whether the cut lasted to its end";
        let mut doubts = Vec::new();
        for way in probe::connected(&self.proofs, &self.answers) {
            doubts.push(format!("the cut had a hole at its end: {way} connects"));
        }
        for way in probe::untried(&self.proofs, &self.answers) {
            doubts.push(format!("{unknown}: {way} could not be tried"));
        }
        match &self.counts {
            Err(error) => doubts.push(format!("{unknown}: no packets counted: {error}")),
            Ok(counts) => {
                let without = counts.iter().filter(|(_, count)| count.is_none());
                doubts.extend(without.map(|(node, _)| format!("{unknown}: no rules in {node}")));
            }
        }
        doubts
    }

    /// Nothing of it may be another the next time.
    fn is_final(&self) -> bool {
        let untried = probe::untried(&self.proofs, &self.answers);
        let holes = probe::connected(&self.proofs, &self.answers);
        !holes.is_empty() || untried.is_empty() && self.counts.is_ok()
    }
}

impl Cutoff {
    pub(crate) fn new(rules: Arc<Rules>, follow: Repoint) -> Self {
        Self { rules, follow }
    }

    /// All connections once more, where the pods are now.
    async fn last_look(&self) -> LastLook {
        looked(async || {
            let proofs = self.rules.proofs().await;
            let (answers, counts) = tokio::join!(self.rules.probe(&proofs), self.rules.counts());
            LastLook {
                proofs,
                answers,
                counts,
            }
        })
        .await
    }

    fn missing(
        &self,
        proofs: &Proofs,
        answers: &BTreeMap<usize, Answer>,
        counts: &BTreeMap<String, Option<Count>>,
    ) -> Option<String> {
        let mut dropped = Dropped::default();
        for (node, count) in counts {
            let Some(count) = count else {
                return Some(format!("no rules in {node}"));
            };
            if matches!(self.rules.proof, Proof::Any | Proof::Lookups) && count.dropped == 0 {
                return Some(format!("no packet dropped in {node}"));
            }
            dropped.add(count.ways.clone());
        }
        probe::missing(proofs, answers, &dropped)
    }
}

/// Looks until nothing may be another the next time: as long as an effect is waited for, and [`LOOKS`] times at least.
async fn looked<F: Future<Output = LastLook>>(mut look: impl FnMut() -> F) -> LastLook {
    let begun = Instant::now();
    let mut looks = 0;
    loop {
        let seen = look().await;
        looks += 1;
        if seen.is_final() || (looks >= LOOKS && begun.elapsed() >= timeouts::EFFECT) {
            return seen;
        }
        pause(timeouts::POLL_NODES).await;
    }
}

fn describe(counts: &BTreeMap<String, Option<Count>>) -> Evidence {
    let mut evidence = Evidence::new();
    for (node, count) in counts {
        let text = match count {
            None => "no rules".to_owned(),
            Some(count) if count.seen == count.dropped => {
                format!("{} packets dropped", count.dropped)
            }
            Some(count) => format!("{} of {} packets dropped", count.dropped, count.seen),
        };
        evidence.add(node.clone(), text);
    }
    evidence
}

impl Running for Cutoff {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let start = Instant::now();
        let tried = Mutex::new((Proofs::default(), BTreeMap::new()));
        let pace = (timeouts::POLL_NODES, timeouts::EFFECT);
        let what = (self.rules.fault.as_str(), "packets dropped");
        until_seen_at(pace, what, async || {
            // Where pods are elsewhere by now, or something still connected, all is tried again.
            let mut tried = tried.lock().await;
            let proofs = self.rules.proofs().await;
            if proofs != tried.0 || tried.1.values().any(|answer| *answer != Answer::None) {
                let answers = self.rules.probe(&proofs).await;
                *tried = (proofs, answers);
            }
            let (asked, answers) = &*tried;
            let counts = self.rules.counts().await?;
            if let Some(missing) = self.missing(asked, answers, &counts) {
                if self.rules.proof == Proof::Lookups && start.elapsed() > QUIET {
                    self.rules.look_up().await;
                }
                return Ok(Err(format!("{missing}; {}", describe(&counts))));
            }
            let mut evidence = describe(&counts);
            if !asked.probes.is_empty() {
                let count = asked.probes.len();
                evidence.add("connections tried", format!("{count}, none came about"));
            }
            if !asked.own.is_empty() {
                evidence.add("ways with dropped packets", asked.own.len());
            }
            Ok(Ok(evidence))
        })
        .await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        // The cut must have lasted to its end.
        let look = self.last_look().await;
        self.follow.stop();
        let nodes = self.rules.installed.lock().await.nodes.clone();
        let healed = nodes.iter().map(async |(node, shell)| {
            (node.clone(), deadman::heal(shell, &self.rules.trace).await)
        });
        let healed = join_all(healed).await;
        let mut healing = match &look.counts {
            Ok(counts) => Healing::from(describe(counts)),
            Err(error) => Evidence::new().with("not counted", error).into(),
        };
        if self.follow.times() > 0 {
            healing.evidence.add(
                "pointed at new addresses",
                format!("{} times", self.follow.times()),
            );
        }
        let answers = look.answers.values();
        let gone = answers.filter(|answer| **answer == Answer::Gone).count();
        if gone > 0 {
            let what = "connections of pods that are gone";
            healing.evidence.add(what, gone);
        }
        for doubt in look.doubts() {
            healing.doubt(doubt);
        }
        for error in self.follow.failures() {
            healing.doubt(format!("the cut had a hole after a pod had moved: {error}"));
        }
        for (node, healed) in healed {
            if healed? == Healed::ByTimer {
                let by = format!("{BY_SWITCH} or the node's restart");
                healing.early(format!("the rules in {node}"), &by);
            }
        }
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for (node, shell) in &self.rules.installed.lock().await.nodes {
            if self.rules.count(shell).await?.is_some() {
                return Ok(Some(format!(
                    "packet rules {} in node {node}",
                    self.rules.trace
                )));
            }
            if let Some(left) = deadman::residue(shell, &self.rules.trace).await? {
                return Ok(Some(left));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::faults::network::probe::Probe;

    /// A cut of one way by rules in one node, seen to last to its end.
    fn lasted() -> LastLook {
        let at = |last| Ipv4Addr::new(10, 244, 1, last);
        let way = (at(2), at(3));
        let probe = Probe {
            node: "worker".to_owned(),
            uid: "uid".to_owned(),
            way,
            port: 2380,
            drops: way,
        };
        let count = Count {
            seen: 7,
            dropped: 7,
            ways: Dropped::default(),
        };
        LastLook {
            proofs: Proofs {
                probes: vec![probe],
                ..Proofs::default()
            },
            answers: [(0, Answer::None)].into(),
            counts: Ok([("worker".to_owned(), Some(count))].into()),
        }
    }

    /// The doubts of a cut that differs from one that lasted, and whether it is looked at again.
    fn doubts(change: impl FnOnce(&mut LastLook)) -> (Vec<String>, bool) {
        let mut look = lasted();
        change(&mut look);
        (look.doubts(), !look.is_final())
    }

    #[test]
    fn a_cut_that_was_seen_to_last_has_no_doubt() {
        assert_eq!(doubts(|_| ()), (vec![], false));
        let gone = |look: &mut LastLook| look.answers = [(0, Answer::Gone)].into();
        assert_eq!(doubts(gone), (vec![], false));
    }

    #[test]
    fn an_end_that_could_not_be_looked_at_is_a_doubt_and_looked_at_again() {
        let told = "it is not known whether the cut lasted to its end: \
                    10.244.1.2 -> 10.244.1.3:2380 could not be tried";
        let silent = doubts(|look| look.answers.clear());
        assert_eq!(silent, (vec![told.to_owned()], true));
        let failed = doubts(|look| look.answers = [(0, Answer::Unknown)].into());
        assert_eq!(failed, (vec![told.to_owned()], true));
        let uncounted = Err(FaultError::find("rules", "the node does not answer"));
        let (told, again) = doubts(|look| look.counts = uncounted);
        assert!(told[0].contains("the node does not answer"), "{told:?}");
        assert_eq!((told.len(), again), (1, true));
    }

    /// The last look where each takes so long and one of these numbers is the first that sees something: what was seen,
    /// how many looks there were, and how long they took.
    async fn looks(each: Duration, sees: u32) -> (bool, u32, Duration) {
        let (begun, made) = (Instant::now(), std::cell::Cell::new(0));
        let last = looked(async || {
            pause(each).await;
            made.set(made.get() + 1);
            let mut look = lasted();
            if made.get() < sees {
                look.answers.clear();
            }
            look
        });
        let last = last.await;
        (last.doubts().is_empty(), made.get(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_slow_gets_three_looks_at_the_end_and_a_quick_one_a_minute() {
        let slow = Duration::from_secs(22);
        let (seen, made, _) = looks(slow, 3).await;
        assert!(seen && made == 3, "two failed, the third one saw it");
        let (seen, made, took) = looks(slow, u32::MAX).await;
        assert!(!seen && made == 3, "{made} looks");
        assert!(
            took >= timeouts::EFFECT && took < timeouts::DEAD_MAN,
            "{took:?}"
        );
        let (seen, made, took) = looks(Duration::from_millis(100), 20).await;
        assert!(seen && made == 20, "a Docker that refuses for {took:?}");
        let (seen, _, took) = looks(Duration::from_millis(100), u32::MAX).await;
        assert!(
            !seen && took < timeouts::EFFECT + Duration::from_secs(1),
            "{took:?}"
        );
        let (seen, made, _) = looks(slow, 1).await;
        assert!(seen && made == 1, "what was seen is not looked at again");
    }

    #[test]
    fn a_hole_and_rules_that_are_gone_are_doubts_at_once() {
        let (told, again) = doubts(|look| look.answers = [(0, Answer::Some)].into());
        assert!(told[0].contains("10.244.1.3:2380 connects"), "{told:?}");
        assert_eq!((told.len(), again), (1, false));
        let (told, again) = doubts(|look| look.counts = Ok([("worker".to_owned(), None)].into()));
        assert!(told[0].contains("no rules in worker"), "{told:?}");
        assert_eq!((told.len(), again), (1, false));
    }
}
