//! The launcher with real members: it ends as etcd ends, and restarts a deposed etcd that has no leader, once a term.
//! Needs the path of an `etcd` in `ETCD_BIN`; run with `-- --ignored`.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use bench::{CLIENT_PORT, Pod, settled_leader, three, until};
use kbagent::fence::Launcher;
use kbagent::launch::Demand;
use kbagent_protocol::{AgentReport, PATH_AGENT, Role, action};

/// A client that holds a connection to the member; what ends it, and when.
fn held(pod: &Pod) -> std::thread::JoinHandle<(Instant, std::io::Result<usize>)> {
    let mut stream = TcpStream::connect((pod.host.as_str(), CLIENT_PORT)).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(15)))
        .expect("timeout");
    std::thread::spawn(move || {
        // etcd greets with the settings of HTTP/2; what follows is silence until the end.
        let mut greeting = [0; 512];
        loop {
            match stream.read(&mut greeting) {
                Ok(read) if read > 0 => {}
                end => return (Instant::now(), end),
            }
        }
    })
}

async fn report(pod: &Pod) -> AgentReport {
    until("a report", 5, async || pod.get(PATH_AGENT).await).await
}

/// Waits until the agent has its launcher, and knows all others that it asks when its own member falls silent.
async fn can_fence(pod: &Pod) {
    until(
        "the launcher and the other voters are found",
        15,
        async || {
            let fencing = report(pod).await.fencing;
            (fencing.supported && fencing.voters_known).then_some(())
        },
    )
    .await;
}

/// Waits until the client's connection has ended, and says after how long.
fn disconnected(
    what: &str,
    client: std::thread::JoinHandle<(Instant, std::io::Result<usize>)>,
    since: Instant,
) -> Duration {
    let (at, end) = client.join().expect("the reader");
    let after = at.saturating_duration_since(since);
    println!("{what}: disconnected after {after:?}: {end:?}");
    let timed_out = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!timed_out, "{what}: the connection was held");
    after
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn clients_of_a_frozen_leader_are_disconnected_and_it_comes_back_by_itself() {
    let pods = three(6);
    let leader = settled_leader(&pods).await;
    can_fence(&pods[leader]).await;
    let before = pods[leader].etcd_pid().expect("etcd");
    let client = held(&pods[leader]);
    let bystander = held(&pods[(leader + 1) % 3]);
    let frozen = Instant::now();
    pods[leader].signal("STOP");
    let after = disconnected("a frozen leader", client, frozen);
    // Two of etcd's election timeouts of 1 s, the grace, and a busy machine.
    assert!(after < Duration::from_millis(3500), "{after:?}");
    let next = settled_leader(&pods).await;
    assert_ne!(next, leader);
    assert!(
        !bystander.is_finished(),
        "clients of a follower are left alone"
    );
    assert_ne!(
        pods[leader].etcd_pid().expect("etcd"),
        before,
        "another process, the same launcher"
    );
    let told = report(&pods[leader]).await;
    assert_eq!(told.fencing.restarts, 1);
    let mut campaigns = 0;
    for pod in &pods {
        campaigns += report(pod).await.elections.started;
    }
    assert_eq!(campaigns, 0, "a deposed leader's end is no leader's death");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_leader_whose_peers_are_slow_is_left_alone() {
    let pods = three(7);
    let leader = settled_leader(&pods).await;
    can_fence(&pods[leader]).await;
    let before = pods[leader].etcd_pid();
    // As a machine without a free core has it: the kernel takes connections, the process does not answer.
    for other in (0..3).filter(|other| *other != leader) {
        pods[other].signal("STOP");
    }
    let lonely = until("it knows that it lost its leader", 10, async || {
        let view = pods[leader].view().await;
        view.status
            .is_some_and(|status| status.leader_id.is_none())
            .then_some(())
    });
    lonely.await;
    // Longer than any grace.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(
        pods[leader].etcd_pid(),
        before,
        "there is nowhere else to go"
    );
    for other in (0..3).filter(|other| *other != leader) {
        pods[other].signal("CONT");
    }
    settled_leader(&pods).await;
    for pod in &pods {
        assert_eq!(report(pod).await.fencing.restarts, 0);
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_member_whose_peers_are_dead_is_left_alone() {
    let mut pods = three(8);
    let leader = settled_leader(&pods).await;
    let before = pods[leader].etcd_pid();
    for other in (0..3).filter(|other| *other != leader) {
        pods[other].kill_etcd();
    }
    let lonely = until("it knows that it lost its leader", 10, async || {
        let view = pods[leader].view().await;
        view.status
            .is_some_and(|status| status.leader_id.is_none())
            .then(Instant::now)
    })
    .await;
    // More than all graces: an etcd that was to be restarted would have been.
    until("some seconds", 10, async || {
        (lonely.elapsed() > Duration::from_secs(4)).then_some(())
    })
    .await;
    assert_eq!(
        pods[leader].etcd_pid(),
        before,
        "no majority can be elsewhere"
    );
    for other in (0..3).filter(|other| *other != leader) {
        pods[other].start_etcd();
    }
    settled_leader(&pods).await;
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn the_launcher_ends_as_etcd_ends() {
    let mut pods = three(9);
    settled_leader(&pods).await;
    let launcher = pods[0].etcd.as_ref().expect("a launcher").id();
    let memory = fs::read_to_string(format!("/proc/{launcher}/status")).expect("status");
    let line = |name: &str| {
        memory
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default()
            .to_owned()
    };
    println!("the launcher: {} {}", line("VmRSS"), line("RssAnon"));
    pods[0].signal("KILL");
    assert_eq!(pods[0].ended().code(), Some(137), "etcd was killed");
    pods[0].start_etcd();
    settled_leader(&pods).await;
    let stopped = Instant::now();
    pods[0].signal_launcher("TERM");
    assert_eq!(pods[0].ended().code(), Some(0), "etcd was asked to stop");
    println!("stopped after {:?}", stopped.elapsed());
    pods[0].start_etcd();
    until("etcd runs", 10, async || pods[0].etcd_pid()).await;
    pods[0].signal_launcher("KILL");
    let left = pods[0].etcd_pid();
    assert_eq!(pods[0].ended().signal(), Some(9));
    // In a container the kernel does this when process 1 ends.
    if let Some(pid) = left {
        let _ = std::process::Command::new("kill")
            .args(["-s", "KILL", &pid])
            .status();
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_stopping_etcd_does_not_wait_for_a_watch() {
    let mut pods = three(10);
    let leader = settled_leader(&pods).await;
    let follower = (leader + 1) % 3;
    let launcher = Launcher::new(&pods[follower].path("run"));
    let early = launcher.demand(Demand::End).await.expect_err("etcd serves");
    assert!(
        early.to_string().contains("was not told to stop"),
        "{early}"
    );
    let client = held(&pods[follower]);
    let stopped = Instant::now();
    pods[follower].signal_launcher("TERM");
    let mut agent = pods[follower].agent.take().expect("an agent");
    let status = std::process::Command::new("kill")
        .args(["-s", "TERM", &agent.id().to_string()])
        .status();
    assert!(status.expect("kill").success());
    assert_eq!(pods[follower].ended().code(), Some(0));
    let took = stopped.elapsed();
    println!("etcd and launcher ended after {took:?}");
    // etcd itself would wait for its request timeout, 5 s and two elections.
    assert!(took < Duration::from_secs(5), "{took:?}");
    disconnected("a stopping member", client, stopped);
    assert!(agent.wait().expect("the agent").success());
    assert_ne!(
        pods[leader].role().await.map(|(role, _)| role),
        Some(Role::Learner)
    );
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn clients_leave_a_member_that_is_about_to_be_removed_and_it_comes_back_if_it_is_not() {
    let pods = three(11);
    let leader = settled_leader(&pods).await;
    let follower = (leader + 1) % 3;
    let refused = pods[leader].action(action::DRAIN, &[]).await;
    assert_eq!(refused.error.as_deref(), Some("preconditionFailed"));
    let before = pods[follower].etcd_pid().expect("etcd");
    let client = held(&pods[follower]);
    let began = Instant::now();
    let answer = pods[follower].action(action::DRAIN, &[]).await;
    assert_eq!(answer.error, None, "{answer:?}");
    let took = began.elapsed();
    println!("etcd ended after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    disconnected("a member that is to be removed", client, began);
    until("etcd to have ended", 5, async || {
        pods[follower].etcd_pid().is_none().then_some(())
    })
    .await;
    // Nothing removed it.
    let back = until("etcd to be back", 30, async || pods[follower].etcd_pid()).await;
    assert_ne!(back, before);
    assert!(began.elapsed() > Duration::from_secs(10));
    settled_leader(&pods).await;
    let again = pods[follower].action(action::DRAIN, &[]).await;
    assert_eq!(
        again.error.as_deref(),
        Some("preconditionFailed"),
        "once a minute"
    );
}
