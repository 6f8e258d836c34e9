//! Hand-made views for tests.

use kbagent_protocol::{EtcdState, Id, MemberStatus, MemberView};

/// Member identifier of the pod `a-{n}`.
pub(crate) fn member(pod: &str) -> Id {
    let next = |id: u64, byte| id.wrapping_mul(31).wrapping_add(u64::from(byte));
    Id(pod.bytes().fold(7, next))
}

/// A view of a member that runs.
pub(crate) fn running(
    pod: &str,
    uid: &str,
    sequence: u64,
    leader: Option<&str>,
    term: u64,
) -> MemberView {
    MemberView {
        instance: pod.to_owned(),
        pod_uid: uid.to_owned(),
        agent_incarnation: 1,
        sequence,
        etcd: EtcdState::Running,
        status: Some(MemberStatus {
            member_id: member(pod),
            cluster_id: Id(99),
            leader_id: leader.map(member),
            leader: leader.map(str::to_owned),
            term,
            revision: 0,
            raft_index: 10,
            applied_index: 10,
            is_learner: false,
            version: "3.6.5".to_owned(),
            db_size_bytes: 0,
            db_size_in_use_bytes: 0,
            db_quota_bytes: None,
            format: Default::default(),
            alarms: Vec::new(),
        }),
        status_age_ms: Some(0),
        under_way: None,
        care: Default::default(),
        campaign: None,
        standing: None,
        file_system_bytes: None,
        accounts: None,
        v2_store: None,
    }
}
