//! IO out: the one way objects are written: server-side apply under one field manager, only when different.
//!
//! Knows no policy. Forces ownership: fields the operator wants are the operator's (design: owned objects
//! edited by hand are corrected), fields it never sets stay with their managers.

use crate::client::message;
use std::fmt::Debug;

use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::{NamespaceResourceScope, Status};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::difference::{holds, with_fingerprint};
use etcd_operator_api::FIELD_MANAGER;

/// A write or read of an object failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The object is not valid JSON; a bug.
    #[error("failed to serialize {kind} {name:?}")]
    Serialize {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The live object could not be read.
    #[error("failed to read {kind} {name:?}: {}", message(.source))]
    Read {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// The object could not be written.
    #[error("failed to apply {kind} {name:?}: {}", message(.source))]
    Write {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// The object could not be deleted.
    #[error("failed to delete {kind} {name:?}: {}", message(.source))]
    Delete {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: kube::Error,
    },
    /// An object of that name belongs to someone else and is left alone.
    #[error(
        "{kind} {name:?} exists and belongs to another owner or to none: rename the Cluster or delete that object"
    )]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

impl ApplyError {
    /// Whether the object's namespace is being deleted: nothing can be made there, and nothing needs to.
    pub(crate) fn namespace_ends(&self) -> bool {
        match self {
            ApplyError::Write { source, .. } => namespace_ends(source),
            ApplyError::Serialize { .. }
            | ApplyError::Read { .. }
            | ApplyError::Delete { .. }
            | ApplyError::Foreign { .. } => false,
        }
    }

    /// The object (`Kind/name`) and why Kubernetes refuses it, when it would refuse it again.
    pub(crate) fn refusal(&self) -> Option<(String, String)> {
        match self {
            ApplyError::Write {
                kind,
                name,
                source: kube::Error::Api(status),
            } if is_refusal(status) && !self.namespace_ends() => {
                Some((format!("{kind}/{name}"), status.message.clone()))
            }
            ApplyError::Foreign { kind, name } => {
                Some((format!("{kind}/{name}"), self.to_string()))
            }
            _ => None,
        }
    }

    /// Whether the object has changed since it was read.
    pub(crate) fn is_conflict(&self) -> bool {
        let conflict = |source: &kube::Error| matches!(source, kube::Error::Api(status) if status.is_conflict());
        matches!(self, ApplyError::Write { source, .. } if conflict(source))
    }
}

/// Whether the API server refused because the namespace is being deleted.
pub(super) fn namespace_ends(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Makes `child` owned by `owner`: deleted with it, and its changes wake its reconciler.
pub(crate) fn own<K, O>(child: &mut K, owner: &O)
where
    K: Resource<DynamicType = ()>,
    O: Resource<DynamicType = ()>,
{
    child
        .owner_references_mut()
        .extend(owner.controller_owner_ref(&()));
}

/// A namespaced object that is read and written whole.
pub(crate) trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
{
}

impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

/// Writes the object unless the API server already has it so. Returns whether it was written.
///
/// # Errors
/// When reading or writing fails, or another owner controls an object of that name.
pub(crate) async fn apply_if_different<K: Object>(
    client: &Client,
    wanted: &K,
) -> Result<bool, ApplyError> {
    let namespace = wanted.namespace().unwrap_or_default();
    let (kind, name) = (K::kind(&()).into_owned(), wanted.name_any());
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let mut body = document(wanted)?;
    let read = |source| ApplyError::Read {
        kind: kind.clone(),
        name: name.clone(),
        source,
    };
    if let Some(live) = api.get_opt(&name).await.map_err(read)? {
        refuse_foreign(wanted, &live)?;
        // Exactly this object, not another one that has its name by now.
        body["metadata"]["uid"] = live.uid().into();
        let live = serde_json::to_value(&live).map_err(|source| ApplyError::Serialize {
            kind: kind.clone(),
            name: name.clone(),
            source,
        })?;
        if holds(&body, &live) {
            return Ok(false);
        }
    }
    write(&api, &name, &body).await?;
    tracing::info!(kind, namespace, name, "applied");
    Ok(true)
}

/// Asks the API server what it would say to the object, and writes nothing. Why it would be refused; `None` when not.
/// An object of that name that is not the same controller's is never taken over.
///
/// # Errors
/// When it cannot be asked.
pub(crate) async fn rehearse<K: Object>(
    client: &Client,
    wanted: &K,
) -> Result<Option<String>, ApplyError> {
    let (kind, name) = (K::kind(&()).into_owned(), wanted.name_any());
    let api: Api<K> = Api::namespaced(client.clone(), &wanted.namespace().unwrap_or_default());
    let live = api.get_metadata_opt(&name).await;
    let live = live.map_err(|source| ApplyError::Read {
        kind: kind.clone(),
        name: name.clone(),
        source,
    })?;
    if live.is_some_and(|live| controller_of(&live) != controller_of(wanted)) {
        return Ok(Some(ApplyError::Foreign { kind, name }.to_string()));
    }
    let parameters = PatchParams::apply(FIELD_MANAGER).force().dry_run();
    let body = document(wanted)?;
    match api.patch(&name, &parameters, &Patch::Apply(&body)).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if cannot_rehearse(&status) => Ok(None),
        Err(kube::Error::Api(status)) if is_refusal(&status) => Ok(Some(status.message.clone())),
        Err(source) => Err(ApplyError::Write { kind, name, source }),
    }
}

/// Whether asking the same again would be answered the same: invalid, or denied by an admission plugin.
pub(crate) fn is_refusal(status: &Status) -> bool {
    matches!(status.code, 400 | 403 | 422)
}

/// Whether a webhook that has side effects stands in the way of a dry run: nothing is known then.
pub(crate) fn cannot_rehearse(status: &Status) -> bool {
    status.code == 400 && status.message.contains("does not support dry run")
}

fn controller_of<K: Resource>(object: &K) -> Option<String> {
    let mut owners = object.owner_references().iter();
    let owner = owners.find(|owner| owner.controller == Some(true));
    owner.map(|owner| owner.uid.clone())
}

async fn write<K>(api: &Api<K>, name: &str, body: &Value) -> Result<(), ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &parameters, &Patch::Apply(body))
        .await
        .map_err(|source| ApplyError::Write {
            kind: K::kind(&()).into_owned(),
            name: name.to_owned(),
            source,
        })?;
    Ok(())
}

/// The object as it is sent: with its type, its fingerprint, and without a status.
fn document<K>(wanted: &K) -> Result<Value, ApplyError>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let (kind, name) = (
        K::kind(&()).into_owned(),
        wanted.meta().name.clone().unwrap_or_default(),
    );
    let mut body = serde_json::to_value(wanted).map_err(|source| ApplyError::Serialize {
        kind: kind.clone(),
        name,
        source,
    })?;
    body["apiVersion"] = Value::String(K::api_version(&()).into_owned());
    body["kind"] = Value::String(kind);
    if let Some(fields) = body.as_object_mut() {
        fields.remove("status");
    }
    Ok(with_fingerprint(body))
}

/// An object is never taken over that another controller owns, or none.
///
/// # Errors
/// When it is such an object.
pub(crate) fn refuse_foreign<K: Resource<DynamicType = ()>>(
    wanted: &K,
    live: &impl Resource,
) -> Result<(), ApplyError> {
    if controller_of(wanted) == controller_of(live) {
        return Ok(());
    }
    Err(ApplyError::Foreign {
        kind: K::kind(&()).into_owned(),
        name: live.meta().name.clone().unwrap_or_default(),
    })
}

/// Merges `body` into exactly this object, not a later one of the same name. Gone is success.
///
/// # Errors
/// When the API server refuses.
pub(crate) async fn patch<K: Object>(
    client: &Client,
    object: &K,
    body: &Value,
) -> Result<(), ApplyError> {
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let name = object.name_any();
    let mut body = body.clone();
    body["metadata"]["uid"] = object.uid().into();
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(&name, &parameters, &Patch::Merge(&body)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ApplyError::Write {
            kind: K::kind(&()).into_owned(),
            name,
            source,
        }),
    }
}

/// Deletes exactly this object, not a later one of the same name (C2). Gone is success.
///
/// # Errors
/// When the API server refuses.
pub(crate) async fn delete<K: Object>(client: &Client, object: &K) -> Result<(), ApplyError> {
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let name = object.name_any();
    let parameters = DeleteParams::background().preconditions(Preconditions {
        uid: object.uid(),
        resource_version: None,
    });
    match api.delete(&name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => Err(ApplyError::Delete {
            kind: K::kind(&()).into_owned(),
            name,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use serde_json::json;

    use super::*;
    use crate::fake_api::{failure, server};

    fn service(uid: &str, owner: Option<&str>) -> Value {
        let owners: Vec<_> = owner
            .map(|uid| json!({ "apiVersion": "a/v1", "kind": "Cluster", "name": "c", "uid": uid, "controller": true }))
            .into_iter()
            .collect();
        json!({ "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "shop", "namespace": "n", "uid": uid, "ownerReferences": owners },
            "spec": { "selector": { "app": "web" } } })
    }

    fn wanted() -> Service {
        let mut wanted = service("", Some("ours"));
        wanted["metadata"]["uid"] = Value::Null;
        wanted["spec"]["selector"] = json!({ "app": "etcd" });
        serde_json::from_value(wanted).expect("a service")
    }

    /// What comes of applying a Service when `live` is there, and the bodies that were written.
    async fn applied(live: Option<Value>) -> (Result<bool, ApplyError>, Vec<Value>) {
        let (context, asked) = server(move |line| match (&live, line.starts_with("GET")) {
            (None, true) => failure(404, "NotFound", "none"),
            (live, _) => (
                200,
                live.clone().unwrap_or_else(|| service("new", Some("ours"))),
            ),
        });
        let result = apply_if_different(&context.client, &wanted()).await;
        let asked = asked.lock().expect("no panic");
        let written = asked.iter().filter(|(line, _)| !line.starts_with("GET"));
        (result, written.map(|(_, body)| body.clone()).collect())
    }

    #[tokio::test]
    async fn what_was_there_before_is_left_alone() {
        for owner in [None, Some("theirs")] {
            let (result, written) = applied(Some(service("u", owner))).await;
            assert!(
                matches!(result, Err(ApplyError::Foreign { .. })),
                "{result:?}"
            );
            assert!(written.is_empty(), "{written:?}");
        }
    }

    #[tokio::test]
    async fn what_is_ours_is_written_and_no_later_object_of_its_name() {
        let (result, written) = applied(Some(service("u", Some("ours")))).await;
        assert!(result.expect("applied"));
        assert_eq!(written[0]["metadata"]["uid"], "u");
        let (result, written) = applied(None).await;
        assert!(result.expect("applied"));
        assert!(written[0]["metadata"]["uid"].is_null(), "{written:?}");
    }
}
