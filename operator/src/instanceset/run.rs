//! Wires the reconciler to what wakes it: the InstanceSet, its children, nodes, and members' own state.

use std::sync::Arc;

use etcd_operator_api::InstanceSet;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Service};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{broadcast, mpsc};
use tracing::debug;

use etcd_operator_api::labels;

use super::controller::{Reconciler, on_error, reconcile};
use super::pace::Pace;
use super::rehearse::Rehearsals;
use crate::controller::{Backoff, Calm};
use crate::lease::Tenure;
use crate::roles::MemberStore;

/// InstanceSets that are reconciled at a time: one that hangs must not starve the others (C3).
const CONCURRENCY: u16 = 16;

/// What the InstanceSet room works with.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Agents' views, kept by the role path.
    pub store: Arc<MemberStore>,
    /// DNS domain of the Kubernetes cluster.
    pub cluster_domain: String,
    /// How long the lease is held yet.
    pub tenure: Tenure,
    /// The one namespace to serve; all when `None`.
    pub namespace: Option<String>,
    /// Name of this replica in events.
    pub reporter_instance: Option<String>,
}

/// Reconciles InstanceSets until dropped. Needs the lease.
///
/// # Errors
/// When nodes cannot be watched, or the controller ends.
pub async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let (nodes, writer) = reflector::store();
    let (changed, changes) = mpsc::unbounded_channel();
    let client = context.client.clone();
    let watch_nodes = watch_nodes(client.clone(), writer, changed);
    let reporter = Reporter {
        controller: "etcd-operator".into(),
        instance: context.reporter_instance.clone(),
    };
    let reconciler = Arc::new(Reconciler {
        client: client.clone(),
        views: Arc::clone(&context.store),
        nodes: nodes.clone(),
        recorder: Recorder::new(client, reporter),
        cluster_domain: context.cluster_domain.clone(),
        backoff: Backoff::default(),
        calm: Calm::default(),
        pace: Pace::default(),
        rehearsals: Rehearsals::default(),
        tenure: context.tenure.clone(),
    });
    let controller = async {
        // A node that is not known yet would look like one that is gone (P5).
        nodes.wait_until_ready().await?;
        controller(&context, changes)
            .run(reconcile, on_error, reconciler)
            .for_each(|outcome| async move {
                if let Err(error) = outcome {
                    debug!(%error, "a reconcile ended in an error");
                }
            })
            .await;
        anyhow::bail!("failed to keep reconciling InstanceSets: the controller ended")
    };
    tokio::select! {
        ended = controller => ended,
        () = watch_nodes => anyhow::bail!("failed to keep watching nodes: the stream ended"),
    }
}

fn controller(context: &Context, nodes: mpsc::UnboundedReceiver<()>) -> Controller<InstanceSet> {
    let selector = format!(
        "{}={}",
        labels::WORKLOAD_MANAGED_BY,
        labels::WORKLOAD_MANAGED_BY_VALUE
    );
    let children = || watcher::Config::default().labels(&selector);
    let api = |client: Client| -> Api<Pod> {
        match &context.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    };
    let client = &context.client;
    let (sets, claims, services): (Api<InstanceSet>, Api<PersistentVolumeClaim>, Api<Service>) =
        match &context.namespace {
            Some(namespace) => (
                Api::namespaced(client.clone(), namespace),
                Api::namespaced(client.clone(), namespace),
                Api::namespaced(client.clone(), namespace),
            ),
            None => (
                Api::all(client.clone()),
                Api::all(client.clone()),
                Api::all(client.clone()),
            ),
        };
    let nodes = stream::unfold(nodes, |mut nodes| async {
        nodes.recv().await.map(|()| ((), nodes))
    });
    Controller::new(sets, watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .owns(api(client.clone()), children())
        // A claim that outlives its InstanceSet has no owner, but it has the label.
        .watches(claims, children(), |claim: PersistentVolumeClaim| {
            parent(&claim)
        })
        .owns(services, children())
        .reconcile_all_on(nodes)
        .reconcile_on(views(context.store.changes()))
}

/// InstanceSets whose members' state has changed.
fn views(
    changes: broadcast::Receiver<crate::roles::store::Changed>,
) -> impl futures::Stream<Item = ObjectRef<InstanceSet>> + Send {
    stream::unfold(changes, |mut changes| async move {
        loop {
            match changes.recv().await {
                Ok(changed) => {
                    let of = ObjectRef::new(&changed.instance_set).within(&changed.namespace);
                    return Some((of, changes));
                }
                // What was missed is found by the backstop.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

fn parent(child: &impl ResourceExt) -> Option<ObjectRef<InstanceSet>> {
    let name = child.labels().get(labels::WORKLOAD_INSTANCE)?;
    Some(ObjectRef::new(name).within(&child.namespace()?))
}

/// Keeps the store of nodes, and tells when one comes, goes, or changes in a way that pods care for.
async fn watch_nodes(
    client: Client,
    writer: reflector::store::Writer<Node>,
    changed: mpsc::UnboundedSender<()>,
) {
    let nodes: Api<Node> = Api::all(client);
    let events = watcher::watcher(nodes, watcher::Config::default())
        .default_backoff()
        .modify(|node| {
            node.managed_fields_mut().clear();
            node.annotations_mut().clear();
            if let Some(status) = node.status.as_mut() {
                status.images = None;
            }
        });
    let mut known = std::collections::HashMap::new();
    let mut events = std::pin::pin!(reflector::reflector(writer, events));
    while let Some(event) = events.next().await {
        let matters = match event {
            Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => {
                let state = state(&node);
                known.insert(node.name_any(), state.clone()) != Some(state)
            }
            Ok(watcher::Event::Delete(node)) => known.remove(&node.name_any()).is_some(),
            Ok(watcher::Event::Init) => false,
            Ok(watcher::Event::InitDone) => true,
            Err(error) => {
                tracing::warn!(%error, "the watch of nodes broke off and starts again");
                false
            }
        };
        if matters {
            let _ended = changed.send(());
        }
    }
}

/// What a node's pods care for: readiness and taints.
fn state(node: &Node) -> (Option<String>, Vec<String>) {
    let status = node.status.as_ref();
    let mut conditions = status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .find(|condition| condition.type_ == "Ready")
        .map(|c| c.status.clone());
    let taints = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    (ready, taints.map(|taint| taint.key.clone()).collect())
}
