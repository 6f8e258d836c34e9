//! IO out: objects that are made once and then kept: the agents' secret and the pods' service account.
//!
//! The secret is made here and not planned, because it needs randomness; its value is never read or logged.

use std::fmt::Write;

use etcd_operator_api::names::{ComponentName, TOKEN_KEY};
use etcd_operator_api::{Component, labels};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
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
    if let Some(live) = api.get_metadata_opt(&name).await.map_err(failed)? {
        // Who made another one knows the token in it.
        let mut owners = live.owner_references().iter();
        let controller = owners.find(|owner| owner.controller == Some(true));
        return match controller {
            Some(owner) if Some(&owner.uid) == component.uid().as_ref() => Ok(()),
            _ => Err(foreign("Secret", &name)),
        };
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
    let group = Component::group(&());
    let ours = |owner: &OwnerReference| {
        owner.kind == Component::kind(&()) && owner.api_version.starts_with(&*group)
    };
    if !owners.iter().any(ours) {
        return Err(foreign(kind, name));
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

/// It was there before, and has another owner or none.
fn foreign(kind: &str, name: &str) -> ApplyError {
    ApplyError::Foreign {
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

/// One that appears in the same moment is looked at in the next round.
fn created<K>(result: kube::Result<K>, kind: &str, name: &str) -> Result<(), ApplyError> {
    match result {
        Ok(_) => {
            tracing::info!(kind, name, "created");
            Ok(())
        }
        Err(source) => Err(ApplyError::Write {
            kind: kind.to_owned(),
            name: name.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::fake_api::{failure, server};

    fn component() -> Component {
        let component = json!({ "metadata": { "name": "c-etcd", "namespace": "n", "uid": "ours" }, "spec": { "compDef": "etcd", "replicas": 1 } });
        serde_json::from_value(component).expect("a Component")
    }

    fn owner(kind: &str, uid: &str) -> Value {
        json!([{ "apiVersion": "apps.kubeblocks.io/v1", "kind": kind, "name": "c-etcd", "uid": uid, "controller": kind == "Component" }])
    }

    /// What comes of making the secret and the account when objects with these owners are there, and what was written.
    async fn made(owners: Option<Value>) -> ([Result<(), ApplyError>; 2], Vec<String>) {
        let (context, asked) = server(move |line| {
            let metadata = json!({ "name": "x", "namespace": "n", "resourceVersion": "1", "ownerReferences": owners });
            match (line.starts_with("GET"), owners.is_some()) {
                (true, false) => failure(404, "NotFound", "none"),
                _ => (200, json!({ "metadata": metadata })),
            }
        });
        let component = component();
        let secret = secret(&context.client, &component).await;
        let account = account(&context.client, &component, "kb-etcd").await;
        let asked = asked.lock().expect("no panic");
        let lines = asked.iter().map(|(line, _)| line.clone());
        let written = lines.filter(|line| !line.starts_with("GET"));
        ([secret, account], written.collect())
    }

    #[tokio::test]
    async fn secrets_and_accounts_of_others_are_not_used() {
        for owners in [json!([]), owner("Deployment", "theirs")] {
            let (results, written) = made(Some(owners)).await;
            for result in results {
                assert!(
                    matches!(result, Err(ApplyError::Foreign { .. })),
                    "{result:?}"
                );
            }
            assert!(written.is_empty(), "{written:?}");
        }
        // An account is shared, a secret is not: it may hold the token of an earlier Component.
        let ([secret, account], written) = made(Some(owner("Component", "another"))).await;
        assert!(matches!(secret, Err(ApplyError::Foreign { .. })));
        assert!(
            account.is_ok() && written.len() == 1 && written[0].starts_with("PATCH"),
            "{written:?}"
        );
    }

    #[tokio::test]
    async fn what_is_not_there_is_made_and_what_is_ours_stays() {
        let (results, written) = made(None).await;
        assert!(
            results.iter().all(Result::is_ok) && written.len() == 2,
            "{written:?}"
        );
        let (results, written) = made(Some(owner("Component", "ours"))).await;
        assert!(
            results.iter().all(Result::is_ok) && written.is_empty(),
            "{written:?}"
        );
    }
}
