//! KubeBlocks' custom resources as this operator serves them: types, names, labels, admission rules.
//!
//! Data only: no client, no clock, no decision. Field names and values follow KubeBlocks' `v1` so that
//! its manifests apply unchanged; a field whose effect is not built yet is declared and refused by a
//! rule that names it, never ignored.
//!
//! ```
//! use etcd_operator_api::{Cluster, OpsRequest, OpsType, TerminationPolicy, names::ComponentName};
//! use kube::CustomResourceExt as _;
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster: Cluster = serde_json::from_value(json!({
//!     "metadata": { "name": "three" },
//!     "spec": { "terminationPolicy": "Delete", "componentSpecs": [{ "name": "etcd", "replicas": 3 }] },
//! }))?;
//! assert_eq!(cluster.spec.termination_policy, TerminationPolicy::Delete);
//! // The service that leads to the leader has the name of the component.
//! assert_eq!(ComponentName::new("three", "etcd")?.to_string(), "three-etcd");
//!
//! let restart: OpsRequest = serde_json::from_value(json!({
//!     "metadata": { "name": "restart" },
//!     "spec": { "clusterName": "three", "type": "Restart", "restart": [{ "componentName": "etcd" }] },
//! }))?;
//! assert_eq!(restart.spec.kind, OpsType::Restart);
//!
//! // What the API server is given, rules included.
//! assert_eq!(Cluster::crd().metadata.name.as_deref(), Some("clusters.apps.kubeblocks.io"));
//! # Ok(())
//! # }
//! ```

pub mod account;
pub mod backup;
pub mod backup_policy;
pub mod backup_repo;
pub mod backup_schedule;
pub mod bounds;
pub mod cluster;
pub mod component;
pub mod component_definition;
pub mod component_version;
pub mod condition;
pub mod defragmentation;
pub mod instance_set;
pub mod labels;
pub mod lifecycle;
pub mod names;
pub mod opaque;
pub mod ops_request;
pub mod quantity;
pub mod recovery;
pub mod restore;
pub mod rules;
pub mod scheduling;
pub mod service;
pub mod settings;
pub mod tls;
pub mod update;
pub mod volume;

pub use backup::{Backup, BackupPhase, BackupSpec, BackupStatus, DeletionPolicy};
pub use backup_policy::{BackupPolicy, BackupPolicySpec, BackupPolicyStatus};
pub use backup_repo::{BackupRepo, BackupRepoSpec, BackupRepoStatus};
pub use backup_schedule::{BackupSchedule, BackupScheduleSpec, BackupScheduleStatus};
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
