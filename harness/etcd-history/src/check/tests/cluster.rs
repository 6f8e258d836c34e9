//! The checks of members and of the history itself, on histories written by hand.

use crate::check::test_support::*;
use crate::check::{self, Expectations, OperationKind, Traffic};
use crate::record::{FaultStep, Route};

const A: (&str, &str) = ("etcd-0", "a");
const B: (&str, &str) = ("etcd-1", "b");

#[test]
fn members_agree_by_hash_and_by_dump() {
    Story::new()
        .hash("etcd-0", 9, 1)
        .hash("etcd-1", 9, 1)
        .hash("etcd-1", 10, 2)
        .passes("agreement");
    Story::new()
        .hash("etcd-0", 9, 1)
        .hash("etcd-1", 9, 2)
        .violates(
            "agreement",
            "the stores of etcd-0 and etcd-1 differ at revision 9",
        );
    let dumps = |value: &str| {
        Story::new()
            .dump(1, "etcd-0", (2, &[kv("a", "1", 2)]))
            .dump(1, "etcd-1", (2, &[kv("a", value, 2)]))
    };
    dumps("1").passes("agreement");
    dumps("2").violates("agreement", "a is 1 of revision 2 and 2 of revision 2");
}

#[test]
fn agreement_wants_every_member() {
    let wanted = Expectations {
        members: 3,
        ends_healthy: true,
        ..small()
    };
    let verdict = Story::new()
        .hash("etcd-0", 9, 1)
        .hash("etcd-1", 9, 1)
        .verdict("agreement", &wanted);
    inconclusive(&verdict, "2 of 3 members have a hash at one revision");
}

#[test]
fn a_term_has_one_leader() {
    let story = || {
        Story::new()
            .sample(1, A, Some("a"), 2)
            .sample(2, B, Some("a"), 2)
    };
    story()
        .sample(3, B, Some("b"), 3)
        .sample(4, A, Some("b"), 3)
        .passes("raft");
    // Two members that each continue under a leader of their own.
    let torn = (1..9).step_by(2).fold(Story::new(), |story, t| {
        story
            .sample(t, A, Some("a"), 2)
            .sample(t + 1, B, Some("b"), 2)
    });
    torn.violates("raft", "term 2 has two leaders");
    // A member that catches up names today's leader beside the term of old entries.
    let late = (1..9).fold(Story::new(), |story, t| story.sample(t, A, Some("a"), 2));
    (1..6)
        .fold(late.sample(100, A, Some("c"), 4), |story, t| {
            story.sample_with(100 + t, B, |status| {
                (status.leader, status.raft_index) = (Some("c".into()), t.unsigned_abs());
                status.applied_index = t.unsigned_abs();
            })
        })
        .passes("raft");
    // etcd reports a new leader before it reports its term.
    story()
        .sample(3, B, Some("b"), 2)
        .sample(4, B, Some("b"), 3)
        .passes("raft");
    story()
        .sample(3, A, None, 1)
        .violates("raft", "went back from term 2 to 1");
    Story::new().proves_nothing("raft", "no member was ever sampled");
}

#[test]
fn a_member_keeps_its_identity_unless_its_disk_was_taken() {
    let story = || {
        Story::new()
            .sample(1, A, Some("a"), 2)
            .sample(2, ("etcd-0", "z"), Some("a"), 2)
    };
    story().violates("raft", "etcd-0 became member z");
    let replaced = Expectations {
        replaced_members: ["etcd-0".to_owned()].into(),
        ..small()
    };
    assert!(story().verdict("raft", &replaced).passed());
    Story::new()
        .sample(1, A, None, 2)
        .sample(2, ("etcd-1", "a"), None, 2)
        .violates("raft", "are both member a");
}

#[test]
fn a_member_that_is_seen_through_another_pod_is_told_from_a_new_one() {
    let relay = Expectations {
        members_relay: true,
        ..small()
    };
    let relayed = || {
        Story::new()
            .sample(1, A, Some("a"), 2)
            .sample(1, ("etcd-1", "b"), Some("a"), 2)
            .sample(2, ("etcd-0", "b"), Some("b"), 3)
    };
    relayed().violates("raft", "etcd-0 became member b");
    assert!(relayed().verdict("raft", &relay).passed());
    let replaced = relayed().sample(3, ("etcd-0", "z"), Some("b"), 3);
    let told = replaced.verdict("raft", &relay);
    assert!(
        format!("{told:?}").contains("etcd-0 became member z"),
        "{told:?}"
    );
}

#[test]
fn a_fault_without_effect_or_heal_proves_nothing() {
    let story = || Story::new().put(1, (0, 1), ("a", "1"), 2);
    story().fault(5, 6).passes("assumptions");
    story()
        .fault_step(5, FaultStep::Injecting)
        .fault_step(6, FaultStep::Healed)
        .proves_nothing("assumptions", "had no effect");
    story()
        .fault_step(5, FaultStep::Effective)
        .proves_nothing("assumptions", "was never healed");
    story()
        .fault(5, 6)
        .fault_step(7, FaultStep::Residue)
        .proves_nothing("assumptions", "left something behind");
}

#[test]
fn enough_must_happen_around_a_fault() {
    let wanted = Expectations {
        traffic: Traffic {
            before: 1,
            during: 1,
            after: 1,
        },
        ..small()
    };
    let story = |times: &[i64]| {
        let puts = times.iter().enumerate();
        puts.fold(Story::new().fault(10, 20), |story, (n, t)| {
            story.put(
                1,
                (*t, t + 1),
                ("a", &format!("{n}")),
                2 + i64::try_from(n).unwrap(),
            )
        })
    };
    assert!(story(&[5, 15, 25]).verdict("assumptions", &wanted).passed());
    inconclusive(
        &story(&[15, 25]).verdict("assumptions", &wanted),
        "before fault 0",
    );
    inconclusive(
        &story(&[5, 25]).verdict("assumptions", &wanted),
        "during fault 0",
    );
    inconclusive(
        &story(&[5, 15]).verdict("assumptions", &wanted),
        "after fault 0",
    );
}

#[test]
fn every_kind_of_operation_must_succeed_once() {
    let wanted = Expectations {
        operations: [OperationKind::Put].into(),
        ..small()
    };
    assert!(
        Story::new()
            .put(1, (0, 1), ("a", "1"), 2)
            .verdict("assumptions", &wanted)
            .passed()
    );
    inconclusive(
        &Story::new()
            .unknown(1, (0, 1), put("a", "1"))
            .verdict("assumptions", &wanted),
        "no Put succeeded",
    );
    let watched = Expectations {
        operations: [OperationKind::Watch].into(),
        ..small()
    };
    inconclusive(
        &Story::new().opened(0, 1).verdict("assumptions", &watched),
        "no Watch succeeded",
    );
}

#[test]
fn clients_do_one_thing_at_a_time_with_unique_values() {
    Story::new()
        .put(1, (0, 5), ("a", "1"), 2)
        .put(1, (3, 6), ("a", "2"), 3)
        .proves_nothing("assumptions", "while another is open");
    Story::new()
        .put(1, (0, 1), ("a", "1"), 2)
        .put(1, (3, 6), ("b", "1"), 3)
        .proves_nothing("assumptions", "written by two operations");
}

#[test]
fn members_join_one_at_a_time_and_never_come_back() {
    let three = [
        ("a", "m-0", false),
        ("b", "m-1", false),
        ("c", "m-2", false),
    ];
    let with = |more: (&'static str, &'static str, bool)| [&three[..], &[more]].concat();
    let story = || Story::new().list(0, "1", &three);
    story()
        .list(1, "1", &with(("d", "", true)))
        .list(2, "1", &with(("d", "m-3", true)))
        .list(3, "1", &with(("d", "m-3", false)))
        .list(4, "1", &three)
        .passes("membership");
    let two = [&three[..], &[("d", "m-3", true), ("e", "", true)]].concat();
    story()
        .list(1, "1", &two)
        .violates("membership", "members d and e are joining at once");
    story()
        .list(1, "1", &three[..2])
        .list(2, "1", &three)
        .violates("membership", "member c is back after it was removed");
    story()
        .list(1, "2", &three)
        .violates("membership", "cluster 1 has become 2");
    let demoted = [three[0], three[1], ("c", "m-2", true)];
    story()
        .list(1, "1", &demoted)
        .violates("membership", "voter c has become a learner");
    let wanted = Expectations {
        member_lists: 3,
        ..small()
    };
    let verdict = story().verdict("membership", &wanted);
    inconclusive(&verdict, "1 member lists were read, 3 are needed");
}

#[test]
fn votes_are_given_to_learners_and_one_at_a_time() {
    let one: [(&str, &str, bool); 1] = [("a", "m-0", false)];
    let with = |more: &[(&'static str, &'static str, bool)]| [&one[..], more].concat();
    let story = |to| {
        let learner = with(&[("b", "m-1", true)]);
        let start = Story::new().list(0, "1", &one).list(200, "1", &learner);
        let both = with(&[("b", "m-1", false), ("c", "m-2", false)]);
        start.list(to, "1", &both)
    };
    story(400).violates(
        "membership",
        "members b and c got their votes at once (and 1 more)",
    );
    // Too far apart to say: each may have joined as it should meanwhile.
    story(2_000).passes("membership");
    let sprung = with(&[("b", "m-1", false)]);
    let sprung = Story::new().list(0, "1", &one).list(200, "1", &sprung);
    sprung.violates("membership", "member b has a vote and never was a learner");
}

#[test]
fn a_member_that_lost_its_data_is_another_one() {
    let story = |member| {
        Story::new()
            .sample(50, ("etcd-0", "a"), Some("b"), 2)
            .sample(60, ("etcd-1", "b"), Some("b"), 2)
            .fault_named(("lose_data", "pod/etcd-0 claim data-etcd-0"), 100, 200)
            .sample(150, ("etcd-0", "a"), Some("b"), 2)
            .sample(300, ("etcd-0", member), Some("b"), 2)
            .sample(310, ("etcd-1", "b"), Some("b"), 2)
    };
    story("a").violates(
        "membership",
        "etcd-0 lost its data at 0.100 s and is still member a",
    );
    story("c").passes("membership");
}

/// Two rounds; a term begins in the second one, on a machine that is busy all the time.
fn moved_in_the_second_round() -> Story {
    Story::new()
        .sample(50, ("etcd-0", "a"), Some("a"), 2)
        .fault_at(0, 100, 150)
        .sample(160, ("etcd-0", "a"), Some("a"), 2)
        .fault_at(1, 200, 250)
        .sample(210, ("etcd-0", "a"), Some("a"), 2)
        .sample(260, ("etcd-1", "b"), Some("b"), 3)
        .busy(0, 300)
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

/// Four statuses in a row of a member, from a time on: applied index and revision.
fn told(story: Story, from: i64, who: (&str, &str), (index, revision): (u64, i64)) -> Story {
    (0..4).fold(story, |story, n| {
        story.sample_with(from + n * 10, who, |status| {
            (status.raft_index, status.applied_index) = (index, index);
            status.revision = revision;
        })
    })
}

#[test]
fn members_have_the_same_revision_at_the_same_applied_index() {
    let story = |revision| told(told(Story::new(), 1, A, (12, 3)), 2, B, (12, revision));
    story(3).passes("raft");
    story(2).violates("raft", "members differ at applied index 12");
    story(4).violates("raft", "members differ at applied index 12");
    // A status that is read while an entry is being applied is not settled.
    let once = |story: Story, t, revision| {
        story.sample_with(t, B, |status| {
            (status.raft_index, status.applied_index) = (12, 12);
            status.revision = revision;
        })
    };
    once(once(story(3), 50, 4), 60, 4).passes("raft");
    // Another cluster is another store.
    let other = (0..4).fold(told(Story::new(), 1, A, (12, 3)), |story, n| {
        story.sample_with(2 + n, B, |status| {
            status.cluster = "d".into();
            (status.raft_index, status.applied_index) = (12, 12);
        })
    });
    other.passes("raft");
}

#[test]
fn a_higher_applied_index_has_no_lower_revision() {
    let story = |index, revision| {
        told(
            told(Story::new(), 1, A, (12, 30)),
            100,
            A,
            (index, revision),
        )
    };
    story(20, 30).passes("raft");
    story(20, 29).violates("raft", "etcd-0 has revision 29 at applied index 20");
    // A member that starts again is behind with its index too.
    story(5, 10).passes("raft");
    let other = |index, revision| {
        told(
            told(Story::new(), 1, A, (12, 30)),
            100,
            B,
            (index, revision),
        )
    };
    other(13, 30).passes("raft");
    other(13, 29).violates("raft", "etcd-1 has revision 29 at applied index 13");
    other(11, 29).passes("raft");
}

#[test]
fn the_death_of_a_follower_moves_no_leadership() {
    let three = Expectations {
        members: 3,
        ..small()
    };
    // The fault of a story kills etcd-0 from 100 to 200 ms.
    let story = |leader: &str, term| {
        let elected = Story::new()
            .sample(1, A, Some(leader), 2)
            .sample(2, B, Some(leader), 2)
            .fault_named(("kill_process", "pod/etcd-0"), 100, 200)
            .sample(300, B, Some("b"), term);
        one(check::all(&elected.history(), &three), "elections")
    };
    assert!(story("b", 2).passed());
    violates(&story("b", 3), "pod/etcd-0 was killed");
    // It led: leadership must move, and nothing is judged.
    let led = Story::new()
        .sample(1, A, Some("a"), 2)
        .fault_named(("kill_process", "pod/etcd-0"), 100, 200)
        .sample(300, B, Some("b"), 3);
    let verdicts = check::all(&led.history(), &three);
    assert!(verdicts.iter().all(|verdict| verdict.check != "elections"));
}

#[test]
fn without_kubernetes_no_operation_goes_through_a_service() {
    let bare = Expectations {
        kubernetes: false,
        ..small()
    };
    let put = |route| Story::new().route(route).put(1, (1, 2), ("a", "1"), 2);
    for route in [Route::ServiceHeld, Route::ServiceFresh] {
        let words = "1 operations went through a leader service";
        inconclusive(&put(route).verdict("assumptions", &bare), words);
        put(route).passes("assumptions");
    }
    for route in [Route::DialAll, Route::Member] {
        assert!(put(route).verdict("assumptions", &bare).passed());
    }
}
