//! Hand-made views for tests.

use kbagent_protocol::{Id, MemberStatus, MemberView};

use crate::fake_agent;

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
    let status = MemberStatus {
        cluster_id: Id(99),
        leader_id: leader.map(member),
        leader: leader.map(str::to_owned),
        term,
        ..fake_agent::status(member(pod))
    };
    MemberView {
        sequence,
        ..fake_agent::view(pod, uid, status)
    }
}
