//! What was seen of a request's Cluster. Data only.

use std::collections::BTreeMap;

use etcd_operator_api::{Cluster, InstanceSet, OpsRequest};
use k8s_openapi::api::core::v1::{Pod, Service};

use super::places::Places;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The Cluster, if it is there and the request was not made for an earlier one of its name.
    pub(super) cluster: Option<Cluster>,
    /// Its components' InstanceSets, by component.
    pub(super) sets: BTreeMap<String, InstanceSet>,
    /// Its pods, by name.
    pub(super) pods: BTreeMap<String, Pod>,
    /// Claims of its members: UIDs by name.
    pub(super) claims: BTreeMap<String, String>,
    /// Claims that carry the request's mark: their resource versions by name.
    pub(super) marks: BTreeMap<String, String>,
    /// Nodes and storage, for a request that names nodes and has not begun.
    pub(super) places: Places,
    /// Services that the request is about, by the name of the object, as far as they are there.
    pub(super) services: BTreeMap<String, ServiceSeen>,
    /// All requests of the namespace, where others matter.
    pub(super) requests: Vec<OpsRequest>,
    /// Whether the Cluster can be carried out with the edit in it; only asked when it is about to be made.
    pub(super) rehearsal: Option<Result<(), String>>,
    /// What came of the switchovers, when they were asked for.
    pub(super) moved: Option<Result<Moved, NotMoved>>,
}

/// Leadership is where the request wants it, as an agent reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// What the agents say.
    pub(super) text: String,
    /// The pods that lead, by component.
    pub(super) leaders: BTreeMap<String, String>,
}

/// A service that is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ServiceSeen {
    /// The object.
    pub(super) service: Service,
    /// Endpoints that serve.
    pub(super) serving: usize,
}

/// Leadership was not moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotMoved {
    /// It cannot be: the agent says why.
    #[error("{0}")]
    Refused(String),
    /// It is not known, or no agent could be asked: try again.
    #[error("{0}")]
    Unknown(String),
}
