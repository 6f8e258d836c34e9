//! Known bugs of etcd that its ordinary binaries show, each as a plan: traffic, faults, the checks that find it, a
//! version that has it and one that does not. They measure the harness: what it no longer finds, it has lost.

use std::time::Duration;

use crate::bare::compactions::{self, Known};
use crate::bare::plan::{BarePlan, Hunt, made_by};
use crate::faults::{Container, Direction, Disturbance, Fault, Selector, Unsynced};
use crate::scenario::{Event, Origin, Plan, Promise, Scenario};

/// How many times its budget a bug is looked for in the version that has it, and how long at least: a machine that
/// stalls or is slow shows it later.
const PATIENCE: u32 = 4;
const PATIENCE_LEAST: Duration = Duration::from_secs(60);

/// A known bug.
#[derive(Clone, Debug)]
pub struct Bug {
    /// Number of the issue at github.com/etcd-io/etcd; a word for what is no issue.
    pub name: &'static str,
    /// How it is provoked, in few words.
    pub how: &'static str,
    /// A version that has it; what is behind a `+` are flags that are switched on.
    pub affected: &'static str,
    /// A version that does not.
    pub fixed: &'static str,
    /// Within which time under load it is shown on a machine that is not busy.
    pub budget: Duration,
    /// The checks that show it.
    pub checks: &'static [&'static str],
    /// A part of the panic or the error with which a member ends that shows it, or of the panic's stack.
    pub panic: Option<&'static str>,
    scenario: Scenario,
}

/// All that there is a plan for.
pub fn all() -> Vec<Bug> {
    let mut all = vec![
        compacted_txn(),
        early_progress(),
        watch_after_snapshot(),
        future_watch(),
        negative_watch(),
        lost_delete(),
        forgotten_delete(),
        skipped_entry(),
        stale_read(),
        read_without_client(),
        forgotten_user(),
        early_answer(),
        killed_in_defrag(),
        rolled_back(),
        unpromoted(),
        no_fsync(),
    ];
    all.extend(compactions::all().into_iter().map(Bug::of));
    all
}

/// The bug with this name.
pub fn find(name: &str) -> Option<Bug> {
    all().into_iter().find(|bug| bug.name == name)
}

/// A bug's name as people write it.
pub fn title(name: &str) -> String {
    match name.parse::<u32>() {
        Ok(number) => format!("#{number}"),
        Err(_) => name.to_owned(),
    }
}

/// Where a bug is described, as the documents link it.
pub(super) fn link(name: &str) -> String {
    match name.parse::<u32>() {
        Ok(number) => format!("https://github.com/etcd-io/etcd/issues/{number}"),
        Err(_) => "#what-is-no-bug".to_owned(),
    }
}

impl Bug {
    fn of(known: Known) -> Self {
        Self {
            name: known.name,
            how: known.how,
            affected: known.affected,
            fixed: known.fixed,
            budget: known.budget,
            checks: known.checks,
            panic: None,
            scenario: known.scenario,
        }
    }

    /// What it does, in a sentence.
    pub fn story(&self) -> &'static str {
        self.scenario.story
    }

    /// The images of the version that has it, and of the one that does not where that is run too.
    pub(crate) fn images(&self, clean: bool) -> Vec<String> {
        let fixed = clean.then_some(self.fixed);
        let versions = [self.affected].into_iter().chain(fixed);
        let mut images: Vec<String> = versions
            .flat_map(|version| self.plan(version, 0).images())
            .collect();
        images.dedup();
        images
    }

    /// The command that makes them all.
    pub(crate) fn images_by(&self) -> String {
        made_by(&self.images(true))
    }

    /// How long it is looked for in a version: for its budget, and for much longer in the one that has it. That it is
    /// there is claimed, not how soon a machine shows it.
    fn limit(&self, version: &str) -> Duration {
        if version == self.affected {
            (self.budget * PATIENCE).max(PATIENCE_LEAST)
        } else {
            self.budget
        }
    }

    /// A run that looks for it in a version. Where members change their version, and none is named behind a colon, the
    /// later one is that of the bug.
    pub fn plan(&self, version: &str, seed: u64) -> BarePlan {
        let (plain, flags) = version.split_at(version.find('+').unwrap_or(version.len()));
        let later = match (plain.contains(':'), self.affected.split_once(':')) {
            (false, Some((_, later))) => format!(":{later}"),
            _ => String::new(),
        };
        let version = format!("{plain}{later}{flags}");
        let members = self.scenario.members.first().copied().unwrap_or(3);
        BarePlan {
            plan: Plan {
                scenario: self.scenario.clone(),
                members,
                seed,
            },
            version: version.clone(),
            hunt: Some(Hunt {
                bug: self.name,
                limit: self.limit(&version),
                checks: self.checks,
                panic: self.panic,
            }),
        }
    }
}

fn compacted_txn() -> Bug {
    Bug {
        name: "18667",
        how: "400 operations a second, some a transaction of a put and a read at a compacted revision; no fault",
        affected: "v3.6.16",
        fixed: "v3.7.3",
        budget: Duration::from_secs(1),
        checks: &["linearizable", "watch", "durability", "agreement", "raft"],
        panic: None,
        scenario: Scenario::faults(
            "bug::18667",
            "A transaction that is refused because it reads what is compacted is applied by the other members.",
            [],
        )
        .once()
        .warm_up_ms(0)
        .lasts(1)
        .operations_s(400)
        .compacted_txns(),
    }
}

fn early_progress() -> Bug {
    Bug {
        name: "15220",
        how: "400 operations a second, every watch asked for its progress every 5 ms; no fault",
        affected: "v3.5.7",
        fixed: "v3.5.9",
        budget: Duration::from_secs(60),
        checks: &["watch"],
        panic: None,
        scenario: Scenario::faults(
            "bug::15220",
            "A watch that is asked for its progress promises a revision whose events are still to come.",
            [],
        )
        .once()
        .warm_up_ms(0)
        .lasts(5)
        .operations_s(400)
        .progress_every_ms(5),
    }
}

fn watch_after_snapshot() -> Bug {
    Bug {
        name: "15271",
        how: "2000 operations a second, each client at one member; a follower loses the other members, not its clients, \
              until it is 5200 entries behind and needs a snapshot",
        affected: "v3.5.7",
        fixed: "v3.5.9",
        budget: Duration::from_secs(60),
        checks: &["watch"],
        panic: None,
        scenario: Scenario::faults(
            "bug::15271",
            "A watch on a member that was sent a snapshot goes back to what it has delivered, or passes over events.",
            [Fault::Split {
                side: Selector::AnyFollower,
                direction: Direction::Both,
            }],
        )
        .once()
        .lasts(45)
        // etcd keeps 5000 entries behind a snapshot; these versions have no flag for that.
        .until(Event::Behind(5_200))
        .operations_s(2000)
        .pinned()
        .setting("snapshot-count", "100")
        .promise(Promise::default()),
    }
}

fn future_watch() -> Bug {
    Bug {
        name: "20221",
        how: "300 operations a second, each client at one member, watches that begin 1500 revisions ahead; a follower \
              loses the other members, not its clients, until it is 60 entries behind and needs a snapshot",
        affected: "v3.6.1",
        fixed: "v3.6.16",
        budget: Duration::from_secs(180),
        checks: &["watch"],
        panic: None,
        scenario: Scenario::faults(
            "bug::20221",
            "A watch that begins at a revision that is not there yet is sent older ones by a member that got a snapshot.",
            [Fault::Split {
                side: Selector::AnyFollower,
                direction: Direction::Both,
            }],
        )
        .once()
        .lasts(30)
        .until(Event::Behind(60))
        .operations_s(300)
        .pinned()
        .watches_ahead(1500)
        .setting("snapshot-count", "10")
        .setting("snapshot-catchup-entries", "10")
        .promise(Promise::default()),
    }
}

fn negative_watch() -> Bug {
    Bug {
        name: "20711",
        how: "300 operations a second; on each member a watch begins at revision -1 and another one in the past, again \
              and again; no fault",
        affected: "v3.6.1",
        fixed: "v3.6.16",
        budget: Duration::from_secs(60),
        checks: &["watch"],
        panic: None,
        scenario: Scenario::faults(
            "bug::20711",
            "A watch that begins at revision -1 is not refused, and others of the same member are not told what is past.",
            [],
        )
        .once()
        .warm_up_ms(0)
        .lasts(5)
        .operations_s(300)
        .negative_watches(),
    }
}

fn lost_delete() -> Bug {
    Bug {
        name: "18089",
        how: "50 operations a second, each compaction to the revision of a delete, and on each member a watch that begins \
              there; no fault",
        affected: "v3.5.9",
        fixed: "v3.6.16",
        budget: Duration::from_secs(60),
        checks: &["watch"],
        panic: None,
        scenario: Scenario::faults(
            "bug::18089",
            "A watch that begins at the compacted revision is not told the delete of that revision.",
            [],
        )
        .once()
        .warm_up_ms(0)
        .lasts(5)
        // One client: a watch begins at a compaction before the next one.
        .operations_s(50)
        .compacts_deletes(),
    }
}

fn forgotten_delete() -> Bug {
    Bug {
        name: "19179",
        how: "50 operations a second, each compaction to the revision of a delete and a second long, and on each member a \
              watch that begins there; all members are killed at once",
        affected: "v3.5.17",
        fixed: "v3.5.35",
        budget: Duration::from_secs(180),
        checks: &["watch"],
        panic: None,
        scenario: Scenario::faults(
            "bug::19179",
            "A member that was killed within a compaction forgets the delete at its revision, and removes it when it \
             continues the compaction.",
            [Fault::KillProcess {
                container: Container::Etcd,
                of: Selector::All,
            }],
        )
        .once()
        .lasts(1)
        .operations_s(50)
        .compacts_deletes()
        // About 150 revisions in 15 batches, in less time than there is between two compactions.
        .setting("compaction-batch-limit", "10")
        .setting("compaction-sleep-interval", "100ms")
        .promise(Promise::default().loses_quorum()),
    }
}

fn skipped_entry() -> Bug {
    Bug {
        name: "13766",
        how: "300 operations a second, a quarter of them a compare-and-swap with its compare 500 times; all members are \
              killed at once",
        affected: "v3.5.2",
        fixed: "v3.5.9",
        budget: Duration::from_secs(600),
        checks: &["linearizable", "watch", "durability", "agreement", "raft"],
        panic: None,
        scenario: Scenario::faults(
            "bug::13766",
            "A member that was killed passes over an entry whose index it had stored before it applied the entry.",
            [Fault::KillProcess {
                container: Container::Etcd,
                of: Selector::All,
            }],
        )
        .once()
        .lasts(1)
        .operations_s(300)
        // What is between the index and the entry is as long as the compares take.
        .compares(500)
        .setting("max-txn-ops", "500")
        // Requests are large: a member that starts again must not read those of ten minutes.
        .setting("snapshot-count", "1000")
        .promise(Promise::default().loses_quorum()),
    }
}

fn stale_read() -> Bug {
    Bug {
        name: "20418",
        how: "1000 operations a second, each client at one member; all that the others send to the leader is 1.8 s late, \
              and it transfers leadership to a follower",
        affected: "v3.6.1",
        fixed: "v3.6.16",
        budget: Duration::from_secs(180),
        checks: &["linearizable"],
        panic: None,
        scenario: Scenario::faults(
            "bug::20418",
            "A leader that was succeeded and does not know it yet takes old answers for a confirmation, and reads what is \
             stale.",
            [
                // Members ask for a confirmation again every 500 ms: several times while the first is under way.
                Fault::DisturbPeers {
                    of: Selector::Leader,
                    how: Disturbance::Delay {
                        ms: 1_800,
                        jitter_ms: 0,
                    },
                    direction: Direction::Incoming,
                },
                Fault::Elect {
                    of: Selector::AnyFollower,
                },
            ],
        )
        .once()
        .lasts(1)
        .operations_s(1000)
        .pinned()
        .setting("heartbeat-interval", "100")
        // More than the delay: the leader stays until it transfers leadership, which etcd gives this time.
        .setting("election-timeout", "4000")
        .promise(Promise::default()),
    }
}

fn read_without_client() -> Bug {
    Bug {
        name: "14891",
        how: "60 operations a second, a third of them a read in a transaction with its compare 5000 times; all members \
              are frozen for two seconds at once",
        affected: "v3.5.6",
        fixed: "v3.5.7",
        budget: Duration::from_secs(180),
        checks: &[],
        // The function that has it: by a nil pointer alone etcd may end elsewhere, too.
        panic: Some("etcdserver.warnOfExpensiveReadOnlyTxnRequest("),
        scenario: Scenario::faults(
            "bug::14891",
            "A member ends because the client of a transaction that only reads has given up before the read.",
            [Fault::FreezeProcess {
                container: Container::Etcd,
                of: Selector::All,
            }],
        )
        .once()
        // Clients give up after one second.
        .lasts(2)
        .operations_s(60)
        // The read comes behind the compares, which take milliseconds.
        .compares(5000)
        .guarded_reads()
        .setting("max-txn-ops", "5000")
        .promise(Promise::default().loses_quorum()),
    }
}

fn forgotten_user() -> Bug {
    Bug {
        name: "14571",
        how: "2000 operations a second of clients that log in, each at one member; a follower loses the other members, not \
              its clients, until it is 5200 entries behind and needs a snapshot, and meanwhile the clients' user is \
              replaced by another one",
        affected: "v3.5.5",
        // Versions between have 15271, which such a snapshot shows too.
        fixed: "v3.5.9",
        budget: Duration::from_secs(60),
        checks: &["linearizable", "agreement"],
        panic: None,
        scenario: Scenario::faults(
            "bug::14571",
            "A member that learns of a user by a snapshot refuses that user's writes, which the other members apply.",
            [Fault::Split {
                side: Selector::AnyFollower,
                direction: Direction::Both,
            }],
        )
        .once()
        .lasts(45)
        .until(Event::Behind(5_200))
        .replaces_user()
        .operations_s(2000)
        .pinned()
        .setting("snapshot-count", "100")
        .promise(Promise::default()),
    }
}

fn early_answer() -> Bug {
    Bug {
        name: "14370",
        how: "300 operations a second to a single member, which loses its power, and all that it has not synced",
        affected: "v3.5.2",
        fixed: "v3.5.9",
        budget: Duration::from_secs(60),
        checks: &["linearizable", "watch", "durability", "agreement", "raft"],
        panic: None,
        scenario: Scenario::faults(
            "bug::14370",
            "A single member acknowledges a write before it has synced it, and loses it with its power.",
            [Fault::LosePower {
                of: Selector::All,
                lost: Unsynced::All,
            }],
        )
        .members([1])
        .once()
        .lasts(1)
        .operations_s(300)
        .promise(Promise::default().loses_quorum()),
    }
}

fn killed_in_defrag() -> Bug {
    Bug {
        name: "14685",
        how: "500 operations a second; all members are defragmented again and again, and killed at once",
        affected: "v3.5.5",
        fixed: "v3.5.9",
        budget: Duration::from_secs(120),
        checks: &["linearizable", "watch", "durability", "agreement", "raft"],
        panic: None,
        scenario: Scenario::faults(
            "bug::14685",
            "A member that was killed within or soon after a defragmentation applies entries a second time.",
            [Fault::KillProcess {
                container: Container::Etcd,
                of: Selector::All,
            }],
        )
        .once()
        .lasts(1)
        .operations_s(500)
        .defragments()
        .promise(Promise::default().loses_quorum()),
    }
}

fn rolled_back() -> Bug {
    Bug {
        name: "13514",
        how: "300 operations a second; all members go back to 3.4 by a snapshot of 3.5 from a later term, and are started with \
              3.5 again and again",
        affected: "v3.4.18:v3.5.2",
        fixed: "v3.4.18:v3.5.9",
        budget: Duration::from_secs(60),
        checks: &["linearizable", "watch", "durability", "agreement", "raft"],
        panic: None,
        scenario: Scenario::faults(
            "bug::13514",
            "A member that has come back from 3.4 does not store the index of what it applies, and applies it again when it \
             starts.",
            [Fault::ChangeVersion {
                of: Selector::All,
                in_turn: false,
            }],
        )
        .origin(Origin::RolledBack)
        .once()
        .lasts(1)
        .operations_s(300)
        .promise(Promise::default().loses_quorum()),
    }
}

fn unpromoted() -> Bug {
    Bug {
        name: "19557",
        how: "300 operations a second; two of three members joined as learners and were promoted, and are started with 3.6, \
              one after the other",
        affected: "v3.5.17:v3.6.16",
        fixed: "v3.5.35:v3.6.16",
        budget: Duration::from_secs(60),
        checks: &[],
        panic: Some("too many learner members in cluster"),
        scenario: Scenario::faults(
            "bug::19557",
            "A member that joined as a learner and was promoted is a learner again for a member of 3.6, which ends.",
            [Fault::ChangeVersion {
                of: Selector::All,
                in_turn: true,
            }],
        )
        .origin(Origin::Joined)
        .once()
        .lasts(1)
        .operations_s(300)
        .promise(Promise::default().loses_quorum()),
    }
}

/// No bug, but what etcd would be without its syncs: the power loss that finds nothing in etcd finds this.
fn no_fsync() -> Bug {
    Bug {
        name: "unsafe-no-fsync",
        how: "300 operations a second; all members lose their power, and what they have not synced in the last second",
        affected: "v3.6.16+unsafe-no-fsync",
        fixed: "v3.6.16",
        budget: Duration::from_secs(60),
        checks: &["linearizable", "watch", "durability", "agreement", "raft"],
        panic: None,
        scenario: Scenario::faults(
            "bug::unsafe_no_fsync",
            "Acknowledged writes are lost with the power, because etcd was told not to sync them.",
            [Fault::LosePower {
                of: Selector::All,
                lost: Unsynced::LastSecond,
            }],
        )
        .once()
        .lasts(1)
        .operations_s(300)
        .promise(Promise::default().loses_quorum()),
    }
}

#[cfg(test)]
mod tests;
