//! Accepts clients at the pod's addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_limits::Places;
use kbagent_protocol::RelayReport;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::pass::{End, pass, prepare, reset};
use super::scout::Scout;
use super::{bounds, sockets};
use crate::config::Config;
use crate::etcd::Client;
use crate::launch::FRONT_FILE;
use crate::watch::Knowledge;

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
    /// Where clients come.
    addresses: Vec<SocketAddr>,
    /// What came of listening there.
    tried: Mutex<BTreeMap<SocketAddr, Result<(), String>>>,
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
    let ips = config.front_ips();
    if ips.is_empty() {
        let why = "the pod has no address beside the one at which the agent asks etcd";
        tracing::warn!(why, "clients of a dead etcd are refused");
        report.send_modify(|report| report.reason = Some(why.to_owned()));
        return reports;
    }
    let address = |ip| SocketAddr::new(ip, config.client_port);
    let front = Front {
        config: Arc::clone(config),
        scout: Scout::start(config, own, knowledge),
        places: Places::new(bounds::own()),
        report,
        addresses: ips.into_iter().map(address).collect(),
        tried: Mutex::default(),
    };
    tokio::spawn(Arc::new(front).run());
    reports
}

impl Front {
    async fn run(self: Arc<Self>) {
        self.until_left().await;
        // One that cannot be had holds up no other.
        for address in &self.addresses {
            tokio::spawn(Arc::clone(&self).listen(*address));
        }
    }

    async fn listen(self: Arc<Self>, address: SocketAddr) {
        loop {
            match sockets::listen(address) {
                Ok(listener) => {
                    tracing::info!(%address, "clients are accepted by the agent and passed on to etcd");
                    self.tell(address, Ok(()));
                    self.accept(&listener).await;
                }
                Err(error) => {
                    tracing::warn!(%error, %address, "failed to listen for clients");
                    let why = format!("failed to listen at {address}: {error}");
                    self.tell(address, Err(why));
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Reports what came of an address. Clients are accepted when they are at each.
    fn tell(&self, address: SocketAddr, came: Result<(), String>) {
        let tried = self.tried.lock();
        let mut tried = tried.unwrap_or_else(PoisonError::into_inner);
        tried.insert(address, came);
        let failed = tried.values().filter_map(|came| came.as_ref().err());
        let failed: Vec<&str> = failed.map(String::as_str).collect();
        let all = tried.len() == self.addresses.len();
        self.report.send_modify(|report| {
            report.listens = all && failed.is_empty();
            report.reason = (!failed.is_empty()).then(|| failed.join("; "));
        });
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::tls::Tls;

    fn config(run_dir: &Path, port: u16) -> Config {
        let (run_dir, port) = (run_dir.display().to_string(), port.to_string());
        let config = Config::from_lookup(&|name| match name {
            "KB_RUN_DIR" => Some(run_dir.clone()),
            "KB_CLIENT_PORT" => Some(port.clone()),
            "KB_RELAY_CLIENTS" => Some("true".to_owned()),
            "POD_IP" => Some("127.81.0.1".to_owned()),
            "POD_IPS" => Some("127.81.0.1,127.81.0.2".to_owned()),
            "POD_NAME" | "POD_UID" | "KB_CLUSTER_UID" | "KB_HEADLESS_DOMAIN" => {
                Some("x".to_owned())
            }
            _ => None,
        });
        config.expect("config")
    }

    /// Says what it receives.
    async fn serve(etcd: TcpListener) {
        while let Ok((mut stream, _)) = etcd.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                let _ended = tokio::io::copy(&mut reads, &mut writes).await;
            });
        }
    }

    /// Whether a client at this address is passed on to etcd.
    async fn passes(address: &str, port: u16) -> bool {
        let Ok(mut client) = TcpStream::connect((address, port)).await else {
            return false;
        };
        let mut heard = [0; 4];
        client.write_all(b"POST").await.expect("says");
        client
            .read_exact(&mut heard)
            .await
            .is_ok_and(|_| heard == *b"POST")
    }

    #[tokio::test]
    async fn clients_come_to_every_address_of_the_pod() {
        let run_dir = tempfile::tempdir().expect("a directory");
        std::fs::write(run_dir.path().join(FRONT_FILE), "").expect("write");
        let etcd = TcpListener::bind(("127.0.0.1", 0)).await.expect("listens");
        let port = etcd.local_addr().expect("an address").port();
        tokio::spawn(serve(etcd));
        let other = std::net::TcpListener::bind(("127.81.0.2", port)).expect("listens");
        let config = Arc::new(config(run_dir.path(), port));
        let url = format!("http://127.0.0.1:{port}");
        let own = Client::new(&url, &Tls::default()).expect("a client");
        let now = std::time::Instant::now();
        let knowledge = Knowledge::new("x".to_owned(), String::new(), 1, now);
        let (_knows, knowledge) = watch::channel(knowledge);
        let mut reports = start(&config, &own, knowledge);
        let limit = Duration::from_secs(30);
        // The second address is another's: that is told, and the first one serves.
        let told = reports.wait_for(|report| report.reason.is_some());
        let told = timeout(limit, told)
            .await
            .expect("in time")
            .expect("a report")
            .clone();
        let why = told.reason.unwrap_or_default();
        assert!(
            !told.listens && why.contains(&format!("127.81.0.2:{port}")),
            "{why}"
        );
        assert!(!why.contains("127.81.0.1:"), "{why}");
        assert!(passes("127.81.0.1", port).await);
        drop(other);
        let told = reports.wait_for(|report| report.listens);
        let told = timeout(limit, told)
            .await
            .expect("in time")
            .expect("a report")
            .clone();
        assert_eq!(told.reason, None);
        for address in ["127.81.0.1", "127.81.0.2"] {
            assert!(passes(address, port).await, "{address}");
        }
    }
}
