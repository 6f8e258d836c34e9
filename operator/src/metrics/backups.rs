//! Figures of Backups, from the rounds of those that reconcile them. Maps have names, figures only numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What is wrong with a continuous archive; nothing of one that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ArchiveFaults {
    /// It has lost revisions, with no newer full backup yet.
    pub gap: bool,
    /// It should be written, and nothing reports that it is.
    pub silent: bool,
    /// It has not begun, for want of a first full backup.
    pub waits: bool,
}

/// Times of a full backup, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackupTimes {
    /// When it was asked for.
    pub asked: Option<i64>,
    /// When it was completed, if it is verified.
    pub proven: Option<i64>,
}

#[derive(Debug, Default)]
struct Known {
    /// By cluster and Backup.
    times: BTreeMap<String, BTreeMap<String, BackupTimes>>,
    gaps: BTreeSet<String>,
    silent: BTreeSet<String>,
    waiting: BTreeSet<String>,
}

/// Handles of the figures; a clone shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackupFigures {
    known: Arc<Mutex<Known>>,
    oldest: Gauge,
    gapped: Gauge,
    silent: Gauge,
    waiting: Gauge,
}

impl BackupFigures {
    /// Makes the figures visible.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "etcd_operator_backup_last_proven_timestamp_seconds",
            "When the newest verified backup was completed, of the cluster for which that is longest ago; 0 without any",
            self.oldest.clone(),
        );
        registry.register(
            "etcd_operator_archives_with_gap",
            "Continuous archives that have lost revisions, with no newer full backup yet",
            self.gapped.clone(),
        );
        registry.register(
            "etcd_operator_archives_silent",
            "Continuous archives that should be written and of which no writer reports",
            self.silent.clone(),
        );
        registry.register(
            "etcd_operator_archives_waiting",
            "Continuous archives that have not begun, for want of a first full backup",
            self.waiting.clone(),
        );
    }

    /// Tells the times of a Backup of a cluster; none of one whose cluster is gone.
    pub(crate) fn backup(&self, cluster: String, backup: String, times: BackupTimes) {
        let mut known = self.lock();
        known
            .times
            .entry(cluster)
            .or_default()
            .insert(backup, times);
        self.show(&known);
    }

    /// Tells that a Backup is gone.
    pub(crate) fn gone(&self, backup: &str) {
        let mut known = self.lock();
        known.forget(|name| name == backup);
        self.show(&known);
    }

    /// Tells which Backups there are in a namespace: one whose finalizer a user took away was not seen to go.
    pub(crate) fn are(&self, namespace: &str, backups: &BTreeSet<String>) {
        let within = |name: &str| {
            name.split_once('/')
                .is_some_and(|(own, _)| own == namespace)
        };
        let mut known = self.lock();
        known.forget(|name| within(name) && !backups.contains(name));
        self.show(&known);
    }

    /// Tells what is wrong with an archive.
    pub(crate) fn archive(&self, archive: &str, faults: ArchiveFaults) {
        let mut known = self.lock();
        mark(&mut known.gaps, archive, faults.gap);
        mark(&mut known.silent, archive, faults.silent);
        mark(&mut known.waiting, archive, faults.waits);
        self.show(&known);
    }

    /// Forgets everything: who takes over knows it.
    pub(super) fn clear(&self) {
        let mut known = self.lock();
        *known = Known::default();
        self.show(&known);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, known: &Known) {
        let count = |names: &BTreeSet<String>| i64::try_from(names.len()).unwrap_or(i64::MAX);
        let oldest = known.times.values().filter_map(newest).min();
        self.oldest.set(oldest.unwrap_or_default());
        self.gapped.set(count(&known.gaps));
        self.silent.set(count(&known.silent));
        self.waiting.set(count(&known.waiting));
    }
}

impl Known {
    fn forget(&mut self, is_gone: impl Fn(&str) -> bool) {
        for times in self.times.values_mut() {
            times.retain(|name, _| !is_gone(name));
        }
        self.times.retain(|_, times| !times.is_empty());
        self.gaps.retain(|name| !is_gone(name));
        self.silent.retain(|name| !is_gone(name));
        self.waiting.retain(|name| !is_gone(name));
    }
}

/// When the newest verified backup of a cluster was completed. Where nothing is verified, that is so since the first
/// was to be made.
fn newest(times: &BTreeMap<String, BackupTimes>) -> Option<i64> {
    let proven = times.values().filter_map(|times| times.proven).max();
    proven.or_else(|| times.values().filter_map(|times| times.asked).min())
}

fn mark(names: &mut BTreeSet<String>, name: &str, marked: bool) {
    if marked {
        names.insert(name.to_owned());
    } else {
        names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_whose_proven_backup_is_oldest_counts() {
        let figures = BackupFigures::default();
        let told = || figures.oldest.get();
        let tell = |cluster: &str, backup: &str, asked, proven| {
            let times = BackupTimes { asked, proven };
            figures.backup(cluster.into(), backup.into(), times);
        };
        assert_eq!(told(), 0);
        tell("n/a", "n/a1", Some(190), Some(200));
        tell("n/b", "n/b1", Some(90), Some(100));
        assert_eq!(told(), 100);
        tell("n/b", "n/b2", Some(290), Some(300));
        tell("n/b", "n/b1", Some(90), Some(100));
        assert_eq!(told(), 200, "an older one says nothing of a newer one");
        tell("n/a", "n/a1", None, None);
        assert_eq!(told(), 300, "the cluster is gone");
        tell("n/c", "n/c1", Some(50), None);
        tell("n/c", "n/c2", Some(70), None);
        assert_eq!(told(), 50, "none is verified since the first was made");
    }

    #[test]
    fn a_backup_that_is_gone_counts_no_more() {
        let figures = BackupFigures::default();
        for (backup, at) in [("n/old", 100), ("n/new", 300), ("m/other", 900)] {
            let proven = Some(at);
            let times = BackupTimes {
                asked: proven,
                proven,
            };
            let cluster = if backup == "m/other" { "m/db" } else { "n/db" };
            figures.backup(cluster.into(), backup.into(), times);
        }
        assert_eq!(figures.oldest.get(), 300);
        figures.archive(
            "n/new",
            ArchiveFaults {
                gap: true,
                silent: true,
                waits: true,
            },
        );
        // Its finalizer was taken away: a list of the namespace tells.
        figures.are("n", &["n/old".to_owned()].into());
        assert_eq!(figures.oldest.get(), 100);
        let archives = [&figures.gapped, &figures.silent, &figures.waiting];
        assert_eq!(archives.map(Gauge::get), [0, 0, 0]);
        figures.gone("n/old");
        assert_eq!(figures.oldest.get(), 900, "another namespace is left alone");
    }

    #[test]
    fn each_archive_with_a_fault_counts_once_until_it_has_none() {
        let figures = BackupFigures::default();
        let archives = [&figures.gapped, &figures.silent, &figures.waiting];
        let told = || archives.map(Gauge::get);
        let tell = |archive: &str, [gap, silent, waits]: [bool; 3]| {
            let faults = ArchiveFaults { gap, silent, waits };
            figures.archive(archive, faults);
        };
        tell("n/a", [true, false, false]);
        tell("n/a", [true, false, false]);
        tell("n/b", [true, true, false]);
        tell("n/c", [false, false, true]);
        assert_eq!(told(), [2, 1, 1]);
        tell("n/a", [false, false, false]);
        tell("n/c", [false, true, false]);
        assert_eq!(told(), [1, 2, 0]);
        tell("n/b", [true, false, false]);
        assert_eq!(told(), [1, 1, 0]);
    }
}
