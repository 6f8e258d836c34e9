//! What raft itself says in the own member: `raft.status` among the variables that etcd shows at `/debug/vars` of its
//! client port (3.5 to 3.7). A status call has the term of the newest entry applied, which stays behind during an
//! election.

use std::time::Duration;

use hyper::StatusCode;
use kbagent_protocol::Id;
use serde::Deserialize;

use crate::http::Call;
use crate::tls::Tls;

const PATH: &str = "/debug/vars";
/// Deadline of a reading. Raft answers between two steps, none of which waits for the disk or takes a lock of the
/// database.
const DEADLINE: Duration = Duration::from_millis(250);

/// Raft's own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaftState {
    /// The member.
    pub member: Id,
    /// Its term.
    pub term: u64,
    /// The leader that it follows, itself perhaps.
    pub leader: Option<Id>,
    /// Index committed.
    pub commit: u64,
    /// Index up to which etcd was given what is committed, once its log was on the disk.
    pub applied: u64,
}

#[derive(Deserialize)]
struct Variables {
    #[serde(rename = "raft.status")]
    status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    id: Id,
    term: u64,
    commit: u64,
    applied: u64,
    lead: Id,
}

/// Reads it from the member at `address` (`host:port`); `None` when etcd does not report it.
pub async fn read(address: &str, tls: &Tls) -> Option<RaftState> {
    let call = Call {
        deadline: DEADLINE,
        tls: Some(tls),
        ..Call::get(address, PATH)
    };
    match call.send(String::new()).await {
        Ok((StatusCode::OK, body)) => parse(&body),
        Ok((status, _)) => {
            tracing::debug!(%status, "etcd does not show its variables");
            None
        }
        Err(error) => {
            tracing::debug!(%error, "etcd did not show its variables");
            None
        }
    }
}

fn parse(body: &[u8]) -> Option<RaftState> {
    let status = serde_json::from_slice::<Variables>(body).ok()?.status?;
    Some(RaftState {
        member: status.id,
        term: status.term,
        leader: (status.lead.0 != 0).then_some(status.lead),
        commit: status.commit,
        applied: status.applied,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raft_is_read_among_other_variables_or_not_at_all() {
        let body = br#"{"cmdline": ["etcd"], "memstats": {"Alloc": 1},
            "raft.status": {"id":"a2","term":7,"vote":"a1","commit":130,"lead":"a1","raftState":"StateFollower",
            "applied":129,"progress":{},"leadtransferee":"0"}}"#;
        let wanted = RaftState {
            member: Id(0xa2),
            term: 7,
            leader: Some(Id(0xa1)),
            commit: 130,
            applied: 129,
        };
        assert_eq!(parse(body), Some(wanted));
        let leaderless = String::from_utf8_lossy(body).replace("\"lead\":\"a1\"", "\"lead\":\"0\"");
        let read = parse(leaderless.as_bytes()).expect("a state");
        assert_eq!(read.leader, None);
        for other in [
            "{}",
            r#"{"raft.status": null}"#,
            r#"{"raft.status": {"term": 1}}"#,
            "<html>",
        ] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }
}
