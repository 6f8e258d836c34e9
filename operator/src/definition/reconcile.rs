//! IO: writes into definitions and versions whether clusters may use them.

use std::fmt::Debug;
use std::sync::Arc;

use etcd_operator_api::{ComponentDefinition, ComponentVersion, FIELD_MANAGER};
use k8s_openapi::ClusterResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::runtime::controller::Action;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::checks::{check_definition, check_version};
use crate::client::message;
use crate::controller::{Blame, Context, Driver, Late, Unread, heads};

/// A definition could not be read, or its status not be written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Read(#[from] Unread),
    #[error(transparent)]
    Late(#[from] Late),
    #[error("failed to write the status of {name:?}: {}", message(.source))]
    Write { name: String, source: kube::Error },
}

/// Keeps the status of all definitions and versions.
///
/// # Errors
/// Never: it runs until it is dropped.
pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    futures::future::try_join(
        keep::<ComponentDefinition>(&context, "ComponentDefinition", check_definition),
        keep::<ComponentVersion>(&context, "ComponentVersion", check_version),
    )
    .await
    .map(drop)
}

async fn keep<K>(
    context: &Arc<Context>,
    kind: &'static str,
    check: fn(&K) -> K::Status,
) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + HasStatus,
    K: Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::Status: PartialEq + Serialize + Send + Sync,
{
    let driver = Driver::new(kind, context);
    let controller = heads::<K>(context, watcher::Config::default());
    let context = Arc::clone(context);
    let round = move |object: K| {
        let context = Arc::clone(&context);
        async move {
            let status = check(&object);
            if object.status() != Some(&status) {
                write::<K>(&context, object.name_any(), &status).await?;
            }
            Ok(Action::await_change())
        }
    };
    let expected = |_: &Error| false;
    Box::pin(driver.run(controller, Blame::Phase, expected, round)).await
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
