//! What the role path shows to others: which pod has which label, and the last failovers of each InstanceSet. Holds no
//! decision, and nothing decides by it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kbagent_protocol::Outcome;

use super::facts::PodKey;
use super::failover::Failover;
use super::trace::Election;

/// Failovers that are kept of each InstanceSet.
pub(crate) const KEPT: usize = 5;

/// A pod that is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labelled {
    /// Name of the InstanceSet.
    pub instance_set: String,
    /// Identity of this incarnation of the name.
    pub uid: String,
    /// The role label.
    pub role: Option<String>,
}

/// Namespace and name of an InstanceSet.
pub(crate) type SetKey = (String, String);

/// All of it, for as long as the pods exist and this replica runs.
#[derive(Debug, Default)]
pub(crate) struct Board {
    pods: Mutex<HashMap<PodKey, Labelled>>,
    failovers: Mutex<HashMap<SetKey, VecDeque<Failover>>>,
    /// The newest campaign that was reported of each InstanceSet.
    elections: Mutex<HashMap<SetKey, Election>>,
}

impl Board {
    /// All pods that are followed.
    pub(crate) fn pods(&self) -> Vec<(PodKey, Labelled)> {
        let pods = lock(&self.pods);
        pods.iter()
            .map(|(key, pod)| (key.clone(), pod.clone()))
            .collect()
    }

    /// The last failovers of every InstanceSet that had one, newest first.
    pub(crate) fn failovers(&self) -> HashMap<SetKey, Vec<Failover>> {
        let failovers = lock(&self.failovers);
        let newest_first = failovers.iter();
        newest_first
            .map(|(key, ring)| (key.clone(), ring.iter().rev().cloned().collect()))
            .collect()
    }

    pub(super) fn put(&self, pod: PodKey, labelled: Labelled) {
        lock(&self.pods).insert(pod, labelled);
    }

    pub(super) fn forget(&self, pod: &PodKey) {
        lock(&self.pods).remove(pod);
    }

    /// The InstanceSet has no pods any more.
    pub(super) fn forget_all(&self, set: &SetKey) {
        lock(&self.failovers).remove(set);
        lock(&self.elections).remove(set);
    }

    /// An agent's view has a campaign. Views repeat it, so the first report counts; the newest term stays, and of that
    /// the one that made a leader.
    pub(super) fn campaigned(&self, set: &SetKey, election: Election) {
        let rank = |election: &Election| {
            let campaign = election.campaign;
            (campaign.term, campaign.outcome != Outcome::Late)
        };
        let mut elections = lock(&self.elections);
        if elections.get(set).map(rank) < Some(rank(&election)) {
            elections.insert(set.clone(), election);
        }
    }

    /// The failover that ended with the leader of this term, and the newest campaign.
    pub(super) fn of_term(&self, set: &SetKey, term: u64) -> Option<(Failover, Option<Election>)> {
        let failovers = lock(&self.failovers);
        let ended = failovers.get(set)?.iter().find(|one| one.term == term)?;
        Some((ended.clone(), lock(&self.elections).get(set).cloned()))
    }

    pub(super) fn record(&self, set: &SetKey, failover: Failover) {
        let mut failovers = lock(&self.failovers);
        let ring = failovers.entry(set.clone()).or_default();
        if ring.len() >= KEPT {
            ring.pop_front();
        }
        ring.push_back(failover);
    }

    /// The service lists the leader of this term since `at`. False when no such failover is on record.
    pub(super) fn served(&self, set: &SetKey, term: u64, at: Instant) -> bool {
        let mut failovers = lock(&self.failovers);
        let ring = failovers.get_mut(set);
        if let Some(failover) = ring.and_then(|ring| ring.iter_mut().find(|one| one.term == term)) {
            failover.endpoints = Some(at.saturating_duration_since(failover.began));
            return true;
        }
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::failover::News;
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_get_their_endpoints_by_term() {
        let (board, set, began) = (
            Board::default(),
            ("n".to_owned(), "a".to_owned()),
            Instant::now(),
        );
        for term in 1..=20 {
            board.record(
                &set,
                Failover {
                    from: "a-0".into(),
                    to: "a-1".into(),
                    term,
                    news: News::Lost,
                    began,
                    unlabelled: None,
                    labelled: Duration::from_millis(50),
                    endpoints: None,
                },
            );
        }
        assert!(board.served(&set, 19, began + Duration::from_millis(70)));
        assert!(!board.served(&set, 3, began), "not kept");
        let all = board.failovers();
        let told: Vec<_> = all[&set]
            .iter()
            .map(|one| (one.term, one.endpoints))
            .collect();
        let seen = Some(Duration::from_millis(70));
        assert_eq!(
            told,
            [(20, None), (19, seen), (18, None), (17, None), (16, None)]
        );
        board.forget_all(&set);
        assert!(board.failovers().is_empty());
    }
}
