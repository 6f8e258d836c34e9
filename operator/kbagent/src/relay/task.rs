//! Accepts, holds and passes on.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http_limits::{Limits, Places};
use hyper::StatusCode;
use kbagent_protocol::{EtcdState, MemberView, PATH_MEMBER, RelayReport};
use socket2::SockRef;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::aim::{Aim, aim};
use super::dying::{self, Beside, Mark};
use super::listen::{behind, listen};
use super::others::{self, Others};
use crate::config::Config;
use crate::etcd::Client;
use crate::http::Call;
use crate::launch::SHARED_FILE;
use crate::watch::Knowledge;

/// Connections at a time, of all clients and of one address: all clients of a node come from one where its proxy hides
/// theirs. Each may take two buffers.
const LIMITS: (usize, usize) = (192, 128);
/// Bytes that are on their way, in each direction of a connection.
const BUFFER: usize = 16 * 1024;
/// Longest time that a client is held: so many election timeouts, within bounds. Raft's own timeout takes two at most.
const HELD: u32 = 3;
const HELD_LEAST: Duration = Duration::from_secs(1);
const HELD_MOST: Duration = Duration::from_secs(10);
/// The same while members that could elect a leader are out of reach: the service leads to where there are some.
const HOPELESS: Duration = Duration::from_millis(500);
/// Longest life of a connection. Its client then dials the service, which has long led to the leader.
const LIFE: Duration = Duration::from_mins(10);
/// How long sent bytes may stay unacknowledged: who is gone, or does not read, goes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// Pause between two rounds of questions while clients are held.
const EVERY: Duration = Duration::from_millis(10);
/// Deadline of a question, and of a connection to the leader.
const ANSWER: Duration = Duration::from_millis(300);
/// Wait for further answers when those of a majority name no leader.
const FURTHER: Duration = Duration::from_millis(20);
/// A process that dies closes its sockets one by one: one that accepts is asked again after this.
const DYING: Duration = Duration::from_millis(10);
/// Pause before the agent tries to stand by again, and between two looks whether it may.
const AGAIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a failed accept that is no client's fault.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long no client must have come before the listener beside a dead etcd is closed; its successor listens then.
const QUIET: Duration = Duration::from_secs(1);

struct Relay {
    config: Arc<Config>,
    mark: Arc<Mark>,
    knowledge: watch::Receiver<Knowledge>,
    others: watch::Receiver<Others>,
    places: Places,
    /// Clients that are held.
    waiting: watch::Sender<usize>,
    found: watch::Sender<Found>,
    report: watch::Sender<RelayReport>,
}

/// What the newest round of questions has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    At(SocketAddr),
    Wait,
    Hopeless,
}

/// Stands by for the own etcd, unless it is switched off; the receiver holds what was done.
#[must_use]
pub(crate) fn start(
    config: &Arc<Config>,
    own: &Client,
    knowledge: watch::Receiver<Knowledge>,
) -> watch::Receiver<RelayReport> {
    let (report, reports) = watch::channel(RelayReport {
        enabled: config.relay_clients,
        ..RelayReport::default()
    });
    if !config.relay_clients {
        return reports;
    }
    let Some(ip) = config.shared_ip() else {
        let why = "the pod has no IPv4 address beside the one at which the agent asks etcd";
        tracing::warn!(why, "clients of a dead etcd are refused");
        report.send_modify(|report| report.reason = Some(why.to_owned()));
        return reports;
    };
    let (others_to, others) = watch::channel(Others::default());
    let relay = Arc::new(Relay {
        config: Arc::clone(config),
        mark: Arc::new(Mark::new(config.run_dir.join(SHARED_FILE))),
        knowledge,
        others,
        places: Places::new(Limits {
            connections: LIMITS.0,
            per_address: LIMITS.1,
            ..Limits::default()
        }),
        waiting: watch::Sender::new(0),
        found: watch::Sender::new(Found::Wait),
        report,
    });
    tokio::spawn(others::keep(Arc::clone(config), own.clone(), others_to));
    tokio::spawn(Arc::clone(&relay).scout());
    Arc::clone(&relay).foresee(ip);
    tokio::spawn(relay.run(ip));
    reports
}

impl Relay {
    /// From now on the agent listens beside each etcd that dies, unless it does not stand by.
    fn foresee(self: Arc<Self>, ip: Ipv4Addr) {
        let may = {
            let reports = self.report.subscribe();
            move || reports.borrow().stands_by
        };
        match dying::watch(&self.mark, (ip, self.config.client_port), may) {
            Ok(deaths) => drop(tokio::spawn(self.serve_beside(deaths))),
            Err(error) => {
                tracing::warn!(%error, "clients that come while etcd dies are reset");
            }
        }
    }

    async fn serve_beside(self: Arc<Self>, mut deaths: mpsc::Receiver<Beside>) {
        while let Some(Beside { listener, open }) = deaths.recv().await {
            self.report.send_modify(|report| report.foreseen += 1);
            tracing::info!("etcd dies: the agent listens beside it");
            match TcpListener::from_std(listener) {
                Ok(listener) => self.accept_until_quiet(&listener).await,
                Err(error) => tracing::warn!(%error, "failed to accept beside a dying etcd"),
            }
            drop(open);
        }
    }

    /// Until the next etcd listens, which gets all that comes from then on.
    async fn accept_until_quiet(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            match timeout(QUIET, listener.accept()).await {
                Ok(Ok((stream, from))) => self.take(stream, from),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "failed to accept a client of the dead etcd");
                    sleep(ACCEPT_PAUSE).await;
                }
                Err(_) if *self.knowledge.borrow().etcd() == EtcdState::Running => return,
                Err(_) => {}
            }
        }
    }

    /// Stands by as soon as etcd runs and shares its port: who came first then is known, and that etcd comes first can
    /// be tried.
    async fn run(self: Arc<Self>, ip: Ipv4Addr) {
        let mut knowledge = self.knowledge.clone();
        loop {
            let runs = |known: &Knowledge| *known.etcd() == EtcdState::Running;
            if knowledge.wait_for(runs).await.is_err() {
                return;
            }
            let why = if self.config.run_dir.join(SHARED_FILE).exists() {
                let Err(error) = self.stand_by(ip).await;
                format!("{error:#}")
            } else {
                "etcd does not share its port: see docs/failover.md for the addresses that it must listen on".to_owned()
            };
            let told = self.report.send_if_modified(|report| {
                let changed = report.reason.as_ref() != Some(&why);
                report.reason = Some(why.clone());
                report.stands_by = false;
                changed
            });
            if told {
                tracing::warn!(why, "clients of a dead etcd are refused");
                sleep(LOOK).await;
            } else {
                sleep(AGAIN).await;
            }
        }
    }

    async fn stand_by(self: &Arc<Self>, ip: Ipv4Addr) -> anyhow::Result<Infallible> {
        let address = SocketAddr::from((ip, self.config.client_port));
        let listener = listen(ip, self.config.client_port)?;
        let tried = behind(&listener, address).await?;
        for (stream, from) in tried.clients {
            stream.set_nonblocking(true)?;
            self.take(TcpStream::from_std(stream)?, from);
        }
        anyhow::ensure!(
            tried.behind,
            "the kernel does not prefer etcd's socket to the agent's"
        );
        tracing::info!(%address, "the agent stands by for clients of a dead etcd");
        self.report.send_modify(|report| {
            report.stands_by = true;
            report.reason = None;
        });
        Ok(self.accept(TcpListener::from_std(listener)?).await)
    }

    async fn accept(self: &Arc<Self>, listener: TcpListener) -> Infallible {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => self.take(stream, from),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a client of the dead etcd");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, stream: TcpStream, from: SocketAddr) {
        let (standing, lost) = self.places.enter(from.ip().to_canonical());
        let relay = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = relay.lead(stream) => {}
                () = lost.notified() => tracing::debug!("closed a connection: the limit of connections is reached"),
            }
            drop(standing);
        });
    }

    /// Holds a client until there is a leader, and passes on what it says. No byte is read before, none is sent twice.
    async fn lead(&self, mut client: TcpStream) {
        let held = self.config.election_timeout * HELD;
        let held = held.clamp(HELD_LEAST, HELD_MOST);
        let Ok(Some(mut leader)) = timeout(held, self.leader()).await else {
            self.report.send_modify(|report| report.given_up += 1);
            // Not the end of a conversation: the client must not take it for one.
            let _ = SockRef::from(&client).set_linger(Some(Duration::ZERO));
            return;
        };
        let set = prepared(&client).and_then(|()| prepared(&leader));
        if let Err(error) = set {
            tracing::debug!(%error, "failed to set up a connection");
        }
        self.report.send_modify(|report| report.passed += 1);
        let passed = copy_bidirectional_with_sizes(&mut client, &mut leader, BUFFER, BUFFER);
        match timeout(LIFE, passed).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection ended"),
            Err(_) => tracing::debug!("closed a connection: its time is over"),
        }
    }

    /// A connection to the leader; `None` when there is nothing to wait for.
    async fn leader(&self) -> Option<TcpStream> {
        let _waits = Waits::new(&self.waiting);
        let mut found = self.found.subscribe();
        let began = Instant::now();
        loop {
            found.changed().await.ok()?;
            let now = *found.borrow_and_update();
            match now {
                Found::At(address) => {
                    if let Ok(Ok(leader)) = timeout(ANSWER, TcpStream::connect(address)).await {
                        return Some(leader);
                    }
                }
                Found::Hopeless if began.elapsed() >= HOPELESS => return None,
                Found::Hopeless | Found::Wait => {}
            }
        }
    }

    /// Looks for the leader while clients are held.
    async fn scout(self: Arc<Self>) {
        let mut waiting = self.waiting.subscribe();
        let mut told = None;
        loop {
            if *waiting.borrow_and_update() == 0 {
                told = None;
            }
            if waiting.wait_for(|count| *count > 0).await.is_err() {
                return;
            }
            let found = self.round().await;
            self.found.send_replace(found);
            if let Found::At(leader) = found
                && told.replace(leader) != Some(leader)
            {
                tracing::info!(%leader, "clients come to a dead etcd: they are led on");
            }
            sleep(EVERY).await;
        }
    }

    async fn round(&self) -> Found {
        let runs = *self.knowledge.borrow().etcd() == EtcdState::Running;
        let own = self.own_accepts().await;
        if let Some(own) = own.filter(|_| runs) {
            return Found::At(own);
        }
        let others = self.others.borrow().clone();
        let cluster = self.knowledge.borrow().status().map(|own| own.cluster_id);
        let mut questions: FuturesUnordered<_> = others
            .agents
            .iter()
            .map(|(pod, agent)| async move { (pod.clone(), view(*agent).await) })
            .collect();
        let mut told = Vec::new();
        let mut patience = ANSWER;
        while let Ok(Some((pod, view))) = timeout(patience, questions.next()).await {
            told.extend(view.map(|view| (pod, view)));
            match aim(others.voters, cluster, &told) {
                Aim::Leader(pod) => {
                    if let Some(agent) = others.agents.get(&pod) {
                        return Found::At(SocketAddr::new(agent.ip(), self.config.client_port));
                    }
                }
                Aim::Wait => patience = FURTHER,
                Aim::Hopeless => {}
            }
        }
        match aim(others.voters, cluster, &told) {
            // It is starting: nothing else can be had.
            _ if own.is_some() => own.map_or(Found::Wait, Found::At),
            Aim::Hopeless => Found::Hopeless,
            Aim::Leader(_) | Aim::Wait => Found::Wait,
        }
    }

    /// The own etcd's address, if it listens there and continues to do so.
    async fn own_accepts(&self) -> Option<SocketAddr> {
        if self.mark.is_dead() {
            return None;
        }
        let own: SocketAddr = self.config.etcd_address().parse().ok()?;
        for pause in [DYING, Duration::ZERO] {
            timeout(ANSWER, TcpStream::connect(own)).await.ok()?.ok()?;
            sleep(pause).await;
        }
        Some(own)
    }
}

/// What another agent knows of its member.
async fn view(agent: SocketAddr) -> Option<MemberView> {
    let address = agent.to_string();
    let call = Call {
        deadline: ANSWER,
        ..Call::get(&address, PATH_MEMBER)
    };
    match call.send(String::new()).await {
        Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).ok(),
        _ => None,
    }
}

fn prepared(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

/// A client is held as long as this lives.
struct Waits<'a>(&'a watch::Sender<usize>);

impl<'a> Waits<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
