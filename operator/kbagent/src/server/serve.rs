//! Wiring: starts the watcher and the fence, then serves until the process is told to stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use http_limits::Limits;
use kbagent_protocol::{
    PATH_ACTION, PATH_AGENT, PATH_BEATS, PATH_CLOCK, PATH_DRAINED, PATH_ELECTION, PATH_GETROLE,
    PATH_HANDOFF, PATH_HEALTHZ, PATH_MEMBER, PATH_MEMBERS, PATH_STARTED, PATH_WATCH,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::entrance::{self, Entrance};
use super::gate::Gate;
use super::paths::{self, App, BODY};
use super::shared_read::SharedRead;
use crate::actions::Actions;
use crate::config::Config;
use crate::etcd::{Client, EtcdError};
use crate::handoff::Handoff;
use crate::{accounts, election, failovers, fence, relay, stopping, watch};

/// What callers may cost: the operator's replicas, the other agents, probes and a few people.
const LIMITS: Limits = Limits {
    connections: 128,
    per_address: 16,
    trusted: 64,
    head_bytes: 16 * 1024,
    head_time: Duration::from_secs(5),
    body_bytes: BODY,
    body_time: Duration::from_secs(5),
};
/// Actions that may run at the same time.
const ACTIONS: usize = 8;

/// Why the agent does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The own member's address is no URL.
    #[error("failed to make a client of the own member")]
    Client(#[from] EtcdError),
    /// The port is taken, signals cannot be received, or the operator's name is none.
    #[error("failed to listen")]
    Listen(#[from] io::Error),
}

/// Serves until SIGTERM. A hand-over is not begun by the signal: the pod's preStop asks for it.
///
/// # Errors
/// When the agent cannot begin.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let config = Arc::new(config);
    let own = Client::new(&config.etcd_endpoint, &config.tls)?;
    let incarnation = rand::random();
    let listener = http_limits::listen(config.listen)?;
    let entrance = Entrance::new(&config)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (shown, does) = tokio::sync::watch::channel(watch::Own::default());
    let trouble = watch::Trouble::default();
    let (writes, written) = tokio::sync::watch::channel(None);
    let knowledge = watch::start(&config, &own, incarnation, does, &trouble, writes);
    let handoff = Handoff::new(Arc::clone(&config), own.clone());
    let actions = Actions::new(
        Arc::clone(&config),
        own.clone(),
        knowledge.clone(),
        shown.clone(),
    );
    let planned = fence::Planned {
        stopping: handoff.moving(),
        moved_at: actions.moved_at(),
    };
    let doubted = trouble.doubted.subscribe();
    let fencing = fence::start(&config, &own, knowledge.clone(), doubted, planned);
    accounts::start(&config, &own, knowledge.clone(), shown.clone());
    failovers::start(&config, knowledge.clone(), written);
    let moving = handoff.moving();
    let elections = election::start(&config, &own, knowledge.clone(), moving, trouble, shown);
    let relay = relay::start(&config, &own, knowledge.clone());
    let app = Arc::new(App {
        actions,
        handoff,
        gate: Gate::new(&config, incarnation),
        places: Semaphore::new(ACTIONS),
        members: SharedRead::default(),
        tls: config.tls.clone(),
        metrics: config.metrics_address.clone(),
        own,
        knowledge,
        fencing,
        elections,
        relay,
        incarnation,
    });
    let router = routes(app).layer(from_fn_with_state(entrance.clone(), entrance::guard));
    tracing::info!(listen = %config.listen, pod = config.pod_name, "the agent serves");
    tokio::select! {
        never = http_limits::serve_behind(listener, entrance, router, LIMITS) => match never {},
        () = async {
            terminate.recv().await;
            tracing::info!("the agent stops");
            stopping::end_etcd(&config).await;
        } => {}
    }
    Ok(())
}

fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route(PATH_GETROLE, get(paths::getrole))
        .route(PATH_MEMBER, get(paths::member))
        .route(PATH_WATCH, get(paths::watch))
        .route(PATH_MEMBERS, get(paths::members))
        .route(PATH_AGENT, get(paths::agent))
        .route(PATH_CLOCK, get(paths::clock))
        .route(PATH_STARTED, get(paths::started))
        .route(PATH_DRAINED, get(paths::drained))
        .route(PATH_HEALTHZ, get(paths::healthz))
        .route(PATH_HANDOFF, post(paths::handoff))
        .route(PATH_ACTION, post(paths::action))
        .route(PATH_BEATS, get(paths::beats))
        .route(PATH_ELECTION, post(paths::election))
        .with_state(app)
}
