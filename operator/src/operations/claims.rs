//! IO out: the mark on claims whose members are rebuilt. Claims are marked by UID, so that a mark that is late never
//! meets the new member's disk.

use std::collections::BTreeMap;

use etcd_operator_api::ops_request::LastConfiguration;
use etcd_operator_api::{OpsRequest, labels};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::controller::Context;

/// Takes the request's own marks off claims, as they were seen. One that has changed since is left to the next round,
/// and one that is refused keeps no other.
pub(super) async fn unmark(
    context: &Context,
    request: &OpsRequest,
    marks: &BTreeMap<String, String>,
) -> kube::Result<()> {
    let namespace = request.namespace().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    let mut all = Ok(());
    for (name, version) in marks {
        let none = json!({ labels::REBUILD: null, labels::REBUILD_NODE: null });
        let body = json!({ "metadata": { "resourceVersion": version, "annotations": none } });
        all = all.and(annotate(&claims, name, body, &[404, 409]).await);
    }
    all
}

/// Marks the claims on record. One that is gone, or another by now, was replaced already.
pub(super) async fn mark(
    context: &Context,
    request: &OpsRequest,
    recorded: &LastConfiguration,
) -> kube::Result<()> {
    let namespace = request.namespace().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    for last in recorded.components.values() {
        for (name, uid) in &last.rebuilt_claims {
            // In one write: a mark without its node would let the scheduler choose.
            let node = last.rebuilt_nodes.get(name);
            let mark = json!({ labels::REBUILD: request.uid().unwrap_or_default(), labels::REBUILD_NODE: node });
            let body = json!({ "metadata": { "uid": uid, "annotations": mark } });
            annotate(&claims, name, body, &[404, 409, 422]).await?;
        }
    }
    Ok(())
}

/// Writes metadata of a claim; answers with these codes say that it is not the one that was seen.
async fn annotate(
    claims: &Api<PersistentVolumeClaim>,
    name: &str,
    body: Value,
    another: &[u16],
) -> kube::Result<()> {
    let patched = claims
        .patch_metadata(name, &PatchParams::default(), &Patch::Merge(body))
        .await;
    match patched {
        Err(kube::Error::Api(status)) if another.contains(&status.code) => Ok(()),
        other => other.map(drop),
    }
}
