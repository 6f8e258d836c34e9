//! The cluster's DNS servers frozen: queries leave and are not answered.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::faults::process::harm::{Harm, Victim, harm_all};
use crate::faults::running::Injected;
use crate::faults::{Fault, FaultContext, FaultError, Member};

/// Label of the DNS servers' pods, the same in every distribution for compatibility's sake.
const DNS_LABEL: &str = "k8s-app=kube-dns";

/// Freezes every DNS server.
pub(crate) async fn inject(context: &FaultContext, fault: &Fault) -> Result<Injected, FaultError> {
    let api: Api<Pod> = Api::namespaced(context.cluster.kube.clone(), "kube-system");
    let listed = api.list(&ListParams::default().labels(DNS_LABEL)).await;
    let listed = listed.map_err(|error| FaultError::api("list the DNS servers", error))?;
    let mut victims = Vec::new();
    for pod in listed.items {
        let member = Member::of(&pod);
        let container = pod
            .spec
            .and_then(|spec| spec.containers.into_iter().next())
            .map(|c| c.name);
        victims.push(Victim::of_pod(member, container.unwrap_or_default())?);
    }
    if victims.is_empty() {
        return Err(FaultError::find(
            "the cluster's DNS servers",
            format!("no pod in kube-system has the label {DNS_LABEL}"),
        ));
    }
    harm_all(context, fault, victims, Harm::Freeze).await
}
