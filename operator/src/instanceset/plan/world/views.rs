//! What agents say of their members.

use kbagent_protocol::{EtcdState, Id, MemberStanding, MemberStatus, MemberView, action};

use super::{Machine, World};
use crate::fake_agent;

impl World {
    /// What the member in a pod says of itself, if it runs.
    fn status_of(&self, name: &str, pod: &Machine, leader: Option<Id>) -> Option<MemberStatus> {
        let learner = |id| self.members.iter().any(|m| m.id == id && m.is_learner);
        let mut status = pod.running.map(|id| MemberStatus {
            leader_id: leader,
            leader: self.leader.clone(),
            is_learner: learner(id),
            version: String::new(),
            ..fake_agent::status(id)
        });
        if let Some(status) = status.as_mut() {
            self.databases.show(name, status);
            self.show_version(name, pod, status);
        }
        status
    }

    pub(super) fn view_of(&self, name: &str, pod: &Machine, leader: Option<Id>) -> MemberView {
        let status = self.status_of(name, pod, leader);
        // etcd serves no client, and its agent, before it has had a leader.
        let served = status.clone().filter(|_| pod.served || leader.is_some());
        let waiting = status.filter(|_| served.is_none());
        let under_way = self.databases.under_way.as_deref() == Some(name);
        let etcd = match (pod.refused, &served) {
            (Some(code), _) => EtcdState::Refused {
                code: code.to_owned(),
                message: String::new(),
            },
            (None, Some(_)) => EtcdState::Running,
            (None, None) => EtcdState::Starting {
                reason: String::new(),
            },
        };
        MemberView {
            instance: name.to_owned(),
            pod_uid: pod.uid.to_string(),
            agent_incarnation: 1,
            sequence: 1,
            etcd,
            status: served,
            status_age_ms: Some(0),
            under_way: under_way.then(|| action::DEFRAGMENT.to_owned()),
            care: self.databases.care_of(name),
            campaign: None,
            accounts: None,
            v2_store: None,
            file_system_bytes: self.file_system_of(name),
            standing: waiting.map(|status| MemberStanding {
                member_id: status.member_id,
                has_leader: false,
                index: status.applied_index,
                revision: status.revision,
                leaderless_seconds: u64::try_from(self.age).unwrap_or_default(),
            }),
        }
    }
}
