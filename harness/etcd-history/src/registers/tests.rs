//! The search says of small histories what trying all orders says.

use super::*;
use crate::simulate::Random;

const STEPS: u64 = 1_000_000;

fn judged(log: &str) -> Finding {
    judge(&jepsen::read(log).expect("a log"), STEPS)
}

fn log(lines: &[&str]) -> String {
    let lines = lines
        .iter()
        .map(|line| format!("INFO  jepsen.util - {line}\n"));
    lines.collect()
}

#[test]
fn a_read_that_saw_what_was_overwritten_is_named_with_what_was_open() {
    let lines = log(&[
        "0 :invoke :write 1",
        "0 :ok :write 1",
        "1 :invoke :write 2",
        "1 :ok :write 2",
        "2 :invoke :cas [7 8]",
        "0 :invoke :read nil",
        "0 :ok :read 1",
    ]);
    let Finding::Violation { explanation, ops } = judged(&lines) else {
        panic!("the read is stale");
    };
    assert_eq!(ops, [4]);
    assert!(explanation.contains("op 4 (read, saw 1)"), "{explanation}");
    assert!(explanation.contains("only have been 2"), "{explanation}");
}

#[test]
fn what_has_no_answer_may_happen_late_once_or_never() {
    let write = ["0 :invoke :write 1", "0 :info :write :timed-out"];
    let read = |value| format!("1 :invoke :read nil\nINFO jepsen.util - 1 :ok :read {value}");
    let [unwritten, written] = ["nil", "1"].map(read);
    let of = |reads: &[&str]| judged(&log(&[&write[..], reads].concat()));
    assert_eq!(of(&[unwritten.as_str()]), Finding::Pass);
    assert_eq!(of(&[unwritten.as_str(), written.as_str()]), Finding::Pass);
    assert_ne!(of(&[written.as_str(), unwritten.as_str()]), Finding::Pass);
    let overwritten = ["1 :invoke :write 2", "1 :ok :write 2"];
    let again = [&[written.as_str()][..], &overwritten, &[written.as_str()]].concat();
    assert_ne!(of(&again), Finding::Pass, "it happens once");
}

#[test]
fn a_thousand_writes_without_an_answer_are_tried_where_something_saw_them() {
    let lost: Vec<String> = (0..1000)
        .flat_map(|n| {
            [
                format!("{n} :invoke :write {n}"),
                format!("{n} :info :write :timed-out"),
            ]
        })
        .collect();
    let mut lines: Vec<&str> = lost.iter().map(String::as_str).collect();
    lines.extend(["2000 :invoke :read nil", "2000 :ok :read 0"]);
    assert_eq!(judged(&log(&lines)), Finding::Pass);
    lines.extend(["2000 :invoke :read nil", "2000 :ok :read 1000"]);
    assert!(matches!(judged(&log(&lines)), Finding::Violation { .. }));
}

#[test]
fn a_failed_read_says_nothing_and_a_failed_set_says_what_was_not_there() {
    let failed = ["0 :invoke :read nil", "0 :fail :read :timed-out"];
    let refused = ["1 :invoke :cas [1 2]", "1 :fail :cas [1 2]"];
    assert_eq!(judged(&log(&[failed, refused].concat())), Finding::Pass);
    let written = ["0 :invoke :write 1", "0 :ok :write 1"];
    assert_ne!(judged(&log(&[written, refused].concat())), Finding::Pass);
}

#[test]
fn a_log_that_is_none_is_refused_with_its_line() {
    for (lines, told) in [
        (
            vec!["0 :invoke :read nil", "0 :perhaps :read nil"],
            "line 2",
        ),
        (vec!["0 :ok :read 1"], "no operation open"),
        (vec!["0 :invoke :append 1"], "not one of a register"),
        (
            vec!["0 :invoke :read nil", "0 :invoke :read nil"],
            "another operation open",
        ),
    ] {
        let error = jepsen::read(&log(&lines)).expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
    }
    assert!(matches!(
        judged("nothing of Jepsen's\n"),
        Finding::Inconclusive { .. }
    ));
}

#[test]
fn keys_are_judged_by_themselves_and_too_many_orders_are_no_verdict() {
    let call = |op, key: &str, action| Event::Call {
        op,
        key: key.to_owned(),
        action,
    };
    let end = |op, answer| Event::Return { op, answer };
    let events = [
        call(1, "a", Action::Write(1)),
        end(1, Answer::Written),
        call(2, "b", Action::Read),
        end(2, Answer::Value(None)),
    ];
    assert_eq!(judge(&events, STEPS), Finding::Pass);
    assert!(matches!(judge(&events, 0), Finding::Inconclusive { .. }));
    let twice = [events.as_slice(), &events].concat();
    assert!(matches!(judge(&twice, STEPS), Finding::Inconclusive { .. }));
}

#[test]
fn small_histories_are_judged_as_by_trying_all_orders() {
    let mut broken = 0;
    for seed in 0..4_000 {
        let events = random_events(&mut Random::new(seed));
        let found = judge(&events, STEPS);
        let register = split(&events)
            .expect("it fits")
            .remove("")
            .unwrap_or_default();
        let order = some_order(&register, None, &mut vec![false; register.ops.len()]);
        let passed = matches!(found, Finding::Pass | Finding::Inconclusive { .. });
        assert_eq!(passed, order, "seed {seed}: {found:?} {events:?}");
        broken += u32::from(!order);
    }
    assert!(
        (500..3_500).contains(&broken),
        "{broken} of 4000 are broken"
    );
}

/// Calls and returns of a few processes, with answers that may well be wrong.
fn random_events(random: &mut Random) -> Vec<Event> {
    let mut events = Vec::new();
    let mut open: Vec<(OpId, Action)> = Vec::new();
    let mut next = 0;
    while next < 7 || !open.is_empty() && random.chance(80) {
        if next < 7 && (open.is_empty() || open.len() < 4 && random.chance(50)) {
            next += 1;
            let (one, other) = (random.between(0, 2), random.between(0, 2));
            let action = match random.below(3) {
                0 => Action::Read,
                1 => Action::Write(one),
                _ => Action::CompareAndSet(one, other),
            };
            open.push((next, action));
            events.push(Event::Call {
                op: next,
                key: String::new(),
                action,
            });
            continue;
        }
        let (op, action) = open.swap_remove(random.position(open.len()));
        let value = random.between(-1, 2);
        let answer = match action {
            Action::Read => Answer::Value((value >= 0).then_some(value)),
            Action::Write(_) => Answer::Written,
            Action::CompareAndSet(..) => Answer::Set(random.chance(40)),
        };
        match random.below(10) {
            0 => {}
            1 => events.push(Event::Fail { op }),
            _ => events.push(Event::Return { op, answer }),
        }
    }
    events
}

/// True when some order of the operations that are left keeps real time and explains the answers.
fn some_order(register: &Register, value: Option<i64>, done: &mut [bool]) -> bool {
    let left = |done: &[bool], at: usize| register.ops[at].answer.is_some() && !done[at];
    if (0..done.len()).all(|at| !left(done, at)) {
        return true;
    }
    let line = |wanted: (usize, bool)| register.lines.iter().position(|line| *line == wanted);
    for at in 0..done.len() {
        let called = line((at, false));
        let late = (0..done.len()).any(|other| {
            let ended = line((other, true));
            left(done, other) && other != at && ended.is_some() && ended < called
        });
        if done[at] || late {
            continue;
        }
        let op = register.ops[at];
        let next = match (op.action, op.answer) {
            (Action::Read, Some(Answer::Value(seen))) => (seen == value).then_some(value),
            (Action::Write(new), _) => Some(Some(new)),
            (Action::CompareAndSet(from, to), answer) => {
                let held = value == Some(from);
                let fits = answer.is_none_or(|answer| answer == Answer::Set(held));
                fits.then_some(if held { Some(to) } else { value })
            }
            (Action::Read, _) => None,
        };
        if let Some(next) = next {
            done[at] = true;
            let found = some_order(register, next, done);
            done[at] = false;
            if found {
                return true;
            }
        }
    }
    false
}
