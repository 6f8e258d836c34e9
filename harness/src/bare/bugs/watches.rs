//! Bugs of watches: events that are lost, sent twice or sent out of order.

use std::time::Duration;

use crate::bare::bugs::bug::Bug;
use crate::faults::{Direction, Fault, Selector};
use crate::scenario::{Event, Promise, Scenario};

pub(super) fn early_progress() -> Bug {
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

pub(super) fn watch_after_snapshot() -> Bug {
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

pub(super) fn future_watch() -> Bug {
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

pub(super) fn negative_watch() -> Bug {
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

pub(super) fn lost_delete() -> Bug {
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

pub(super) fn starved_watch() -> Bug {
    Bug {
        name: "17529",
        how: "90 operations a second of one client, with compactions; on each member 400 watches begin in one stream at a \
              revision that is compacted, again and again; no fault",
        affected: "v3.5.12",
        fixed: "v3.5.35",
        budget: Duration::from_secs(60),
        checks: &["watch"],
        panic: None,
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
