//! The member list of etcd.

use serde::{Deserialize, Serialize};

use crate::Id;

/// The members of the cluster, read linearizably. Answer of [`crate::PATH_MEMBERS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberList {
    /// Identifier of the cluster.
    pub cluster_id: Id,
    /// Raft term of the answer.
    pub term: u64,
    /// The members, in order of their identifiers.
    pub members: Vec<Member>,
}

/// One entry of the member list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Identifier.
    pub id: Id,
    /// Name; empty while the member has never started.
    pub name: String,
    /// Peer URLs.
    pub peer_urls: Vec<String>,
    /// Client URLs; empty while the member has never started.
    pub client_urls: Vec<String>,
    /// True for a member without a vote.
    pub is_learner: bool,
}
