//! Asks, consents and starts campaigns, as the planner says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::{Method, StatusCode};
use kbagent_protocol::{
    Campaign, ElectionAnswer, ElectionReport, ElectionRequest, ElectionStanding, Id, Outcome,
    PATH_ELECTION,
};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::timeout;

use super::beat::{self, Beats};
use super::cutoff::Peers;
use super::hold::{self, Held, evidence};
use super::message::{self, MessageError, Target};
use super::plan::{Ask, Died, Evidence, Look, Order, Planner, Reason, Step, Witness};
use super::raft;
use crate::actions::Token;
use crate::config::Config;
use crate::etcd::Client;
use crate::http::{Call, SHORT};
use crate::watch::{Knowledge, Own, Trouble};

/// Longest wait for another agent's answer, which asks its etcd and the leader's in turn. Ordinarily some milliseconds.
const ANSWER: Duration = Duration::from_millis(250);
/// Of it, for an address that was looked up before: its pod may have another since.
const KNOWN: Duration = Duration::from_millis(100);
/// Wait for further standings when a majority has answered: one agent may be gone with its node.
const FURTHER: Duration = Duration::from_millis(20);
/// Deadline of a question to the own member.
const OWN: Duration = Duration::from_millis(250);
/// Pause before others are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// Requests of other agents that are answered at the same time.
const PLACES: usize = 8;

/// What an agent does about leaders that die.
pub struct Elections {
    pub(super) config: Arc<Config>,
    own: Client,
    pub(super) knowledge: watch::Receiver<Knowledge>,
    held: watch::Receiver<Option<Held>>,
    addresses: watch::Receiver<BTreeMap<String, SocketAddr>>,
    stopping: watch::Receiver<bool>,
    planner: Arc<Mutex<Planner>>,
    beats: Arc<Beats>,
    suspected: watch::Receiver<Option<Died>>,
    token: Token,
    report: watch::Sender<ElectionReport>,
    shown: watch::Sender<Own>,
    /// When the own member's leadership was last in doubt.
    pub(super) doubted: Arc<watch::Sender<Option<Instant>>>,
    places: Semaphore,
}

/// Another member that may be asked.
struct Peer {
    id: Id,
    pod: String,
}

/// Starts listening to the leader's end, unless it is switched off.
#[must_use]
pub fn start(
    config: &Arc<Config>,
    own: &Client,
    knowledge: watch::Receiver<Knowledge>,
    stopping: watch::Receiver<bool>,
    trouble: Trouble,
    shown: watch::Sender<Own>,
) -> Arc<Elections> {
    let (held_to, held) = watch::channel(None);
    let (addresses_to, addresses) = watch::channel(BTreeMap::new());
    let (suspected_to, suspected) = watch::channel(None);
    let planner = Planner::new(config.election_timeout, Instant::now());
    let report = ElectionReport {
        enabled: config.fast_election.news(),
        suspicion: config.fast_election.suspicion(),
        ..ElectionReport::default()
    };
    let elections = Arc::new(Elections {
        config: Arc::clone(config),
        own: own.clone(),
        knowledge: knowledge.clone(),
        held,
        addresses,
        stopping,
        planner: Arc::new(Mutex::new(planner)),
        beats: Arc::default(),
        suspected,
        token: Token::new(config.token_file.clone()),
        report: watch::Sender::new(report),
        shown,
        doubted: Arc::clone(&trouble.doubted),
        places: Semaphore::new(PLACES),
    });
    if config.fast_election.suspicion() {
        let peers = Peers {
            config: Arc::clone(config),
            own: own.clone(),
            knowledge: knowledge.clone(),
            addresses: elections.addresses.clone(),
            doubted: Arc::clone(&trouble.doubted),
        };
        let watch = beat::Watch {
            config: Arc::clone(config),
            beats: Arc::clone(&elections.beats),
            held: elections.held.clone(),
            suspected: suspected_to,
            planner: Arc::clone(&elections.planner),
            trouble: trouble.clone(),
        };
        beat::start(watch, peers);
    }
    if config.fast_election.news() {
        tokio::spawn(hold::addresses(Arc::clone(config), addresses_to));
        tokio::spawn(hold::keep(
            Arc::clone(config),
            knowledge,
            held_to,
            trouble.clone(),
        ));
        tokio::spawn(Arc::clone(&elections).announce());
        tokio::spawn(Arc::clone(&elections).run(trouble));
    }
    elections
}

impl Elections {
    /// What was done since the agent came up.
    #[must_use]
    pub fn report(&self) -> ElectionReport {
        self.report.borrow().clone()
    }

    /// The stream of signs of life of one reader; `None` when there are too many, or beats are switched off.
    #[must_use]
    pub fn beats(&self) -> Option<Body> {
        let on = self.config.fast_election.suspicion();
        on.then(|| self.beats.body()).flatten()
    }

    /// Answers another agent; `None` when too many ask at once.
    pub async fn answer(self: &Arc<Self>, request: &ElectionRequest) -> Option<ElectionAnswer> {
        let _place = self.places.try_acquire().ok()?;
        self.doubt(request);
        let refused = |standing, reason: String| ElectionAnswer {
            standing,
            consents: false,
            reason: Some(reason),
        };
        if !self.config.fast_election.news() {
            return Some(refused(None, "fastElection is off here".to_owned()));
        }
        if !request.consent {
            return Some(ElectionAnswer {
                standing: self.standing().await,
                consents: false,
                reason: None,
            });
        }
        let witness = self.witness().await;
        let now = Instant::now();
        let consent = self.planner.lock().await.consent(request, &witness, now);
        Some(match consent {
            Ok(()) => {
                self.consented(&witness);
                ElectionAnswer {
                    standing: witness.own,
                    consents: true,
                    reason: None,
                }
            }
            Err(reason) => refused(witness.own, reason.to_string()),
        })
    }

    /// After consent to a campaign against a leader that was silent, this agent too rests when there was no need.
    fn consented(self: &Arc<Self>, witness: &Witness) {
        let held = self.held.borrow().clone();
        let held = held.filter(|held| Some(held.led) == witness.died);
        let Some(held) = held.filter(|_| witness.evidence == Evidence::Suspected) else {
            return;
        };
        let elections = Arc::clone(self);
        tokio::spawn(async move {
            let another = elections.another_leads(held.led);
            let elected = timeout(elections.config.election_timeout, another).await;
            if elected.is_ok() && was_there(&elections.config, &held, true).await {
                elections
                    .planner
                    .lock()
                    .await
                    .was_needless(true, Instant::now());
            }
        });
    }

    async fn run(self: Arc<Self>, trouble: Trouble) {
        let mut counted = None;
        let mut told = None;
        let mut suspected = None;
        loop {
            trouble.news.notified().await;
            let died = self.held.borrow().as_ref().map(|held| held.led);
            let now = *self.suspected.borrow();
            if now.is_some() && now != suspected {
                self.report.send_modify(|report| report.suspected += 1);
            }
            suspected = now;
            match self.case().await {
                Some(reason @ (Reason::Alive | Reason::Silent)) if told != Some((died, reason)) => {
                    told = Some((died, reason));
                    tracing::info!(%reason, ?died, "news of the leader came to nothing");
                }
                None | Some(Reason::Alive | Reason::Silent) => {}
                Some(reason) if counted != died => {
                    counted = died;
                    self.report.send_modify(|report| report.left_to_raft += 1);
                    tracing::info!(%reason, ?died, "a leader has died: raft's own timeout decides");
                }
                Some(_) => {}
            }
        }
    }

    /// Deals with one death. A reason, when the leader is not known to be gone, or nothing more can be done.
    async fn case(self: &Arc<Self>) -> Option<Reason> {
        let began = Instant::now();
        loop {
            let held = self.held.borrow().clone()?;
            let (look, peers) = self.look(&held).await;
            let step = self.planner.lock().await.step(&look, Instant::now());
            let rest = match step {
                // Who is busy may answer the next time.
                Step::GiveWay(Reason::NoMajority | Reason::Unreadable)
                    if began.elapsed() < self.config.election_timeout =>
                {
                    ASK_AGAIN
                }
                Step::GiveWay(Reason::LeaderKnown | Reason::NoVote | Reason::Stopping) => {
                    return None;
                }
                Step::GiveWay(reason) => return Some(reason),
                Step::Wait(rest) => rest,
                Step::Ask(ask) => {
                    if self
                        .campaign(&ask, &peers, held.clone(), began)
                        .await
                        .is_err()
                    {
                        return None;
                    }
                    ASK_AGAIN
                }
            };
            if timeout(rest, self.another_leads(held.led)).await.is_ok() {
                return None;
            }
        }
    }

    /// What raft says in the own member. A status has the newest leader, and a term that may be too low, never too
    /// high; while there is no leader it stays behind, and raft itself is read.
    pub(super) async fn standing(&self) -> Option<ElectionStanding> {
        let status = self.own.status(OWN).await.ok()?;
        let header = status.header?;
        let mut standing = ElectionStanding {
            member_id: Id(header.member_id),
            cluster_id: Id(header.cluster_id),
            term: status.raft_term,
            leader_id: (status.leader != 0).then_some(Id(status.leader)),
            commit: status.raft_index,
            is_learner: status.is_learner,
        };
        if standing.leader_id.is_none() {
            let state = raft::read(&self.config.etcd_address(), &self.config.tls).await?;
            standing.term = state.term;
            standing.leader_id = state.leader;
            standing.commit = state.commit;
            return (state.member == standing.member_id).then_some(standing);
        }
        Some(standing)
    }

    async fn witness(&self) -> Witness {
        let own = self.standing().await;
        // Only now: what became of the connection may be known meanwhile.
        let held = self.held.borrow().clone();
        let leader = own.as_ref().and_then(|own| own.leader_id);
        let evidence = match &held {
            // A planned move: the old leader is not asked.
            Some(held) if leader.is_some_and(|id| id != held.led.leader) => Evidence::Silent,
            Some(held) if held.gone => Evidence::Gone,
            Some(held) => self.evidence(held).await,
            None => Evidence::Silent,
        };
        Witness {
            died: held.map(|held| held.led),
            evidence,
            own,
            stopping: *self.stopping.borrow(),
        }
    }

    /// What a connection finds, unless the judge suspects the leader meanwhile: an etcd that hangs still accepts.
    async fn evidence(&self, held: &Held) -> Evidence {
        let mut suspected = self.suspected.clone();
        let suspicion = async {
            let same = |known: &Option<Died>| *known == Some(held.led);
            if suspected.wait_for(same).await.is_err() {
                // Nothing is suspected where suspicion is off.
                std::future::pending().await
            }
        };
        tokio::select! {
            biased;
            () = suspicion => Evidence::Suspected,
            found = evidence(held.address) => found,
        }
    }

    async fn look(&self, held: &Held) -> (Look, Vec<Peer>) {
        let (witness, list) = tokio::join!(self.witness(), self.own.members(false, OWN));
        let members = list.map(|list| list.members).unwrap_or_default();
        let voters = || members.iter().filter(|member| !member.is_learner);
        let own = witness.own.as_ref().map(|own| own.member_id);
        let peers: Vec<Peer> = voters()
            .filter(|member| Some(Id(member.id)) != own && Id(member.id) != held.led.leader)
            .map(|member| Peer {
                id: Id(member.id),
                pod: member.name.clone(),
            })
            .collect();
        let mut others = vec![];
        let over = matches!(witness.evidence, Evidence::Gone | Evidence::Suspected);
        if let Some(own) = witness.own.as_ref().filter(|_| over) {
            let request = ElectionRequest {
                leader: held.led.leader,
                standing: own.clone(),
                consent: false,
            };
            let mut answers = self.ask(&peers, &request);
            // Of `peers` and the own one, which the leader is not among.
            let enough = peers.len().div_ceil(2);
            let mut patience = ANSWER;
            while let Ok(Some((id, answer))) = timeout(patience, answers.next()).await {
                let standing = answer.and_then(|answer| answer.standing);
                others.extend(standing.filter(|standing| standing.member_id == id));
                if others.len() >= enough {
                    patience = FURTHER;
                }
            }
        }
        let voters: BTreeSet<Id> = voters().map(|member| Id(member.id)).collect();
        let look = Look {
            witness,
            others,
            voters,
        };
        (look, peers)
    }

    /// Asks all of them at once; each answer with the member that it is of.
    fn ask<'a>(
        &'a self,
        peers: &'a [Peer],
        request: &ElectionRequest,
    ) -> FuturesUnordered<impl Future<Output = (Id, Option<ElectionAnswer>)> + use<'a>> {
        let body = serde_json::to_string(request).unwrap_or_default();
        let ask = |peer: &'a Peer| {
            let body = body.clone();
            async move { (peer.id, self.answer_of(&peer.pod, body).await) }
        };
        peers.iter().map(ask).collect()
    }

    pub(super) async fn answer_of(&self, pod: &str, body: String) -> Option<ElectionAnswer> {
        let known = self.addresses.borrow().get(pod).copied();
        if let Some(address) = known {
            let answer = self
                .call(pod, &address.to_string(), body.clone(), KNOWN)
                .await;
            if answer.is_some() {
                return answer;
            }
        }
        let port = self.config.listen.port();
        let address = format!("{}:{port}", self.config.host_of(pod));
        self.call(pod, &address, body, ANSWER - KNOWN).await
    }

    async fn call(
        &self,
        pod: &str,
        address: &str,
        body: String,
        deadline: Duration,
    ) -> Option<ElectionAnswer> {
        let token = self.token.read().ok()?;
        let tls = self.config.agents_tls(pod);
        let call = Call {
            method: Method::POST,
            opens: Some(self.config.opens(&token, pod)),
            tls: Some(&tls),
            deadline,
            largest: SHORT,
            ..Call::get(address, PATH_ELECTION)
        };
        match call.send(body).await {
            Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).ok(),
            Ok((status, _)) => {
                tracing::debug!(address, %status, "another agent did not answer");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "another agent did not answer");
                None
            }
        }
    }

    /// Asks for consent, and lets the own member campaign when there is enough of it.
    async fn campaign(
        self: &Arc<Self>,
        ask: &Ask,
        peers: &[Peer],
        held: Held,
        began: Instant,
    ) -> Result<(), MessageError> {
        let request = ElectionRequest {
            leader: ask.leader,
            standing: ask.standing.clone(),
            consent: true,
        };
        let mut answers = self.ask(peers, &request);
        let mut consenting = BTreeSet::new();
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Some(answer) if answer.consents => {
                    consenting.insert(id);
                }
                Some(answer) => {
                    tracing::debug!(member = %id, reason = answer.reason, "no consent");
                }
                None => {}
            }
            let mut planner = self.planner.lock().await;
            if let Some(order) = planner.elect(ask, &consenting, Instant::now()) {
                drop(planner);
                self.tell(order, ask.standing.cluster_id).await?;
                let after_ms = began.elapsed().as_millis();
                let (member, term, leader) = (order.member, order.term, held.led.leader);
                let suspected = ask.suspected;
                tracing::info!(%member, term, %leader, suspected, after_ms, "the leader is gone: this member campaigns");
                tokio::spawn(Arc::clone(self).outcome(order, held, suspected, began));
                return Ok(());
            }
        }
        Ok(())
    }

    async fn tell(&self, order: Order, cluster: Id) -> Result<(), MessageError> {
        let version = self
            .knowledge
            .borrow()
            .status()
            .map(|known| known.version.clone());
        let target = Target {
            address: &self.config.peer_address(),
            tls: &self.config.tls,
            cluster,
            version: &version.unwrap_or_default(),
        };
        if let Err(error) = message::tell(order, target).await {
            self.report.send_modify(|report| report.left_to_raft += 1);
            tracing::warn!(%error, "raft's own timeout decides");
            return Err(error);
        }
        self.report.send_modify(|report| report.started += 1);
        Ok(())
    }

    /// Finds out what came of it.
    async fn outcome(self: Arc<Self>, order: Order, held: Held, suspected: bool, began: Instant) {
        let leads = self.another_leads(held.led);
        let leader = timeout(self.config.election_timeout, leads).await.ok();
        let after_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let show = |outcome| {
            let campaign = Campaign {
                term: order.term,
                leader: held.led.leader,
                suspected,
                outcome,
                after_ms,
            };
            self.shown.send_modify(|own| own.campaign = Some(campaign));
        };
        if leader != Some(order.member) {
            self.report.send_modify(|report| report.late += 1);
            show(Outcome::Late);
            tracing::info!(term = order.term, ?leader, "the campaign was not won");
            return;
        }
        let needless = was_there(&self.config, &held, suspected).await;
        self.report.send_modify(|report| {
            report.won += 1;
            report.needless += u64::from(needless);
        });
        show(if needless {
            Outcome::Needless
        } else {
            Outcome::Won
        });
        if needless {
            let mut planner = self.planner.lock().await;
            planner.was_needless(suspected, Instant::now());
            tracing::warn!(
                "the campaign was won and needless: the old leader is there; agent rests"
            );
        } else {
            tracing::info!(term = order.term, after_ms, "the campaign was won");
        }
    }

    /// The next leader, as soon as the own member knows one.
    async fn another_leads(&self, led: Died) -> Id {
        let mut knowledge = self.knowledge.clone();
        let next = |known: &Knowledge| {
            let status = known.status()?;
            let leader = status.leader_id?;
            (leader != led.leader || status.term > led.term).then_some(leader)
        };
        match knowledge
            .wait_for(|known| next(known).is_some())
            .await
            .map(|known| next(&known))
        {
            Ok(Some(leader)) => leader,
            // The watcher ended, and the process with it.
            _ => std::future::pending().await,
        }
    }
}

/// Whether the old leader's etcd is there. One that hangs accepts, and does not answer.
async fn was_there(config: &Config, held: &Held, suspected: bool) -> bool {
    if suspected {
        beat::lives(held.address, &config.etcd_tls(&held.pod), beat::QUICK).await
    } else {
        evidence(held.address).await == Evidence::Alive
    }
}
