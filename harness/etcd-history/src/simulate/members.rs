//! Simulated members and pods: who leads, what the members say of it, where the label and the endpoints are.

use std::collections::BTreeMap;

use crate::record::{
    EndpointsRecord, FaultRecord, FaultStep, ListedMember, MachineSample, MemberSample,
    MembershipRecord, Nanos, PodRecord, RaftStatus, Record,
};

/// The recording client, as its samples of the machine name it.
pub(crate) const CLIENT: &str = "workload";
/// Identifier of the cluster.
const CLUSTER: &str = "cdf818194e3a8c32";

/// A machine of two processors with little to do, as both processes see it.
pub(crate) fn machine(t: Nanos) -> Vec<Record> {
    const INTERVAL: Nanos = 30_000_000;
    let sample = |source: &str| {
        Record::Machine(MachineSample {
            t,
            source: source.to_owned(),
            interval: INTERVAL,
            late: 100_000,
            waiting: Some(INTERVAL / 10),
            stolen: Some(0),
            idle: Some(INTERVAL),
            processors: Some(2),
            runnable: Some(1),
            delayed: Some(INTERVAL / 100),
            disk: Some(INTERVAL / 100),
        })
    };
    ["harness", CLIENT].map(sample).to_vec()
}

/// The members of one cluster.
#[derive(Debug)]
pub(crate) struct Members {
    count: u32,
    term: u64,
    /// Who leads; absent while no member does.
    pub(crate) leader: Option<u32>,
    /// Members that do not answer.
    silent: Vec<bool>,
    labelled: Option<u32>,
    incarnations: Vec<u32>,
    /// Each pod as it was seen last.
    last: Vec<Option<Record>>,
    resource_version: u64,
    /// A member that came back and has not caught up.
    pub(crate) returned: Option<u32>,
}

impl Members {
    pub(crate) fn new(count: u32) -> Self {
        let len = count as usize;
        Self {
            count,
            term: 2,
            leader: Some(0),
            silent: vec![false; len],
            labelled: None,
            incarnations: vec![0; len],
            last: vec![None; len],
            resource_version: 1_000,
            returned: None,
        }
    }

    /// Name of a member's pod.
    pub(crate) fn pod(member: u32) -> String {
        format!("demo-etcd-{member}")
    }

    /// Identifier of a member.
    pub(crate) fn id(member: u32) -> String {
        format!("{:x}", 0x8e9e_05c5_2164_694d_u64 + u64::from(member))
    }

    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// A member that answers.
    pub(crate) fn alive(&self, wish: u32) -> u32 {
        (0..self.count)
            .map(|offset| (wish + offset) % self.count)
            .find(|m| !self.silent[*m as usize])
            .unwrap_or(0)
    }

    pub(crate) fn silence(&mut self, member: u32, silent: bool) {
        self.silent[member as usize] = silent;
    }

    /// Another member wins the next term.
    pub(crate) fn elect(&mut self) -> u32 {
        let old = self.leader.or(self.labelled).unwrap_or(0);
        self.term += 1;
        let leader = self.alive((old + 1) % self.count);
        self.leader = Some(leader);
        leader
    }

    /// What every member says of itself, with the revisions that they have applied. One that came back says first what
    /// it had saved, which is less than it had applied.
    pub(crate) fn samples(&mut self, t: Nanos, applied: &[i64]) -> Vec<Record> {
        let newest = applied.iter().copied().max().unwrap_or(1);
        let returned = self.returned.take();
        let status = |member: u32| {
            let mut revision = applied[member as usize];
            let mut committed = newest;
            if returned == Some(member) {
                revision = (revision * 3 / 4).max(1);
                committed = revision;
            }
            RaftStatus {
                cluster: CLUSTER.to_owned(),
                member: Self::id(member),
                leader: self.leader.map(Self::id),
                term: self.term,
                // Every term begins with an entry of its own.
                raft_index: 8 + self.term + committed.unsigned_abs(),
                applied_index: 8 + self.term + revision.unsigned_abs(),
                revision,
                learner: false,
            }
        };
        let sample = |member: u32| {
            let status = (!self.silent[member as usize]).then(|| status(member));
            Record::Member(MemberSample {
                t,
                pod: Self::pod(member),
                status,
            })
        };
        (0..self.count).map(sample).collect()
    }

    /// The member list.
    pub(crate) fn list(&self, t: Nanos) -> Record {
        let member = |member: u32| ListedMember {
            id: Self::id(member),
            name: Self::pod(member),
            learner: false,
        };
        Record::Membership(MembershipRecord {
            t,
            cluster: CLUSTER.to_owned(),
            members: (0..self.count).map(member).collect(),
        })
    }

    /// All pods as they are first seen.
    pub(crate) fn pods(&mut self, t: Nanos) -> Vec<Record> {
        self.labelled = self.leader;
        (0..self.count)
            .map(|member| self.show(t, member, |_| {}))
            .collect()
    }

    /// The label moves: off the old leader first, then onto the new one.
    pub(crate) fn label(&mut self, t: Nanos) -> Vec<Record> {
        let old = self.labelled.take();
        let mut records: Vec<_> = old
            .map(|old| self.show(t, old, |_| {}))
            .into_iter()
            .collect();
        self.labelled = self.leader;
        records.extend(
            self.leader
                .map(|leader| self.show(t + 3_000_000, leader, |_| {})),
        );
        records
    }

    /// The same while no watch is open: the old leader's pod is gone when a list is made, which reports its end by the
    /// version that was seen last, and shows what is there now.
    pub(crate) fn list_after_label(&mut self, t: Nanos) -> Vec<Record> {
        let old = self.labelled.take();
        self.labelled = self.leader;
        let mut records: Vec<Record> = Vec::new();
        if let Some(old) = old {
            records.push(self.told_late(t, old));
            self.incarnations[old as usize] += 1;
            records.push(self.show(t, old, |pod| pod.ready = false));
        }
        if let Some(leader) = self.leader {
            records.push(self.show(t, leader, |_| {}));
        }
        records.extend(old.map(|old| self.show(t + 20_000_000, old, |_| {})));
        records
    }

    /// The end of a pod as it was seen last.
    fn told_late(&mut self, t: Nanos, member: u32) -> Record {
        let mut pod = self.last[member as usize].clone();
        if let Some(Record::Pod(pod)) = &mut pod {
            (pod.t, pod.deleted) = (t, true);
        }
        pod.unwrap_or_else(|| self.show(t, member, |pod| pod.deleted = true))
    }

    /// The operator replaces a pod while no watch is open.
    pub(crate) fn replace_unseen(&mut self, t: Nanos, member: u32) -> Vec<Record> {
        let gone = self.told_late(t, member);
        self.incarnations[member as usize] += 1;
        vec![gone, self.show(t, member, |_| {})]
    }

    /// The endpoints of the leader service as they should be now.
    pub(crate) fn endpoints(&mut self, t: Nanos) -> Record {
        self.resource_version += 1;
        let serving: Vec<String> = self.labelled.map(Self::pod).into_iter().collect();
        Record::Endpoints(EndpointsRecord {
            t,
            service: "demo-etcd".to_owned(),
            resource_version: self.resource_version,
            ready: serving.clone(),
            serving,
        })
    }

    /// The operator takes a pod down.
    pub(crate) fn take_down(&mut self, t: Nanos, member: u32) -> Vec<Record> {
        self.silence(member, true);
        let going = self.show(t, member, |pod| pod.deleting = true);
        let gone = self.show(t + 50_000_000, member, |pod| {
            (pod.deleting, pod.deleted, pod.ready) = (true, true, false);
        });
        vec![going, gone]
    }

    /// Its successor comes up.
    pub(crate) fn bring_back(&mut self, t: Nanos, member: u32) -> Vec<Record> {
        self.silence(member, false);
        self.incarnations[member as usize] += 1;
        vec![
            self.show(t, member, |pod| pod.ready = false),
            self.show(t + 20_000_000, member, |_| {}),
        ]
    }

    fn show(&mut self, t: Nanos, member: u32, change: impl Fn(&mut PodRecord)) -> Record {
        self.resource_version += 1;
        let role = if self.labelled == Some(member) {
            "leader"
        } else {
            "follower"
        };
        let mut pod = PodRecord {
            t,
            pod: Self::pod(member),
            uid: format!("uid-{member}-{}", self.incarnations[member as usize]),
            resource_version: self.resource_version,
            node: Some(format!("worker-{member}")),
            role: Some(role.to_owned()),
            phase: "Running".to_owned(),
            ready: true,
            deleting: false,
            deleted: false,
        };
        change(&mut pod);
        self.last[member as usize] = Some(Record::Pod(pod.clone()));
        Record::Pod(pod)
    }

    /// A step of the one fault.
    pub(crate) fn fault(t: Nanos, member: u32, step: FaultStep) -> Record {
        Record::Fault(FaultRecord {
            t,
            fault: 0,
            name: "kill_process".to_owned(),
            target: format!("etcd in {}", Self::pod(member)),
            step,
            evidence: BTreeMap::new(),
            writes: Vec::new(),
        })
    }
}
