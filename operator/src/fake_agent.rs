//! Agents for tests: what they say of their members, and ones that are asked for actions.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum::{Json, Router};
use http_limits::{Limits, serve};
use kbagent_protocol::{
    ActionAnswer, ActionRequest, Care, EtcdState, Format, Id, MemberStatus, MemberView,
    PATH_ACTION, PORT,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;

/// The token that an acting agent wants, as a pod without variables takes it.
pub(crate) const TOKEN: &str = "the-token";
/// How long an acting agent takes: who does not wait for it is noticed.
const TAKES: Duration = Duration::from_millis(30);

/// The status of a member of cluster 7 that knows no leader and has applied all.
pub(crate) fn status(member_id: Id) -> MemberStatus {
    MemberStatus {
        member_id,
        cluster_id: Id(7),
        leader_id: None,
        leader: None,
        term: 3,
        revision: 0,
        raft_index: 50,
        applied_index: 50,
        is_learner: false,
        version: "3.6.16".to_owned(),
        db_size_bytes: 0,
        db_size_in_use_bytes: 0,
        db_quota_bytes: None,
        format: Format::default(),
        alarms: Vec::new(),
    }
}

/// The first view of the agent in a pod, whose etcd has just answered this.
pub(crate) fn view(pod: &str, uid: &str, status: MemberStatus) -> MemberView {
    MemberView {
        instance: pod.to_owned(),
        pod_uid: uid.to_owned(),
        agent_incarnation: 1,
        sequence: 1,
        etcd: EtcdState::Running,
        status: Some(status),
        status_age_ms: Some(0),
        under_way: None,
        care: Care::default(),
        campaign: None,
        standing: None,
        file_system_bytes: None,
        accounts: None,
        v2_store: None,
    }
}

/// What an agent does when it is asked for an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// It is done.
    Done,
    /// Not done, with this word for it.
    Refused(&'static str),
    /// No answer comes.
    Never,
}

/// What an agent was asked, and that it has answered; with the name of its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// It was asked for this.
    Asked(&'static str, ActionRequest),
    /// It has answered.
    Answered(&'static str),
}

#[derive(Clone)]
struct Acting {
    pod: &'static str,
    answers: Answers,
    notes: UnboundedSender<Note>,
}

/// Begins an agent of this pod, and returns its address: one of loopback's, because all agents have one port.
pub(crate) async fn acting(
    pod: &'static str,
    answers: Answers,
    notes: &UnboundedSender<Note>,
) -> IpAddr {
    let (listener, ip) = listen().await;
    let state = Acting {
        pod,
        answers,
        notes: notes.clone(),
    };
    let router = Router::new().route(PATH_ACTION, post(act));
    tokio::spawn(serve(listener, router.with_state(state), Limits::default()));
    ip
}

/// A listener at the agents' port, on an address that no other test has.
async fn listen() -> (TcpListener, IpAddr) {
    let mut failed = None;
    for _ in 0..16 {
        let [a, b, c]: [u8; 3] = rand::random();
        let ip = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
        match TcpListener::bind((ip, PORT)).await {
            Ok(listener) => return (listener, ip.into()),
            Err(error) => failed = Some(error),
        }
    }
    panic!("port {PORT} of loopback is taken: {failed:?}");
}

async fn act(
    State(agent): State<Acting>,
    headers: HeaderMap,
    Json(request): Json<ActionRequest>,
) -> Result<Json<ActionAnswer>, StatusCode> {
    let shown = headers.get(header::AUTHORIZATION);
    if shown.is_none_or(|shown| *shown != format!("Bearer {TOKEN}")) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let note = |note| agent.notes.send(note).expect("the test reads notes");
    note(Note::Asked(agent.pod, request));
    let error = match agent.answers {
        Answers::Done => None,
        Answers::Refused(word) => Some(word.to_owned()),
        Answers::Never => std::future::pending().await,
    };
    tokio::time::sleep(TAKES).await;
    note(Note::Answered(agent.pod));
    Ok(Json(ActionAnswer {
        error,
        ..ActionAnswer::default()
    }))
}
