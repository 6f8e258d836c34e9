//! The checks of the operator's promises, on histories written by hand.

use std::collections::BTreeSet;

use crate::check::test_support::*;
use crate::check::{Expectations, GapBudget};
use crate::record::Route;

const A: (&str, &str) = ("etcd-0", "a");
const B: (&str, &str) = ("etcd-1", "b");

/// Two pods, the first leads; then the second is elected at 100 ms.
fn failover() -> Story {
    Story::new()
        .pod(0, "etcd-0", 1, "leader")
        .pod(0, "etcd-1", 2, "follower")
        .endpoints(0, 3, &["etcd-0"])
        .sample(1, A, Some("a"), 2)
        .sample(1, B, Some("a"), 2)
        .sample(100, B, Some("b"), 3)
}

fn healthy() -> Expectations {
    Expectations {
        ends_healthy: true,
        label_lag_ms: Some(50),
        ..small()
    }
}

#[test]
fn the_label_moves_off_the_old_leader_first() {
    failover()
        .pod(120, "etcd-0", 4, "follower")
        .pod(121, "etcd-1", 5, "leader")
        .passes("labels");
    failover()
        .pod(120, "etcd-1", 4, "leader")
        .pod(121, "etcd-0", 5, "follower")
        .violates(
            "labels",
            "etcd-0 and etcd-1 are labelled leader at resource version 4",
        );
}

#[test]
fn a_pod_that_is_gone_has_no_label() {
    failover()
        .pod_with(110, ("etcd-0", "uid"), 4, |pod| {
            (pod.deleted, pod.role) = (true, Some("leader".into()))
        })
        .pod(121, "etcd-1", 5, "leader")
        .passes("labels");
}

#[test]
fn the_label_follows_raft_in_time() {
    let moved = |t| {
        failover()
            .pod(t, "etcd-0", 4, "follower")
            .pod(t, "etcd-1", 5, "leader")
            .endpoints(t + 10, 6, &["etcd-1"])
            .sample(500, B, Some("b"), 3)
            .verdict("labels", &healthy())
    };
    assert!(moved(120).passed(), "{:?}", moved(120));
    assert_eq!(moved(120).figures["label_lag_ms"].round(), 20.0);
    violates(&moved(200), "the label was not on it alone for 100 ms");
}

#[test]
fn a_leader_that_was_seen_first_through_another_pod_wants_the_label_on_its_own() {
    // The etcd of etcd-0 is down when the run begins, and its agent passes connections on to etcd-1.
    let story = |labelled: &str| {
        let role = |pod| match pod == labelled {
            true => "leader",
            false => "follower",
        };
        Story::new()
            .pod(0, "etcd-0", 1, role("etcd-0"))
            .pod(0, "etcd-1", 2, role("etcd-1"))
            .endpoints(0, 3, &[labelled])
            .sample(1, ("etcd-0", "b"), Some("b"), 2)
            .sample(2, B, Some("b"), 2)
            .sample(500, B, Some("b"), 2)
            .verdict("labels", &healthy())
    };
    assert!(story("etcd-1").passed(), "{:?}", story("etcd-1"));
    violates(&story("etcd-0"), "etcd-1 led term 2, yet the label");
}

#[test]
fn a_label_that_is_late_is_excused_by_what_the_machine_can_have_cost() {
    let judge = |story: fn(Story) -> Story| {
        let story = story(failover())
            .pod(400, "etcd-0", 4, "follower")
            .pod(400, "etcd-1", 5, "leader")
            .endpoints(410, 6, &["etcd-1"]);
        let verdict = story.sample(500, B, Some("b"), 3);
        verdict.verdict("labels", &healthy())
    };
    let told = "the label was not on it alone for 300 ms from 0.100000 s on";
    violates(&judge(|story| story), told);
    violates(&judge(|story| story.client_late(300, 249)), told);
    not_judged(&judge(|story| story.client_late(300, 250)), told);
    not_judged(&judge(|story| story.busy(100, 400)), told);
    // In time on a busy machine is in time.
    let in_time = failover()
        .busy(0, 500)
        .pod(120, "etcd-0", 4, "follower")
        .pod(120, "etcd-1", 5, "leader")
        .endpoints(130, 6, &["etcd-1"])
        .sample(500, B, Some("b"), 3);
    assert!(in_time.verdict("labels", &healthy()).passed());
}

#[test]
fn while_no_member_names_a_leader_no_label_is_late() {
    let judge = |leader: Option<&'static str>| {
        let story = Story::new()
            .pod(0, "etcd-0", 1, "leader")
            .endpoints(0, 3, &["etcd-0"])
            .sample(1, A, Some("a"), 2)
            .sample(90, A, Some("a"), 2)
            .pod(100, "etcd-0", 4, "follower")
            .endpoints(110, 5, &[])
            .sample(300, A, leader, 2)
            .pod(400, "etcd-0", 6, "leader")
            .endpoints(410, 7, &["etcd-0"])
            .sample(500, A, Some("a"), 3);
        story.verdict("labels", &healthy())
    };
    assert!(judge(None).passed(), "{:?}", judge(None));
    violates(
        &judge(Some("a")),
        "the label was not on it alone for 200 ms",
    );
}

/// The label has moved, and the endpoints follow at a time.
fn followed(t: i64) -> Story {
    failover()
        .pod(120, "etcd-0", 4, "follower")
        .pod(120, "etcd-1", 5, "leader")
        .endpoints(t, 6, &["etcd-1"])
        .sample(60_500, B, Some("b"), 3)
}

#[test]
fn endpoints_follow_the_label_in_time() {
    let judge = |story: Story| story.verdict("labels", &healthy());
    let in_time = judge(followed(170));
    assert!(in_time.passed(), "{in_time:?}");
    assert_eq!(in_time.figures["endpoints_lag_ms"].round(), 50.0);
    let told = "etcd did not lead to the labelled pod alone for 59880 ms from 0.120000 s on";
    violates(&judge(followed(60_000)), told);
    not_judged(&judge(followed(60_000).busy(100, 60_000)), told);
    // A run without a budget reports it.
    let reported = Expectations {
        label_lag_ms: None,
        ..healthy()
    };
    let reported = followed(60_000).verdict("labels", &reported);
    assert!(reported.passed(), "{reported:?}");
    assert_eq!(reported.figures["endpoints_lag_ms"].round(), 59_880.0);
    // What writes them was stopped: they are late from its return on.
    let away = |story: Story| {
        let part = ("control_plane", "kube-controller-manager on node kind");
        story.fault_named(part, 110, 50_000)
    };
    let back = judge(away(followed(53_000)));
    assert!(back.passed(), "{back:?}");
    violates(
        &judge(away(followed(60_000))),
        "alone for 7000 ms from 53.000000 s on",
    );
}

#[test]
fn a_pod_that_is_not_ready_serves_no_one_and_one_without_the_label_never_does() {
    // The labelled pod is not ready for five seconds.
    let judge = |serving: &[&str]| {
        let unready = failover()
            .pod(120, "etcd-0", 4, "follower")
            .pod_with(120, ("etcd-1", "uid"), 5, |pod| {
                (pod.role, pod.ready) = (Some("leader".into()), false);
            })
            .endpoints(130, 6, serving)
            .pod(5_000, "etcd-1", 7, "leader")
            .endpoints(5_010, 8, &["etcd-1"])
            .sample(6_000, B, Some("b"), 3);
        unready.verdict("labels", &healthy())
    };
    assert!(judge(&[]).passed(), "{:?}", judge(&[]));
    assert!(judge(&["etcd-1"]).passed());
    violates(&judge(&["etcd-0"]), "alone for 4890 ms");
}

#[test]
fn endpoints_name_no_pod_that_lost_its_label_long_before() {
    // etcd-0 is recreated under another UID, and never labelled again.
    let story = |t: i64| {
        failover()
            .pod_with(110, ("etcd-0", "uid"), 4, |pod| pod.deleted = true)
            .pod_with(115, ("etcd-0", "next"), 5, |pod| {
                pod.role = Some("follower".into());
            })
            .pod(120, "etcd-1", 6, "leader")
            .endpoints(130, 7, &["etcd-1"])
            .endpoints(t, 8, &["etcd-0"])
            .endpoints(t + 10, 9, &["etcd-1"])
            .sample(60_000, B, Some("b"), 3)
    };
    let judge = |t| story(t).verdict("labels", &healthy());
    assert!(judge(150).passed(), "{:?}", judge(150));
    violates(
        &judge(5_000),
        "etcd sends clients to etcd-0 at 5.000000 s, which had not been labelled leader for 4890 ms",
    );
    // It was listed late: a pod's record of a later version was there before.
    let listed = story(5_000).pod(140, "etcd-1", 10, "leader");
    let listed = listed.verdict("labels", &healthy());
    assert!(listed.passed(), "{listed:?}");
}

#[test]
fn a_label_that_was_written_while_the_api_server_was_stopped_accuses_no_service() {
    // Pods are listed again after that, and etcd-1 was written once more since it was labelled.
    let story = |target: &str, t: i64| {
        let story = failover()
            .fault_named(("any", target), 110, 400)
            .endpoints(t, 6, &["etcd-1"])
            .pod(t + 20, "etcd-0", 4, "follower")
            .pod(t + 20, "etcd-1", 7, "leader");
        let expected = Expectations {
            label_lag_ms: None,
            ..healthy()
        };
        story.verdict("labels", &expected)
    };
    let words = "which was never labelled leader before";
    for other in ["kube-scheduler on node a-control-plane", "node a-worker"] {
        violates(&story(other, 500), words);
    }
    for it in ["kube-apiserver", "node a-worker, node a-control-plane"] {
        let verdict = format!("{:?}", story(it, 500));
        assert!(!verdict.contains(words), "{verdict}");
    }
    // Before that time and long after it every label is seen.
    for t in [105, 60_000] {
        violates(&story("kube-apiserver", t), words);
    }
}

#[test]
fn in_the_end_label_and_endpoints_are_on_the_leader() {
    let story = |role: &str, serving: &[&str]| {
        failover()
            .pod(120, "etcd-0", 4, "follower")
            .pod(121, "etcd-1", 5, "leader")
            .pod(130, "etcd-1", 6, role)
            .endpoints(140, 7, serving)
            .verdict(
                "labels",
                &Expectations {
                    label_lag_ms: None,
                    ..healthy()
                },
            )
    };
    assert!(story("leader", &["etcd-1"]).passed());
    violates(
        &story("follower", &["etcd-1"]),
        "in the end [] are labelled leader",
    );
    violates(
        &story("leader", &["etcd-0"]),
        "sends clients to [\"etcd-0\"]",
    );
    violates(
        &story("leader", &["etcd-2"]),
        "which was never labelled leader before",
    );
    let silent = failover()
        .pod(120, "etcd-0", 4, "follower")
        .pod(121, "etcd-2", 5, "leader")
        .endpoints(140, 7, &["etcd-2"]);
    let expected = Expectations {
        label_lag_ms: None,
        ..healthy()
    };
    let verdict = format!("{:?}", silent.verdict("labels", &expected));
    assert!(verdict.contains("no member answered after"), "{verdict}");
    assert!(!verdict.contains("raft's leader is"), "{verdict}");
    let answered = failover()
        .pod(120, "etcd-0", 4, "follower")
        .pod(121, "etcd-2", 5, "leader")
        .endpoints(140, 7, &["etcd-2"])
        .sample(150, B, Some("b"), 3);
    let verdict = answered.verdict("labels", &expected);
    violates(&verdict, "in the end [\"etcd-2\"] are labelled leader");
    Story::new().proves_nothing("labels", "no pod was seen");
}

/// One write every 10 ms from 0 to 1000 ms, but for those that the gap swallows.
fn writes(story: Story, route: Route, gap: std::ops::Range<i64>) -> Story {
    lossy(story, route, |t| gap.contains(t))
}

/// The same, but for those that are lost.
fn lossy(story: Story, route: Route, lost: impl Fn(&i64) -> bool) -> Story {
    (0..100)
        .map(|n| n * 10)
        .fold(story.route(route), |story, t| {
            let client = 1 + u32::from(route == Route::DialAll);
            let key = format!("{route:?}{t}");
            match lost(&t) {
                true => story.unknown(client, (t, t + 5), put(&key, &key)),
                false => story.put(client, (t, t + 1), (&key, &key), 2 + t),
            }
        })
}

fn budget(limit_ms: f64, over_dial_all: bool) -> Expectations {
    let gaps = vec![GapBudget {
        route: Route::ServiceFresh,
        median_ms: None,
        limit_ms,
        over_dial_all,
    }];
    Expectations { gaps, ..small() }
}

#[test]
fn a_gap_is_measured_and_held_against_its_budget() {
    let judge = |limit| {
        writes(Story::new().fault(300, 500), Route::ServiceFresh, 300..450)
            .verdict("continuity", &budget(limit, false))
    };
    let verdict = judge(200.0);
    assert!(verdict.passed(), "{verdict:?}");
    // From the success at 291 ms to the one at 451 ms.
    assert_eq!(verdict.figures["round_0.service_fresh.gap_ms"], 160.0);
    assert_eq!(verdict.figures["round_0.service_fresh.failed"], 15.0);
    assert_eq!(verdict.figures["outside.service_fresh.gap_ms"], 10.0);
    violates(
        &judge(150.0),
        "no successful write for 160 ms in round 0, 150 ms are allowed",
    );
}

/// The dial-all client loses 300 ms, the service 100 ms more, and the leader tells `term` afterwards.
fn both_lose_writes(fault: &str, term: u64) -> Story {
    let story = Story::new().fault_named((fault, "pod/q-0"), 300, 800);
    let story = writes(story, Route::ServiceFresh, 300..700);
    let story = writes(story, Route::DialAll, 300..600);
    story
        .sample(200, ("q-0", "a"), Some("a"), 2)
        .sample(750, ("q-0", "a"), Some("a"), term)
}

#[test]
fn the_gap_of_an_election_or_of_a_cut_is_held_against_the_gap_of_the_dial_all_client() {
    for (fault, term) in [("delete_pod", 3), ("lose_packets", 2)] {
        let judge =
            |limit| both_lose_writes(fault, term).verdict("continuity", &budget(limit, true));
        assert!(judge(100.0).passed(), "{fault}");
        violates(&judge(99.0), "for 100 ms in round 0, 99 ms are allowed");
    }
}

#[test]
fn an_outage_of_the_dial_all_client_excuses_none_at_another_time() {
    let story = Story::new().fault_named(("delete_pod", "pod/q-0"), 50, 800);
    let story = writes(story, Route::ServiceFresh, 500..900);
    let story = writes(story, Route::DialAll, 50..450)
        .sample(10, ("q-0", "a"), Some("a"), 2)
        .sample(750, ("q-0", "a"), Some("a"), 3);
    let verdict = story.verdict("continuity", &budget(100.0, true));
    violates(&verdict, "for 400 ms in round 0, 100 ms are allowed");
    assert_eq!(verdict.figures["round_0.service_fresh.gap_ms"], 410.0);
    assert_eq!(verdict.figures["round_0.dial_all.gap_ms"], 410.0);
}

#[test]
fn an_election_that_takes_long_is_not_free() {
    let absolute = |route, limit| GapBudget {
        route,
        ..budget(limit, false).gaps.remove(0)
    };
    let judge = |route, limit| {
        let mut expectations = budget(100.0, true);
        expectations.gaps.push(absolute(route, limit));
        both_lose_writes("delete_pod", 3).verdict("continuity", &expectations)
    };
    for (route, gap, told) in [
        (Route::ServiceFresh, 410.0, "service_fresh had"),
        (Route::DialAll, 310.0, "dial_all had"),
    ] {
        assert!(judge(route, gap).passed());
        let verdict = judge(route, gap - 1.0);
        violates(&verdict, told);
        violates(&verdict, &format!("for {gap} ms in round 0"));
    }
}

#[test]
fn a_gap_after_a_deletion_without_an_election_counts_in_full() {
    let judge =
        |limit| both_lose_writes("delete_pod", 2).verdict("continuity", &budget(limit, true));
    assert!(judge(410.0).passed());
    violates(&judge(350.0), "for 410 ms in round 0, 350 ms are allowed");
}

#[test]
fn an_outage_long_after_the_heal_belongs_to_the_fault() {
    let story = writes(Story::new().fault(100, 110), Route::ServiceFresh, 500..800);
    violates(
        &story.verdict("continuity", &budget(100.0, false)),
        "for 310 ms in round 0",
    );
}

#[test]
fn the_median_of_the_rounds_is_held_against_its_own_limit() {
    // Five faults, 200 ms apart, each with a gap of 60 ms, the last with one of 100 ms.
    let lost = |t: &i64| (50..100).contains(&(t % 200)) || (850..940).contains(t);
    let faults = || {
        (0..5).fold(Story::new(), |story, n| {
            let from = 50 + i64::from(n) * 200;
            story.fault_at(n, from, from + 20)
        })
    };
    let story = || lossy(faults(), Route::ServiceFresh, lost);
    let judge = |median_ms| {
        let mut expectations = budget(150.0, false);
        expectations.gaps[0].median_ms = Some(median_ms);
        story().verdict("continuity", &expectations)
    };
    let verdict = judge(60.0);
    assert!(verdict.passed(), "{verdict:?}");
    assert_eq!(verdict.figures["service_fresh.rounds_judged"], 5.0);
    violates(
        &judge(59.0),
        "for 60 ms in the median of 5 rounds, 59 ms are allowed",
    );
}

#[test]
fn a_round_without_writes_proves_nothing() {
    let story = || writes(Story::new().fault(2_000, 2_100), Route::ServiceFresh, 0..0);
    inconclusive(
        &story().verdict("continuity", &budget(9e9, false)),
        "no write was wanted in round 0",
    );
    let none =
        writes(Story::new(), Route::ServiceFresh, 0..0).verdict("continuity", &budget(9e9, false));
    inconclusive(
        &none,
        "there was no fault that the budget of service_fresh is for",
    );
}

fn three(operator_takes: &[(i64, &str)]) -> Story {
    let names = ["etcd-0", "etcd-1", "etcd-2"];
    let story = names.iter().fold(Story::new(), |story, pod| {
        story.pod_with(0, (pod, "old"), 1, |_| {})
    });
    operator_takes.iter().fold(story, |story, (t, pod)| {
        story.pod_with(*t, (pod, "old"), 2, |record| record.deleting = true)
    })
}

#[test]
fn the_operator_takes_one_member_at_a_time() {
    let expectations = Expectations {
        members: 3,
        ..small()
    };
    let back = |story: Story, t| story.pod_with(t, ("etcd-0", "new"), 9, |_| {});
    assert!(
        back(three(&[(10, "etcd-0")]), 20)
            .pod_with(30, ("etcd-1", "old"), 10, |p| p.deleting = true)
            .verdict("quorum", &expectations)
            .passed()
    );
    violates(
        &three(&[(10, "etcd-0"), (15, "etcd-1")]).verdict("quorum", &expectations),
        "etcd-1 is taken down at 0.015000 s while etcd-0",
    );
}

#[test]
fn what_a_fault_deleted_is_not_the_operators_doing() {
    let deleted_by_faults = ["etcd-0".to_owned(), "etcd-1".to_owned()].into();
    let expectations = Expectations {
        members: 3,
        deleted_by_faults,
        ..small()
    };
    assert!(
        three(&[(10, "etcd-0"), (15, "etcd-1")])
            .verdict("quorum", &expectations)
            .passed()
    );
    violates(
        &three(&[(10, "etcd-0"), (15, "etcd-2")]).verdict("quorum", &expectations),
        "leaves 1 ready members of 3",
    );
}

#[test]
fn who_leaves_for_good_is_not_waited_for_and_a_quorum_must_be_left_without_it() {
    let leaving = ["etcd-1".to_owned(), "etcd-2".to_owned()].into();
    let expectations = |members| Expectations {
        members,
        leaving: BTreeSet::clone(&leaving),
        ..small()
    };
    let story = || three(&[(10, "etcd-2"), (15, "etcd-1")]);
    assert!(story().verdict("quorum", &expectations(1)).passed());
    violates(
        &story().verdict("quorum", &expectations(3)),
        "leaves 1 ready members of 3",
    );
}

#[test]
fn a_pod_that_went_while_no_watch_was_open_has_no_label() {
    let story = || {
        Story::new()
            .pod(0, "etcd-0", 10, "leader")
            .pod(0, "etcd-1", 11, "follower")
    };
    let gone = |story: Story, t: i64, version: u64| {
        story.pod_with(t, ("etcd-0", "uid"), version, |pod| {
            (pod.role, pod.deleted) = (Some("leader".into()), true);
        })
    };
    // A list after the break reports its end by the last version that was seen, before or after the other's label.
    for (t, label) in [(20, 30), (40, 30)] {
        gone(story(), t, 10)
            .pod(label, "etcd-1", 20, "leader")
            .sample(1, ("etcd-1", "b"), Some("b"), 2)
            .passes("labels");
    }
    // Its successor of the same name takes the place of whatever had the name.
    let successor = |role: &'static str| {
        story()
            .pod_with(20, ("etcd-0", "next"), 25, move |pod| {
                pod.role = Some(role.into())
            })
            .pod(30, "etcd-1", 26, "leader")
            .sample(1, ("etcd-1", "b"), Some("b"), 2)
    };
    successor("follower").passes("labels");
    successor("leader").violates("labels", "etcd-0 and etcd-1 are labelled leader");
    // Its end is seen, but only after the other was labelled: that is a label too many.
    story()
        .pod(20, "etcd-1", 20, "leader")
        .pod_with(30, ("etcd-0", "uid"), 30, |pod| pod.deleted = true)
        .violates("labels", "etcd-0 and etcd-1 are labelled leader");
}

#[test]
fn pods_replaced_while_no_watch_was_open_are_not_taken_down_at_once() {
    let ready = |story: Story, t, pod: &str, uid: &str, version| {
        story.pod_with(t, (pod, uid), version, |_| {})
    };
    let gone = |story: Story, t, pod: &str, version| {
        story.pod_with(t, (pod, "old"), version, |pod| pod.deleted = true)
    };
    let three = (0..3).fold(Story::new(), |story, n| {
        ready(story, 0, &format!("etcd-{n}"), "old", 10 + n)
    });
    // One after the other was replaced meanwhile; the list reports the ends and the new ones in any order.
    let story = gone(gone(three, 50, "etcd-0", 10), 50, "etcd-1", 11);
    let story = ready(
        ready(story, 51, "etcd-0", "new", 30),
        51,
        "etcd-1",
        "new",
        40,
    );
    let wanted = Expectations {
        members: 3,
        ..small()
    };
    let verdict = gone(story, 52, "etcd-0", 10).verdict("quorum", &wanted);
    assert!(verdict.passed(), "{verdict:?}");
}
