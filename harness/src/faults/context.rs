//! What every fault needs to know: the cluster, whose members are meant, how long it may live, how it names its traces.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::faults::{Capabilities, Member};
use crate::timeouts;

/// Where faults act.
#[derive(Clone, Debug)]
pub struct FaultContext {
    /// The cluster.
    pub cluster: Cluster,
    /// Namespace of the etcd cluster.
    pub namespace: String,
    /// Name of the etcd cluster.
    pub etcd: String,
    /// Name of its component.
    pub component: String,
    /// Seed of the random choices.
    pub seed: u64,
    /// How long a fault lives at most when nothing heals it.
    pub dead_man: Duration,
    /// What the nodes can do.
    pub capabilities: Arc<Capabilities>,
    seen: Arc<Mutex<Vec<Member>>>,
}

impl FaultContext {
    /// Faults on the etcd cluster `etcd` of a namespace. Tries what the nodes can do, once.
    pub async fn new(cluster: &Cluster, namespace: &str, etcd: &str) -> Self {
        let capabilities = Capabilities::of(cluster).await;
        Self {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            etcd: etcd.to_owned(),
            component: "etcd".to_owned(),
            seed: 0,
            dead_man: timeouts::DEAD_MAN,
            capabilities: Arc::new(capabilities),
            seen: Arc::default(),
        }
    }

    /// With another seed for random choices.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// With another limit for faults that nothing heals; longer than the plan wants them to last.
    #[must_use]
    pub fn with_dead_man(mut self, dead_man: Duration) -> Self {
        self.dead_man = dead_man;
        self
    }

    pub(crate) fn remember(&self, members: &[Member]) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = members.to_vec();
    }

    pub(crate) fn remembered(&self) -> Vec<Member> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A name for the traces of one fault: short, unique, valid everywhere (nft, iptables, file names).
    pub(crate) fn trace(&self) -> String {
        format!("f{:08x}", rand::random::<u32>())
    }
}
