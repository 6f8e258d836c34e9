//! What a component's definition and version were resolved to, and why a spec cannot be carried out.

use etcd_operator_api::names::BadName;
use etcd_operator_api::opaque::NotOfType;

use crate::definition::{BadMetadata, Unresolved};

/// The spec cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpecError {
    /// A name.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A component's definition or version.
    #[error("spec.componentSpecs[{component}].{source}")]
    Unresolved {
        component: String,
        source: Unresolved,
    },
    /// A component without a definition.
    #[error(
        "spec.componentSpecs[{component}].componentDef is empty: name a ComponentDefinition, e.g. etcd"
    )]
    NoDefinition { component: String },
    /// A foreign object inside the spec.
    #[error("{0}")]
    NotOfType(String),
    /// A label or annotation.
    #[error(transparent)]
    Metadata(#[from] BadMetadata),
    /// A restore that cannot be.
    #[error("{0}")]
    Restore(String),
    /// A policy that nothing would come of.
    #[error(
        "spec.componentSpecs[{component}].podUpgradePolicy must be ReCreate or left out: a new version recreates pods"
    )]
    UpgradePolicy { component: String },
    /// A service that selects a component that is not there.
    #[error(
        "spec.services[{service}].componentSelector {component:?} is not one of spec.componentSpecs"
    )]
    UnknownComponent { service: String, component: String },
    /// A service of a role that no member has.
    #[error(
        "spec.services[{service}].roleSelector {role:?} is no role of the component's definition (spec.roles: {known})"
    )]
    UnknownRole {
        service: String,
        role: String,
        known: String,
    },
    /// A service without ports.
    #[error("spec.services[{service}].spec.ports is empty")]
    NoPorts { service: String },
    /// A service's kind.
    #[error(
        "spec.services[{service}].spec.type {kind:?} is not supported: use ClusterIP, NodePort or LoadBalancer"
    )]
    ServiceType { service: String, kind: String },
    /// Two services of one name.
    #[error("spec.services[{service}] would be named {name:?}, as another service of this Cluster")]
    ServiceName { service: String, name: String },
}

impl From<NotOfType> for SpecError {
    fn from(error: NotOfType) -> Self {
        SpecError::NotOfType(error.to_string())
    }
}

/// A component's definition and version, as they are recorded in the Component and shown in the Cluster's status. The
/// Cluster's spec is its owner's alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolution {
    /// Name of the component.
    pub(super) name: String,
    /// Name of the definition.
    pub(super) component_def: String,
    /// Version.
    pub(super) service_version: String,
}
