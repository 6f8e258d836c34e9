//! The checks of members and of the history itself, on histories written by hand.

use crate::check::test_support::*;
use crate::check::{self, Expectations, OperationKind, Traffic};
use crate::record::{FaultStep, Request, Response, Route};

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
    // Of revisions that are not named.
    let newest = Story::new().hash("etcd-0", 0, 1).hash("etcd-1", 0, 2);
    newest.passes("agreement");
    let dumps = |value: &str| {
        Story::new()
            .dump(1, "etcd-0", (2, &[kv("a", "1", 2)]))
            .dump(1, "etcd-1", (2, &[kv("a", value, 2)]))
    };
    dumps("1").passes("agreement");
    dumps("2").violates("agreement", "a is 1 of revision 2 and 2 of revision 2");
}

#[test]
fn members_and_their_lists_are_of_one_cluster() {
    let story = |cluster: &str| {
        let story = Story::new().sample(1, A, Some("a"), 2);
        story.list(2, cluster, &[("a", "etcd-0", false)])
    };
    story("c").passes("agreement");
    let told = "members are of different clusters: c (etcd-0), d (a member list)";
    story("d").violates("agreement", told);
}

#[test]
fn a_member_tells_of_no_revision_that_no_one_can_have_made() {
    let story = || Story::new().put(1, (1, 2), ("a", "1"), 2);
    let keys = [kv("a", "1", 2)];
    story().dump(9, "etcd-0", (2, &keys)).passes("agreement");
    let told =
        "the dump of etcd-0 shows revision 3 at 0.009000 s, clients cannot have made more than 2";
    story()
        .dump(9, "etcd-0", (3, &keys))
        .violates("agreement", told);
    let status = |story: Story| story.sample_with(9, A, |status| status.revision = 3);
    status(story()).violates("agreement", "the status of etcd-0 shows revision 3");
    let hashed = story().hash("etcd-0", 3, 1);
    hashed.violates("agreement", "the hash of etcd-0 shows revision 3");
    let kept = (3, Response::LeaseKeepAlive { ttl: 9 });
    story()
        .ok(2, (5, 6), Request::LeaseKeepAlive { id: 7 }, kept)
        .violates("agreement", "op 2 (keep lease 7 alive by client 2");
    // A write of unknown outcome and a fault may have made it.
    status(story().unknown(2, (3, 8), put("b", "2"))).passes("agreement");
    status(story().fault_wrote(3, &[3])).passes("agreement");
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
fn a_member_that_was_seen_first_through_another_pod_is_still_that_of_its_own() {
    let relay = Expectations {
        members_relay: true,
        ..small()
    };
    // The etcd of etcd-0 is down when the run begins, and its agent passes connections on to etcd-1.
    let story = |told: fn(Story) -> Story| {
        let story = Story::new().sample(1, ("etcd-0", "b"), Some("b"), 2);
        let story = told(story.sample(2, ("etcd-1", "b"), Some("b"), 2));
        let story = story.sample(9, A, Some("b"), 2);
        story.verdict("raft", &relay)
    };
    let by_samples = story(|story| story.sample(3, ("etcd-1", "b"), Some("b"), 2));
    assert!(by_samples.passed(), "{by_samples:?}");
    const NAMES: [(&str, &str, bool); 2] = [("a", "etcd-0", false), ("b", "etcd-1", false)];
    let by_name = story(|story| story.list(3, "c", &NAMES));
    assert!(by_name.passed(), "{by_name:?}");
    // Its name is worth more than samples of a pod that passes connections on for long.
    let by_name = story(|story| {
        let relayed = (3..8).fold(story, |story, t| {
            story.sample(t, ("etcd-0", "b"), Some("b"), 2)
        });
        relayed.list(8, "c", &NAMES)
    });
    assert!(by_name.passed(), "{by_name:?}");
    // A name of no pod tells nothing.
    let elsewhere = story(|story| {
        let story = story.list(3, "c", &[("b", "infra1", false)]);
        story.sample(4, ("etcd-1", "b"), Some("b"), 2)
    });
    assert!(elsewhere.passed(), "{elsewhere:?}");
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
    // Too far apart to say: each may have joined as it should meanwhile, or not.
    story(2_000).proves_nothing("membership", "1 members have a vote, and no list shows how");
    // Both were seen to learn, one after the other.
    let learns = with(&[("b", "m-1", false), ("c", "m-2", true)]);
    let both = with(&[("b", "m-1", false), ("c", "m-2", false)]);
    let seen = Story::new()
        .list(0, "1", &one)
        .list(200, "1", &with(&[("b", "m-1", true)]))
        .list(2_000, "1", &learns)
        .list(4_000, "1", &both);
    seen.passes("membership");
    let sprung = with(&[("b", "m-1", false)]);
    let sprung = Story::new().list(0, "1", &one).list(200, "1", &sprung);
    sprung.violates("membership", "member b has a vote and never was a learner");
}

#[test]
fn lists_that_are_not_read_in_an_operation_prove_nothing() {
    let scaled = || Story::new().fault_named(("scale-to-5", "x"), 1_000, 15_000);
    let judge = |mut story: Story, gap: (i64, i64), answers: bool, wanted| {
        let lists = (0..80).map(|n| n * 250);
        let one: [(&str, &str, bool); 1] = [("a", "m-0", false)];
        for t in lists.filter(|t| !(gap.0..gap.1).contains(t)) {
            story = story.list(t, "1", &one);
        }
        for t in (0..200).map(|n| n * 100) {
            story = story.sample(t, A, Some("a").filter(|_| answers), 2);
        }
        let expectations = Expectations {
            member_lists: wanted,
            ..small()
        };
        story.verdict("membership", &expectations)
    };
    let doubted = |gap, words| inconclusive(&judge(scaled(), gap, true, 8), words);
    let words = "no member list was read from 2.750 s to 14.000 s, in scale-to-5 of x";
    doubted((3_000, 14_000), words);
    // The reading stopped and did not begin again.
    let words = "no member list was read from 2.750 s to 15.000 s";
    doubted((3_000, 90_000), words);
    let passes = |gap, answers, wanted| judge(scaled(), gap, answers, wanted).passed();
    assert!(passes((3_000, 14_000), false, 8), "there was no leader");
    assert!(passes((4_000, 12_000), true, 8), "not for long");
    assert!(passes((6_000, 90_000), true, 8), "half of it is behind it");
    assert!(passes((3_000, 14_000), true, 0), "nothing changes");
    let away = Story::new().fault_named(("control_plane", "kube-apiserver"), 5_000, 9_000);
    let away = judge(away.fault_at(1, 1_000, 15_000), (3_000, 14_000), true, 8);
    assert!(away.passed(), "they are read through the API server");
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

#[test]
fn what_answers_on_the_address_of_a_member_that_lost_its_data_is_not_that_member() {
    let relay = Expectations {
        members_relay: true,
        ..small()
    };
    // The agent of etcd-0 passes connections on to etcd-1 while its own etcd is down.
    let story = |member| {
        Story::new()
            .sample(50, ("etcd-0", "a"), Some("b"), 2)
            .sample(60, ("etcd-1", "b"), Some("b"), 2)
            .sample(80, ("etcd-0", "b"), Some("b"), 2)
            .sample(80, ("etcd-1", "b"), Some("b"), 2)
            .fault_named(("lose_data", "pod/etcd-0 claim data-etcd-0"), 100, 200)
            .sample(300, ("etcd-0", "b"), Some("b"), 2)
            .sample(310, ("etcd-0", member), Some("b"), 2)
    };
    let replaced = story("c").verdict("membership", &relay);
    assert!(replaced.passed(), "{replaced:?}");
    assert_eq!(replaced.figures["members_that_lost_their_data"], 1.0);
    let told = "etcd-0 lost its data at 0.100 s and is still member a at 0.310 s";
    violates(&story("a").verdict("membership", &relay), told);
    // Without relays what answers there is that pod's member.
    story("c").violates("membership", "is still member b at 0.300 s");
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
fn a_member_that_is_sent_a_snapshot_has_its_store_before_its_index() {
    // Four statuses: what it has applied, its revision, and what it knows to be committed.
    let behind = |story: Story, from: i64, who, (index, revision): (u64, i64), committed: u64| {
        (0..4).fold(story, |story, n: i64| {
            story.sample_with(from + n * 10, who, |status| {
                (status.raft_index, status.applied_index) = (committed, index);
                status.revision = revision;
            })
        })
    };
    let sent = || behind(Story::new(), 1, A, (5, 40), 50);
    let lags = |story| told(story, 100, B, (20, 15));
    lags(sent()).passes("raft");
    // Its next entry is behind the snapshot.
    let next = || told(sent(), 50, A, (51, 40));
    lags(next()).passes("raft");
    told(next(), 100, B, (60, 40)).passes("raft");
    let wrong = "etcd-1 has revision 39 at applied index 60";
    told(next(), 100, B, (60, 39)).violates("raft", wrong);
    let later = behind(sent(), 50, A, (55, 41), 90);
    told(later, 100, B, (60, 39)).violates("raft", wrong);
    // While it is loaded the store says nothing.
    let applied = || told(Story::new(), 1, B, (4, 3));
    behind(applied(), 100, A, (5, 1), 50).passes("raft");
    let wrong = "etcd-0 has revision 1 at applied index 5";
    told(applied(), 100, A, (5, 1)).violates("raft", wrong);
    let wrong = "etcd-0 has revision 2 at applied index 5";
    behind(applied(), 100, A, (5, 2), 50).violates("raft", wrong);
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
fn a_run_without_kubernetes_has_no_pods() {
    let bare = Expectations {
        kubernetes: false,
        ..small()
    };
    let put = || {
        let story = Story::new().route(Route::ServiceHeld);
        story.put(1, (1, 2), ("a", "1"), 2)
    };
    assert!(put().verdict("assumptions", &bare).passed());
    let words = "1 records of pods and endpoints";
    for story in [
        put().pod(10, "etcd-0", 1, "leader"),
        put().endpoints(10, 1, &[]),
    ] {
        inconclusive(&story.verdict("assumptions", &bare), words);
    }
    put().pod(10, "etcd-0", 1, "leader").passes("assumptions");
}
