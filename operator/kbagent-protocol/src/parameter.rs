//! Names of the parameters of actions.

/// Pod that is to lead.
pub const SWITCHOVER_CANDIDATE_NAME: &str = "KB_SWITCHOVER_CANDIDATE_NAME";
/// Pod that leadership moves away from.
pub const SWITCHOVER_CURRENT_NAME: &str = "KB_SWITCHOVER_CURRENT_NAME";
/// Pod that joins.
pub const JOIN_MEMBER_POD_NAME: &str = "KB_JOIN_MEMBER_POD_NAME";
/// Its full DNS name.
pub const JOIN_MEMBER_POD_FQDN: &str = "KB_JOIN_MEMBER_POD_FQDN";
/// Pod that leaves.
pub const LEAVE_MEMBER_POD_NAME: &str = "KB_LEAVE_MEMBER_POD_NAME";
/// Its full DNS name.
pub const LEAVE_MEMBER_POD_FQDN: &str = "KB_LEAVE_MEMBER_POD_FQDN";
/// Identifier of the member the action is about, hexadecimal.
pub const MEMBER_ID: &str = "KB_MEMBER_ID";
/// The alarm the action is about, in etcd's word.
pub const ALARM: &str = "KB_ALARM";
/// UID of the OpsRequest by which a defragmentation is asked for.
pub const DEFRAGMENTATION_REQUEST: &str = "KB_DEFRAGMENTATION_REQUEST";
/// The minor that a downgrade leads to, e.g. `3.5`.
pub const DOWNGRADE_TARGET: &str = "KB_DOWNGRADE_TARGET";
