//! IO: a repository's credential where a Job can mount it.

use etcd_operator_api::backup_policy::SecretKey;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, PostParams};

use super::job::{self, Frame};
use super::place::Place;
use crate::client::message;

/// Name of the Secret in the Job's namespace; `None` where the repository needs none. One of another namespace is
/// copied: the copy belongs to what the Job belongs to, and goes with it.
///
/// # Errors
/// Why there is none, for the status.
pub(super) async fn provide(
    client: &Client,
    frame: &Frame,
    backup: &str,
) -> Result<Option<String>, String> {
    let Place::Bucket { credential, .. } = &frame.place else {
        return Ok(None);
    };
    if credential.namespace == frame.namespace {
        return Ok(Some(credential.name.clone()));
    }
    let from: Api<Secret> = Api::namespaced(client.clone(), &credential.namespace);
    let (name, namespace) = (&credential.name, &credential.namespace);
    let original = from.get_opt(name).await;
    let original = original.map_err(|error| {
        format!(
            "Secret {namespace}/{name} cannot be read: {}",
            message(&error)
        )
    })?;
    let Some(original) = original else {
        return Err(format!(
            "the BackupRepo's credential, Secret {namespace}/{name}, is not there: create it"
        ));
    };
    let copy = job::credential_name(backup, &frame.uid, &original);
    let to: Api<Secret> = Api::namespaced(client.clone(), &frame.namespace);
    match to
        .create(
            &PostParams::default(),
            &job::credential_copy(frame, &copy, &original),
        )
        .await
    {
        Ok(_) => Ok(Some(copy)),
        // Its name says what is in it, and for which Backup.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Some(copy)),
        // No Job can be made there either, and who makes it sees that.
        Err(kube::Error::Api(status)) if ends(&status) => Ok(Some(copy)),
        Err(error) => Err(format!(
            "the credential cannot be copied: {}",
            message(&error)
        )),
    }
}

/// Whether the Secret with a pass phrase is there, and its key. A Job mounts it.
///
/// # Errors
/// Why it cannot be used, for the status.
pub(super) async fn pass_phrase(
    client: &Client,
    namespace: &str,
    of: &SecretKey,
) -> Result<(), String> {
    let SecretKey { name, key, .. } = of;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = secrets.get_opt(name).await.map_err(|error| {
        format!(
            "Secret {namespace}/{name} cannot be read: {}",
            message(&error)
        )
    })?;
    let found = found.ok_or_else(|| {
        format!("the pass phrase's Secret {namespace}/{name} is not there: create it")
    })?;
    let value = found.data.as_ref().and_then(|data| data.get(key));
    if value.is_some_and(|value| !value.0.is_empty()) {
        return Ok(());
    }
    Err(format!(
        "Secret {namespace}/{name} has no key {key:?} with a pass phrase in it: add it"
    ))
}

/// Whether the API server refused because the namespace is being deleted.
pub(super) fn ends(answer: &kube::core::Status) -> bool {
    let causes = answer.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}
