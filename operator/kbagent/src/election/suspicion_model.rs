//! A model of several judges with their planners: beats that are lost or late, timers that are late, leaders that hang,
//! freeze, are cut off from agents or from peers, and come back, agents that lie or are old. Every run is a function of
//! its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kbagent_protocol::{ElectionRequest, ElectionStanding, Id};

use super::tests::{ELECTION, LED, ms};
use super::*;
use crate::election::plan::{Ask, Evidence, Look, Planner, Step, Witness};
use crate::election::reach::{Group, Reach};
use crate::election::sockets::Socket;

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Its agent tells that etcd does not answer.
    Hung,
    /// Nothing answers.
    Frozen,
    /// Nothing reaches the first so many of the others.
    CutOff(usize),
    /// Its etcd does not reach the first so many of the others, agents and clients do.
    Peers(usize),
    /// Its agent claims that no majority is reached, which is not so.
    Lies,
}

#[derive(Clone, Copy, Debug)]
struct Troubles {
    members: usize,
    fault: Fault,
    /// Of 100 beats and answers so many are lost.
    lost: u64,
    /// Longest delay of a beat.
    delay: u64,
    /// Agents stop now and then.
    stalls: bool,
    /// The leader comes back.
    heals: bool,
    /// So many of the others have an agent that knows no claims.
    old: usize,
    /// A fault of ours: a judge that does not notice that it was late.
    blind: bool,
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }
}

#[derive(Clone, Copy)]
struct Sign {
    /// The moment that it is a sign of.
    of: u64,
    beats: bool,
    /// Since when it claims that no majority is reached.
    cut_off: Option<u64>,
}

struct Agent {
    judge: Judge,
    own: Punctuality,
    planner: Planner,
    ticked: u64,
    /// Beats and answers under way, and when they come.
    signs: Vec<(u64, Sign)>,
    asked: u64,
    stall: (u64, u64),
    wait: u64,
    suspected: bool,
}

struct Pending {
    at: u64,
    agent: usize,
    ask: Ask,
    consents: BTreeSet<Id>,
}

struct Model {
    troubles: Troubles,
    random: Random,
    base: Instant,
    now: u64,
    agents: Vec<Agent>,
    fault: (u64, u64),
    /// What the leader's agent finds.
    reach: Reach,
    group: Group,
    /// From a fault until the next heartbeat is not acknowledged.
    heartbeat: u64,
    term: u64,
    led: bool,
    pending: Vec<Pending>,
    old: Vec<(usize, ElectionRequest)>,
    orders: Vec<(u64, usize, u64)>,
    broken: Option<String>,
}

const STEP: u64 = 5;
/// Old enough for planners and judges.
const BEGIN: u64 = 2500;
const END: u64 = 6000;
/// A stall that no judge may miss.
const STALL: u64 = 120;
/// Between two heartbeats.
const HEARTBEAT: u64 = 100;
/// A kernel sends again after so long without an acknowledgement.
const RESENT: u64 = 205;

impl Model {
    fn new(troubles: Troubles, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let base = Instant::now();
        let begin = BEGIN + random.below(300);
        let heals = begin + 40 + random.below(900);
        let heartbeat = random.below(HEARTBEAT);
        let agents = (1..troubles.members).map(|_| Agent {
            judge: Judge::new(ELECTION),
            own: Punctuality::default(),
            planner: Planner::new(ELECTION, base),
            ticked: 0,
            signs: vec![],
            asked: 0,
            stall: (0, 0),
            wait: 0,
            suspected: false,
        });
        Self {
            agents: agents.collect(),
            troubles,
            random,
            base,
            now: 0,
            fault: (begin, if troubles.heals { heals } else { END }),
            reach: Reach::default(),
            group: Group {
                voters: troubles.members,
                others: (1..troubles.members).map(address).collect(),
                learners: BTreeSet::new(),
            },
            heartbeat,
            term: LED.term,
            led: true,
            pending: vec![],
            old: vec![],
            orders: vec![],
            broken: None,
        }
    }

    fn clock(&self, at: u64) -> Instant {
        self.base + ms(at)
    }

    fn faulty(&self) -> bool {
        self.troubles.fault != Fault::None && (self.fault.0..self.fault.1).contains(&self.now)
    }

    /// Whether agent `n` receives what the leader's side sends, and whether etcd there answers.
    fn reach(&self, n: usize) -> (bool, bool) {
        match self.troubles.fault {
            _ if !self.faulty() => (true, true),
            Fault::None | Fault::Peers(_) | Fault::Lies => (true, true),
            Fault::Hung => (true, false),
            Fault::Frozen => (false, false),
            Fault::CutOff(of) => (n >= of, n >= of),
        }
    }

    /// Agents that are cut off together with the leader reach no other side.
    fn together(&self, one: usize, other: usize) -> bool {
        match self.troubles.fault {
            Fault::CutOff(of) if self.faulty() => (one < of) == (other < of),
            _ => true,
        }
    }

    fn lost(&mut self) -> bool {
        self.random.below(100) < self.troubles.lost
    }

    fn standing(&self, n: usize) -> ElectionStanding {
        ElectionStanding {
            member_id: Id(n as u64 + 2),
            cluster_id: Id(9),
            term: self.term,
            leader_id: self.led.then_some(LED.leader),
            commit: 100,
            is_learner: false,
        }
    }

    fn witness(&self, n: usize) -> Witness {
        let agent = &self.agents[n];
        let suspects = agent.judge.suspects(&agent.own, self.clock(self.now));
        Witness {
            died: Some(LED),
            evidence: match suspects {
                Some(_) => Evidence::Suspected,
                None => Evidence::Alive,
            },
            own: Some(self.standing(n)),
            stopping: false,
        }
    }

    fn run(mut self) -> Self {
        while self.now < END && self.broken.is_none() && self.orders.len() < 9 {
            self.now += STEP;
            self.deliver();
            for n in 0..self.agents.len() {
                self.live(n);
            }
            self.elect();
        }
        self
    }

    /// The connections of the leader's etcd to the others, as its kernel shows them.
    fn sockets(&mut self) -> Vec<Socket> {
        let cut = match self.troubles.fault {
            Fault::Peers(of) if self.faulty() => of,
            _ => 0,
        };
        let stuck = self.now.checked_sub(self.fault.0 + self.heartbeat);
        let mut sockets = vec![];
        for n in 0..self.agents.len() {
            let (unacked, resent) = match stuck.filter(|_| n < cut) {
                Some(since) => (50 + since / HEARTBEAT * 50, u64::from(since >= RESENT)),
                // Something is acknowledged now and then.
                None if self.troubles.lost > 0 => (self.random.below(9), self.random.below(2)),
                None => (0, 0),
            };
            sockets.push(Socket {
                local: SocketAddr::new(address(0), 2380),
                remote: SocketAddr::new(address(n + 1), 40_000),
                unacked: u32::try_from(unacked).expect("a few bytes"),
                resent: u32::try_from(resent).expect("once"),
            });
        }
        sockets
    }

    /// Since when the leader's agent claims that no majority is reached.
    fn cut_off(&mut self) -> Option<u64> {
        match self.troubles.fault {
            Fault::None | Fault::Peers(_) => {}
            Fault::Lies => return self.faulty().then(|| self.now - 200),
            Fault::Hung | Fault::Frozen | Fault::CutOff(_) => return None,
        }
        let sockets = self.sockets();
        let now = self.clock(self.now);
        let found = self.reach.look(&sockets, &self.group, now);
        let since = found?.saturating_duration_since(self.base);
        u64::try_from(since.as_millis()).ok()
    }

    /// Sends beats and replays old requests.
    fn deliver(&mut self) {
        if self.now.is_multiple_of(30) {
            let cut_off = self.cut_off();
            for n in 0..self.agents.len() {
                let (beat, etcd) = self.reach(n);
                let sign = Sign {
                    of: if etcd { self.now } else { self.fault.0 },
                    beats: true,
                    cut_off: cut_off.filter(|_| n + self.troubles.old < self.agents.len()),
                };
                if beat && !self.lost() {
                    let at = self.now + self.random.below(self.troubles.delay);
                    self.agents[n].signs.push((at, sign));
                }
            }
        }
        if !self.old.is_empty() && self.random.below(10) == 0 {
            let at = self.random.below(self.old.len() as u64) as usize;
            let (n, request) = self.old[at].clone();
            let (witness, now) = (self.witness(n), self.clock(self.now));
            // Whatever it answers: no answer of it is counted.
            let _answer = self.agents[n].planner.consent(&request, &witness, now);
        }
    }

    fn live(&mut self, n: usize) {
        let now = self.clock(self.now);
        if self.troubles.stalls && self.random.below(400) == 0 {
            let long = STALL + self.random.below(600);
            if self.agents[n].stall.1 < self.now {
                self.agents[n].stall = (self.now, self.now + long);
            }
        }
        let (base, blind) = (self.base, self.troubles.blind);
        let agent = &mut self.agents[n];
        if (agent.stall.0..agent.stall.1).contains(&self.now) {
            return;
        }
        let late = self.now.saturating_sub(agent.ticked) > 60;
        if late && blind {
            agent.own = Punctuality::default();
        }
        if self.now >= agent.ticked + 30 {
            agent.own.tick(now, None);
            agent.ticked = self.now;
        }
        agent.judge.watch(Some(LED));
        // The task that reads may have its turn after the judge: what came during a stall is read a step later.
        if !late {
            let here = self.now;
            let ago = |at: u64| here.saturating_sub(at);
            agent.signs.retain(|(at, sign)| {
                let beat = Beat {
                    silent_ms: Some(ago(sign.of)),
                    starved: false,
                    cut_off_ms: sign.cut_off.map(ago),
                };
                if *at <= here && sign.beats {
                    agent.judge.beat(LED, &beat, now);
                } else if *at <= here {
                    agent.judge.sign(LED, base + ms(sign.of), now);
                }
                *at > here
            });
        }
        let asks = agent.judge.asks(now) && self.now >= agent.asked + 150;
        let suspects = agent.judge.suspects(&agent.own, now).is_some();
        if !suspects && std::mem::replace(&mut agent.suspected, suspects) {
            agent.planner.was_there();
        }
        agent.suspected = suspects;
        if asks {
            agent.asked = self.now;
            if self.reach(n).1 && !self.lost() {
                let at = self.now + STEP;
                let answer = Sign {
                    of: at,
                    beats: false,
                    cut_off: None,
                };
                self.agents[n].signs.push((at, answer));
            }
        }
        if suspects && self.now >= self.agents[n].wait {
            self.campaign(n);
        }
    }

    fn campaign(&mut self, n: usize) {
        let all = 0..self.agents.len();
        let stalled =
            |m: usize| (self.agents[m].stall.0..self.agents[m].stall.1).contains(&self.now);
        let others: Vec<usize> = all
            .filter(|m| *m != n && self.together(n, *m) && !stalled(*m))
            .collect();
        let look = Look {
            witness: self.witness(n),
            others: others.iter().map(|m| self.standing(*m)).collect(),
            voters: (1..=self.troubles.members as u64).map(Id).collect(),
        };
        let now = self.clock(self.now);
        self.agents[n].wait = self.now + 20;
        match self.agents[n].planner.step(&look, now) {
            Step::GiveWay(_) => {}
            Step::Wait(rest) => {
                self.agents[n].wait = self.now + u64::try_from(rest.as_millis()).unwrap_or(60);
            }
            Step::Ask(ask) => {
                let request = ElectionRequest {
                    leader: LED.leader,
                    standing: ask.standing.clone(),
                    consent: true,
                };
                let mut consents = BTreeSet::new();
                for m in others {
                    let witness = self.witness(m);
                    let consent = self.agents[m].planner.consent(&request, &witness, now);
                    self.old.push((m, request.clone()));
                    if consent.is_ok() {
                        self.on_time(m);
                        consents.insert(Id(m as u64 + 2));
                    }
                }
                self.on_time(n);
                let at = self.now
                    + self
                        .random
                        .below(if self.troubles.lost > 0 { 500 } else { STEP });
                self.pending.push(Pending {
                    at,
                    agent: n,
                    ask,
                    consents,
                });
            }
        }
    }

    /// A judge whose word counts was not stopped just now.
    fn on_time(&mut self, n: usize) {
        let (_, until) = self.agents[n].stall;
        if until > 0 && self.now < until + 1000 {
            self.broken = Some(format!(
                "agent {n} was stopped until {until}, at {}",
                self.now
            ));
        }
    }

    fn elect(&mut self) {
        let due = |pending: &Pending| pending.at <= self.now;
        let (ready, later) = std::mem::take(&mut self.pending).into_iter().partition(due);
        self.pending = later;
        let _: &Vec<Pending> = &ready;
        for Pending {
            agent,
            ask,
            consents,
            ..
        } in ready
        {
            let now = self.clock(self.now);
            let order = self.agents[agent].planner.elect(&ask, &consents, now);
            let Some(order) = order else { continue };
            self.orders.push((self.now, agent, order.term));
            if let (true, Fault::CutOff(of)) = (self.faulty(), self.troubles.fault) {
                let side = if agent < of {
                    of
                } else {
                    self.agents.len() - of
                };
                if side <= self.troubles.members / 2 {
                    self.broken = Some(format!("a minority of {side} campaigned"));
                }
            }
            if self.troubles.fault == Fault::Lies && order.term == self.term {
                // The liar leads again.
                self.term += 1;
                let took_part = (0..self.agents.len())
                    .filter(|n| *n == agent || consents.contains(&Id(*n as u64 + 2)));
                for n in took_part.collect::<Vec<_>>() {
                    self.agents[n].planner.was_needless(true, now);
                }
                continue;
            }
            // A message of a former term is void. One vote is sometimes not to be had.
            if order.term == self.term {
                self.term += 1;
                self.led = self.random.below(4) > 0 && {
                    // Another leads now: the model's agents only know the old one, so this run is over.
                    self.now = END;
                    true
                };
            }
        }
    }

    fn broken(&self) -> Option<String> {
        let mut by_term = BTreeMap::new();
        for (at, agent, term) in &self.orders {
            if by_term.insert(term, agent).is_some() {
                return Some(format!(
                    "two campaigns from term {term}, the second at {at}"
                ));
            }
        }
        let fault = self.troubles.fault;
        let last = self.fault.0
            + 1600
            + if matches!(fault, Fault::Peers(_)) {
                130
            } else {
                0
            };
        let ends = fault != Fault::None && fault != Fault::Lies;
        let late = self
            .orders
            .iter()
            .find(|(at, ..)| ends && !self.troubles.heals && *at > last);
        if let Some(order) = late {
            return Some(format!("{order:?}: raft's own timeout had its turn"));
        }
        self.broken.clone()
    }
}

/// Of the leader's machine, which is 0, and of the others.
fn address(n: usize) -> IpAddr {
    IpAddr::from([10, 77, 1, u8::try_from(n).expect("few members")])
}

#[path = "suspicion_model_tests.rs"]
mod tests;
