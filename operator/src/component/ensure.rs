//! IO out: objects that are made once and then kept: the agents' secret and the pods' service account.
//!
//! The secret is made here and not planned, because it needs randomness; its value is never read or logged.

use std::fmt::Write;

use etcd_operator_api::names::{ComponentName, TOKEN_KEY};
use etcd_operator_api::{Component, labels};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

use super::build::service_account;
use crate::controller::{ApplyError, own};

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// Makes the agents' secret when it is not there.
pub(super) async fn secret(client: &Client, component: &Component) -> Result<(), ApplyError> {
    let name = ComponentName::existing(&component.name_any()).agent_secret();
    let api: Api<Secret> =
        Api::namespaced(client.clone(), &component.namespace().unwrap_or_default());
    let failed = |source| ApplyError::Read {
        kind: "Secret".into(),
        name: name.clone(),
        source,
    };
    if api.get_metadata_opt(&name).await.map_err(failed)?.is_some() {
        return Ok(());
    }
    let own_labels = component.labels();
    let three = [labels::MANAGED_BY, labels::INSTANCE, labels::COMPONENT_NAME];
    let copied = three.iter().filter_map(|l| own_labels.get_key_value(*l));
    let mut secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: component.namespace(),
            labels: Some(copied.map(|(k, v)| (k.clone(), v.clone())).collect()),
            ..ObjectMeta::default()
        },
        string_data: Some([(TOKEN_KEY.to_owned(), token())].into()),
        ..Secret::default()
    };
    own(&mut secret, component);
    created(
        api.create(&PostParams::default(), &secret).await,
        "Secret",
        &name,
    )
}

fn token() -> String {
    let bytes: [u8; TOKEN_BYTES] = rand::random();
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Makes the service account when it is not there, and this Component one of its owners.
pub(super) async fn account(
    client: &Client,
    component: &Component,
    name: &str,
) -> Result<(), ApplyError> {
    let api: Api<ServiceAccount> =
        Api::namespaced(client.clone(), &component.namespace().unwrap_or_default());
    let kind = "ServiceAccount";
    let failed = |source| ApplyError::Read {
        kind: kind.into(),
        name: name.to_owned(),
        source,
    };
    let Some(live) = api.get_metadata_opt(name).await.map_err(failed)? else {
        let wanted = service_account(component, name);
        return created(
            api.create(&PostParams::default(), &wanted).await,
            kind,
            name,
        );
    };
    let mut owners = live.owner_references().to_vec();
    if owners
        .iter()
        .any(|owner| Some(&owner.uid) == component.uid().as_ref())
    {
        return Ok(());
    }
    owners.extend(component.owner_ref(&()));
    let body = json!({
        "metadata": { "ownerReferences": owners, "resourceVersion": live.resource_version() },
    });
    let patched = api
        .patch_metadata(name, &PatchParams::default(), &Patch::Merge(&body))
        .await;
    patched.map(|_| ()).map_err(|source| ApplyError::Write {
        kind: kind.into(),
        name: name.to_owned(),
        source,
    })
}

/// Made by someone else in the same moment is as good.
fn created<K>(result: kube::Result<K>, kind: &str, name: &str) -> Result<(), ApplyError> {
    match result {
        Ok(_) => {
            tracing::info!(kind, name, "created");
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(source) => Err(ApplyError::Write {
            kind: kind.to_owned(),
            name: name.to_owned(),
            source,
        }),
    }
}
