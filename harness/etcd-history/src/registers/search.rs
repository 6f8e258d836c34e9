//! The search for an order: after each return, every state that the register can be in.
//!
//! An operation happens as late as it can: when its return comes, it and whatever had to be in front of it are tried on
//! each state. Reads, and sets that find another value, change nothing, so that they happen as soon as they fit.
//! Operations without an answer need not happen: those that ask the same are counted and not told apart, and of two
//! states that differ only in how many of them were used up the one that used less is kept. One happens only where
//! something sees it at once: else it may as well happen later, or never.

use std::collections::BTreeMap;

use super::events::{Action, Answer, Op, Register};
use crate::check::Finding;
use crate::hash::FastSet;
use crate::record::OpId;

/// Counts that are compared in about the time of a step.
const COMPARED: usize = 64;
/// Most operations open at a time that have an answer later: bits of a word.
const OPEN_MAX: usize = 128;
/// Most states that wait to be tried, by what each holds: some hundred MiB.
const WAITING_MAX: usize = 1 << 25;
/// Most operations that an explanation names.
const NAMED_MAX: usize = 6;

/// A state in which the register can be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    value: Option<i64>,
    /// Slots of open operations that have happened.
    happened: u128,
    /// How many operations without an answer have happened, by what they ask.
    used: Vec<u32>,
}

struct Search<'r> {
    register: &'r Register,
    /// Open operations that have an answer, by slot.
    open: Vec<Option<usize>>,
    /// What is asked without an answer, and by how many so far.
    lost: Vec<(Action, u32)>,
    kinds: BTreeMap<Action, usize>,
    states: Vec<State>,
    steps: u64,
}

pub(super) fn search(register: &Register, steps_max: u64) -> Finding {
    let mut search = Search {
        register,
        open: Vec::new(),
        lost: Vec::new(),
        kinds: BTreeMap::new(),
        states: vec![State {
            value: None,
            happened: 0,
            used: Vec::new(),
        }],
        steps: steps_max,
    };
    for (at, returns) in &register.lines {
        let judged = if *returns {
            search.end(*at)
        } else {
            search.call(*at)
        };
        if let Err(found) = judged {
            return found;
        }
    }
    Finding::Pass
}

impl Search<'_> {
    fn call(&mut self, at: usize) -> Result<(), Finding> {
        let op = self.register.ops[at];
        if op.answer.is_none() {
            let next = self.lost.len();
            let kind = *self.kinds.entry(op.action).or_insert(next);
            if kind == next {
                self.lost.push((op.action, 0));
                for state in &mut self.states {
                    state.used.push(0);
                }
            }
            self.lost[kind].1 += 1;
            return Ok(());
        }
        let slot = match self.open.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.open.push(None);
                self.open.len() - 1
            }
        };
        if slot >= OPEN_MAX {
            return Err(Finding::Inconclusive {
                reason: format!("more than {OPEN_MAX} operations are open at a time"),
            });
        }
        self.open[slot] = Some(at);
        // What changes nothing happens as soon as it fits.
        let fits = |state: &State| unchanged(op, state.value);
        for state in self.states.iter_mut().filter(|state| fits(state)) {
            state.happened |= 1 << slot;
        }
        Ok(())
    }

    fn end(&mut self, at: usize) -> Result<(), Finding> {
        let Some(slot) = self.open.iter().position(|open| *open == Some(at)) else {
            return Ok(());
        };
        let mut after: Vec<State> = Vec::new();
        let mut seen: FastSet<State> = FastSet::default();
        let mut ways = std::mem::take(&mut self.states);
        let before = values(&ways);
        while let Some(mut way) = ways.pop() {
            // A state is compared with all that are kept, and copied once for each operation that may be next.
            let held = way.used.len() + 1;
            self.spend(1 + (after.len() * held / COMPARED) as u64)?;
            if ways.len() * held > WAITING_MAX {
                return Err(too_many());
            }
            if way.happened & (1 << slot) != 0 {
                way.happened &= !(1 << slot);
                keep(&mut after, way);
            } else if seen.insert(way.clone()) {
                self.advance(&way, &mut ways);
            }
        }
        if after.is_empty() {
            return Err(self.violation(at, &before));
        }
        self.open[slot] = None;
        self.states = after;
        Ok(())
    }

    fn spend(&mut self, steps: u64) -> Result<(), Finding> {
        self.steps = self.steps.checked_sub(steps).ok_or_else(too_many)?;
        Ok(())
    }

    /// Everything that can happen next and changes something.
    fn advance(&self, way: &State, ways: &mut Vec<State>) {
        for (slot, open) in self.open.iter().enumerate() {
            let Some(at) = *open else { continue };
            let op = self.register.ops[at];
            if way.happened & (1 << slot) == 0
                && let Some(value) = changed(op, way.value)
            {
                let mut next = way.clone();
                next.value = Some(value);
                next.happened |= 1 << slot;
                ways.push(self.settled(next));
            }
        }
        for (kind, (action, called)) in self.lost.iter().enumerate() {
            let value = match *action {
                Action::Write(value) => Some(value),
                Action::CompareAndSet(from, to) => (way.value == Some(from)).then_some(to),
                Action::Read => None,
            };
            if way.used[kind] < *called
                && let Some(value) = value.filter(|value| way.value != Some(*value))
            {
                let mut next = way.clone();
                next.value = Some(value);
                next.used[kind] += 1;
                let next = self.settled(next);
                if next.happened != way.happened || self.leads_on(value) {
                    ways.push(next);
                }
            }
        }
    }

    /// True when a set may begin with this value.
    fn leads_on(&self, value: i64) -> bool {
        let sets =
            |action: &Action| matches!(action, Action::CompareAndSet(from, _) if *from == value);
        let mut open = self.open.iter().flatten();
        open.any(|at| sets(&self.register.ops[*at].action))
            || self.lost.iter().any(|(action, _)| sets(action))
    }

    /// With all that changes nothing in this state.
    fn settled(&self, mut state: State) -> State {
        for (slot, open) in self.open.iter().enumerate() {
            if open.is_some_and(|at| unchanged(self.register.ops[at], state.value)) {
                state.happened |= 1 << slot;
            }
        }
        state
    }

    fn violation(&self, at: usize, before: &[Option<i64>]) -> Finding {
        let op = self.register.ops[at];
        let others = self.open.iter().flatten().filter(|other| **other != at);
        let others: Vec<Op> = others.map(|other| self.register.ops[*other]).collect();
        let told: Vec<String> = others.iter().take(NAMED_MAX - 1).map(words).collect();
        let beside = match (told.as_slice(), others.len() - told.len()) {
            ([], _) => String::new(),
            (told, 0) => format!(", with {} open", told.join(", ")),
            (told, more) => format!(", with {} and {more} more open", told.join(", ")),
        };
        let values: Vec<String> = before.iter().map(shown).collect();
        let ids = others.iter().map(|other| other.id).take(NAMED_MAX - 1);
        let ops: Vec<OpId> = std::iter::once(op.id).chain(ids).collect();
        Finding::Violation {
            explanation: format!(
                "{}: at the return before it the register can only have been {}, and nothing called since leads \
                 there{beside}",
                words(&op),
                values.join(" or ")
            ),
            ops,
        }
    }
}

fn too_many() -> Finding {
    Finding::Inconclusive {
        reason: "there are too many orders to try them all".to_owned(),
    }
}

/// Keeps a state unless one that used no more is there, and none that used more.
fn keep(states: &mut Vec<State>, new: State) {
    let less = |a: &State, b: &State| {
        (a.value, a.happened) == (b.value, b.happened)
            && a.used.iter().zip(&b.used).all(|(a, b)| a <= b)
    };
    if states.iter().any(|state| less(state, &new)) {
        return;
    }
    states.retain(|state| !less(&new, state));
    states.push(new);
}

/// True when it can happen there and changes nothing.
fn unchanged(op: Op, value: Option<i64>) -> bool {
    match (op.action, op.answer) {
        (Action::Read, Some(Answer::Value(seen))) => seen == value,
        (Action::CompareAndSet(from, _), Some(Answer::Set(false))) => value != Some(from),
        (Action::CompareAndSet(from, to), Some(Answer::Set(true))) => {
            from == to && value == Some(from)
        }
        _ => false,
    }
}

/// The value that it leaves, where it can happen and changes the register.
fn changed(op: Op, value: Option<i64>) -> Option<i64> {
    match (op.action, op.answer) {
        (Action::Write(value), _) => Some(value),
        (Action::CompareAndSet(from, to), Some(Answer::Set(true))) => {
            (value == Some(from)).then_some(to)
        }
        _ => None,
    }
}

fn values(states: &[State]) -> Vec<Option<i64>> {
    let mut values: Vec<_> = states.iter().map(|state| state.value).collect();
    values.sort_unstable();
    values.dedup();
    values.truncate(NAMED_MAX);
    values
}

fn shown(value: &Option<i64>) -> String {
    value.map_or_else(|| "unwritten".to_owned(), |value| value.to_string())
}

fn words(op: &Op) -> String {
    let what = match op.action {
        Action::Read => "read".to_owned(),
        Action::Write(value) => format!("write {value}"),
        Action::CompareAndSet(from, to) => format!("set {from} to {to}"),
    };
    let answer = match op.answer {
        Some(Answer::Value(value)) => format!(", saw {}", shown(&value)),
        Some(Answer::Set(true)) => ", done".to_owned(),
        Some(Answer::Set(false)) => ", refused".to_owned(),
        Some(Answer::Written) | None => String::new(),
    };
    format!("op {} ({what}{answer})", op.id)
}
