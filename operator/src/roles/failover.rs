//! One failover, put together from what one replica sees of it. PURE: the caller brings the time.
//!
//! It begins with the first news that the labelled leader's term is over and ends when the leader of a later term is
//! labelled, by whichever replica. So every replica has the whole record, by its own clock.

use std::time::{Duration, Instant};

use super::facts::PodFacts;
use super::knowledge::{AgentReports, Heard};

/// What was seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The old leader's agent said that it leads no longer or that its etcd is gone, or its pod is gone.
    Lost,
    /// A member reported the leader of a later term.
    Elected,
    /// The label had changed already: another replica was sooner.
    Label,
}

/// A leader that was replaced, or elected again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failover {
    /// The pod that was labelled leader.
    pub from: String,
    /// The pod that is.
    pub to: String,
    /// The term of `to`.
    pub term: u64,
    /// What was seen first.
    pub news: News,
    /// When it was seen.
    pub began: Instant,
    /// From then until no pod had the old label. None when it was seen at once with the new one.
    pub unlabelled: Option<Duration>,
    /// From then until `to` was labelled.
    pub labelled: Duration,
    /// From then until the service listed `to`. None when this replica did not write the label, or did not see it.
    pub endpoints: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Led {
    pod: String,
    uid: String,
    term: u64,
}

impl Led {
    fn of(pod: &PodFacts) -> Self {
        Self {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            term: pod.term.unwrap_or(0),
        }
    }
}

#[derive(Clone, Debug)]
struct Open {
    news: News,
    began: Instant,
    unlabelled: Option<Instant>,
}

/// Follows the label of one InstanceSet.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    led: Option<Led>,
    open: Option<Open>,
}

impl Tracker {
    /// Takes in what is labelled and known now. Returns the failover that has just ended.
    pub(super) fn look(
        &mut self,
        now: Instant,
        pods: &[PodFacts],
        knowledge: &AgentReports,
    ) -> Option<Failover> {
        let labelled = pods
            .iter()
            .filter(|pod| pod.is_labelled_leader())
            .max_by_key(|pod| pod.term);
        let Some(led) = &self.led else {
            self.led = labelled.map(Led::of);
            return None;
        };
        let Some(news) = news(led, labelled, pods, knowledge) else {
            // What was reported was not confirmed: the same leader, the same term.
            self.open = None;
            return None;
        };
        let open = self.open.get_or_insert(Open {
            news,
            began: now,
            unlabelled: None,
        });
        let Some(labelled) = labelled else {
            open.unlabelled.get_or_insert(now);
            return None;
        };
        let next = Led::of(labelled);
        if next.term <= led.term {
            return None;
        }
        let failover = Failover {
            from: led.pod.clone(),
            to: next.pod.clone(),
            term: next.term,
            news: open.news,
            began: open.began,
            unlabelled: open.unlabelled.map(|at| at - open.began),
            labelled: now - open.began,
            endpoints: None,
        };
        (self.led, self.open) = (Some(next), None);
        Some(failover)
    }
}

/// Why the term of the labelled leader is over; none while it is not known to be.
fn news(
    led: &Led,
    labelled: Option<&PodFacts>,
    pods: &[PodFacts],
    knowledge: &AgentReports,
) -> Option<News> {
    let gone = !pods.iter().any(|pod| pod.uid == led.uid);
    let last = knowledge.of(&led.pod, &led.uid);
    if gone
        || knowledge.has_lost(&led.uid, led.term)
        || last.is_some_and(|last: &Heard| last.went_at(led.term))
    {
        return Some(News::Lost);
    }
    let elected = knowledge.leader(led.term, pods.len() == 1);
    if elected.is_some_and(|leader| leader.term > led.term) {
        return Some(News::Elected);
    }
    let still = labelled.is_some_and(|pod| pod.uid == led.uid && pod.term == Some(led.term));
    (!still).then_some(News::Label)
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::EtcdState;

    use super::super::test_support::running;
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    fn pod(name: &str, leads: bool, term: u64) -> PodFacts {
        PodFacts {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            resource_version: "1".to_owned(),
            role: Some(if leads { "leader" } else { "follower" }.to_owned()),
            term: Some(term),
            fence: None,
        }
    }

    fn pods(leader: Option<&str>, term: u64) -> Vec<PodFacts> {
        ["a-0", "a-1"]
            .map(|name| pod(name, leader == Some(name), term))
            .to_vec()
    }

    fn known(leader: &str, term: u64) -> AgentReports {
        let mut knowledge = AgentReports::default();
        for (sequence, name) in [(1, "a-0"), (2, "a-1")] {
            knowledge.hear(running(
                name,
                &format!("uid-{name}"),
                sequence,
                Some(leader),
                term,
            ));
        }
        knowledge
    }

    /// A leader whose etcd is gone.
    fn dead(knowledge: &AgentReports) -> AgentReports {
        let mut knowledge = knowledge.clone();
        let mut view = running("a-0", "uid-a-0", 9, Some("a-0"), 2);
        view.etcd = EtcdState::Unreachable {
            reason: "refused".into(),
            refused: true,
        };
        knowledge.hear(view);
        knowledge
    }

    #[test]
    fn a_crash_is_timed_from_the_news_to_the_new_label() {
        let start = Instant::now();
        let mut tracker = Tracker::default();
        let alive = known("a-0", 2);
        assert_eq!(tracker.look(start, &pods(Some("a-0"), 2), &alive), None);
        let dead = dead(&alive);
        assert_eq!(
            tracker.look(start + STEP, &pods(Some("a-0"), 2), &dead),
            None
        );
        assert_eq!(tracker.look(start + STEP * 3, &pods(None, 2), &dead), None);
        assert_eq!(tracker.look(start + STEP * 4, &pods(None, 2), &dead), None);
        let ended = tracker.look(start + STEP * 8, &pods(Some("a-1"), 3), &known("a-1", 3));
        let expected = Failover {
            from: "a-0".into(),
            to: "a-1".into(),
            term: 3,
            news: News::Lost,
            began: start + STEP,
            unlabelled: Some(STEP * 2),
            labelled: STEP * 7,
            endpoints: None,
        };
        assert_eq!(ended, Some(expected));
        let again = tracker.look(start + STEP * 9, &pods(Some("a-1"), 3), &known("a-1", 3));
        assert_eq!(again, None, "it is recorded once");
    }

    #[test]
    fn what_was_seen_first_is_named() {
        let start = Instant::now();
        let first = |labels: &[PodFacts], knowledge: &AgentReports| {
            let mut tracker = Tracker::default();
            tracker.look(start, &pods(Some("a-0"), 2), &known("a-0", 2));
            tracker.look(start + STEP, labels, knowledge);
            let ended = tracker.look(start + STEP * 2, &pods(Some("a-1"), 3), &known("a-1", 3));
            ended.map(|ended| (ended.news, ended.labelled))
        };
        let still = pods(Some("a-0"), 2);
        assert_eq!(first(&still, &known("a-1", 3)), Some((News::Elected, STEP)));
        assert_eq!(
            first(&pods(None, 2), &known("a-0", 2)),
            Some((News::Label, STEP))
        );
        let gone = vec![pod("a-1", false, 2)];
        assert_eq!(first(&gone, &known("a-0", 2)), Some((News::Lost, STEP)));
    }

    #[test]
    fn a_leader_that_is_elected_again_is_one_too_and_a_first_label_is_none() {
        let start = Instant::now();
        let mut tracker = Tracker::default();
        assert_eq!(
            tracker.look(start, &pods(None, 1), &AgentReports::default()),
            None
        );
        let first = tracker.look(start, &pods(Some("a-0"), 2), &known("a-0", 2));
        assert_eq!(first, None, "formation");
        let again = tracker.look(start + STEP, &pods(Some("a-0"), 4), &known("a-0", 4));
        assert_eq!(
            again.map(|it| (it.from, it.to, it.term)),
            Some(("a-0".into(), "a-0".into(), 4))
        );
    }

    #[test]
    fn news_that_is_taken_back_does_not_lengthen_the_next_failover() {
        let start = Instant::now();
        let mut tracker = Tracker::default();
        let (labels, alive) = (pods(Some("a-0"), 2), known("a-0", 2));
        tracker.look(start, &labels, &alive);
        tracker.look(start + STEP, &labels, &known("a-1", 3));
        tracker.look(start + STEP * 2, &labels, &alive);
        tracker.look(start + STEP * 100, &labels, &known("a-1", 3));
        let ended = tracker.look(start + STEP * 101, &pods(Some("a-1"), 3), &known("a-1", 3));
        assert_eq!(ended.map(|ended| ended.labelled), Some(STEP));
    }
}
