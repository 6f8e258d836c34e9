//! Bugs of members whose data or answers differ from those of the others, though none of them ends.

use std::time::Duration;

use crate::bare::bugs::bug::{Bug, DATA};
use crate::faults::{Direction, Disturbance, Fault, Selector};
use crate::scenario::{Event, Promise, Scenario};

pub(super) fn compacted_txn() -> Bug {
    Bug {
        name: "18667",
        how: "400 operations a second, some a transaction of a put and a read at a compacted revision; no fault",
        affected: "v3.6.16",
        fixed: "v3.7.3",
        budget: Duration::from_secs(1),
        checks: DATA,
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

pub(super) fn stale_read() -> Bug {
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

pub(super) fn forgotten_user() -> Bug {
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
