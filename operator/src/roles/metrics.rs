//! Figures of the role path for /metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::failover::Failover;

/// Bounds in seconds: the target is 0.05, a whole election 1.
const BOUNDS: [f64; 10] = [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// A part of a failover; each begins where the one before ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Part {
    part: &'static str,
}

fn part() -> Histogram {
    Histogram::new(BOUNDS)
}

/// Handles of the figures; a clone shares them.
#[derive(Clone, Debug)]
pub(crate) struct RoleMetrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    labelled: Histogram,
    changes: Counter,
    parts: Family<Part, Histogram, fn() -> Histogram>,
}

impl Default for RoleMetrics {
    fn default() -> Self {
        Self(Arc::new(Figures {
            labelled: Histogram::new(BOUNDS),
            changes: Counter::default(),
            parts: Family::new_with_constructor(part),
        }))
    }
}

impl RoleMetrics {
    /// Makes the figures visible.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "etcd_operator_role_change_seconds",
            "Time from hearing of a new leader until its pod is labelled",
            self.0.labelled.clone(),
        );
        registry.register(
            "etcd_operator_leader_labels",
            "Leader labels written",
            self.0.changes.clone(),
        );
        registry.register(
            "etcd_operator_failover_seconds",
            "Parts of a failover, as this replica saw them: see docs/failover.md",
            self.0.parts.clone(),
        );
    }

    /// A failover has ended. Where the old label was not seen to go, there is one part less.
    pub(super) fn failed_over(&self, failover: &Failover) {
        if let Some(unlabelled) = failover.unlabelled {
            self.took("strip", unlabelled);
        }
        let before = failover.unlabelled.unwrap_or_default();
        self.took("label", failover.labelled.saturating_sub(before));
    }

    /// The service lists a leader that was labelled so long ago.
    pub(super) fn endpoints_followed(&self, took: Duration) {
        self.took("endpoints", took);
    }

    fn took(&self, part: &'static str, took: Duration) {
        let parts = &self.0.parts;
        parts
            .get_or_create(&Part { part })
            .observe(took.as_secs_f64());
    }

    pub(super) fn leader_labelled(&self, took: Duration) {
        self.0.labelled.observe(took.as_secs_f64());
        self.0.changes.inc();
    }
}
