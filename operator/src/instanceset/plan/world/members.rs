//! Members of a world's etcd.

use kbagent_protocol::{Id, Member};

use super::{World, url};
use crate::instanceset::plan::Step;

impl World {
    /// What etcd does with a change of membership.
    pub(super) fn change(&mut self, step: &Step) {
        match step {
            Step::AddLearner { pod, .. } => {
                assert!(
                    !self.members.iter().any(|m| m.is_learner),
                    "etcd takes one learner"
                );
                let id = Id(self.number());
                self.members.push(Member {
                    id,
                    name: String::new(),
                    peer_urls: vec![url(pod)],
                    client_urls: Vec::new(),
                    is_learner: true,
                });
            }
            Step::Promote { member, .. } => {
                for known in self.members.iter_mut().filter(|known| known.id == *member) {
                    known.is_learner = false;
                }
            }
            Step::RemoveMember { member, .. } => {
                assert!(self.quorate(), "etcd decides with a quorum");
                self.members.retain(|known| known.id != *member);
                for pod in self
                    .pods
                    .values_mut()
                    .filter(|pod| pod.running == Some(*member))
                {
                    pod.running = None;
                }
                self.lead();
            }
            _ => {}
        }
    }
}
