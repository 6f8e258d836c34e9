//! The launcher: runs as process 1 of etcd's container, finds out whether and how etcd may start, then becomes etcd.
//!
//! [`decide`] is pure; `evidence` reads, `arguments` writes etcd's flags, `run` does. Must not change membership, and
//! must never start etcd when it does not know (M5): a member that starts wrongly can lose data, one that waits can
//! not.

mod arguments;
mod decide;
mod evidence;
mod run;

pub use decide::{Decision, Evidence, Identity, IdentityFile, Trace, decide};
pub use run::{LaunchError, run};

/// In the run directory: etcd was started in this pod.
pub const BEGUN_FILE: &str = "etcd-begun";
/// In the run directory: etcd answered in this pod (left by the server's watcher).
pub const ANSWERED_FILE: &str = "etcd-answered";
/// In the run directory: why etcd is not started, as JSON.
pub const REFUSED_FILE: &str = "refused.json";
/// Beside the data directory: the mark by which etcd was last started as the only member of its cluster.
pub const FORCED_FILE: &str = "kbagent-forced";
/// Beside the data directory: whose data it is, as JSON.
pub const IDENTITY_FILE: &str = "kbagent-identity.json";
