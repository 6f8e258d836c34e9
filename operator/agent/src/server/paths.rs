//! The answers of each path.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_limits::Standing;
use kbagent_protocol::{
    ActionRequest, AgentReport, ElectionRequest, ErrorAnswer, FencingReport, MemberList,
    MemberView, RelayReport, RoleAnswer,
};
use tokio::sync::{Semaphore, watch};

use super::shared_read::SharedRead;
use super::stream;
use crate::actions::{Actions, ROLE_AGE, Token, TokenError};
use crate::election::Elections;
use crate::etcd::Client;
use crate::expiry;
use crate::handoff::Handoff;
use crate::tls::Tls;
use crate::watch::Knowledge;

/// Deadline of the member list.
const LIST: Duration = Duration::from_secs(2);

/// What the paths share.
pub(super) struct App {
    pub(super) own: Client,
    pub(super) knowledge: watch::Receiver<Knowledge>,
    pub(super) fencing: watch::Receiver<FencingReport>,
    pub(super) elections: Arc<Elections>,
    pub(super) relay: watch::Receiver<RelayReport>,
    pub(super) actions: Actions,
    pub(super) handoff: Arc<Handoff>,
    pub(super) token: Token,
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

/// Every client may read the stream. The token only keeps the reader's place, so a wrong one is as good as none.
pub(super) async fn watch(
    State(app): Shared,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
) -> Response {
    if let Err(error) = authorize(&app, &headers, &standing) {
        tracing::debug!(%error, "a reader without the token");
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

pub(super) async fn drained(State(app): Shared) -> &'static str {
    app.handoff.drained().await;
    "drained\n"
}

pub(super) async fn handoff(
    State(app): Shared,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
) -> Response {
    match authorize(&app, &headers, &standing) {
        Ok(()) => Json(app.handoff.hand_over().await).into_response(),
        Err(error) => turned_away(error),
    }
}

pub(super) async fn action(
    State(app): Shared,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if let Err(error) = authorize(&app, &headers, &standing) {
        return turned_away(error);
    }
    let Ok(_place) = app.places.try_acquire() else {
        let message = "too many actions at once: try again".to_owned();
        return failure(StatusCode::SERVICE_UNAVAILABLE, "ERR_BUSY", message);
    };
    match serde_json::from_str::<ActionRequest>(&body) {
        Ok(request) => Json(app.actions.run(&request).await).into_response(),
        Err(error) => failure(
            StatusCode::BAD_REQUEST,
            "ERR_BAD_REQUEST",
            format!("the body is no action request: {error}"),
        ),
    }
}

/// Of another agent. What it says of the leader is not believed: see [`crate::election`].
pub(super) async fn election(
    State(app): Shared,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if let Err(error) = authorize(&app, &headers, &standing) {
        return turned_away(error);
    }
    let Ok(request) = serde_json::from_str::<ElectionRequest>(&body) else {
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
pub(super) async fn beats(
    State(app): Shared,
    Extension(standing): Extension<Standing>,
    headers: HeaderMap,
) -> Response {
    if let Err(error) = authorize(&app, &headers, &standing) {
        return turned_away(error);
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

fn authorize(app: &App, headers: &HeaderMap, standing: &Standing) -> Result<(), TokenError> {
    let shown = headers.get(header::AUTHORIZATION);
    app.token
        .check(shown.and_then(|value| value.to_str().ok()))?;
    standing.trust();
    Ok(())
}

fn turned_away(error: TokenError) -> Response {
    let status = match error {
        TokenError::Absent => StatusCode::UNAUTHORIZED,
        TokenError::Wrong | TokenError::Unknown => StatusCode::FORBIDDEN,
    };
    failure(status, "ERR_UNAUTHORIZED", error.to_string())
}
