//! What a client asks that takes locks or stands in elections: it takes one, writes what the lock guards, and lets it
//! go, or lets its lease end and believes that it still holds it. Pure, as the mix is.
//!
//! Each write under a lock compares the revision at which the lock was taken, so that etcd refuses it when the lock is
//! gone. A lock is one key, which the first takes under its lease. In an election each candidate has a key of its own,
//! and that which was created first leads.

use etcd_history::{
    Outcome, Request, Response,
    record::{Compare, KeyValue, OpId},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::config::range_end;
use crate::mix::Step;

/// Shortest and longest lease, in seconds: etcd gives none below one and a half election timeouts, rounded up.
const LEASE_S: std::ops::RangeInclusive<i64> = 1..=2;

/// What a client competes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prize {
    Lock,
    Election,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Holder {
    rng: StdRng,
    client: u32,
    prefix: String,
    prize: Prize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Without a lease.
    Idle,
    /// With one.
    Leased { lease: i64 },
    /// Its key stands in the election.
    Candidate { lease: i64, token: i64 },
    /// It holds the lock, or held it.
    Holds {
        lease: i64,
        token: i64,
        /// It renews its lease no more, and writes until it is refused.
        silent: bool,
    },
}

impl Holder {
    /// A client's generator.
    pub(crate) fn new(seed: u64, client: u32, prefix: &str, prize: Prize) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed ^ (u64::from(client) << 20)),
            client,
            prefix: prefix.to_owned(),
            prize,
            state: State::Idle,
        }
    }

    /// The next request; `op` makes its values unique.
    pub(crate) fn next(&mut self, op: OpId) -> Step {
        let request = match self.state {
            State::Idle => Request::LeaseGrant {
                id: ((i64::from(self.client) + 1) << 40) | op.cast_signed(),
                ttl: self.rng.random_range(LEASE_S),
            },
            State::Leased { lease } => self.wait(lease, |holder| holder.take(op, lease)),
            State::Candidate { lease, .. } => self.wait(lease, |holder| holder.candidates()),
            State::Holds {
                lease,
                token,
                silent,
            } => self.hold((lease, token), silent, op),
        };
        Step {
            request,
            at_member: false,
        }
    }

    /// Learns from an answer.
    pub(crate) fn learn(&mut self, request: &Request, outcome: &Outcome) {
        let answer = match outcome {
            Outcome::Ok {
                response, revision, ..
            } => Some((response, *revision)),
            _ => None,
        };
        self.state = match (self.state, request, answer) {
            (State::Idle, Request::LeaseGrant { id, .. }, Some(_)) => State::Leased { lease: *id },
            // Released, or the lease is gone: a client that is silent does not look.
            (
                State::Holds { silent: false, .. } | State::Leased { .. },
                Request::LeaseRevoke { .. },
                _,
            )
            | (
                State::Leased { .. } | State::Candidate { .. } | State::Holds { silent: false, .. },
                Request::LeaseKeepAlive { .. },
                None,
            ) => State::Idle,
            (State::Leased { lease }, Request::Txn { .. }, answer) => self.taken(lease, answer),
            (State::Candidate { lease, token }, Request::Range { .. }, Some((response, _))) => {
                self.counted(lease, token, response)
            }
            (State::Holds { .. }, Request::Txn { then, .. }, Some((response, _))) => {
                let refused = matches!(
                    response,
                    Response::Txn {
                        succeeded: false,
                        ..
                    }
                );
                let released = then
                    .iter()
                    .any(|part| matches!(part, Request::Delete { .. }));
                if refused || released {
                    State::Idle
                } else {
                    self.state
                }
            }
            (state, ..) => state,
        };
    }

    /// Renews its lease now and then, while it waits.
    fn wait(&mut self, lease: i64, ask: impl FnOnce(&mut Self) -> Request) -> Request {
        if self.rng.random_bool(0.2) {
            return Request::LeaseKeepAlive { id: lease };
        }
        ask(self)
    }

    fn take(&self, op: OpId, lease: i64) -> Request {
        let key = self.own();
        Request::Txn {
            compare: vec![Compare::Version {
                key: key.clone(),
                version: 0,
            }],
            then: vec![Request::Put {
                key: key.clone(),
                value: self.value(op),
                lease,
            }],
            otherwise: vec![get(key)],
        }
    }

    fn candidates(&self) -> Request {
        let key = format!("{}election/", self.prefix);
        Request::Range {
            range_end: Some(range_end(&key)),
            key,
            limit: 0,
            serializable: false,
            revision: 0,
        }
    }

    fn hold(&mut self, (lease, token): (i64, i64), silent: bool, op: OpId) -> Request {
        let fence = vec![Compare::ModRevision {
            key: self.own(),
            revision: token,
        }];
        let draw = if silent {
            0
        } else {
            self.rng.random_range(0..100u32)
        };
        match draw {
            0..70 => Request::Txn {
                compare: fence,
                then: vec![self.put(self.guarded(), op)],
                otherwise: vec![get(self.own())],
            },
            70..88 => Request::LeaseKeepAlive { id: lease },
            88..94 => {
                self.state = State::Holds {
                    lease,
                    token,
                    silent: true,
                };
                get(self.own())
            }
            94..97 => Request::LeaseRevoke { id: lease },
            _ => Request::Txn {
                compare: fence,
                then: vec![
                    Request::Delete {
                        key: self.own(),
                        range_end: None,
                    },
                    // A delete has no value by which it can be recognised later.
                    self.put(format!("{}op/{}", self.prefix, self.client), op),
                ],
                otherwise: vec![get(self.own())],
            },
        }
    }

    /// The lock is taken, or the candidate's key stands.
    fn taken(&self, lease: i64, answer: Option<(&Response, i64)>) -> State {
        let token = match answer {
            Some((
                Response::Txn {
                    succeeded: true, ..
                },
                revision,
            )) => revision,
            Some(_) => return State::Leased { lease },
            // It may be taken, by a revision that is not known: the lease ends by itself.
            None => return State::Idle,
        };
        match self.prize {
            Prize::Lock => State::Holds {
                lease,
                token,
                silent: false,
            },
            Prize::Election => State::Candidate { lease, token },
        }
    }

    /// Whose key was created first leads.
    fn counted(&self, lease: i64, token: i64, response: &Response) -> State {
        let Response::Range { kvs, .. } = response else {
            return self.state;
        };
        let own = |kv: &&KeyValue| kv.create_revision == token;
        let first = kvs.iter().min_by_key(|kv| kv.create_revision);
        match (first.filter(own), kvs.iter().find(own)) {
            (Some(_), _) => State::Holds {
                lease,
                token,
                silent: false,
            },
            (None, Some(_)) => self.state,
            (None, None) => State::Idle,
        }
    }

    /// The key that it holds.
    fn own(&self) -> String {
        match self.prize {
            Prize::Lock => format!("{}lock", self.prefix),
            Prize::Election => format!("{}election/{}", self.prefix, self.client),
        }
    }

    fn guarded(&self) -> String {
        match self.prize {
            Prize::Lock => format!("{}guarded/lock", self.prefix),
            Prize::Election => format!("{}guarded/election", self.prefix),
        }
    }

    fn put(&self, key: String, op: OpId) -> Request {
        Request::Put {
            key,
            value: self.value(op),
            lease: 0,
        }
    }

    fn value(&self, op: OpId) -> String {
        format!("c{}-{op}", self.client)
    }
}

fn get(key: String) -> Request {
    Request::Range {
        key,
        range_end: None,
        limit: 0,
        serializable: false,
        revision: 0,
    }
}

#[cfg(test)]
mod tests;
