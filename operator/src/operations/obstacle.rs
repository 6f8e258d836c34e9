//! PURE: why an operation cannot come to its end as its Cluster is.

use std::collections::BTreeMap;

use etcd_operator_api::update::{InstanceUpdateStrategyType, amount};
use etcd_operator_api::{Cluster, ClusterComponentSpec, InstanceSet};
use kube::ResourceExt;

/// What an operation needs of its components.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Members run.
    pub(super) members: bool,
    /// The operator may change members and pods.
    pub(super) changes: bool,
    /// The operator recreates pods from a new template, all of them.
    pub(super) rollout: bool,
}

impl Needs {
    pub(super) const NOTHING: Needs = Needs {
        members: false,
        changes: false,
        rollout: false,
    };
    pub(super) const CHANGES: Needs = Needs {
        changes: true,
        ..Needs::NOTHING
    };
    pub(super) const MEMBERS: Needs = Needs {
        members: true,
        ..Needs::CHANGES
    };
    pub(super) const ROLLOUT: Needs = Needs {
        rollout: true,
        ..Needs::MEMBERS
    };
}

/// Why an operation cannot come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("component {0} is stopped: start it first (type Start)")]
    Stopped(String),
    #[error("InstanceSet {0} is paused: set its spec.paused to false first")]
    Paused(String),
    #[error(
        "component {0} has instanceUpdateStrategy OnDelete: pods are recreated only when their owner deletes them; set RollingUpdate first, or edit the Cluster and delete the pods"
    )]
    OnDelete(String),
    #[error(
        "component {component} has instanceUpdateStrategy.rollingUpdate.replicas {updated} and {members} members: the others keep their template; raise or remove it first"
    )]
    Partial {
        component: String,
        updated: usize,
        members: usize,
    },
}

impl Obstacle {
    /// Whether it is expected to be taken away while the operation waits.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Obstacle::Paused(_))
    }
}

/// The first thing in these components that stands in the way.
pub(super) fn obstacle<'a>(
    needs: Needs,
    components: impl Iterator<Item = &'a String>,
    cluster: &Cluster,
    sets: &BTreeMap<String, InstanceSet>,
) -> Option<Obstacle> {
    let of = |name: &'a String| {
        let mut specs = cluster.spec.component_specs.iter();
        let spec = specs.find(|spec| spec.name == *name)?;
        in_component(needs, spec, sets.get(name))
    };
    components.into_iter().find_map(of)
}

fn in_component(
    needs: Needs,
    spec: &ClusterComponentSpec,
    set: Option<&InstanceSet>,
) -> Option<Obstacle> {
    let component = spec.name.clone();
    if needs.members && spec.stop == Some(true) {
        return Some(Obstacle::Stopped(component));
    }
    if let Some(set) = set.filter(|set| needs.changes && set.spec.paused) {
        return Some(Obstacle::Paused(set.name_any()));
    }
    let strategy = spec.instance_update_strategy.as_ref()?;
    if !needs.rollout {
        return None;
    }
    if strategy.kind == InstanceUpdateStrategyType::OnDelete {
        return Some(Obstacle::OnDelete(component));
    }
    let members = usize::try_from(spec.replicas).unwrap_or_default();
    let updated = strategy.rolling_update.as_ref()?.replicas.as_ref()?;
    let updated = amount(updated, members);
    (updated < members).then_some(Obstacle::Partial {
        component,
        updated,
        members,
    })
}
