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
    at: Instant,
}

impl Elsewhere {
    /// `follows`: the leader that raft in the own member names, where it was asked.
    pub(super) fn of(voters: usize, answers: &[Answer], follows: Option<Id>, at: Instant) -> Self {
        let count = |wanted: &dyn Fn(Answer) -> bool| {
            answers.iter().filter(|answer| wanted(**answer)).count()
        };
        let mut seen = Self {
            voters,
            another: count(&|answer| matches!(answer, Answer::Another(_))),
            silent: count(&|answer| answer == Answer::Silent),
            takes_part: false,
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
            let seen = Elsewhere::of(others.voters, &answers, follows, Instant::now());
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
mod tests {
    use kbagent_protocol::Id;

    use super::*;
    use crate::etcd::ResponseHeader;
    use crate::test_support;

    /// The last status of the own member, 1, in term 4.
    fn own(leader: Option<u64>) -> MemberStatus {
        test_support::status(1, leader, 4)
    }

    fn status(cluster_id: u64, leader: u64, raft_term: u64) -> Status {
        let header = Some(ResponseHeader {
            cluster_id,
            ..ResponseHeader::default()
        });
        Status {
            header,
            leader,
            raft_term,
            ..Status::default()
        }
    }

    #[test]
    fn only_another_leader_of_this_cluster_in_a_term_of_its_own_counts() {
        // Name, own leader, cluster, leader and term of the other, what it means.
        let cases = [
            ("another in a higher term", Some(1), 9, 2, 5, true),
            ("the term that this one leads", Some(1), 9, 2, 4, false),
            ("a candidate", Some(1), 9, 0, 5, false),
            ("ourselves, elected again", Some(1), 9, 1, 5, false),
            ("another cluster", Some(1), 8, 2, 5, false),
            ("the leader that this one lost", None, 9, 2, 4, true),
            ("the leader of an older term", None, 9, 2, 3, false),
        ];
        for (name, leads, cluster, leader, term, expected) in cases {
            let found = moved_on(&own(leads), &status(cluster, leader, term));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_process_that_is_gone_is_no_majority_elsewhere() {
        let endpoint = || "http://x".to_owned();
        let late = |dialled| {
            let answer = Err(EtcdError::TimedOut {
                endpoint: endpoint(),
                deadline_ms: 1,
            });
            meaning(&own(None), &Said { answer, dialled })
        };
        let refused = Said {
            answer: Err(EtcdError::Refused {
                endpoint: endpoint(),
            }),
            dialled: Dialled::Refused,
        };
        assert_eq!(meaning(&own(None), &refused), Answer::Other);
        assert_eq!(late(Dialled::Away), Answer::Silent);
        assert_eq!(late(Dialled::Reached), Answer::Other, "slow, not away");
        assert_eq!(late(Dialled::Unknown), Answer::Other, "a name alone");
    }

    /// The place of this address, looked up.
    async fn found(address: std::net::SocketAddr) -> Place {
        let mut place = Place::new(address.to_string());
        while place.address().is_none() {
            place.look(LIST_FOR);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        place
    }

    #[tokio::test]
    async fn a_member_in_whose_place_clients_are_held_is_gone_too() {
        let bind = || tokio::net::TcpListener::bind(("127.0.0.1", 0));
        let (clients, peers) = (bind().await.expect("bind"), bind().await.expect("bind"));
        let peer = found(peers.local_addr().expect("address")).await;
        let url = format!("http://{}", clients.local_addr().expect("address"));
        let client = Client::new(&url, &crate::tls::Tls::default()).expect("a client");
        let slow = says(&client, Some(&peer)).await;
        assert!(slow.dialled == Dialled::Reached && slow.answer.is_err());
        assert_eq!(meaning(&own(None), &slow), Answer::Other);
        drop(peers);
        let gone = says(&client, Some(&peer)).await;
        assert!(matches!(gone.answer, Err(EtcdError::Refused { .. })));
        assert_eq!(meaning(&own(None), &gone), Answer::Other);
        let unknown = says(&client, Some(&Place::new("no such name".to_owned()))).await;
        assert_eq!(meaning(&own(None), &unknown), Answer::Other);
    }

    #[tokio::test]
    async fn an_answer_waits_for_no_dialling_and_silence_does() {
        use std::future::{pending, ready};
        let answer = || ready(Ok(status(9, 2, 5)));
        let said = first(pending(), answer(), "x").await;
        assert_eq!(meaning(&own(Some(1)), &said), Answer::Another(Id(2)));
        let late = || EtcdError::TimedOut {
            endpoint: "x".to_owned(),
            deadline_ms: 1,
        };
        for (dialled, meant) in [
            (Dialled::Away, Answer::Silent),
            (Dialled::Reached, Answer::Other),
            (Dialled::Refused, Answer::Other),
        ] {
            let dialling = async {
                tokio::task::yield_now().await;
                dialled
            };
            let said = first(dialling, ready(Err(late())), "x").await;
            assert_eq!(meaning(&own(None), &said), meant, "{dialled:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_in_doubt_asks_early() {
        let knowledge = Knowledge::of(test_support::view(1, Some(1), 4));
        let (_knowledge, known) = watch::channel(knowledge);
        let paused = async |at| {
            let began = tokio::time::Instant::now();
            let (_doubted, doubted) = watch::channel(at);
            pause(known.clone(), doubted, true).await;
            began.elapsed()
        };
        let now = Instant::now();
        assert_eq!(paused(None).await, EVERY);
        assert_eq!(paused(Some(now)).await, EVERY_IN_TROUBLE);
        assert_eq!(paused(now.checked_sub(FRESH)).await, EVERY, "long ago");
    }

    #[test]
    fn a_majority_of_voters_must_be_accounted_for() {
        use Answer::{Other, Silent};
        const ANOTHER: Answer = Answer::Another(Id(2));
        // Voters, answers, outvoted, deposed, whole.
        let cases: [(usize, &[Answer], [bool; 3]); 8] = [
            (3, &[Silent, Silent], [true, false, false]),
            (3, &[ANOTHER, ANOTHER], [true, true, true]),
            (3, &[ANOTHER, Silent], [true, true, false]),
            (3, &[ANOTHER, Other], [false, false, false]),
            (3, &[Other, Silent], [false, false, false]),
            (5, &[ANOTHER, Silent, Silent, Other], [true, true, false]),
            (5, &[ANOTHER, ANOTHER, Other, Other], [false, false, false]),
            (1, &[], [false, false, false]),
        ];
        let now = Instant::now();
        for (voters, answers, expected) in cases {
            let seen = Elsewhere::of(voters, answers, None, now);
            let found = [seen.outvoted(now), seen.deposed(now), seen.whole(now)];
            assert_eq!(found, expected, "{voters} voters, {answers:?}");
            assert!(
                !seen.outvoted(now + FRESH),
                "an old answer counts for nothing"
            );
        }
    }

    #[test]
    fn a_member_takes_part_when_its_raft_follows_the_leader_of_a_majority() {
        use Answer::{Another, Other, Silent};
        let (two, three) = (Id(2), Id(3));
        // Voters, answers, the leader of the own raft, whether it takes part.
        let cases: [(usize, &[Answer], Option<Id>, bool); 7] = [
            (3, &[Another(two), Another(two)], Some(two), true),
            (3, &[Another(two), Another(two)], Some(three), false),
            (3, &[Another(two), Another(two)], None, false),
            (3, &[Another(two), Another(three)], Some(two), false),
            (3, &[Another(two), Silent], Some(two), false),
            (
                5,
                &[Another(two), Another(two), Another(two), Other],
                Some(two),
                true,
            ),
            (
                5,
                &[Another(two), Another(two), Another(three), Other],
                Some(two),
                false,
            ),
        ];
        let now = Instant::now();
        for (voters, answers, follows, expected) in cases {
            let seen = Elsewhere::of(voters, answers, follows, now);
            assert_eq!(seen.takes_part(now), expected, "{answers:?}, {follows:?}");
            assert!(!seen.takes_part(now + FRESH), "an old answer");
        }
    }

    #[test]
    fn it_is_told_whether_all_voters_are_known() {
        let (report, told) = watch::channel(FencingReport::default());
        let mut others = Others::default();
        others.tell(&report);
        assert!(!told.borrow().voters_known && !told.has_changed().expect("open"));
        others.listed = Some(Instant::now());
        others.tell(&report);
        assert!(told.borrow().voters_known);
        others.listed = None;
        others.tell(&report);
        assert!(!told.borrow().voters_known, "one has no address yet");
    }

    #[test]
    fn learners_have_no_say_and_addresses_follow_the_list() {
        let member = |id, url: &str, is_learner| Member {
            id,
            client_urls: vec![url.to_owned()],
            is_learner,
            ..Member::default()
        };
        let mut others = Others::default();
        others.take(
            &[
                member(1, "http://a", false),
                member(2, "http://b", false),
                member(3, "http://c", true),
            ],
            1,
        );
        assert_eq!(others.voters, 2);
        assert_eq!(others.urls, BTreeMap::from([(2, "http://b".to_owned())]));
    }

    #[tokio::test]
    async fn a_place_is_kept_until_its_voter_has_another() {
        let member = |id, peer: &str| Member {
            id,
            client_urls: vec!["http://b".to_owned()],
            peer_urls: vec![peer.to_owned()],
            ..Member::default()
        };
        let list = |peer| [member(1, "http://127.0.0.1:1"), member(2, peer)];
        let mut others = Others::default();
        others.take(&list("http://127.0.0.1:2"), 1);
        assert_eq!(others.peers.len(), 1, "its own is not asked");
        let address = "127.0.0.1:2".parse().expect("an address");
        others.peers.insert(2, found(address).await);
        others.take(&list("http://127.0.0.1:2"), 1);
        assert_eq!(others.peers[&2].address(), Some(address));
        others.take(&list("http://127.0.0.1:3"), 1);
        assert_eq!(others.peers[&2].address(), None);
    }
}
