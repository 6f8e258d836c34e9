//! IO out: objects that are made once and then kept: the agents' secret and the pods' service account.
//!
//! The secret is made here and not planned, because it needs randomness; its value is never read or logged.

use std::fmt::Write;
use std::time::Duration;

use etcd_operator_api::names::{ComponentName, TOKEN_ALSO_KEY, TOKEN_KEY};
use etcd_operator_api::{Backup, Component};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

use super::build::service_account;
use super::rotation::{self, Step};
use super::secrets::labelled;
use crate::controller::{ApplyError, own};

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// Makes the agents' secret when it is not there, and replaces its token when that is due.
pub(super) async fn secret(
    client: &Client,
    component: &Component,
    longest: Duration,
) -> Result<(), ApplyError> {
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
            Some(owner) if Some(&owner.uid) == component.uid().as_ref() => {
                rotate(&api, &live, longest).await
            }
            _ => Err(foreign("Secret", &name)),
        };
    }
    let mut secret = Secret {
        metadata: labelled(component, &name),
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

/// Makes the backup that comes before a change of etcd's minor; its name says of which.
pub(super) async fn backup(client: &Client, backup: &Backup) -> Result<(), ApplyError> {
    let api: Api<Backup> = Api::namespaced(client.clone(), &backup.namespace().unwrap_or_default());
    let made = api.create(&PostParams::default(), backup).await;
    created(made, "Backup", &backup.name_any())
}

/// Writes the step that is due, if any.
async fn rotate(
    api: &Api<Secret>,
    live: &PartialObjectMeta<Secret>,
    longest: Duration,
) -> Result<(), ApplyError> {
    let now = Timestamp::now();
    let created = live.creation_timestamp().map(|time| time.0);
    let Some(step) = rotation::next(live.annotations(), created, longest, now) else {
        return Ok(());
    };
    let name = live.name_any();
    let failed = |source| ApplyError::Write {
        kind: "Secret".into(),
        name: name.clone(),
        source,
    };
    let (step, data) = match step {
        Step::Prepare => (step, json!({ TOKEN_ALSO_KEY: encoded(&token()) })),
        Step::Stamp => (step, json!({})),
        Step::Retire => (step, json!({ TOKEN_ALSO_KEY: null })),
        Step::Switch => {
            let secret = api.get(&name).await.map_err(failed)?;
            let data = secret.data.unwrap_or_default();
            match (data.get(TOKEN_KEY), data.get(TOKEN_ALSO_KEY)) {
                (Some(old), Some(new)) => (step, json!({ TOKEN_KEY: new, TOKEN_ALSO_KEY: old })),
                // Taken out by hand meanwhile.
                _ => (Step::Prepare, json!({ TOKEN_ALSO_KEY: encoded(&token()) })),
            }
        }
    };
    let annotations = rotation::after(step, live.annotations(), now);
    let body = json!({
        "metadata": { "annotations": annotations, "resourceVersion": live.resource_version() },
        "data": data,
    });
    let patched = api
        .patch(&name, &PatchParams::default(), &Patch::Merge(&body))
        .await;
    patched.map_err(failed)?;
    tracing::info!(secret = name, ?step, "the agents' token is being replaced");
    Ok(())
}

fn encoded(token: &str) -> ByteString {
    ByteString(token.as_bytes().to_vec())
}

/// 64 hexadecimal digits that no other knows.
pub(super) fn token() -> String {
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
    use std::sync::{Arc, Mutex};

    use etcd_operator_api::labels;
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
        let secret = secret(&context.client, &component, Duration::ZERO).await;
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

    /// What a patch leaves, and as if its step were long past.
    fn take(stored: &mut Value, patch: &Value) {
        for (key, value) in patch["data"].as_object().expect("data") {
            stored["data"][key] = value.clone();
        }
        let written = &patch["metadata"]["annotations"];
        for (key, value) in written.as_object().expect("annotations") {
            stored["metadata"]["annotations"][key] = value.clone();
        }
        let annotations = stored["metadata"]["annotations"].as_object_mut();
        let annotations = annotations.expect("annotations");
        match annotations.remove(labels::TOKEN_STEP) {
            Some(Value::String(step)) => {
                let (what, _) = step.split_once(' ').expect("a step and its time");
                let past = format!("{what} 2026-01-01T00:00:00Z");
                annotations.insert(labels::TOKEN_STEP.to_owned(), past.into());
            }
            other => assert_eq!(other, Some(Value::Null), "a step or its end"),
        }
    }

    #[tokio::test]
    async fn a_token_is_replaced_without_a_moment_in_which_one_is_refused() {
        let stored = Arc::new(Mutex::new(json!({
            "metadata": { "name": "c-etcd-kbagent", "namespace": "n", "resourceVersion": "1",
                "annotations": { labels::TOKEN_ROTATE: "now" }, "ownerReferences": owner("Component", "ours") },
            "data": { TOKEN_KEY: "b2xk" },
        })));
        let live = Arc::clone(&stored);
        let (context, asked) = server(move |_| (200, live.lock().expect("no panic").clone()));
        let mut seen = Vec::new();
        for _ in 0..3 {
            secret(&context.client, &component(), Duration::ZERO)
                .await
                .expect("done");
            let (line, patch) = asked
                .lock()
                .expect("no panic")
                .last()
                .expect("asked")
                .clone();
            assert!(line.starts_with("PATCH"), "{line}");
            let mut stored = stored.lock().expect("no panic");
            take(&mut stored, &patch);
            seen.push((
                stored["data"][TOKEN_KEY].clone(),
                stored["data"][TOKEN_ALSO_KEY].clone(),
            ));
        }
        let new = seen[0].1.clone();
        assert!(new.is_string() && new != "b2xk", "{seen:?}");
        let old = json!("b2xk");
        assert_eq!(
            seen,
            [
                (old.clone(), new.clone()),
                (new.clone(), old),
                (new, json!(null))
            ]
        );
        let before = asked.lock().expect("no panic").len();
        secret(&context.client, &component(), Duration::ZERO)
            .await
            .expect("done");
        assert_eq!(
            asked.lock().expect("no panic").len(),
            before + 1,
            "it was obeyed once"
        );
    }

    #[tokio::test]
    async fn a_clock_that_goes_back_drops_no_token_that_is_still_sent() {
        let live = json!({
            "metadata": { "name": "c-etcd-kbagent", "namespace": "n", "resourceVersion": "1",
                "annotations": { labels::TOKEN_STEP: "retiring 2999-01-01T00:00:00Z" },
                "ownerReferences": owner("Component", "ours") },
            "data": { TOKEN_KEY: "bmV3", TOKEN_ALSO_KEY: "b2xk" },
        });
        let (context, asked) = server(move |_| (200, live.clone()));
        let done = secret(&context.client, &component(), Duration::ZERO).await;
        done.expect("done");
        let asked = asked.lock().expect("no panic");
        let (line, patch) = asked.last().expect("asked");
        assert!(line.starts_with("PATCH"), "{line}");
        assert_eq!(patch["data"], json!({}), "tokens stay as they are");
        let step = patch["metadata"]["annotations"][labels::TOKEN_STEP].as_str();
        let step = step.expect("a step");
        assert!(step.starts_with("retiring 20"), "{step}");
        assert!(!step.contains("2999"), "{step}");
    }
}
