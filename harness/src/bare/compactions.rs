//! Known bugs of what etcd does with revisions that are compacted, each as a plan. Pure.

use std::time::Duration;

use crate::faults::{Container, Fault, Selector};
use crate::scenario::{Event, Promise, Scenario};

/// A known bug; what its fields are is said at `Bug`, which it becomes.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) how: &'static str,
    pub(super) affected: &'static str,
    pub(super) fixed: &'static str,
    pub(super) budget: Duration,
    pub(super) checks: &'static [&'static str],
    pub(super) scenario: Scenario,
}

/// All that there is a plan for.
pub(super) fn all() -> Vec<Known> {
    vec![starved_watch(), lower_revision()]
}

fn starved_watch() -> Known {
    Known {
        name: "17529",
        how: "90 operations a second of one client, with compactions; on each member 400 watches begin in one stream at a \
              revision that is compacted, again and again; no fault",
        affected: "v3.5.12",
        fixed: "v3.5.35",
        budget: Duration::from_secs(60),
        checks: &["watch"],
        scenario: Scenario::faults(
            "bug::17529",
            "A watch that is to be refused as compacted while its stream is full is served later, without what it missed.",
            [],
        )
        .once()
        .warm_up_ms(0)
        .lasts(5)
        // One client: a watch begins at a compaction before the next one.
        .operations_s(90)
        .compacts()
        .watches_crowded(400),
    }
}

fn lower_revision() -> Known {
    Known {
        name: "17780",
        how: "10 operations a second of one client, mostly puts and deletes, with a compaction at the revision of nearly each \
              delete, two revisions at a time; etcd commits every 10 s, and at a compaction; a follower is killed",
        affected: "v3.5.13",
        fixed: "v3.5.35",
        budget: Duration::from_secs(120),
        // A watch that is refused when the member is back may meet 18089.
        checks: &["linearizable", "durability", "agreement", "raft"],
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Act;

    #[test]
    fn a_crowd_is_larger_than_the_queue_of_its_stream_and_etcd_looks_at_all_of_it_at_once() {
        let known = starved_watch();
        let Act::Faults(trial) = &known.scenario.act else {
            panic!("it has a load");
        };
        assert_eq!(trial.load.crowd, 399);
        assert!((256..512).contains(&(trial.load.crowd + 1)));
        assert!(trial.load.compacts, "or nothing is refused");
    }
}
