//! What happens to the simulated cluster: the leader is killed, a follower is restarted, and the final phase.

use super::super::members::Members;
use super::super::mix::{PREFIX, PREFIX_END};
use super::{DEADLINE, Event, MILLISECOND, World};
use crate::record::{
    Call, FaultStep, FinalState, HashSample, Nanos, Outcome, Record, Request, Return, Route,
};

/// Followers that the operator restarts, one after the other.
const FOLLOWERS: u32 = 2;

impl World {
    /// Steps of the fault and of the operator's restart.
    pub(super) fn disturb(&mut self, event: Event) {
        let t = self.now;
        match event {
            Event::Kill => {
                self.killed = self.members.leader.take().unwrap_or(0);
                self.members.silence(self.killed, true);
                self.records.push(Record::Phase {
                    t,
                    name: "fault".to_owned(),
                });
                self.records
                    .push(Members::fault(t, self.killed, FaultStep::Injecting));
                let mut injected = Members::fault(t, self.killed, FaultStep::Injected);
                if let Record::Fault(step) = &mut injected {
                    step.writes = vec![self.store.write_elsewhere()];
                }
                self.records.push(injected);
                self.after(5 * MILLISECOND, Event::Effective);
                let election = self.random.between(100, 600) * MILLISECOND;
                self.after(election, Event::Elect);
            }
            Event::Effective => {
                self.records
                    .push(Members::fault(t, self.killed, FaultStep::Effective))
            }
            Event::Elect => {
                self.members.elect();
                for lease in self.leases.values_mut() {
                    lease.due = t + lease.ttl;
                }
                self.sample(t);
                self.after(20 * MILLISECOND, Event::Label);
            }
            Event::Label => {
                let records = if self.plan.variety.pods_unseen {
                    self.members.list_after_label(t)
                } else {
                    self.members.label(t)
                };
                self.records.extend(records);
                self.after(30 * MILLISECOND, Event::Endpoints);
            }
            Event::Endpoints => {
                let record = self.members.endpoints(t);
                self.records.push(record);
                self.after(300 * MILLISECOND, Event::Revive);
            }
            Event::Revive => {
                self.members.silence(self.killed, false);
                if self.plan.variety.snapshot {
                    self.members.returned = Some(self.killed);
                }
                self.records
                    .push(Members::fault(t, self.killed, FaultStep::Healing));
                self.after(10 * MILLISECOND, Event::Healed);
            }
            Event::Healed => self
                .records
                .push(Members::fault(t, self.killed, FaultStep::Healed)),
            _ => self.restart(event),
        }
    }

    /// Steps of the operator's restart of followers.
    fn restart(&mut self, event: Event) {
        let t = self.now;
        match event {
            Event::TakeDown => {
                let follower = self.follower();
                let records = self.members.take_down(t, follower);
                if !self.plan.variety.pods_unseen {
                    self.records.extend(records);
                }
                self.after(400 * MILLISECOND, Event::BringBack);
            }
            Event::BringBack => {
                let follower = self.follower();
                let records = if self.plan.variety.pods_unseen {
                    self.members.silence(follower, false);
                    self.members.replace_unseen(t, follower)
                } else {
                    self.members.bring_back(t, follower)
                };
                self.records.extend(records);
                self.restarted += 1;
                if self.restarted < FOLLOWERS {
                    self.after(300 * MILLISECOND, Event::TakeDown);
                }
            }
            _ => {}
        }
    }

    fn follower(&self) -> u32 {
        (self.members.leader.unwrap_or(0) + 1 + self.restarted) % self.plan.members
    }

    pub(super) fn finish(&mut self) {
        self.now += DEADLINE;
        let t = self.now;
        for watcher in self.process.first_watcher..self.watchers.len() {
            self.deliver(watcher);
        }
        self.records.push(Record::Phase {
            t,
            name: "final".to_owned(),
        });
        self.read_all(t);
        self.dump_all(t + 2 * MILLISECOND);
        let records = self.members.samples(t + 3 * MILLISECOND, &self.applied);
        self.records.extend(records);
    }

    /// A linearizable read of all keys.
    fn read_all(&mut self, t: Nanos) {
        let request = Request::Range {
            key: PREFIX.to_owned(),
            range_end: Some(PREFIX_END.to_owned()),
            limit: 0,
            serializable: false,
            revision: 0,
        };
        let client = self.process.number(9_000);
        let (op, route) = (self.next_op, Route::ServiceHeld);
        let revision = self.store.revision;
        let response = self.store.answer_range(&request, revision);
        let outcome = Outcome::Ok {
            revision,
            term: self.members.term(),
            member: Members::id(0),
            response,
        };
        self.records.push(Record::Call(Call {
            t: t + 1,
            op,
            client,
            route,
            scheduled: t + 1,
            request,
        }));
        self.records.push(Record::Return(Return {
            t: t + MILLISECOND,
            op,
            outcome,
        }));
    }

    /// Key space and hash of each member.
    fn dump_all(&mut self, t: Nanos) {
        for member in 0..self.plan.members {
            let last = member + 1 == self.plan.members;
            let behind = i64::from(last && self.plan.variety.behind);
            let revision = (self.store.revision - behind).max(self.store.compacted);
            let pod = Members::pod(member);
            let mut kvs = self.store.range_at(PREFIX, Some(PREFIX_END), revision);
            let diverges = last && self.plan.variety.diverges;
            if let Some(kv) = kvs.first_mut().filter(|_| diverges) {
                kv.value += "?";
            }
            self.records.push(Record::FinalState(FinalState {
                t,
                pod: pod.clone(),
                revision,
                kvs,
            }));
            let (hash, compact_revision) = (0xfeed_beef, self.store.compacted);
            self.records.push(Record::Hash(HashSample {
                t,
                pod,
                revision,
                hash: hash ^ u32::from(diverges),
                compact_revision,
            }));
            if behind == 0 {
                self.applied[member as usize] = revision;
            }
        }
    }
}
