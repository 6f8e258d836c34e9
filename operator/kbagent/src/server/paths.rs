//! The answers of each path.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Query, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_limits::Standing;
use kbagent_protocol::{
    ActionRequest, AgentReport, Asked, ElectionRequest, ErrorAnswer, EtcdState, FencingReport,
    HandoffRequest, MemberList, MemberView, RelayReport, RoleAnswer,
};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::gate::{Gate, Refusal};
use super::shared_read::SharedRead;
use super::stream;
use crate::actions::{Actions, ROLE_AGE};
use crate::election::Elections;
use crate::etcd::Client;
use crate::expiry;
use crate::handoff::Handoff;
use crate::http::Call;
use crate::tls::Tls;
use crate::watch::Knowledge;

/// Largest body in bytes: an action is a few hundred.
pub(super) const BODY: usize = 16 * 1024;
/// How long who asks whether etcd has started is kept waiting. The probe's own limit is longer.
const STARTED: Duration = Duration::from_secs(2);
/// What etcd says of itself without a quorum, and without alarms that a restart cannot heal.
const HEALTH: &str = "/health?serializable=true&exclude=NOSPACE&exclude=CORRUPT";
const HEALTH_LIMIT: Duration = Duration::from_secs(1);
/// Deadline of the member list.
const LIST: Duration = Duration::from_secs(2);

/// What the paths share.
pub(super) struct App {
    pub(super) own: Client,
    /// `host:port` of the own member's metrics.
    pub(super) metrics: String,
    pub(super) knowledge: watch::Receiver<Knowledge>,
    pub(super) fencing: watch::Receiver<FencingReport>,
    pub(super) elections: Arc<Elections>,
    pub(super) relay: watch::Receiver<RelayReport>,
    pub(super) actions: Actions,
    pub(super) handoff: Arc<Handoff>,
    pub(super) gate: Gate,
    pub(super) incarnation: u64,
    pub(super) places: Semaphore,
    pub(super) members: SharedRead<Result<MemberList, String>>,
    pub(super) tls: Tls,
}

pub(super) type Shared = State<Arc<App>>;

fn failure(status: StatusCode, code: &str, message: String) -> Response {
    (
        status,
        Json(ErrorAnswer {
            error_code: code.to_owned(),
            message,
        }),
    )
        .into_response()
}

pub(super) async fn getrole(State(app): Shared) -> Response {
    let knowledge = app.knowledge.borrow();
    match knowledge.fresh(ROLE_AGE, Instant::now()) {
        Some(status) => Json(RoleAnswer {
            operation: "getRole".into(),
            role: status.role(),
            term: status.term,
        })
        .into_response(),
        None => {
            let state = serde_json::to_string(knowledge.etcd()).unwrap_or_default();
            failure(
                StatusCode::SERVICE_UNAVAILABLE,
                "ERR_OPERATION_FAILED",
                format!("operation exec failed: etcd does not answer now: {state}"),
            )
        }
    }
}

pub(super) async fn member(State(app): Shared) -> Json<MemberView> {
    Json(app.knowledge.borrow().at(Instant::now()))
}

/// Every client may read the stream. Authority only keeps the reader's place, so that none is as good as a wrong one.
pub(super) async fn watch(State(app): Shared, came: Came) -> Response {
    if let Err(error) = came.authorize(&app) {
        tracing::debug!(%error, "a reader without authority");
    }
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, stream::body(app.knowledge.clone())).into_response()
}

pub(super) async fn members(State(app): Shared) -> Response {
    let read = async || {
        let list = app.own.members(true, LIST).await;
        list.map(|list| MemberList::from(&list))
            .map_err(|error| error.to_string())
    };
    match app.members.get(Instant::now(), read).await {
        Ok(list) => Json(list).into_response(),
        Err(error) => failure(
            StatusCode::SERVICE_UNAVAILABLE,
            "ERR_OPERATION_FAILED",
            error,
        ),
    }
}

pub(super) async fn agent(State(app): Shared) -> Json<AgentReport> {
    Json(AgentReport {
        version: env!("CARGO_PKG_VERSION").into(),
        agent_incarnation: app.incarnation,
        fencing: app.fencing.borrow().clone(),
        elections: app.elections.report(),
        relay: app.relay.borrow().clone(),
        certificates: app.tls.directory().and_then(expiry::read),
    })
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ends as soon as the member runs and knows a leader, so that the kubelet need not come again a second later. One that
/// knows none has started, too, and is not to be restarted for that (P1); it may not even serve clients yet.
pub(super) async fn started(State(app): Shared) -> Response {
    let runs = |known: &Knowledge| *known.etcd() == EtcdState::Running;
    let follows = |known: &Knowledge| {
        let status = known.status();
        runs(known) && status.is_some_and(|status| status.leader_id.is_some())
    };
    let mut knowledge = app.knowledge.clone();
    // An error means that it has not come to that.
    let _ = timeout(STARTED, knowledge.wait_for(follows)).await;
    if runs(&knowledge.borrow()) {
        return "started\n".into_response();
    }
    let health = Call {
        deadline: HEALTH_LIMIT,
        ..Call::get(&app.metrics, HEALTH)
    };
    match health.send(String::new()).await {
        Ok((StatusCode::OK, _)) => "started\n".into_response(),
        Ok((status, _)) => not_started(&format!("its health is answered with {status}")),
        Err(error) => not_started(&error.to_string()),
    }
}

fn not_started(why: &str) -> Response {
    let message = format!("etcd has not started: {why}");
    failure(StatusCode::SERVICE_UNAVAILABLE, "ERR_NOT_STARTED", message)
}

pub(super) async fn drained(State(app): Shared) -> &'static str {
    app.handoff.drained().await;
    "drained\n"
}

/// What a caller signs by. It costs no memory.
pub(super) async fn clock(State(app): Shared, Query(question): Query<Question>) -> Response {
    let Ok(nonce) = question.nonce.parse() else {
        let message = "give ?nonce= with 32 hexadecimal digits, in lower case".to_owned();
        return failure(StatusCode::BAD_REQUEST, "ERR_BAD_REQUEST", message);
    };
    match app.gate.clock(nonce) {
        Ok(clock) => Json(clock).into_response(),
        Err(error) => turned_away(error.into()),
    }
}

pub(super) async fn handoff(State(app): Shared, came: Came) -> Response {
    if let Err(answer) = came.demand(&app) {
        return *answer;
    }
    // `kbagent handoff` and earlier operators send nothing.
    let request = match came.body.is_empty() {
        true => Ok(HandoffRequest::default()),
        false => serde_json::from_slice(&came.body),
    };
    match request {
        Ok(request) => Json(app.handoff.hand_over(request.to).await).into_response(),
        Err(error) => failure(
            StatusCode::BAD_REQUEST,
            "ERR_BAD_REQUEST",
            format!("the body is no request to transfer leadership: {error}"),
        ),
    }
}

pub(super) async fn action(State(app): Shared, came: Came) -> Response {
    if let Err(answer) = came.demand(&app) {
        return *answer;
    }
    let Ok(_place) = app.places.try_acquire() else {
        let message = "too many actions at once: try again".to_owned();
        return failure(StatusCode::SERVICE_UNAVAILABLE, "ERR_BUSY", message);
    };
    match serde_json::from_slice::<ActionRequest>(&came.body) {
        Ok(request) => Json(app.actions.run(&request).await).into_response(),
        Err(error) => failure(
            StatusCode::BAD_REQUEST,
            "ERR_BAD_REQUEST",
            format!("the body is no action request: {error}"),
        ),
    }
}

/// Of another agent. What it says of the leader is not believed: see [`crate::election`].
pub(super) async fn election(State(app): Shared, came: Came) -> Response {
    if let Err(answer) = came.demand(&app) {
        return *answer;
    }
    let Ok(request) = serde_json::from_slice::<ElectionRequest>(&came.body) else {
        let message = "the body is no election request".to_owned();
        return failure(StatusCode::BAD_REQUEST, "ERR_BAD_REQUEST", message);
    };
    match app.elections.answer(&request).await {
        Some(answer) => Json(answer).into_response(),
        None => {
            let message = "too many elections at once: try again".to_owned();
            failure(StatusCode::SERVICE_UNAVAILABLE, "ERR_BUSY", message)
        }
    }
}

/// Signs of life, for agents of other members.
pub(super) async fn beats(State(app): Shared, came: Came) -> Response {
    if let Err(answer) = came.demand(&app) {
        return *answer;
    }
    match app.elections.beats() {
        Some(body) => ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response(),
        None => {
            let message =
                "no beats: fastElection is not suspicion here, or too many read them".to_owned();
            failure(StatusCode::SERVICE_UNAVAILABLE, "ERR_BUSY", message)
        }
    }
}

/// The query of the clock.
#[derive(serde::Deserialize)]
pub(super) struct Question {
    #[serde(default)]
    nonce: String,
}

/// A request as it came, which is what a signature is about.
pub(super) struct Came {
    standing: Standing,
    head: Parts,
    body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Came {
    type Rejection = StatusCode;

    async fn from_request(request: Request, _: &S) -> Result<Self, StatusCode> {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, BODY).await;
        let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        let standing = head.extensions.get::<Standing>().cloned();
        let standing = standing.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
        Ok(Self {
            standing,
            head,
            body,
        })
    }
}

impl Came {
    fn authorize(&self, app: &App) -> Result<(), Refusal> {
        let target = self.head.uri.path_and_query();
        let asked = Asked {
            method: self.head.method.as_str(),
            target: target.map_or("", PathAndQuery::as_str),
            body: &self.body,
        };
        app.gate.check(&self.head.headers, &asked)?;
        self.standing.trust();
        Ok(())
    }

    /// As [`Came::authorize`], for what is refused without: the answer, then.
    fn demand(&self, app: &App) -> Result<(), Box<Response>> {
        self.authorize(app).map_err(|error| {
            app.gate.tell(self.head.uri.path(), &error);
            Box::new(turned_away(error))
        })
    }
}

fn turned_away(error: Refusal) -> Response {
    let status = match error {
        Refusal::Absent | Refusal::Unseen(_) => StatusCode::UNAUTHORIZED,
        Refusal::Bearer | Refusal::Wrong | Refusal::Unknown(_) => StatusCode::FORBIDDEN,
    };
    failure(status, "ERR_UNAUTHORIZED", error.to_string())
}
