//! Known bugs of etcd that its ordinary binaries show, each as a plan: traffic, faults, the checks that find it, a
//! version that has it and one that does not. They measure the harness: what it no longer finds, it has lost.

use std::time::Duration;

use crate::bare::plan::{BarePlan, Hunt};
use crate::faults::{Direction, Fault, Selector, Unsynced};
use crate::scenario::{Event, Plan, Promise, Scenario};

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
    /// Within which time under load it must be shown.
    pub budget: Duration,
    /// The checks that show it.
    pub checks: &'static [&'static str],
    scenario: Scenario,
}

/// All that there is a plan for.
pub fn all() -> Vec<Bug> {
    vec![
        compacted_txn(),
        early_progress(),
        watch_after_snapshot(),
        future_watch(),
        no_fsync(),
    ]
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
    /// What it does, in a sentence.
    pub fn story(&self) -> &'static str {
        self.scenario.story
    }

    /// A run that looks for it in a version.
    pub fn plan(&self, version: &str, seed: u64) -> BarePlan {
        let members = self.scenario.members.first().copied().unwrap_or(3);
        BarePlan {
            plan: Plan {
                scenario: self.scenario.clone(),
                members,
                seed,
            },
            version: version.to_owned(),
            hunt: Some(Hunt {
                bug: self.name,
                budget: self.budget,
                checks: self.checks,
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

/// No bug, but what etcd would be without its syncs: the power loss that finds nothing in etcd finds this.
fn no_fsync() -> Bug {
    Bug {
        name: "unsafe-no-fsync",
        how: "300 operations a second; all members lose their power, and what they have not synced in the last second",
        affected: "v3.6.16+unsafe-no-fsync",
        fixed: "v3.6.16",
        budget: Duration::from_secs(60),
        checks: &["linearizable", "watch", "durability", "agreement", "raft"],
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
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_plan_that_can_find_it() {
        for bug in all() {
            assert!(!bug.checks.is_empty() && bug.affected != bug.fixed);
            let plan = bug.plan(bug.affected, 4);
            let trial = plan.trial().expect("a load");
            let round = trial.lasts + trial.warm_up;
            assert!(round <= bug.budget, "{} has one round at least", bug.name);
            let again = format!(
                "harness bug {} --version {} --seed 4",
                bug.name, bug.affected
            );
            assert_eq!(plan.replay(), again);
            assert!(find(bug.name).is_some_and(|found| found.name == bug.name));
        }
        assert!(find("7").is_none());
    }

    #[test]
    fn an_issue_is_written_with_its_number_and_all_else_by_its_name() {
        assert_eq!(title("18667"), "#18667");
        assert_eq!(title("unsafe-no-fsync"), "unsafe-no-fsync");
        assert!(link("18667").ends_with("/issues/18667"));
    }
}
