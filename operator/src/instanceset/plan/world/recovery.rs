//! A quorum that is given up.

use etcd_operator_api::instance_set::InstanceSetStatus;
use etcd_operator_api::names;
use etcd_operator_api::recovery::{RecoveryStep, RecoveryWish};

use super::{Machine, World};

impl World {
    /// The owner approves that the member which is furthest, or this one, continues alone.
    pub(in super::super) fn approve(&mut self, token: &str, survivor: Option<&str>) {
        self.desired.recovery = Some(RecoveryWish {
            token: token.to_owned(),
            request: token.to_owned(),
            survivor: survivor.map(str::to_owned),
            dry_run: false,
        });
    }

    /// `--force-new-cluster`, once for a mark: the member's log names no other one any more.
    pub(super) fn force(&mut self, name: &str, pod: &Machine) {
        let Some(disk) = self.disks.get_mut(&names::claim("data", name)) else {
            return;
        };
        let can = !pod.terminating && !pod.node_gone && !pod.frozen && !disk.lost;
        let Some(mark) = pod
            .force
            .clone()
            .filter(|mark| can && disk.forced.as_ref() != Some(mark))
        else {
            return;
        };
        let Some(own) = disk.member else {
            return;
        };
        disk.forced = Some(mark);
        if self.barren {
            return;
        }
        let voters = self.members.iter().filter(|m| !m.is_learner && m.id != own);
        let running = voters.clone().filter(|m| self.may_run(m.id)).count();
        assert!(
            running <= voters.count().div_ceil(2),
            "{name} is forced while others may be a quorum"
        );
        self.members.retain(|member| member.id == own);
        for (other, pod) in &mut self.pods {
            if other != name && pod.running.is_some() {
                pod.running = None;
                pod.refused = Some("RemovedMember");
            }
        }
    }

    /// What is to be recorded gives members up only while the owner asks for it.
    pub(super) fn approves(&self, next: &InstanceSetStatus) {
        let gives_up = |status: &InstanceSetStatus| {
            let step = status.recovery.as_ref().map(|own| own.step);
            step == Some(RecoveryStep::Isolated)
        };
        assert!(
            self.desired.recovery.is_some() || !gives_up(next) || gives_up(&self.desired.recorded),
            "members are given up without approval"
        );
    }

    /// The owner takes the mark off a member that was given up.
    pub(in super::super) fn unmark(&mut self, pod: &str) {
        if let Some(disk) = self.disks.get_mut(&names::claim("data", pod)) {
            disk.annotations.remove(crate::instanceset::names::RETIRED);
        }
    }

    /// True when a process of the member runs, or may run where nothing reports.
    fn may_run(&self, id: kbagent_protocol::Id) -> bool {
        self.pods.iter().any(|(name, pod)| {
            let disk = self.disks.get(&names::claim("data", name));
            let on_disk = disk.is_some_and(|disk| disk.member == Some(id));
            pod.running == Some(id) || (pod.frozen && on_disk)
        })
    }
}

impl World {
    /// True when there is a pod whose member is to be the only one.
    pub(in super::super) fn pods_forced(&self) -> bool {
        self.pods.values().any(|pod| pod.force.is_some())
    }

    /// True when a voter's disk is there from which a cluster can be continued.
    pub(in super::super) fn has_a_survivor(&self) -> bool {
        let voters = self.members.iter().filter(|member| !member.is_learner);
        let mut disks = voters.flat_map(|m| self.disks.values().filter(|d| d.member == Some(m.id)));
        disks.any(|disk| !disk.lost && !disk.terminating)
    }
}
