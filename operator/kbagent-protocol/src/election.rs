//! What agents say to each other when a leader has died.

use serde::{Deserialize, Serialize};

use crate::Id;

/// Body of [`crate::PATH_ELECTION`]: an agent asks for standings, or for consent to let its own member campaign. The
/// agent of a new leader asks that of the former one, whose member may not know yet that it was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElectionRequest {
    /// The leader that is said to have died, or to have been replaced. Who answers finds out itself.
    pub leader: Id,
    /// What raft says in the member of the agent that asks.
    pub standing: ElectionStanding,
    /// True to ask for consent to a campaign from `standing.term`, false to ask for the standing only.
    pub consent: bool,
}

/// What raft says in one member, read just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElectionStanding {
    /// The member.
    pub member_id: Id,
    /// Its cluster.
    pub cluster_id: Id,
    /// Its raft term, which is ahead of the term in a status during an election.
    pub term: u64,
    /// The leader that it follows; `None` during an election.
    pub leader_id: Option<Id>,
    /// Raft index committed.
    pub commit: u64,
    /// True for a member without a vote.
    pub is_learner: bool,
}

/// Answer of [`crate::PATH_ELECTION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElectionAnswer {
    /// Of the member beside the agent that answers; `None` when its etcd does not tell.
    pub standing: Option<ElectionStanding>,
    /// True when the agent consents.
    pub consents: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One line of [`crate::PATH_BEATS`]: the agent lives, and when its etcd was last seen to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Beat {
    /// Milliseconds since the etcd beside the agent answered; `None` when it has not answered yet.
    pub silent_ms: Option<u64>,
    /// True when the agent itself came late just now, so that the silence of its etcd tells nothing.
    pub starved: bool,
    /// Milliseconds since the etcd beside the agent, which leads, last reached a majority of voters; `None` while it
    /// does, when that is not known, and of an older agent. An older agent does not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off_ms: Option<u64>,
}

/// A campaign that an agent began, and what came of it. Part of its [`crate::MemberView`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Campaign {
    /// The term that it was begun from.
    pub term: u64,
    /// The leader of before.
    pub leader: Id,
    /// True when that was silent for too long, false when it had died.
    pub suspected: bool,
    /// What came of it.
    pub outcome: Outcome,
    /// Milliseconds from the news to that.
    pub after_ms: u64,
}

/// What came of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The member leads.
    Won,
    /// Another was sooner, or raft's own timeout had its turn.
    Late,
    /// The member leads, and the old leader was there all the time.
    Needless,
}

/// What an agent has done to shorten elections since it came up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ElectionReport {
    /// False when the setting `fastElection` is `false`.
    pub enabled: bool,
    /// True when the silence of a leader counts, too: `fastElection` is `suspicion`.
    #[serde(default)]
    pub suspicion: bool,
    /// Campaigns that were begun.
    pub started: u64,
    /// Of these, those after which the own member led.
    pub won: u64,
    /// Of these, those after which it did not: another was sooner, or raft's own timeout had its turn.
    pub late: u64,
    /// Of those that were won, those for which there was no need: the old leader was there all the time.
    pub needless: u64,
    /// Deaths of a leader that were left to raft's own timeout.
    pub left_to_raft: u64,
    /// Times at which this agent suspected a leader that was silent, whether or not a campaign came of it.
    #[serde(default)]
    pub suspected: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As agents of a former version read and write it.
    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Former {
        silent_ms: Option<u64>,
        starved: bool,
    }

    #[test]
    fn beats_are_read_by_a_former_version_and_of_one() {
        let beat = Beat {
            silent_ms: Some(12),
            starved: false,
            cut_off_ms: Some(210),
        };
        let text = serde_json::to_string(&beat).expect("serialize");
        assert_eq!(text, r#"{"silentMs":12,"starved":false,"cutOffMs":210}"#);
        assert_eq!(serde_json::from_str::<Beat>(&text).expect("parse"), beat);
        let former = Former {
            silent_ms: Some(12),
            starved: false,
        };
        let read: Former = serde_json::from_str(&text).expect("a former version reads it");
        assert_eq!(read, former);
        let text = serde_json::to_string(&former).expect("serialize");
        let without = Beat {
            cut_off_ms: None,
            ..beat
        };
        assert_eq!(serde_json::from_str::<Beat>(&text).expect("parse"), without);
        assert_eq!(serde_json::to_string(&without).expect("serialize"), text);
    }
}
