//! Moves leadership, and says so only when the new leader was seen to lead.

use std::time::{Duration, Instant};

use kbagent_protocol::{Id, SwitchoverOutput};

use super::candidate::{NoCandidate, choose};
use super::cluster::{Cluster, STATUS};
use super::outcome::{Failure, Success};
use crate::etcd::{Client, Member};

/// Deadline of the move itself. etcd gives up after an election timeout of its own.
const MOVE: Duration = Duration::from_secs(3);
/// How long the new leader may take to be seen, from the call on.
const SEEN: Duration = Duration::from_secs(5);
/// How long after an error of the call.
const AFTER_ERROR: Duration = Duration::from_millis(500);
/// Pause between two looks for it.
const SEEN_EVERY: Duration = Duration::from_millis(10);

/// A move that was seen.
#[derive(Debug, Clone)]
pub struct Moved {
    /// The member that leads now.
    pub leader: Member,
    /// The term it leads in.
    pub term: u64,
}

/// Moves leadership to the member named `candidate`, or to the most caught-up voter.
///
/// # Errors
/// When no member is eligible, or the new leader was not seen.
pub async fn move_away(cluster: &Cluster, candidate: Option<&str>) -> Result<Moved, Failure> {
    let mark = cluster.mark().await?;
    let standings = cluster.standings().await;
    let chosen = choose(&mark, &standings, candidate).map_err(|error| match error {
        NoCandidate::Unknown(_) => Failure::BadRequest(error.to_string()),
        NoCandidate::Unfit { .. } | NoCandidate::None(_) => {
            Failure::Precondition(error.to_string())
        }
    })?;
    let witness = cluster.client_of(&chosen.member)?;
    transfer(cluster, &chosen.member, (witness, mark.term)).await
}

/// Moves leadership to the voter `id`, which is not asked: the caller has its status, and it may be out of reach from
/// here. Raft moves leadership only to a voter that has the whole log. What this member says of the new leader counts.
///
/// # Errors
/// When it is no voter, or was not seen to lead.
pub async fn move_to(cluster: &Cluster, id: Id) -> Result<Moved, Failure> {
    let mark = cluster.mark().await?;
    let voter = |member: &&Member| member.id == id.0 && !member.is_learner;
    let target = cluster.members().iter().find(voter).ok_or_else(|| {
        Failure::Precondition(format!(
            "{id} is no voter of this cluster: nothing was moved"
        ))
    })?;
    let witness = cluster.client_of(cluster.leader()?)?;
    transfer(cluster, target, (witness, mark.term)).await
}

/// Moves leadership to `target`, until the witness has seen it lead in a term after this one.
async fn transfer(
    cluster: &Cluster,
    target: &Member,
    (witness, term): (Client, u64),
) -> Result<Moved, Failure> {
    let leader = cluster.client_of(cluster.leader()?)?;
    let seen = wait_for(witness, target.id, term);
    tokio::pin!(seen);
    // Whatever the call says, only what is seen counts (M6). etcd answers a heartbeat later than it has moved.
    let (term, error) = tokio::select! {
        term = &mut seen => (term, None),
        outcome = leader.move_leader(target.id, MOVE) => match outcome {
            Ok(()) => (seen.await, None),
            Err(error) => (tokio::time::timeout(AFTER_ERROR, seen).await.ok().flatten(), Some(error)),
        },
    };
    match (term, error) {
        (Some(term), _) => Ok(Moved {
            leader: target.clone(),
            term,
        }),
        (None, Some(error)) => Err(error.into()),
        (None, None) => Err(Failure::TimedOut(format!(
            "{} was not seen to lead in time",
            target.name
        ))),
    }
}

/// Waits until a member reports `id` as leader, in a term after `term`.
async fn wait_for(client: Client, id: u64, term: u64) -> Option<u64> {
    let until = Instant::now() + SEEN;
    while Instant::now() < until {
        if let Ok(status) = client.status(STATUS).await
            && status.leader == id
            && status.raft_term > term
        {
            return Some(status.raft_term);
        }
        tokio::time::sleep(SEEN_EVERY).await;
    }
    None
}

/// The action: moves leadership away from `current`.
pub(super) async fn switchover(
    own: &Client,
    current: Option<&str>,
    candidate: Option<&str>,
) -> Result<Success, Failure> {
    let cluster = Cluster::look(own).await?;
    let leader = cluster.leader()?;
    if current.is_some() && current == candidate {
        let message = format!("{} cannot take over from itself", leader.name);
        return Err(Failure::BadRequest(message));
    }
    let reason = match (current, candidate) {
        (_, Some(candidate)) if candidate == leader.name => {
            Some(format!("{candidate} leads already"))
        }
        (Some(current), _) if current != leader.name => Some(format!(
            "{current} is not the leader ({} is): nothing was moved",
            leader.name
        )),
        _ => None,
    };
    if let Some(message) = reason {
        let term = cluster.mark().await?.term;
        return told(message, leader, (term, false));
    }
    let moved = move_away(&cluster, candidate).await?;
    let message = format!(
        "leadership moved from {} to {}",
        leader.name, moved.leader.name
    );
    tracing::info!(
        from = leader.name,
        to = moved.leader.name,
        term = moved.term,
        "leadership moved"
    );
    told(message, &moved.leader, (moved.term, true))
}

fn told(message: String, leader: &Member, (term, moved): (u64, bool)) -> Result<Success, Failure> {
    let output = SwitchoverOutput {
        leader: leader.name.clone(),
        leader_id: Id(leader.id),
        term,
        moved,
    };
    Success::json(message, &output)
}
