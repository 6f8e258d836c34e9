//! Figures of the operator and their text for /metrics.
//!
//! Labels are fixed words only (kind, result): never names of objects, whose number has no bound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::watches::Watches;

/// Bounds in seconds of a reconcile's time.
const BOUNDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Labels of a reconcile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconcile {
    kind: &'static str,
    result: &'static str,
}

/// Handles of all figures; a clone shares them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Mutex<Registry>>,
    reconciles: Family<Reconcile, Counter>,
    seconds: Histogram,
    lease: Gauge,
    admission: Gauge,
    /// Of each cluster that has backups when the newest verified one was completed, in seconds since 1970.
    proven: Arc<Mutex<BTreeMap<String, i64>>>,
    oldest: Gauge,
    /// Archives with a gap.
    gaps: Arc<Mutex<BTreeSet<String>>>,
    gapped: Gauge,
    /// What is seen of the API server.
    pub watches: Watches,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let reconciles = Family::<Reconcile, Counter>::default();
        let seconds = Histogram::new(BOUNDS);
        let lease = Gauge::default();
        let admission = Gauge::default();
        registry.register(
            "etcd_operator_admission_missing",
            "Admission policies and bindings that are not installed as they should be; the log names them",
            admission.clone(),
        );
        let oldest = Gauge::default();
        registry.register(
            "etcd_operator_backup_last_proven_timestamp_seconds",
            "When the newest verified backup was completed, of the cluster for which that is longest ago; 0 without any",
            oldest.clone(),
        );
        let gapped = Gauge::default();
        registry.register(
            "etcd_operator_archives_with_gap",
            "Continuous archives that have lost revisions, with no newer full backup yet",
            gapped.clone(),
        );
        let watches = Watches::default();
        watches.register(&mut registry);
        registry.register("etcd_operator_reconciles", "Reconciles", reconciles.clone());
        registry.register(
            "etcd_operator_reconcile_seconds",
            "Time of a reconcile",
            seconds.clone(),
        );
        registry.register(
            "etcd_operator_lease_held",
            "1 while this replica holds the lease of the reconcilers",
            lease.clone(),
        );
        Metrics {
            registry: Arc::new(Mutex::new(registry)),
            reconciles,
            seconds,
            lease,
            admission,
            proven: Arc::default(),
            oldest,
            gaps: Arc::default(),
            gapped,
            watches,
        }
    }
}

impl Metrics {
    /// Lets another module register its figures.
    pub(crate) fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a reconcile of a kind.
    pub(crate) fn reconciled(&self, kind: &'static str, ok: bool, took: Duration) {
        let result = if ok { "ok" } else { "error" };
        self.reconciles
            .get_or_create(&Reconcile { kind, result })
            .inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Tells whether this replica holds the lease.
    pub(crate) fn lease_held(&self, held: bool) {
        self.lease.set(i64::from(held));
    }

    /// Tells how many admission policies and bindings are not as they should be.
    pub(crate) fn admission_missing(&self, count: usize) {
        self.admission.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Tells when the newest verified backup of a cluster was completed; `None` of one that has no backups, or is gone.
    pub(crate) fn backup_proven(&self, cluster: String, at: Option<i64>) {
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        match at {
            Some(at) => proven.insert(cluster, at),
            None => proven.remove(&cluster),
        };
        self.oldest
            .set(proven.values().min().copied().unwrap_or_default());
    }

    /// Tells whether an archive has a gap.
    pub(crate) fn archive_gap(&self, archive: String, gap: bool) {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        if gap {
            gaps.insert(archive);
        } else {
            gaps.remove(&archive);
        }
        self.gapped
            .set(i64::try_from(gaps.len()).unwrap_or(i64::MAX));
    }

    /// The text for /metrics.
    ///
    /// # Errors
    /// Never in practice: only when a figure cannot be written into a string.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        self.watches.refresh();
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod documents;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_whose_proven_backup_is_oldest_counts() {
        let metrics = Metrics::default();
        let told = || {
            let text = metrics.text().expect("text");
            let name = "etcd_operator_backup_last_proven_timestamp_seconds ";
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.expect("a figure").to_owned()
        };
        assert_eq!(told(), "0");
        metrics.backup_proven("n/a".into(), Some(200));
        metrics.backup_proven("n/b".into(), Some(100));
        assert_eq!(told(), "100");
        metrics.backup_proven("n/b".into(), Some(300));
        assert_eq!(told(), "200");
        metrics.backup_proven("n/a".into(), None);
        assert_eq!(told(), "300");
    }

    #[test]
    fn each_archive_with_a_gap_counts_once_until_it_has_none() {
        let metrics = Metrics::default();
        let told = || {
            let text = metrics.text().expect("text");
            let mut lines = text.lines();
            let line = lines.find_map(|line| line.strip_prefix("etcd_operator_archives_with_gap "));
            line.expect("a figure").to_owned()
        };
        metrics.archive_gap("n/a".into(), true);
        metrics.archive_gap("n/a".into(), true);
        metrics.archive_gap("n/b".into(), true);
        assert_eq!(told(), "2");
        metrics.archive_gap("n/a".into(), false);
        assert_eq!(told(), "1");
    }

    #[test]
    fn a_reconcile_is_counted_by_kind_and_result() {
        let metrics = Metrics::default();
        metrics.reconciled("Cluster", false, Duration::from_millis(3));
        let text = metrics.text().expect("text");
        assert!(
            text.contains(r#"etcd_operator_reconciles_total{kind="Cluster",result="error"} 1"#),
            "{text}"
        );
    }
}
