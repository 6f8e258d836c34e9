//! What all bugs share: what a plan says of its bug, and the run that it becomes.

use std::time::Duration;

use crate::bare::plan::{BarePlan, Hunt, made_by};
use crate::scenario::{Plan, Scenario};

/// The checks that show data which is lost, or differs between members.
pub(super) const DATA: &[&str] = &["linearizable", "watch", "durability", "agreement", "raft"];

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
    pub(super) scenario: Scenario,
}

impl Bug {
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
