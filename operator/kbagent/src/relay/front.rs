//! Accepts clients at the pod's address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_limits::{Limits, Places};
use kbagent_protocol::RelayReport;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::pass::{End, pass, prepare, reset};
use super::scout::Scout;
use crate::config::Config;
use crate::etcd::Client;
use crate::launch::FRONT_FILE;
use crate::watch::Knowledge;

/// Connections at a time, of all clients and of one address: all clients of a node come from one where its proxy hides
/// theirs. Each takes two buffers.
const LIMITS: (usize, usize) = (1536, 1024);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Longest time that a client is held: so many election timeouts, within bounds. Raft's own timeout takes two at most.
const HELD: u32 = 3;
const HELD_LEAST: Duration = Duration::from_secs(1);
const HELD_MOST: Duration = Duration::from_secs(10);
/// Longest life of a connection to another member. Its client then dials the service, which has long led to the leader.
const LIFE: Duration = Duration::from_mins(10);
/// A client of this age that has said nothing does not mean to: its connection ends with the member's, as another
/// agent expects of the one by which it notices a death.
const SILENT: Duration = Duration::from_millis(100);
/// Pause between two looks whether the launcher has left the address to the agent.
const LOOK: Duration = Duration::from_millis(100);
/// How long without it until the report says so.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause before the agent tries to listen again.
const AGAIN: Duration = Duration::from_secs(1);
/// Pause after a failed accept that is no client's fault.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

struct Front {
    config: Arc<Config>,
    scout: Arc<Scout>,
    places: Places,
    report: watch::Sender<RelayReport>,
}

/// Accepts clients, unless it is switched off; the receiver holds what was done.
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
    let Some(ip) = config.front_ip() else {
        let why = "the pod has no address beside the one at which the agent asks etcd";
        tracing::warn!(why, "clients of a dead etcd are refused");
        report.send_modify(|report| report.reason = Some(why.to_owned()));
        return reports;
    };
    let front = Front {
        config: Arc::clone(config),
        scout: Scout::start(config, own, knowledge),
        places: Places::new(Limits {
            connections: LIMITS.0,
            per_address: LIMITS.1,
            ..Limits::default()
        }),
        report,
    };
    tokio::spawn(Arc::new(front).run(ip));
    reports
}

impl Front {
    async fn run(self: Arc<Self>, ip: IpAddr) {
        self.until_left().await;
        let address = SocketAddr::from((ip, self.config.client_port));
        loop {
            match listen(address) {
                Ok(listener) => {
                    tracing::info!(%address, "clients are accepted by the agent and passed on to etcd");
                    self.report.send_modify(|report| {
                        report.listens = true;
                        report.reason = None;
                    });
                    self.accept(&listener).await;
                }
                Err(error) => {
                    tracing::warn!(%error, %address, "failed to listen for clients");
                    let why = format!("failed to listen at {address}: {error}");
                    self.report.send_modify(|report| report.reason = Some(why));
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Waits until the launcher has left the address to the agent.
    async fn until_left(&self) {
        let mark = self.config.run_dir.join(FRONT_FILE);
        let began = Instant::now();
        while !mark.exists() {
            if began.elapsed() >= PATIENCE && self.report.borrow().reason.is_none() {
                let why = "etcd has not been started so that clients come to the agent: see docs/failover.md for the \
                           addresses that it may be told to listen on";
                tracing::warn!(why, "clients of a dead etcd are refused");
                self.report
                    .send_modify(|report| report.reason = Some(why.to_owned()));
            }
            sleep(LOOK).await;
        }
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => self.take(stream, from),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a client");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, stream: TcpStream, from: SocketAddr) {
        let (standing, lost) = self.places.enter(from.ip().to_canonical());
        let front = Arc::clone(self);
        tokio::spawn(async move {
            tokio::select! {
                () = front.serve(stream) => {}
                () = lost.notified() => tracing::debug!("closed a connection: the limit of connections is reached"),
            }
            drop(standing);
        });
    }

    async fn serve(&self, mut client: TcpStream) {
        let began = Instant::now();
        if let Err(error) = prepare(&client) {
            tracing::debug!(%error, "failed to set up a connection");
        }
        let mut said = Vec::new();
        if let Some(own) = self.scout.own().await {
            let _ = own.set_nodelay(true);
            let end = pass(&mut client, own, &mut said, || ()).await;
            let silent = said.is_empty() && began.elapsed() >= SILENT;
            if end == End::Over || silent {
                return;
            }
        }
        self.lead(client, said).await;
    }

    /// Holds a client until there is a leader, and passes on what it has said and says.
    async fn lead(&self, mut client: TcpStream, mut said: Vec<u8>) {
        let held = self.config.election_timeout * HELD;
        let until = Instant::now() + held.clamp(HELD_LEAST, HELD_MOST);
        while let Ok(Some(leader)) = timeout_at(until, self.scout.leader()).await {
            if let Err(error) = prepare(&leader) {
                tracing::debug!(%error, "failed to set up a connection");
            }
            let answered = || self.report.send_modify(|report| report.passed += 1);
            match timeout(LIFE, pass(&mut client, leader, &mut said, answered)).await {
                Ok(End::Unanswered) => {}
                Ok(End::Over) => return,
                Err(_) => return tracing::debug!("closed a connection: its time is over"),
            }
        }
        self.report.send_modify(|report| report.given_up += 1);
        reset(client);
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of an agent that was here before may still be ending.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
