//! The newest view of every agent, shared with the reconciler and /metrics.
//!
//! The one place that is written by the streams and read by others. Holds no decision; a view's age is kept
//! beside it, so that a reader can tell fresh from stale.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kbagent_protocol::{EtcdState, MemberView};
use tokio::sync::broadcast;

use super::facts::PodKey;

/// An InstanceSet whose members' state has changed in a way that its reconciler cares for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Namespace.
    pub namespace: String,
    /// Name of the InstanceSet.
    pub instance_set: String,
}

/// A view and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The view.
    pub view: MemberView,
    /// When the operator got it.
    pub at: Instant,
    /// True when the agent has become silent.
    pub silent: bool,
}

impl Seen {
    /// Time since the agent's last report.
    pub(crate) fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

/// Reconcilers pause this long after an election, so that labels, endpoints and proxies are updated first.
const SETTLE: Duration = Duration::from_millis(300);
/// Longest pause of reconcilers when elections repeat.
const PATIENCE: Duration = Duration::from_secs(1);

/// Elections of one InstanceSet in a row, each within [`SETTLE`] of the one before.
#[derive(Clone, Copy, Debug)]
struct Elections {
    /// Newest term that had a leader.
    term: u64,
    /// First and last of the row; none before a leader was ever replaced.
    row: Option<(Instant, Instant)>,
}

impl Elections {
    /// A leader of this term was reported.
    fn heard(&mut self, term: u64, now: Instant) {
        if term <= self.term {
            return;
        }
        self.term = term;
        let first = match self.row {
            Some((first, last)) if now.saturating_duration_since(last) < SETTLE => first,
            _ => now,
        };
        self.row = Some((first, now));
    }

    fn settled_at(&self) -> Option<Instant> {
        self.row
            .map(|(first, last)| (last + SETTLE).min(first + PATIENCE))
    }
}

/// All views by pod.
#[derive(Debug)]
pub(crate) struct MemberStore {
    seen: Mutex<HashMap<PodKey, Seen>>,
    elections: Mutex<HashMap<(String, String), Elections>>,
    changed: broadcast::Sender<Changed>,
}

/// Changes that a reconciler may be behind. One that is further behind looks at everything again by itself.
const BACKLOG: usize = 4096;

impl Default for MemberStore {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            elections: Mutex::default(),
            changed: broadcast::Sender::new(BACKLOG),
        }
    }
}

impl MemberStore {
    /// The changes from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changed.subscribe()
    }

    /// The newest view of the pod with this UID.
    pub(crate) fn of(&self, pod: &PodKey, uid: &str) -> Option<Seen> {
        self.lock()
            .get(pod)
            .filter(|seen| seen.view.pod_uid == uid)
            .cloned()
    }

    /// Time until an InstanceSet has settled after an election; none when it has.
    pub(crate) fn settling(&self, namespace: &str, instance_set: &str) -> Option<Duration> {
        let key = (namespace.to_owned(), instance_set.to_owned());
        let settled_at = self.elections().get(&key)?.settled_at()?;
        let rest = settled_at.saturating_duration_since(Instant::now());
        (!rest.is_zero()).then_some(rest)
    }

    pub(super) fn put(&self, pod: &PodKey, instance_set: &str, view: &MemberView) {
        let seen = Seen {
            view: view.clone(),
            at: Instant::now(),
            silent: false,
        };
        let before = self.lock().insert(pod.clone(), seen);
        self.note_leader(pod, instance_set, view);
        let matters = before.is_none_or(|before| before.silent || differs(&before.view, view));
        if matters {
            self.notify(pod, instance_set);
        }
    }

    pub(super) fn silence(&self, pod: &PodKey, instance_set: &str) {
        let newly = match self.lock().get_mut(pod) {
            Some(seen) if !seen.silent => {
                seen.silent = true;
                true
            }
            Some(_) | None => false,
        };
        if newly {
            self.notify(pod, instance_set);
        }
    }

    pub(super) fn forget(&self, pod: &PodKey) {
        self.lock().remove(pod);
    }

    /// The InstanceSet has no pods any more.
    pub(super) fn forget_all(&self, namespace: &str, instance_set: &str) {
        let key = (namespace.to_owned(), instance_set.to_owned());
        self.elections().remove(&key);
    }

    fn note_leader(&self, pod: &PodKey, instance_set: &str, view: &MemberView) {
        let status = view.status.as_ref();
        let led = status.filter(|status| status.leader_id.is_some());
        let Some(term) = led.map(|status| status.term) else {
            return;
        };
        let key = (pod.namespace.clone(), instance_set.to_owned());
        let first = Elections { term, row: None };
        self.elections()
            .entry(key)
            .or_insert(first)
            .heard(term, Instant::now());
    }

    fn notify(&self, pod: &PodKey, instance_set: &str) {
        let (namespace, instance_set) = (pod.namespace.clone(), instance_set.to_owned());
        // A replica without the lease has no reconciler that needs to know.
        let _unheard = self.changed.send(Changed {
            namespace,
            instance_set,
        });
    }

    fn elections(&self) -> MutexGuard<'_, HashMap<(String, String), Elections>> {
        self.elections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PodKey, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a reconciler would decide otherwise. Indexes and sizes move with every write of a client: who waits
/// for them looks again by itself.
fn differs(before: &MemberView, now: &MemberView) -> bool {
    let word = |view: &MemberView| match &view.etcd {
        EtcdState::Running => String::from("running"),
        EtcdState::Starting { .. } => String::from("starting"),
        EtcdState::Unreachable { refused, .. } => format!("unreachable {refused}"),
        EtcdState::Refused { code, .. } => format!("refused {code}"),
    };
    let identity = |view: &MemberView| {
        view.status.as_ref().map(|status| {
            let roles = (status.leader_id, status.term, status.is_learner);
            (
                status.member_id,
                status.cluster_id,
                roles,
                status.version.clone(),
                status.alarms.clone(),
            )
        })
    };
    let shrunk = |view: &MemberView| view.status.as_ref().map(|status| status.db_size_bytes);
    before.pod_uid != now.pod_uid
        || (&before.under_way, &before.care) != (&now.under_way, &now.care)
        || before.accounts != now.accounts
        // They go to status as they are, and an operation may wait for them there.
        || before.v2_store != now.v2_store
        || before.file_system_bytes != now.file_system_bytes
        || shrunk(now) < shrunk(before)
        || word(before) != word(now)
        || identity(before) != identity(now)
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::V2Store;

    use super::super::test_support::running;
    use super::*;

    fn key() -> PodKey {
        PodKey {
            namespace: "demo".into(),
            name: "a-0".into(),
        }
    }

    #[test]
    fn an_index_that_moves_wakes_nobody_and_a_new_term_does() {
        let store = MemberStore::default();
        let mut changes = store.changes();
        let mut view = running("a-0", "u0", 1, Some("a-0"), 3);
        store.put(&key(), "a", &view);
        assert!(changes.try_recv().is_ok(), "a first view is news");
        if let Some(status) = view.status.as_mut() {
            status.raft_index += 100;
        }
        store.put(&key(), "a", &view);
        assert!(changes.try_recv().is_err(), "an index is no news");
        view.under_way = Some("udf-defragment".into());
        store.put(&key(), "a", &view);
        assert!(changes.try_recv().is_ok(), "a long action is news");
        if let Some(status) = view.status.as_mut() {
            status.term += 1;
        }
        store.put(&key(), "a", &view);
        assert!(changes.try_recv().is_ok(), "a term is news");
    }

    #[test]
    fn what_goes_to_status_as_it_is_told_wakes_the_reconciler() {
        let store = MemberStore::default();
        let mut changes = store.changes();
        let mut view = running("a-0", "u0", 1, Some("a-0"), 3);
        let mut is_news = |view: &MemberView| {
            store.put(&key(), "a", view);
            let news = changes.try_recv().is_ok();
            store.put(&key(), "a", view);
            assert!(changes.try_recv().is_err(), "it is no news twice");
            news
        };
        assert!(is_news(&view));
        view.v2_store = Some(V2Store {
            clean: Some(true),
            message: None,
        });
        assert!(is_news(&view), "an upgrade waits for it");
        view.file_system_bytes = Some(1 << 30);
        assert!(is_news(&view), "an expansion waits for it");
    }

    #[test]
    fn after_an_election_others_wait_but_not_for_ever() {
        let store = MemberStore::default();
        store.put(&key(), "a", &running("a-0", "u0", 1, Some("a-0"), 3));
        assert_eq!(store.settling("demo", "a"), None, "a first view is none");
        store.put(&key(), "a", &running("a-0", "u0", 1, Some("a-0"), 4));
        let rest = store.settling("demo", "a");
        assert!(rest.is_some_and(|rest| rest <= SETTLE), "{rest:?}");
        assert_eq!(store.settling("demo", "b"), None, "another's election");

        store.forget_all("demo", "a");
        assert_eq!(store.settling("demo", "a"), None, "nothing is left of it");

        let start = Instant::now();
        let mut elections = Elections { term: 1, row: None };
        for step in 1..=20 {
            elections.heard(1 + u64::from(step), start + SETTLE / 2 * step);
        }
        let first = start + SETTLE / 2;
        assert_eq!(elections.settled_at(), Some(first + PATIENCE));
        let later = start + SETTLE * 20;
        elections.heard(3, later);
        assert_eq!(
            elections.settled_at(),
            Some(first + PATIENCE),
            "an old term"
        );
        elections.heard(30, later);
        assert_eq!(elections.settled_at(), Some(later + SETTLE));
    }

    #[test]
    fn a_view_of_another_incarnation_is_not_given_out() {
        let store = MemberStore::default();
        store.put(&key(), "a", &running("a-0", "u0", 1, Some("a-0"), 3));
        assert!(store.of(&key(), "u0").is_some());
        assert!(store.of(&key(), "u1").is_none());
    }
}
