//! What etcd's own status says of a member: its leader, its figures, its alarms.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Format, Id, Role};

/// What etcd's `Maintenance.Status` said of its own member, with names for its identifiers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Identifier of the member.
    pub member_id: Id,
    /// Identifier of the cluster.
    pub cluster_id: Id,
    /// Identifier of the leader this member follows; `None` when it knows none.
    pub leader_id: Option<Id>,
    /// Name of that leader (its pod), when the member list tells it.
    pub leader: Option<String>,
    /// Revision of the key space that the member has applied.
    #[serde(default)]
    pub revision: i64,
    /// Raft term.
    pub term: u64,
    /// Raft index committed, as etcd reports it.
    pub raft_index: u64,
    /// Raft index applied.
    pub applied_index: u64,
    /// True for a member without a vote.
    pub is_learner: bool,
    /// Version of the running server, e.g. `3.6.5`.
    pub version: String,
    /// Bytes of the backend file.
    pub db_size_bytes: u64,
    /// Bytes of it in use.
    pub db_size_in_use_bytes: u64,
    /// Quota of the backend in bytes; `None` where the version does not report it (before 3.6).
    pub db_quota_bytes: Option<u64>,
    /// The format of its data, and a downgrade of it.
    #[serde(default)]
    pub format: Format,
    /// Alarms and errors this member reports, e.g. `NOSPACE`, `CORRUPT`, `etcdserver: no leader`.
    pub alarms: Vec<String>,
}

/// An alarm of etcd. Alarms are replicated: every member reports those of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// The member it is about; 0 when etcd cannot tell which one is wrong.
    pub member: Id,
    /// What is wrong.
    pub kind: AlarmKind,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The member's database has reached its quota: the cluster accepts no writes that need space.
    NoSpace,
    /// The member's data differs from that of others: the cluster serves neither reads nor writes.
    Corrupt,
}

impl AlarmKind {
    /// etcd's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        }
    }
}

impl FromStr for AlarmKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [AlarmKind::NoSpace, AlarmKind::Corrupt];
        all.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

impl MemberStatus {
    /// The alarms among what etcd lists as errors, each as the text of its message: `memberID:123 alarm:NOSPACE`,
    /// without the fields that are zero.
    pub fn raised(&self) -> impl Iterator<Item = Alarm> {
        self.alarms.iter().filter_map(|text| {
            let field = |name: &str| {
                let mut words = text.split_whitespace();
                words.find_map(|word| word.strip_prefix(name)?.strip_prefix(':'))
            };
            let kind = field("alarm")?.parse().ok()?;
            let member = field("memberID").map_or(Ok(0), str::parse).ok()?;
            Some(Alarm {
                member: Id(member),
                kind,
            })
        })
    }

    /// The role this status gives its member: a leader only when the member reports itself as leader.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.is_learner {
            Role::Learner
        } else if self.leader_id == Some(self.member_id) {
            Role::Leader
        } else {
            Role::Follower
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_told_from_other_errors_and_name_their_member() {
        let text = r#"{"memberId":"1","clusterId":"2","leaderId":null,"leader":null,"term":3,"raftIndex":4,"appliedIndex":4,
            "isLearner":false,"version":"3.6.16","dbSizeBytes":0,"dbSizeInUseBytes":0,"dbQuotaBytes":null,
            "alarms":["etcdserver: no leader","memberID:255 alarm:NOSPACE ","alarm:CORRUPT ","memberID:x alarm:NOSPACE",
            "memberID:1  alarm:OTHER"]}"#;
        let status: MemberStatus = serde_json::from_str(text).expect("a status");
        let raised: Vec<_> = status.raised().collect();
        let alarm = |member, kind| Alarm {
            member: Id(member),
            kind,
        };
        let known = [alarm(255, AlarmKind::NoSpace), alarm(0, AlarmKind::Corrupt)];
        assert_eq!(raised, known);
    }
}
