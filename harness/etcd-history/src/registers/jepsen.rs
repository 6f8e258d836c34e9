//! The logs of Jepsen's register tests: a line for each call and each return, one register a file.

use std::collections::BTreeMap;

use super::events::{Action, Answer, Event};
use crate::record::OpId;

/// A line of the log that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read line {line} of the log: {reason}")]
pub struct LogError {
    line: usize,
    reason: String,
}

/// Reads a log of Jepsen's register tests. Lines that are not of `jepsen.util` are left out.
///
/// # Errors
/// [`LogError`] with the first line of an operation that cannot be understood.
pub fn read(text: &str) -> Result<Vec<Event>, LogError> {
    let mut events = Vec::new();
    let mut open: BTreeMap<&str, (OpId, Action)> = BTreeMap::new();
    let mut next = 0;
    for (line, text) in (1..).zip(text.lines()) {
        let mut words = text.split_whitespace().filter(|word| *word != "-");
        if (words.next(), words.next()) != (Some("INFO"), Some("jepsen.util")) {
            continue;
        }
        let words: Vec<&str> = words.collect();
        let misfit = |reason: &str| LogError {
            line,
            reason: reason.to_owned(),
        };
        let [process, kind, what, value @ ..] = words.as_slice() else {
            return Err(misfit("a process, a kind and a function are wanted"));
        };
        if *kind == ":invoke" {
            let action =
                action(what, value).ok_or_else(|| misfit("its call is not one of a register"))?;
            next += 1;
            if open.insert(process, (next, action)).is_some() {
                return Err(misfit("its process has another operation open"));
            }
            events.push(Event::Call {
                op: next,
                key: String::new(),
                action,
            });
            continue;
        }
        let Some((op, action)) = open.remove(process) else {
            return Err(misfit("its process has no operation open"));
        };
        match (*kind, action) {
            (":info", _) => {}
            (":ok", _) => {
                let answer = answer(action, value);
                let answer = answer.ok_or_else(|| misfit("its value is not one of a register"))?;
                events.push(Event::Return { op, answer });
            }
            (":fail", Action::CompareAndSet(..)) => events.push(Event::Return {
                op,
                answer: Answer::Set(false),
            }),
            (":fail", _) => events.push(Event::Fail { op }),
            _ => return Err(misfit("its kind is none of :invoke, :ok, :fail and :info")),
        }
    }
    Ok(events)
}

fn action(what: &str, value: &[&str]) -> Option<Action> {
    Some(match (what, numbers(value)?.as_slice()) {
        (":read", []) => Action::Read,
        (":write", [value]) => Action::Write(*value),
        (":cas", [from, to]) => Action::CompareAndSet(*from, *to),
        _ => return None,
    })
}

fn answer(action: Action, value: &[&str]) -> Option<Answer> {
    Some(match (action, numbers(value)?.as_slice()) {
        (Action::Read, []) => Answer::Value(None),
        (Action::Read, [value]) => Answer::Value(Some(*value)),
        (Action::Write(_), [_]) => Answer::Written,
        (Action::CompareAndSet(..), [_, _]) => Answer::Set(true),
        _ => return None,
    })
}

/// Numbers, within brackets or without; none for `nil`.
fn numbers(words: &[&str]) -> Option<Vec<i64>> {
    let words = words.iter().map(|word| word.trim_matches(['[', ']']));
    let words = words.filter(|word| !word.is_empty() && *word != "nil");
    words.map(|word| word.parse().ok()).collect()
}
