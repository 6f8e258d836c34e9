//! Figures of the operator and their text for /metrics.
//!
//! Labels are fixed words only (kind, result): never names of objects, whose number has no bound.

mod backups;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::watches::Watches;

pub(crate) use backups::{ArchiveFaults, BackupFigures, BackupTimes};

/// Bounds in seconds of a reconcile's time.
const BOUNDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// How a round of an object ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundEnd {
    /// Well.
    Done,
    /// By what happens in the normal course of things, such as another client's write: it is tried again.
    Again,
    /// By an error.
    Failed,
}

impl RoundEnd {
    /// Of a round with this result, by which errors are `expected`.
    pub(crate) fn of<T, E>(result: &Result<T, E>, expected: impl FnOnce(&E) -> bool) -> Self {
        match result {
            Ok(_) => RoundEnd::Done,
            Err(error) if expected(error) => RoundEnd::Again,
            Err(_) => RoundEnd::Failed,
        }
    }
}

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
    /// What is seen of Backups.
    pub backups: BackupFigures,
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
        let backups = BackupFigures::default();
        backups.register(&mut registry);
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
            backups,
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
    pub(crate) fn reconciled(&self, kind: &'static str, end: RoundEnd, took: Duration) {
        let result = match end {
            RoundEnd::Done => "ok",
            RoundEnd::Again => "again",
            RoundEnd::Failed => "error",
        };
        self.reconciles
            .get_or_create(&Reconcile { kind, result })
            .inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Tells whether this replica holds the lease. Without it nothing of Backups is known any more.
    pub(crate) fn lease_held(&self, held: bool) {
        self.lease.set(i64::from(held));
        if !held {
            self.backups.clear();
        }
    }

    /// Tells how many admission policies and bindings are not as they should be.
    pub(crate) fn admission_missing(&self, count: usize) {
        self.admission.set(i64::try_from(count).unwrap_or(i64::MAX));
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
    fn what_is_known_of_backups_goes_with_the_lease() {
        let metrics = Metrics::default();
        metrics.lease_held(true);
        let times = BackupTimes {
            asked: Some(100),
            proven: Some(200),
        };
        let faults = ArchiveFaults {
            gap: true,
            silent: true,
            waits: true,
        };
        metrics
            .backups
            .backup("n/db".into(), "n/full".into(), times);
        metrics.backups.archive("n/pitr", faults);
        let told = || {
            let text = metrics.text().expect("text");
            [
                "lease_held",
                "backup_last_proven_timestamp_seconds",
                "archives_with_gap",
                "archives_silent",
                "archives_waiting",
            ]
            .map(|name| {
                let head = format!("etcd_operator_{name} ");
                let mut values = text.lines().filter_map(|line| line.strip_prefix(&head));
                values.next().map(str::to_owned).expect("a figure")
            })
        };
        assert_eq!(told(), ["1", "200", "1", "1", "1"]);
        metrics.lease_held(false);
        assert_eq!(told(), ["0"; 5]);
        metrics.lease_held(true);
        assert_eq!(
            told(),
            ["1", "0", "0", "0", "0"],
            "another tenure begins with nothing"
        );
    }

    #[test]
    fn a_reconcile_is_counted_by_kind_and_result() {
        let metrics = Metrics::default();
        for result in [Ok(()), Err("conflict"), Err("conflict"), Err("quota")] {
            let end = RoundEnd::of(&result, |error| *error == "conflict");
            metrics.reconciled("Cluster", end, Duration::from_millis(3));
        }
        let text = metrics.text().expect("text");
        for (result, count) in [("ok", 1), ("again", 2), ("error", 1)] {
            let line = format!(
                r#"etcd_operator_reconciles_total{{kind="Cluster",result="{result}"}} {count}"#
            );
            assert!(text.contains(&line), "{line}: {text}");
        }
    }
}
