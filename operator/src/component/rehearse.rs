//! What would come of a Component, without writing anything.

use etcd_operator_api::{Component, InstanceSet, names};
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};
use kube::ResourceExt;
use kube::api::{Api, PostParams};

use super::observe::observe;
use super::plan::plan;
use crate::controller::Context;

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RehearseError(pub(crate) String);

/// Why the Component could not be carried out; `None` when it could.
///
/// # Errors
/// When something that this depends on cannot be read.
pub(crate) async fn rehearse(
    context: &Context,
    component: &Component,
) -> Result<Option<String>, RehearseError> {
    let failed = |error: &dyn std::error::Error| RehearseError(error.to_string());
    let observed = Box::pin(observe(&context.client, component)).await;
    let observed = observed.map_err(|error| failed(&error))?;
    let planned = match plan(component, &observed, &context.config.cluster_domain) {
        Err(refused) => return Ok(Some(refused.to_string())),
        Ok(planned) => planned.instance_set,
    };
    let now = observed.instance_set.as_ref();
    if now.is_some_and(|now| now.spec.template == planned.spec.template) {
        return Ok(None);
    }
    let Some(pod) = pod(&planned) else {
        return Ok(None);
    };
    let pods: Api<Pod> =
        Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match pods.create(&dry_run, &pod).await {
        Ok(_) => Ok(None),
        // A quota may be used up by the pods that are there, and a webhook may not know dry runs: neither is a reason.
        Err(kube::Error::Api(status)) if status.code == 422 => Ok(Some(format!(
            "template makes no valid pod: {}",
            status.message
        ))),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

/// A pod as the InstanceSet would make it, as far as the API server judges it.
fn pod(set: &InstanceSet) -> Option<Pod> {
    let template: PodTemplateSpec = set.spec.template.parse("spec.template").ok()?;
    let (mut metadata, mut spec) = (template.metadata.unwrap_or_default(), template.spec?);
    let name = format!("{}-0", set.name_any());
    for claim in &set.spec.volume_claim_templates {
        let source = PersistentVolumeClaimVolumeSource {
            claim_name: names::claim(&claim.name, &name),
            read_only: None,
        };
        spec.volumes.get_or_insert_default().push(Volume {
            name: claim.name.clone(),
            persistent_volume_claim: Some(source),
            ..Volume::default()
        });
    }
    // A name of its own: the member's pod is there.
    metadata.generate_name = Some(format!("{}-dry-run-", set.name_any()));
    metadata.namespace = set.namespace();
    Some(Pod {
        metadata,
        spec: Some(spec),
        status: None,
    })
}

#[cfg(test)]
mod tests {
    use etcd_operator_api::Opaque;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pod_that_is_asked_about_has_its_claims_and_another_name() {
        let template = json!({ "metadata": { "labels": { "a": "b" } },
            "spec": { "containers": [{ "name": "etcd", "volumeMounts": [{ "name": "data", "mountPath": "/d" }] }] } });
        let claim = json!({ "name": "data", "spec": {} });
        let mut set = InstanceSet::default();
        set.metadata.name = Some("db-etcd".to_owned());
        set.metadata.namespace = Some("ns".to_owned());
        set.spec.template = Opaque(template);
        set.spec.volume_claim_templates = vec![serde_json::from_value(claim).expect("a claim")];
        let pod = serde_json::to_value(pod(&set)).expect("a pod");
        assert_eq!(pod["metadata"]["generateName"], "db-etcd-dry-run-");
        assert_eq!(pod["metadata"]["labels"]["a"], "b");
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data-db-etcd-0" } }])
        );
    }
}
