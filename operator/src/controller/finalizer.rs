//! IO out: puts a finalizer on an object and takes it off, guarded by the list that was read.

use etcd_operator_api::FIELD_MANAGER;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::Object;

/// Puts the finalizer on the object, and returns the object as it is then.
///
/// # Errors
/// When the API server refuses, also because `object` is no longer the newest.
pub(crate) async fn finalize<K: Object>(
    client: &Client,
    object: &K,
    finalizer: &str,
) -> kube::Result<K> {
    write(client, object, finalizer, true).await
}

/// Takes the finalizer off the object. One that is gone has none.
///
/// # Errors
/// When the API server refuses, also because `object` is no longer the newest.
pub(crate) async fn release<K: Object>(
    client: &Client,
    object: &K,
    finalizer: &str,
) -> kube::Result<()> {
    match write(client, object, finalizer, false).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

async fn write<K: Object>(
    client: &Client,
    object: &K,
    finalizer: &str,
    there: bool,
) -> kube::Result<K> {
    let mut all = object.finalizers().to_vec();
    all.retain(|known| known != finalizer);
    if there {
        all.push(finalizer.to_owned());
    }
    let body = json!({
        "metadata": { "finalizers": all, "resourceVersion": object.resource_version() },
    });
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    api.patch(&object.name_any(), &parameters, &Patch::Merge(&body))
        .await
}
