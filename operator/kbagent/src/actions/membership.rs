//! Adds, promotes and removes members, one step at a time.

use std::time::Duration;

use kbagent_protocol::{Id, Member as MemberEntry, MemberList};

use super::cluster::{Cluster, LIST};
use super::outcome::{Failure, Success};
use super::switchover::move_away;
use crate::etcd::{Client, EtcdError, Member};

/// Deadline of a change. It is committed by raft like a write.
const CHANGE: Duration = Duration::from_secs(5);

/// Adds the pod with this peer URL as a learner, or finds it there.
pub(super) async fn join(own: &Client, peer_url: &str) -> Result<Success, Failure> {
    let cluster = Cluster::look(own).await?;
    if let Some(there) = by_url(cluster.members(), peer_url) {
        let message = format!("{peer_url} is a member already");
        return Success::json(message, &MemberEntry::from(there));
    }
    if let Some(pending) = cluster.members().iter().find(|member| pending(member)) {
        return Err(Failure::Precondition(format!(
            "member {:x} ({}) has not become a voter yet: promote or remove it first (M1)",
            pending.id,
            pending.peer_urls.join(",")
        )));
    }
    let leader = cluster.client_of(cluster.leader()?)?;
    let outcome = leader.add_learner(peer_url, CHANGE).await;
    let list = settled(own, outcome.as_ref().err()).await?;
    match by_url(&list, peer_url) {
        Some(there) => {
            tracing::info!(id = %Id(there.id), peer_url, "a learner was added");
            Success::json(
                format!("{peer_url} was added as a learner"),
                &MemberEntry::from(there),
            )
        }
        None => Err(unseen(
            outcome.err(),
            "the learner was not seen in the list",
        )),
    }
}

/// Gives the learner its vote.
pub(super) async fn promote(own: &Client, id: Id) -> Result<Success, Failure> {
    let cluster = Cluster::look(own).await?;
    let member = by_id(cluster.members(), id)
        .ok_or_else(|| Failure::BadRequest(format!("the member list holds no {id}")))?;
    if !member.is_learner {
        return Success::json(
            format!("{id} is a voter already"),
            &MemberEntry::from(member),
        );
    }
    // A learner refuses the call, and followers cannot pass it on under some versions (M7).
    let outcome = cluster
        .client_of(cluster.leader()?)?
        .promote(id.0, CHANGE)
        .await;
    if let Err(error) = &outcome
        && error.rejection().contains("in sync with leader")
    {
        return Err(Failure::Precondition(format!(
            "learner {id} is not in sync with the leader yet"
        )));
    }
    let list = settled(own, outcome.as_ref().err()).await?;
    match by_id(&list, id) {
        Some(member) if !member.is_learner => {
            tracing::info!(%id, name = member.name, "a learner was promoted");
            Success::json(format!("{id} has a vote"), &MemberEntry::from(member))
        }
        _ => Err(unseen(
            outcome.err(),
            "the promotion was not seen in the list",
        )),
    }
}

/// Removes the member, if it is the one of this peer URL.
pub(super) async fn leave(
    own: &Client,
    id: Id,
    peer_url: Option<&str>,
) -> Result<Success, Failure> {
    let mut cluster = Cluster::look(own).await?;
    let Some(victim) = by_id(cluster.members(), id).cloned() else {
        let list = MemberList::from(cluster.list());
        return Success::json(format!("{id} is no member (any more)"), &list);
    };
    if let Some(url) = peer_url
        && !victim.peer_urls.iter().any(|known| known == url)
    {
        return Err(Failure::BadRequest(format!(
            "member {id} is at {}, not at {url}: it is another pod's (M4)",
            victim.peer_urls.join(",")
        )));
    }
    if !victim.is_learner {
        keeps_quorum(&cluster, &victim).await?;
    }
    if cluster.leader()?.id == victim.id {
        // Otherwise the removal of a leader costs an election.
        move_away(&cluster, None).await?;
        cluster = Cluster::look(own).await?;
    }
    let leader = cluster.client_of(cluster.leader()?)?;
    let outcome = leader.remove(id.0, CHANGE).await;
    // Through the leader: the own member may be the one that just left.
    let list = settle(&leader, outcome.as_ref().err()).await?;
    if by_id(&list.members, id).is_some() {
        return Err(unseen(outcome.err(), "the member is still in the list"));
    }
    tracing::info!(%id, name = victim.name, "a member was removed");
    Success::json(format!("{id} was removed"), &MemberList::from(&list))
}

/// The voters that stay and are well must be a majority of those that stay (M13).
async fn keeps_quorum(cluster: &Cluster, victim: &Member) -> Result<(), Failure> {
    let stay = |member: &Member| !member.is_learner && member.id != victim.id;
    let standings = cluster.standings().await;
    let staying: Vec<_> = standings
        .iter()
        .filter(|standing| stay(&standing.member))
        .collect();
    let well = staying
        .iter()
        .filter(|standing| {
            standing
                .status
                .as_ref()
                .is_ok_and(|status| status.leader != 0)
        })
        .count();
    let quorum = staying.len() / 2 + 1;
    if staying.is_empty() || well < quorum {
        return Err(Failure::Precondition(format!(
            "removing {:x} would leave {} voters, {well} of them healthy; quorum is {quorum} (M13)",
            victim.id,
            staying.len()
        )));
    }
    Ok(())
}

fn by_url<'a>(members: &'a [Member], peer_url: &str) -> Option<&'a Member> {
    members
        .iter()
        .find(|member| member.peer_urls.iter().any(|url| url == peer_url))
}

fn by_id(members: &[Member], id: Id) -> Option<&Member> {
    members.iter().find(|member| member.id == id.0)
}

/// A learner, or a member that has never started.
fn pending(member: &Member) -> bool {
    member.is_learner || member.name.is_empty()
}

async fn settled(client: &Client, error: Option<&EtcdError>) -> Result<Vec<Member>, Failure> {
    Ok(settle(client, error).await?.members)
}

/// The list after a change, whatever the call said (M6).
async fn settle(
    client: &Client,
    error: Option<&EtcdError>,
) -> Result<crate::etcd::MemberList, Failure> {
    client
        .members(true, LIST)
        .await
        .map_err(|again| match error {
            Some(error) => {
                Failure::TimedOut(format!("{error}; then {again}: it may have happened"))
            }
            None => Failure::TimedOut(format!("{again}: the change was accepted but not seen")),
        })
}

fn unseen(error: Option<EtcdError>, what: &str) -> Failure {
    match error {
        Some(error) => error.into(),
        None => Failure::Failed(what.to_owned()),
    }
}
