//! IO out: the annotation by which an InstanceSet is asked to give up its quorum.

use std::collections::BTreeMap;

use etcd_operator_api::recovery::RecoveryWish;
use etcd_operator_api::{InstanceSet, OpsRequest, labels};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::controller::Context;

/// Asks these InstanceSets, by name, or takes back what was asked. To ask twice is to ask once.
pub(super) async fn ask(
    context: &Context,
    request: &OpsRequest,
    wishes: &BTreeMap<String, Option<RecoveryWish>>,
) -> kube::Result<()> {
    let namespace = request.namespace().unwrap_or_default();
    let sets: Api<InstanceSet> = Api::namespaced(context.client.clone(), &namespace);
    for (name, wish) in wishes {
        let text = wish.as_ref().map(serde_json::to_string).transpose();
        let text = text.map_err(kube::Error::SerdeError)?;
        let body = json!({ "metadata": { "annotations": { labels::RECOVER: text } } });
        let patched = sets
            .patch_metadata(name, &PatchParams::default(), &Patch::Merge(body))
            .await;
        match patched {
            // One that is gone has no quorum to give up.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other?),
        }
    }
    Ok(())
}
