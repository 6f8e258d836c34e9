//! For tests: a member of cluster 9, and what its agent says of it.

use kbagent_protocol::{Care, EtcdState, Format, Id, MemberStatus, MemberView};

/// The status of member `id`, which follows `leader`. A member's pod is called `p` and its number.
pub(crate) fn status(id: u64, leader: Option<u64>, term: u64) -> MemberStatus {
    MemberStatus {
        member_id: Id(id),
        cluster_id: Id(9),
        leader_id: leader.map(Id),
        leader: leader.map(|id| format!("p{id}")),
        term,
        revision: 1,
        raft_index: 1,
        applied_index: 1,
        is_learner: false,
        version: "3.6.16".to_owned(),
        db_size_bytes: 1,
        db_size_in_use_bytes: 1,
        db_quota_bytes: None,
        format: Format::default(),
        alarms: Vec::new(),
    }
}

/// What its agent says while etcd runs.
pub(crate) fn view(id: u64, leader: Option<u64>, term: u64) -> MemberView {
    MemberView {
        instance: format!("p{id}"),
        pod_uid: format!("uid-{id}"),
        agent_incarnation: 1,
        sequence: 1,
        etcd: EtcdState::Running,
        status: Some(status(id, leader, term)),
        status_age_ms: Some(10),
        under_way: None,
        care: Care::default(),
        campaign: None,
        accounts: None,
        v2_store: None,
        file_system_bytes: None,
        standing: None,
    }
}
