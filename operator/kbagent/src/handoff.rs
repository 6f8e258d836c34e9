//! The hand-over before the pod stops: leadership moves, the leader service is seen to follow, and other nodes' proxies
//! send no more clients here ([`crate::arrivals`]); only then may etcd be told to stop. A former leader that still runs
//! forwards what it is sent. Planned moves cost nothing.
//!
//! Bounded in every step: a pod must stop in the end. Repeatable: a second caller joins the first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kbagent_protocol::{HandoffAnswer, Id};
use tokio::sync::watch;

use crate::actions::{Cluster, move_away, move_to};
use crate::arrivals;
use crate::config::Config;
use crate::etcd::Client;
use crate::tls::Tls;

/// Longest time for the whole hand-over of leadership itself.
const MOVE: Duration = Duration::from_secs(8);
/// Longest wait for the leader service to follow.
const SERVICE: Duration = Duration::from_secs(5);
/// Deadline of one probe of the service, on a fresh connection each time.
const PROBE: Duration = Duration::from_millis(300);
/// Pause between two probes.
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// How long a stopping etcd waits for a hand-over to begin: both containers are told to stop at once.
const BEGIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Phase {
    None,
    Running,
    Done(HandoffAnswer),
}

/// Moves leadership away from the own member.
pub(crate) struct Handoff {
    config: Arc<Config>,
    own: Client,
    phase: watch::Sender<Phase>,
    moving: watch::Sender<bool>,
}

impl Handoff {
    /// Through the own member.
    pub(crate) fn new(config: Arc<Config>, own: Client) -> Arc<Self> {
        Arc::new(Self {
            config,
            own,
            phase: watch::Sender::new(Phase::None),
            moving: watch::Sender::new(false),
        })
    }

    /// True from the begin of a hand-over on, unless leadership stays. Once it has moved, no later request ends this:
    /// the pod stops, whatever a second operator or the preStop hook finds that has nothing left to move.
    pub(crate) fn moving(&self) -> watch::Receiver<bool> {
        self.moving.subscribe()
    }

    /// Transfers leadership, or joins a transfer in progress. Continues when the caller disconnects. With a voter `to`
    /// this pod has left the service: nothing is waited for after the move.
    pub(crate) async fn hand_over(self: &Arc<Self>, to: Option<Id>) -> HandoffAnswer {
        let mut phase = self.phase.subscribe();
        let begun = self.phase.send_if_modified(|phase| {
            let idle = !matches!(phase, Phase::Running);
            if idle {
                *phase = Phase::Running;
            }
            idle
        });
        if begun {
            let this = Arc::clone(self);
            let moved = this.moving.send_replace(true);
            tokio::spawn(async move {
                let answer = this.work(to).await;
                this.moving.send_replace(moved || answer.moved);
                tracing::info!(?answer, "the hand-over ended");
                this.phase.send_replace(Phase::Done(answer));
            });
        }
        match phase
            .wait_for(|phase| matches!(phase, Phase::Done(_)))
            .await
        {
            Ok(done) => match &*done {
                Phase::Done(answer) => answer.clone(),
                Phase::None | Phase::Running => stayed("the hand-over has not ended"),
            },
            Err(_) => stayed("the agent is stopping"),
        }
    }

    /// Waits until a hand-over has ended, or shortly for one to begin.
    pub(crate) async fn drained(&self) {
        let mut phase = self.phase.subscribe();
        let begun = phase.wait_for(|phase| !matches!(phase, Phase::None));
        if tokio::time::timeout(BEGIN, begun).await.is_ok() {
            // An error means that the agent stops: there is nothing to wait for.
            let _ = phase
                .wait_for(|phase| matches!(phase, Phase::Done(_)))
                .await;
        }
    }

    async fn work(&self, to: Option<Id>) -> HandoffAnswer {
        match tokio::time::timeout(MOVE, self.give_leadership_away(to)).await {
            Err(_) => stayed("leadership did not move in time"),
            Ok(Err(why)) => stayed(&why),
            Ok(Ok((leader, _))) if to.is_some() => HandoffAnswer {
                moved: true,
                leader: Some(leader),
                service_follows: false,
                message: "leadership moved to the member that was named".to_owned(),
            },
            Ok(Ok((leader, id))) => {
                let follows = self.service_follows(id).await;
                let ceased = arrivals::cease().await;
                HandoffAnswer {
                    moved: true,
                    leader: Some(leader),
                    service_follows: follows,
                    message: told(follows, ceased),
                }
            }
        }
    }

    async fn give_leadership_away(&self, to: Option<Id>) -> Result<(String, u64), String> {
        let cluster = Cluster::look(&self.own)
            .await
            .map_err(|error| error.to_string())?;
        let leader = cluster.leader().map_err(|failure| failure.to_string())?;
        if leader.id != cluster.own_id() {
            return Err(format!("{} leads, this member does not", leader.name));
        }
        let moved = match to {
            Some(to) => move_to(&cluster, to).await,
            None => move_away(&cluster, None).await,
        };
        let moved = moved.map_err(|failure| failure.to_string())?;
        Ok((moved.leader.name, moved.leader.id))
    }

    /// True as soon as the service answers as the member `id`.
    async fn service_follows(&self, id: u64) -> bool {
        let Some(service) = &self.config.leader_service else {
            return false;
        };
        let tls = self.config.tls.named(service);
        let until = Instant::now() + SERVICE;
        let mut address: Option<SocketAddr> = None;
        while Instant::now() < until {
            if address.is_none() {
                let found =
                    tokio::net::lookup_host((service.as_str(), self.config.client_port)).await;
                address = found.ok().and_then(|mut addresses| addresses.next());
            }
            if let Some(address) = address
                && answers_as(address, &tls, id).await
            {
                return true;
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
        false
    }
}

/// A new client each time: a held connection would stay with the old leader.
async fn answers_as(address: SocketAddr, tls: &Tls, id: u64) -> bool {
    let Ok(client) = Client::new(&format!("{}://{address}", tls.scheme()), tls) else {
        return false;
    };
    let status = client.status(PROBE).await;
    status.is_ok_and(|status| status.header.is_some_and(|header| header.member_id == id))
}

/// What happened, once leadership has moved.
fn told(follows: bool, ceased: bool) -> String {
    let moved = if follows {
        "leadership moved and the leader service follows"
    } else {
        "leadership moved; the leader service was not seen to follow in time"
    };
    let late = if ceased {
        ""
    } else {
        "; clients still connected to this pod when the time was over"
    };
    format!("{moved}{late}")
}

fn stayed(why: &str) -> HandoffAnswer {
    HandoffAnswer {
        moved: false,
        leader: None,
        service_follows: false,
        message: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_did_not_cease_are_told() {
        assert!(!told(true, true).contains("clients"));
        for follows in [true, false] {
            let told = told(follows, false);
            assert!(told.contains("still connected to this pod"), "{told}");
        }
    }

    /// Before it: whether an earlier request has moved leadership.
    #[tokio::test]
    async fn a_request_that_moves_nothing_takes_no_earlier_move_back() {
        let config = Config::from_lookup(&|name| match name {
            "POD_NAME" | "POD_UID" | "KB_CLUSTER_UID" | "KB_HEADLESS_DOMAIN" => {
                Some("x".to_owned())
            }
            _ => None,
        });
        let config = Arc::new(config.expect("config"));
        for before in [false, true] {
            // No etcd listens there: leadership stays.
            let own = Client::new("http://127.0.0.1:1", &Tls::default()).expect("a client");
            let handoff = Handoff::new(Arc::clone(&config), own);
            handoff.moving.send_replace(before);
            assert!(!handoff.hand_over(None).await.moved);
            assert_eq!(*handoff.moving().borrow(), before);
        }
    }

    /// `kbagent handoff` waits for twenty seconds, and the pod has ten more for its etcd.
    #[test]
    fn a_hand_over_is_shorter_than_its_caller_waits() {
        assert!(MOVE + SERVICE + arrivals::MOST < Duration::from_secs(20));
    }
}
