//! A cluster that is there, and shells in its nodes. Knows nothing of etcd, the operator or faults.
//!
//! A kind cluster of our own is made by [`kind`] with the scripts below `images/`; any other is attached to by its
//! kubeconfig. Docker is reached through its API only, so it may run in a virtual machine; a cluster whose nodes are
//! no containers of that Docker simply has no node shells.

pub(crate) mod addresses;
mod attach;
pub(crate) mod beside;
mod creation;
mod docker;
mod error;
#[cfg(test)]
pub(crate) mod fake_docker;
pub(crate) mod kernel;
pub(crate) mod kind;
mod lock;
mod progress;
pub(crate) mod proxy;
mod repository;
mod shell;
mod state;
pub(crate) mod taint;
mod took;
mod tuning;
pub(crate) mod volumes;
mod weight;

pub use attach::{Choice, Cluster, Node, NodeRole};
pub use docker::{connect as connect_docker, kind_nodes};
pub use error::ClusterError;
pub(crate) use lock::state_dir;
pub use lock::{ClusterLock, LockError};
pub use progress::Progress;
pub use repository::{Repository, RepositoryError};
#[cfg(test)]
pub(crate) use shell::assert_is_shell;
pub use shell::{NodeShell, ShellError, ShellOutput};
pub(crate) use shell::{exec, exec_as};
pub(crate) use state::KUBELET_ANSWERS;
pub use state::{NodeState, node_states, wait_nodes_back, wait_nodes_ready};
