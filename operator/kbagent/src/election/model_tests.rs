//! A model of members, agents and a network, in which a leader dies: reports in any order, late, doubled, lost;
//! messages replayed; agents that restart or lie; raft's own timeouts in between. Every run is a function of its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kbagent_protocol::{ElectionRequest, ElectionStanding, Id};

use super::plan::{Ask, Died, Evidence, Look, Order, Planner, Step, Witness};

const CLUSTER: Id = Id(9);
const LEADER: usize = 0;
const TERM: u64 = 5;
const MS: u64 = 1000;
/// Time of one turn.
const TURN: u64 = 60 * MS;
/// Agents have been there for so long when the leader dies.
const AGE: Duration = Duration::from_secs(10);
const END: u64 = 30_000 * MS;

/// What may go wrong.
#[derive(Clone, Copy, Debug)]
struct Troubles {
    members: usize,
    /// Longest delay of a message between agents, in ms.
    delay: u64,
    /// Of 100 messages so many are lost, and so many doubled.
    lost: u64,
    restarts: bool,
    liars: usize,
    /// The leader is alive after all.
    alive: bool,
    /// A fault of ours: an agent that restarts takes part at once.
    forgetful: bool,
}

const CALM: Troubles = Troubles {
    members: 3,
    delay: 3,
    lost: 0,
    restarts: false,
    liars: 0,
    alive: false,
    forgetful: false,
};

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }

    fn of_100(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// Raft in one member, as far as elections go.
struct Member {
    term: u64,
    voted: Option<usize>,
    lead: Option<usize>,
    log: u64,
    commit: u64,
    /// Votes of its campaign.
    votes: Option<BTreeSet<usize>>,
}

struct Agent {
    planner: Planner,
    incarnation: u32,
    liar: bool,
    answers: BTreeSet<Id>,
}

enum Event {
    /// News, or the end of a turn.
    Look(usize, u32),
    Step(usize, u32, Look),
    Consent(usize, usize, u32, ElectionRequest),
    Answer(usize, u32, Id),
    Elect(usize, u32, Ask),
    Post(usize, Order, bool),
    Vote(usize, usize, u64, u64),
    Voted(usize, usize, u64),
    Append(usize, usize, u64),
    Timeout(usize),
    Restart(usize),
}

struct Model {
    troubles: Troubles,
    random: Random,
    base: Instant,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    members: Vec<Member>,
    agents: Vec<Agent>,
    orders: Vec<(usize, u64)>,
    /// Who campaigned in a term by our doing.
    campaigns: BTreeMap<u64, BTreeSet<usize>>,
    /// When another leader was elected.
    led_at: Option<u64>,
}

fn id(member: usize) -> Id {
    Id(member as u64 + 1)
}

impl Model {
    fn new(troubles: Troubles, seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let base = Instant::now();
        let members = (0..troubles.members)
            .map(|_| Member {
                term: TERM,
                voted: Some(LEADER),
                lead: Some(LEADER),
                log: 100 + random.below(3),
                commit: 98 + random.below(3),
                votes: None,
            })
            .collect();
        let agents = (0..troubles.members)
            .map(|n| Agent {
                planner: Planner::new(Duration::from_secs(1), base),
                incarnation: 0,
                liar: n > troubles.members - 1 - troubles.liars,
                answers: BTreeSet::new(),
            })
            .collect();
        let mut model = Self {
            troubles,
            random,
            base: base + AGE,
            now: 0,
            events: BTreeMap::new(),
            number: 0,
            members,
            agents,
            orders: vec![],
            campaigns: BTreeMap::new(),
            led_at: None,
        };
        model.begin();
        model
    }

    fn begin(&mut self) {
        for n in 1..self.troubles.members {
            let news = self.random.below(self.troubles.delay * MS);
            self.at(news, Event::Look(n, 0));
            if !self.troubles.alive {
                self.timeout(n);
            }
            if self.random.of_100(self.troubles.lost) {
                let again = self.random.below(1500 * MS);
                self.at(again, Event::Look(n, 0));
            }
            if self.troubles.restarts {
                for _ in 0..self.random.below(3) {
                    let when = self.random.below(3000 * MS);
                    self.at(when, Event::Restart(n));
                }
            }
            if self.agents[n].liar {
                let when = self.random.below(1500 * MS);
                let order = Order {
                    member: id(n),
                    term: TERM + self.random.below(3),
                };
                self.at(when, Event::Post(n, order, false));
            }
        }
    }

    fn at(&mut self, after: u64, event: Event) {
        self.number += 1;
        self.events.insert((self.now + after, self.number), event);
    }

    /// Sends something between agents: late, lost or doubled.
    fn send(&mut self, event: impl Fn() -> Event) {
        for _ in 0..=u64::from(self.random.of_100(self.troubles.lost)) {
            if !self.random.of_100(self.troubles.lost) {
                let delay = 200 + self.random.below(self.troubles.delay * MS);
                self.at(delay, event());
            }
        }
    }

    fn timeout(&mut self, n: usize) {
        let after = (1000 + self.random.below(1000)) * MS;
        self.at(after, Event::Timeout(n));
    }

    fn clock(&self) -> Instant {
        self.base + Duration::from_micros(self.now)
    }

    fn standing(&mut self, n: usize) -> ElectionStanding {
        let member = &self.members[n];
        let mut standing = ElectionStanding {
            member_id: id(n),
            cluster_id: CLUSTER,
            term: member.term,
            leader_id: member.lead.map(id),
            commit: member.commit,
            is_learner: false,
        };
        if self.agents[n].liar {
            standing.commit = self.random.below(300);
        }
        standing
    }

    fn witness(&mut self, n: usize) -> Witness {
        Witness {
            died: Some(Died {
                leader: id(LEADER),
                term: TERM,
            }),
            evidence: if self.troubles.alive {
                Evidence::Alive
            } else {
                Evidence::Gone
            },
            own: Some(self.standing(n)),
            stopping: false,
        }
    }

    fn others(&self, n: usize) -> impl Iterator<Item = usize> + use<> {
        (1..self.troubles.members).filter(move |other| *other != n)
    }

    fn run(mut self) -> Self {
        while let Some(((now, _), event)) = self.events.pop_first() {
            if now > END {
                break;
            }
            self.now = now;
            self.handle(event);
        }
        self
    }

    fn handle(&mut self, event: Event) {
        let current =
            |model: &Self, n: usize, incarnation| model.agents[n].incarnation == incarnation;
        match event {
            Event::Look(n, incarnation)
                if current(self, n, incarnation) && !self.agents[n].liar =>
            {
                self.look(n, incarnation);
            }
            Event::Step(n, incarnation, look) if current(self, n, incarnation) => {
                self.step(n, incarnation, &look);
            }
            Event::Consent(to, from, incarnation, request) => {
                self.consent(to, from, incarnation, &request)
            }
            Event::Answer(n, incarnation, from) if current(self, n, incarnation) => {
                self.agents[n].answers.insert(from);
            }
            Event::Elect(n, incarnation, ask) if current(self, n, incarnation) => {
                self.elect(n, incarnation, &ask);
            }
            Event::Post(n, order, honest) => self.post(n, order, honest),
            Event::Restart(n) => {
                let born = if self.troubles.forgetful {
                    self.clock() - AGE
                } else {
                    self.clock()
                };
                let agent = &mut self.agents[n];
                agent.planner = Planner::new(Duration::from_secs(1), born);
                agent.incarnation += 1;
                let incarnation = agent.incarnation;
                self.at(5 * MS, Event::Look(n, incarnation));
            }
            event => self.raft(&event),
        }
    }

    fn look(&mut self, n: usize, incarnation: u32) {
        let witness = self.witness(n);
        let others: Vec<_> = self.others(n).collect();
        let mut heard = vec![];
        for other in others {
            if !self.random.of_100(self.troubles.lost) {
                heard.push(self.standing(other));
            }
        }
        let look = Look {
            witness,
            others: heard,
            voters: (0..self.troubles.members).map(id).collect(),
        };
        let delay = 200 + self.random.below(self.troubles.delay * MS);
        self.at(delay, Event::Step(n, incarnation, look));
    }

    fn step(&mut self, n: usize, incarnation: u32, look: &Look) {
        let now = self.clock();
        match self.agents[n].planner.step(look, now) {
            Step::GiveWay(_) => {}
            Step::Wait(rest) => {
                let rest = u64::try_from(rest.as_micros()).unwrap_or(TURN);
                self.at(rest, Event::Look(n, incarnation));
            }
            Step::Ask(ask) => {
                self.agents[n].answers.clear();
                let request = ElectionRequest {
                    leader: id(LEADER),
                    standing: ask.standing.clone(),
                    consent: true,
                };
                for other in self.others(n) {
                    self.send(|| Event::Consent(other, n, incarnation, request.clone()));
                }
                let patience = 2 * self.troubles.delay.min(30) * MS + MS;
                self.at(patience, Event::Elect(n, incarnation, ask));
            }
        }
    }

    fn consent(&mut self, to: usize, from: usize, incarnation: u32, request: &ElectionRequest) {
        let witness = self.witness(to);
        let now = self.clock();
        let agent = &mut self.agents[to];
        if agent.planner.consent(request, &witness, now).is_ok() || agent.liar {
            self.send(|| Event::Answer(from, incarnation, id(to)));
        }
    }

    fn elect(&mut self, n: usize, incarnation: u32, ask: &Ask) {
        let now = self.clock();
        let agent = &mut self.agents[n];
        if let Some(order) = agent.planner.elect(ask, &agent.answers, now) {
            self.orders.push((n, order.term));
            let delay = 100 + self.random.below(20 * MS);
            self.at(delay, Event::Post(n, order, true));
            if self.random.of_100(self.troubles.lost) {
                // Replayed, long after.
                let delay = self.random.below(5000 * MS);
                self.at(delay, Event::Post(n, order, true));
            }
        }
        self.at(TURN, Event::Look(n, incarnation));
    }

    /// What a member does with `MsgTimeoutNow`: nothing in an older term, or unless it follows.
    fn post(&mut self, n: usize, order: Order, honest: bool) {
        let member = &mut self.members[n];
        let busy = member.votes.is_some() || member.lead == Some(n);
        if order.term < member.term || (busy && order.term == member.term) {
            return;
        }
        member.term = order.term;
        let term = self.campaign(n);
        if honest {
            self.campaigns.entry(term).or_default().insert(n);
        }
    }

    fn campaign(&mut self, n: usize) -> u64 {
        let member = &mut self.members[n];
        member.term += 1;
        member.voted = Some(n);
        member.lead = None;
        member.votes = Some(BTreeSet::from([n]));
        let (term, log) = (member.term, member.log);
        for other in self.others(n) {
            let delay = MS + self.random.below(10 * MS);
            self.at(delay, Event::Vote(other, n, term, log));
        }
        term
    }

    fn raft(&mut self, event: &Event) {
        match *event {
            Event::Timeout(n) => {
                if self.members[n].lead.is_none_or(|lead| lead == LEADER) {
                    self.campaign(n);
                }
                if self.now < END / 2 {
                    self.timeout(n);
                }
            }
            Event::Vote(n, candidate, term, log) => {
                let member = &mut self.members[n];
                if term > member.term {
                    member.term = term;
                    (member.voted, member.lead, member.votes) = (None, None, None);
                }
                let free = member.voted.is_none_or(|voted| voted == candidate);
                if term == member.term && free && log >= member.log {
                    member.voted = Some(candidate);
                    let delay = MS + self.random.below(10 * MS);
                    self.at(delay, Event::Voted(candidate, n, term));
                }
            }
            Event::Voted(n, from, term) => {
                let quorum = self.troubles.members / 2 + 1;
                let member = &mut self.members[n];
                let Some(votes) = member.votes.as_mut().filter(|_| term == member.term) else {
                    return;
                };
                votes.insert(from);
                if votes.len() >= quorum && member.lead.is_none() {
                    member.lead = Some(n);
                    self.led_at.get_or_insert(self.now);
                    for other in self.others(n) {
                        let delay = MS + self.random.below(5 * MS);
                        self.at(delay, Event::Append(other, n, term));
                    }
                }
            }
            Event::Append(n, leader, term) => {
                let member = &mut self.members[n];
                if term >= member.term {
                    member.term = term;
                    (member.lead, member.votes) = (Some(leader), None);
                }
            }
            _ => {}
        }
    }

    /// What must hold of every run.
    fn broken(&self) -> Option<String> {
        let twice = self.campaigns.iter().find(|(_, who)| who.len() > 1);
        if let Some((term, who)) = twice {
            return Some(format!("members {who:?} both campaigned in term {term}"));
        }
        let mut seen = BTreeSet::new();
        if let Some(order) = self.orders.iter().find(|order| !seen.insert(**order)) {
            return Some(format!(
                "{order:?} was told twice to campaign from one term"
            ));
        }
        if self.troubles.alive && !self.orders.is_empty() {
            return Some("a campaign against a leader that is alive".to_owned());
        }
        if !self.troubles.restarts && self.orders.len() >= self.troubles.members {
            return Some(format!("{} campaigns for one death", self.orders.len()));
        }
        let led = self.members[1..]
            .iter()
            .any(|m| m.lead.is_some_and(|lead| lead != LEADER));
        (!led && !self.troubles.alive).then(|| "raft's own timeouts elected no leader".to_owned())
    }
}

/// Runs seeds until one breaks something.
fn explore(troubles: Troubles, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| Some((seed, Model::new(troubles, seed).run().broken()?)))
}

#[test]
fn two_never_campaign_in_one_term_by_our_doing() {
    for members in [3, 5, 7] {
        for (delay, lost) in [(3, 0), (40, 20), (400, 30)] {
            for liars in [0, 1] {
                let troubles = Troubles {
                    members,
                    delay,
                    lost,
                    restarts: delay > 3,
                    liars,
                    ..CALM
                };
                assert_eq!(explore(troubles, 1500), None, "{troubles:?}");
            }
        }
    }
}

#[test]
fn a_leader_that_is_alive_is_left_alone() {
    for liars in [0, 1] {
        let troubles = Troubles {
            alive: true,
            members: 5,
            delay: 40,
            lost: 20,
            restarts: true,
            liars,
            ..CALM
        };
        assert_eq!(explore(troubles, 500), None);
    }
}

#[test]
fn without_troubles_there_is_a_leader_long_before_rafts_own_timeout() {
    for members in [3, 5, 7] {
        let mut times: Vec<u64> = (1..=500)
            .map(|seed| {
                let troubles = Troubles { members, ..CALM };
                let model = Model::new(troubles, seed).run();
                assert_eq!(model.broken(), None, "seed {seed}");
                model.led_at.expect("a leader") / MS
            })
            .collect();
        times.sort_unstable();
        // A first candidate whose log is too short costs a turn.
        assert!(
            times[250] <= 60,
            "{members} members: median {} ms",
            times[250]
        );
        assert!(
            times[499] <= 300,
            "{members} members: longest {} ms",
            times[499]
        );
    }
}

#[test]
fn the_model_finds_agents_that_forget_and_lies_of_more_than_one() {
    let forgetful = Troubles {
        members: 5,
        delay: 40,
        lost: 20,
        restarts: true,
        forgetful: true,
        ..CALM
    };
    assert!(explore(forgetful, 20_000).is_some(), "forgotten consents");
    let liars = Troubles {
        members: 5,
        delay: 40,
        lost: 20,
        liars: 2,
        ..CALM
    };
    assert!(explore(liars, 20_000).is_some(), "two liars");
}
