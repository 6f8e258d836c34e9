//! Leadership stays, or moves as often as planned: what need not elect costs no election.
//!
//! A term begins with every election, also with the one of a planned move. So the terms that began in a round say
//! how often leadership moved, whatever the clients saw of it. How often it may is what the scenario says. Where
//! it says nothing, the death of a follower moves no leadership: the leader and the others are a quorum without
//! it, and etcd asks before it votes (PreVote), so that one that comes back does not disturb them.
//!
//! Raft's timers elect. Where processes wait for a processor, heartbeats come late and votes are split, whatever
//! the operator does: a term more counts only where the machine was calm before it began. A stall comes in some
//! rounds, and what the operator does wrong in each: more terms in most rounds are a violation on every machine
//! that is not slow all the time. One that a stall made has a price besides, which [`disturbances`] name: clients
//! cannot write until there is a leader again.

use super::Case;
use super::gaps::Window;
use super::machine::Conditions;
use super::rounds::{Round, rounds};
use super::verdict::{Findings, Verdict};
use crate::index::FaultWindow;
use crate::record::{Nanos, RaftStatus};

/// Name of the check.
const CHECK: &str = "elections";
/// The fault that kills one process and nothing else.
const KILL: &str = "kill_process";
/// Until a busy member reports a term.
const REPORT: Nanos = 1_000_000_000;
/// Most terms in a row without a leader that one stall may have made: each time raft draws its waits again.
const SPLIT_MAX: u64 = 4;
/// Fewest rounds of which most are more than some.
const ROUNDS_MIN: usize = 3;

/// A time in which the machine, and nothing that is judged, had raft elect once more.
#[derive(Debug)]
pub(super) struct Disturbance {
    pub(super) window: Window,
    /// How busy it was, in words.
    pub(super) why: String,
}

/// Times in which more terms began than the scenario allows, and the machine may be why.
pub(super) fn disturbances(case: &Case<'_>) -> Vec<Disturbance> {
    let wait = longest_wait(case);
    let counted = counted(case).into_iter();
    let over = counted.filter(|round| round.began.as_ref().is_some_and(|b| b.all() > round.most));
    over.filter_map(|round| round.began)
        .flat_map(|began| began.terms)
        .filter_map(|term| term.disturbance(wait))
        .collect()
}

/// Judges how many terms began in each round that has a limit; absent where none has.
pub(super) fn check(case: &Case<'_>) -> Option<Verdict> {
    let mut findings = Findings::default();
    let counted = counted(case);
    let most_rounds = in_most_rounds(&counted);
    for Counted {
        number,
        most,
        why,
        began,
    } in &counted
    {
        let Some(began) = began else {
            findings.doubt(format!(
                "no member told its term before and in round {number}"
            ));
            continue;
        };
        let all = began.all();
        let count = usize::try_from(all).unwrap_or(usize::MAX);
        findings.count(format!("round_{number}.terms"), count);
        if all <= *most {
            continue;
        }
        let (before, after) = (began.before, began.before + all);
        let told = format!(
            "leadership moved {all} times in round {number} (from term {before} to {after}), {why}"
        );
        let mut busy = began.terms.iter().filter_map(|term| term.busy.as_ref());
        match busy.next() {
            Some(busy) if began.calm() <= *most && !most_rounds => {
                findings.not_judged(told, &busy.why);
            }
            _ if most_rounds => {
                findings.violation(format!("{told}, as in most rounds"), Vec::new());
            }
            _ => findings.violation(told, Vec::new()),
        }
    }
    let limited = case.expectations.terms_per_round.is_some()
        || case.expectations.terms_per_election.is_some();
    (!counted.is_empty() || limited).then(|| findings.verdict(CHECK))
}

/// True where more terms than are allowed began in most rounds, also without those that a slow machine spoilt.
fn in_most_rounds(counted: &[Counted]) -> bool {
    let over = |round: &&Counted| {
        let began = round.began.as_ref();
        began.is_some_and(|began| began.all() > round.most && !began.slow())
    };
    let over = counted.iter().filter(over).count();
    counted.len() >= ROUNDS_MIN && over > counted.len() / 2
}

/// A round that has a limit.
struct Counted {
    number: usize,
    /// Most terms that may begin in it.
    most: u64,
    /// Why, in words.
    why: String,
    /// Absent where no member told its term before it, or in it.
    began: Option<Began>,
}

/// The rounds that have a limit, with the terms that began in them.
fn counted(case: &Case<'_>) -> Vec<Counted> {
    let mut told: Vec<Told> = statuses(case)
        .map(|(t, status)| Told {
            t,
            term: status.term,
            leads: status.leader.is_some(),
        })
        .collect();
    told.sort_unstable_by_key(|told| (told.t, told.term));
    let counted = rounds(case.index).into_iter().filter_map(|round| {
        let Limit { most, why } = limit(case, &round)?;
        Some(Counted {
            number: round.number,
            most,
            why,
            began: Began::of(case, &told, round.window),
        })
    });
    counted.collect()
}

/// What a member told.
struct Told {
    t: Nanos,
    term: u64,
    /// True where it named a leader.
    leads: bool,
}

/// Terms that began in a window.
struct Began {
    /// The highest before it.
    before: u64,
    terms: Vec<Term>,
}

/// Terms that were seen first in one sample.
struct Term {
    seen: Nanos,
    /// How many.
    count: u64,
    /// From when on the machine may have been why.
    from: Nanos,
    /// What the machine was like; absent where it was calm.
    busy: Option<Conditions>,
}

impl Began {
    fn of(case: &Case<'_>, told: &[Told], window: Window) -> Option<Self> {
        let begin = told.partition_point(|told| told.t < window.from);
        let end = told.partition_point(|told| told.t <= window.to);
        let before = told[..begin].iter().map(|told| told.term).max()?;
        let wait = longest_wait(case);
        let mut terms: Vec<Term> = Vec::new();
        let mut highest = before;
        let (mut led, mut split) = (true, 0);
        for (at, Told { t, term, leads }) in told.iter().enumerate().take(end).skip(begin) {
            if *term > highest {
                let former = told[..at].iter().rfind(|told| told.term == highest);
                let former = former.map_or(*t, |told| told.t);
                let sooner = t.saturating_sub(wait + REPORT);
                let from = former.saturating_sub(wait).min(sooner);
                let conditions = case.machine.conditions(Window { from, to: *t });
                let count = term - highest;
                split = match led || !conditions.are_calm() {
                    true => 0,
                    false => split + count,
                };
                // Votes that were split have raft elect again, on a machine that is calm by then.
                let before = terms.last().filter(|_| !led && split <= SPLIT_MAX);
                let busy = match before.and_then(|term| term.busy.clone()) {
                    Some(busy) => Some(busy),
                    None => (!conditions.are_calm()).then_some(conditions),
                };
                terms.push(Term {
                    seen: *t,
                    count,
                    from,
                    busy,
                });
                (highest, led) = (*term, false);
            }
            led |= *leads && *term == highest;
        }
        (begin < end).then_some(Self { before, terms })
    }

    fn all(&self) -> u64 {
        self.terms.iter().map(|term| term.count).sum()
    }

    /// True where one of them began on a machine so slow that no one knows what it cost.
    fn slow(&self) -> bool {
        let mut busy = self.terms.iter().filter_map(|term| term.busy.as_ref());
        busy.any(|busy| busy.stretch.is_infinite())
    }

    fn calm(&self) -> u64 {
        let calm = self.terms.iter().filter(|term| term.busy.is_none());
        calm.map(|term| term.count).sum()
    }
}

impl Term {
    /// Clients may be without a leader that they find for as long after the term as the machine was looked at before.
    fn disturbance(self, wait: Nanos) -> Option<Disturbance> {
        Some(Disturbance {
            window: Window {
                from: self.from,
                to: self.seen.saturating_add(wait + REPORT),
            },
            why: self.busy?.why,
        })
    }
}

/// Raft's longest wait for a heartbeat: up to twice the election timeout.
fn longest_wait(case: &Case<'_>) -> Nanos {
    let ns = case.expectations.election_ms.saturating_mul(2_000_000);
    Nanos::try_from(ns).unwrap_or(Nanos::MAX / 4)
}

/// Most terms that may begin in a round, and why.
struct Limit {
    most: u64,
    why: String,
}

fn limit(case: &Case<'_>, round: &Round) -> Option<Limit> {
    let of = |most, why| Some(Limit { most, why });
    match case.expectations.terms_per_round {
        Some(0) => return of(0, "it must stay".to_owned()),
        Some(most) => return of(most, format!("{most} is allowed")),
        None => {}
    }
    follower_killed(case, round).or_else(|| {
        let most = case.expectations.terms_per_election?;
        of(
            most,
            format!("{most} are allowed where one must be elected"),
        )
    })
}

/// None where nothing but a follower's process was killed.
fn follower_killed(case: &Case<'_>, round: &Round) -> Option<Limit> {
    let [number] = round.faults.as_slice() else {
        return None;
    };
    let mut faults = case.index.faults.iter();
    let fault = faults.find(|fault| fault.fault == *number)?;
    kills_a_follower(case, fault).then(|| Limit {
        most: 0,
        why: format!("{} was killed, which did not lead", fault.target),
    })
}

fn statuses<'c, 'a>(case: &'c Case<'a>) -> impl Iterator<Item = (Nanos, &'a RaftStatus)> + 'c {
    let samples = case.index.members.iter().copied();
    samples.filter_map(|sample| Some((sample.t, sample.status.as_ref()?)))
}

/// True when a follower's process was killed and nothing else was done; false when it led, or when no sample tells.
fn kills_a_follower(case: &Case<'_>, fault: &FaultWindow<'_>) -> bool {
    if fault.name != KILL || case.expectations.members < 3 {
        return false;
    }
    let before = statuses(case).filter(|(t, _)| *t < fault.from);
    let newest = before
        .map(|(_, status)| status)
        .max_by_key(|status| status.term);
    let leader = newest.and_then(|status| case.pods.get(status.leader.as_deref()?));
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.');
    let named = |pod: &str| fault.target.split(word).any(|part| part == pod);
    leader.is_some_and(|leader| !named(leader))
}
