//! IO out: writes a status, whole, only when it changed, and only over the object it was computed from.

use kube::api::{Api, PostParams};
use kube::core::object::HasStatus;
use kube::{Client, ResourceExt};

use super::{ApplyError, Object};

/// Replaces the status of `object` by `status`. A conflict is an error: the caller computes again from what is
/// there then. Returns whether it was written.
///
/// # Errors
/// When the API server refuses, also because `object` is no longer the newest.
pub(crate) async fn write_status<K>(
    client: &Client,
    object: &K,
    status: K::Status,
) -> Result<bool, ApplyError>
where
    K: Object + HasStatus,
    K::Status: PartialEq,
{
    if object.status() == Some(&status) {
        return Ok(false);
    }
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let name = object.name_any();
    let mut next = object.clone();
    *next.status_mut() = Some(status);
    match api
        .replace_status(&name, &PostParams::default(), &next)
        .await
    {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(false),
        Err(source) => Err(ApplyError::Write {
            kind: format!("status of {}", K::kind(&())),
            name,
            source,
        }),
    }
}
