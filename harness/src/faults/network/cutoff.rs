//! Packet rules that are in place: the proof that they cut what they are to cut, and their end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::Mutex;

use crate::faults::network::follow::Repoint;
use crate::faults::network::installed::Rules;
use crate::faults::network::plan::Proof;
use crate::faults::network::probe::{self, Answer, Proofs};
use crate::faults::network::rules::{Count, Dropped};
use crate::faults::running::Running;
use crate::faults::switch::deadman::{self, BY_SWITCH, Healed};
use crate::faults::{Evidence, FaultError, Healing};
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// Packet rules that are in place.
pub(crate) struct Cutoff {
    rules: Arc<Rules>,
    follow: Repoint,
}

/// How long the lookups that are there anyway get to meet the rules before one is made on purpose.
const QUIET: Duration = Duration::from_millis(1500);

impl Cutoff {
    pub(crate) fn new(rules: Arc<Rules>, follow: Repoint) -> Self {
        Self { rules, follow }
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
        let limit = timeouts::EFFECT;
        let seen = wait_every(timeouts::POLL_NODES, "packets dropped", limit, async || {
            // Where pods are elsewhere by now, or something still connected, all is tried again.
            let mut tried = tried.lock().await;
            let proofs = self.rules.proofs().await;
            if proofs != tried.0 || tried.1.values().any(|answer| *answer != Answer::None) {
                let answers = self.rules.probe(&proofs).await;
                *tried = (proofs, answers);
            }
            let (asked, answers) = &*tried;
            let counts = match self.rules.counts().await {
                Ok(counts) => counts,
                Err(error) => return Poll::Failed(error),
            };
            if let Some(missing) = self.missing(asked, answers, &counts) {
                if self.rules.proof == Proof::Lookups && start.elapsed() > QUIET {
                    self.rules.look_up().await;
                }
                return Poll::NotYet(format!("{missing}; {}", describe(&counts)));
            }
            let mut evidence = describe(&counts);
            if !asked.probes.is_empty() {
                let count = asked.probes.len();
                evidence.add("connections tried", format!("{count}, none came about"));
            }
            if !asked.own.is_empty() {
                evidence.add("ways with dropped packets", asked.own.len());
            }
            Poll::Ready(evidence)
        })
        .await;
        seen.map_err(|error| FaultError::unseen(&self.rules.fault, error))
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        self.follow.stop();
        // Once more, where the pods are now: the cut must have lasted to its end.
        let proofs = self.rules.proofs().await;
        let answers = self.rules.probe(&proofs).await;
        let counts = self.rules.counts().await;
        let nodes = self.rules.installed.lock().await.nodes.clone();
        let healed = nodes.iter().map(async |(node, shell)| {
            (node.clone(), deadman::heal(shell, &self.rules.trace).await)
        });
        let healed = join_all(healed).await;
        let mut healing = match counts {
            Ok(counts) => Healing::from(describe(&counts)),
            Err(error) => Evidence::new().with("not counted", error).into(),
        };
        if self.follow.times() > 0 {
            healing.evidence.add(
                "pointed at new addresses",
                format!("{} times", self.follow.times()),
            );
        }
        for way in probe::connected(&proofs, &answers) {
            healing.doubt(format!("the cut had a hole at its end: {way} connects"));
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
