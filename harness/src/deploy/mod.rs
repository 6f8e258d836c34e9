//! Puts things into a cluster and waits for them: the operator and its definitions from the repository's `deploy/`,
//! etcd clusters, a namespace for each test, and what is collected when something went wrong.
//!
//! Applies objects as any user would; knows nothing of how the operator does its work.

mod apply;
mod collect;
mod error;
mod etcd;
pub(crate) mod growing;
mod guard;
mod namespace;
pub(crate) mod operator;
mod own_ca;
pub(crate) mod owner;
pub(crate) mod policies;

pub(crate) use apply::{apply, parse};
pub(crate) use collect::{collect_cluster, collect_namespace};
pub(crate) use error::{DeployError, is_denied, refused};
pub(crate) use etcd::{EtcdCluster, cluster_resource};
pub use guard::Guard;
pub(crate) use guard::Keys;
pub(crate) use namespace::{
    TempNamespace, left as namespaces_left, orphaned as namespaces_orphaned, wait_quiet,
};
pub use policies::Reach;
