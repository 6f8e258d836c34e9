//! Bugs of members that end, and of what they have when they start again after a kill or a power loss.

use std::time::Duration;

use crate::bare::bugs::bug::{Bug, DATA};
use crate::faults::{Container, Fault, Selector, Unsynced};
use crate::scenario::{Event, Promise, Scenario};

pub(super) fn forgotten_delete() -> Bug {
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

pub(super) fn skipped_entry() -> Bug {
    Bug {
        name: "13766",
        how: "300 operations a second, a quarter of them a compare-and-swap with its compare 500 times; all members are \
              killed at once",
        affected: "v3.5.2",
        fixed: "v3.5.9",
        budget: Duration::from_secs(600),
        checks: DATA,
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

pub(super) fn read_without_client() -> Bug {
    Bug {
        name: "14891",
        how: "60 operations a second, a third of them a read in a transaction with its compare 5000 times; all members \
              are frozen for two seconds at once",
        affected: "v3.5.6",
        fixed: "v3.5.9",
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

pub(super) fn early_answer() -> Bug {
    Bug {
        name: "14370",
        how: "300 operations a second to a single member, which loses its power, and all that it has not synced",
        affected: "v3.5.2",
        fixed: "v3.5.9",
        budget: Duration::from_secs(60),
        checks: DATA,
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

pub(super) fn killed_in_defrag() -> Bug {
    Bug {
        name: "14685",
        how: "500 operations a second; all members are defragmented again and again, and killed at once",
        affected: "v3.5.5",
        fixed: "v3.5.9",
        budget: Duration::from_secs(120),
        checks: DATA,
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

pub(super) fn lower_revision() -> Bug {
    Bug {
        name: "17780",
        how: "10 operations a second of one client, mostly puts and deletes, with a compaction at the revision of nearly each \
              delete, two revisions at a time; etcd commits every 10 s, and at a compaction; a follower is killed",
        affected: "v3.5.13",
        fixed: "v3.5.35",
        budget: Duration::from_secs(120),
        // A watch that is refused when the member is back may meet 18089.
        checks: &["linearizable", "durability", "agreement", "raft"],
        panic: None,
        scenario: Scenario::faults(
            "bug::17780",
            "A member that ended in a compaction at a delete starts with a lower revision than it had.",
            [],
        )
        // Some compactions, and as much traffic as a round needs: there is little of it, since a write hides the bug.
        .when(
            Event::Revisions(12),
            [Fault::KillProcess {
                container: Container::Etcd,
                of: Selector::AnyFollower,
            }],
        )
        .once()
        .operations_s(10)
        .lone_deletes(3)
        .setting("compaction-batch-limit", "2")
        .setting("backend-batch-interval", "10s")
        .promise(Promise::default()),
    }
}

/// No bug, but what etcd would be without its syncs: the power loss that finds nothing in etcd finds this.
pub(super) fn no_fsync() -> Bug {
    Bug {
        name: "unsafe-no-fsync",
        how: "300 operations a second; all members lose their power, and what they have not synced in the last second",
        affected: "v3.6.16+unsafe-no-fsync",
        fixed: "v3.6.16",
        budget: Duration::from_secs(60),
        checks: DATA,
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
