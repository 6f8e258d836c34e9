//! Bugs of members that are started with another version of etcd. Both versions stand in one text, the later one
//! behind a colon.

use std::time::Duration;

use crate::bare::bugs::bug::{Bug, DATA};
use crate::faults::{Fault, Selector};
use crate::scenario::{Origin, Promise, Scenario};

pub(super) fn rolled_back() -> Bug {
    Bug {
        name: "13514",
        how: "300 operations a second; all members go back to 3.4 by a snapshot of 3.5 from a later term, and are started with \
              3.5 again and again",
        affected: "v3.4.18:v3.5.2",
        fixed: "v3.4.18:v3.5.9",
        budget: Duration::from_secs(60),
        checks: DATA,
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

pub(super) fn unpromoted() -> Bug {
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
