//! Who is meant, and the pure rule that turns it into members. Resolved when a fault is injected, never before: who
//! leads then is what counts. Random choices come from the run's seed.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::faults::{Member, SelectError};

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// The leader of the highest term.
    Leader,
    /// The n-th follower by ordinal, from 0.
    Follower(u32),
    /// A follower that the seed picks.
    AnyFollower,
    /// A learner.
    Learner,
    /// The largest number of followers without which a quorum is left.
    Minority,
    /// The leader and so many followers that a quorum is left without them (the leader alone of three, with one
    /// follower of five).
    MinorityWithLeader,
    /// The smallest number of members, the leader among them, without which no quorum is left.
    Majority,
    /// All members.
    All,
    /// The member with this ordinal.
    Ordinal(u32),
    /// The member with this pod name.
    Pod(String),
}

impl Selector {
    /// The members that are meant, of those that are there.
    ///
    /// # Errors
    /// When no member fits.
    pub fn select(&self, members: &[Member], seed: u64) -> Result<Vec<Member>, SelectError> {
        let chosen = match self {
            Selector::Leader => leader(members),
            Selector::Follower(index) => followers(members)
                .into_iter()
                .nth(*index as usize)
                .into_iter()
                .collect(),
            Selector::AnyFollower => shuffled(followers(members), seed)
                .into_iter()
                .take(1)
                .collect(),
            Selector::Learner => with_role(members, "learner").into_iter().take(1).collect(),
            Selector::Minority => take(shuffled(followers(members), seed), minority(members)),
            Selector::MinorityWithLeader => with_leader(members, seed, minority(members)),
            Selector::Majority => with_leader(members, seed, minority(members) + 1),
            Selector::All => members.to_vec(),
            Selector::Ordinal(ordinal) => find(members, |member| member.ordinal == Some(*ordinal)),
            Selector::Pod(name) => find(members, |member| &member.pod == name),
        };
        if chosen.is_empty() {
            Err(self.none_of(members))
        } else {
            Ok(chosen)
        }
    }

    fn none_of(&self, members: &[Member]) -> SelectError {
        let seen: Vec<String> = members
            .iter()
            .map(|member| {
                format!(
                    "{} {}",
                    member.pod,
                    member.role.as_deref().unwrap_or("without a role")
                )
            })
            .collect();
        let reason = if seen.is_empty() {
            "there are no members".into()
        } else {
            format!("there are {}", seen.join(", "))
        };
        SelectError {
            selector: self.to_string(),
            reason,
        }
    }
}

/// Members that may fail with a quorum left.
fn minority(members: &[Member]) -> usize {
    let voters = members
        .iter()
        .filter(|member| member.role.as_deref() != Some("learner"))
        .count();
    voters.saturating_sub(1) / 2
}

fn with_role(members: &[Member], role: &str) -> Vec<Member> {
    members
        .iter()
        .filter(|member| member.role.as_deref() == Some(role))
        .cloned()
        .collect()
}

fn leader(members: &[Member]) -> Vec<Member> {
    with_role(members, "leader")
}

/// Voters that do not lead; a voter without a known role counts, for it does not lead as far as anyone knows.
fn followers(members: &[Member]) -> Vec<Member> {
    let other = |member: &&Member| !matches!(member.role.as_deref(), Some("leader" | "learner"));
    members.iter().filter(other).cloned().collect()
}

fn with_leader(members: &[Member], seed: u64, count: usize) -> Vec<Member> {
    let chosen = leader(members);
    if chosen.is_empty() || count == 0 {
        return Vec::new();
    }
    let rest = take(shuffled(followers(members), seed), count - 1);
    sorted(chosen.into_iter().chain(rest).collect())
}

fn shuffled(mut members: Vec<Member>, seed: u64) -> Vec<Member> {
    members.shuffle(&mut StdRng::seed_from_u64(seed));
    members
}

fn take(members: Vec<Member>, count: usize) -> Vec<Member> {
    sorted(members.into_iter().take(count).collect())
}

fn sorted(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_by_key(|member| (member.ordinal, member.pod.clone()));
    members
}

fn find(members: &[Member], is_meant: impl Fn(&Member) -> bool) -> Vec<Member> {
    members
        .iter()
        .filter(|member| is_meant(member))
        .cloned()
        .collect()
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Leader => write!(f, "the leader"),
            Selector::Follower(index) => write!(f, "follower {index}"),
            Selector::AnyFollower => write!(f, "a follower"),
            Selector::Learner => write!(f, "the learner"),
            Selector::Minority => write!(f, "a minority of followers"),
            Selector::MinorityWithLeader => write!(f, "a minority with the leader"),
            Selector::Majority => write!(f, "a majority with the leader"),
            Selector::All => write!(f, "all members"),
            Selector::Ordinal(ordinal) => write!(f, "member {ordinal}"),
            Selector::Pod(name) => write!(f, "pod {name}"),
        }
    }
}

impl FromStr for Selector {
    type Err = String;

    /// The syntax of the command line: `leader`, `follower`, `follower/1`, `minority`, `minority-with-leader`,
    /// `majority`, `all`, `learner`, a number, or a pod's name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(index) = text.strip_prefix("follower/") {
            let index = index
                .parse()
                .map_err(|_| format!("{index:?} is no number of a follower"))?;
            return Ok(Selector::Follower(index));
        }
        if let Ok(ordinal) = text.parse() {
            return Ok(Selector::Ordinal(ordinal));
        }
        Ok(match text {
            "leader" => Selector::Leader,
            "follower" => Selector::AnyFollower,
            "learner" => Selector::Learner,
            "minority" => Selector::Minority,
            "minority-with-leader" => Selector::MinorityWithLeader,
            "majority" => Selector::Majority,
            "all" => Selector::All,
            "" => return Err("an empty name selects no member".into()),
            pod => Selector::Pod(pod.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::member::tests::members;

    fn pods(selector: &Selector, count: u32, seed: u64) -> Vec<String> {
        let chosen = selector
            .select(&members(count, 1), seed)
            .expect("a selection");
        chosen.into_iter().map(|member| member.pod).collect()
    }

    #[test]
    fn the_leader_is_who_leads_and_followers_are_the_rest() {
        assert_eq!(pods(&Selector::Leader, 3, 0), ["m-1"]);
        assert_eq!(pods(&Selector::Follower(0), 3, 0), ["m-0"]);
        assert_eq!(pods(&Selector::Follower(1), 3, 0), ["m-2"]);
        assert_eq!(pods(&Selector::All, 3, 0).len(), 3);
    }

    #[test]
    fn a_minority_leaves_a_quorum_and_a_majority_does_not() {
        for count in [3, 5] {
            let quorum = count as usize / 2 + 1;
            for seed in 0..20 {
                let left = |selector| count as usize - pods(&selector, count, seed).len();
                assert_eq!(left(Selector::Minority), quorum);
                assert_eq!(left(Selector::MinorityWithLeader), quorum);
                assert_eq!(left(Selector::Majority), quorum - 1);
                assert!(!pods(&Selector::Minority, count, seed).contains(&"m-1".to_owned()));
                assert!(
                    pods(&Selector::MinorityWithLeader, count, seed).contains(&"m-1".to_owned())
                );
            }
        }
    }

    #[test]
    fn the_seed_decides_and_every_follower_can_be_chosen() {
        let chosen = |seed| pods(&Selector::AnyFollower, 5, seed);
        assert_eq!(chosen(7), chosen(7));
        let mut all: Vec<String> = (0..100).flat_map(chosen).collect();
        all.sort();
        all.dedup();
        assert_eq!(all, ["m-0", "m-2", "m-3", "m-4"]);
    }

    #[test]
    fn nobody_is_an_error_that_says_who_is_there() {
        let mut all = members(3, 1);
        all[1].role = None;
        let error = Selector::Leader
            .select(&all, 0)
            .expect_err("no leader")
            .to_string();
        assert!(
            error.contains("failed to select the leader") && error.contains("m-1 without a role"),
            "{error}"
        );
    }

    #[test]
    fn words_of_the_command_line() {
        assert_eq!("leader".parse(), Ok(Selector::Leader));
        assert_eq!("follower/1".parse(), Ok(Selector::Follower(1)));
        assert_eq!("2".parse(), Ok(Selector::Ordinal(2)));
        assert_eq!("etcd-0".parse(), Ok(Selector::Pod("etcd-0".into())));
        assert!("follower/x".parse::<Selector>().is_err());
    }
}
