//! Failovers as OpenTelemetry traces, by OTLP over HTTP. Agents and operators send what they saw themselves, and all of
//! it is one trace: its identifier follows from etcd's cluster and the new leader's term, which all of them know. Off
//! unless a collector is named. Nothing waits for it.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use ring::digest;
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// Environment variable that names the collector.
pub const COLLECTOR_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Batches that wait for the collector; what does not fit is dropped.
const WAITING: usize = 64;
/// Longest time for one export.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sets these identifiers apart from any other use of the same digest.
const DOMAIN: &[u8] = b"etcd failover trace 1";

/// A collector to which nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum BadCollector {
    /// Not the address of one.
    #[error(
        "{0:?} is no address of a collector: give http://HOST:PORT (OTLP over HTTP; for TLS put a collector of your own \
         in between)"
    )]
    Address(String),
    /// The exporter refuses it.
    #[error("failed to make an exporter of traces")]
    Exporter(#[from] ExporterBuildError),
}

/// Where spans go, of a collector given as `http://HOST:4318`.
///
/// # Errors
/// When that is no address of this form.
pub fn endpoint(collector: &str) -> Result<String, BadCollector> {
    let bad = || BadCollector::Address(collector.to_owned());
    let host = collector.trim_end_matches('/');
    let host = host.strip_prefix("http://").ok_or_else(bad)?;
    let printable = host.chars().all(|c| c.is_ascii_graphic());
    if host.is_empty() || !printable {
        return Err(bad());
    }
    Ok(format!("http://{host}/v1/traces"))
}

/// Identifier of one failover's trace, and of the span that holds all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailoverId {
    trace: TraceId,
    root: SpanId,
}

impl FailoverId {
    /// Of the failover in etcd's cluster that gave a leader to this term; the same for everyone who saw it.
    #[must_use]
    pub fn of(cluster: u64, term: u64) -> Self {
        let told = [DOMAIN, &cluster.to_be_bytes(), &term.to_be_bytes()].concat();
        let hash = digest::digest(&digest::SHA256, &told);
        let (mut trace, mut root) = ([0; 16], [0; 8]);
        let bytes = hash.as_ref().iter().copied();
        let slots = trace.iter_mut().chain(root.iter_mut());
        slots.zip(bytes).for_each(|(slot, byte)| *slot = byte);
        Self {
            trace: TraceId::from_bytes(trace),
            root: SpanId::from_bytes(root),
        }
    }

    /// Of one whose cluster is not known: shared with no other.
    #[must_use]
    pub fn unshared() -> Self {
        Self {
            trace: TraceId::from(rand::random::<u128>()),
            root: SpanId::from(rand::random::<u64>()),
        }
    }

    /// The trace's identifier as it is sent.
    #[must_use]
    pub fn trace(&self) -> [u8; 16] {
        self.trace.to_bytes()
    }
}

/// What one process saw of a failover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Of which.
    pub failover: FailoverId,
    /// True for the span that holds all others, which one process sends.
    pub whole: bool,
    /// Its name.
    pub name: &'static str,
    /// Its begin.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
    /// What else is known.
    pub attributes: Vec<(&'static str, String)>,
}

/// Takes spans; drops them when no collector is named.
#[derive(Clone, Debug, Default)]
pub struct Sender(Option<mpsc::Sender<Vec<Span>>>);

impl Sender {
    /// Starts sending to a collector, `http://HOST:4318`, in the name of a service with these attributes.
    ///
    /// # Errors
    /// When that is no address of a collector.
    pub fn start(
        collector: &str,
        service: &'static str,
        attributes: Vec<(&'static str, String)>,
    ) -> Result<Self, BadCollector> {
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(HyperClient::with_default_connector(PATIENCE, None))
            .with_endpoint(endpoint(collector)?)
            .with_timeout(PATIENCE)
            .build()?;
        let resource = Resource::builder_empty()
            .with_service_name(service)
            .with_attributes(key_values(attributes))
            .build();
        exporter.set_resource(&resource);
        let (sender, mut receiver) = mpsc::channel::<Vec<Span>>(WAITING);
        tokio::spawn(async move {
            while let Some(spans) = receiver.recv().await {
                let (now, wall) = (Instant::now(), SystemTime::now());
                let spans: Vec<_> = spans
                    .into_iter()
                    .map(|span| data(span, service, now, wall))
                    .collect();
                let count = spans.len();
                match exporter.export(spans).await {
                    Ok(()) => debug!(count, "spans of a failover sent"),
                    Err(error) => warn!(%error, "failed to send spans of a failover"),
                }
            }
        });
        Ok(Self(Some(sender)))
    }

    /// Sends them in one request, when it is their turn.
    pub fn send(&self, spans: Vec<Span>) {
        if let Some(sender) = &self.0 {
            // Full only when the collector does not answer.
            let _lost = sender.try_send(spans);
        }
    }
}

fn key_values(attributes: Vec<(&'static str, String)>) -> Vec<KeyValue> {
    let all = attributes.into_iter();
    all.map(|(key, value)| KeyValue::new(key, value)).collect()
}

/// As it is sent; `now` and `wall` are the same moment.
fn data(span: Span, service: &'static str, now: Instant, wall: SystemTime) -> SpanData {
    let FailoverId { trace, root } = span.failover;
    let (own, parent) = if span.whole {
        (root, SpanId::INVALID)
    } else {
        (SpanId::from(rand::random::<u64>()), root)
    };
    let at = |instant: Instant| wall - now.saturating_duration_since(instant);
    SpanData {
        span_context: SpanContext::new(
            trace,
            own,
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(span.name),
        start_time: at(span.from),
        end_time: at(span.to),
        attributes: key_values(span.attributes),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder(service).build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(whole: bool, from: Instant) -> Span {
        Span {
            failover: FailoverId::of(7, 5),
            whole,
            name: "label",
            from,
            to: from + Duration::from_millis(40),
            attributes: vec![("etcd.term", "5".to_owned())],
        }
    }

    #[test]
    fn everyone_who_saw_a_failover_has_its_identifier_and_no_other_has_it() {
        let one = FailoverId::of(7, 5);
        assert_eq!(one, FailoverId::of(7, 5));
        for other in [
            FailoverId::of(7, 6),
            FailoverId::of(5, 7),
            FailoverId::of(8, 5),
        ] {
            assert_ne!(one.trace, other.trace);
            assert_ne!(one.root, other.root);
        }
        assert_ne!(FailoverId::unshared(), FailoverId::unshared());
        assert_ne!(one.trace, TraceId::INVALID);
    }

    #[test]
    fn a_part_is_below_the_whole_of_its_trace_and_keeps_its_times() {
        let from = Instant::now();
        let (now, wall) = (from + Duration::from_secs(1), SystemTime::now());
        let whole = data(span(true, from), "operator", now, wall);
        let part = data(span(false, from), "kbagent", now, wall);
        assert_eq!(whole.parent_span_id, SpanId::INVALID);
        assert_eq!(part.parent_span_id, whole.span_context.span_id());
        assert_eq!(part.span_context.trace_id(), whole.span_context.trace_id());
        assert_ne!(part.span_context.span_id(), whole.span_context.span_id());
        assert_eq!(part.start_time, wall - Duration::from_secs(1));
        let took = part.end_time.duration_since(part.start_time);
        assert_eq!(took.expect("in order"), Duration::from_millis(40));
    }

    #[test]
    fn an_address_that_cannot_be_is_refused_with_what_can() {
        for wrong in [
            "collector:4318",
            "https://collector:4318",
            "http://",
            "http:///",
            "",
            "http://a b",
        ] {
            let error = endpoint(wrong).expect_err(wrong);
            assert!(error.to_string().contains("http://HOST:PORT"), "{error}");
        }
        let right = endpoint("http://collector.observe:4318/").expect("an address");
        assert_eq!(right, "http://collector.observe:4318/v1/traces");
    }
}
