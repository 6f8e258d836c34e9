//! Finds out whether the majority is elsewhere: the other voters follow another leader or are out of reach, so that no
//! majority can be made with this member before that changes. Then a restart of its etcd costs nothing.
//!
//! A leader whose disk hangs keeps saying that it leads, because its own news pass through that disk, and one that is
//! frozen says nothing: so the others are asked, and a majority of voters must be accounted for. One liar is not
//! enough.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kbagent_protocol::{EtcdState, FencingReport, Id, MemberStatus, Role};
use tokio::sync::watch;

use super::own_raft::OwnRaft;
use super::place::{Dialled, Place, dial};
use crate::config::without_scheme;
use crate::etcd::{Client, EtcdError, Member, Status};
use crate::watch::Knowledge;

/// Pause between two rounds of questions: cheap beside the polls of the own member.
const EVERY: Duration = Duration::from_millis(500);
/// The same while the own member does not answer or knows no leader, or its leadership was in doubt within [`FRESH`].
const EVERY_IN_TROUBLE: Duration = Duration::from_millis(50);
/// Deadline of a question.
const DEADLINE: Duration = Duration::from_millis(400);
/// How often a voter's name is looked up while it is asked.
const LOOK_UP: Duration = Duration::from_secs(1);
/// How old the list of voters may become while the own member answers.
const LIST_FOR: Duration = Duration::from_secs(10);
/// Voters that are asked: etcd itself advises against more than seven.
const MOST: usize = 16;
/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(1);

/// What another voter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It follows this other leader, or is it, and has moved on to that term without the own member.
    Another(Id),
    /// Its host accepts no connection and refuses none: it may be part of a majority that is out of reach.
    Silent,
    /// Anything else: it has no leader, names the own member, is of another cluster, its process is gone, or it can be
    /// reached and is too slow to answer: it may be needed.
    Other,
}

/// What the last round of questions has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Elsewhere {
    /// All voters, the own member among them.
    voters: usize,
    another: usize,
    silent: usize,
    /// Raft in the own member follows the leader of a majority of the others.
    takes_part: bool,
    /// Of the own member, by the status that the answers were held against.
    term: u64,
    at: Instant,
}

impl Elsewhere {
    /// `follows`: the leader that raft in the own member names, where it was asked. `term`: the own member's.
    pub(super) fn of(
        voters: usize,
        answers: &[Answer],
        follows: Option<Id>,
        (term, at): (u64, Instant),
    ) -> Self {
        let count = |wanted: &dyn Fn(Answer) -> bool| {
            answers.iter().filter(|answer| wanted(**answer)).count()
        };
        let mut seen = Self {
            voters,
            another: count(&|answer| matches!(answer, Answer::Another(_))),
            silent: count(&|answer| answer == Answer::Silent),
            takes_part: false,
            term,
            at,
        };
        seen.takes_part = follows
            .is_some_and(|leader| count(&|one| one == Answer::Another(leader)) >= seen.quorum());
        seen
    }

    fn quorum(&self) -> usize {
        self.voters / 2 + 1
    }

    fn fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < FRESH
    }

    /// False when the own member has come to a later term since: it may lead that one.
    pub(super) fn counts_in(&self, term: u64) -> bool {
        term <= self.term
    }

    /// No majority can be made with those that are left.
    pub(super) fn outvoted(&self, now: Instant) -> bool {
        self.fresh(now) && self.another + self.silent >= self.quorum()
    }

    /// The same, and at least one voter says that another leads.
    pub(super) fn deposed(&self, now: Instant) -> bool {
        self.outvoted(now) && self.another > 0
    }

    /// A majority without the own member follows another leader.
    pub(super) fn whole(&self, now: Instant) -> bool {
        self.fresh(now) && self.another >= self.quorum()
    }

    /// The same, and raft in the own member follows that leader: it is part of the majority.
    pub(super) fn takes_part(&self, now: Instant) -> bool {
        self.fresh(now) && self.takes_part
    }
}

/// Asks the other voters while the own member leads or is in trouble, and publishes what they say, and whether all of
/// them are known.
pub(super) async fn look(
    own: Client,
    mut raft: OwnRaft,
    knowledge: watch::Receiver<Knowledge>,
    doubted: watch::Receiver<Option<Instant>>,
    found: watch::Sender<Option<Elsewhere>>,
    report: watch::Sender<FencingReport>,
) {
    let mut others = Others::default();
    loop {
        pause(knowledge.clone(), doubted.clone(), others.listed.is_some()).await;
        let (state, status) = {
            let known = knowledge.borrow();
            (known.etcd().clone(), known.status().cloned())
        };
        let Some(status) = status else { continue };
        if state == EtcdState::Running {
            raft.forget();
            others.refresh(&own, &status).await;
            others.look_up(LIST_FOR);
            others.tell(&report);
        }
        if matters(&state, &status) && others.voters > 0 {
            let answers = others.ask(&own, &status);
            let (answers, follows) = tokio::join!(answers, part(&mut raft, &state, &status));
            let of = (status.term, Instant::now());
            let seen = Elsewhere::of(others.voters, &answers, follows, of);
            found.send_replace(Some(seen));
        }
    }
}

/// The leader that raft follows in a member that is silent and followed one at its last answer. One that led is not
/// asked, as that takes time: where others have another leader, its clients must go there.
async fn part(raft: &mut OwnRaft, state: &EtcdState, status: &MemberStatus) -> Option<Id> {
    let silent = matches!(state, EtcdState::Unreachable { refused: false, .. });
    if silent && status.role() != Role::Leader {
        raft.follows(status.member_id).await
    } else {
        None
    }
}

/// True when it is worth asking: a follower of a leader has nothing to find out.
fn matters(state: &EtcdState, status: &MemberStatus) -> bool {
    match state {
        EtcdState::Running => status.role() == Role::Leader || status.leader_id.is_none(),
        EtcdState::Unreachable { refused, .. } => !refused,
        EtcdState::Starting { .. } | EtcdState::Refused { .. } => false,
    }
}

/// Waits for the next round's turn, which comes early when the own member falls silent or loses its leader, or it is in
/// doubt that it leads, and when it answers and the others are not known: it may fall silent next.
async fn pause(
    mut knowledge: watch::Receiver<Knowledge>,
    mut doubted: watch::Receiver<Option<Instant>>,
    listed: bool,
) {
    let trouble = async {
        let alarming = |known: &Knowledge| {
            let silent = matches!(known.etcd(), EtcdState::Unreachable { refused: false, .. });
            let leaderless = *known.etcd() == EtcdState::Running
                && known
                    .status()
                    .is_some_and(|status| status.leader_id.is_none());
            let unlisted = !listed && *known.etcd() == EtcdState::Running;
            silent || leaderless || unlisted
        };
        let fresh = |at: &Option<Instant>| at.is_some_and(|at| at.elapsed() < FRESH);
        let alarmed = async { knowledge.wait_for(alarming).await.is_ok() };
        let doubted = async { doubted.wait_for(fresh).await.is_ok() };
        // False means that nothing more will be told.
        tokio::select! {
            true = alarmed => {}
            true = doubted => {}
            else => std::future::pending().await,
        }
        tokio::time::sleep(EVERY_IN_TROUBLE).await;
    };
    tokio::select! {
        () = tokio::time::sleep(EVERY) => {}
        () = trouble => {}
    }
}

/// The other voters, by the own member's newest list of them.
#[derive(Default)]
struct Others {
    voters: usize,
    /// By identifier.
    urls: BTreeMap<u64, String>,
    /// Where they listen for peers, by identifier.
    peers: BTreeMap<u64, Place>,
    /// Connections that answered last time.
    clients: BTreeMap<u64, Client>,
    listed: Option<Instant>,
}

impl Others {
    async fn refresh(&mut self, own: &Client, status: &MemberStatus) {
        if self.listed.is_some_and(|then| then.elapsed() < LIST_FOR) {
            return;
        }
        // The member's own copy: it has no majority to ask when this is needed.
        if let Ok(list) = own.members(false, DEADLINE).await {
            self.take(&list.members, status.member_id.0);
            // A voter that has just started has no address yet.
            let whole = self.urls.len() + 1 >= self.voters.min(MOST);
            self.listed = whole.then(Instant::now);
        }
    }

    fn tell(&self, report: &watch::Sender<FencingReport>) {
        let known = self.listed.is_some();
        report.send_if_modified(|report| {
            let changed = report.voters_known != known;
            report.voters_known = known;
            changed
        });
    }

    fn take(&mut self, members: &[Member], own: u64) {
        let voters = || members.iter().filter(|member| !member.is_learner);
        self.voters = voters().count();
        self.urls = voters()
            .filter(|member| member.id != own)
            .filter_map(|member| Some((member.id, member.client_urls.first()?.clone())))
            .take(MOST)
            .collect();
        let mut former = std::mem::take(&mut self.peers);
        self.peers = voters()
            .filter(|member| self.urls.contains_key(&member.id))
            .filter_map(|member| {
                let name = without_scheme(member.peer_urls.first()?);
                let same = former.remove(&member.id);
                let same = same.filter(|place| place.name() == name);
                Some((member.id, same.unwrap_or_else(|| Place::new(name))))
            })
            .collect();
        let urls = &self.urls;
        self.clients
            .retain(|id, client| urls.get(id).is_some_and(|url| url == client.endpoint()));
    }

    fn look_up(&mut self, every: Duration) {
        for place in self.peers.values_mut() {
            place.look(every);
        }
    }

    async fn ask(&mut self, client: &Client, own: &MemberStatus) -> Vec<Answer> {
        self.look_up(LOOK_UP);
        for (id, url) in &self.urls {
            if !self.clients.contains_key(id)
                && let Ok(client) = client.of(url, *id)
            {
                self.clients.insert(*id, client);
            }
        }
        let mut questions: FuturesUnordered<_> = self
            .clients
            .iter()
            .map(|(id, client)| {
                let peer = self.peers.get(id);
                async move { (*id, says(client, peer).await) }
            })
            .collect();
        let mut answers = Vec::new();
        let mut lost = Vec::new();
        while let Some((id, said)) = questions.next().await {
            if said.answer.is_err() {
                lost.push(id);
            }
            answers.push(meaning(own, &said));
        }
        drop(questions);
        // A connection from before a cut stays silent for a while after it: the next question gets a new one.
        for id in lost {
            self.clients.remove(&id);
        }
        answers
    }
}

/// What came of asking a member.
struct Said {
    answer: Result<Status, EtcdError>,
    /// Whether its host takes connections at the peers' port, or was reached because it answered.
    dialled: Dialled,
}

/// What a member says of itself. Who is dead refuses at the peers' port; at the clients' port its agent would hold the
/// question for a while.
async fn says(client: &Client, place: Option<&Place>) -> Said {
    let dialling = dial(place.and_then(Place::address));
    let late = || EtcdError::TimedOut {
        endpoint: client.endpoint().to_owned(),
        deadline_ms: DEADLINE.as_millis(),
    };
    if place.is_some_and(Place::hangs) {
        // A new connection by name would wait for the same name service.
        let dialled = dialling.await;
        let answer = match dialled {
            Dialled::Reached => client.status(DEADLINE).await,
            _ => Err(late()),
        };
        return Said { answer, dialled };
    }
    first(dialling, client.status(DEADLINE), client.endpoint()).await
}

/// Who refuses at the peers' port is gone, whatever is awaited. An answer needs no dialling, which takes long where the
/// peers' port alone is out of reach.
async fn first(
    dialling: impl Future<Output = Dialled>,
    asking: impl Future<Output = Result<Status, EtcdError>>,
    endpoint: &str,
) -> Said {
    tokio::pin!(dialling, asking);
    tokio::select! {
        biased;
        dialled = &mut dialling => {
            let answer = if dialled == Dialled::Refused {
                let endpoint = endpoint.to_owned();
                Err(EtcdError::Refused { endpoint })
            } else {
                asking.await
            };
            Said { answer, dialled }
        }
        answer = &mut asking => {
            let dialled = match answer {
                Ok(_) => Dialled::Reached,
                Err(_) => dialling.await,
            };
            Said { answer, dialled }
        }
    }
}

fn meaning(own: &MemberStatus, said: &Said) -> Answer {
    match &said.answer {
        Ok(other) if moved_on(own, other) => Answer::Another(Id(other.leader)),
        Ok(_)
        | Err(EtcdError::Refused { .. } | EtcdError::Another { .. } | EtcdError::Rejected { .. }) => {
            Answer::Other
        }
        // That it is slow does not tell what it would vote, nor does a name that was never resolved.
        Err(EtcdError::TimedOut { .. } | EtcdError::Transport { .. })
            if said.dialled != Dialled::Away =>
        {
            Answer::Other
        }
        Err(EtcdError::TimedOut { .. } | EtcdError::Transport { .. }) => Answer::Silent,
    }
}

/// True when `other` has another leader than the own member, in a term that the own member did not lead.
fn moved_on(own: &MemberStatus, other: &Status) -> bool {
    let header = other.header.unwrap_or_default();
    let newer = if own.role() == Role::Leader {
        other.raft_term > own.term
    } else {
        other.raft_term >= own.term
    };
    header.cluster_id == own.cluster_id.0
        && newer
        && other.leader != 0
        && other.leader != own.member_id.0
}

#[cfg(test)]
#[path = "elsewhere_tests.rs"]
mod tests;
