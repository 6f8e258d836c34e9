//! What a scenario can wait for in the cluster before it injects a fault, or heals it. Pure.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// What happens in the cluster, counted from the beginning of a round: nothing that a fault of the round causes comes
/// too early to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The store is so many revisions further.
    Revisions(u64),
    /// Another member leads.
    LeaderChanged,
    /// A member has taken a snapshot of its leader in place of its store.
    SnapshotSent,
    /// A member is so many entries of the raft log behind.
    Behind(u64),
}

/// As what is waited for: `the store be 300 revisions further`.
impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revisions(revisions) => write!(f, "the store be {revisions} revisions further"),
            Self::LeaderChanged => write!(f, "another member lead"),
            Self::SnapshotSent => write!(f, "the leader send a snapshot"),
            Self::Behind(entries) => write!(f, "a member be {entries} entries behind"),
        }
    }
}

/// The cluster at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The member that leads, where one does and answers.
    pub(crate) leader: Option<String>,
    /// The newest revision that a member has.
    pub(crate) revision: u64,
    /// Entries between the member that has applied most and the one that has applied least.
    pub(crate) behind: u64,
    /// Snapshots that members have got from a leader.
    pub(crate) snapshots: usize,
}

impl Event {
    /// What shows that it has happened between two moments.
    ///
    /// # Errors
    /// How far it is, in words.
    pub(crate) fn between(self, before: &Moment, now: &Moment) -> Result<String, String> {
        match self {
            Self::Revisions(wanted) => {
                let further = now.revision.saturating_sub(before.revision);
                if further >= wanted {
                    return Ok(format!("the store is {further} revisions further"));
                }
                Err(format!("{further} of {wanted} revisions"))
            }
            Self::LeaderChanged => match (&before.leader, &now.leader) {
                (Some(old), Some(new)) if old != new => Ok(format!("{new} leads after {old}")),
                (None, _) => Err("it is not known which member led".to_owned()),
                (_, Some(same)) => Err(format!("{same} leads as before")),
                (_, None) => Err("no member leads".to_owned()),
            },
            Self::SnapshotSent => match now.snapshots.saturating_sub(before.snapshots) {
                0 => Err("no member has applied one".to_owned()),
                sent => Ok(format!("{sent} snapshots were sent")),
            },
            Self::Behind(wanted) if now.behind >= wanted => {
                Ok(format!("a member is {} entries behind", now.behind))
            }
            Self::Behind(wanted) => Err(format!("{} of {wanted} entries", now.behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(leader: &str, revision: u64, behind: u64, snapshots: usize) -> Moment {
        Moment {
            leader: (!leader.is_empty()).then(|| leader.to_owned()),
            revision,
            behind,
            snapshots,
        }
    }

    #[test]
    fn an_event_counts_from_the_beginning_of_the_round() {
        let before = moment("a", 1_000, 40, 2);
        let happened = |event: Event, now: &Moment| event.between(&before, now).is_ok();
        for (event, yet, then) in [
            (
                Event::Revisions(300),
                moment("b", 1_299, 900, 9),
                moment("a", 1_300, 0, 2),
            ),
            (
                Event::LeaderChanged,
                moment("a", 9_000, 900, 9),
                moment("b", 1_000, 0, 2),
            ),
            (
                Event::SnapshotSent,
                moment("b", 9_000, 900, 2),
                moment("a", 1_000, 0, 3),
            ),
            (
                Event::Behind(60),
                moment("b", 9_000, 59, 9),
                moment("a", 1_000, 60, 2),
            ),
        ] {
            assert!(!happened(event, &before), "{event}: nothing has happened");
            assert!(!happened(event, &yet), "{event}: not yet");
            assert!(happened(event, &then), "{event}: now");
        }
    }

    #[test]
    fn who_leads_must_be_known_before_and_after() {
        let (led, leaderless) = (moment("a", 1, 0, 0), moment("", 1, 0, 0));
        for (before, now) in [(&led, &leaderless), (&leaderless, &led)] {
            assert!(Event::LeaderChanged.between(before, now).is_err());
        }
    }

    #[test]
    fn a_store_that_went_back_has_made_no_progress() {
        // Members that lead have a newer revision than the one that answers after a kill.
        let (before, now) = (moment("a", 500, 0, 4), moment("b", 400, 0, 3));
        assert!(Event::Revisions(1).between(&before, &now).is_err());
        assert!(Event::SnapshotSent.between(&before, &now).is_err());
    }
}
