//! Counters, and the line a second that says what the clients see.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Mutex, PoisonError},
};

use crate::judge::Said;
use etcd_history::{
    Outcome,
    record::{RaftStatus, Route},
};

/// What happened since the last line, and the newest status of each member.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    inner: Mutex<Inner>,
    said: Said,
}

#[derive(Debug, Default)]
struct Inner {
    total: u64,
    routes: BTreeMap<Route, Counts>,
    members: BTreeMap<String, Option<RaftStatus>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    ok: u64,
    failed: u64,
    unknown: u64,
}

impl Progress {
    /// Counts one ended operation.
    pub(crate) fn count(&self, route: Route, outcome: &Outcome) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.total += 1;
        let counts = inner.routes.entry(route).or_default();
        match outcome {
            Outcome::Ok { .. } => counts.ok += 1,
            Outcome::Failed { .. } => counts.failed += 1,
            Outcome::Unknown { .. } => counts.unknown += 1,
        }
    }

    /// What the judge has to say.
    pub(crate) fn said(&self) -> &Said {
        &self.said
    }

    /// Keeps a member's newest status.
    pub(crate) fn member(&self, pod: &str, status: Option<&RaftStatus>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.members.insert(pod.to_owned(), status.cloned());
    }

    /// The line, and a fresh start for the counts of the next second.
    pub(crate) fn line(&self, second: u64) -> String {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = format!("{second:>4}s {:>6} ops", inner.total);
        for route in [Route::ServiceHeld, Route::ServiceFresh, Route::DialAll] {
            let counts = inner.routes.remove(&route).unwrap_or_default();
            let word = match route {
                Route::ServiceHeld => "held",
                Route::ServiceFresh => "fresh",
                Route::DialAll => "all",
                Route::Member => "member",
            };
            let Counts {
                ok,
                failed,
                unknown,
            } = counts;
            let _ = write!(line, " | {word} {ok:>3} ok");
            if failed + unknown > 0 {
                let _ = write!(line, " {failed} failed {unknown} unknown");
            }
        }
        let _ = write!(line, " | {}", leader(&inner.members));
        let silent = inner
            .members
            .values()
            .filter(|status| status.is_none())
            .count();
        if silent > 0 {
            let _ = write!(line, ", {silent} of {} silent", inner.members.len());
        }
        line
    }
}

/// The leader that the member with the highest term names.
fn leader(members: &BTreeMap<String, Option<RaftStatus>>) -> String {
    let newest = members.values().flatten().max_by_key(|status| status.term);
    let Some(status) = newest else {
        return "no member answers".to_owned();
    };
    let pod = members
        .iter()
        .find(|(_, s)| {
            s.as_ref()
                .is_some_and(|s| Some(&s.member) == status.leader.as_ref())
        })
        .map(|(pod, _)| pod.as_str());
    match (pod, &status.leader) {
        (Some(pod), _) => format!("term {} leader {pod}", status.term),
        (None, Some(id)) => format!("term {} leader {id} (silent)", status.term),
        (None, None) => format!("term {} no leader", status.term),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(member: &str, leader: Option<&str>, term: u64) -> RaftStatus {
        RaftStatus {
            cluster: "c".into(),
            member: member.into(),
            leader: leader.map(str::to_owned),
            term,
            raft_index: 1,
            applied_index: 1,
            revision: 1,
            learner: false,
        }
    }

    #[test]
    fn the_newest_term_names_the_leader() {
        let progress = Progress::default();
        progress.member("a-0", Some(&status("10", Some("10"), 4)));
        progress.member("a-1", Some(&status("11", Some("11"), 5)));
        progress.member("a-2", None);
        let line = progress.line(3);
        assert!(line.contains("term 5 leader a-1"), "{line}");
        assert!(line.contains("1 of 3 silent"), "{line}");
    }

    #[test]
    fn counts_start_anew_with_every_line() {
        let progress = Progress::default();
        let failed = Outcome::Failed {
            class: "no_leader".into(),
            message: String::new(),
        };
        progress.count(Route::ServiceHeld, &failed);
        assert!(progress.line(1).contains("held   0 ok 1 failed 0 unknown"));
        let next = progress.line(2);
        assert!(!next.contains("failed") && next.contains("1 ops"), "{next}");
    }
}
