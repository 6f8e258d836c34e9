//! kbagent with real members: compaction, defragmentation, alarms. Needs the path of an `etcd` in `ETCD_BIN`, as
//! `members.rs` does.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bench::{CLIENT_PORT, Pod, output, settled_leader, three, until};
use hyper::{Method, StatusCode};
use kbagent::http::Call;
use kbagent_protocol::{
    AgentReport, Alarm, AlarmKind, EtcdState, Id, MemberList, MemberView, PATH_AGENT, action,
    parameter,
};

/// Asks etcd itself, through its JSON gateway.
async fn etcd(pod: &Pod, path: &str, body: String) {
    let address = format!("{}:{CLIENT_PORT}", pod.host);
    let call = Call {
        method: Method::POST,
        deadline: Duration::from_secs(60),
        ..Call::get(&address, path)
    };
    let (status, answer) = call.send(body).await.expect("an answer");
    assert_eq!(status, StatusCode::OK, "{path}: {answer:?}");
}

async fn raise(pod: &Pod, alarm: Alarm) {
    let (member, kind) = (alarm.member.0, alarm.kind.as_str());
    let body = format!(r#"{{"action":"ACTIVATE","memberID":"{member}","alarm":"{kind}"}}"#);
    etcd(pod, "/v3/maintenance/alarm", body).await;
}

/// Waits until a pod's view holds these alarms.
async fn shows(pod: &Pod, alarms: &[Alarm]) {
    until("alarms in the view", 5, async || {
        let status = pod.view().await.status?;
        (status.raised().collect::<Vec<_>>() == alarms).then_some(())
    })
    .await;
}

async fn member(pod: &Pod) -> Id {
    until("a status", 5, async || {
        Some(pod.view().await.status?.member_id)
    })
    .await
}

async fn disarm(pod: &Pod, alarm: Alarm) -> Option<String> {
    let id = alarm.member.to_string();
    let by = [
        (parameter::MEMBER_ID, id.as_str()),
        (parameter::ALARM, alarm.kind.as_str()),
    ];
    pod.action(action::DISARM, &by).await.error
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn free_pages_are_given_back_and_the_leader_refuses_to_defragment() {
    let pods = three(31);
    let leader = settled_leader(&pods).await;
    let follower = &pods[(leader + 1) % 3];
    let value = "eHh4".repeat(100_000);
    for _ in 0..20 {
        let body = format!(r#"{{"key":"a2V5","value":"{value}"}}"#);
        etcd(&pods[leader], "/v3/kv/put", body).await;
    }
    let size = |status: kbagent_protocol::MemberStatus| status.db_size_bytes;
    let before = follower.view().await.status.map_or(0, size);
    let compacted = pods[leader].action(action::COMPACT, &[]).await;
    assert_eq!(compacted.error, None, "{:?}", compacted.message);
    let again = follower.action(action::COMPACT, &[]).await;
    assert_eq!(again.error, None, "nothing to do is no failure");
    // Nothing is written any more, so the figure of what is in use stays where it was.
    let refused = pods[leader].action(action::DEFRAGMENT, &[]).await;
    assert_eq!(refused.error.as_deref(), Some("preconditionFailed"));
    let lines = follower.stream();
    let fresh = follower.view().await.care.last.expect("a report");
    assert_eq!((fresh.request.as_str(), fresh.bytes_after), ("", 0));
    let done = follower.action(action::DEFRAGMENT, &[]).await;
    assert_eq!(done.error, None, "{:?}", done.message);
    // A request that comes a moment later is answered by what was done, and shown.
    let asked = [(parameter::DEFRAGMENTATION_REQUEST, "u-1")];
    let again = follower.action(action::DEFRAGMENT, &asked).await;
    assert_eq!(again.error, None, "{:?}", again.message);
    let last = follower.view().await.care.last.expect("a report");
    assert_eq!(last.request, "u-1");
    assert!(last.bytes_after < last.bytes_before / 2, "{last:?}");
    // The view comes by itself, without a request.
    let told = std::iter::from_fn(|| lines.recv_timeout(Duration::from_secs(5)).ok())
        .map(|(_, view)| view)
        .filter(|view| view.under_way.is_none() && view.care.defragmented > 0)
        .find_map(|view| {
            view.status
                .filter(|status| status.db_size_bytes < before / 2)
        });
    let status = told.unwrap_or_else(|| panic!("a database of {before} bytes stays large"));
    assert_eq!(status.revision, 21);
    let compacted = pods[leader].view().await.care.compacted;
    assert_eq!(compacted, status.revision);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn corrupt_stays_while_its_member_is_there_and_goes_when_the_others_agree() {
    let pods = three(32);
    let leader = settled_leader(&pods).await;
    let (wrong, right) = (&pods[(leader + 1) % 3], &pods[leader]);
    let alarm = |member, kind| Alarm { member, kind };
    let (full, corrupt) = (
        alarm(member(wrong).await, AlarmKind::NoSpace),
        alarm(member(wrong).await, AlarmKind::Corrupt),
    );
    raise(right, full).await;
    shows(wrong, &[full]).await;
    assert_eq!(disarm(right, full).await, None);
    shows(wrong, &[]).await;

    raise(right, corrupt).await;
    shows(right, &[corrupt]).await;
    let early = disarm(right, corrupt).await;
    assert_eq!(early.as_deref(), Some("preconditionFailed"));
    let id = corrupt.member.to_string();
    let leave = [
        (parameter::MEMBER_ID, id.as_str()),
        (parameter::LEAVE_MEMBER_POD_FQDN, wrong.host.as_str()),
    ];
    until("etcd takes changes, 5 s after its start", 15, async || {
        let answer = right.action(action::MEMBER_LEAVE, &leave).await;
        (answer.error.as_deref() != Some("preconditionFailed"))
            .then(|| output::<MemberList>(&answer))
    })
    .await;
    shows(right, &[corrupt]).await;
    assert_eq!(disarm(right, corrupt).await, None);
    shows(right, &[]).await;
    let body = r#"{"key":"a2V5","value":"eA=="}"#.to_owned();
    etcd(right, "/v3/kv/put", body).await;
}

/// How many keys of a kilobyte make a database that takes two seconds to defragment.
const KEYS: usize = 80_000;

/// Writes them, a batch at a time.
async fn fill(pod: &Pod) {
    let value = STANDARD.encode([7; 1000]);
    let keys: Vec<_> = (0..KEYS).collect();
    for batch in keys.chunks(4000) {
        let puts = batch.iter().map(|key| {
            let key = STANDARD.encode(format!("{key:08}"));
            format!(r#"{{"requestPut":{{"key":"{key}","value":"{value}"}}}}"#)
        });
        let puts = puts.collect::<Vec<_>>().join(",");
        etcd(pod, "/v3/kv/txn", format!(r#"{{"success":[{puts}]}}"#)).await;
    }
}

/// The longest time for which a member answered no status.
fn silence(views: impl Iterator<Item = (Instant, MemberView)>) -> Duration {
    let (mut since, mut longest) = (None, Duration::ZERO);
    for (at, view) in views {
        if matches!(view.etcd, EtcdState::Unreachable { refused: false, .. }) {
            since.get_or_insert(at);
        } else if let Some(since) = since.take() {
            longest = longest.max(at.saturating_duration_since(since));
        }
    }
    longest
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_follower_whose_database_is_locked_is_left_alone_and_a_frozen_one_is_not() {
    let grace = Duration::from_millis(800);
    let pods = (0..3).map(|n| {
        let mut pod = Pod::new(33, n, &[0, 1, 2]).bootstraps();
        // The agent's alone: a quarter of the grace.
        pod.set("KB_ELECTION_TIMEOUT_MS", "200");
        let large = ["--max-txn-ops=10000", "--max-request-bytes=16777216"];
        pod.start_etcd_with("ETCD_BIN", &large);
        pod.start_agent();
        pod
    });
    let pods: Vec<_> = pods.collect();
    let leader = settled_leader(&pods).await;
    let follower = &pods[(leader + 1) % 3];
    fill(&pods[leader]).await;
    until("it has applied all, and can be fenced", 60, async || {
        let status = follower.view().await.status?;
        let report: AgentReport = follower.get(PATH_AGENT).await?;
        let ready = report.fencing.supported && report.fencing.voters_known;
        (ready && status.db_size_bytes > 80_000_000).then_some(())
    })
    .await;
    let before = follower.etcd_pid();
    let views = follower.stream();
    // As a user does it by hand: the agent knows nothing of it.
    etcd(follower, "/v3/maintenance/defragment", "{}".to_owned()).await;
    until("it answers again", 30, async || {
        let view = follower.view().await;
        (view.etcd == EtcdState::Running).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let silent = silence(views.try_iter());
    println!("no status for {silent:?}");
    assert!(silent > grace, "too short to show anything: {silent:?}");
    assert_eq!(follower.etcd_pid(), before, "it was restarted");
    let restarts = async || {
        let report: Option<AgentReport> = follower.get(PATH_AGENT).await;
        report.map(|report| report.fencing.restarts)
    };
    assert_eq!(restarts().await, Some(0));
    follower.signal("STOP");
    let frozen = Instant::now();
    until("a frozen one is restarted", 10, async || {
        (restarts().await? == 1).then_some(())
    })
    .await;
    println!("a frozen follower: restarted after {:?}", frozen.elapsed());
}
