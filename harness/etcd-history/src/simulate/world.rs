//! The loop of simulated events: calls leave, requests are applied one after the other, answers come back.

mod client;
mod server;
mod story;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::members::{self, Members};
use super::mix::{self, PREFIX, Seen};
use super::plan::Plan;
use super::process::Process;
use super::random::Random;
use super::store::VersionedStore;
use super::watchers::{Feed, Source, Watcher, Wish};
use crate::hash::FastMap;
use crate::history::History;
use crate::record::{
    Call, KeyValue, Nanos, OpId, Outcome, Record, Request, Response, Return, Route,
};

const MICROSECOND: Nanos = 1_000;
const MILLISECOND: Nanos = 1_000 * MICROSECOND;
const SECOND: Nanos = 1_000 * MILLISECOND;
/// A client gives up after this.
const DEADLINE: Nanos = SECOND;
/// When a simulated run begins.
const BEGIN: Nanos = 1_700_000_000 * SECOND;
/// Routes of the open-loop writers.
const ROUTES: [Route; 3] = [Route::ServiceHeld, Route::ServiceFresh, Route::DialAll];

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Client(u32),
    Writer(usize),
    Apply(OpId),
    Return(OpId),
    Deliver(usize),
    Join(u32),
    Sample,
    Leases,
    Kill,
    Effective,
    Elect,
    Label,
    Endpoints,
    Revive,
    Healed,
    TakeDown,
    BringBack,
    Die,
    Restart,
}

/// An operation on its way.
struct Flight {
    client: u32,
    request: Request,
    at_member: bool,
    /// False for an open-loop write: no client continues after it.
    closed_loop: bool,
    /// Its outcome is already settled as unknown; it may still be applied.
    given_up: bool,
}

/// A lease that is alive.
struct Lease {
    ttl: Nanos,
    due: Nanos,
}

/// Everything simulated.
pub(crate) struct World {
    plan: Plan,
    random: Random,
    now: Nanos,
    queue: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    queued: u64,
    records: Vec<Record>,
    store: VersionedStore,
    feed: Feed,
    watchers: Vec<Watcher>,
    members: Members,
    /// Revision that each member has applied, for its local reads.
    applied: Vec<i64>,
    leases: BTreeMap<i64, Lease>,
    lease_of: FastMap<u32, i64>,
    flights: FastMap<OpId, Flight>,
    outcomes: FastMap<OpId, Outcome>,
    next_op: OpId,
    left: u64,
    free_writers: Vec<u32>,
    killed: u32,
    /// Followers that the operator has restarted.
    restarted: u32,
    last: Option<KeyValue>,
    /// The recording client that runs now, or the one that was killed.
    process: Process,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            random: Random::new(plan.seed),
            now: BEGIN,
            queue: BinaryHeap::new(),
            queued: 0,
            records: Vec::new(),
            store: VersionedStore::new(),
            feed: Feed::new(),
            watchers: Vec::new(),
            members: Members::new(plan.members),
            applied: vec![1; plan.members as usize],
            leases: BTreeMap::new(),
            lease_of: FastMap::default(),
            flights: FastMap::default(),
            outcomes: FastMap::default(),
            next_op: 1,
            left: plan.operations,
            free_writers: (1_000..1_600).rev().collect(),
            killed: 0,
            restarted: 0,
            last: None,
            process: Process::default(),
            plan,
        }
    }

    pub(crate) fn run(mut self) -> History {
        self.begin();
        while let Some(Reverse((t, _, event))) = self.queue.pop() {
            self.now = t;
            self.happen(event);
        }
        self.finish();
        self.records.sort_by_key(Record::time);
        if self.plan.variety.cut_off {
            let from = self.records.len() / 4;
            let left = from + self.random.position(self.records.len() - from);
            self.records.truncate(left);
        }
        History {
            records: self.records,
        }
    }

    fn begin(&mut self) {
        let t = self.now;
        self.records.push(Record::Start {
            t,
            incarnation: self.plan.seed,
            config: serde_json::Value::Null,
        });
        self.records.push(Record::Phase {
            t,
            name: "warm_up".to_owned(),
        });
        let pods = self.members.pods(t);
        self.records.extend(pods);
        let endpoints = self.members.endpoints(t);
        self.records.push(endpoints);
        self.join_all();
        if self.plan.variety.late_watchers {
            self.after(400 * MILLISECOND, Event::Join(0));
            self.after(600 * MILLISECOND, Event::Join(1));
        }
        for client in 0..self.plan.clients {
            self.soon(2_000, Event::Client(client));
        }
        if self.plan.writer_period_ms > 0 {
            (0..ROUTES.len()).for_each(|writer| self.soon(5_000, Event::Writer(writer)));
        }
        self.after(0, Event::Sample);
        self.after(100 * MILLISECOND, Event::Leases);
        if self.plan.kill_leader {
            self.after(2 * SECOND, Event::Kill);
        }
        if self.plan.restart_follower {
            self.after(5 * SECOND, Event::TakeDown);
        }
        if self.plan.variety.restart_client {
            // Before the fault, or in its round.
            let at = if self.random.chance(70) { 1_000 } else { 3_200 };
            self.after(at * MILLISECOND, Event::Die);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Client(client) => self.closed_loop(client),
            Event::Writer(writer) => self.open_loop(writer),
            Event::Apply(op) => self.apply(op),
            Event::Return(op) => self.answer(op),
            Event::Join(which) => {
                let wish = [Wish::Future, Wish::Next][which as usize];
                let number = u32::try_from(self.watchers.len()).unwrap_or(0);
                self.join(number, wish);
            }
            Event::Deliver(watcher) if watcher < self.process.first_watcher => {}
            Event::Deliver(watcher) => {
                self.deliver(watcher);
                self.again(1_000, 20_000, event);
            }
            Event::Sample => {
                self.sample(self.now);
                self.again(20_000, 40_000, event);
            }
            Event::Leases => {
                self.expire();
                self.again(50_000, 100_000, event);
            }
            Event::Die => self.die(),
            Event::Restart => self.start_again(),
            _ => self.disturb(event),
        }
    }

    /// Those that watch from the beginning.
    fn join_all(&mut self) {
        for number in 0..self.plan.watchers {
            self.join(number, Wish::All);
        }
        if self.plan.narrow_watcher {
            self.join(self.plan.watchers, Wish::Some);
        }
    }

    fn join(&mut self, number: u32, wish: Wish) {
        let away = self.plan.variety.watchers_away_ms * MILLISECOND;
        let target = Members::pod(number % self.plan.members);
        let number = self.process.number(number);
        let mut watcher = Watcher::new(number, target, (wish, away));
        let source = Source {
            feed: &self.feed,
            compacted: self.store.compacted,
            revision: self.store.revision,
        };
        let records = watcher.begin(self.now, wish, &source);
        self.records.extend(records);
        let place = self.watchers.len();
        self.watchers.push(watcher);
        self.after(MILLISECOND, Event::Deliver(place));
    }

    fn deliver(&mut self, watcher: usize) {
        let source = Source {
            feed: &self.feed,
            compacted: self.store.compacted,
            revision: self.store.revision,
        };
        let records = self.watchers[watcher].deliver(self.now, &source, &mut self.random);
        self.records.extend(records);
    }

    /// Every member that answers has applied everything by then, but for one that lags, and does not go back behind it.
    fn sample(&mut self, t: Nanos) {
        let revision = self.store.revision;
        for member in 0..self.plan.members {
            let lags = self.plan.variety.lagging && member + 1 == self.plan.members;
            if self.members.alive(member) == member && !(lags && self.random.chance(80)) {
                self.applied[member as usize] = revision;
            }
        }
        let records = self.members.samples(t, &self.applied);
        self.tell(records);
        self.records.push(self.members.list(t));
        self.tell(members::machine(t));
    }

    fn closed_loop(&mut self, client: u32) {
        if self.left == 0 || !self.process.has(client) {
            return;
        }
        self.ask(client, mix::next);
    }

    /// A client sends its next request, whatever this makes of it.
    fn ask(
        &mut self,
        client: u32,
        next: impl Fn(&mut Random, (u32, OpId), &Seen) -> (Request, bool),
    ) {
        self.left -= 1;
        let seen = Seen {
            keys: self.plan.keys,
            revision: self.store.revision,
            compacted: self.store.compacted,
            leases_in_txns: self.plan.variety.leases_in_txns,
            lease: self.lease_of.get(&client).copied().unwrap_or(0),
            last: self.last.clone(),
        };
        let op = self.next_op;
        let (request, at_member) = next(&mut self.random, (client, op), &seen);
        self.send((client, Route::ServiceHeld), request, (at_member, true));
    }

    fn open_loop(&mut self, writer: usize) {
        if self.left == 0 && !self.busy() {
            return;
        }
        self.after(
            self.plan.writer_period_ms * MILLISECOND,
            Event::Writer(writer),
        );
        if self.process.away {
            return;
        }
        let Some(client) = self.free_writers.pop() else {
            return;
        };
        let op = self.next_op;
        let key = format!("{PREFIX}w/{op}");
        self.send(
            (client, ROUTES[writer]),
            Request::Put {
                key,
                value: format!("w{client}-{op}"),
                lease: 0,
            },
            (false, false),
        );
    }

    /// True while the closed loop or the fault still runs.
    fn busy(&self) -> bool {
        let end = if self.plan.restart_follower {
            6 * SECOND
        } else {
            4 * SECOND
        };
        self.left > 0 || (self.plan.kill_leader && self.now < BEGIN + end)
    }

    fn send(
        &mut self,
        (client, route): (u32, Route),
        request: Request,
        (at_member, closed_loop): (bool, bool),
    ) {
        let op = self.next_op;
        self.next_op += 1;
        let t = self.now;
        self.records.push(Record::Call(Call {
            t,
            op,
            client,
            route,
            scheduled: t,
            request: request.clone(),
        }));
        // A delete that stands alone could not be recognised later: its outcome is always known here.
        let recognised = !matches!(request, Request::Delete { .. });
        let old = matches!(request, Request::Range { revision: 1.., .. });
        let mut flight = Flight {
            client,
            request,
            at_member,
            closed_loop,
            given_up: false,
        };
        if self.random.chance(if old { 20 } else { 1 }) {
            self.settle(
                op,
                Outcome::Failed {
                    class: "connection_refused_before_send".to_owned(),
                    message: String::new(),
                },
                500,
            );
        } else if recognised && self.random.chance(self.plan.unknown_percent) {
            flight.given_up = true;
            self.settle(
                op,
                Outcome::Unknown {
                    class: "deadline".to_owned(),
                    message: String::new(),
                },
                20_000,
            );
            if self.random.chance(60) {
                self.soon(60_000, Event::Apply(op));
            }
        } else {
            self.soon(2_500, Event::Apply(op));
        }
        self.flights.insert(op, flight);
    }

    fn settle(&mut self, op: OpId, outcome: Outcome, within_us: i64) {
        self.outcomes.insert(op, outcome);
        self.soon(within_us, Event::Return(op));
    }

    fn answer(&mut self, op: OpId) {
        if self.process.left_behind(op) {
            self.outcomes.remove(&op);
            return;
        }
        let (Some(flight), Some(outcome)) = (self.flights.get(&op), self.outcomes.remove(&op))
        else {
            return;
        };
        let (client, closed_loop) = (flight.client, flight.closed_loop);
        match (&flight.request, &outcome) {
            (Request::LeaseGrant { id, .. }, Outcome::Ok { .. }) => {
                self.lease_of.insert(client, *id);
            }
            (Request::LeaseRevoke { .. }, _)
            | (
                _,
                Outcome::Ok {
                    response: Response::LeaseKeepAlive { ttl: 0 },
                    ..
                },
            ) => {
                self.lease_of.remove(&client);
            }
            (Request::Put { lease: 1.., .. }, Outcome::Failed { .. }) => {
                self.lease_of.remove(&client);
            }
            _ => {}
        }
        let keep = flight.given_up;
        self.conclude(op, (client, closed_loop), outcome);
        if !keep {
            self.flights.remove(&op);
        }
    }

    fn conclude(&mut self, op: OpId, (client, closed_loop): (u32, bool), outcome: Outcome) {
        self.records.push(Record::Return(Return {
            t: self.now,
            op,
            outcome,
        }));
        if closed_loop {
            let within_us = self.think_us();
            self.soon(within_us, Event::Client(client));
        } else {
            self.free_writers.push(client);
        }
    }

    /// With a fault the operations are spread over the run, else clients are as quick as they can be.
    fn think_us(&self) -> i64 {
        if !self.plan.kill_leader {
            return 4_000;
        }
        let spread = 8_000_000 * u64::from(self.plan.clients) / self.plan.operations.max(1);
        i64::try_from(spread).unwrap_or(4_000)
    }

    fn after(&mut self, delay: Nanos, event: Event) {
        self.queued += 1;
        self.queue
            .push(Reverse((self.now + delay, self.queued, event)));
    }

    /// Within so many microseconds.
    fn soon(&mut self, within_us: i64, event: Event) {
        let delay = self.random.between(50, within_us.max(51)) * MICROSECOND;
        self.after(delay, event);
    }

    /// Repeats an event as long as operations are on their way or the disturbance is not over.
    fn again(&mut self, from_us: i64, to_us: i64, event: Event) {
        let waiting = matches!(event, Event::Apply(_));
        if waiting || self.busy() || !self.outcomes.is_empty() {
            let delay = self.random.between(from_us, to_us) * MICROSECOND;
            self.after(delay, event);
        }
    }
}

/// Simulates a run of a correct etcd (but for [`Variety::diverges`](super::Variety)) and returns its history.
pub fn simulate(plan: &Plan) -> History {
    World::new(*plan).run()
}
