//! Absurd numbers: every number of a history, made as large or as small as it can be, is refused with its line or
//! judged.

use serde_json::Value;

use crate::History;
use crate::check::mutate::expectations;
use crate::check::{self, Finding, Verdict};
use crate::history::ReadError;
use crate::simulate::{Plan, simulate};

const ABSURD: [i64; 4] = [i64::MAX, i64::MIN, 4_000_000_000_000_000_000, -1];

/// Every field of a kind of record once: its line and its place.
fn numbers(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(_) => found.push(path.to_owned()),
        Value::Object(fields) => {
            for (name, field) in fields {
                numbers(field, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate().take(1) {
                numbers(item, &format!("{path}/{position}"), found);
            }
        }
        _ => {}
    }
}

/// What makes two lines of one kind.
fn kind(value: &Value) -> String {
    let word = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    [
        "/type",
        "/event/what",
        "/request/kind",
        "/outcome/result",
        "/outcome/response/kind",
    ]
    .map(word)
    .join(" ")
}

/// A small history in which a watcher receives its progress.
fn lines() -> Vec<Value> {
    let told = |line: &Value| kind(line).starts_with("watch progress");
    let mut histories = (0..20).map(of_seed);
    let found = histories.find(|lines| lines.iter().any(told));
    found.expect("one of them has it")
}

fn of_seed(seed: u64) -> Vec<Value> {
    let plan = Plan {
        seed,
        operations: 120,
        clients: 3,
        writer_period_ms: 0,
        kill_leader: false,
        restart_follower: false,
        watchers: 1,
        ..Plan::default()
    };
    let records = simulate(&plan).records;
    let lines = records.iter().map(serde_json::to_value);
    lines.map(|line| line.expect("a record is JSON")).collect()
}

fn read(lines: &[Value]) -> Result<History, ReadError> {
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    History::read((text.join("\n") + "\n").as_bytes())
}

#[test]
fn every_absurd_number_is_refused_or_judged() {
    let good = lines();
    let mut seen = std::collections::BTreeSet::new();
    let (mut refused, mut judged) = (0, 0);
    for (at, line) in good.iter().enumerate().rev() {
        let mut places = Vec::new();
        numbers(line, "", &mut places);
        for place in places {
            if !seen.insert((kind(line), place.clone())) {
                continue;
            }
            for absurd in ABSURD {
                let mut spoiled = good.clone();
                if let Some(number) = spoiled[at].pointer_mut(&place) {
                    *number = absurd.into();
                }
                match read(&spoiled) {
                    Err(error) => {
                        let line = format!("line {}", at + 1);
                        assert!(error.to_string().contains(&line), "{error}");
                        refused += 1;
                    }
                    Ok(history) => {
                        judge(&history);
                        judged += 1;
                    }
                }
            }
        }
    }
    assert!(
        refused > 20 && judged > 100,
        "{refused} refused, {judged} judged"
    );
}

fn judge(history: &History) -> Vec<Verdict> {
    check::all(history, &expectations(3))
}

#[test]
fn a_promise_of_a_revision_that_nobody_can_have_made_is_broken() {
    let mut spoiled = lines();
    let progress = spoiled
        .iter_mut()
        .find(|line| kind(line).starts_with("watch progress"))
        .and_then(|line| line.pointer_mut("/event/revision"))
        .expect("a watcher receives its progress");
    *progress = 4_000_000_000_000_000_000_i64.into();
    let history = read(&spoiled).expect("it can be judged");
    let verdicts = judge(&history);
    let watch = verdicts.iter().find(|verdict| verdict.check == "watch");
    assert!(
        watch.is_some_and(|watch| matches!(watch.finding, Finding::Violation { .. })),
        "{watch:?}"
    );
}
