//! PURE: what Kubernetes refuses of what a request has edited. A dry run does not find all of it: node ports, say, are
//! only taken when the service is really made.

use etcd_operator_api::ops_request::OpsRequestStatus;
use etcd_operator_api::{Cluster, OpsRequest};
use kube::ResourceExt;

use super::edit::Change;
use super::kinds;

/// The first object that Kubernetes refuses, of those that result from these changes, and the answer. A refusal of the
/// spec before the edit proves nothing about it, and what is wrong elsewhere in the Cluster does not concern the
/// request.
pub(super) fn refused(
    request: &OpsRequest,
    cluster: &Cluster,
    recorded: &OpsRequestStatus,
    changes: &[Change],
) -> Option<String> {
    let status = cluster.status.as_ref()?;
    let edited = recorded.cluster_generation?;
    if status.observed_generation.is_none_or(|seen| seen < edited) {
        return None;
    }
    let told = |(object, why): (&String, &String)| format!("{object}: {why}");
    let services = kinds::services_of(request);
    let component_of = |change: &Change| match change {
        Change::Component { component, .. } => Some(component.clone()),
        Change::Service { .. } => None,
    };
    let components: Vec<String> = changes.iter().filter_map(component_of).collect();
    let concerns = |object: &String| match object.split_once('/') {
        Some(("Service", name)) => services.iter().any(|service| service == name),
        Some(("Component", name)) => {
            let mut names = components.iter();
            names.any(|component| name == format!("{}-{component}", cluster.name_any()))
        }
        _ => false,
    };
    let mut own = status.refused_objects.iter();
    if let Some(found) = own.find(|(object, _)| concerns(object)) {
        return Some(told(found));
    }
    let said = components
        .iter()
        .filter_map(|name| status.components.get(name));
    said.flat_map(|said| &said.refused_objects).next().map(told)
}
