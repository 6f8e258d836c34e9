//! What real members' agents send of a failover, as a real collector has it. Needs the path of an `etcd` in `ETCD_BIN`,
//! as `members.rs` does, and that of a collector in `COLLECTOR_BIN`: `make traces` has both.

#[expect(dead_code, reason = "the bench serves other tests too")]
mod bench;
#[path = "../../failover-traces/tests/collector/mod.rs"]
mod collector;

use std::collections::{BTreeMap, BTreeSet};

use bench::failover::{GROWN, client};
use bench::{Pod, settled_leader, until};
use collector::{Collector, Received};
use failover_traces::{COLLECTOR_VARIABLE, FailoverId};
use kbagent_protocol::Role;
use tokio::time::sleep;

fn traced(collector: &Collector) -> Vec<Pod> {
    let pod = |n: u8| {
        let mut pod = Pod::new(68, n, &[0, 1, 2]).bootstraps();
        pod.set("KB_FAST_ELECTION", "true");
        pod.set(COLLECTOR_VARIABLE, &collector.address());
        pod.start()
    };
    (0..3).map(pod).collect()
}

/// The pod that leads once `dead` does not.
async fn next_leader(pods: &[Pod], dead: usize) -> usize {
    until("another leader", 20, async || {
        for (n, pod) in pods.iter().enumerate() {
            if n != dead && matches!(pod.role().await, Some((Role::Leader, _))) {
                return Some(n);
            }
        }
        None
    })
    .await
}

/// How long each pod was without etcd or a leader: those spans of a trace by the pod that sent them.
fn lacks<'a>(spans: &'a [Received], trace: &str) -> BTreeMap<&'a str, &'a Received> {
    let names = ["etcd-down", "leaderless"];
    let lack = |span: &&Received| span.trace == trace && names.contains(&span.name.as_str());
    let lacks = spans.iter().filter(lack);
    lacks
        .map(|span| (span.attributes["k8s.pod.name"].as_str(), span))
        .collect()
}

#[tokio::test]
#[ignore = "needs ETCD_BIN and COLLECTOR_BIN"]
async fn a_collector_has_what_all_agents_saw_of_a_failover_in_one_trace() {
    let collector = Collector::start().await;
    let mut pods = traced(&collector);
    let dead = settled_leader(&pods).await;
    sleep(GROWN).await;
    pods[dead].kill_etcd();
    let leader = next_leader(&pods, dead).await;
    let status = pods[leader].view().await.status.expect("a status");
    pods[dead].start_etcd();
    // The first write of a client ends it.
    let (stop, writes) = client(&pods);
    stop.send_replace(true);
    writes.await.expect("a write");
    let id = FailoverId::of(status.cluster_id.0, status.term).trace();
    let trace = format!("{:032x}", u128::from_be_bytes(id));
    let spans = collector
        .received("a span of each agent, and of the first write", |spans| {
            let mut of_trace = spans.iter().filter(|span| span.trace == trace);
            lacks(spans, &trace).len() == 3 && of_trace.any(|span| span.name == "first_write")
        })
        .await;
    for (pod, span) in lacks(&spans, &trace) {
        let died = pod == pods[dead].name;
        let name = if died { "etcd-down" } else { "leaderless" };
        assert_eq!(span.name, name, "{pod}: {span:?}");
        assert!(span.from < span.to || !died, "{span:?}");
        assert_eq!(span.attributes["etcd.leader"], pods[leader].name);
    }
    let spans = spans.iter().filter(|span| span.trace == trace);
    one_trace(&spans.collect::<Vec<_>>(), &pods[leader].name);
}

/// Every span was sent by an agent and is below the same one; only the new leader campaigned, and saw a write.
fn one_trace(spans: &[&Received], leader: &str) {
    for span in spans {
        assert_eq!(span.attributes["service.name"], "kbagent", "{span:?}");
        assert_eq!(span.parent, spans[0].parent, "{span:?}");
        assert!(!span.parent.is_empty() && span.from <= span.to, "{span:?}");
        if ["campaign", "first_write"].contains(&span.name.as_str()) {
            assert_eq!(span.attributes["k8s.pod.name"], leader, "{span:?}");
        }
    }
    let own: BTreeSet<&str> = spans.iter().map(|span| span.span.as_str()).collect();
    assert_eq!(own.len(), spans.len(), "{spans:#?}");
}
