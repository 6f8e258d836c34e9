//! A world whose cluster begins with a backup: the Job that fills the first member's disk.

use etcd_operator_api::names;
use etcd_operator_api::restore::FILLED;
use kbagent_protocol::Id;

use super::{Disk, World};

impl World {
    /// A cluster that is to begin with a backup.
    pub(in super::super) fn seeded(replicas: u32) -> Self {
        let mut world = World::new(replicas);
        world.desired.seed = Some("backup".to_owned());
        world
    }

    /// Members that hold what the backup held.
    pub(in super::super) fn has_the_backup(&self) -> bool {
        let seed = self.desired.recorded.bootstrap_members.first();
        let first = seed.map(|pod| identifier(pod));
        self.formed == 1 && first.is_some_and(|id| self.members.iter().any(|m| m.id == id))
    }

    /// The Job fills a disk that is there, that no pod uses, and that is not filled.
    pub(super) fn fill_first(&mut self) {
        let (Some(seed), 0) = (self.desired.seed.clone(), self.formed) else {
            return;
        };
        let Some(pod) = self.desired.recorded.bootstrap_members.first() else {
            return;
        };
        let there = self.pods.contains_key(pod);
        let disk = self.disks.get_mut(&names::claim(names::DATA, pod));
        let free = |disk: &&mut Disk| !disk.terminating && !disk.lost && !disk.foreign;
        if let Some(disk) = disk.filter(free).filter(|_| !there) {
            disk.annotations.insert(FILLED.to_owned(), seed);
            disk.member = Some(identifier(pod));
        }
    }
}

/// The identifier of a member that bootstraps in a pod.
pub(super) fn identifier(pod: &str) -> Id {
    Id(pod.len() as u64 * 1000 + u64::from(pod.as_bytes()[pod.len() - 1]))
}
