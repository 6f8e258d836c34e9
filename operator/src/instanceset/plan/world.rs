//! A model world for tests of plans: Kubernetes, disks and etcd in as few words as the rules need.
//!
//! Takes steps, lets time pass, and shows itself as an observation. It panics when a disk forgets what its
//! member had promised, or when a second cluster is born: what no plan may bring about.

use std::collections::{BTreeMap, BTreeSet};

use etcd_operator_api::{labels, names};
use kbagent_protocol::{Id, Member, MemberList};

use super::super::desired::{Desired, Limits, Update};
use super::super::names as keys;
use super::super::observed::{NodeSeen, Observed, PodSeen, Reading, Resize};
use super::{Grace, Plan, Step};

mod databases;
mod guarded;
mod members;
mod mishaps;
mod recovery;
mod seeded;
mod versions;
mod views;
mod volumes;

pub(super) use guarded::renumbered;

/// Where the numbers of incarnations and members begin: no other number in a world looks like one of them.
const NUMBERS: u64 = 0x5eed_0000;

pub(super) const DOMAIN: &str = "a-headless.demo.svc.cluster.local";

#[derive(Clone, Debug)]
struct Disk {
    uid: u64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    terminating: bool,
    lost: bool,
    /// It names the InstanceSet as its owner.
    bound: bool,
    /// It was left behind by another Cluster.
    foreign: bool,
    /// The member whose log it holds.
    member: Option<Id>,
    /// The mark by which that member was made the only one.
    forced: Option<String>,
    /// Gibibytes that are asked for, and those that it has.
    size: (u32, u32),
    /// Its storage class.
    class: Option<String>,
}

#[derive(Clone, Debug)]
struct Machine {
    uid: u64,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// What its containers do: `hang` never starts them, `mute` starts an etcd that never answers, `ill` is never
    /// ready.
    image: String,
    bootstrap: bool,
    join: Option<Id>,
    /// The mark by which its member becomes the only one, once.
    force: Option<String>,
    /// Its etcd has had a leader since it was started.
    served: bool,
    terminating: bool,
    node_gone: bool,
    /// It is frozen and its node does not report; the disk is intact.
    frozen: bool,
    refused: Option<&'static str>,
    running: Option<Id>,
    /// No node takes it.
    unplaced: bool,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) desired: Desired,
    pods: BTreeMap<String, Machine>,
    disks: BTreeMap<String, Disk>,
    pub(super) members: Vec<Member>,
    formed: u32,
    next: u64,
    pub(super) leader: Option<String>,
    /// What an observer cannot see just now.
    pub(super) blind: bool,
    pub(super) silent: Option<String>,
    /// The node that the template names, when there is none of the name.
    pub(super) no_node: Option<String>,
    /// Why the API server takes no pod of the template.
    pub(super) refused_template: Option<String>,
    /// The storage class that a policy turns into another one.
    pub(super) rewrites: Option<(&'static str, &'static str)>,
    /// The node that has no space.
    pub(super) full: Option<String>,
    /// How steps begin, in words, that the API server refuses.
    pub(super) refuses: &'static [&'static str],
    /// Seconds since pods were made.
    pub(super) age: i64,
    /// An etcd that is to be the only member dies before it has written that.
    pub(super) barren: bool,
    pub(super) databases: databases::Databases,
    pub(super) versions: versions::Versions,
    /// The pod whose owner has it replaced, because its node does not report.
    pub(super) unreachable: Option<String>,
    /// The disk on that node.
    pub(super) given_up: Option<u64>,
    /// Disks on nodes that are declared out of service.
    off: BTreeSet<u64>,
}

pub(super) fn desired(replicas: u32) -> Desired {
    let name = names::ComponentName::existing("a");
    let template = serde_json::json!({
        "metadata": { "labels": { "app": "a" } },
        "spec": { "containers": [{ "name": "etcd", "image": "etcd:1" }] },
    });
    Desired {
        namespace: "demo".to_owned(),
        generation: Some(1),
        owner: Default::default(),
        cluster_uid: "c".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        labels: BTreeMap::new(),
        members: name.pods(replicas, &[]),
        stop: replicas == 0,
        paused: false,
        deleting: false,
        held: false,
        orphaning: false,
        has_finalizer: true,
        template: serde_json::from_value(template).expect("a template"),
        claims: vec![etcd_operator_api::volume::VolumeClaimTemplate {
            name: "data".to_owned(),
            spec: volumes::of(1),
            ..Default::default()
        }],
        keep_when_scaled: false,
        keep_when_deleted: false,
        min_ready_seconds: 0,
        update: Update {
            rolling: true,
            replicas: replicas as usize,
            at_a_time: 1,
        },
        recreate: false,
        limits: Limits::default(),
        vars: BTreeMap::new(),
        replace_after: None,
        recovery: None,
        defragmentation: None,
        service_annotations: BTreeMap::new(),
        downgrade: None,
        upgrade: None,
        minor_awaited: None,
        roles: Vec::new(),
        seed: None,
        recorded: Default::default(),
        name,
    }
}

impl World {
    pub(super) fn new(replicas: u32) -> Self {
        Self {
            desired: desired(replicas),
            pods: BTreeMap::new(),
            disks: BTreeMap::new(),
            members: Vec::new(),
            formed: 0,
            next: NUMBERS,
            leader: None,
            blind: false,
            silent: None,
            no_node: None,
            refused_template: None,
            rewrites: None,
            full: None,
            refuses: &[],
            age: 1,
            barren: false,
            databases: Default::default(),
            versions: Default::default(),
            unreachable: None,
            given_up: None,
            off: BTreeSet::new(),
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn scale(&mut self, replicas: u32) {
        self.desired.members = self.desired.name.pods(replicas, &[]);
        self.desired.stop = replicas == 0;
        self.desired.update.replicas = replicas as usize;
    }

    pub(super) fn change_template(&mut self, image: &str) {
        if let Some(spec) = self.desired.template.spec.as_mut() {
            spec.containers[0].image = Some(image.to_owned());
        }
    }

    /// Voters that run and have their data.
    fn running_voters(&self) -> usize {
        let runs = |member: &&Member| self.pods.values().any(|pod| pod.running == Some(member.id));
        self.members
            .iter()
            .filter(|m| !m.is_learner)
            .filter(runs)
            .count()
    }

    pub(super) fn quorate(&self) -> bool {
        let voters = self
            .members
            .iter()
            .filter(|member| !member.is_learner)
            .count();
        voters > 0 && self.running_voters() > voters / 2
    }

    /// True while a majority of voters has its data: on a disk that stays, or under a process that still runs.
    pub(super) fn has_its_data(&self) -> bool {
        let keeps = |member: &&Member| {
            self.disks.iter().any(|(name, disk)| {
                let pod = name
                    .strip_prefix("data-")
                    .and_then(|pod| self.pods.get(pod));
                let runs = pod.is_some_and(|pod| pod.running == Some(member.id));
                disk.member == Some(member.id) && !disk.lost && (!disk.terminating || runs)
            })
        };
        let voters = self.members.iter().filter(|member| !member.is_learner);
        let total = voters.clone().count();
        total > 0 && voters.filter(keeps).count() > total / 2
    }

    pub(super) fn pod_names(&self) -> Vec<String> {
        self.pods.keys().cloned().collect()
    }

    fn lead(&mut self) {
        let runs = |pod: &String| {
            let voter = |id| self.members.iter().any(|m| m.id == id && !m.is_learner);
            self.pods
                .get(pod)
                .and_then(|pod| pod.running)
                .is_some_and(voter)
        };
        if !self.quorate() {
            self.leader = None;
        } else if !self.leader.as_ref().is_some_and(runs) {
            self.leader = self.pods.keys().find(|pod| runs(pod)).cloned();
        }
        let led = self.leader.is_some();
        for pod in self.pods.values_mut() {
            pod.served = pod.running.is_some() && (pod.served || led);
        }
    }

    /// Time passes: what is going goes, what can start starts.
    pub(super) fn tick(&mut self) {
        self.pods
            .retain(|_, pod| !pod.terminating || pod.node_gone || pod.frozen);
        self.fill_first();
        self.enlarge();
        let pods = &self.pods;
        self.disks.retain(|name, disk| {
            let used = name
                .strip_prefix("data-")
                .is_some_and(|pod| pods.contains_key(pod));
            !disk.terminating || used
        });
        for name in self.pod_names() {
            self.start(&name);
        }
        self.form();
        self.lead();
        self.databases.tick();
        self.versions_tick();
    }

    /// The member listed at the pod's address.
    fn at(&self, pod: &str) -> Option<usize> {
        let here = |m: &Member| m.peer_urls[0] == url(pod);
        self.members.iter().position(here)
    }

    /// What the launcher does in a pod.
    fn start(&mut self, name: &str) {
        let Some(pod) = self.pods.get(name).cloned() else {
            return;
        };
        let claim = names::claim("data", name);
        self.force(name, &pod);
        let disk = self.disks.get(&claim).cloned();
        let without = disk.as_ref().is_some_and(Disk::never_comes);
        let still = pod.terminating || pod.node_gone || pod.frozen || pod.unplaced || without;
        let (Some(disk), false) = (disk, still || pod.is("hang") || pod.is("mute")) else {
            return;
        };
        let own = |m: &Member| disk.member == Some(m.id);
        let member = self.members.iter().position(own);
        let member = member.or_else(|| self.at(name));
        let quorate = self.quorate();
        let verdict: Result<Id, Option<&'static str>> = match (disk.member, member) {
            _ if disk.lost => Err(None),
            (Some(id), Some(at)) if self.members[at].id == id => Ok(id),
            (Some(_), _) if self.formed > 0 => Err(Some("RemovedMember")),
            (Some(id), _) => Ok(id),
            (None, None) if self.formed == 0 && pod.bootstrap => Ok(seeded::identifier(name)),
            (None, Some(at))
                if pod.bootstrap
                    && self.members[at].name.is_empty()
                    && !self.members[at].is_learner =>
            {
                Ok(self.members[at].id)
            }
            (None, _) if !quorate => Err(None),
            (None, None) => Err(Some("NotAMember")),
            (None, Some(at))
                if self.members[at].name.is_empty() && pod.join == Some(self.members[at].id) =>
            {
                Ok(self.members[at].id)
            }
            (None, Some(_)) => Err(Some("DataLost")),
        };
        let started = member.is_some_and(|at| !self.members[at].name.is_empty());
        if let Ok(id) = verdict {
            self.can_read(name, &pod, disk.uid);
            assert!(
                disk.member == Some(id) || !started,
                "{name} forgets what it promised as {id}"
            );
            if let Some(disk) = self.disks.get_mut(&claim) {
                disk.member = Some(id);
            }
            if let Some(at) = member {
                self.members[at].name = name.to_owned();
            }
        }
        if let Some(pod) = self.pods.get_mut(name) {
            pod.running = verdict.ok();
            pod.refused = verdict.err().flatten();
        }
    }

    /// A quorum of the bootstrap set makes the cluster.
    fn form(&mut self) {
        let set = self.desired.recorded.bootstrap_members.clone();
        if self.formed > 0 || set.is_empty() {
            return;
        }
        let there = |pod: &String| self.pods.get(pod).and_then(|pod| pod.running);
        if set.iter().filter_map(there).count() <= set.len() / 2 {
            return;
        }
        self.formed += 1;
        self.members = set
            .iter()
            .map(|pod| Member {
                id: seeded::identifier(pod),
                name: there(pod).map_or(String::new(), |_| pod.clone()),
                peer_urls: vec![url(pod)],
                client_urls: Vec::new(),
                is_learner: false,
            })
            .collect();
    }

    pub(super) fn observe(&self) -> Observed {
        let members = if self.quorate() && !self.blind {
            Reading::Known(MemberList {
                cluster_id: Id(7),
                term: 3,
                members: self.members.clone(),
            })
        } else {
            Reading::Unknown("no quorum".to_owned())
        };
        let pods = self
            .pods
            .iter()
            .map(|(name, pod)| (name.clone(), self.pod_seen(name, pod)));
        let disks = self.disks.iter();
        let claims = disks.map(|(name, disk)| (name.clone(), self.claim_seen(name, disk)));
        let service = Some(super::services::build(&self.desired));
        Observed {
            pods: pods.collect(),
            claims: claims.collect(),
            service,
            members,
            no_node: self.no_node.clone(),
            tainted: BTreeMap::new(),
            refused_template: self.refused_template.clone(),
            refused_move: None,
            made_class: BTreeMap::new(),
        }
    }

    fn pod_seen(&self, name: &str, pod: &Machine) -> PodSeen {
        let leader = self
            .leader
            .as_ref()
            .and_then(|leader| self.pods.get(leader)?.running);
        let learner = |id| self.members.iter().any(|m| m.id == id && m.is_learner);
        let serves = leader.is_some() && pod.running.is_some_and(|id| !learner(id));
        let ready = serves && !pod.is("ill") && !self.databases.are_corrupt();
        PodSeen {
            uid: pod.uid.to_string(),
            revision: pod
                .labels
                .get(labels::REVISION)
                .cloned()
                .unwrap_or_default(),
            labels: pod.labels.clone(),
            annotations: pod.annotations.clone(),
            ready: ready && !pod.terminating,
            ready_seconds: 100,
            age_seconds: self.age,
            terminating: pod.terminating,
            ended: false,
            broken: pod.broken(),
            resize: Resize::Settled,
            runs: pod.running.is_some() || pod.frozen || pod.is("mute"),
            restarts: false,
            node: match (pod.node_gone, pod.frozen) {
                (true, _) => NodeSeen::Gone,
                (_, true) if self.is_off(name) => NodeSeen::OutOfService,
                (_, true) if self.quorate() && self.unreachable.as_deref() == Some(name) => {
                    NodeSeen::Unreachable
                }
                (_, true) => NodeSeen::NotReady,
                _ if pod.unplaced => NodeSeen::Unassigned,
                _ => NodeSeen::Ready,
            },
            ip: Some("10.0.0.1".to_owned()),
            owned: true,
            join: pod.join,
            force: pod.force.clone(),
            view: Some(self.view_of(name, pod, leader)),
            heard: self.silent.as_deref() != Some(name) && !pod.node_gone && !pod.frozen,
        }
    }

    /// Records the status and takes up to `upto` steps: a crash may come between any two.
    pub(super) fn take(&mut self, plan: &Plan, upto: usize) {
        if let Some(draft) = &plan.status {
            self.approves(&draft.status);
            self.desired.recorded = draft.status.clone();
        }
        for step in plan.steps.iter().take(upto) {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::CreateClaim(claim) => self.create_claim(claim),
            Step::DeleteClaim { name, .. } => {
                if let Some(disk) = self.disks.get_mut(name) {
                    disk.terminating = true;
                }
            }
            Step::CreatePod(pod) => self.create_pod(pod),
            Step::DeletePod { name, grace, .. } => {
                self.delete_pod(name);
                if *grace == Grace::Dead {
                    self.pods.remove(name);
                }
            }
            Step::AddLearner { .. } | Step::Promote { .. } | Step::RemoveMember { .. } => {
                self.change(step);
            }
            Step::Switchover { to, .. } => self.leader = Some(to.clone()),
            Step::Compact { .. } | Step::Defragment { .. } | Step::Disarm { .. } => self.care(step),
            Step::Downgrade { to, .. } => self.versions.begin(*to),
            Step::CancelDowngrade { .. } => self.versions.job = None,
            Step::AppendToLog { .. } => self.appended(),
            Step::RetireClaim { name, .. } => {
                if let Some(disk) = self.disks.get_mut(name) {
                    disk.annotations
                        .insert(keys::RETIRED.to_owned(), "true".to_owned());
                }
            }
            Step::GrowClaim { name, to, .. } => self.ask_for(name, to),
            Step::ReleaseClaim { name, .. } | Step::BindClaim { name, .. } => {
                if let Some(disk) = self.disks.get_mut(name) {
                    disk.bound = matches!(step, Step::BindClaim { .. });
                }
            }
            Step::AddFinalizer | Step::RemoveFinalizer | Step::ApplyService(_) => {}
            Step::Relabel {
                kind,
                name,
                changes,
                ..
            } => self.relabel(*kind, name, changes),
            Step::Resize { name, revision, .. } => {
                if let Some(pod) = self.pods.get_mut(name) {
                    let (key, now) = (labels::REVISION.to_owned(), revision.clone());
                    pod.labels.insert(key, now);
                }
            }
        }
    }

    fn create_pod(&mut self, pod: &k8s_openapi::api::core::v1::Pod) {
        let env: BTreeMap<String, String> = pod
            .spec
            .iter()
            .flat_map(|spec| spec.containers[0].env.iter().flatten())
            .map(|variable| {
                (
                    variable.name.clone(),
                    variable.value.clone().unwrap_or_default(),
                )
            })
            .collect();
        let meta = pod.metadata.clone();
        let uid = self.number();
        let spec = pod.spec.iter();
        let mut images = spec.filter_map(|spec| spec.containers[0].image.clone());
        let machine = Machine {
            uid,
            image: images.next().unwrap_or_default(),
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            bootstrap: env.contains_key(keys::ENV_BOOTSTRAP),
            join: env.get(keys::ENV_JOIN).and_then(|id| id.parse().ok()),
            force: env.get(keys::ENV_FORCE).cloned(),
            served: false,
            terminating: false,
            node_gone: false,
            frozen: false,
            refused: None,
            running: None,
            unplaced: self.is_full_for(pod),
        };
        let old = self.pods.insert(meta.name.unwrap_or_default(), machine);
        assert!(old.is_none(), "a pod of the name exists");
    }
}

fn url(pod: &str) -> String {
    format!("http://{pod}.{DOMAIN}:2380")
}
