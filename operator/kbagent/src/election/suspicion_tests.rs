//! Tables for one judge, and a model of several with their planners: beats that are lost or late, timers that are late,
//! leaders that hang, freeze, are cut off, and come back. Every run is a function of its seed.

use std::collections::{BTreeMap, BTreeSet};

use kbagent_protocol::{ElectionRequest, ElectionStanding, Id};

use super::*;
use crate::election::plan::{Ask, Evidence, Look, Planner, Step, Witness};

const ELECTION: Duration = Duration::from_secs(1);
const LED: Died = Died {
    leader: Id(1),
    term: 5,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A judge that knows its leader, and the moment of the newest sign.
fn judge(pace: Duration) -> (Judge, Punctuality, Instant) {
    let (mut judge, mut own) = (Judge::new(ELECTION), Punctuality::default());
    judge.watch(Some(LED));
    let mut now = Instant::now();
    let known = now + KNOWN + pace * 2;
    while now < known {
        now += pace;
        judge.sign(LED, now, now);
    }
    own.tick(now, None);
    (judge, own, now)
}

/// Ticks on time until `end`.
fn ticks(own: &mut Punctuality, from: Instant, end: Instant) {
    let mut now = from;
    while now + BEAT <= end {
        now += BEAT;
        own.tick(now, None);
    }
    own.tick(end, None);
}

#[test]
fn silence_is_suspicious_from_the_floor_to_the_election_timeout() {
    let (judge, mut own, last) = judge(BEAT);
    assert_eq!(judge.patience(), FLOOR);
    for (silence, suspected) in [
        (ms(0), false),
        (FLOOR, false),
        (FLOOR + ms(1), true),
        (ELECTION, true),
        (ELECTION + ms(1), false),
    ] {
        let now = last + silence;
        ticks(&mut own, last, now);
        let found = judge.suspects(&own, now);
        assert_eq!(found, suspected.then_some(LED), "{silence:?}");
        assert_eq!(judge.asks(now), silence >= FLOOR / 2, "{silence:?}");
    }
}

#[test]
fn patience_grows_with_what_was_silent_lately_and_is_forgotten() {
    let (mut judge, mut own, mut now) = judge(ms(100));
    assert_eq!(judge.patience(), ms(300));
    let end = now + MEMORY * 3;
    while now < end {
        now += BEAT;
        judge.sign(LED, now, now);
    }
    assert_eq!(judge.patience(), FLOOR);
    now += ms(260);
    judge.sign(LED, now, now);
    let later = now + ms(900);
    ticks(&mut own, now, later);
    assert_eq!(
        judge.suspects(&own, later),
        None,
        "three times that is as long as raft's own timeout"
    );
}

#[test]
fn only_a_leader_that_is_known_is_judged_by_its_own_signs() {
    let (mut judge, mut own, last) = judge(BEAT);
    let now = last + FLOOR * 2;
    ticks(&mut own, last, now);
    let other = Died {
        term: LED.term + 1,
        ..LED
    };
    judge.sign(other, now, now);
    assert_eq!(judge.suspects(&own, now), Some(LED), "another's sign");
    let mut after = judge;
    after.sign(LED, now + ms(50), now);
    assert_eq!(after.suspects(&own, now), None, "none is of the future");
    after = judge;
    after.watch(None);
    assert_eq!(after.suspects(&own, now), None);
    after.watch(Some(other));
    after.sign(other, now, now);
    let later = now + FLOOR * 2;
    ticks(&mut own, now, later);
    assert_eq!(after.suspects(&own, later), None, "known for too short");
}

#[test]
fn a_judge_that_is_late_says_nothing_for_a_while() {
    let (judge, mut own, last) = judge(BEAT);
    let now = last + FLOOR * 2;
    own.tick(now, None);
    assert!(own.starved(now), "it was late");
    assert_eq!(judge.suspects(&own, now), None);
    ticks(&mut own, now, now + STARVED);
    assert!(!own.starved(now + STARVED));
    assert!(own.starved(now + STARVED + BEAT + LATE + ms(1)), "overdue");
    let mut pressed = own;
    pressed.tick(now + STARVED + ms(1), Some(PRESSURE + 0.01));
    assert!(pressed.starved(now + STARVED + ms(2)));
    own.tick(now + STARVED + ms(1), Some(PRESSURE));
    assert!(!own.starved(now + STARVED + ms(2)));
    assert!(Punctuality::default().starved(now), "it has not begun");
}

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

struct Agent {
    judge: Judge,
    own: Punctuality,
    planner: Planner,
    ticked: u64,
    /// Beats and answers under way: when they come, and what moment they are a sign of.
    signs: Vec<(u64, u64)>,
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

impl Model {
    fn new(troubles: Troubles, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let base = Instant::now();
        let begin = BEGIN + random.below(300);
        let heals = begin + 40 + random.below(900);
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
            Fault::None => (true, true),
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

    /// Sends beats and replays old requests.
    fn deliver(&mut self) {
        if self.now.is_multiple_of(30) {
            for n in 0..self.agents.len() {
                let (beat, etcd) = self.reach(n);
                let silent = if etcd { self.now } else { self.fault.0 };
                if beat && !self.lost() {
                    let at = self.now + self.random.below(self.troubles.delay);
                    self.agents[n].signs.push((at, silent));
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
            agent.signs.retain(|(at, of)| {
                if *at <= here {
                    agent.judge.sign(LED, base + ms(*of), now);
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
                self.agents[n].signs.push((at, at));
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
        let late = self.orders.iter().find(|(at, ..)| {
            self.troubles.fault != Fault::None && !self.troubles.heals && *at > self.fault.0 + 1600
        });
        if let Some(order) = late {
            return Some(format!("{order:?}: raft's own timeout had its turn"));
        }
        self.broken.clone()
    }
}

const CALM: Troubles = Troubles {
    members: 3,
    fault: Fault::Frozen,
    lost: 0,
    delay: 5,
    stalls: false,
    heals: false,
    blind: false,
};

fn explore(troubles: Troubles, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| Some((seed, Model::new(troubles, seed).run().broken()?)))
}

fn faults(members: usize) -> Vec<Fault> {
    let cuts = (1..members).map(Fault::CutOff);
    [Fault::None, Fault::Hung, Fault::Frozen]
        .into_iter()
        .chain(cuts)
        .collect()
}

#[test]
fn no_two_campaign_in_a_term_no_minority_does_and_no_judge_that_was_late_has_a_say() {
    for members in [3, 5] {
        for fault in faults(members) {
            for (lost, delay, stalls) in [(0, 5, false), (30, 60, true), (60, 400, true)] {
                let troubles = Troubles {
                    members,
                    fault,
                    lost,
                    delay,
                    stalls,
                    heals: lost > 0,
                    ..CALM
                };
                assert_eq!(explore(troubles, 150), None, "{troubles:?}");
            }
        }
    }
}

#[test]
fn a_leader_that_lives_is_left_alone_while_one_in_twenty_beats_is_lost_and_agents_stop() {
    for (lost, stalls) in [(0, false), (5, false), (5, true)] {
        let troubles = Troubles {
            members: 5,
            fault: Fault::None,
            lost,
            stalls,
            ..CALM
        };
        for seed in 1..=300 {
            let model = Model::new(troubles, seed).run();
            assert_eq!(model.orders, [], "{troubles:?}, seed {seed}");
        }
    }
}

#[test]
fn without_troubles_one_campaigns_long_before_rafts_own_timeout() {
    for members in [3, 5] {
        let majority = members / 2 + 1;
        for fault in faults(members) {
            let cut = match fault {
                Fault::None => continue,
                Fault::CutOff(of) => of,
                Fault::Hung | Fault::Frozen => members - 1,
            };
            for seed in 1..=100 {
                let troubles = Troubles {
                    members,
                    fault,
                    ..CALM
                };
                let model = Model::new(troubles, seed).run();
                let first = model.orders.first().map(|(at, ..)| at - model.fault.0);
                if cut < majority {
                    assert_eq!(first, None, "{troubles:?}, seed {seed}: a minority");
                } else {
                    let soon = first.is_some_and(|after| (120..=300).contains(&after));
                    assert!(soon, "{troubles:?}, seed {seed}: {first:?}");
                }
            }
        }
    }
}

#[test]
fn the_model_finds_judges_that_do_not_notice_that_they_were_late() {
    let troubles = Troubles {
        members: 5,
        fault: Fault::None,
        stalls: true,
        blind: true,
        lost: 30,
        delay: 60,
        ..CALM
    };
    assert!(explore(troubles, 2000).is_some());
}
