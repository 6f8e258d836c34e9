//! A leader's death as a client sees it.

use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use kbagent::election::raft::{self, RaftState};
use kbagent::http::Call;
use kbagent_protocol::{AgentReport, ElectionReport, PATH_AGENT};
use tokio::sync::watch;

use super::{CLIENT_PORT, Pod, settled_leader, until};

/// Agents take part when they are two seconds old.
pub(crate) const GROWN: Duration = Duration::from_secs(3);
/// Raft's own timeout is one second or longer; the last heartbeat may be one interval older than the leader's death.
pub(crate) const RAFTS_OWN: Duration = Duration::from_millis(880);

/// Claims about time are made only where processors were free: reports the share of time in which a process waited for
/// one.
pub(crate) fn in_time(claim: bool, figures: &str) {
    let pressure = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let waited = pressure
        .split_whitespace()
        .find_map(|word| word.strip_prefix("avg60="));
    match waited.and_then(|share| share.parse::<f64>().ok()) {
        Some(share) if share > 30.0 => {
            println!(
                "time not judged, {share} % of it a process waited for a processor: {figures}"
            );
        }
        _ => assert!(claim, "{figures}"),
    }
}

pub(crate) fn members(net: u8, count: u8, fast: &str) -> Vec<Pod> {
    let all: Vec<u8> = (0..count).collect();
    let pod = |n: &u8| {
        let mut pod = Pod::new(net, *n, &all).bootstraps();
        pod.set("KB_FAST_ELECTION", fast);
        pod.start()
    };
    all.iter().map(pod).collect()
}

pub(crate) async fn raft_of(pod: &Pod) -> RaftState {
    let address = format!("{}:{CLIENT_PORT}", pod.host);
    until("raft's state", 5, async || {
        raft::read(&address, &kbagent::tls::Tls::default()).await
    })
    .await
}

async fn report(pod: &Pod) -> ElectionReport {
    let report: AgentReport = pod.get(PATH_AGENT).await.expect("a report");
    report.elections
}

/// All agents' figures in one; those of agents that are gone are missing.
pub(crate) async fn reports(pods: &[Pod]) -> ElectionReport {
    let mut sum = ElectionReport::default();
    for pod in pods.iter().filter(|pod| pod.agent.is_some()) {
        let one = report(pod).await;
        sum.started += one.started;
        sum.won += one.won;
        sum.late += one.late;
        sum.needless += one.needless;
        sum.left_to_raft += one.left_to_raft;
        sum.suspected += one.suspected;
    }
    sum
}

/// What the agents wrote about elections: how long after the news they did what.
pub(crate) fn told(pods: &[Pod]) -> String {
    let logs = pods
        .iter()
        .filter_map(|pod| std::fs::read_to_string(pod.path("agent.log")).ok());
    let about = |line: &&str| line.contains("kbagent::election");
    let lines = logs.flat_map(|log| {
        let lines = log.lines().filter(about);
        lines.map(|line| format!("  {line}\n")).collect::<Vec<_>>()
    });
    lines.collect()
}

/// A client that knows all members and writes all the time; when it is told to stop, its longest time without a write.
pub(crate) fn client(pods: &[Pod]) -> (watch::Sender<bool>, tokio::task::JoinHandle<Duration>) {
    let (stop, stopped) = watch::channel(false);
    let addresses: Vec<_> = pods
        .iter()
        .map(|pod| format!("{}:{CLIENT_PORT}", pod.host))
        .collect();
    let writes = async move {
        let (mut longest, mut last) = (Duration::ZERO, Instant::now());
        for address in addresses.iter().cycle() {
            let call = Call {
                method: Method::POST,
                deadline: Duration::from_millis(100),
                ..Call::get(address, "/v3/kv/put")
            };
            let body = r#"{"key":"a2V5","value":"eA=="}"#.to_owned();
            if matches!(call.send(body).await, Ok((StatusCode::OK, _))) {
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if *stopped.borrow() {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        longest
    };
    (stop, tokio::spawn(writes))
}

/// The longest time without a write around a death.
async fn gap(
    pods: &mut [Pod],
    die: impl FnOnce(&mut Pod),
    back: impl FnOnce(&mut Pod),
) -> Duration {
    let leader = settled_leader(pods).await;
    let (stop, writes) = client(pods);
    tokio::time::sleep(Duration::from_millis(300)).await;
    die(&mut pods[leader]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.send_replace(true);
    let longest = writes.await.expect("the client");
    back(&mut pods[leader]);
    settled_leader(pods).await;
    longest
}

/// Gaps of some deaths, sorted.
pub(crate) async fn gaps(
    pods: &mut [Pod],
    times: usize,
    die: impl Fn(&mut Pod),
    back: impl Fn(&mut Pod),
) -> Vec<Duration> {
    settled_leader(pods).await;
    let mut all = vec![];
    for _ in 0..times {
        tokio::time::sleep(GROWN).await;
        all.push(gap(pods, &die, &back).await);
    }
    all.sort();
    all
}
