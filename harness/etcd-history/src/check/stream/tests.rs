//! The stream says what the judgement of the whole says, or that it cannot tell; and it keeps little.

use super::*;
use crate::check::mutate::{self, Spoiler};
use crate::check::test_support::{Story, delete, found, get, gone, kv, leased, put, seen, version};
use crate::check::{self, Finding};
use crate::history::History;
use crate::record::KeyValue;
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
        let mut plan = Plan::varied(seed);
        plan.variety.restart_client = false;
        match streamed(&simulate(&plan)) {
            Finding::Pass => passed += 1,
            Finding::Inconclusive { reason } => doubts += &format!("\n{seed}: {reason}"),
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    println!("{passed} of 200 pass{doubts}");
    assert!(passed > 100, "{passed} of 200 pass{doubts}");
}

#[test]
fn a_client_that_was_killed_is_no_false_alarm() {
    for seed in 0..60 {
        let mut plan = Plan::varied(seed);
        plan.variety.restart_client = true;
        let finding = streamed(&simulate(&plan));
        let broken = matches!(finding, Finding::Violation { .. });
        assert!(!broken, "seed {seed}: {finding:?}");
    }
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

/// A key of lease 7 that was written once.
fn held(key: &str, revision: i64) -> KeyValue {
    KeyValue {
        lease: 7,
        ..kv(key, "1", revision)
    }
}

#[test]
fn a_lost_delete_of_one_key_of_a_lease_is_not_taken_for_its_end() {
    let story = |lost: &str, shown: &[KeyValue]| {
        let granted = Response::LeaseGrant { id: 7, ttl: 60 };
        let grant = Request::LeaseGrant { id: 7, ttl: 60 };
        let story = Story::new()
            .opened(0, 1)
            .ok(1, (1, 2), grant, (1, granted))
            .ok(1, (3, 4), leased("a", "1", 7), (2, Response::Put {}))
            .ok(1, (5, 6), leased("b", "1", 7), (3, Response::Put {}))
            .events(0, 7, 3, &[seen(held("a", 2)), seen(held("b", 3))])
            .unknown(2, (8, 20), delete(lost))
            .events(0, 12, 4, &[gone("a", 4)])
            .ok(3, (30, 31), get("b"), (4, found(shown)));
        streamed(&story.history())
    };
    match story("a", &[held("b", 3)]) {
        Finding::Inconclusive { reason } => {
            assert!(
                reason.contains("the end of a lease or a delete"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    // Another key's delete explains nothing.
    let other = story("c", &[held("b", 3)]);
    assert!(matches!(other, Finding::Violation { .. }), "{other:?}");
}

#[test]
fn a_lost_transaction_of_which_only_the_delete_was_watched_is_waited_for() {
    let story = |shown: (i64, KeyValue)| {
        let (key, range_end) = ("b".to_owned(), "c".to_owned());
        let opened = WatchEvent::Opened {
            key,
            range_end,
            start_revision: 1,
        };
        let lost = Request::Txn {
            compare: Vec::new(),
            then: vec![delete("b"), put("x", "2")],
            otherwise: Vec::new(),
        };
        let story = Story::new()
            .watch(0, 0, opened)
            .ok(1, (3, 4), leased("b", "1", 7), (2, Response::Put {}))
            .events(0, 5, 2, &[seen(held("b", 2))])
            .unknown(2, (8, 20), lost)
            .events(0, 12, 3, &[gone("b", 3)]);
        let story = match shown.0 {
            4 => story.put(3, (25, 26), ("x", "3"), 4),
            _ => story,
        };
        let story = story.ok(3, (30, 31), get("x"), (shown.0, found(&[shown.1])));
        streamed(&story.history())
    };
    // Its mark shows that it was it; where it was overwritten nothing tells.
    assert_eq!(story((3, kv("x", "2", 3))), Finding::Pass);
    let overwritten = story((4, version("x", "3", (3, 4, 2))));
    assert!(
        matches!(overwritten, Finding::Inconclusive { .. }),
        "{overwritten:?}"
    );
}

#[test]
fn a_store_of_many_keys_is_judged_as_one_of_few() {
    // More keys than are looked up one by one, and forty operations at a time.
    let story = |wrong: Option<i64>| {
        let mut story = Story::new().opened(0, 1);
        for round in 0..250_i64 {
            let times = (10 * round + 1, 10 * round + 5);
            for number in 0..40 {
                let client = u32::try_from(number).expect("small");
                let revision = 2 + 30 * round + number.min(30);
                let key = |revision: i64| format!("k{revision}");
                if number < 30 {
                    story = story.put(client, times, (&key(revision), "v"), revision);
                } else {
                    let read = 2 + revision * number % (30 * round + 30);
                    let value = match wrong == Some(round) && number == 35 {
                        true => "w",
                        false => "v",
                    };
                    let shown = found(&[kv(&key(read), value, read)]);
                    let last = revision - 1;
                    story = story.ok(client, times, get(&key(read)), (last, shown));
                }
            }
        }
        let mut history = story.history();
        history.records.sort_by_key(Record::time);
        streamed(&history)
    };
    assert_eq!(story(None), Finding::Pass);
    match story(Some(240)) {
        Finding::Violation { ops, .. } => assert_eq!(ops, [240 * 40 + 36]),
        other => panic!("{other:?}"),
    }
}
