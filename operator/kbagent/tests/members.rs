//! kbagent with real members: roles, loss of the leader, moves, changes of membership, lost data, hand-over.
//! Needs the path of an `etcd` in `ETCD_BIN`; run with `--run-ignored all` (nextest) or `-- --ignored`.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bench::{CLIENT_PORT, Pod, output, settled_leader, three, until};
use kbagent::etcd::Client;
use kbagent::tls::Tls;
use kbagent_protocol::{
    EtcdState, HandoffAnswer, HandoffRequest, Member, MemberList, PATH_HANDOFF, PATH_MEMBERS, Role,
    SwitchoverOutput, action, parameter,
};

/// Asks whether etcd has started: the answer's status, and how long it took.
async fn started(pod: &Pod) -> (hyper::StatusCode, Duration) {
    let address = pod.agent_address();
    let call = kbagent::http::Call {
        deadline: Duration::from_secs(10),
        ..kbagent::http::Call::get(&address, kbagent_protocol::PATH_STARTED)
    };
    let began = Instant::now();
    let (status, _) = call.send(String::new()).await.expect("an answer");
    (status, began.elapsed())
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn who_asks_whether_etcd_has_started_is_answered_when_it_has() {
    let mut pods: Vec<Pod> = (0..3)
        .map(|n| Pod::new(67, n, &[0, 1, 2]).bootstraps())
        .collect();
    for pod in &mut pods {
        pod.start_agent();
    }
    until("an agent serves", 10, async || {
        TcpStream::connect(pods[0].agent_address()).ok()
    })
    .await;
    let (status, took) = started(&pods[0]).await;
    assert_eq!(status, hyper::StatusCode::SERVICE_UNAVAILABLE);
    assert!(took >= Duration::from_secs(2), "{took:?}");
    // One of three serves no clients, and is not to be restarted for that.
    pods[0].start_etcd();
    let took = until("it has started", 20, async || {
        let (status, took) = started(&pods[0]).await;
        (status == hyper::StatusCode::OK).then_some(took)
    })
    .await;
    assert!(took >= Duration::from_secs(2), "{took:?}");
    pods[1].start_etcd();
    until("it knows a leader", 20, async || {
        let (status, took) = started(&pods[0]).await;
        (status == hyper::StatusCode::OK && took < Duration::from_secs(1)).then_some(())
    })
    .await;
    let (status, took) = started(&pods[0]).await;
    assert_eq!(status, hyper::StatusCode::OK);
    assert!(took < Duration::from_secs(1), "{took:?}");
    // It knows no leader, and is not to be restarted for that.
    pods[1].kill_etcd();
    until("it knows no leader", 20, async || {
        let view: kbagent_protocol::MemberView = pods[0].get(kbagent_protocol::PATH_MEMBER).await?;
        view.status?.leader_id.is_none().then_some(())
    })
    .await;
    let (status, took) = started(&pods[0]).await;
    assert_eq!(status, hyper::StatusCode::OK);
    assert!(took >= Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn roles_are_right_and_a_killed_leader_is_followed_at_once() {
    let mut pods = three(1);
    let leader = settled_leader(&pods).await;
    let list: MemberList = pods[0].get(PATH_MEMBERS).await.expect("a list");
    assert_eq!(list.members.len(), 3);
    let survivor = (leader + 1) % 3;
    let old = pods[leader].name.clone();
    let lines = pods[survivor].stream();
    let client = Client::new(
        &format!("http://{}:{CLIENT_PORT}", pods[survivor].host),
        &Tls::default(),
    )
    .expect("url");
    let before = client.status(Duration::from_secs(1)).await.expect("status");
    let killed = Instant::now();
    pods[leader].kill_etcd();
    // The member itself, asked as often as possible: when could the agent know at the earliest?
    let known = loop {
        let status = client.status(Duration::from_secs(1)).await.expect("status");
        if status.leader != 0 && status.raft_term > before.raft_term {
            break Instant::now();
        }
        assert!(killed.elapsed() < Duration::from_secs(10), "no new leader");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let told = loop {
        let (at, view) = lines.recv_timeout(Duration::from_secs(5)).expect("a line");
        let status = view.status.expect("a status");
        if status.term > before.raft_term && status.leader.is_some_and(|name| name != old) {
            break at;
        }
    };
    let late = told.saturating_duration_since(known);
    println!("elected after {:?}, told {late:?} later", known - killed);
    assert!(
        late < Duration::from_millis(100),
        "told {late:?} after the member knew"
    );
    let view = pods[leader].view().await;
    assert!(
        matches!(view.etcd, EtcdState::Unreachable { refused: true, .. }),
        "{:?}",
        view.etcd
    );
    assert_eq!(pods[leader].role().await, None, "no etcd, no role");
    pods[leader].start_etcd();
    settled_leader(&pods).await;
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn leadership_moves_where_it_is_asked_to() {
    let pods = three(2);
    let leader = settled_leader(&pods).await;
    let (asked, target) = ((leader + 1) % 3, (leader + 2) % 3);
    let named = |current: usize, candidate: usize| {
        let current = (
            parameter::SWITCHOVER_CURRENT_NAME,
            pods[current].name.as_str(),
        );
        let candidate = (
            parameter::SWITCHOVER_CANDIDATE_NAME,
            pods[candidate].name.as_str(),
        );
        [current, candidate]
    };
    let started = Instant::now();
    let answer = pods[asked]
        .action(action::SWITCHOVER, &named(leader, target))
        .await;
    println!(
        "switchover asked of a follower took {:?}",
        started.elapsed()
    );
    let moved: SwitchoverOutput = output(&answer);
    assert_eq!(
        (moved.leader.as_str(), moved.moved),
        (pods[target].name.as_str(), true)
    );
    assert_eq!(settled_leader(&pods).await, target);
    let answer = pods[asked]
        .action(action::SWITCHOVER, &named(leader, asked))
        .await;
    assert!(
        answer
            .message
            .as_ref()
            .is_some_and(|text| text.contains("is not the leader"))
    );
    let still: SwitchoverOutput = output(&answer);
    assert_eq!(
        (still.leader.as_str(), still.moved),
        (pods[target].name.as_str(), false)
    );
    let answer = pods[target].action(action::SWITCHOVER, &[]).await;
    assert!(output::<SwitchoverOutput>(&answer).moved);
    assert_ne!(settled_leader(&pods).await, target);
    let answer = pods[0].action("dataDump", &[]).await;
    assert_eq!(answer.error.as_deref(), Some("notDefined"));
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_member_joins_is_promoted_and_leaves() {
    let mut pods = three(3);
    settled_leader(&pods).await;
    let mut fourth = Pod::new(3, 3, &[0, 1, 2, 3]);
    let host = fourth.host.clone();
    let by = [
        (parameter::JOIN_MEMBER_POD_NAME, "p3"),
        (parameter::JOIN_MEMBER_POD_FQDN, &host),
    ];
    let joined: Member = until("etcd takes changes, 5 s after its start", 15, async || {
        let answer = pods[1].action(action::MEMBER_JOIN, &by).await;
        (answer.error.as_deref() != Some("preconditionFailed")).then(|| output(&answer))
    })
    .await;
    assert!(joined.is_learner && joined.name.is_empty(), "{joined:?}");
    let again: Member = output(&pods[2].action(action::MEMBER_JOIN, &by).await);
    assert_eq!(again.id, joined.id, "asked again it is found");
    let other = [(parameter::JOIN_MEMBER_POD_FQDN, "127.77.3.9")];
    let refused = pods[0].action(action::MEMBER_JOIN, &other).await;
    assert_eq!(
        refused.error.as_deref(),
        Some("preconditionFailed"),
        "one at a time (M1)"
    );
    let id = joined.id.to_string();
    let promote = [(parameter::MEMBER_ID, id.as_str())];
    let early = pods[0].action(action::MEMBER_PROMOTE, &promote).await;
    assert_eq!(
        early.error.as_deref(),
        Some("preconditionFailed"),
        "{early:?}"
    );
    fourth.set("KB_JOIN_MEMBER_ID", &id);
    fourth = fourth.start();
    pods.push(fourth);
    let role = until("the learner runs", 15, async || pods[3].role().await).await;
    assert_eq!(role.0, Role::Learner);
    until("the learner is in sync", 15, async || {
        let answer = pods[0].action(action::MEMBER_PROMOTE, &promote).await;
        (answer.error.as_deref() != Some("preconditionFailed")).then(|| output::<Member>(&answer))
    })
    .await;
    settled_leader(&pods).await;
    leaves(&pods, &id).await;
}

/// The fourth member leaves, but not under another pod's address; its own agent finds out.
async fn leaves(pods: &[Pod], id: &str) {
    let wrong = [
        (parameter::MEMBER_ID, id),
        (parameter::LEAVE_MEMBER_POD_FQDN, "127.77.3.1"),
    ];
    let refused = pods[0].action(action::MEMBER_LEAVE, &wrong).await;
    assert_eq!(
        refused.error.as_deref(),
        Some("badRequest"),
        "another pod's (M4)"
    );
    let right = [
        (parameter::MEMBER_ID, id),
        (parameter::LEAVE_MEMBER_POD_FQDN, pods[3].host.as_str()),
    ];
    for _ in 0..2 {
        let list: MemberList = output(&pods[0].action(action::MEMBER_LEAVE, &right).await);
        assert_eq!(
            list.members.len(),
            3,
            "removed, and still removed when asked again"
        );
    }
    until("the removed member is told apart", 20, async || {
        let state = pods[3].view().await.etcd;
        matches!(state, EtcdState::Refused { ref code, .. } if code == "RemovedMember")
            .then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_wiped_member_never_starts_again() {
    let mut pods = three(4);
    let leader = settled_leader(&pods).await;
    let victim = (leader + 1) % 3;
    pods[victim].kill_etcd();
    fs::remove_dir_all(pods[victim].path("data/etcd")).expect("wipe");
    pods[victim].start_etcd();
    until("the refusal", 10, async || {
        let state = pods[victim].view().await.etcd;
        matches!(state, EtcdState::Refused { ref code, .. } if code == "DataLost").then_some(())
    })
    .await;
    // The same in a new pod: nothing is left but the list of the others.
    // The one before goes first: both have one address.
    drop(pods.remove(victim));
    let new = Pod::new(4, u8::try_from(victim).expect("small"), &[0, 1, 2]);
    pods.insert(victim, new.start());
    until("the refusal in a new pod", 10, async || {
        let state = pods[victim].view().await.etcd;
        matches!(state, EtcdState::Refused { ref code, .. } if code == "DataLost").then_some(())
    })
    .await;
    assert_eq!(
        pods[leader].role().await.expect("a role").0,
        Role::Leader,
        "the others continue"
    );
}

/// A leader service: forwards new connections to a member that can be changed.
fn service(host: &str, target: &Arc<Mutex<String>>) {
    let listener = TcpListener::bind((host, CLIENT_PORT)).expect("bind");
    let target = Arc::clone(target);
    std::thread::spawn(move || {
        for inbound in listener.incoming().flatten() {
            let host = target.lock().expect("lock").clone();
            let Ok(outbound) = TcpStream::connect((host, CLIENT_PORT)) else {
                continue;
            };
            for (mut from, mut to) in [
                (
                    inbound.try_clone().expect("clone"),
                    outbound.try_clone().expect("clone"),
                ),
                (outbound, inbound),
            ] {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn before_a_pod_stops_its_leadership_and_the_service_have_moved() {
    let mut pods: Vec<_> = (0..3)
        .map(|n| Pod::new(5, n, &[0, 1, 2]).bootstraps())
        .collect();
    for pod in &mut pods {
        pod.set("KB_LEADER_SERVICE", "127.77.5.100");
        pod.start_etcd();
        pod.start_agent();
    }
    let leader = settled_leader(&pods).await;
    let target = Arc::new(Mutex::new(pods[leader].host.clone()));
    service("127.77.5.100", &target);
    let lines = pods[(leader + 1) % 3].stream();
    let hosts: Vec<_> = pods
        .iter()
        .map(|pod| (pod.name.clone(), pod.host.clone()))
        .collect();
    let old = pods[leader].name.clone();
    let labelled = std::thread::spawn(move || {
        for (_, view) in lines {
            let leader = view.status.and_then(|status| status.leader);
            if let Some((_, host)) = hosts
                .iter()
                .find(|(name, _)| Some(name) == leader.as_ref() && *name != old)
            {
                // What the label, the endpoints and the proxies take.
                std::thread::sleep(Duration::from_millis(300));
                host.clone_into(&mut target.lock().expect("lock"));
                return Instant::now();
            }
        }
        panic!("the stream ended");
    });
    let begun = Instant::now();
    let mut handoff = pods[leader].handoff();
    let address = pods[leader].agent_address();
    let drained = kbagent::http::Call {
        deadline: Duration::from_secs(10),
        ..kbagent::http::Call::get(&address, kbagent_protocol::PATH_DRAINED)
    };
    drained.send(String::new()).await.expect("drained");
    let took = begun.elapsed();
    let switched = labelled.join().expect("the label moved");
    assert!(handoff.wait().expect("handoff").success());
    assert!(
        begun + took > switched + Duration::from_millis(200),
        "drained before the service moved"
    );
    println!("leadership transferred in {took:?}");
    let text = fs::read_to_string(pods[leader].path("handoff.log")).expect("log");
    assert!(text.contains("\"serviceFollows\":true"), "{text}");
    assert_ne!(settled_leader(&pods).await, leader);
    let again = pods[leader].handoff().wait().expect("handoff");
    assert!(
        again.success(),
        "a pod that does not lead has no leadership to transfer"
    );
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_leader_without_a_pod_hands_over_to_the_voter_that_is_named() {
    let mut pods: Vec<Pod> = (0..3)
        .map(|n| Pod::new(14, n, &[0, 1, 2]).bootstraps())
        .collect();
    for pod in &mut pods {
        // It advertises a port at which none listens: raft reaches the others, and no agent does.
        pod.set("KB_CLIENT_PORT", "1");
        pod.start_etcd();
        pod.set("KB_CLIENT_PORT", &CLIENT_PORT.to_string());
        pod.start_agent();
    }
    let leader = settled_leader(&pods).await;
    let hand_over = async |body: &str| pods[leader].post(PATH_HANDOFF, body.to_owned()).await;
    let (status, _) = hand_over("{\"to\":9}").await;
    assert_eq!(status, hyper::StatusCode::BAD_REQUEST);
    let answer = |(status, body): (hyper::StatusCode, hyper::body::Bytes)| {
        assert_eq!(status, hyper::StatusCode::OK, "{body:?}");
        serde_json::from_slice::<HandoffAnswer>(&body).expect("an answer")
    };
    let stranger = answer(hand_over("{\"to\":\"99\"}").await);
    assert!(
        !stranger.moved && stranger.message.contains("no voter"),
        "{stranger:?}"
    );
    let unnamed = answer(hand_over("").await);
    assert!(
        !unnamed.moved && unnamed.message.contains("does not answer"),
        "the others were asked: {unnamed:?}"
    );
    let mut moves = 0;
    for _ in 0..6 {
        let from = settled_leader(&pods).await;
        let target = (from + 1) % 3;
        let status = pods[target].view().await.status.expect("a status");
        let body = serde_json::to_string(&HandoffRequest {
            to: Some(status.member_id),
        });
        let begun = Instant::now();
        let moved = answer(pods[from].post(PATH_HANDOFF, body.expect("JSON")).await);
        println!("after {:?}: {moved:?}", begun.elapsed());
        // A machine that is starved elects in between.
        if moved.moved {
            assert_eq!(moved.leader.as_ref(), Some(&pods[target].name));
            moves += 1;
        }
        if moves == 2 {
            return;
        }
    }
    panic!("{moves} moves of six");
}
