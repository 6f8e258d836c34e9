//! Pure: which member is to lead next.

use crate::etcd::{Member, Status};

/// Entries a candidate may be behind. A leader that transfers leadership stops taking writes until the candidate has
/// caught up: a thousand entries take a few ms.
const LAG_MAX: u64 = 1000;

/// Where the leader stood, read before the others were asked: a voter that keeps up has applied at least that.
#[derive(Clone, Copy, Debug)]
pub struct LeaderMark {
    /// Its identifier.
    pub id: u64,
    /// Its term.
    pub term: u64,
    /// Its raft index.
    pub index: u64,
}

/// A member and what it said of itself just now.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The member.
    pub member: Member,
    /// Its status, or why there is none.
    pub status: Result<Status, String>,
}

/// Why no member can take over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCandidate {
    /// The named member is not in the list.
    #[error("the member list holds no {0}")]
    Unknown(String),
    /// The named one cannot.
    #[error("{name} cannot lead: {why}")]
    Unfit {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// None can.
    #[error("no voter can take over: {0}")]
    None(String),
}

/// The named member if it is fit, else the fit voter that has applied most.
///
/// # Errors
/// When there is none: leadership then stays where it is.
pub fn choose<'a>(
    leader: &LeaderMark,
    standings: &'a [Standing],
    named: Option<&str>,
) -> Result<&'a Standing, NoCandidate> {
    if let Some(name) = named {
        let found = standings
            .iter()
            .find(|standing| standing.member.name == name);
        let standing = found.ok_or_else(|| NoCandidate::Unknown(name.to_owned()))?;
        return match fitness(leader, standing) {
            Ok(_) => Ok(standing),
            Err(why) => Err(NoCandidate::Unfit {
                name: name.to_owned(),
                why,
            }),
        };
    }
    let mut reasons = Vec::new();
    let mut best: Option<(u64, &Standing)> = None;
    for standing in standings
        .iter()
        .filter(|standing| standing.member.id != leader.id)
    {
        match fitness(leader, standing) {
            Ok(applied) if best.is_none_or(|(most, _)| applied > most) => {
                best = Some((applied, standing));
            }
            Ok(_) => {}
            Err(why) => reasons.push(format!("{}: {why}", standing.member.name)),
        }
    }
    if reasons.is_empty() {
        reasons.push("there is no other voter".into());
    }
    best.map(|(_, standing)| standing)
        .ok_or_else(|| NoCandidate::None(reasons.join("; ")))
}

/// The applied index of a voter that follows the leader and keeps up, or why it does not.
pub(super) fn fitness(leader: &LeaderMark, standing: &Standing) -> Result<u64, String> {
    if standing.member.is_learner {
        return Err("it is a learner".into());
    }
    let status = standing
        .status
        .as_ref()
        .map_err(|why| format!("it does not answer ({why})"))?;
    if status.is_learner {
        return Err("it reports itself as a learner".into());
    }
    if status.leader != leader.id || status.raft_term != leader.term {
        return Err(format!(
            "it follows {:x} in term {}, not {:x} in term {}",
            status.leader, status.raft_term, leader.id, leader.term
        ));
    }
    let lag = leader.index.saturating_sub(status.raft_applied_index);
    if lag > LAG_MAX {
        return Err(format!("it lags by {lag} entries"));
    }
    Ok(status.raft_applied_index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: LeaderMark = LeaderMark {
        id: 1,
        term: 5,
        index: 10_000,
    };

    fn standing(id: u64, applied: u64, change: impl FnOnce(&mut Standing)) -> Standing {
        let member = Member {
            id,
            name: format!("p{id}"),
            ..Member::default()
        };
        let status = Status {
            leader: 1,
            raft_term: 5,
            raft_applied_index: applied,
            ..Status::default()
        };
        let mut standing = Standing {
            member,
            status: Ok(status),
        };
        change(&mut standing);
        standing
    }

    fn status(standing: &mut Standing) -> &mut Status {
        standing.status.as_mut().expect("a status")
    }

    /// What is wrong with member 2, and who is chosen then.
    type Case = (&'static str, fn(&mut Standing), &'static str);

    #[test]
    fn the_fittest_voter_takes_over() {
        let cases: &[Case] = &[
            ("nothing", |_| {}, "p2"),
            ("learner", |s| s.member.is_learner = true, "p3"),
            ("silent", |s| s.status = Err("refused".into()), "p3"),
            ("knows no leader", |s| status(s).leader = 0, "p3"),
            ("older term", |s| status(s).raft_term = 4, "p3"),
            ("lags", |s| status(s).raft_applied_index = 8_999, "p3"),
            (
                "a little behind",
                |s| status(s).raft_applied_index = 9_100,
                "p3",
            ),
        ];
        for (name, change, expected) in cases {
            let standings = [
                standing(1, 10_000, |_| {}),
                standing(2, 10_050, change),
                standing(3, 10_010, |_| {}),
            ];
            let chosen = choose(&LEADER, &standings, None).expect(name);
            assert_eq!(chosen.member.name, *expected, "{name}");
        }
    }

    #[test]
    fn a_named_member_leads_only_when_fit() {
        let standings = [
            standing(1, 10_000, |_| {}),
            standing(2, 100, |_| {}),
            standing(3, 10_000, |s| s.member.is_learner = true),
            standing(4, 10_000, |_| {}),
        ];
        let chosen = |name| choose(&LEADER, &standings, Some(name));
        assert_eq!(chosen("p4").expect("fit").member.id, 4);
        assert!(
            matches!(chosen("p2"), Err(NoCandidate::Unfit { .. })),
            "lags"
        );
        assert!(
            matches!(chosen("p3"), Err(NoCandidate::Unfit { .. })),
            "learner"
        );
        assert!(matches!(chosen("p9"), Err(NoCandidate::Unknown(_))));
    }

    #[test]
    fn alone_there_is_nobody() {
        let standings = [standing(1, 10_000, |_| {})];
        let error = choose(&LEADER, &standings, None).expect_err("alone");
        assert_eq!(
            error.to_string(),
            "no voter can take over: there is no other voter"
        );
    }
}
