//! IO: writes into definitions and versions whether clusters may use them.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::{ComponentDefinition, ComponentVersion, FIELD_MANAGER};
use futures::StreamExt;
use k8s_openapi::ClusterResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::checks::{check_definition, check_version};
use crate::client::message;
use crate::controller::{Blame, Context, Head, Late, ROUND, UNREADABLE, current, heads, within};

/// Time to the next try after a failure; these writes are rare and cheap.
const RETRY: Duration = Duration::from_secs(5);

/// A definition could not be read, or its status not be written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to read a definition or version: {}", message(.0))]
    Read(#[from] kube::Error),
    #[error(transparent)]
    Late(#[from] Late),
    #[error("failed to write the status of {name:?}: {}", message(.source))]
    Write { name: String, source: kube::Error },
}

/// Keeps the status of all definitions and versions.
///
/// # Errors
/// Never: it runs until it is dropped.
pub async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let all = watcher::Config::default;
    let definitions = heads::<ComponentDefinition>(&context, all());
    let definitions = definitions.run(
        |head, context| within(ROUND, definition(head, context)),
        |_, error, _| retry(error),
        Arc::clone(&context),
    );
    let versions = heads::<ComponentVersion>(&context, all());
    let versions = versions.run(
        |head, context| within(ROUND, version(head, context)),
        |_, error, _| retry(error),
        Arc::clone(&context),
    );
    futures::future::join(
        definitions.for_each(|_| futures::future::ready(())),
        versions.for_each(|_| futures::future::ready(())),
    )
    .await;
    Ok(())
}

fn retry(error: &Error) -> Action {
    tracing::warn!(%error, "reconcile failed");
    Action::requeue(RETRY)
}

async fn definition(
    head: Arc<Head<ComponentDefinition>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let found: Option<ComponentDefinition> = current(&context, &head, Blame::Phase).await?;
    let Some(definition) = found else {
        return Ok(Action::requeue(UNREADABLE));
    };
    let status = check_definition(&definition);
    if definition.status.as_ref() != Some(&status) {
        write::<ComponentDefinition>(&context, definition.name_any(), &status).await?;
    }
    Ok(Action::await_change())
}

async fn version(
    head: Arc<Head<ComponentVersion>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let found: Option<ComponentVersion> = current(&context, &head, Blame::Phase).await?;
    let Some(version) = found else {
        return Ok(Action::requeue(UNREADABLE));
    };
    let status = check_version(&version);
    if version.status.as_ref() != Some(&status) {
        write::<ComponentVersion>(&context, version.name_any(), &status).await?;
    }
    Ok(Action::await_change())
}

async fn write<K>(context: &Context, name: String, status: &impl Serialize) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::all(context.client.clone());
    let body = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let written = api
        .patch_status(&name, &parameters, &Patch::Apply(&body))
        .await;
    written
        .map(drop)
        .map_err(|source| Error::Write { name, source })
}
