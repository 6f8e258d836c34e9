//! Knows who leads and where, and notices its end: by a connection to the leader's etcd, which the kernel resets when
//! the process dies. Asks once more before anything is believed, at the port of peers: at the clients' port the
//! agent of the dead leader accepts in its place. No answer counts only where the kernel had ended a connection on
//! which etcd had answered, and what was found then is kept: the network of a pod that is deleted by force is there for a
//! moment longer.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::plan::{Died, Evidence};
use crate::config::Config;
use crate::watch::{AGAIN, End, Knowledge, Trouble, until_it_ends};

/// Longest wait for the leader's etcd to accept or refuse. Nodes of one cluster answer in a millisecond.
const QUICK: Duration = Duration::from_millis(150);
/// A process that dies closes its sockets one by one, and takes its time where processors are busy: one that accepts is
/// asked again for so long.
const DYING: Duration = Duration::from_millis(200);
/// Pause between two questions.
const EVERY: Duration = Duration::from_millis(10);
/// etcd itself ends a connection at its peers' port that has said nothing for so long.
const IDLE: Duration = Duration::from_secs(5);
/// How often names of other pods are looked up, so that an election waits for no DNS.
const LOOK_UP: Duration = Duration::from_secs(10);

/// The last leader that was another member than the own.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) led: Died,
    pub(super) pod: Arc<str>,
    /// Of its etcd, for peers.
    pub(super) address: SocketAddr,
    /// True when the kernel ended the connection to it and a new one was refused or had no answer: a pod that is
    /// deleted by force takes its network with it, and no kernel is left that refuses when it is asked again. Who
    /// died in a term does not lead in it any more, should its etcd be started again.
    pub(super) gone: bool,
}

/// Holds a connection to the leader's etcd while another member leads.
pub(super) async fn keep(
    config: Arc<Config>,
    mut knowledge: watch::Receiver<Knowledge>,
    held: watch::Sender<Option<Held>>,
    trouble: Trouble,
) {
    loop {
        let leads = leader(&knowledge.borrow_and_update());
        let Some((led, name)) = leads.as_ref().filter(|(_, name)| *name != config.pod_name) else {
            // The own member leads; one without a leader may still need the last.
            if leads.is_some() {
                held.send_replace(None);
            }
            if knowledge.changed().await.is_err() {
                return;
            }
            continue;
        };
        let hold = async {
            let host = config.host_of(name);
            let found = lookup_host((host.as_str(), config.peer_port)).await;
            if let Some(address) = found.ok().and_then(|mut addresses| addresses.next()) {
                hold(&config, (*led, name), address, &held, &trouble).await;
            }
            sleep(AGAIN).await;
        };
        let mut changes = knowledge.clone();
        tokio::select! {
            () = hold => {}
            // An error means that the watcher ended, and the process with it.
            _ = changes.wait_for(|known| {
                leader(known).is_some_and(|(other, _)| other != *led)
            }) => {}
        }
    }
}

/// Holds a connection to the etcd of this leader until it ends, and tells that it is gone if it is.
async fn hold(
    config: &Config,
    (led, name): (Died, &str),
    address: SocketAddr,
    held: &watch::Sender<Option<Held>>,
    trouble: &Trouble,
) {
    let same = |before: &Held| before.led == led && before.address == address;
    let gone = held.borrow().as_ref().is_some_and(|h| same(h) && h.gone);
    let pod = Arc::from(name);
    held.send_replace(Some(Held {
        led,
        pod,
        address,
        gone,
    }));
    let tls = config.etcd_tls(name);
    let clients = SocketAddr::new(address.ip(), config.client_port);
    let tell = || {
        trouble.news.notify_one();
        trouble.alarm.notify_one();
    };
    // Who is gone is not asked for its clients' port, where its agent would answer.
    let found = connect(address).await;
    if found == Evidence::Alive {
        mark(held, false);
    }
    if found == Evidence::Gone {
        return tell();
    }
    // An etcd that is told to stop closes its clients' port first, and leads on while one of them holds a stream.
    for (port, idle) in [(clients, None), (address, Some(IDLE))] {
        let began = Instant::now();
        let ended = until_it_ends(&port.to_string(), &tls).await.ok();
        let ended = ended.map(|end| (end, began.elapsed()));
        if ended.is_some() {
            tell();
        }
        if is_gone(evidence(address).await, ended, idle) {
            mark(held, true);
            return tell();
        }
    }
}

/// Pure: whether what was found shows that it died; after a connection that has ended, if there was one, how and after
/// how long, and after how long etcd would have ended it. The agent ends one at the clients' port when it is started
/// again itself: a leader that was found to live since must be silent after another end.
fn is_gone(found: Evidence, ended: Option<(End, Duration)>, idle: Option<Duration>) -> bool {
    match found {
        Evidence::Gone => true,
        Evidence::Silent => ended
            .is_some_and(|(end, after)| end == End::Cut && idle.is_none_or(|idle| after < idle)),
        Evidence::Alive | Evidence::Suspected => false,
    }
}

/// Wakes no task: the one that reads beats would begin again.
fn mark(held: &watch::Sender<Option<Held>>, gone: bool) {
    held.send_if_modified(|held| {
        if let Some(held) = held {
            held.gone = gone;
        }
        false
    });
}

/// Who leads in the own member's eyes, and in which term.
pub(super) fn leader(knowledge: &Knowledge) -> Option<(Died, String)> {
    let status = knowledge.status()?;
    let led = Died {
        leader: status.leader_id?,
        term: status.term,
    };
    Some((led, status.leader.clone()?))
}

/// Whether a process listens there, and continues to do so.
pub(super) async fn evidence(address: SocketAddr) -> Evidence {
    let until = Instant::now() + DYING;
    loop {
        let found = connect(address).await;
        if found != Evidence::Alive || Instant::now() >= until {
            return found;
        }
        sleep(EVERY).await;
    }
}

async fn connect(address: SocketAddr) -> Evidence {
    match timeout(QUICK, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Evidence::Alive,
        Ok(Err(error)) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Evidence::Gone,
            _ => Evidence::Silent,
        },
        Err(_) => Evidence::Silent,
    }
}

/// Addresses of the other pods' agents by the pods' names.
pub(super) async fn addresses(
    config: Arc<Config>,
    known: watch::Sender<BTreeMap<String, SocketAddr>>,
) {
    loop {
        for peer in config
            .peers
            .iter()
            .filter(|peer| peer.name != config.pod_name)
        {
            let found = lookup_host((peer.host.as_str(), config.listen.port())).await;
            if let Some(address) = found.ok().and_then(|mut addresses| addresses.next()) {
                known.send_modify(|known| {
                    known.insert(peer.name.clone(), address);
                });
            }
        }
        sleep(LOOK_UP).await;
    }
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::Id;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_refuses_is_gone_and_who_accepts_is_not() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        assert_eq!(evidence(address).await, Evidence::Alive);
        drop(listener);
        assert_eq!(evidence(address).await, Evidence::Gone);
    }

    /// What is found of a process that is dying: it answers some times, then it does not listen any more.
    async fn dying() -> Evidence {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let dies = async {
            for _ in 0..4 {
                assert!(listener.accept().await.is_ok());
            }
            drop(listener);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            found = evidence(address) => found,
            () = dies => unreachable!("it waits"),
        }
    }

    /// Two ports of one etcd, and a configuration that knows that of its clients.
    async fn etcd() -> (TcpListener, TcpListener, Config) {
        let clients = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let peers = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let port = clients.local_addr().expect("address").port();
        let config = Config::from_lookup(&|name| match name {
            "KB_CLIENT_PORT" => Some(port.to_string()),
            "POD_NAME" | "POD_UID" | "KB_CLUSTER_UID" | "KB_HEADLESS_DOMAIN" => {
                Some("x".to_owned())
            }
            _ => None,
        });
        (clients, peers, config.expect("config"))
    }

    /// The connection on which something is said: those that only look are closed at once.
    async fn spoken(listener: &TcpListener) -> TcpStream {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accept");
            if stream.read(&mut [0; 512]).await.is_ok_and(|read| read > 0) {
                return stream;
            }
        }
    }

    /// What is known of a leader at `address` after it was held while `dies` was done.
    async fn held_while(config: &Config, address: SocketAddr, dies: impl Future) -> Held {
        let led = Died {
            leader: Id(1),
            term: 3,
        };
        let (held, seen) = watch::channel(None);
        let trouble = Trouble::default();
        tokio::select! {
            () = hold(config, (led, "p1"), address, &held, &trouble) => {}
            () = async { dies.await; std::future::pending().await } => {}
        }
        let seen = seen.borrow().clone();
        seen.expect("the leader stays known")
    }

    #[tokio::test]
    async fn who_refused_after_its_end_is_known_to_be_gone_when_nothing_answers_any_more() {
        let (clients, peers, config) = etcd().await;
        let address = peers.local_addr().expect("address");
        let dies = async {
            let client = spoken(&clients).await;
            drop((client, clients, peers));
        };
        assert!(held_while(&config, address, dies).await.gone);
    }

    #[tokio::test]
    async fn an_etcd_that_stops_is_held_by_its_peers_port_until_it_is_gone() {
        let (clients, peers, config) = etcd().await;
        let address = peers.local_addr().expect("address");
        let stops = async {
            let client = spoken(&clients).await;
            drop((client, clients));
            let peer = spoken(&peers).await;
            drop((peer, peers));
        };
        assert!(held_while(&config, address, stops).await.gone);
    }

    #[tokio::test]
    async fn an_etcd_that_accepts_after_both_connections_have_ended_is_not_gone() {
        let (clients, peers, config) = etcd().await;
        let address = peers.local_addr().expect("address");
        let fences = async {
            drop(spoken(&clients).await);
            drop(spoken(&peers).await);
        };
        assert!(!held_while(&config, address, fences).await.gone);
    }

    #[test]
    fn silence_counts_after_an_end_that_is_not_etcds_own() {
        let long = Some(IDLE);
        let cut = |ms| Some((End::Cut, Duration::from_millis(ms)));
        // The end of a connection, after how long etcd ends it, and whether silence counts then.
        for (ended, idle, counts) in [
            (None, None, false),
            (None, long, false),
            (cut(0), None, true),
            (cut(5000), None, true),
            (cut(4999), long, true),
            (cut(5000), long, false),
            (Some((End::Other, Duration::ZERO)), None, false),
            (Some((End::Other, Duration::ZERO)), long, false),
        ] {
            let found = is_gone(Evidence::Silent, ended, idle);
            assert_eq!(found, counts, "{ended:?} {idle:?}");
            assert!(is_gone(Evidence::Gone, ended, idle));
            assert!(!is_gone(Evidence::Alive, ended, idle));
        }
    }

    #[tokio::test]
    async fn a_listener_that_goes_after_the_connections_is_gone() {
        // A machine that stands still meanwhile leaves no time for a second look.
        for _ in 0..20 {
            if dying().await == Evidence::Gone {
                return;
            }
        }
        panic!("a dying process is never found gone");
    }
}
