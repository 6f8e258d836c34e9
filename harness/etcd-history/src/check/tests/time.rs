//! Claims about time: judged where the machine let them be, and nothing else is ever excused by it.

use crate::check::test_support::*;
use crate::check::{Expectations, GapBudget, GapSamples, HAND_OVER, IN_TIME, InTime, lateness};
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
    // In the same round, more than a second behind the gap.
    let elsewhere = Story::new().busy(1_800, 2_800);
    violates(
        &gap(elsewhere).verdict("continuity", &budget(100.0)),
        "100 ms are allowed",
    );
}

#[test]
fn a_round_in_which_the_client_restarted_proves_nothing() {
    let judge = |t| gap(Story::new().restarted(t)).verdict("continuity", &budget(100.0));
    let told = "the recording client restarted in round 0";
    inconclusive(&judge(650), told);
    // Killed before the round, and back in it.
    inconclusive(&judge(300), told);
    // In front of it.
    violates(&judge(200), "100 ms are allowed");
    // Where no gap is held against a limit, there is nothing to prove: every node restarts, the client's too.
    let reported = gap(Story::new().restarted(650)).verdict("continuity", &small());
    assert!(reported.passed(), "{reported:?}");
    assert_eq!(reported.figures["round_0.client_restarted"], 1.0);
    let samples = |t| GapSamples::of(&gap(Story::new().restarted(t)).history(), budget(1.0).gaps);
    assert!(samples(650).rounds().is_empty());
    assert_eq!(samples(200).rounds().len(), 1);
}

/// Five rounds, and a gap of 260 ms in one of them, beside a timer of the recording client that is late.
fn one_round_far_out(late: i64) -> Story {
    let faults = (0..5).fold(Story::new(), |story, n| {
        let from = 100 + i64::from(n) * 400;
        story.fault_at(n, from, from + 20)
    });
    let times = (0..220).map(|n| n * 10);
    let times = times.filter(|t| !(610..860).contains(t));
    let story = faults.route(Route::ServiceFresh).client_late(800, late);
    times.fold(story, |story, t| {
        let key = t.to_string();
        story.put(1, (t, t + 1), (&key, &key), 2 + t)
    })
}

#[test]
fn one_late_timer_excuses_what_it_can_have_cost_and_no_whole_round() {
    let judge = |late| one_round_far_out(late).verdict("continuity", &budget(100.0));
    let told = "no successful write for 260 ms in round 1, 100 ms are allowed";
    for late in [0, 101, 159] {
        violates(&judge(late), told);
    }
    violates(&judge(101), "(and 201 on a machine as busy as this one)");
    not_judged(&judge(160), told);
    not_judged(&judge(160), "one by 160 ms");
}

/// One round with a gap of 260 ms, from 601 ms on, and a late timer of the recording client at a time.
fn one_gap_and_a_late_timer(t: i64) -> Story {
    let times = (0..220).map(|n| n * 10);
    let times = times.filter(|t| !(610..860).contains(t));
    let story = Story::new().fault(600, 700).route(Route::ServiceFresh);
    let story = story.client_late(t, 200);
    times.fold(story, |story, t| {
        let key = t.to_string();
        story.put(1, (t, t + 1), (&key, &key), 2 + t)
    })
}

#[test]
fn a_late_timer_in_another_part_of_the_round_excuses_nothing() {
    let judge = |t| one_gap_and_a_late_timer(t).verdict("continuity", &budget(100.0));
    let told = "no successful write for 260 ms in round 0, 100 ms are allowed";
    not_judged(&judge(800), told);
    violates(&judge(860 + 5_000), told);
    // Its round counts in the median.
    assert_eq!(
        judge(860 + 5_000).figures["service_fresh.rounds_judged"],
        1.0
    );
    let samples = |t| GapSamples::of(&one_gap_and_a_late_timer(t).history(), budget(100.0).gaps);
    assert!(samples(800).rounds().is_empty());
    assert_eq!(samples(860 + 5_000).rounds(), [vec![260.0]]);
}

/// Five rounds with gaps of these milliseconds and ten more.
fn rounds_of(holes: [i64; 5]) -> Story {
    let begin = |n: i64| 100 + n * 2_000;
    let faults = (0..5).fold(Story::new(), |story, n| {
        let from = begin(i64::from(n));
        story.fault_at(n, from, from + 20)
    });
    let hole =
        |t: i64| (0..5).any(|n| (begin(n) + 10..begin(n) + 10 + holes[n as usize]).contains(&t));
    let times = (0..1_000).map(|n| n * 10).filter(|t| !hole(*t));
    let story = faults.route(Route::ServiceFresh);
    times.fold(story, |story, t| {
        let key = t.to_string();
        story.put(1, (t, t + 1), (&key, &key), 2 + t)
    })
}

#[test]
fn a_run_that_is_late_by_its_medians_alone_says_so_and_its_rounds_count_with_those_of_another() {
    let mut expectations = budget(500.0);
    expectations.gaps[0].median_ms = Some(100.0);
    let look = |holes| lateness(&rounds_of(holes).history(), &expectations);
    let late = look([80, 100, 100, 100, 300]);
    assert!(late.by_median);
    let over = late.gaps.over().expect("a median of 110");
    assert!(
        over.contains("110 ms in the median of 5 rounds, 100 ms"),
        "{over}"
    );
    // One round far out is late whatever other runs say.
    assert!(!look([80, 100, 100, 100, 600]).by_median);
    let usual = look([80, 80, 80, 80, 80]);
    assert!(!usual.by_median);
    assert_eq!(late.gaps.clone().with([&usual.gaps]).over(), None);
    let over = late.gaps.clone().with([&late.gaps]).over();
    assert!(over.expect("late twice").contains("of 10 rounds"));
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
        .phase(20_000, "settle")
        .op(1, (20_010, 20_020), put("c", "c"), outcome.clone())
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
    // However late the client was: no clock made these.
    for class in ["unavailable", "server_stopped", "connection_lost"] {
        let story = moved(&failed(class)).client_late(200, 10_000);
        let story = story.phase(30_000, "final");
        violates(&story.verdict("no_failed_write", &planned()), words);
    }
    inconclusive(
        &Story::new().verdict("no_failed_write", &planned()),
        "no write was sent",
    );
}

#[test]
fn a_missed_deadline_is_excused_by_half_of_it_and_no_less() {
    let unknown = Outcome::Unknown {
        class: "deadline".into(),
        message: String::new(),
    };
    for outcome in [unknown, failed("connect_timeout_before_send")] {
        let judge = |late| {
            let story = Story::new().fault(100, 250).client_late(400, late);
            let story = story.op(1, (110, 1_110), put("a", "a"), outcome.clone());
            story.verdict("no_failed_write", &planned())
        };
        let words = "1 of 1 writes failed in a planned move";
        for late in [101, 499] {
            violates(&judge(late), words);
        }
        not_judged(&judge(500), words);
        // Every step took as many times as long where processes queue: twice is half.
        let queued = |runnable| {
            let story = Story::new().fault(100, 250).queued(0, 1_200, runnable);
            let story = story.op(1, (110, 1_110), put("a", "a"), outcome.clone());
            story.verdict("no_failed_write", &planned())
        };
        for runnable in [8, 11] {
            violates(&queued(runnable), words);
        }
        not_judged(&queued(12), words);
        let disk = |waits| {
            let story = Story::new().fault(100, 250).disk_busy(0, 1_300, waits);
            let story = story.op(1, (110, 1_110), put("a", "a"), outcome.clone());
            story.verdict("no_failed_write", &planned())
        };
        violates(&disk(49), words);
        not_judged(&disk(50), words);
        // Before and after it says nothing.
        let story = Story::new().fault(2_100, 2_250).disk_busy(0, 1_900, 100);
        let story = story.op(1, (2_110, 3_110), put("a", "a"), outcome);
        violates(&story.verdict("no_failed_write", &planned()), words);
    }
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
    // Elsewhere in the round.
    violates(
        &dropping(611)
            .busy(1_700, 2_500)
            .verdict(HAND_OVER, &planned()),
        "for 501 ms in round 0",
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

/// A planned move, and two seconds later an election that nothing asked for, after a timer that was late. A write of
/// that time failed, and none succeeded for 1.5 s.
fn elected_once_more(late: i64, class: &str) -> Story {
    let story = Story::new()
        .sample(900, ("etcd-0", "a"), Some("a"), 2)
        .fault(1_000, 1_200)
        .sample(1_100, ("etcd-1", "b"), Some("b"), 3)
        .sample(3_400, ("etcd-0", "a"), Some("a"), 4)
        .client_late(2_900, late)
        .route(Route::ServiceHeld)
        .op(1, (3_000, 3_300), put("z", "z"), failed(class))
        .route(Route::ServiceFresh);
    let times = (0..600).map(|n| n * 10);
    let times = times.filter(|t| !(2_500..4_000).contains(t));
    times
        .fold(story, |story, t| {
            let key = t.to_string();
            story.put(1, (t, t + 1), (&key, &key), 2 + t)
        })
        .phase(6_000, "settle")
}

#[test]
fn an_election_that_a_stall_made_costs_what_elections_cost() {
    let judge = |late, class, check| {
        let expectations = Expectations {
            terms_per_round: Some(1),
            planned: true,
            ..budget(100.0)
        };
        elected_once_more(late, class).verdict(check, &expectations)
    };
    let failed = "1 of 351 writes failed in a planned move";
    let gap = "no successful write for 1510 ms in round 0";
    for class in ["leader_changed", "no_leader", "etcd_timeout_leader_failed"] {
        not_judged(&judge(150, class, "no_failed_write"), failed);
        violates(&judge(0, class, "no_failed_write"), failed);
    }
    violates(&judge(150, "unavailable", "no_failed_write"), failed);
    not_judged(&judge(150, "no_leader", "continuity"), gap);
    violates(&judge(0, "no_leader", "continuity"), gap);
    let calm = judge(0, "no_leader", "elections");
    violates(&calm, "leadership moved 2 times in round 0");
}

#[test]
fn a_stall_excuses_claims_of_seconds_by_its_length() {
    let phase = |late| {
        let limit = InTime {
            from: "recover".into(),
            to: "settle".into(),
            limit_ms: 1_000,
        };
        let expectations = Expectations {
            in_time: vec![limit],
            ..small()
        };
        let story = Story::new().client_late(500, late);
        let story = story.phase(100, "recover").phase(1_300, "settle");
        story.verdict(IN_TIME, &expectations)
    };
    let told = "from recover to settle 1200 ms";
    violates(&phase(199), told);
    not_judged(&phase(200), told);
}
