//! A leader dies under real members with etcd's default timeouts: who leads next, and how soon are writes accepted
//! again? Needs the path of an `etcd` in `ETCD_BIN`, as `members.rs` does.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bench::failover::{GROWN, RAFTS_OWN, gaps, in_time, members, raft_of, reports, told};
use bench::{Pod, settled_leader, until};
use hyper::{Method, StatusCode};
use kbagent::election::message::{self, MessageError, Target};
use kbagent::election::plan::Order;
use kbagent::http::Call;
use kbagent::tls::Tls;
use kbagent_protocol::{
    ElectionAnswer, ElectionReport, ElectionRequest, ElectionStanding, Id, PATH_ELECTION,
};

static PLAIN: LazyLock<Tls> = LazyLock::new(Tls::default);

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_member_that_is_told_to_campaign_does_so_once_and_only_in_its_own_term() {
    let mut pods = members(41, 3, "false");
    let leader = settled_leader(&pods).await;
    let (first, second) = ((leader + 1) % 3, (leader + 2) % 3);
    let before = raft_of(&pods[first]).await;
    let status = pods[first].view().await.status.expect("a status");
    let address = format!("{}:22380", pods[first].host);
    let target = Target {
        address: &address,
        tls: &PLAIN,
        cluster: status.cluster_id,
        version: &status.version,
    };
    let order = |term| Order {
        member: before.member,
        term,
    };
    message::tell(order(before.term - 1), target)
        .await
        .expect("taken, and void");
    let foreign = Target {
        cluster: Id(7),
        ..target
    };
    let error = message::tell(order(before.term), foreign)
        .await
        .expect_err("another cluster");
    assert!(matches!(error, MessageError::Refused { .. }), "{error}");
    let leads = raft_of(&pods[leader]).await;
    let of_leader = format!("{}:22380", pods[leader].host);
    let to_leader = Target {
        address: &of_leader,
        ..target
    };
    let order_to_leader = Order {
        member: leads.member,
        term: leads.term,
    };
    message::tell(order_to_leader, to_leader)
        .await
        .expect("taken, and no follower");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = raft_of(&pods[first]).await;
    assert_eq!((after.term, after.leader), (before.term, before.leader));

    let killed = Instant::now();
    pods[leader].kill_etcd();
    message::tell(order(before.term), target)
        .await
        .expect("taken");
    until("another leader", 5, async || {
        let state = raft_of(&pods[second]).await;
        (state.leader == Some(before.member)).then_some(())
    })
    .await;
    let took = killed.elapsed();
    println!("told to campaign, elected after {took:?}");
    in_time(took < RAFTS_OWN, &format!("{took:?}"));
    let elected = raft_of(&pods[first]).await;
    assert_eq!(elected.term, before.term + 1, "one campaign");
    message::tell(order(before.term), target)
        .await
        .expect("taken, and void");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        raft_of(&pods[second]).await.term,
        elected.term,
        "a replay changes nothing"
    );
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn writes_go_on_long_before_rafts_own_timeout_when_the_leaders_etcd_is_killed() {
    let mut slow = members(42, 3, "false");
    let without = gaps(&mut slow, 5, Pod::kill_etcd, Pod::start_etcd).await;
    assert_eq!(reports(&slow).await, ElectionReport::default());
    drop(slow);
    let mut pods = members(43, 3, "true");
    let with = gaps(&mut pods, 5, Pod::kill_etcd, Pod::start_etcd).await;
    let reports = reports(&pods).await;
    println!("without: {without:?}\nwith:    {with:?}\n{reports:?}");
    print!("{}", told(&pods));
    assert!(without[0] > RAFTS_OWN, "the comparison: {without:?}");
    in_time(with[2] < RAFTS_OWN / 2, &format!("{with:?}"));
    assert_eq!(reports.needless, 0);
    assert!(reports.won >= 1, "{reports:?}");
    in_time(reports.won >= 3, &format!("{reports:?}"));
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_whole_pod_that_is_gone_is_news_too() {
    let mut pods = members(44, 3, "true");
    let die = |pod: &mut Pod| {
        let mut agent = pod.agent.take().expect("an agent");
        agent.kill().expect("killed");
        agent.wait().expect("ended");
        pod.kill_etcd();
    };
    let back = |pod: &mut Pod| {
        pod.start_etcd();
        pod.start_agent();
    };
    let with = gaps(&mut pods, 3, die, back).await;
    println!(
        "agent and etcd killed: {with:?}, {:?}",
        reports(&pods).await
    );
    in_time(with[1] < RAFTS_OWN / 2, &format!("{with:?}"));
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn two_leaders_of_five_die_in_a_row() {
    let mut pods = members(45, 5, "true");
    settled_leader(&pods).await;
    tokio::time::sleep(GROWN).await;
    let mut all = vec![];
    for _ in 0..2 {
        let view = raft_of(
            pods.iter()
                .find(|pod| pod.etcd.is_some())
                .expect("a member"),
        )
        .await;
        let mut leader = None;
        for (n, pod) in pods
            .iter()
            .enumerate()
            .filter(|(_, pod)| pod.etcd.is_some())
        {
            if Some(raft_of(pod).await.member) == view.leader {
                leader = Some(n);
            }
        }
        let leader = leader.expect("a leader");
        pods[leader].kill_etcd();
        let killed = Instant::now();
        until("the next leader", 5, async || {
            for pod in pods.iter().filter(|pod| pod.etcd.is_some()) {
                let state = raft_of(pod).await;
                if state.term == view.term || state.leader.is_none() {
                    return None;
                }
            }
            Some(())
        })
        .await;
        all.push(killed.elapsed());
        // A leader that dies before the others have applied its first entry is left to raft's own timeout.
        until("all agents know its term", 5, async || {
            for pod in pods.iter().filter(|pod| pod.etcd.is_some()) {
                let term = pod.view().await.status?.term;
                if term == view.term {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
    println!("all members knew the next leader after {all:?}");
    in_time(
        all.iter().all(|took| *took < RAFTS_OWN),
        &format!("{all:?}"),
    );
    assert_eq!(reports(&pods).await.needless, 0);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_leader_that_hands_over_and_stops_starts_no_campaign() {
    let mut pods = members(46, 3, "true");
    let leader = settled_leader(&pods).await;
    tokio::time::sleep(GROWN).await;
    let before = raft_of(&pods[leader]).await;
    assert!(pods[leader].handoff().wait().expect("handoff").success());
    let begun = Instant::now();
    pods[leader].signal("TERM");
    let mut etcd = pods[leader].etcd.take().expect("etcd");
    // Connections that are held must not keep it from stopping.
    until("etcd stops", 10, async || etcd.try_wait().expect("a child")).await;
    let took = begun.elapsed();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reports = reports(&pods).await;
    let after = raft_of(&pods[(leader + 1) % 3]).await;
    println!("leadership transferred, etcd stopped in {took:?}: {reports:?}");
    assert_eq!(after.term, before.term + 1, "the hand-over itself");
    assert_eq!((reports.started, reports.left_to_raft), (0, 0));
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn an_agent_that_lies_about_the_leader_gets_no_consent() {
    let pods = members(47, 3, "true");
    let leader = settled_leader(&pods).await;
    tokio::time::sleep(GROWN).await;
    let victim = &pods[(leader + 1) % 3];
    let (own, lead) = (raft_of(victim).await, raft_of(&pods[leader]).await);
    let status = victim.view().await.status.expect("a status");
    let request = ElectionRequest {
        leader: lead.member,
        standing: ElectionStanding {
            member_id: Id(own.member.0 ^ 1),
            cluster_id: status.cluster_id,
            term: own.term,
            leader_id: Some(lead.member),
            commit: u64::MAX,
            is_learner: false,
        },
        consent: true,
    };
    let body = serde_json::to_string(&request).expect("a body");
    let address = victim.agent_address();
    let call = |opens| Call {
        method: Method::POST,
        opens,
        ..Call::get(&address, PATH_ELECTION)
    };
    let (status, _) = call(None).send(body.clone()).await.expect("an answer");
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (status, answer) = call(Some(victim.opens(bench::TOKEN)))
        .send(body)
        .await
        .expect("an answer");
    assert_eq!(status, StatusCode::OK);
    let answer: ElectionAnswer = serde_json::from_slice(&answer).expect("an answer");
    assert!(!answer.consents);
    assert_eq!(
        answer.reason.as_deref(),
        Some("the leader's etcd accepts connections")
    );
    assert_eq!(answer.standing.expect("a standing").member_id, own.member);
    assert_eq!(reports(&pods).await, ElectionReport::default());
}
