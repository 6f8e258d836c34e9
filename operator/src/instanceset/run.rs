//! Wires the reconciler to what wakes it: the InstanceSet, its children, nodes, and members' own state.

use std::sync::Arc;

use etcd_operator_api::InstanceSet;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod, Service};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::{broadcast, mpsc};
use tracing::debug;

use etcd_operator_api::labels;

use super::controller::{Reconciler, on_error, reconcile};
use super::pace::Pace;
use super::rehearse::Rehearsals;
use crate::controller::{Backoff, Calm, Head, events, heads, touched};
use crate::roles::MemberStore;

/// Rounds at a time, more than of other kinds: those that hang with their members take the places of others (C3).
const ROUNDS: u16 = 128;

/// What the InstanceSet controller works with.
pub(crate) struct Context {
    /// What all reconcilers work with.
    pub frame: Arc<crate::controller::Context>,
    /// Agents' views, kept by the role path.
    pub store: Arc<MemberStore>,
}

/// Reconciles InstanceSets until dropped. Needs the lease.
///
/// # Errors
/// When nodes cannot be watched, or the controller ends.
pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let (nodes, writer) = reflector::store();
    let (changed, changes) = mpsc::unbounded_channel();
    let frame = &context.frame;
    let watch_nodes = watch_nodes(frame, writer, changed);
    let reconciler = Arc::new(Reconciler {
        frame: Arc::clone(frame),
        client: frame.client.clone(),
        views: Arc::clone(&context.store),
        nodes: nodes.clone(),
        events: frame.events.clone(),
        cluster_domain: frame.config.cluster_domain.clone(),
        backoff: Backoff::default(),
        calm: Calm::default(),
        pace: Pace::default(),
        rehearsals: Rehearsals::default(),
        tenure: frame.tenure.clone(),
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

fn controller(
    context: &Context,
    nodes: mpsc::UnboundedReceiver<()>,
) -> Controller<Head<InstanceSet>> {
    let selector = format!(
        "{}={}",
        labels::WORKLOAD_MANAGED_BY,
        labels::WORKLOAD_MANAGED_BY_VALUE
    );
    let children = || watcher::Config::default().labels(&selector);
    let frame = &context.frame;
    let nodes = stream::unfold(nodes, |mut nodes| async {
        nodes.recv().await.map(|()| ((), nodes))
    });
    let claims = touched::<PersistentVolumeClaim>(frame, children());
    heads::<InstanceSet>(frame, watcher::Config::default())
        .with_config(Config::default().concurrency(ROUNDS))
        .owns_stream(touched::<Pod>(frame, children()))
        // A claim that outlives its InstanceSet has no owner, but it has the label.
        .watches_stream(claims, |claim| parent(&claim))
        .owns_stream(touched::<Service>(frame, children()))
        .reconcile_all_on(nodes)
        .reconcile_on(views(context.store.changes(), frame.served.clone()))
}

/// InstanceSets whose members' state has changed.
fn views(
    changes: broadcast::Receiver<crate::roles::store::Changed>,
    served: Option<String>,
) -> impl futures::Stream<Item = ObjectRef<Head<InstanceSet>>> + Send {
    stream::unfold((changes, served), |(mut changes, served)| async move {
        loop {
            match changes.recv().await {
                Ok(changed) if served.as_ref().is_some_and(|one| *one != changed.namespace) => {}
                Ok(changed) => {
                    let of = ObjectRef::new(&changed.instance_set).within(&changed.namespace);
                    return Some((of, (changes, served)));
                }
                // What was missed is found by the backstop.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

fn parent(child: &impl ResourceExt) -> Option<ObjectRef<Head<InstanceSet>>> {
    let name = child.labels().get(labels::WORKLOAD_INSTANCE)?;
    Some(ObjectRef::new(name).within(&child.namespace()?))
}

/// Keeps the store of nodes, and tells when one comes, goes, or changes in a way that pods care for.
async fn watch_nodes(
    frame: &crate::controller::Context,
    writer: reflector::store::Writer<Node>,
    changed: mpsc::UnboundedSender<()>,
) {
    let nodes: Api<Node> = Api::all(frame.client.clone());
    let events = events(nodes, watcher::Config::default(), &frame.metrics.watches).modify(|node| {
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
            Err(_) => false,
        };
        if matters {
            let _ended = changed.send(());
        }
    }
}

/// What of a node affects its pods: readiness and taints.
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
