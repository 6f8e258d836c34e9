//! IO out: puts a finalizer on an object and takes it off, guarded by the list that was read.

use etcd_operator_api::FIELD_MANAGER;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::Object;

/// Finalizer of what is deleted with `--cascade=orphan`.
const ORPHAN: &str = "orphan";

/// Whether the garbage collector still has to take the object off its children, which are to stay: until then they
/// look like any that go with it.
pub(crate) fn is_orphaning(object: &impl ResourceExt) -> bool {
    object.finalizers().iter().any(|known| known == ORPHAN)
}

/// Puts the finalizer on the object, and returns the object as it is then.
///
/// # Errors
/// When the API server refuses, also because `object` is no longer the newest.
pub(crate) async fn finalize<K: Object>(
    client: &Client,
    object: &K,
    finalizer: &str,
) -> kube::Result<K> {
    let body = body(object, finalizer, true);
    api(client, object)
        .patch(&object.name_any(), &parameters(), &Patch::Merge(&body))
        .await
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
    let body = body(object, finalizer, false);
    // The answer is metadata alone: the object may be one that cannot be read.
    let written = api::<K>(client, object)
        .patch_metadata(&object.name_any(), &parameters(), &Patch::Merge(&body))
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

fn body(object: &impl ResourceExt, finalizer: &str, there: bool) -> Value {
    let mut all = object.finalizers().to_vec();
    all.retain(|known| known != finalizer);
    if there {
        all.push(finalizer.to_owned());
    }
    json!({
        "metadata": { "finalizers": all, "resourceVersion": object.resource_version() },
    })
}

fn parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn api<K: Object>(client: &Client, object: &K) -> Api<K> {
    let namespace = object.namespace().unwrap_or_default();
    Api::namespaced(client.clone(), &namespace)
}
