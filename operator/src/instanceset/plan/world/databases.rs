//! Databases and alarms of a world.

use std::collections::BTreeMap;

use etcd_operator_api::defragmentation::{DefragmentationStep, DefragmentationWish};
use kbagent_protocol::{Alarm, AlarmKind, Care, Defragmented, Id, MemberStatus};

use super::World;
use crate::instanceset::plan::Step;

const MIB: u64 = 1024 * 1024;

/// What etcd says of its databases.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Databases {
    /// Bytes by pod: on disk, and of these in use by etcd's count, which is late after a compaction.
    pub(in super::super) sizes: BTreeMap<String, (u64, u64)>,
    /// Bytes that are in use without history.
    pub(in super::super) live: u64,
    /// The key space's revision.
    pub(in super::super) revision: i64,
    /// What agents have done, by pod.
    care: BTreeMap<String, Care>,
    /// The quota, from releases that tell it.
    pub(in super::super) quota: Option<u64>,
    /// The alarms that stand.
    pub(in super::super) alarms: Vec<Alarm>,
    /// The pod whose database is being defragmented.
    pub(in super::super) under_way: Option<String>,
    /// The request that it answers.
    asked: Option<String>,
    /// Agents do not report what they have done, as those of earlier releases.
    pub(in super::super) unreported: bool,
}

impl Databases {
    pub(super) fn show(&self, pod: &str, status: &mut MemberStatus) {
        let (size, used) = self.sizes.get(pod).copied().unwrap_or_default();
        (status.db_size_bytes, status.db_size_in_use_bytes) = (size, used);
        status.db_quota_bytes = self.quota;
        status.revision = self.revision;
        let told = |alarm: &Alarm| {
            let (member, kind) = (alarm.member.0, alarm.kind.as_str());
            format!("memberID:{member} alarm:{kind} ")
        };
        status.alarms = self.alarms.iter().map(told).collect();
    }

    /// What is in progress ends.
    pub(super) fn tick(&mut self) {
        let Some(pod) = self.under_way.take() else {
            return;
        };
        let mut compacted = self.care.values().map(|care| care.compacted);
        let left = compacted.any(|at| at == self.revision).then_some(self.live);
        if let Some((size, used)) = self.sizes.get_mut(&pod) {
            *used = left.map_or(*used, |left| left.min(*used));
            *size = *used;
        }
        let care = self.care.entry(pod).or_default();
        care.defragmented = self.revision;
        let before = care.last.take().unwrap_or_default().request;
        care.last = Some(Defragmented {
            request: self.asked.take().unwrap_or(before),
            bytes_before: 2 * MIB,
            bytes_after: MIB,
        });
    }

    pub(super) fn care_of(&self, pod: &str) -> Care {
        let mut care = self.care.get(pod).cloned().unwrap_or_default();
        care.last = match self.unreported {
            true => None,
            false => Some(care.last.unwrap_or_default()),
        };
        care
    }

    /// Agents are restarted.
    pub(in super::super) fn forget(&mut self) {
        self.care.clear();
    }

    /// True while etcd serves no client.
    pub(super) fn are_corrupt(&self) -> bool {
        let mut alarms = self.alarms.iter();
        alarms.any(|alarm| alarm.kind == AlarmKind::Corrupt)
    }
}

impl World {
    pub(in super::super) fn raise(&mut self, kind: AlarmKind, pod: &str) {
        let member = self.members.iter().find(|member| member.name == pod);
        if let Some(member) = member.map(|member| member.id) {
            self.databases.alarms.push(Alarm { member, kind });
        }
    }

    /// Clients write until the database of the pod is full; all but a little is history.
    pub(in super::super) fn fill(&mut self, pod: &str) {
        let sizes = self
            .pods
            .keys()
            .map(|pod| (pod.clone(), (16 * MIB, 15 * MIB)));
        self.databases.sizes = sizes.collect();
        (self.databases.live, self.databases.revision) = (MIB, 9);
        self.databases.quota = Some(16 * MIB);
        self.raise(AlarmKind::NoSpace, pod);
    }

    /// The owner has these members defragmented.
    pub(in super::super) fn ask(&mut self, token: &str, pods: &[String]) {
        self.desired.defragmentation = Some(DefragmentationWish {
            token: token.to_owned(),
            pods: pods.to_vec(),
        });
    }

    /// True when no member is still to be defragmented because its owner asked for it.
    pub(in super::super) fn is_answered(&self) -> bool {
        let wish = self.desired.defragmentation.as_ref();
        wish.is_none_or(|wish| {
            let record = self.desired.recorded.defragmentation.as_ref();
            record.is_some_and(|record| {
                let mut members = record.members.iter();
                let open = members.any(|member| member.step == DefragmentationStep::Asked);
                record.token == wish.token && !open
            })
        })
    }

    /// What agents and etcd do with the step.
    pub(super) fn care(&mut self, step: &Step) {
        match step {
            Step::Compact { via } => {
                let revision = self.databases.revision;
                let care = self.databases.care.entry(via.pod.clone());
                care.or_default().compacted = revision;
            }
            Step::Defragment { via, request } => {
                self.databases.under_way = Some(via.pod.clone());
                self.databases.asked.clone_from(request);
            }
            Step::Disarm { alarm, .. } => {
                self.databases.alarms.retain(|known| known != alarm);
            }
            _ => {}
        }
    }

    /// Whether the agent that is asked carries the step out.
    pub(super) fn cares(&self, step: &Step) -> bool {
        let running = |id: Id| self.pods.values().any(|pod| pod.running == Some(id));
        match step {
            Step::Defragment { via, .. } => {
                let own = self.leader.as_ref() == Some(&via.pod);
                let mut members = self.members.iter();
                let all = members.all(|member| !member.is_learner && running(member.id));
                let alone = self.members.len() == 1;
                self.answers(&via.pod)
                    && all
                    && (!own || alone)
                    && self.databases.under_way.is_none()
            }
            Step::Disarm { via, alarm } => {
                let member = self.members.iter().any(|member| member.id == alarm.member);
                self.answers(&via.pod) && (alarm.kind == AlarmKind::NoSpace || !member)
            }
            Step::Compact { via } => self.answers(&via.pod),
            _ => true,
        }
    }
}
