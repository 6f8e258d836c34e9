//! A failover as this replica saw it, as the spans that it sends.

use failover_traces::{COLLECTOR_VARIABLE, FailoverId, Sender, Span};
use kbagent_protocol::Id;

use super::board::SetKey;
use super::failover::Failover;
use super::trace::{Election, Part, parts};

/// One failover to be sent.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) set: SetKey,
    /// etcd's cluster, where it is known: agents send their spans under it.
    pub(super) cluster: Option<Id>,
    pub(super) failover: Failover,
    pub(super) election: Option<Election>,
}

/// Takes traces; none are kept when no collector is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traces(Sender);

impl Traces {
    /// Starts the sender to a collector, `http://HOST:4318`, if one is named. One that cannot be is logged: Clusters
    /// must not suffer for it.
    pub(crate) fn start(collector: Option<&str>, identity: &str) -> Self {
        let Some(collector) = collector else {
            return Self::default();
        };
        let instance = vec![("service.instance.id", identity.to_owned())];
        match Sender::start(collector, "etcd-operator", instance) {
            Ok(sender) => Self(sender),
            Err(error) => {
                tracing::error!(%error, "no traces of failovers are sent: correct {COLLECTOR_VARIABLE}");
                Self::default()
            }
        }
    }

    pub(super) fn send(&self, trace: &Trace) {
        self.0.send(spans(trace));
    }
}

fn spans(trace: &Trace) -> Vec<Span> {
    let failover = &trace.failover;
    let parts = parts(failover, trace.election.as_ref());
    let began = parts.iter().map(|part| part.from).min();
    let ended = parts.iter().map(|part| part.to).max();
    let whole = Part {
        name: "failover",
        from: began.unwrap_or(failover.began),
        to: ended.unwrap_or(failover.began),
    };
    let id = match trace.cluster {
        Some(cluster) => FailoverId::of(cluster.0, failover.term),
        None => FailoverId::unshared(),
    };
    let (namespace, instance_set) = &trace.set;
    let attributes = vec![
        ("k8s.namespace.name", namespace.clone()),
        ("kubeblocks.instance_set", instance_set.clone()),
        ("etcd.leader.before", failover.from.clone()),
        ("etcd.leader", failover.to.clone()),
        ("etcd.term", failover.term.to_string()),
        ("etcd.news", format!("{:?}", failover.news)),
    ];
    let span = |part: &Part, whole, attributes| Span {
        failover: id,
        whole,
        name: part.name,
        from: part.from,
        to: part.to,
        attributes,
    };
    let below = parts.iter().map(|part| span(part, false, Vec::new()));
    let mut all = vec![span(&whole, true, attributes)];
    all.extend(below);
    all
}

#[cfg(test)]
#[path = "../../failover-traces/tests/collector/mod.rs"]
mod collector;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::{Duration, Instant};

    use kbagent_protocol::{Campaign, Outcome};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    use super::super::failover::News;
    use super::collector::Collector;
    use super::*;

    fn trace() -> Trace {
        let began = Instant::now();
        Trace {
            cluster: Some(Id(9)),
            set: ("shop".to_owned(), "db-etcd".to_owned()),
            failover: Failover {
                from: "db-etcd-0".to_owned(),
                to: "db-etcd-1".to_owned(),
                term: 5,
                news: News::Lost,
                began,
                unlabelled: Some(Duration::from_millis(5)),
                labelled: Duration::from_millis(20),
                endpoints: Some(Duration::from_millis(50)),
            },
            election: Some(Election {
                pod: "db-etcd-1".to_owned(),
                campaign: Campaign {
                    term: 4,
                    leader: Id(7),
                    suspected: false,
                    outcome: Outcome::Won,
                    after_ms: 10,
                },
                told: began,
            }),
        }
    }

    #[test]
    fn spans_are_parts_of_one_trace_below_one_that_spans_them() {
        let trace = trace();
        let spans = spans(&trace);
        let names: Vec<_> = spans.iter().map(|span| span.name).collect();
        let expected = ["failover", "election", "strip", "label", "endpoints"];
        assert_eq!(names, expected);
        let (root, parts) = spans.split_first().expect("a root");
        assert!(root.whole);
        for part in parts {
            assert!(!part.whole && part.failover == root.failover);
            assert!(part.from >= root.from && part.to <= root.to);
        }
        assert_eq!(root.to - root.from, Duration::from_millis(60));
    }

    #[tokio::test]
    async fn a_collector_that_cannot_be_stops_nothing() {
        let off = format!("{:?}", Traces::default());
        for wrong in [
            "collector:4318",
            "https://collector:4318",
            "http://a b",
            "http://",
        ] {
            let traces = Traces::start(Some(wrong), "operator-0");
            assert_eq!(format!("{traces:?}"), off, "{wrong}");
            traces.send(&trace());
        }
        assert_eq!(format!("{:?}", Traces::start(None, "operator-0")), off);
        let on = Traces::start(Some("http://collector:4318"), "operator-0");
        assert_ne!(format!("{on:?}"), off);
    }

    #[tokio::test]
    async fn a_failover_reaches_the_collector_as_one_request() {
        let collector = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", collector.local_addr().expect("its address"));
        Traces::start(Some(&url), "operator-0").send(&trace());
        let (mut peer, _) = collector.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !contains(&request, b"endpoints") {
            let read = peer.read_buf(&mut request).await.expect("a request");
            assert!(read > 0, "the whole request: {}", request.escape_ascii());
        }
        peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await
            .expect("the answer is taken");
        assert!(request.starts_with(b"POST /v1/traces HTTP/1.1\r\n"));
        let id = FailoverId::of(9, 5).trace();
        assert!(contains(&request, &id), "the trace that agents send to");
        for part in [
            "failover",
            "election",
            "strip",
            "label",
            "db-etcd-1",
            "shop",
        ] {
            assert!(contains(&request, part.as_bytes()), "{part}");
        }
    }

    /// What an agent saw of the same failover.
    fn of_an_agent(trace: &Trace) -> Span {
        Span {
            failover: FailoverId::of(9, 5),
            whole: false,
            name: "leaderless",
            from: trace.failover.began,
            to: trace.failover.began + Duration::from_millis(30),
            attributes: Vec::new(),
        }
    }

    #[tokio::test]
    #[ignore = "needs COLLECTOR_BIN"]
    async fn a_collector_has_one_trace_of_what_the_operator_and_an_agent_sent() {
        let collector = Collector::start().await;
        let trace = trace();
        // All of it is over when it is sent.
        sleep(Duration::from_millis(100)).await;
        let address = collector.address();
        let traces = Traces::start(Some(&address), "operator-0");
        traces.send(&trace);
        let agent = Sender::start(&address, "kbagent", Vec::new()).expect("a sender");
        agent.send(vec![of_an_agent(&trace)]);
        let six = collector.received("six spans", |spans| spans.len() >= 6);
        let spans = six.await;
        let names: BTreeSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
        let expected = [
            "election",
            "endpoints",
            "failover",
            "label",
            "leaderless",
            "strip",
        ];
        assert_eq!(names, BTreeSet::from(expected));
        let root = spans.iter().find(|span| span.name == "failover");
        let root = root.expect("a root");
        assert_eq!(root.parent, "");
        assert_eq!(root.to - root.from, 60_000_000);
        for (key, value) in [
            ("service.name", "etcd-operator"),
            ("service.instance.id", "operator-0"),
            ("k8s.namespace.name", "shop"),
            ("etcd.leader", "db-etcd-1"),
            ("etcd.term", "5"),
        ] {
            assert_eq!(root.attributes[key], value);
        }
        let id = u128::from_be_bytes(FailoverId::of(9, 5).trace());
        for span in &spans {
            assert_eq!(span.trace, format!("{id:032x}"), "{span:?}");
            let below = span.span == root.span || span.parent == root.span;
            assert!(below, "{span:?}");
        }
    }

    fn contains(text: &[u8], wanted: &[u8]) -> bool {
        text.windows(wanted.len()).any(|window| window == wanted)
    }
}
