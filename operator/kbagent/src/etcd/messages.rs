//! The messages of etcd's gRPC API that kbagent uses, with etcd's field numbers (rpc.proto of 3.5 to 3.7; unknown
//! fields are skipped, absent ones are zero). Data only.

use kbagent_protocol::Id;

/// Header of every answer.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct ResponseHeader {
    /// Cluster that answered.
    #[prost(uint64, tag = "1")]
    pub cluster_id: u64,
    /// Member that answered.
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
    /// Revision of the key space.
    #[prost(int64, tag = "3")]
    pub revision: i64,
    /// Raft term.
    #[prost(uint64, tag = "4")]
    pub raft_term: u64,
}

/// Request without fields (`StatusRequest`).
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Empty {}

/// `StatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// Header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Version of the server.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Bytes of the backend file.
    #[prost(int64, tag = "3")]
    pub db_size: i64,
    /// Leader's member identifier; 0 when the member knows none.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
    /// Raft index committed.
    #[prost(uint64, tag = "5")]
    pub raft_index: u64,
    /// Raft term.
    #[prost(uint64, tag = "6")]
    pub raft_term: u64,
    /// Raft index applied.
    #[prost(uint64, tag = "7")]
    pub raft_applied_index: u64,
    /// Alarms and errors.
    #[prost(string, repeated, tag = "8")]
    pub errors: Vec<String>,
    /// Bytes of the backend in use.
    #[prost(int64, tag = "9")]
    pub db_size_in_use: i64,
    /// True for a member without a vote.
    #[prost(bool, tag = "10")]
    pub is_learner: bool,
    /// Quota of the backend in bytes; 0 before 3.6.
    #[prost(int64, tag = "12")]
    pub db_size_quota: i64,
    /// The minor whose servers read its data; empty before 3.6.
    #[prost(string, tag = "11")]
    pub storage_version: String,
    /// The downgrade that is in progress; never before 3.6.
    #[prost(message, optional, tag = "13")]
    pub downgrade: Option<DowngradeInfo>,
}

/// `DowngradeInfo`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DowngradeInfo {
    /// True until it has ended or is cancelled.
    #[prost(bool, tag = "1")]
    pub enabled: bool,
    /// Where it leads, e.g. `3.5.0`.
    #[prost(string, tag = "2")]
    pub target_version: String,
}

/// `DowngradeRequest`; the actions are etcd's numbers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct DowngradeRequest {
    #[prost(int32, tag = "1")]
    pub(super) action: i32,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

/// One member.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Member {
    /// Identifier.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Name; empty until the member has started.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Peer URLs.
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    /// Client URLs; empty until the member has started.
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
    /// True for a member without a vote.
    #[prost(bool, tag = "5")]
    pub is_learner: bool,
}

impl From<&Member> for kbagent_protocol::Member {
    fn from(member: &Member) -> Self {
        Self {
            id: Id(member.id),
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: member.client_urls.clone(),
            is_learner: member.is_learner,
        }
    }
}

/// `MemberListRequest`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct MemberListRequest {
    #[prost(bool, tag = "1")]
    pub(super) linearizable: bool,
}

/// `MemberListResponse`, and by the same field numbers those of remove and promote.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberList {
    /// Header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Members.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}

impl From<&MemberList> for kbagent_protocol::MemberList {
    fn from(list: &MemberList) -> Self {
        let header = list.header.unwrap_or_default();
        let mut members: Vec<_> = list.members.iter().map(Into::into).collect();
        members.sort_by_key(|member: &kbagent_protocol::Member| member.id);
        Self {
            cluster_id: Id(header.cluster_id),
            term: header.raft_term,
            members,
        }
    }
}

/// `MemberAddRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemberAddRequest {
    #[prost(string, repeated, tag = "1")]
    pub(super) peer_urls: Vec<String>,
    #[prost(bool, tag = "2")]
    pub(super) is_learner: bool,
}

/// `MemberAddResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MemberAddResponse {
    #[prost(message, optional, tag = "2")]
    pub(super) member: Option<Member>,
}

/// Request with one identifier: `MemberRemoveRequest`, `MemberPromoteRequest`, `MoveLeaderRequest`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct IdRequest {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
}

/// `CompactionRequest`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct CompactionRequest {
    #[prost(int64, tag = "1")]
    pub(super) revision: i64,
}

/// `AlarmRequest`; the alarms are etcd's numbers.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct AlarmRequest {
    #[prost(int32, tag = "1")]
    pub(super) action: i32,
    #[prost(uint64, tag = "2")]
    pub(super) member_id: u64,
    #[prost(int32, tag = "3")]
    pub(super) alarm: i32,
}

/// `HashKVRequest`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct HashKvRequest {
    #[prost(int64, tag = "1")]
    pub(super) revision: i64,
}

/// `HashKVResponse`, as far as it matters.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct HashKvResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(uint32, tag = "2")]
    pub(super) hash: u32,
    #[prost(int64, tag = "3")]
    pub(super) compact_revision: i64,
}

/// What one member's key space is, to be compared with that of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// The hash.
    pub hash: u32,
    /// The revision that the member was compacted at.
    pub compact_revision: i64,
}

/// An answer of which the header alone matters.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Done {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_status_of_a_newer_server_is_read_and_unknown_fields_are_skipped() {
        let status = Status {
            leader: 9,
            is_learner: true,
            db_size_quota: 7,
            ..Status::default()
        };
        let mut bytes = status.encode_to_vec();
        // field 14, a message of 2 bytes that this reader does not know
        bytes.extend_from_slice(&[14 << 3 | 2, 2, 8, 1]);
        assert_eq!(Status::decode(bytes.as_slice()).expect("decode"), status);
    }
}
