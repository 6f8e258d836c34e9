//! Every field of every record, changed in one record at a time.
//!
//! Each field has a line here: how it is changed and what the check that owns it owes. Not every place tells (a key
//! that is never read again may be anything), so some are tried; that the field is judged is what is shown. Fields that
//! carry no promise are listed by name with the reason.

mod free;
mod rules;

use std::collections::BTreeSet;

use free::{ALONE, NO_PROMISE};
use rules::rules;
use serde_json::{Value, json};

use super::{Owed, expectations, plan, shape};
use crate::check;
use crate::history::History;
use crate::record::Record;
use crate::simulate::{Plan, Random, Variety, simulate};

/// Histories in one of which a changed field must be seen: in the first the watchers receive everything, in the second
/// they find compacted what they missed.
const SEEDS: u64 = 2;
/// Places that are tried in a history.
const PLACES: usize = 60;

/// How a field is changed.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Something is added to a number.
    Add(i64),
    /// A text is another one.
    Other,
    /// True becomes false and false true.
    Flip,
    /// It is this, as JSON; also where it was left out, beside the field of this name.
    Be(&'static str),
    /// The last element of a list is gone.
    Pop,
    /// An optional field is not there.
    Drop,
}

use Change::{Add, Be, Drop, Flip, Other, Pop};

/// A field, how it is changed, and what whose check owes.
type Rule = (&'static str, Change, &'static str, Owed);

struct Place {
    line: usize,
    pointer: String,
}

/// Where a field is, or could be beside its neighbours.
fn places(lines: &[Value], path: &str, change: Change) -> Vec<Place> {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut found = Vec::new();
    for (line, value) in lines.iter().enumerate() {
        let mut seen = BTreeSet::new();
        for (other, pointer) in shape::fields(value) {
            let beside = other.rsplit_once('.').is_some_and(|(of, _)| of == parent);
            let wanted = other == path || (beside && matches!(change, Be(_)));
            let holder = pointer.rsplit_once('/').map_or("", |(holder, _)| holder);
            let pointer = format!("{holder}/{name}");
            if wanted && seen.insert(pointer.clone()) {
                found.push(Place { line, pointer });
            }
        }
    }
    found
}

/// The record with its field changed; absent when it is no change or no record.
fn changed(line: &Value, pointer: &str, change: Change) -> Option<Record> {
    let mut line = line.clone();
    let (holder, name) = pointer.rsplit_once('/')?;
    let old = line.pointer(pointer).cloned().unwrap_or_default();
    let new = match change {
        Add(more) => json!(old.as_i64()?.checked_add(more)?),
        Other => json!(format!("{}x", old.as_str()?)),
        Flip => json!(!old.as_bool()?),
        Be(text) => serde_json::from_str(text).expect("the table has JSON"),
        Pop => json!(old.as_array()?.split_last()?.1),
        Drop => Value::Null,
    };
    if new == old {
        return None;
    }
    let fields = line.pointer_mut(holder)?.as_object_mut()?;
    fields.insert(name.to_owned(), new);
    serde_json::from_value(line).ok()
}

fn histories() -> Vec<(Plan, History)> {
    let of = |seed| {
        let plan = Plan {
            operations: 300,
            variety: Variety {
                watchers_away_ms: if seed == 0 { 0 } else { 3_000 },
                late_watchers: true,
                leases_in_txns: true,
                lagging: true,
                ..Variety::default()
            },
            ..plan(seed)
        };
        (plan, simulate(&plan))
    };
    (0..SEEDS).map(of).collect()
}

/// True when the change is seen in one of some places.
fn is_seen(rule: &Rule, (plan, history): &(Plan, History), lines: &[Value]) -> bool {
    let (path, change, name, owed) = *rule;
    let mut places = places(lines, path, change);
    let mut random = Random::new(plan.seed);
    let mut tried = 0;
    while !places.is_empty() && tried < PLACES {
        let place = places.swap_remove(random.position(places.len()));
        let Some(record) = changed(&lines[place.line], &place.pointer, change) else {
            continue;
        };
        tried += 1;
        let mut spoiled = history.clone();
        spoiled.records[place.line] = record;
        let verdicts = check::all(&spoiled, &expectations(plan.members));
        let own = verdicts.iter().find(|verdict| verdict.check == name);
        if own.is_some_and(|verdict| owed.paid(&verdict.finding)) {
            return true;
        }
    }
    false
}

/// Judges a part of the rules, so that several tests share the processors.
fn judge(part: usize) {
    let with_lines = |(plan, history): (Plan, History)| {
        let lines = history.records.iter().map(serde_json::to_value);
        let lines: Result<Vec<Value>, _> = lines.collect();
        ((plan, history), lines.expect("a record is JSON"))
    };
    let histories: Vec<_> = histories().into_iter().map(with_lines).collect();
    let mut missed = Vec::new();
    for rule in rules().skip(part).step_by(PARTS) {
        let mut histories = histories.iter();
        if !histories.any(|(history, lines)| is_seen(&rule, history, lines)) {
            missed.push(rule);
        }
    }
    assert!(missed.is_empty(), "not seen: {missed:#?}");
}

const PARTS: usize = 2;

#[test]
fn every_spoiled_field_is_seen() {
    judge(0);
}

#[test]
fn every_other_spoiled_field_is_seen() {
    judge(1);
}

#[test]
fn every_field_is_spoiled_or_known_to_carry_no_promise() {
    let all = shape::all();
    let spoiled: BTreeSet<&str> = rules().map(|(path, ..)| path).collect();
    let by_hand: BTreeSet<&str> = ALONE.iter().map(|(path, _)| *path).collect();
    let free: BTreeSet<&str> = NO_PROMISE.iter().map(|(path, _)| *path).collect();
    let known: BTreeSet<&str> = spoiled
        .iter()
        .chain(&by_hand)
        .chain(&free)
        .copied()
        .collect();
    let missing: Vec<_> = all
        .iter()
        .filter(|path| !known.contains(path.as_str()))
        .collect();
    assert!(missing.is_empty(), "no mutation of {missing:#?}");
    let gone: Vec<_> = known.iter().filter(|path| !all.contains(**path)).collect();
    assert!(gone.is_empty(), "there is no {gone:#?}");
    let both: Vec<_> = free.iter().filter(|path| spoiled.contains(*path)).collect();
    assert!(both.is_empty(), "spoiled and without a promise: {both:#?}");
}

/// A mutation made by hand changes its field and no other.
#[test]
fn fields_that_are_spoiled_by_hand_are_spoiled_alone() {
    for (path, name) in ALONE {
        let mutation = super::all().find(|mutation| mutation.name == *name);
        let mutation = mutation.unwrap_or_else(|| panic!("there is no mutation {name:?}"));
        let history = simulate(&plan(0));
        let mut spoiler = super::Spoiler {
            history: history.clone(),
            random: Random::new(0),
        };
        assert!((mutation.apply)(&mut spoiler), "{name} does nothing");
        let mut paths = BTreeSet::new();
        assert_eq!(
            history.records.len(),
            spoiler.history.records.len(),
            "{name}"
        );
        for (old, new) in history.records.iter().zip(&spoiler.history.records) {
            let of = |record: &Record| {
                let value = serde_json::to_value(record).expect("a record is JSON");
                let fields = shape::fields(&value).into_iter();
                let at = |pointer: &str| value.pointer(pointer).cloned();
                let found =
                    fields.map(|(path, pointer)| (path, at(&pointer).map(|v| v.to_string())));
                found.collect::<BTreeSet<_>>()
            };
            let (old, new) = (of(old), of(new));
            paths.extend(old.symmetric_difference(&new).map(|(path, _)| path.clone()));
        }
        assert_eq!(paths, BTreeSet::from([(*path).to_owned()]), "{name}");
    }
}
