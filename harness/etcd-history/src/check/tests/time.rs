//! Claims about time: judged where the machine let them be, and nothing else is ever excused by it.

use crate::check::test_support::*;
use crate::check::{Expectations, GapBudget, HAND_OVER, IN_TIME, InTime};
use crate::record::{Outcome, Route};

/// A write every 10 ms with a hole from 300 to 700 ms, while a fault is on.
fn gap(story: Story) -> Story {
    let story = story.fault(300, 800).route(Route::ServiceFresh);
    let times = (0..120).map(|n| n * 10);
    times
        .filter(|t| !(300..700).contains(t))
        .fold(story, |story, t| {
            let key = t.to_string();
            story.put(1, (t, t + 1), (&key, &key), 2 + t)
        })
}

fn budget(limit_ms: f64) -> Expectations {
    Expectations {
        gaps: vec![GapBudget {
            route: Route::ServiceFresh,
            median_ms: None,
            limit_ms,
            over_dial_all: false,
        }],
        ..small()
    }
}

#[test]
fn a_gap_on_a_starved_machine_is_not_judged_however_long_it_was() {
    for limit in [100.0, 9_000.0] {
        let verdict = gap(Story::new().busy(200, 1_000)).verdict("continuity", &budget(limit));
        not_judged(
            &verdict,
            "service_fresh had no successful write for 410 ms, 0 of 1 rounds",
        );
        not_judged(&verdict, "CPU pressure 100 %");
        assert_eq!(verdict.figures["round_0.service_fresh.gap_ms"], 410.0);
    }
}

#[test]
fn a_machine_that_was_busy_at_another_time_excuses_nothing() {
    let elsewhere = Story::new().busy(0, 200);
    violates(
        &gap(elsewhere).verdict("continuity", &budget(100.0)),
        "100 ms are allowed",
    );
}

#[test]
fn what_was_lost_is_lost_on_any_machine() {
    let story = |story: Story| {
        story
            .put(1, (10, 20), ("k", "a"), 2)
            .ok(1, (30, 40), get("k"), (2, found(&[])))
    };
    story(Story::new().busy(0, 1_000)).violates("linearizable", "op 2");
}

fn planned() -> Expectations {
    Expectations {
        planned: true,
        ..small()
    }
}

/// Two writes in a planned move, and one after it, with this end.
fn moved(outcome: &Outcome) -> Story {
    Story::new()
        .fault(100, 250)
        .op(1, (110, 120), put("a", "a"), outcome.clone())
        .op(1, (190, 213), put("b", "b"), outcome.clone())
        .phase(300, "settle")
        .op(1, (310, 320), put("c", "c"), outcome.clone())
}

fn failed(class: &str) -> Outcome {
    Outcome::Failed {
        class: class.into(),
        message: "no".into(),
    }
}

#[test]
fn a_write_that_fails_in_a_planned_move_is_named() {
    let unknown = Outcome::Unknown {
        class: "deadline".into(),
        message: String::new(),
    };
    let words = "2 of 2 writes failed in a planned move; the first: ServiceHeld";
    for outcome in [&unknown, &failed("unavailable")] {
        violates(
            &moved(outcome).verdict("no_failed_write", &planned()),
            words,
        );
    }
    // A deadline is a time; a refusal is none, on any machine.
    let starved = |outcome| {
        let story = moved(outcome).busy(0, 500);
        story.verdict("no_failed_write", &planned())
    };
    not_judged(&starved(&unknown), words);
    violates(&starved(&failed("unavailable")), words);
    inconclusive(
        &Story::new().verdict("no_failed_write", &planned()),
        "no write was sent",
    );
}

#[test]
fn a_proposal_that_is_dropped_is_no_failed_write_and_has_its_own_limit() {
    let dropped = failed("proposal_dropped");
    assert!(
        moved(&dropped)
            .verdict("no_failed_write", &planned())
            .passed()
    );
    let dropping = |until| {
        let story = Story::new().fault(100, 150);
        let story = story.op(1, (110, 120), put("a", "a"), dropped.clone());
        story.op(1, (until - 5, until), put("b", "b"), dropped.clone())
    };
    assert!(dropping(610).verdict(HAND_OVER, &planned()).passed());
    violates(
        &dropping(611).verdict(HAND_OVER, &planned()),
        "a leader that transferred leadership dropped proposals for 501 ms in round 0, 500 ms are allowed",
    );
    not_judged(
        &dropping(611).busy(0, 500).verdict(HAND_OVER, &planned()),
        "dropped proposals for 501 ms, 0 of 1 rounds could be judged",
    );
}

#[test]
fn a_phase_that_comes_late_is_seen() {
    let judge = |story: Story, limit_ms| {
        let limit = InTime {
            from: "recover".into(),
            to: "settle".into(),
            limit_ms,
        };
        let expectations = Expectations {
            in_time: vec![limit],
            ..small()
        };
        story.verdict(IN_TIME, &expectations)
    };
    let story = || Story::new().phase(100, "recover").phase(900, "settle");
    assert!(judge(story(), 800).passed());
    violates(
        &judge(story(), 799),
        "from recover to settle 800 ms, 799 ms are allowed",
    );
    // A busy machine only adds time.
    assert!(judge(story().busy(100, 900), 800).passed());
    not_judged(
        &judge(story().busy(100, 900), 799),
        "from recover to settle 800 ms",
    );
    inconclusive(
        &judge(Story::new().phase(100, "recover"), 1),
        "never came from recover to settle",
    );
}

#[test]
fn a_lease_that_ends_late_on_a_starved_machine_is_not_judged() {
    let story = |story: Story| {
        let granted = crate::Response::LeaseGrant { id: 7, ttl: 1 };
        let grant = crate::Request::LeaseGrant { id: 7, ttl: 1 };
        let mut kv = kv("k", "a", 2);
        kv.lease = 7;
        story
            .ok(1, (10, 20), grant, (1, granted))
            .ok(
                1,
                (30, 40),
                leased("k", "a", 7),
                (2, crate::Response::Put {}),
            )
            .opened(1, 1)
            .events(1, 41, 2, &[seen(kv)])
            .progress(1, 9_000, 2)
    };
    story(Story::new()).violates("leases", "lease 7 still had its keys");
    not_judged(
        &story(Story::new().busy(0, 9_000)).verdict("leases", &small()),
        "end of lease 7",
    );
}
