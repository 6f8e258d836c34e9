//! The stream says what the judgement of the whole says, or that it cannot tell; and it keeps little.

use super::*;
use crate::check::mutate::{self, Spoiler};
use crate::check::{self, Finding};
use crate::history::History;
use crate::record::Outcome;
use crate::simulate::{Plan, Random, simulate};

fn streamed(history: &History) -> Finding {
    let records = history.records.iter().cloned();
    let Ok(verdict) = stream(records.map(Ok::<_, std::convert::Infallible>));
    verdict.finding
}

#[test]
fn clean_histories_are_never_called_broken_and_most_pass() {
    let (mut passed, mut doubts) = (0, String::new());
    for seed in 0..200 {
        let plan = Plan::varied(seed);
        match streamed(&simulate(&plan)) {
            Finding::Pass => passed += 1,
            Finding::Inconclusive { reason } => doubts += &format!("\n{seed}: {reason}"),
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    println!("{passed} of 200 pass{doubts}");
    assert!(passed > 100, "{passed} of 200 pass{doubts}");
}

/// Of what the whole judgement of linearizability finds; all else would be a false alarm.
#[test]
fn spoiled_histories_are_called_broken_when_the_whole_judgement_does() {
    let (mut of_whole, mut of_stream, mut told) = (0, 0, String::new());
    for mutation in mutate::all() {
        for seed in 0..3 {
            let mut spoiler = Spoiler {
                history: simulate(&mutate::plan(seed)),
                random: Random::new(seed),
            };
            if !(mutation.apply)(&mut spoiler) {
                continue;
            }
            spoiler.history.records.sort_by_key(Record::time);
            let whole = check::linearizable(&spoiler.history).finding;
            let broken = matches!(whole, Finding::Violation { .. });
            let stream = streamed(&spoiler.history);
            let found = matches!(stream, Finding::Violation { .. });
            // A watcher that differs from the rest breaks the promise of watches, which another check tells.
            let elsewhere = || {
                let plan = mutate::plan(seed);
                let mut all =
                    check::all(&spoiler.history, &mutate::expectations(plan.members)).into_iter();
                all.any(|verdict| matches!(verdict.finding, Finding::Violation { .. }))
            };
            assert!(
                !found || broken || elsewhere(),
                "{}: {stream:?}, not {whole:?}",
                mutation.name
            );
            of_whole += usize::from(broken);
            of_stream += usize::from(found && broken);
            if broken && !found {
                told += &format!(
                    "\n{} (seed {seed}): {stream:?}, not {whole:?}",
                    mutation.name
                );
            }
        }
    }
    println!("{of_stream} of {of_whole} are found{told}");
    assert!(
        of_stream * 5 >= of_whole * 4,
        "{of_stream} of {of_whole} are found{told}"
    );
}

#[test]
fn what_is_kept_does_not_grow_with_the_history() {
    let kept = |operations| {
        let history = simulate(&Plan {
            operations,
            kill_leader: false,
            restart_follower: false,
            unknown_percent: 0,
            ..Plan::default()
        });
        let mut judge = Stream::default();
        let mut most = 0;
        for record in history.records {
            judge.feed(record);
            most = most.max(judge.queue.len() + judge.open.len() + judge.replay.waiting());
        }
        assert_eq!(judge.verdict().finding, Finding::Pass);
        most
    };
    let (short, long) = (kept(1_000), kept(20_000));
    assert!(
        long < 500 && long < short * 4,
        "{short} for 1000, {long} for 20000"
    );
}

#[test]
fn a_violation_is_known_while_the_run_goes() {
    let history = simulate(&Plan::default());
    let half = history.records.len() / 2;
    let mut judge = Stream::default();
    for (at, mut record) in history.records.into_iter().enumerate() {
        let put = match &mut record {
            Record::Return(end) if at > half => match &mut end.outcome {
                Outcome::Ok {
                    revision,
                    response: Response::Put {},
                    ..
                } => Some(revision),
                _ => None,
            },
            _ => None,
        };
        let spoiled = put.map(|revision| *revision = 5).is_some();
        assert!(!judge.broken());
        judge.feed(record);
        if spoiled {
            break;
        }
    }
    assert!(judge.broken());
    let Finding::Violation { explanation, ops } = judge.verdict().finding else {
        panic!("it was broken before");
    };
    assert!(
        explanation.contains("had happened before it was called"),
        "{explanation}"
    );
    assert!((1..=6).contains(&ops.len()), "{ops:?}");
}
