//! A leader is silent under real members with etcd's default timeouts: it hangs, its node freezes, it is cut off. And
//! it is not, on a machine whose processors are busy. Needs the path of an `etcd` in `ETCD_BIN`; what cuts off needs a
//! network namespace of its own, and says so.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bench::failover::{GROWN, RAFTS_OWN, client, gaps, in_time, members, raft_of, reports, told};
use bench::secured::{Ca, secured_with};
use bench::{Pod, settled_leader};

/// Duty cycles of a starved machine: so long without processors, and so long with.
const STARVED: Duration = Duration::from_millis(80);
const FED: Duration = Duration::from_millis(20);
/// Of the bench's members.
const PEER_PORT: &str = "22380";

fn print(what: &str, gaps: &[Duration], pods: &[Pod]) {
    println!("{what}: {gaps:?}");
    print!("{}", told(pods));
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn writes_are_accepted_long_before_rafts_own_timeout_when_the_leaders_etcd_or_node_stops() {
    let etcd = |name: &'static str| move |pod: &mut Pod| pod.signal(name);
    let node = |name: &'static str| move |pod: &mut Pod| pod.signal_all(name);
    let mut without = members(51, 3, "true");
    let slow = gaps(&mut without, 3, etcd("STOP"), etcd("CONT")).await;
    assert_eq!(reports(&without).await.started, 0, "silence is no news");
    drop(without);
    let mut pods = members(52, 3, "suspicion");
    let hung = gaps(&mut pods, 5, etcd("STOP"), etcd("CONT")).await;
    print("etcd stopped", &hung, &pods);
    let frozen = gaps(&mut pods, 5, node("STOP"), node("CONT")).await;
    print("etcd and agent stopped", &frozen, &pods);
    let reports = reports(&pods).await;
    println!("without: {slow:?}\nhung:    {hung:?}\nfrozen:  {frozen:?}\n{reports:?}");
    assert!(slow[0] > RAFTS_OWN, "the comparison: {slow:?}");
    assert_eq!(reports.needless, 0, "{reports:?}");
    in_time(hung[2] < RAFTS_OWN / 2, &format!("{hung:?}"));
    in_time(frozen[2] < RAFTS_OWN / 2, &format!("{frozen:?}"));
    in_time(reports.won >= 5, &format!("{reports:?}"));
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_leader_that_stops_is_suspected_by_members_that_speak_tls() {
    let ca = Ca::new();
    let pods = secured_with(55, &ca, |pod| pod.set("KB_FAST_ELECTION", "suspicion"));
    // A machine whose processors are busy leaves a leader to raft: one of some is enough.
    for _ in 0..6 {
        let leader = settled_leader(&pods).await;
        tokio::time::sleep(GROWN).await;
        pods[leader].signal("STOP");
        tokio::time::sleep(RAFTS_OWN * 2).await;
        pods[leader].signal("CONT");
        settled_leader(&pods).await;
        if reports(&pods).await.suspected > 0 {
            break;
        }
    }
    print!("{}", told(&pods));
    let reports = reports(&pods).await;
    assert!(reports.suspected > 0, "{reports:?}");
    assert_eq!(reports.needless, 0, "{reports:?}");
}

/// Drops what comes to or from `host`. The member still reaches itself, as on a node whose network is gone.
fn iptables(change: &str, host: &str) {
    for [from, to] in [["-s", "-d"], ["-d", "-s"]] {
        let rule = ["INPUT", from, host, "!", to, host, "-j", "DROP"];
        let done = Command::new("iptables")
            .args(["-w", change])
            .args(rule)
            .status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "failed to cut {host} off: run this in a network namespace of its own (unshare -Urn, ip link set lo up)"
        );
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN and a network namespace of its own: unshare -Urn"]
async fn a_leader_that_is_cut_off_is_replaced_and_a_follower_that_is_replaces_none() {
    let mut pods = members(53, 3, "suspicion");
    let cut = |pod: &mut Pod| iptables("-A", &pod.host);
    let joined = |pod: &mut Pod| iptables("-D", &pod.host);
    let gaps = gaps(&mut pods, 5, cut, joined).await;
    print("cut off", &gaps, &pods);
    let before = reports(&pods).await;
    println!("{before:?}");
    in_time(gaps[2] < RAFTS_OWN / 2, &format!("{gaps:?}"));
    assert_eq!(before.needless, 0, "{before:?}");
    let leader = settled_leader(&pods).await;
    let term = raft_of(&pods[leader]).await.term;
    let follower = (leader + 1) % 3;
    tokio::time::sleep(GROWN).await;
    iptables("-A", &pods[follower].host);
    tokio::time::sleep(Duration::from_millis(700)).await;
    iptables("-D", &pods[follower].host);
    tokio::time::sleep(GROWN).await;
    let after = reports(&pods).await;
    assert_eq!(after.started, before.started, "a minority campaigned");
    assert_eq!(raft_of(&pods[leader]).await.term, term);
}

/// Drops what would begin a connection to `host`, as is done with packets to a pod whose network is gone.
fn new_connections(change: &str, host: &str) {
    let done = Command::new("iptables")
        .args(["-w", change, "INPUT", "-p", "tcp", "--syn", "-d", host])
        .args(["-j", "DROP"])
        .status();
    assert!(
        done.is_ok_and(|status| status.success()),
        "failed to have {host} answer nothing"
    );
}

#[tokio::test]
#[ignore = "needs ETCD_BIN and a network namespace of its own: unshare -Urn"]
async fn a_pod_that_is_gone_with_its_network_is_news_and_one_that_takes_no_more_connections_is_not()
{
    let mut pods = members(58, 3, "true");
    let die = |pod: &mut Pod| {
        new_connections("-A", &pod.host);
        let mut agent = pod.agent.take().expect("an agent");
        agent.kill().expect("killed");
        agent.wait().expect("ended");
        pod.kill_etcd();
    };
    let back = |pod: &mut Pod| {
        new_connections("-D", &pod.host);
        pod.start_etcd();
        pod.start_agent();
    };
    let gaps = gaps(&mut pods, 5, die, back).await;
    print("pod and network gone", &gaps, &pods);
    in_time(gaps[2] < RAFTS_OWN * 2 / 3, &format!("{gaps:?}"));
    let before = reports(&pods).await;
    println!("{before:?}");
    in_time(before.won >= 1, &format!("{before:?}"));
    // Connections that are held and no new ones: nothing has ended.
    let leader = settled_leader(&pods).await;
    let term = raft_of(&pods[leader]).await.term;
    new_connections("-A", &pods[leader].host);
    tokio::time::sleep(GROWN).await;
    new_connections("-D", &pods[leader].host);
    assert_eq!(reports(&pods).await.started, before.started);
    assert_eq!(raft_of(&pods[leader]).await.term, term);
}

/// Three members, each of which has and uses an address of its own; from etcd 3.6 on.
fn addressed(net: u8, fast: &str) -> Vec<Pod> {
    let all = [0, 1, 2];
    let pod = |n: &u8| {
        let mut pod = Pod::new(net, *n, &all).bootstraps();
        pod.set("KB_FAST_ELECTION", fast);
        pod.addressed();
        pod.start_etcd_with("ETCD_BIN", &["--feature-gates=SetMemberLocalAddr=true"]);
        pod.start_agent();
        pod
    };
    all.iter().map(pod).collect()
}

/// Drops what comes to or from the port of peers of `host`; clients and agents get through.
fn peers_only(change: &str, host: &str) {
    for [address, port] in [["-d", "--dport"], ["-s", "--sport"]] {
        let done = Command::new("iptables")
            .args(["-w", change, "INPUT", "-p", "tcp", address, host])
            .args([port, PEER_PORT, "-j", "DROP"])
            .status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "failed to cut {host} off"
        );
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN and a network namespace of its own: unshare -Urn"]
async fn a_leader_that_is_cut_off_at_its_port_of_peers_is_replaced() {
    let cut = |pod: &mut Pod| peers_only("-A", &pod.host);
    let joined = |pod: &mut Pod| peers_only("-D", &pod.host);
    let mut without = addressed(56, "true");
    let slow = gaps(&mut without, 3, cut, joined).await;
    assert_eq!(reports(&without).await.started, 0, "silence is no news");
    drop(without);
    let mut pods = addressed(57, "suspicion");
    let gaps = gaps(&mut pods, 5, cut, joined).await;
    print("cut off at the port of peers", &gaps, &pods);
    let before = reports(&pods).await;
    println!("without: {slow:?}\nwith:    {gaps:?}\n{before:?}");
    in_time(gaps[2] < RAFTS_OWN * 2 / 3, &format!("{gaps:?}"));
    in_time(before.won >= 3, &format!("{before:?}"));
    assert_eq!(before.needless, 0, "{before:?}");
    let leader = settled_leader(&pods).await;
    let term = raft_of(&pods[leader]).await.term;
    let follower = (leader + 1) % 3;
    tokio::time::sleep(GROWN).await;
    // One of two: its connections are gone, then it is cut off.
    pods[follower].kill_etcd();
    tokio::time::sleep(Duration::from_millis(700)).await;
    pods[follower].start_etcd_with("ETCD_BIN", &["--feature-gates=SetMemberLocalAddr=true"]);
    settled_leader(&pods).await;
    tokio::time::sleep(GROWN).await;
    cut(&mut pods[follower]);
    tokio::time::sleep(Duration::from_millis(700)).await;
    joined(&mut pods[follower]);
    tokio::time::sleep(GROWN).await;
    let after = reports(&pods).await;
    assert_eq!(after.started, before.started, "{after:?}");
    assert_eq!(raft_of(&pods[leader]).await.term, term);
}

/// Keeps all processors busy.
struct Burners(Vec<Child>);

impl Burners {
    fn start(count: usize) -> Self {
        let burn = |_| {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]);
            command.spawn().expect("a shell")
        };
        Self((0..count).map(burn).collect())
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Stops `pods` for [`STARVED`] of each cycle, as a quota of processor time does: all at once, or one after the other.
async fn starve(pods: &[Pod], together: bool, how_long: Duration) {
    let end = Instant::now() + how_long;
    for n in (0..pods.len()).cycle() {
        if Instant::now() >= end {
            return;
        }
        let chosen: Vec<&Pod> = pods
            .iter()
            .enumerate()
            .filter(|(m, _)| together || *m == n)
            .map(|(_, pod)| pod)
            .collect();
        chosen.iter().for_each(|pod| pod.signal_all("STOP"));
        tokio::time::sleep(STARVED).await;
        chosen.iter().for_each(|pod| pod.signal_all("CONT"));
        tokio::time::sleep(FED).await;
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN; takes minutes: PHASE_SECONDS of each kind, 60 unless set"]
async fn no_election_is_needless_on_a_machine_whose_processors_are_busy() {
    let seconds = std::env::var("PHASE_SECONDS").ok();
    let phase = Duration::from_secs(seconds.map_or(60, |text| text.parse().expect("seconds")));
    let pods = members(54, 3, "suspicion");
    settled_leader(&pods).await;
    tokio::time::sleep(GROWN).await;
    let (stop, writes) = client(&pods);
    for kind in [
        "plain load",
        "busy processors",
        "starved together",
        "starved in turn",
    ] {
        let burners = Burners::start(if kind == "busy processors" { 6 } else { 0 });
        match kind {
            "starved together" => starve(&pods, true, phase).await,
            "starved in turn" => starve(&pods, false, phase).await,
            _ => tokio::time::sleep(phase).await,
        }
        drop(burners);
        settled_leader(&pods).await;
        let term = raft_of(&pods[0]).await.term;
        println!("{kind}, {phase:?}: term {term}, {:?}", reports(&pods).await);
    }
    stop.send_replace(true);
    println!(
        "longest gap of all: {:?}",
        writes.await.expect("the client")
    );
    print!("{}", told(&pods));
    let reports = reports(&pods).await;
    assert_eq!(reports.needless, 0, "{reports:?}");
}
