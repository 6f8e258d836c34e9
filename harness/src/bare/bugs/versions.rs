//! Bugs of members that are started with another version of etcd. Both versions stand in one text, the later one
//! behind a colon.

use std::time::Duration;

use crate::bare::bugs::bug::{Bug, DATA};
use crate::faults::{Fault, Selector};
use crate::scenario::{Origin, Promise, Scenario};

/// What one of these bugs has of its own.
struct Change {
    name: &'static str,
    how: &'static str,
    affected: &'static str,
    fixed: &'static str,
    checks: &'static [&'static str],
    panic: Option<&'static str>,
    /// Name of the scenario, and what the bug does.
    scenario: (&'static str, &'static str),
    /// How members come to be before they are started with the later version.
    origin: Origin,
    /// Whether that is one after the other.
    in_turn: bool,
}

impl Change {
    /// All members are started with the later version, again and again, while clients write.
    fn bug(self) -> Bug {
        let (name, story) = self.scenario;
        let fault = Fault::ChangeVersion {
            of: Selector::All,
            in_turn: self.in_turn,
        };
        Bug {
            name: self.name,
            how: self.how,
            affected: self.affected,
            fixed: self.fixed,
            budget: Duration::from_secs(60),
            checks: self.checks,
            panic: self.panic,
            scenario: Scenario::faults(name, story, [fault])
                .origin(self.origin)
                .once()
                .lasts(1)
                .operations_s(300)
                .promise(Promise::default().loses_quorum()),
        }
    }
}

pub(super) fn rolled_back() -> Bug {
    Change {
        name: "13514",
        how: "300 operations a second; all members go back to 3.4 by a snapshot of 3.5 from a later term, and are started with \
              3.5 again and again",
        affected: "v3.4.18:v3.5.2",
        fixed: "v3.4.18:v3.5.9",
        checks: DATA,
        panic: None,
        scenario: (
            "bug::13514",
            "A member that has come back from 3.4 does not store the index of what it applies, and applies it again when it \
             starts.",
        ),
        origin: Origin::RolledBack,
        in_turn: false,
    }
    .bug()
}

pub(super) fn unpromoted() -> Bug {
    Change {
        name: "19557",
        how: "300 operations a second; two of three members joined as learners and were promoted, and are started with 3.6, \
              one after the other",
        affected: "v3.5.17:v3.6.16",
        fixed: "v3.5.35:v3.6.16",
        checks: &[],
        panic: Some("too many learner members in cluster"),
        scenario: (
            "bug::19557",
            "A member that joined as a learner and was promoted is a learner again for a member of 3.6, which ends.",
        ),
        origin: Origin::Joined,
        in_turn: true,
    }
    .bug()
}
