//! Applies the condition to what the watcher knows, and cuts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kbagent_protocol::{EtcdState, FencingReport, Role};
use tokio::sync::watch;

use super::condition::{Condition, Seen, Verdict, planned_grace};
use super::deposed;
use super::sockets::{Cutter, Scope};
use crate::config::Config;
use crate::watch::Knowledge;

/// Pause between two looks while something is wrong; new clients that still land here are cut as often.
const EVERY: Duration = Duration::from_millis(50);

/// What tells that a move of leadership was this member's own doing.
pub struct Planned {
    /// True while the member transfers leadership because its pod stops, and from then on.
    pub stopping: watch::Receiver<bool>,
    /// When a switchover was last begun here.
    pub moved_at: watch::Receiver<Option<Instant>>,
}

impl Planned {
    /// Whether a member that knows no leader now may have given leadership away itself.
    fn holds(&self, election_timeout: Duration) -> bool {
        let moved_at = *self.moved_at.borrow();
        let recent = moved_at.is_some_and(|at| at.elapsed() < planned_grace(election_timeout));
        *self.stopping.borrow() || recent
    }
}

/// Starts fencing; the receiver holds what it does.
#[must_use]
pub fn start(
    config: &Arc<Config>,
    knowledge: watch::Receiver<Knowledge>,
    planned: Planned,
) -> watch::Receiver<FencingReport> {
    let first = match Cutter::trial() {
        Ok(()) => FencingReport {
            supported: true,
            ..FencingReport::default()
        },
        Err(error) => {
            tracing::warn!(
                %error,
                "clients of a deposed leader cannot be cut: those that hold a connection to it wait until \
                 they time out by themselves"
            );
            let unsupported_reason = Some(error.to_string());
            FencingReport {
                unsupported_reason,
                ..FencingReport::default()
            }
        }
    };
    let supported = first.supported;
    let (report, reports) = watch::channel(first);
    if supported {
        let (newest, newest_term) = watch::channel(0);
        let fence = Fence {
            condition: Condition::new(config.election_timeout),
            cutter: Cutter::new(
                config.client_port,
                config
                    .fence_local_address
                    .map_or(Scope::SpareLoopback, Scope::To),
            ),
            report,
            newest_term,
            planned,
            election_timeout: config.election_timeout,
        };
        tokio::spawn(deposed::look(Arc::clone(config), knowledge.clone(), newest));
        tokio::spawn(fence.run(knowledge));
    }
    reports
}

struct Fence {
    condition: Condition,
    cutter: Cutter,
    report: watch::Sender<FencingReport>,
    /// Newest term in which another member was seen to lead.
    newest_term: watch::Receiver<u64>,
    planned: Planned,
    election_timeout: Duration,
}

impl Fence {
    async fn run(mut self, mut knowledge: watch::Receiver<Knowledge>) {
        loop {
            let now = Instant::now();
            let newest_term = *self.newest_term.borrow_and_update();
            let seen = seen(&knowledge.borrow_and_update(), newest_term);
            let planned = self.planned.holds(self.election_timeout);
            let verdict = self.condition.observe(seen, now, planned);
            self.set_active(verdict == Verdict::Cut, seen);
            match verdict {
                // Every change that could matter wakes: without one nothing has to be looked at.
                Verdict::Leave => {
                    let over = tokio::select! {
                        known = knowledge.changed() => known.is_err(),
                        // Without others to ask there is only the own knowledge.
                        Ok(()) = self.newest_term.changed() => false,
                    };
                    if over {
                        return;
                    }
                }
                Verdict::Wait => tokio::time::sleep(EVERY).await,
                Verdict::Cut => {
                    self.cut();
                    tokio::time::sleep(EVERY).await;
                }
            }
        }
    }

    fn set_active(&self, active: bool, seen: Seen) {
        self.report.send_if_modified(|report| {
            let changed = report.active != active;
            if changed {
                let cut = report.connections_cut;
                tracing::info!(
                    active,
                    ?seen,
                    connections_cut = cut,
                    "fencing of clients changed"
                );
            }
            report.active = active;
            changed
        });
    }

    fn cut(&self) {
        match self.cutter.cut() {
            Ok(0) => {}
            Ok(cut) => {
                tracing::info!(cut, "cut clients of a member that cannot serve them");
                let cut = u64::try_from(cut).unwrap_or(0);
                self.report
                    .send_modify(|report| report.connections_cut += cut);
            }
            Err(error) => tracing::warn!(%error, "failed to cut clients"),
        }
    }
}

fn seen(knowledge: &Knowledge, newest_term: u64) -> Seen {
    let status = knowledge.status();
    match (knowledge.etcd(), status, knowledge.answered_at()) {
        (_, Some(status), _) if status.is_learner => Seen::Learns,
        (EtcdState::Running, Some(status), _) if status.leader_id.is_none() => Seen::Leaderless,
        (EtcdState::Running, Some(status), _) if status.role() == Role::Leader => {
            if newest_term > status.term {
                Seen::Deposed
            } else {
                Seen::Leads
            }
        }
        (EtcdState::Running, _, _) => Seen::Follows,
        (EtcdState::Unreachable { refused: false, .. }, Some(status), _)
            if status.role() == Role::Leader && newest_term > status.term =>
        {
            Seen::Deposed
        }
        (EtcdState::Unreachable { refused: false, .. }, _, Some(since)) => Seen::Hangs { since },
        _ => Seen::Gone,
    }
}

#[cfg(test)]
mod planned_tests {
    use super::*;

    #[test]
    fn a_move_is_planned_from_its_begin_until_its_grace_is_over() {
        let election = Duration::from_millis(100);
        let (stopping, moved) = (watch::Sender::new(false), watch::Sender::new(None));
        let planned = Planned {
            stopping: stopping.subscribe(),
            moved_at: moved.subscribe(),
        };
        assert!(!planned.holds(election), "no transfer was requested");
        moved.send_replace(Some(Instant::now()));
        assert!(planned.holds(Duration::from_secs(100)));
        moved.send_replace(Instant::now().checked_sub(planned_grace(election)));
        assert!(!planned.holds(election), "it is over");
        stopping.send_replace(true);
        assert!(planned.holds(election), "the pod stops");
    }
}
