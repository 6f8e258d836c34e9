//! Versions of a world's members, and the format of what is on their disks. A template without a version has none.

use std::collections::BTreeMap;

use etcd_operator_api::{labels, names};
use kbagent_protocol::{LogSeen, MemberStatus};

use super::{Machine, World};
use crate::definition::Minor;

/// What etcd knows of versions.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Versions {
    /// The downgrade that is in progress.
    pub(in super::super) job: Option<Minor>,
    /// The version of the cluster as a whole.
    cluster: Option<Minor>,
    /// The format of disks, by their incarnation.
    pub(in super::super) formats: BTreeMap<u64, Minor>,
    /// Index of the last request of the API v2 in a disk's log behind the last snapshot, by the disk's incarnation.
    pub(in super::super) old_requests: BTreeMap<u64, u64>,
    /// Rounds of appended entries that a member's snapshot takes.
    pub(in super::super) rounds: usize,
    /// An agent of an earlier release, which says nothing of the log.
    pub(in super::super) tells_nothing: Option<String>,
    /// The pod whose member does not get on with its format.
    pub(in super::super) slow: Option<String>,
}

impl Versions {
    pub(super) fn begin(&mut self, to: Minor) {
        assert_eq!(Some(to.next()), self.cluster, "etcd goes back by a minor");
        self.job = Some(to);
    }
}

impl Machine {
    fn version(&self) -> Option<&String> {
        self.labels.get(labels::SERVICE_VERSION)
    }

    fn minor(&self) -> Option<Minor> {
        Minor::of(self.version()?)
    }
}

impl World {
    /// The owner names a version, and the Component makes the template of it.
    pub(in super::super) fn release(&mut self, version: &str) {
        self.change_template(&format!("etcd:{version}"));
        let meta = self.desired.template.metadata.get_or_insert_default();
        let given = meta.labels.get_or_insert_default();
        given.insert(labels::SERVICE_VERSION.to_owned(), version.to_owned());
    }

    /// etcd panics at the start where its data is of a later minor, and 3.7 where it replays requests of the API v2.
    /// One of 3.5 writes such a one to the log of all; one of 3.6 makes a snapshot when it starts.
    pub(super) fn can_read(&mut self, name: &str, pod: &Machine, disk: u64) {
        if let Some(minor) = pod.minor().filter(|_| pod.running.is_none()) {
            let old = &mut self.versions.old_requests;
            if Some(minor) < Minor::of("3.6") {
                old.extend(self.disks.values().map(|disk| (disk.uid, 40)));
            } else if Some(minor) == Minor::of("3.6") {
                old.remove(&disk);
            }
            let panics = Some(minor) > Minor::of("3.6") && old.contains_key(&disk);
            assert!(!panics, "etcd {minor} of {name} does not read its log");
        }
        let (Some(minor), Some(format)) = (pod.minor(), self.versions.formats.get(&disk)) else {
            return;
        };
        assert!(
            *format <= minor,
            "etcd {minor} of {name} does not read its data of {format}"
        );
    }

    /// The cluster follows its oldest member up, and a downgrade down; data follows the cluster.
    pub(super) fn versions_tick(&mut self) {
        let running = self.pods.iter().filter(|(_, pod)| pod.running.is_some());
        let minors: Vec<Minor> = running.clone().filter_map(|(_, pod)| pod.minor()).collect();
        let (Some(oldest), true) = (minors.iter().min().copied(), self.quorate()) else {
            return;
        };
        let runs = |id| self.pods.values().any(|pod| pod.running == Some(id));
        // etcd decides when it knows the versions of all.
        let all = self.members.iter().all(|member| runs(member.id));
        let versions = &mut self.versions;
        if versions
            .job
            .is_some_and(|to| minors.iter().all(|minor| *minor == to))
        {
            versions.job = None;
        }
        let now = versions.cluster.unwrap_or(oldest);
        let cluster = match versions.job {
            Some(to) if all => to,
            None if all => now.max(oldest),
            _ => now,
        };
        versions.cluster = Some(cluster);
        let disks: Vec<u64> = running
            .filter(|(name, _)| versions.slow.as_ref() != Some(*name))
            .filter_map(|(name, _)| Some(self.disks.get(&names::claim("data", name))?.uid))
            .collect();
        self.versions
            .formats
            .extend(disks.into_iter().map(|disk| (disk, cluster)));
    }

    /// Entries without effect were appended: after some rounds every member of 3.6 has made a snapshot behind them.
    pub(super) fn appended(&mut self) {
        self.versions.rounds = self.versions.rounds.saturating_sub(1);
        if self.versions.rounds == 0 {
            self.versions.old_requests.clear();
        }
    }

    /// The log of a pod's member gets a request of the API v2.
    pub(in super::super) fn write_old_request(&mut self, pod: &str) {
        let disk = self.disks[&names::claim("data", pod)].uid;
        self.versions.old_requests.insert(disk, 40);
    }

    /// What the member in a pod says of versions.
    pub(super) fn show_version(&self, name: &str, pod: &Machine, status: &mut MemberStatus) {
        let Some(version) = pod.version() else {
            return;
        };
        status.version.clone_from(version);
        // Releases before 3.6 say nothing of their data.
        if pod.minor() <= Minor::of("3.5") {
            return;
        }
        let disk = self.disks.get(&names::claim("data", name));
        let format = disk.and_then(|disk| self.versions.formats.get(&disk.uid));
        status.format.storage_version = format.map(|format| format!("{format}.0"));
        status.format.downgrade_to = self.versions.job.map(|to| format!("{to}.0"));
        if pod.minor() == Minor::of("3.6") && self.versions.tells_nothing.as_deref() != Some(name) {
            let old = &self.versions.old_requests;
            status.format.log = Some(LogSeen {
                read_to: status.raft_index,
                old_request: disk.and_then(|disk| old.get(&disk.uid).copied()),
            });
        }
    }
}
