//! IO out: the annotations by which an InstanceSet is asked for what no field of a Cluster says.

use std::collections::BTreeMap;

use etcd_operator_api::{InstanceSet, OpsRequest};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;
use serde_json::json;

use crate::controller::Context;

/// Asks these InstanceSets, by name, or takes back what was asked. To ask twice is to ask once. One that refuses keeps
/// no other from being asked.
pub(super) async fn ask<T: Serialize + Sync>(
    context: &Context,
    request: &OpsRequest,
    annotation: &str,
    wishes: &BTreeMap<String, Option<T>>,
) -> kube::Result<()> {
    let namespace = request.namespace().unwrap_or_default();
    let sets: Api<InstanceSet> = Api::namespaced(context.client.clone(), &namespace);
    let mut all = Ok(());
    for (name, wish) in wishes {
        let text = wish.as_ref().map(serde_json::to_string).transpose();
        let text = text.map_err(kube::Error::SerdeError)?;
        let body = json!({ "metadata": { "annotations": { annotation: text } } });
        let patched = sets
            .patch_metadata(name, &PatchParams::default(), &Patch::Merge(body))
            .await;
        match patched {
            // One that is gone has nothing to be asked for.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => all = all.and(other.map(drop)),
        }
    }
    all
}
