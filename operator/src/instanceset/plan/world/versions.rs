//! Versions of a world's members, and the format of what is on their disks. A template without a version has none.

use std::collections::BTreeMap;

use etcd_operator_api::{labels, names};
use kbagent_protocol::MemberStatus;

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

    /// etcd panics at the start where its data is of a later minor.
    pub(super) fn can_read(&self, name: &str, pod: &Machine, disk: u64) {
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
    }
}
