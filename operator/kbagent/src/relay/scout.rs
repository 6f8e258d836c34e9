//! Looks for the leader while clients are held.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kbagent_protocol::EtcdState;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::agents::{ANSWER, Agents};
use super::aim::{Aim, aim};
use super::others::{self, Others};
use super::sockets;
use crate::config::Config;
use crate::etcd::Client;
use crate::watch::Knowledge;

/// Longest time that a client is held while members that could elect a leader are out of reach: the service leads to
/// where there are some.
const HOPELESS: Duration = Duration::from_millis(500);
/// Pause between two rounds of questions.
const EVERY: Duration = Duration::from_millis(10);
/// Wait for further answers when those of a majority name no leader.
const FURTHER: Duration = Duration::from_millis(20);
/// A process that dies closes its sockets one by one: one that accepts is asked again after this.
const DYING: Duration = Duration::from_millis(10);

/// What the newest round of questions has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    At(SocketAddr),
    Wait,
    Hopeless,
}

pub(super) struct Scout {
    config: Arc<Config>,
    knowledge: watch::Receiver<Knowledge>,
    others: watch::Receiver<Others>,
    /// Clients that are held.
    waiting: watch::Sender<usize>,
    found: watch::Sender<Found>,
}

impl Scout {
    /// Asks while anyone waits.
    pub(super) fn start(
        config: &Arc<Config>,
        own: &Client,
        knowledge: watch::Receiver<Knowledge>,
    ) -> Arc<Self> {
        let (others_to, others) = watch::channel(Others::default());
        tokio::spawn(others::keep(Arc::clone(config), own.clone(), others_to));
        let scout = Arc::new(Self {
            config: Arc::clone(config),
            knowledge,
            others,
            waiting: watch::Sender::new(0),
            found: watch::Sender::new(Found::Wait),
        });
        tokio::spawn(Arc::clone(&scout).run());
        scout
    }

    /// A connection to the own etcd, if it accepts one. It may be about to die.
    pub(super) async fn own(&self) -> Option<TcpStream> {
        connect(self.config.etcd_address().parse().ok()?).await
    }

    /// A connection to the leader; `None` when there is nothing to wait for.
    pub(super) async fn leader(&self) -> Option<TcpStream> {
        let _waits = Waits::new(&self.waiting);
        let mut found = self.found.subscribe();
        let began = Instant::now();
        loop {
            found.changed().await.ok()?;
            let now = *found.borrow_and_update();
            match now {
                Found::At(address) => {
                    if let Some(leader) = connect(address).await {
                        return Some(leader);
                    }
                }
                Found::Hopeless if began.elapsed() >= HOPELESS => return None,
                Found::Hopeless | Found::Wait => {}
            }
        }
    }

    async fn run(self: Arc<Self>) {
        let mut waiting = self.waiting.subscribe();
        let (mut told, mut agents) = (None, Agents::default());
        loop {
            if *waiting.borrow_and_update() == 0 {
                (told, agents) = (None, Agents::default());
            }
            if waiting.wait_for(|count| *count > 0).await.is_err() {
                return;
            }
            let found = self.round(&mut agents).await;
            self.found.send_replace(found);
            if let Found::At(leader) = found
                && told.replace(leader) != Some(leader)
            {
                tracing::info!(%leader, "clients come to a dead etcd: they are led on");
            }
            sleep(EVERY).await;
        }
    }

    async fn round(&self, agents: &mut Agents) -> Found {
        let runs = *self.knowledge.borrow().etcd() == EtcdState::Running;
        let own = self.own_accepts().await;
        if let Some(own) = own.filter(|_| runs) {
            return Found::At(own);
        }
        let others = self.others.borrow().clone();
        let cluster = self.knowledge.borrow().status().map(|own| own.cluster_id);
        agents.ask(&self.config, &others);
        let mut told = Vec::new();
        let mut patience = ANSWER;
        while let Ok(Some((pod, view))) = timeout(patience, agents.next()).await {
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
        let own: SocketAddr = self.config.etcd_address().parse().ok()?;
        for pause in [DYING, Duration::ZERO] {
            connect(own).await?;
            sleep(pause).await;
        }
        Some(own)
    }
}

async fn connect(address: SocketAddr) -> Option<TcpStream> {
    timeout(ANSWER, sockets::connect(address)).await.ok()?.ok()
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
