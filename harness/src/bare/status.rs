//! What members say of themselves and of their leader, as `etcdctl endpoint status` prints it. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::faults::Member;

/// What the members that answered have said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Status {
    answers: BTreeMap<String, Answer>,
}

#[derive(Clone, Debug, PartialEq)]
struct Answer {
    member: u64,
    leader: u64,
    term: u64,
    revision: u64,
    applied: u64,
    version: String,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "Endpoint")]
    endpoint: String,
    #[serde(rename = "Status")]
    status: Told,
}

#[derive(Deserialize)]
struct Told {
    header: Header,
    /// etcd leaves out what is 0: a member without a leader.
    #[serde(default)]
    leader: u64,
    #[serde(default, rename = "raftAppliedIndex")]
    applied: u64,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Header {
    member_id: u64,
    #[serde(default)]
    revision: u64,
    #[serde(default)]
    raft_term: u64,
}

impl Status {
    /// From the JSON that etcdctl prints; it names only those that answered.
    ///
    /// # Errors
    /// When it is none, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines: Option<Vec<Line>> = serde_json::from_str(text.trim())
            .map_err(|error| format!("{error}: {:?}", text.trim()))?;
        let answer = |line: Line| {
            let name = line.endpoint.rsplit_once(':');
            let name = name.map_or(line.endpoint.as_str(), |(host, _)| host);
            let answer = Answer {
                member: line.status.header.member_id,
                leader: line.status.leader,
                term: line.status.header.raft_term,
                revision: line.status.header.revision,
                applied: line.status.applied,
                version: line.status.version,
            };
            (name.to_owned(), answer)
        };
        Ok(Self {
            answers: lines.into_iter().flatten().map(answer).collect(),
        })
    }

    /// True when this member answered.
    pub(crate) fn answers(&self, member: &str) -> bool {
        self.answers.contains_key(member)
    }

    /// True when this member answered that it follows a leader or leads.
    pub(crate) fn has_leader(&self, member: &str) -> bool {
        let answer = self.answers.get(member);
        answer.is_some_and(|answer| answer.leader != 0)
    }

    /// The leader of the highest term that a member that answered knows.
    pub(crate) fn leader(&self) -> Option<&str> {
        let known = self.answers.values().filter(|answer| answer.leader != 0);
        let newest = known.max_by_key(|answer| answer.term)?;
        let mut answers = self.answers.iter();
        let (name, _) = answers.find(|(_, answer)| answer.member == newest.leader)?;
        Some(name)
    }

    /// The identifier of a member that answered.
    pub(crate) fn id(&self, member: &str) -> Option<u64> {
        self.answers.get(member).map(|answer| answer.member)
    }

    /// The highest term that a member knows.
    pub(crate) fn term(&self) -> u64 {
        let terms = self.answers.values().map(|answer| answer.term);
        terms.max().unwrap_or_default()
    }

    /// The newest revision that a member has.
    pub(crate) fn revision(&self) -> u64 {
        let revisions = self.answers.values().map(|answer| answer.revision);
        revisions.max().unwrap_or_default()
    }

    /// How many entries of the raft log the one that has applied least is behind the one that has applied most.
    pub(crate) fn behind(&self) -> u64 {
        let applied = || self.answers.values().map(|answer| answer.applied);
        let (most, least) = (applied().max(), applied().min());
        most.unwrap_or(0).saturating_sub(least.unwrap_or(0))
    }

    /// The version of a member that answered.
    pub(crate) fn version(&self, member: &str) -> Option<&str> {
        let answer = self.answers.get(member)?;
        Some(&answer.version)
    }

    /// Versions that the members run.
    pub(crate) fn versions(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self
            .answers
            .values()
            .map(|answer| &*answer.version)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The leader, when all of these members answered and follow one.
    ///
    /// # Errors
    /// What is missing, in words.
    pub(crate) fn agreed(&self, members: &[String]) -> Result<&str, String> {
        let silent: Vec<&str> = members
            .iter()
            .map(String::as_str)
            .filter(|name| !self.answers(name))
            .collect();
        if !silent.is_empty() {
            return Err(format!("no answer of {}", silent.join(", ")));
        }
        let of = |name: &String| self.answers.get(name).map(|answer| answer.leader);
        let first = members.first().and_then(of);
        if members.iter().any(|name| of(name) != first) {
            return Err("members name different leaders".to_owned());
        }
        self.leader().ok_or_else(|| "no leader".to_owned())
    }

    /// The members with their roles, as selectors of faults want them.
    pub(crate) fn members(&self, names: &[String]) -> Vec<Member> {
        let leader = self.leader();
        let member = |(ordinal, name): (u32, &String)| {
            let role = match (self.answers(name), leader) {
                (true, Some(leader)) if leader == name => Some("leader"),
                (true, _) => Some("follower"),
                (false, _) => None,
            };
            Member {
                pod: name.clone(),
                ordinal: Some(ordinal),
                uid: name.clone(),
                ip: None,
                node: None,
                role: role.map(str::to_owned),
            }
        };
        (0..).zip(names).map(member).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, member: u64, leader: u64, term: u64) -> String {
        let leader = match leader {
            0 => String::new(),
            leader => format!(r#""leader":{leader},"#),
        };
        let header = format!(r#""header":{{"member_id":{member},"raft_term":{term}}}"#);
        let status = format!(r#"{{{header},{leader}"version":"3.6.16"}}"#);
        format!(r#"{{"Endpoint":"{name}:2379","Status":{status}}}"#)
    }

    fn status(lines: &[String]) -> Status {
        Status::parse(&format!("[{}]\n", lines.join(","))).expect("a status")
    }

    fn names() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn all_must_answer_and_agree() {
        let big = u64::MAX - 7;
        let (a, b) = (line("a", 1, big, 4), line("b", big, big, 4));
        let whole = status(&[a.clone(), b.clone(), line("c", 3, big, 4)]);
        assert_eq!(whole.agreed(&names()), Ok("b"));
        assert_eq!(whole.versions(), ["3.6.16"]);
        assert_eq!((whole.id("b"), whole.term()), (Some(big), 4));
        let roles: Vec<_> = whole
            .members(&names())
            .into_iter()
            .map(|m| m.role)
            .collect();
        let role = |word: &str| Some(word.to_owned());
        assert_eq!(roles, [role("follower"), role("leader"), role("follower")]);

        let silent = status(&[a.clone(), b.clone()]);
        assert_eq!(silent.agreed(&names()), Err("no answer of c".to_owned()));
        assert_eq!(silent.members(&names())[2].role, None);
        let lost = status(&[a, b, line("c", 3, 0, 4)]);
        assert!(lost.agreed(&names()).is_err(), "c follows none");
        assert!(lost.answers("c") && !lost.has_leader("c"));
    }

    #[test]
    fn the_leader_is_that_of_the_highest_term() {
        let of = |lines: &[String]| status(lines).leader().map(str::to_owned);
        let split = [line("a", 1, 1, 4), line("b", 2, 2, 5), line("c", 3, 2, 5)];
        assert_eq!(of(&split), Some("b".to_owned()));
        let gone = [line("a", 1, 9, 4), line("b", 2, 9, 4)];
        assert_eq!(of(&gone), None, "the leader itself does not answer");
    }

    #[test]
    fn who_has_applied_least_is_behind() {
        let at = |name: &str, member: u64, applied: u64| {
            let text = line(name, member, 1, 4);
            text.replace(
                "\"version\"",
                &format!("\"raftAppliedIndex\":{applied},\"version\""),
            )
        };
        let members = [at("a", 1, 5_200), at("b", 2, 5_190), at("c", 3, 90)];
        assert_eq!(status(&members).behind(), 5_110);
        let further = members[1].replace("\"raft_term\"", "\"revision\":812,\"raft_term\"");
        assert_eq!(status(&[members[0].clone(), further]).revision(), 812);
        assert_eq!(Status::default().behind(), 0);
    }

    #[test]
    fn no_member_answered_is_a_status_and_nonsense_is_none() {
        assert_eq!(Status::parse("null\n"), Ok(Status::default()));
        assert!(Status::parse("panic").is_err());
    }
}
