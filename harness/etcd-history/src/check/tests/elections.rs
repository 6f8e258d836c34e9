//! The check of how often leadership moves, on histories written by hand.

use crate::check::test_support::*;
use crate::check::{Expectations, Verdict};

/// Two rounds; a term begins in the second one.
fn moved_in_the_second_round() -> Story {
    Story::new()
        .sample(50, ("etcd-0", "a"), Some("a"), 2)
        .fault_at(0, 100, 150)
        .sample(160, ("etcd-0", "a"), Some("a"), 2)
        .fault_at(1, 200, 250)
        .sample(210, ("etcd-0", "a"), Some("a"), 2)
        .sample(260, ("etcd-1", "b"), Some("b"), 3)
}

#[test]
fn an_election_that_nothing_asked_for_is_seen() {
    let judge = |story: Story, terms_per_round| {
        let expectations = Expectations {
            terms_per_round: Some(terms_per_round),
            ..small()
        };
        story.verdict("elections", &expectations)
    };
    assert!(judge(moved_in_the_second_round(), 1).passed());
    violates(
        &judge(moved_in_the_second_round(), 0),
        "leadership moved 1 times in round 1 (from term 2 to 3), it must stay",
    );
    let twice = moved_in_the_second_round().sample(280, ("etcd-0", "a"), Some("a"), 4);
    violates(
        &judge(twice, 1),
        "leadership moved 2 times in round 1 (from term 2 to 4), 1 is allowed",
    );
    inconclusive(
        &judge(Story::new().fault(100, 150), 0),
        "no member told its term before and in round 0",
    );
}

#[test]
fn terms_that_began_on_a_busy_machine_are_not_judged_and_no_others() {
    let judge = |busy: (i64, i64), later: &[(i64, u64)]| {
        let expectations = Expectations {
            terms_per_round: Some(1),
            ..small()
        };
        let story = Story::new()
            .sample(50, ("etcd-0", "a"), Some("a"), 2)
            .fault_at(0, 10_000, 11_000)
            .sample(10_200, ("etcd-1", "b"), Some("b"), 3)
            .busy(busy.0, busy.1);
        let told = later.iter().fold((story, 3), |(story, former), (t, term)| {
            let story = story.sample(*t - 100, ("etcd-1", "b"), Some("b"), former);
            (story.sample(*t, ("etcd-0", "a"), Some("a"), *term), *term)
        });
        told.0.verdict("elections", &expectations)
    };
    let told = "leadership moved 3 times in round 0 (from term 2 to 5), 1 is allowed";
    let later = [(16_000, 4), (16_500, 5)];
    not_judged(&judge((13_000, 16_000), &later), told);
    not_judged(&judge((13_000, 16_000), &[(16_000, 5)]), told);
    // The machine was busy long before them, after them, or before one of the two.
    violates(&judge((9_000, 12_000), &later), told);
    violates(&judge((16_600, 19_000), &later), told);
    let one_of_two = [(13_900, 4), (18_000, 5)];
    violates(&judge((14_000, 18_000), &one_of_two), told);
    assert!(judge((9_000, 18_000), &[]).passed());
}

#[test]
fn elections_without_end_are_seen_where_the_machine_is_not_the_cause() {
    let judge = |story: Story, terms: u64| {
        let expectations = Expectations {
            terms_per_election: Some(4),
            ..small()
        };
        let story = story
            .sample(50, ("etcd-0", "a"), Some("a"), 2)
            .fault_at(0, 100, 150)
            .sample(260, ("etcd-1", "b"), Some("b"), 2 + terms);
        story.verdict("elections", &expectations)
    };
    assert!(judge(Story::new(), 4).passed());
    let told = "leadership moved 5 times in round 0 (from term 2 to 7), 4 are allowed";
    violates(&judge(Story::new(), 5), told);
    not_judged(&judge(Story::new().busy(100, 300), 5), told);
    assert!(judge(Story::new().busy(100, 300), 4).passed());
}

#[test]
fn votes_that_were_split_after_a_stall_are_not_judged() {
    let judge = |busy: (i64, i64), led: Option<&str>| {
        let expectations = Expectations {
            terms_per_round: Some(0),
            ..small()
        };
        Story::new()
            .sample(9_900, ("etcd-0", "a"), Some("a"), 2)
            .fault_at(0, 10_000, 10_500)
            .busy(busy.0, busy.1)
            .sample(12_000, ("etcd-1", "b"), led, 3)
            .sample(16_400, ("etcd-1", "b"), led, 3)
            .sample(16_500, ("etcd-1", "b"), Some("b"), 4)
            .verdict("elections", &expectations)
    };
    let told = "leadership moved 2 times in round 0 (from term 2 to 4), it must stay";
    not_judged(&judge((10_500, 11_500), None), told);
    violates(&judge((10_500, 11_500), Some("b")), told);
    violates(&judge((17_000, 18_000), None), told);
    // Members that were too busy to tell their term told it late.
    not_judged(&judge((8_000, 8_900), None), told);
}

#[test]
fn elections_without_end_are_seen_although_a_stall_came_before_the_first() {
    let judge = |last: u64| {
        let expectations = Expectations {
            terms_per_round: Some(0),
            ..small()
        };
        let story = Story::new()
            .sample(9_900, ("etcd-0", "a"), Some("a"), 2)
            .fault_at(0, 10_000, 10_500)
            .busy(10_500, 11_500)
            .sample(12_000, ("etcd-1", "b"), None, 3);
        let (story, _) = (4..=last).fold((story, 12_000), |(story, t), term| {
            let story = story.sample(t + 4_400, ("etcd-1", "b"), None, term - 1);
            let t = t + 4_500;
            (story.sample(t, ("etcd-1", "b"), None, term), t)
        });
        story.verdict("elections", &expectations)
    };
    not_judged(&judge(7), "leadership moved 5 times in round 0");
    violates(&judge(8), "leadership moved 6 times in round 0");
}

/// Five rounds of planned moves on a machine that stalls once in each. In the first ones raft elects once more.
fn moved_five_times(twice: i64) -> Verdict {
    let (story, _) = (0..5).fold((Story::new(), 2), |(story, term), n| {
        let from = 10_000 * (n + 1);
        let number = u32::try_from(n).expect("five");
        let after = if n < twice { term + 2 } else { term + 1 };
        let story = story
            .sample(from - 100, ("etcd-0", "a"), Some("a"), term)
            .fault_at(number, from, from + 1_000)
            .client_late(from + 3_000, 150)
            .sample(from + 3_100, ("etcd-1", "b"), Some("b"), after);
        (story, after)
    });
    let expectations = Expectations {
        terms_per_round: Some(1),
        ..small()
    };
    story.verdict("elections", &expectations)
}

#[test]
fn what_comes_in_most_rounds_is_no_stall() {
    assert!(moved_five_times(0).passed());
    for some in [1, 2] {
        not_judged(&moved_five_times(some), "leadership moved 2 times");
    }
    for most in [3, 5] {
        violates(&moved_five_times(most), "1 is allowed, as in most rounds");
    }
}
