//! Histories without revisions: registers that are read, written, and compared and set, each key by itself.
//!
//! What etcd tells with every answer, others do not: there the order has to be searched for. [`judge`] does so return
//! by return, in memory that grows with the operations that are open and not with the history; [`jepsen`] reads the
//! logs of Jepsen's register tests.

mod events;
pub mod jepsen;
mod search;

use std::collections::BTreeMap;

pub use self::events::{Action, Answer, Event};
use self::events::{Op, Register};
use crate::check::Finding;
use crate::record::OpId;

/// Judges whether the operations on each register are linearizable. A violation names at most six operations. The
/// finding is inconclusive when nothing was called, when the events contradict each other, or when the search over a
/// register takes more than `steps_max` steps.
pub fn judge(events: &[Event], steps_max: u64) -> Finding {
    let registers = match split(events) {
        Ok(registers) => registers,
        Err(reason) => return Finding::Inconclusive { reason },
    };
    if registers.is_empty() {
        return Finding::Inconclusive {
            reason: "no operation was called".to_owned(),
        };
    }
    let mut doubt = None;
    for (key, register) in &registers {
        match search::search(register, steps_max) {
            Finding::Violation { explanation, ops } => {
                let explanation = if key.is_empty() {
                    explanation
                } else {
                    format!("{key}: {explanation}")
                };
                return Finding::Violation { explanation, ops };
            }
            Finding::Pass => {}
            other => doubt = Some(other),
        }
    }
    doubt.unwrap_or(Finding::Pass)
}

/// The registers by their keys, without what did not happen and without reads that have no answer.
fn split(events: &[Event]) -> Result<BTreeMap<&str, Register>, String> {
    let mut ends: BTreeMap<OpId, Option<Answer>> = BTreeMap::new();
    for event in events {
        let (op, answer) = match event {
            Event::Call { .. } => continue,
            Event::Return { op, answer } => (op, Some(*answer)),
            Event::Fail { op } => (op, None),
        };
        if ends.insert(*op, answer).is_some() {
            return Err(format!("operation {op} returns twice"));
        }
    }
    let mut registers: BTreeMap<&str, Register> = BTreeMap::new();
    let mut places: BTreeMap<OpId, Option<(&str, usize)>> = BTreeMap::new();
    for event in events {
        match event {
            Event::Call { op, key, action } => {
                let end = ends.get(op).copied();
                let answer = end.flatten();
                let counts = end != Some(None) && (answer.is_some() || *action != Action::Read);
                if !answer.is_none_or(|answer| fits(*action, answer)) {
                    return Err(format!(
                        "the answer of operation {op} is not one to {action:?}"
                    ));
                }
                let place = counts.then(|| {
                    let register = registers.entry(key).or_default();
                    register.lines.push((register.ops.len(), false));
                    register.ops.push(Op {
                        id: *op,
                        action: *action,
                        answer,
                    });
                    (key.as_str(), register.ops.len() - 1)
                });
                if places.insert(*op, place).is_some() {
                    return Err(format!("operation {op} is called twice"));
                }
            }
            Event::Return { op, .. } | Event::Fail { op } => match places.get(op) {
                None => return Err(format!("operation {op} returns without a call")),
                Some(None) => {}
                Some(Some((key, at))) => {
                    let register = registers.entry(key).or_default();
                    register.lines.push((*at, true));
                }
            },
        }
    }
    Ok(registers)
}

fn fits(action: Action, answer: Answer) -> bool {
    matches!(
        (action, answer),
        (Action::Read, Answer::Value(_))
            | (Action::Write(_), Answer::Written)
            | (Action::CompareAndSet(..), Answer::Set(_))
    )
}

#[cfg(test)]
mod tests;
