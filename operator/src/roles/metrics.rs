//! Figures of the role path for /metrics.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Bounds in seconds: the target is 0.05, a whole election 1.
const BOUNDS: [f64; 10] = [0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// Handles of the figures; a clone shares them.
#[derive(Clone, Debug)]
pub struct RoleMetrics(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    labelled: Histogram,
    changes: Counter,
}

impl Default for RoleMetrics {
    fn default() -> Self {
        Self(Arc::new(Figures {
            labelled: Histogram::new(BOUNDS),
            changes: Counter::default(),
        }))
    }
}

impl RoleMetrics {
    /// Makes the figures visible.
    pub fn register(&self, registry: &mut Registry) {
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
    }

    pub(super) fn leader_labelled(&self, took: Duration) {
        self.0.labelled.observe(took.as_secs_f64());
        self.0.changes.inc();
    }
}
