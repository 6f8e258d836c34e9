//! What users, nodes and disks do to a world.

use std::collections::BTreeMap;

use etcd_operator_api::{labels, names};
use k8s_openapi::api::core::v1::Pod;
use kbagent_protocol::Id;

use super::super::check::placement::nodes;
use super::super::steps::{Changes, Labelled};
use super::{Disk, Machine, World, url};

impl Machine {
    /// True when its template makes it so.
    pub(super) fn is(&self, what: &str) -> bool {
        self.image.split(':').next() == Some(what)
    }

    /// What the scheduler says of it.
    pub(super) fn broken(&self) -> Option<String> {
        let why = "unschedulable: Too many pods";
        self.unplaced.then(|| why.to_owned())
    }
}

fn put(into: &mut BTreeMap<String, String>, changes: &BTreeMap<String, Option<String>>) {
    for (key, value) in changes {
        match value {
            Some(value) => into.insert(key.clone(), value.clone()),
            None => into.remove(key),
        };
    }
}

impl World {
    pub(in super::super) fn disk_of(&self, pod: &str) -> Option<(u64, Option<Id>)> {
        let disk = self.disks.get(&names::claim("data", pod));
        disk.map(|disk| (disk.uid, disk.member))
    }

    pub(super) fn relabel(&mut self, kind: Labelled, name: &str, changes: &Changes) {
        let found = match kind {
            Labelled::Pod => self
                .pods
                .get_mut(name)
                .map(|pod| (&mut pod.labels, &mut pod.annotations)),
            Labelled::Claim => self
                .disks
                .get_mut(name)
                .map(|disk| (&mut disk.labels, &mut disk.annotations)),
        };
        if let Some((labels, annotations)) = found {
            put(labels, &changes.labels);
            put(annotations, &changes.annotations);
        }
    }

    /// A user labels a pod.
    pub(in super::super) fn label(&mut self, pod: &str, key: &str, value: &str) {
        if let Some(pod) = self.pods.get_mut(pod) {
            pod.labels.insert(key.to_owned(), value.to_owned());
        }
    }

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

    /// A user takes the labels off a pod's claim.
    pub(in super::super) fn unlabel_claim(&mut self, pod: &str) {
        if let Some(disk) = self.disks.get_mut(&names::claim("data", pod)) {
            disk.labels.clear();
        }
    }

    /// A Cluster of the same name was deleted and has kept this claim; its disk.
    pub(in super::super) fn leave_behind(&mut self, at: u32) -> Option<(u64, Option<Id>)> {
        let pod = format!("a-{at}");
        let template = &self.desired.claims[0];
        let claim = super::super::volumes::build(&self.desired, template, &pod, None);
        let meta = claim.metadata;
        let mut annotations = meta.annotations.unwrap_or_default();
        annotations.insert(labels::CLUSTER_UID.to_owned(), "an earlier one".to_owned());
        let disk = Disk {
            uid: self.number(),
            labels: meta.labels.unwrap_or_default(),
            annotations,
            terminating: false,
            lost: false,
            bound: false,
            foreign: true,
            member: Some(Id(1)),
            forced: None,
            size: (1, 1),
            class: None,
        };
        self.disks.insert(meta.name.unwrap_or_default(), disk);
        self.disk_of(&pod)
    }

    /// A user requests a rebuild of the pod's member.
    pub(in super::super) fn condemn(&mut self, pod: &str) {
        if let Some(disk) = self.disks.get_mut(&names::claim("data", pod)) {
            let mark = labels::REBUILD.to_owned();
            disk.annotations.insert(mark, "u".to_owned());
        }
    }

    /// A user requests it, and names the node that the new member is placed on.
    pub(in super::super) fn condemn_to(&mut self, pod: &str, node: &str) {
        self.condemn(pod);
        if let Some(disk) = self.disks.get_mut(&names::claim("data", pod)) {
            let (mark, node) = (labels::REBUILD_NODE.to_owned(), node.to_owned());
            disk.annotations.insert(mark, node);
        }
    }

    /// True for a pod that is bound to the node without space, or by its disk to one that is out of service.
    pub(super) fn is_full_for(&self, pod: &Pod) -> bool {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if self.is_off(name) {
            return true;
        }
        let bound = nodes(pod.spec.as_ref());
        let full = |full: &String| bound.iter().flatten().any(|node| node == full);
        self.full.as_ref().is_some_and(full)
    }

    /// The request is given up: its marks are taken off.
    pub(in super::super) fn pardon(&mut self, pod: &str) {
        if let Some(disk) = self.disks.get_mut(&names::claim("data", pod)) {
            disk.annotations.remove(labels::REBUILD);
            disk.annotations.remove(labels::REBUILD_NODE);
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

    /// The node freezes and no longer reports; nothing is lost.
    pub(in super::super) fn freeze(&mut self, pod: &str) {
        if let Some(pod) = self.pods.get_mut(pod).filter(|pod| !pod.node_gone) {
            pod.frozen = true;
            pod.running = None;
        }
        self.lead();
    }

    /// The node of a pod is off, and is declared out of service; its disk is intact.
    pub(in super::super) fn declare(&mut self, pod: &str) {
        self.freeze(pod);
        let disk = self.disks.get(&names::claim("data", pod));
        self.off.extend(disk.map(|disk| disk.uid));
    }

    /// True when the disk of the pod is on such a node.
    pub(super) fn is_off(&self, pod: &str) -> bool {
        let disk = self.disks.get(&names::claim("data", pod));
        disk.is_some_and(|disk| self.off.contains(&disk.uid))
    }

    /// The node of a pod has not reported for longer than the owner allows.
    pub(in super::super) fn give_up(&mut self, pod: &str) {
        self.freeze(pod);
        self.unreachable = Some(pod.to_owned());
        let disk = self.disks.get(&names::claim("data", pod));
        self.given_up = disk.map(|disk| disk.uid);
    }

    /// True for the claim whose volume is on that node, while there is a quorum, or on one that is out of service, when
    /// no pod has it there.
    pub(in super::super) fn gives_up(&self, claim: &str) -> bool {
        let pod = claim.strip_prefix("data-").unwrap_or_default();
        if self.is_off(pod) && self.pods.get(pod).is_none_or(|pod| pod.unplaced) {
            return true;
        }
        let disk = self.disks.get(claim).map(|disk| disk.uid);
        self.quorate() && self.given_up.is_some() && disk == self.given_up
    }

    /// All nodes move again, and all disks are reached.
    pub(in super::super) fn thaw(&mut self) {
        for name in self.pod_names() {
            let off = self.is_off(&name);
            if let Some(pod) = self.pods.get_mut(&name) {
                pod.frozen = false;
                pod.unplaced &= !off;
            }
        }
        self.off.clear();
    }

    /// A user gives the member of the pod another peer URL.
    pub(in super::super) fn move_url(&mut self, pod: &str) {
        if let Some(at) = self.at(pod) {
            self.members[at].peer_urls = vec![format!("http://{pod}.moved:2380")];
        }
    }

    /// The owner sets peer URLs, the operator's cluster domain and a template that cannot run back, and the API server
    /// takes what it refused. Time has passed.
    pub(in super::super) fn set_right(&mut self, right: &str) {
        self.set_back();
        self.refuses = &[];
        self.age = 60;
        if !self.is_right() {
            self.change_template(right);
        }
    }

    pub(in super::super) fn is_right(&self) -> bool {
        let spec = self.desired.template.spec.iter();
        let mut images = spec.filter_map(|spec| spec.containers[0].image.as_ref());
        images.all(|image| image.starts_with("etcd:"))
    }

    pub(in super::super) fn has_frozen(&self) -> bool {
        self.pods.values().any(|pod| pod.frozen) || !self.off.is_empty()
    }

    /// True when pods are frozen, and those that are wanted and a quorum are not.
    pub(in super::super) fn can_do_without_frozen(&self) -> bool {
        let frozen = |pod: &String| self.pods.get(pod).is_some_and(|pod| pod.frozen);
        let all_there = self.desired.members.iter().all(|pod| {
            let listed = self.members.iter().any(|m| m.name == *pod && !m.is_learner);
            let there = self.pods.get(pod);
            listed && there.is_some_and(|there| there.running.is_some()) && !frozen(pod)
        });
        self.has_frozen() && self.quorate() && all_there && self.margin()
    }

    /// True when the members that are wanted can continue alone, one removal after the other, the dead ones first.
    fn margin(&self) -> bool {
        let voters: Vec<_> = self.members.iter().filter(|m| !m.is_learner).collect();
        let runs = |m: &&&kbagent_protocol::Member| {
            self.pods.values().any(|pod| pod.running == Some(m.id))
        };
        self.members.len() == voters.len() && voters.iter().filter(runs).count() > voters.len() / 2
    }

    /// True when the members are those that are wanted, and all vote.
    pub(in super::super) fn has_its_members(&self) -> bool {
        let mut names: Vec<_> = self.members.iter().map(|m| m.name.as_str()).collect();
        names.sort_unstable();
        names == self.desired.members && !self.members.iter().any(|m| m.is_learner)
    }

    /// The user sets peer URLs and the operator's cluster domain back.
    pub(in super::super) fn set_back(&mut self) {
        self.desired.cluster_domain = "cluster.local".to_owned();
        for member in &mut self.members {
            let moved = member.peer_urls[0].strip_suffix(".moved:2380");
            if let Some(pod) = moved.and_then(|url| url.strip_prefix("http://")) {
                member.peer_urls = vec![url(pod)];
            }
        }
    }
}
