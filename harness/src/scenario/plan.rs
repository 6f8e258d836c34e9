//! One run, before it begins: a scenario, so many members, a seed. The same plan is the same run again, as far as a
//! real cluster allows.

use serde::Serialize;

use crate::scenario::{Scenario, catalog};

/// One run, before it begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The scenario.
    pub scenario: Scenario,
    /// Members of the etcd cluster.
    pub members: u32,
    /// Seed of every random choice: targets, operations, keys.
    pub seed: u64,
}

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No such scenario.
    #[error("failed to find scenario {name:?}; `harness list` names them, `harness bare list` those of \
         bare members{}", alike(.near))]
    Find {
        /// The name.
        name: String,
        /// Names that are alike.
        near: Vec<&'static str>,
    },
    /// The scenario does not make sense with so many members.
    #[error("failed to plan {name} with {members} members: it is run with {}", counts(.wanted))]
    Members {
        /// The scenario.
        name: &'static str,
        /// Members asked for.
        members: u32,
        /// Members that make sense.
        wanted: Vec<u32>,
    },
    /// More versions of etcd than members that could have one.
    #[error(
        "failed to plan {name} with {versions} versions of etcd: it has {members} members, name one for each at most in \
         --version"
    )]
    Versions {
        /// The scenario.
        name: &'static str,
        /// Members of the plan.
        members: u32,
        /// Versions asked for.
        versions: usize,
    },
    /// A version that is empty, or stands behind flags, and would be one of them.
    #[error(
        "failed to read --version {version:?}: name tags of etcd with commas between them and flags behind the last one, \
         e.g. v3.5.35,v3.6.16+unsafe-no-fsync; where a scenario changes the version, the later one behind a colon, e.g. \
         v3.5.35:v3.6.16"
    )]
    Version {
        /// What was asked for.
        version: String,
    },
    /// A version that members would have later, where none changes its version.
    #[error(
        "failed to plan {name} with --version {version}: its members keep their version; leave out the colon and what is \
         behind it, or run bare::all_upgraded"
    )]
    NextVersion {
        /// The scenario.
        name: &'static str,
        /// What was asked for.
        version: String,
    },
    /// A version of etcd that has not what the scenario needs.
    #[error(
        "failed to plan {name} with etcd {version}: {reason}; name another version, or another scenario"
    )]
    Release {
        /// The scenario.
        name: &'static str,
        /// The version.
        version: String,
        /// Why.
        reason: String,
    },
}

impl Plan {
    /// A plan for a scenario by its name; the scenario's first member count unless said otherwise.
    ///
    /// # Errors
    /// [`PlanError`] for a name or a count that does not exist.
    pub fn named(name: &str, members: Option<u32>, seed: u64) -> Result<Self, PlanError> {
        Self::among(&catalog::all(), name, members, seed)
    }

    /// As [`Self::named`], of these scenarios.
    ///
    /// # Errors
    /// [`PlanError`] for a name or a count that does not exist.
    pub(crate) fn among(
        all: &[Scenario],
        name: &str,
        members: Option<u32>,
        seed: u64,
    ) -> Result<Self, PlanError> {
        let (name, of_name) = split_members(name);
        let Some(scenario) = all.iter().find(|scenario| scenario.name == name) else {
            let word = name.rsplit("::").next().unwrap_or(name);
            let has_word = |scenario: &&Scenario| scenario.name.contains(word);
            let near = all
                .iter()
                .filter(has_word)
                .map(|scenario| scenario.name)
                .collect();
            return Err(PlanError::Find {
                name: name.to_owned(),
                near,
            });
        };
        let members = members
            .or(of_name)
            .or(scenario.members.first().copied())
            .unwrap_or(3);
        let wanted = [&scenario.members[..], &scenario.long_members].concat();
        if !wanted.contains(&members) {
            return Err(PlanError::Members {
                name: scenario.name,
                members,
                wanted,
            });
        }
        Ok(Self {
            scenario: scenario.clone(),
            members,
            seed,
        })
    }

    /// The name of its trial, `failover::leader_etcd_killed::members_3`.
    pub fn trial(&self) -> String {
        format!("{}::members_{}", self.scenario.name, self.members)
    }

    /// The command that repeats it.
    pub fn replay(&self) -> String {
        format!(
            "harness run {} --members {} --seed {}",
            self.scenario.name, self.members, self.seed
        )
    }
}

/// `name::members_5` is a name and a count.
fn split_members(name: &str) -> (&str, Option<u32>) {
    match name.rsplit_once("::members_") {
        Some((head, count)) => match count.parse() {
            Ok(count) => (head, Some(count)),
            Err(_) => (name, None),
        },
        None => (name, None),
    }
}

fn alike(names: &[&str]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; near: {}", names.join(", "))
    }
}

fn counts(counts: &[u32]) -> String {
    counts
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_again() {
        let plan = |seed| {
            serde_json::to_string(
                &Plan::named("failover::leader_etcd_killed", None, seed).expect("a plan"),
            )
        };
        assert_eq!(plan(4).expect("json"), plan(4).expect("json"));
        assert_ne!(plan(4).expect("json"), plan(5).expect("json"));
    }

    #[test]
    fn a_trials_name_leads_back_to_its_plan() {
        let plan = Plan::named("failover::leader_etcd_killed", Some(5), 1).expect("a plan");
        assert_eq!(plan.trial(), "failover::leader_etcd_killed::members_5");
        assert_eq!(Plan::named(&plan.trial(), None, 1).expect("a plan"), plan);
    }

    #[test]
    fn a_wrong_name_or_count_says_what_there_is() {
        let error = Plan::named("leader_etcd_killed", None, 1)
            .expect_err("too few members")
            .to_string();
        assert!(
            error.contains("near: failover::leader_etcd_killed"),
            "{error}"
        );
        let error = Plan::named("quorum::two_of_five_down", Some(3), 1)
            .expect_err("not three")
            .to_string();
        assert!(error.contains("run with 5"), "{error}");
    }
}
