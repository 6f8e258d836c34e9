//! The operator's pods: all, or that which holds the lease.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::deploy::operator;
use crate::faults::{FaultContext, FaultError, Member, Replicas};

/// The replicas that are meant, each with the name of its container.
pub(crate) async fn pods(
    context: &FaultContext,
    replicas: Replicas,
) -> Result<Vec<(Member, String)>, FaultError> {
    let api: Api<Pod> = Api::namespaced(context.cluster.kube.clone(), operator::NAMESPACE);
    let listed = api
        .list(&ListParams::default().labels(operator::POD_LABELS))
        .await;
    let listed = listed.map_err(|error| FaultError::api("list the operator's pods", error))?;
    let mut found: Vec<(Member, String)> = listed
        .items
        .into_iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .map(|pod| {
            let container = pod
                .spec
                .as_ref()
                .and_then(|spec| spec.containers.first())
                .map(|c| c.name.clone());
            (Member::of(&pod), container.unwrap_or_default())
        })
        .collect();
    if replicas == Replicas::LeaseHolder {
        let holder = lease_holder(context).await?;
        found.retain(|(member, _)| holder.starts_with(&member.pod));
    }
    if found.is_empty() {
        let reason = format!(
            "no such pod with {} in namespace {}",
            operator::POD_LABELS,
            operator::NAMESPACE
        );
        return Err(FaultError::find(replicas.to_string(), reason));
    }
    Ok(found)
}

async fn lease_holder(context: &FaultContext) -> Result<String, FaultError> {
    let api: Api<Lease> = Api::namespaced(context.cluster.kube.clone(), operator::NAMESPACE);
    let listed = api.list(&ListParams::default()).await;
    let listed = listed.map_err(|error| FaultError::api("list the operator's leases", error))?;
    listed
        .items
        .into_iter()
        .find_map(|lease| lease.spec?.holder_identity)
        .ok_or_else(|| FaultError::find("the operator's lease", "no operator holds it"))
}
