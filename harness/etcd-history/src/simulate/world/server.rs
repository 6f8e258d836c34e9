//! The server side of the simulation: requests are executed one after the other, leases end, revisions are published.

use super::super::members::Members;
use super::{Event, Lease, SECOND, World};
use crate::record::{KeyEvent, OpId, Outcome, Request, Response};

impl World {
    /// A request reaches the store; while no member leads it waits, and its client may not.
    pub(super) fn apply(&mut self, op: OpId) {
        // What a client had sent when it was killed may have been lost with it.
        if self.process.left_behind(op) && self.random.chance(40) {
            self.flights.remove(&op);
            return;
        }
        let Some(flight) = self.flights.get_mut(&op) else {
            return;
        };
        if self.members.leader.is_none() && !flight.at_member {
            let alone = matches!(flight.request, Request::Delete { .. });
            if !flight.given_up && !alone && self.random.chance(5) {
                flight.given_up = true;
                self.settle(
                    op,
                    Outcome::Unknown {
                        class: "leader_changed".to_owned(),
                        message: String::new(),
                    },
                    2_000,
                );
            }
            self.again(1_000, 20_000, Event::Apply(op));
            return;
        }
        let (request, at_member, given_up) =
            (flight.request.clone(), flight.at_member, flight.given_up);
        let outcome = if at_member {
            self.local(&request)
        } else {
            self.execute(&request)
        };
        // A flight that was given up stays known until its client knows.
        if !given_up {
            self.settle(op, outcome, 2_500);
        } else if !self.outcomes.contains_key(&op) {
            self.flights.remove(&op);
        }
    }

    fn local(&mut self, request: &Request) -> Outcome {
        let wish = u32::try_from(self.random.below(u64::from(self.plan.members))).unwrap_or(0);
        let member = self.members.alive(wish);
        let applied = &mut self.applied[member as usize];
        *applied = self
            .random
            .between((*applied).max(self.store.compacted), self.store.revision);
        let revision = *applied;
        let mut response = self.store.answer_range(request, revision);
        let diverges = self.plan.variety.diverges && member + 1 == self.plan.members;
        if let Response::Range { kvs, .. } = &mut response
            && let Some(kv) = kvs.first_mut()
            && diverges
            && self.left < self.plan.operations / 2
        {
            kv.value += "?";
        }
        Outcome::Ok {
            revision,
            term: self.members.term(),
            member: Members::id(member),
            response,
        }
    }

    fn execute(&mut self, request: &Request) -> Outcome {
        let refuse = |class: &str| Outcome::Failed {
            class: class.to_owned(),
            message: String::new(),
        };
        match request {
            Request::Range { revision, .. }
                if *revision > 0 && *revision < self.store.compacted =>
            {
                return refuse("compacted");
            }
            Request::Compact { revision } if *revision <= self.store.compacted => {
                return refuse("compacted");
            }
            Request::Put { lease: 1.., .. } if !self.attaches(request) => {
                return refuse("lease_not_found");
            }
            Request::Txn {
                then, otherwise, ..
            } if then.iter().chain(otherwise).any(
                |put| matches!(put, Request::Put { lease: 1.., .. } if !self.attaches(put)),
            ) =>
            {
                return refuse("lease_not_found");
            }
            Request::LeaseRevoke { id } if !self.leases.contains_key(id) => {
                return refuse("lease_not_found");
            }
            _ => {}
        }
        let (mut response, mut events) = self.store.execute(request);
        match request {
            Request::LeaseGrant { id, ttl } => {
                let ttl = ttl * SECOND;
                self.leases.insert(
                    *id,
                    Lease {
                        ttl,
                        due: self.now + ttl,
                    },
                );
            }
            Request::LeaseKeepAlive { id } => response = self.keep_alive(*id),
            Request::LeaseRevoke { id } => {
                self.leases.remove(id);
                let keys = self.store.leased(*id);
                events = self.store.delete_keys(&keys);
            }
            _ => {}
        }
        self.publish(events);
        let leader = self.members.leader.unwrap_or(0);
        // It answers from its own store.
        self.applied[leader as usize] = self.store.revision;
        Outcome::Ok {
            revision: self.store.revision,
            term: self.members.term(),
            member: Members::id(leader),
            response,
        }
    }

    /// True for a put whose lease is there.
    fn attaches(&self, put: &Request) -> bool {
        matches!(put, Request::Put { lease, .. } if self.leases.contains_key(lease))
    }

    fn keep_alive(&mut self, id: i64) -> Response {
        let now = self.now;
        let ttl = self.leases.get_mut(&id).map_or(0, |lease| {
            lease.due = now + lease.ttl;
            lease.ttl / SECOND
        });
        Response::LeaseKeepAlive { ttl }
    }

    pub(super) fn expire(&mut self) {
        if self.members.leader.is_none() {
            return;
        }
        let due: Vec<i64> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.due <= self.now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.leases.remove(&id);
            let keys = self.store.leased(id);
            let events = self.store.delete_keys(&keys);
            self.publish(events);
        }
    }

    fn publish(&mut self, events: Vec<KeyEvent>) {
        if let Some(KeyEvent::Put { kv, .. }) = events.first() {
            self.last = Some(kv.clone());
        }
        if !events.is_empty() {
            self.feed.push((self.store.revision, events));
        }
    }
}
