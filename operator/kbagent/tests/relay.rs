//! The leader's etcd dies and its agent holds the clients that come, under real members with etcd's default timeouts.
//! Needs the path of an `etcd` in `ETCD_BIN`, as `members.rs` does.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::failover::{GROWN, RAFTS_OWN, in_time};
use bench::{CLIENT_PORT, Pod, settled_leader, until};
use kbagent::etcd::Client;
use kbagent::tls::Tls;
use kbagent_protocol::{AgentReport, PATH_AGENT, RelayReport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

/// What gRPC waits after a connection that failed (its "connection backoff": a second, and a fifth more or less).
const BACK_OFF: Duration = Duration::from_secs(1);
/// Pause between two writes.
const EVERY: Duration = Duration::from_millis(5);
/// As gRPC begins: settings, without any. etcd answers with its own.
const REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn members(net: u8, relays: bool, fast: &str) -> Vec<Pod> {
    let pod = |n: u8| {
        let mut pod = Pod::new(net, n, &[0, 1, 2]).bootstraps();
        if relays {
            pod.relay();
        }
        pod.set("KB_FAST_ELECTION", fast);
        pod.start()
    };
    (0..3).map(pod).collect()
}

fn public(pod: &Pod) -> String {
    format!("{}:{CLIENT_PORT}", pod.host)
}

async fn relay(pod: &Pod) -> RelayReport {
    until("a report", 10, async || {
        let report: Option<AgentReport> = pod.get(PATH_AGENT).await;
        Some(report?.relay)
    })
    .await
}

async fn all_accept(pods: &[Pod]) {
    until("all agents accept clients", 20, async || {
        for pod in pods {
            if !relay(pod).await.listens {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// One connection, held for all requests.
struct Held(TcpStream);

impl Held {
    async fn open(address: &str) -> io::Result<Self> {
        TcpStream::connect(address).await.map(Self)
    }

    /// One write, on this connection.
    async fn write(&mut self) -> io::Result<()> {
        const BODY: &str = r#"{"key":"a2V5","value":"eA=="}"#;
        let length = BODY.len();
        let head = "POST /v3/kv/put HTTP/1.1\r\nHost: etcd\r\nContent-Length:";
        let request = format!("{head} {length}\r\n\r\n{BODY}");
        self.0.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        // The answer's only object ends it.
        while !answer.ends_with(b"}") && !answer.ends_with(b"}\n") {
            let mut part = [0; 2048];
            let read = self.0.read(&mut part).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&part[..read]);
        }
        let answer = String::from_utf8_lossy(&answer);
        let done = answer.starts_with("HTTP/1.1 200") && answer.contains("\"revision\"");
        done.then_some(())
            .ok_or_else(|| io::Error::other(answer.into_owned()))
    }
}

/// What a service does: leads to the newest leader that an agent names. `None` before there was one.
type Service = Arc<Mutex<Option<(u64, String)>>>;

/// Lets the service follow what the agents say, as labels do.
fn follow(service: &Service, pods: &[Pod]) -> tokio::task::JoinHandle<()> {
    let agents: Vec<_> = pods
        .iter()
        .map(|pod| (pod.agent_address(), public(pod)))
        .collect();
    let service = Arc::clone(service);
    tokio::spawn(async move {
        loop {
            for (agent, address) in &agents {
                let call = kbagent::http::Call::get(agent, kbagent_protocol::PATH_GETROLE);
                let Ok((_, body)) = call.send(String::new()).await else {
                    continue;
                };
                let Ok(answer) = serde_json::from_slice::<kbagent_protocol::RoleAnswer>(&body)
                else {
                    continue;
                };
                let mut leads = service.lock().await;
                let newer = leads.as_ref().is_none_or(|(term, _)| answer.term > *term);
                if answer.role == kbagent_protocol::Role::Leader && newer {
                    *leads = Some((answer.term, address.clone()));
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
}

/// A client as gRPC's are: one connection to the service, dialled again at once when it ends, and after a back-off when
/// that fails. When it is told to stop, its longest time without a write.
async fn client(service: Service, stopped: watch::Receiver<bool>) -> Duration {
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    while !*stopped.borrow() || longest < last.elapsed() {
        let address = service.lock().await.clone().map(|(_, address)| address);
        let mut answered = false;
        if let Some(address) = address
            && let Ok(mut held) = Held::open(&address).await
        {
            while held.write().await.is_ok() {
                answered = true;
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if *stopped.borrow() {
                    return longest;
                }
                sleep(EVERY).await;
            }
        }
        if !answered {
            sleep(BACK_OFF).await;
        }
    }
    longest
}

/// Gaps of a held client's writes around some deaths of the leader's etcd, sorted.
async fn gaps(pods: &mut [Pod], times: usize) -> Vec<Duration> {
    let mut all = vec![];
    for _ in 0..times {
        let leader = settled_leader(pods).await;
        sleep(GROWN).await;
        let service = Service::default();
        let follows = follow(&service, pods);
        until("the service leads", 5, async || {
            service.lock().await.clone()
        })
        .await;
        let (stop, stopped) = watch::channel(false);
        let writes = tokio::spawn(client(service, stopped));
        sleep(Duration::from_millis(300)).await;
        pods[leader].kill_etcd();
        sleep(Duration::from_secs(4)).await;
        stop.send_replace(true);
        all.push(writes.await.expect("the client"));
        follows.abort();
        pods[leader].start_etcd();
    }
    settled_leader(pods).await;
    all.sort();
    all
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_client_that_holds_its_connection_never_backs_off_when_the_leaders_etcd_is_killed() {
    let mut without = members(61, false, "true");
    let slow = gaps(&mut without, 3).await;
    assert_eq!(relay(&without[0]).await, RelayReport::default());
    drop(without);
    let mut pods = members(62, true, "true");
    all_accept(&pods).await;
    let fast = gaps(&mut pods, 5).await;
    println!("refused: {slow:?}\nled on:  {fast:?}");
    assert!(slow[0] >= BACK_OFF, "the comparison: {slow:?}");
    let mut passed = 0;
    for pod in &pods {
        passed += relay(pod).await.passed;
    }
    assert!(passed > 0, "no client was led to the leader");
    in_time(fast[2] < RAFTS_OWN / 2, &format!("{fast:?}"));
}

/// What becomes of a client whose connection ends and who dials again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    Served,
    Reset,
    Refused,
}

/// Opens a connection and waits for its end in a thread of its own, as fast as another process would: then it dials
/// and asks who is there.
fn dials_again(address: &str) -> std::thread::JoinHandle<Again> {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    let address = address.to_owned();
    let mut held = TcpStream::connect(&address).expect("accepted");
    held.write_all(REQUEST).expect("a request");
    let mut answer = [0; 4096];
    assert!(held.read(&mut answer).expect("an answer") > 0);
    std::thread::spawn(move || {
        while held.read(&mut answer).is_ok_and(|read| read > 0) {}
        let mut asked = || {
            let mut next = TcpStream::connect(&address)?;
            next.set_read_timeout(Some(Duration::from_secs(10)))?;
            next.write_all(REQUEST)?;
            next.read(&mut answer)
        };
        match asked() {
            Ok(read) if read > 0 => Again::Served,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Again::Refused,
            _ => Again::Reset,
        }
    })
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_client_that_dials_while_etcd_closes_its_sockets_is_served() {
    const IDLE: usize = 60;
    const DIAL: usize = 4;
    const KILLS: usize = 8;
    let mut pods = members(66, true, "true");
    let mut ends = std::collections::BTreeMap::new();
    for _ in 0..KILLS {
        let leader = settled_leader(&pods).await;
        all_accept(&pods).await;
        sleep(GROWN).await;
        let address = public(&pods[leader]);
        let mut idle = Vec::new();
        for _ in 0..IDLE {
            idle.push(Held::open(&address).await.expect("accepted"));
        }
        let clients: Vec<_> = (0..DIAL).map(|_| dials_again(&address)).collect();
        pods[leader].kill_etcd();
        for client in clients {
            let waits = tokio::task::spawn_blocking(|| client.join().expect("a client"));
            *ends.entry(waits.await.expect("joined")).or_insert(0) += 1;
        }
        drop(idle);
        pods[leader].start_etcd();
        let own = until("it serves its own clients again", 20, async || {
            answers(&pods[leader]).await
        });
        own.await;
    }
    println!("clients that dialled while etcd died: {ends:?}");
    assert_eq!(ends.get(&Again::Served), Some(&(KILLS * DIAL)), "{ends:?}");
}

/// The member that answers at the pod's address for clients.
async fn answers(pod: &Pod) -> Option<u64> {
    let client = Client::new(&format!("http://{}", public(pod)), &Tls::default()).expect("a URL");
    let status = client.status(Duration::from_secs(2)).await.ok()?;
    Some(status.header?.member_id)
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn no_client_is_refused_while_etcd_is_killed_and_restarted_and_its_own_serves_again() {
    let mut pods = members(63, true, "true");
    let leader = settled_leader(&pods).await;
    all_accept(&pods).await;
    let own = answers(&pods[leader]).await.expect("it answers");
    let (stop, stopped) = watch::channel(false);
    let address = public(&pods[leader]);
    let dials = tokio::spawn(async move {
        let (mut dialled, mut refused) = (0, 0);
        while !*stopped.borrow() {
            dialled += 1;
            match TcpStream::connect(&address).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refused += 1,
                _ => {}
            }
            sleep(Duration::from_millis(1)).await;
        }
        (dialled, refused)
    });
    let mut led = 0;
    for _ in 0..8 {
        let held = Held::open(&public(&pods[leader])).await;
        pods[leader].kill_etcd();
        // Led to another member, and in use while etcd starts again.
        let mut other = until("a client is led on", 10, async || {
            let mut other = Held::open(&public(&pods[leader])).await.ok()?;
            other.write().await.ok()?;
            Some(other)
        })
        .await;
        led += 1;
        pods[leader].start_etcd();
        until("the own member answers at its address", 20, async || {
            (answers(&pods[leader]).await? == own).then_some(())
        })
        .await;
        assert!(other.write().await.is_ok(), "the old connection stays");
        drop(held);
    }
    stop.send_replace(true);
    let (dialled, refused) = dials.await.expect("the dials");
    let report = relay(&pods[leader]).await;
    println!("{dialled} dials, {refused} refused; {report:?}");
    assert!(report.passed >= led, "{report:?}");
    assert_eq!(refused, 0);
    let count = report.passed;
    for _ in 0..50 {
        let mut held = Held::open(&public(&pods[leader])).await.expect("accepted");
        held.write().await.expect("written");
    }
    let after = relay(&pods[leader]).await.passed;
    assert_eq!(after, count, "an etcd that lives has its own clients");
}

/// True once the other end has ended the connection.
async fn ended(stream: &mut TcpStream, within: Duration) -> bool {
    let mut rest = [0; 64];
    let over = async { while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    timeout(within, over).await.is_ok()
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn an_agent_that_dies_ends_what_it_passes_on_and_accepts_again_when_it_is_back() {
    let mut pods = members(64, true, "true");
    let leader = settled_leader(&pods).await;
    all_accept(&pods).await;
    let own = answers(&pods[leader]).await.expect("it answers");
    pods[leader].kill_etcd();
    let address = public(&pods[leader]);
    let mut held = until("a client is led on", 10, async || {
        let mut held = Held::open(&address).await.ok()?;
        held.write().await.ok()?;
        Some(held)
    })
    .await;
    let mut agent = pods[leader].agent.take().expect("an agent");
    agent.kill().expect("killed");
    agent.wait().expect("ended");
    assert!(held.write().await.is_err(), "who passed it on is dead");
    let refused = Held::open(&address).await.err().expect("no listener");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    pods[leader].start_etcd();
    pods[leader].start_agent();
    all_accept(&pods).await;
    until("the own member answers at its address", 20, async || {
        (answers(&pods[leader]).await? == own).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(answers(&pods[leader]).await, Some(own));
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn clients_are_held_for_a_time_and_in_a_number_that_are_bounded() {
    let mut pods = members(65, true, "false");
    let leader = settled_leader(&pods).await;
    all_accept(&pods).await;
    pods[leader].kill_etcd();
    // Raft's own timeout takes a second: so long they are held.
    let address = public(&pods[leader]);
    let mut clients = Vec::new();
    for _ in 0..1100 {
        let mut client = TcpStream::connect(&address).await.expect("accepted");
        // One that has lost its place may be gone already.
        let _ = client.write_all(REQUEST).await;
        clients.push(client);
    }
    let next = until("the next leader", 10, async || {
        for (n, pod) in pods.iter().enumerate().filter(|(n, _)| *n != leader) {
            if matches!(pod.role().await, Some((kbagent_protocol::Role::Leader, _))) {
                return Some(n);
            }
        }
        None
    })
    .await;
    let report = until("all that are held are led on", 5, async || {
        let report = relay(&pods[leader]).await;
        (report.passed > 0).then_some(report)
    })
    .await;
    let mut over = 0;
    for client in &mut clients {
        over += usize::from(ended(client, Duration::from_millis(5)).await);
    }
    println!("1100 clients of one address: {over} had to go, {report:?}");
    assert!(over >= 76, "{over}");
    assert!(over < 1100, "some are held");
    drop(clients);
    // With two of three dead no leader can be elected.
    pods[next].kill_etcd();
    let began = Instant::now();
    let mut client = TcpStream::connect(&address).await.expect("accepted");
    assert!(ended(&mut client, Duration::from_secs(5)).await);
    println!(
        "without a majority a client was held for {:?}",
        began.elapsed()
    );
    // By the agent that held it: the other one's, if its member was still taken for the leader.
    until("it is counted", 5, async || {
        let held = relay(&pods[leader]).await.given_up + relay(&pods[next]).await.given_up;
        (held > 0).then_some(())
    })
    .await;
}
