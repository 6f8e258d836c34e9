//! What users, nodes and disks do to a world.

use etcd_operator_api::{labels, names};

use super::{Machine, World, url};

impl Machine {
    /// True when its template makes it so.
    pub(super) fn is(&self, what: &str) -> bool {
        self.image.split(':').next() == Some(what)
    }
}

impl World {
    pub(in super::super) fn set_leader(&mut self, pod: &str) {
        self.leader = Some(pod.to_owned());
    }

    pub(in super::super) fn delete_pod(&mut self, pod: &str) {
        if let Some(pod) = self.pods.get_mut(pod) {
            pod.terminating = true;
            pod.running = None;
        }
        self.lead();
    }

    pub(in super::super) fn delete_claim(&mut self, pod: &str) {
        if let Some(disk) = self.disks.get_mut(&names::claim("data", pod)) {
            disk.terminating = true;
        }
    }

    /// A user asks for the member of the pod to be made anew.
    pub(in super::super) fn condemn(&mut self, pod: &str) {
        if let Some(disk) = self.disks.get_mut(&names::claim("data", pod)) {
            let mark = labels::REBUILD.to_owned();
            disk.annotations.insert(mark, "u".to_owned());
        }
    }

    pub(in super::super) fn lose_node(&mut self, pod: &str) {
        if let Some(disk) = self.disks.get_mut(&names::claim("data", pod)) {
            disk.lost = true;
        }
        if let Some(pod) = self.pods.get_mut(pod) {
            pod.node_gone = true;
            pod.running = None;
        }
        self.lead();
    }

    /// The node stops and is not heard any more; nothing is lost.
    pub(in super::super) fn freeze(&mut self, pod: &str) {
        if let Some(pod) = self.pods.get_mut(pod).filter(|pod| !pod.node_gone) {
            pod.frozen = true;
            pod.running = None;
        }
        self.lead();
    }

    /// All nodes move again.
    pub(in super::super) fn thaw(&mut self) {
        for pod in self.pods.values_mut() {
            pod.frozen = false;
        }
    }

    /// A user gives the member of the pod another peer URL.
    pub(in super::super) fn move_url(&mut self, pod: &str) {
        if let Some(at) = self.at(pod) {
            self.members[at].peer_urls = vec![format!("http://10.9.9.9:2380/{pod}")];
        }
    }

    /// The user sets peer URLs and the operator's cluster domain back.
    pub(in super::super) fn set_back(&mut self) {
        self.desired.cluster_domain = "cluster.local".to_owned();
        for member in &mut self.members {
            if let Some((_, pod)) = member.peer_urls[0].split_once(":2380/") {
                member.peer_urls = vec![url(pod)];
            }
        }
    }
}
