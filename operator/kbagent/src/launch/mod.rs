//! The launcher: runs as process 1 of etcd's container, finds out whether and how etcd may start, starts it, and stands
//! over it: when the agent finds that the member was deposed and has no leader, etcd is killed and started again.
//!
//! [`decide`] and `demand` are pure; `evidence` reads, `arguments` writes etcd's flags, `run` and `supervise` do;
//! `v2store` is a process beside etcd that checks for what 3.6 does not start with.
//! Must not change membership, and must never start etcd when it does not know (M5): a member that starts wrongly can
//! lose data, one that waits can not.

mod arguments;
mod decide;
mod demand;
mod evidence;
mod run;
mod supervise;
mod v2store;

pub use kbagent_protocol::IDENTITY_FILE;

pub use decide::{Decision, Evidence, Identity, IdentityFile, OldLog, Trace, decide};
pub use demand::Demand;
pub use run::{LaunchError, run};
pub use v2store::check_v2;

/// In the run directory: etcd was started in this pod.
pub const BEGUN_FILE: &str = "etcd-begun";
/// In the run directory: etcd answered in this pod (left by the server's watcher).
pub const ANSWERED_FILE: &str = "etcd-answered";
/// In the run directory: why etcd is not started, as JSON.
pub const REFUSED_FILE: &str = "refused.json";
/// Beside the data directory: the mark by which etcd was last started as the only member of its cluster.
pub const FORCED_FILE: &str = "kbagent-forced";
/// In the run directory: what etcd's store of its API v2 holds, as JSON.
pub const V2STORE_FILE: &str = "v2store.json";
/// In the run directory: the socket at which the launcher takes demands of the agent.
pub const LAUNCHER_SOCKET: &str = "launcher.sock";
/// In the run directory: clients come to the agent, and etcd was started where that asks it.
pub const FRONT_FILE: &str = "agent-accepts-clients";
/// What the launcher answers when it does what was demanded; anything else says why not.
pub const YES: &str = "yes";
/// Longest answer of the launcher.
pub const ANSWER_BYTES: u64 = 256;
