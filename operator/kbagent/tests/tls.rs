//! Real members that speak TLS to each other, to their agents and to clients: who is let in, who is not, and that a
//! renewed certificate is used without a restart. Needs the path of an `etcd` in `ETCD_BIN`, as `members.rs` does.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;

use std::path::Path;
use std::time::Duration;

use bench::secured::{Ca, MEMBER, hosts, secured, secured_with, with};
use bench::{CLIENT_PORT, Pod, output, settled_leader, until};
use hyper::{Method, StatusCode};
use kbagent::election::message::{self, Target};
use kbagent::election::plan::Order;
use kbagent::election::raft;
use kbagent::etcd::Client;
use kbagent::http::Call;
use kbagent::tls::Tls;
use kbagent_protocol::{AgentReport, PATH_AGENT, Role, SwitchoverOutput, action};

/// Whether a write over HTTP succeeds at this member.
async fn writes(pod: &Pod, tls: &Tls) -> bool {
    let address = format!("{}:{CLIENT_PORT}", pod.host);
    let call = Call {
        method: Method::POST,
        tls: Some(tls),
        ..Call::get(&address, "/v3/kv/put")
    };
    let answer = call.send(r#"{"key":"a2V5","value":"eA=="}"#).await;
    matches!(answer, Ok((StatusCode::OK, _)))
}

/// A member that has just come up takes its time for the first one.
async fn comes_to_write(pod: &Pod, tls: &Tls) {
    let what = format!("a write at {}", pod.name);
    until(&what, 5, async || writes(pod, tls).await.then_some(())).await;
}

async fn reports(pods: &[Pod]) -> (u64, u64) {
    let (mut started, mut won) = (0, 0);
    for pod in pods {
        if let Some(report) = pod.get::<AgentReport>(PATH_AGENT).await {
            started += report.elections.started;
            won += report.elections.won;
        }
    }
    (started, won)
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn members_with_tls_elect_move_and_are_watched_as_without() {
    let ca = Ca::new();
    let mut pods = secured(51, &ca);
    let leader = settled_leader(&pods).await;
    let answer = pods[leader].action(action::SWITCHOVER, &[]).await;
    let moved: SwitchoverOutput = output(&answer);
    // Views of before the move agree on a leader too.
    let leader = until("the new leader in all views", 10, async || {
        let leader = settled_leader(&pods).await;
        (pods[leader].name == moved.leader).then_some(leader)
    });
    let leader = leader.await;
    // Agents take part in elections when they are two seconds old.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = reports(&pods).await;
    pods[leader].kill_etcd();
    let next = until("another leader", 10, async || {
        for (n, pod) in pods.iter().enumerate() {
            if n != leader && matches!(pod.role().await, Some((Role::Leader, _))) {
                return Some(n);
            }
        }
        None
    })
    .await;
    assert_ne!(next, leader);
    let counted = until("the election to be counted", 5, async || {
        let now = reports(&pods).await;
        (now.1 > before.1).then_some(now)
    });
    // The agents' message to raft has passed the peers' TLS.
    let (started, _) = counted.await;
    assert!(started > before.0);
    pods[leader].start_etcd();
    settled_leader(&pods).await;
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_client_of_a_dead_leader_is_led_on_and_speaks_tls_to_the_next() {
    let ca = Ca::new();
    let mut pods = secured_with(57, &ca, Pod::relay);
    let leader = settled_leader(&pods).await;
    until("the agent accepts clients", 20, async || {
        let report = pods[leader].get::<AgentReport>(PATH_AGENT).await?;
        report.relay.listens.then_some(())
    })
    .await;
    let (_kept, client) = with(&ca.signs("application", &[]));
    let (_kept, foreign) = with(&Ca::new().signs(MEMBER, &[]));
    comes_to_write(&pods[leader], &client).await;
    pods[leader].kill_etcd();
    until("a client is led on", 10, async || {
        writes(&pods[leader], &client).await.then_some(())
    })
    .await;
    assert!(!writes(&pods[leader], &foreign).await, "etcd decides");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn agents_hold_connections_that_etcd_takes() {
    let ca = Ca::new();
    let pods = secured(54, &ca);
    settled_leader(&pods).await;
    let refused = || {
        let logs = pods.iter().map(|pod| pod.path("etcd.log"));
        let logs = logs.map(|log| std::fs::read_to_string(log).expect("a log"));
        let refused = logs.map(|log| log.matches("rejected connection").count());
        refused.sum::<usize>()
    };
    let before = refused();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(refused() - before, 0, "in four quiet seconds");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn only_certificates_of_the_own_ca_are_let_in_and_only_members_are_peers() {
    let ca = Ca::new();
    let pods = secured(52, &ca);
    let leader = settled_leader(&pods).await;
    let pod = &pods[leader];
    let application = ca.signs("application", &["127.0.0.1"]);
    let (_kept, application) = with(&application);
    comes_to_write(pod, &application).await;
    assert!(!writes(pod, &Tls::default()).await, "plain text");
    let other = Ca::new();
    let mut stranger = other.signs(MEMBER, &["127.0.0.1"]);
    // It believes the members, and the members do not believe it.
    stranger[0].clone_from(&ca.pem);
    let (_kept, stranger) = with(&stranger);
    assert!(!writes(pod, &stranger).await, "of another CA");
    let (_kept, deceived) = with(&other.signs(MEMBER, &["127.0.0.1"]));
    assert!(!writes(pod, &deceived).await, "a client of another CA");

    let address = format!("{}:{CLIENT_PORT}", pod.host);
    let state = raft::read(&address, &application).await.expect("a state");
    let status = pod.view().await.status.expect("a status");
    let peer = format!("{}:22380", pod.host);
    let tell = async |tls: &Tls| {
        let target = Target {
            address: &peer,
            cluster: status.cluster_id,
            tls,
            version: &status.version,
        };
        let order = Order {
            member: state.member,
            term: state.term,
        };
        message::tell(order, target).await
    };
    let error = tell(&application).await.expect_err("no member");
    assert!(error.to_string().contains("failed to"), "{error}");
    assert!(tell(&stranger).await.is_err());
    assert!(tell(&Tls::default()).await.is_err());
    let own = Tls::new(Some(&pod.path("tls")));
    tell(&own).await.expect("a member");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let ca = Ca::new();
    let mut pods = secured(53, &ca);
    let leader = settled_leader(&pods).await;
    let new = "127.88.0.1";
    let (_kept, client) = with(&ca.signs("application", &["127.0.0.1"]));
    let named = client.named(new);
    comes_to_write(&pods[leader], &client).await;
    assert!(
        !writes(&pods[leader], &named).await,
        "a name of the new one"
    );
    let hosts = hosts(53);
    let mut hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    hosts.push(new);
    let renewed = ca.signs(MEMBER, &hosts);
    for pod in &mut pods {
        pod.certificates(&renewed);
    }
    for pod in &pods {
        comes_to_write(pod, &named).await;
        let own = Client::new(
            &format!("https://{}:{CLIENT_PORT}", pod.host),
            &Tls::new(Some(Path::new(&pod.path("tls")))),
        );
        let status = own.expect("a URL").status(Duration::from_secs(1)).await;
        status.expect("the agent's way");
    }
    // Peers connect with it: a member that comes back finds the others.
    pods[leader].kill_etcd();
    pods[leader].start_etcd();
    settled_leader(&pods).await;
}
