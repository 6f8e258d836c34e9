//! kbagent with real members: compaction, defragmentation, alarms. Needs the path of an `etcd` in `ETCD_BIN`, as
//! `members.rs` does.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::time::Duration;

use bench::{CLIENT_PORT, Pod, output, settled_leader, three, until};
use hyper::{Method, StatusCode};
use kbagent::http::Call;
use kbagent_protocol::{Alarm, AlarmKind, Id, MemberList, action, parameter};

/// Asks etcd itself, through its JSON gateway.
async fn etcd(pod: &Pod, path: &str, body: String) {
    let address = format!("{}:{CLIENT_PORT}", pod.host);
    let call = Call {
        method: Method::POST,
        deadline: Duration::from_secs(5),
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
    let done = follower.action(action::DEFRAGMENT, &[]).await;
    assert_eq!(done.error, None, "{:?}", done.message);
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
