//! Faults of processes: members', the operator's, the control plane's, the DNS servers'. [`harm`] does it wherever they
//! are, by [`scripts`] that run in a node; [`starve`] takes members' processors.

pub(super) mod control_plane;
pub(super) mod dns;
pub(super) mod election;
pub(super) mod harm;
pub(super) mod operator;
pub(super) mod replicas;
pub(super) mod rollout;
pub(super) mod scripts;
pub(super) mod starve;
