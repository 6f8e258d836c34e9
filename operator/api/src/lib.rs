//! KubeBlocks' custom resources as this operator serves them: types, names, labels, admission rules.
//!
//! Data only: no client, no clock, no decision. Field names and values follow KubeBlocks' `v1` so that
//! its manifests apply unchanged; a field whose effect is not built yet is declared and refused by a
//! rule that names it, never ignored.

pub mod bounds;
pub mod cluster;
pub mod component;
pub mod component_definition;
pub mod component_version;
pub mod condition;
pub mod instance_set;
pub mod labels;
pub mod lifecycle;
pub mod names;
pub mod opaque;
pub mod ops_request;
pub mod quantity;
pub mod recovery;
pub mod rules;
pub mod scheduling;
pub mod service;
pub mod settings;
pub mod tls;
pub mod update;
pub mod volume;

pub use cluster::{Cluster, ClusterComponentSpec, ClusterPhase, ClusterSpec, ClusterStatus};
pub use component::{Component, ComponentPhase, ComponentSpec, ComponentStatus, TerminationPolicy};
pub use component_definition::{
    ComponentDefinition, ComponentDefinitionSpec, ComponentDefinitionStatus, ReplicaRole,
};
pub use component_version::{ComponentVersion, ComponentVersionSpec, ComponentVersionStatus};
pub use instance_set::{InstanceSet, InstanceSetSpec, InstanceSetStatus, MemberStatus};
pub use opaque::Opaque;
pub use ops_request::{OpsPhase, OpsRequest, OpsRequestSpec, OpsRequestStatus, OpsType};

/// Name under which the operator owns fields in server-side apply. One for all controllers.
pub const FIELD_MANAGER: &str = "etcd-operator";
