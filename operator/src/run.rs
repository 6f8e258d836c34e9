//! Everything that runs at once: the role path in every replica, the reconcilers where the lease is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use etcd_operator_api::Cluster;
use kube::api::{Api, ListParams, PartialObjectMeta};
use tokio::net::TcpListener;
use tokio::time::{interval, timeout};

use crate::client::CALL;
use crate::controller::Context;
use crate::lease::Candidate;
use crate::roles::{self, Board, MemberStore, RoleMetrics, Traces};
use crate::{admission, backup, cluster, component, definition, instanceset, operations, page};

/// How often the API server is asked until it answers for the first time.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Runs the operator until `stop` is ready, with the status page on `listener` if there is one.
///
/// # Errors
/// When the role path or the page ends, which it only does with the process.
pub(crate) async fn run(
    context: Arc<Context>,
    ready: Arc<AtomicBool>,
    listener: Option<TcpListener>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::pin!(stop);
    tokio::select! {
        () = &mut stop => return Ok(()),
        () = established(&context) => ready.store(true, Ordering::Relaxed),
    }
    let store = Arc::new(MemberStore::default());
    let board = Arc::new(Board::default());
    let role_metrics = RoleMetrics::default();
    context
        .metrics
        .register(|registry| role_metrics.register(registry));
    let identity = context.config.identity.clone();
    let traces = Traces::start(context.config.collector.as_deref(), &identity);
    let role_paths = context.each().into_iter().map(|one| {
        let path = roles::run(Arc::new(roles::Context {
            client: one.client,
            agents: one.agents,
            store: Arc::clone(&store),
            board: Arc::clone(&board),
            metrics: role_metrics.clone(),
            traces: traces.clone(),
            watches: one.metrics.watches,
            namespace: one.served,
            identity: identity.clone(),
        }));
        Box::pin(path)
    });
    let role_path = first_to_end(role_paths);
    let shown = {
        let (context, store) = (Arc::clone(&context), Arc::clone(&store));
        let board = Arc::clone(&board);
        async move {
            match listener {
                Some(listener) => page::run(&context, store, board, listener).await,
                None => std::future::pending().await,
            }
        }
    };
    let mut candidate = Candidate::new(
        context.client.clone(),
        &context.config,
        context.tenure.clone(),
    );
    let led = candidate.hold(stop, || {
        let held = Held::new(Arc::clone(&context));
        let (context, store) = (Arc::clone(&context), Arc::clone(&store));
        async move {
            let _held = held;
            reconcilers(context, store).await;
        }
    });
    tokio::select! {
        result = role_path => result,
        result = admission::watch(&context) => result,
        result = Box::pin(shown) => result,
        () = led => Ok(()),
    }
}

/// All that only one replica may do.
async fn reconcilers(context: Arc<Context>, store: Arc<MemberStore>) {
    let namespaces = context.each().into_iter();
    let served = namespaces.map(|one| Box::pin(serve(Arc::new(one), Arc::clone(&store))));
    let ended = tokio::select! {
        result = Box::pin(definition::run(Arc::clone(&context))) => result,
        result = Box::pin(backup::repositories(Arc::clone(&context))) => result,
        result = first_to_end(served) => result,
    };
    tracing::error!(?ended, "a reconciler ended");
}

/// The reconcilers of one namespace, or of all.
async fn serve(context: Arc<Context>, store: Arc<MemberStore>) -> anyhow::Result<()> {
    let backups = Arc::new(backup::Context {
        frame: Arc::clone(&context),
        store: Arc::clone(&store),
        image: context.config.backup_image.clone(),
        others: Arc::default(),
        restores: Arc::default(),
    });
    let instance_sets = Arc::new(instanceset::Context {
        frame: Arc::clone(&context),
        store,
    });
    let [one, two, three] = std::array::from_fn(|_| Arc::clone(&context));
    tokio::select! {
        result = Box::pin(cluster::run(one)) => result,
        result = Box::pin(component::run(two)) => result,
        result = Box::pin(operations::run(three)) => result,
        result = Box::pin(backup::run(backups)) => result,
        result = Box::pin(instanceset::run(instance_sets)) => result,
    }
}

/// Runs all of them until one ends. There is always one.
async fn first_to_end<F>(all: impl Iterator<Item = F>) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Unpin,
{
    futures::future::select_all(all).await.0
}

/// Waits until the CustomResourceDefinitions are there and the API server answers.
async fn established(context: &Context) {
    // Metadata can be read whatever the objects look like.
    let clusters: Api<PartialObjectMeta<Cluster>> = match context.config.namespaces.first() {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    };
    let mut ticks = interval(ASK_AGAIN);
    loop {
        ticks.tick().await;
        let params = ListParams::default().limit(1);
        match timeout(CALL, clusters.list(&params)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => {
                tracing::warn!(%error, "waiting for the API server and the definitions");
            }
            Err(_) => tracing::warn!("waiting for the API server, which does not answer"),
        }
    }
}

/// Shows in the figures that the lease is held, for as long as it lives.
struct Held(Arc<Context>);

impl Held {
    fn new(context: Arc<Context>) -> Self {
        context.metrics.lease_held(true);
        Held(context)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.metrics.lease_held(false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use serde_json::json;

    use super::*;
    use crate::fake_api::{NEVER, server};

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_is_asked_again() {
        let times = AtomicUsize::new(0);
        let (context, asked) = server(move |_| match times.fetch_add(1, Ordering::Relaxed) {
            0 => (NEVER, json!(null)),
            _ => {
                let list = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList",
                    "metadata": {}, "items": [] });
                (200, list)
            }
        });
        timeout(CALL * 2, established(&context))
            .await
            .expect("an end");
        assert_eq!(asked.lock().expect("no panic").len(), 2);
    }
}
