//! Puts things into a cluster and waits for them: the operator and its definitions from the repository's `deploy/`,
//! etcd clusters, a namespace for each test, and what is collected when something went wrong.
//!
//! Applies objects as any user would; knows nothing of how the operator does its work.

mod apply;
mod collect;
mod error;
mod etcd;
mod namespace;
pub mod operator;
mod owner;

pub use apply::{apply, parse};
pub use collect::{collect_cluster, collect_namespace};
pub use error::DeployError;
pub use etcd::{EtcdCluster, EtcdState, cluster_resource};
pub use namespace::{
    TempNamespace, left as namespaces_left, orphaned as namespaces_orphaned, wait_quiet,
};
