//! Sends failovers as OpenTelemetry traces, by OTLP over HTTP. Off unless a collector is named. Nothing waits for it.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::board::SetKey;
use super::failover::Failover;
use super::trace::{Election, Part, parts};

/// Traces that wait for the collector; what does not fit is dropped; log and figures still have it.
const WAITING: usize = 64;
/// Longest time for one export.
const PATIENCE: Duration = Duration::from_secs(5);

/// One failover to be sent.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) set: SetKey,
    pub(super) failover: Failover,
    pub(super) election: Option<Election>,
}

/// Takes traces; none are kept when no collector is named.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traces(Option<mpsc::Sender<Trace>>);

impl Traces {
    /// Starts the sender to a collector: `http://HOST:4318`, to which `/v1/traces` is added.
    ///
    /// # Errors
    /// When that is no URL of that form.
    pub(crate) fn start(collector: &str, identity: &str) -> anyhow::Result<Self> {
        let url = collector.trim_end_matches('/');
        if !url.starts_with("http://") || url.len() == "http://".len() {
            anyhow::bail!(
                "{collector:?} is no address of a collector: give http://HOST:PORT (OTLP over HTTP; for TLS put a \
                 collector of your own in between)"
            );
        }
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(HyperClient::with_default_connector(PATIENCE, None))
            .with_endpoint(format!("{url}/v1/traces"))
            .with_timeout(PATIENCE)
            .build()
            .with_context(|| format!("failed to make an exporter of traces to {collector}"))?;
        let resource = Resource::builder_empty()
            .with_service_name("etcd-operator")
            .with_attribute(KeyValue::new("service.instance.id", identity.to_owned()))
            .build();
        exporter.set_resource(&resource);
        let (sender, mut receiver) = mpsc::channel::<Trace>(WAITING);
        tokio::spawn(async move {
            while let Some(trace) = receiver.recv().await {
                let spans = spans(&trace, Instant::now(), SystemTime::now());
                match exporter.export(spans).await {
                    Ok(()) => debug!(term = trace.failover.term, "trace sent"),
                    Err(error) => warn!(%error, "failed to send the trace of a failover"),
                }
            }
        });
        Ok(Self(Some(sender)))
    }

    pub(super) fn send(&self, trace: Trace) {
        if let Some(sender) = &self.0 {
            // Full only when the collector does not answer.
            let _lost = sender.try_send(trace);
        }
    }
}

fn spans(trace: &Trace, now: Instant, wall: SystemTime) -> Vec<SpanData> {
    let failover = &trace.failover;
    let parts = parts(failover, trace.election.as_ref());
    let began = parts.iter().map(|part| part.from).min();
    let ended = parts.iter().map(|part| part.to).max();
    let whole = Part {
        name: "failover",
        from: began.unwrap_or(failover.began),
        to: ended.unwrap_or(failover.began),
    };
    let id = TraceId::from(rand::random::<u128>());
    let root = SpanId::from(rand::random::<u64>());
    let (namespace, instance_set) = &trace.set;
    let text = |key: &'static str, value: &str| KeyValue::new(key, value.to_owned());
    let attributes = vec![
        text("k8s.namespace.name", namespace),
        text("kubeblocks.instance_set", instance_set),
        text("etcd.leader.before", &failover.from),
        text("etcd.leader", &failover.to),
        text("etcd.term", &failover.term.to_string()),
        text("etcd.news", &format!("{:?}", failover.news)),
    ];
    let at = |instant: Instant| wall - now.saturating_duration_since(instant);
    let span = |part: &Part, own: SpanId, parent: SpanId, attributes| SpanData {
        span_context: SpanContext::new(id, own, TraceFlags::SAMPLED, false, TraceState::default()),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(part.name),
        start_time: at(part.from),
        end_time: at(part.to),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("etcd-operator").build(),
    };
    let below = parts.iter().map(|part| {
        let own = SpanId::from(rand::random::<u64>());
        span(part, own, root, Vec::new())
    });
    let mut all = vec![span(&whole, root, SpanId::INVALID, attributes)];
    all.extend(below);
    all
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::{Campaign, Id, Outcome};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::failover::News;
    use super::*;

    fn trace() -> Trace {
        let began = Instant::now();
        Trace {
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
    fn spans_are_parts_of_one_trace_below_one_root_that_spans_them() {
        let trace = trace();
        let later = trace.failover.began + Duration::from_secs(1);
        let spans = spans(&trace, later, SystemTime::now());
        let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
        let expected = ["failover", "election", "strip", "label", "endpoints"];
        assert_eq!(names, expected);
        let (root, parts) = spans.split_first().expect("a root");
        for part in parts {
            assert_eq!(part.parent_span_id, root.span_context.span_id());
            assert_eq!(part.span_context.trace_id(), root.span_context.trace_id());
            assert!(part.start_time >= root.start_time && part.end_time <= root.end_time);
        }
        let whole = root
            .end_time
            .duration_since(root.start_time)
            .expect("in order");
        assert_eq!(whole, Duration::from_millis(60));
    }

    #[test]
    fn an_address_that_cannot_be_is_refused_with_what_can() {
        for wrong in ["collector:4318", "https://collector:4318", "http://", ""] {
            let error = Traces::start(wrong, "operator-0").expect_err(wrong);
            assert!(error.to_string().contains("http://HOST:PORT"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_failover_reaches_the_collector_as_one_request() {
        let collector = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", collector.local_addr().expect("its address"));
        Traces::start(&url, "operator-0")
            .expect("traces")
            .send(trace());
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

    fn contains(text: &[u8], wanted: &[u8]) -> bool {
        text.windows(wanted.len()).any(|window| window == wanted)
    }
}
