//! Stories of a quorum that does not come back.

use etcd_operator_api::recovery::{Recovery, RecoveryStep};

use super::*;
use crate::instanceset::observed::NodeSeen;

fn recovery(world: &World) -> Recovery {
    world.desired.recorded.recovery.clone().expect("a recovery")
}

/// A cluster that has lost the nodes of its first members.
fn bereft(members: u32, lost: u32) -> World {
    let mut world = grown(members);
    for at in 0..lost {
        world.lose_node(&format!("a-{at}"));
    }
    world
}

#[test]
fn nothing_is_given_up_without_approval() {
    let mut world = bereft(3, 2);
    let before = world.disk_of("a-2");
    settle(&mut world);
    assert_eq!(world.desired.recorded.recovery, None);
    assert_eq!((world.members.len(), world.disk_of("a-2")), (3, before));
}

#[test]
fn the_survivor_keeps_its_identity_and_the_others_are_new() {
    for (members, lost) in [(3, 2), (5, 3), (5, 4)] {
        let mut world = bereft(members, lost);
        let survivor = format!("a-{}", members - 1);
        let (disk, old) = (world.disk_of(&survivor), world.members.clone());
        world.approve("t", Some(&survivor));
        let told = settle(&mut world);
        assert_eq!(is_whole(&world), Ok(()), "{told:?}");
        assert_eq!(world.disk_of(&survivor), disk);
        let kept = old
            .iter()
            .filter(|m| world.members.iter().any(|new| new.id == m.id));
        assert_eq!(kept.count(), 1, "all others have new identifiers");
        assert_eq!(recovery(&world).step, RecoveryStep::Done);
    }
}

#[test]
fn each_step_is_on_record_before_it_is_taken() {
    let mut world = bereft(3, 2);
    world.approve("t", None);
    let mut steps = Vec::new();
    for _ in 0..60 {
        let next = plan(&world.desired, &world.observe());
        let draft = next.status.clone().expect("a status");
        if draft.status.recovery != world.desired.recorded.recovery {
            assert!(draft.first, "recorded first");
            steps.push(draft.status.recovery.expect("a recovery").step);
        }
        world.take(&next, usize::MAX);
        world.tick();
    }
    use RecoveryStep::{Chosen, Done, Forced, Isolated};
    assert_eq!(steps, [Chosen, Isolated, Forced, Done]);
}

#[test]
fn a_quorum_that_is_there_or_comes_back_is_not_given_up() {
    let mut world = grown(3);
    world.approve("t", None);
    settle(&mut world);
    let refused = recovery(&world);
    assert_eq!(refused.step, RecoveryStep::Refused);
    assert!(
        refused.message.contains("a quorum is there"),
        "{}",
        refused.message
    );
    assert_eq!(is_whole(&world), Ok(()));

    let mut world = grown(3);
    let before = world.members.clone();
    (world.freeze("a-0"), world.freeze("a-1"));
    world.approve("t", None);
    let next = plan(&world.desired, &world.observe());
    world.take(&next, 0);
    world.thaw();
    world.tick();
    settle(&mut world);
    assert!(recovery(&world).message.contains("a quorum came back"));
    assert_eq!((is_whole(&world), &world.members), (Ok(()), &before));

    let mut world = grown(3);
    (world.freeze("a-0"), world.freeze("a-1"));
    world.approve("t", Some("a-2"));
    settle(&mut world);
    assert_eq!(
        recovery(&world).step,
        RecoveryStep::Chosen,
        "they may still run"
    );
    world.thaw();
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn what_stands_where_is_told_and_nothing_is_done_in_a_dry_run() {
    let mut world = bereft(3, 2);
    world.approve("t", None);
    if let Some(wish) = world.desired.recovery.as_mut() {
        wish.dry_run = true;
    }
    let next = plan(&world.desired, &world.observe());
    let stops = |step: &Step| matches!(step, Step::DeletePod { name, .. } if name == "a-2");
    assert!(!next.steps.iter().any(stops));
    settle(&mut world);
    let survey = recovery(&world);
    assert_eq!(survey.step, RecoveryStep::Surveyed);
    assert_eq!(survey.survivor.as_deref(), Some("a-2"));
    let own = &survey.standings[2];
    assert_eq!(
        (own.term, own.index, own.message.as_ref()),
        (Some(3), Some(50), None)
    );
    assert!(survey.standings[0].message.is_some());
    assert!(
        survey.message.contains("a-2 stays (member"),
        "{}",
        survey.message
    );
    assert!(
        survey.message.contains("how much is not known"),
        "{}",
        survey.message
    );
    assert_eq!(world.members.len(), 3);
}

#[test]
fn a_request_that_is_withdrawn_in_time_costs_nothing() {
    let mut world = grown(3);
    (world.freeze("a-0"), world.freeze("a-1"));
    world.approve("t", None);
    settle(&mut world);
    world.desired.recovery = None;
    settle(&mut world);
    assert_eq!(recovery(&world).step, RecoveryStep::Refused);
    world.thaw();
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_start_in_vain_is_tried_again_under_another_mark_and_not_for_ever() {
    let mut world = bereft(3, 2);
    world.approve("t", None);
    world.age = 60;
    for _ in 0..60 {
        // etcd dies before its log is written: the mark is used, and the others are still members.
        let members = world.members.clone();
        let next = plan(&world.desired, &world.observe());
        world.take(&next, usize::MAX);
        world.tick();
        world.members = members;
        world.tick();
    }
    let failed = recovery(&world);
    assert_eq!(failed.step, RecoveryStep::Failed, "{failed:?}");
    assert_eq!(failed.attempt, 3);
}

#[test]
fn the_furthest_is_who_has_committed_most_not_who_campaigned_last() {
    let mut world = grown(3);
    (world.freeze("a-0"), world.freeze("a-1"));
    world.approve("t", None);
    let mut seen = world.observe();
    let mut standing = |pod: &str, term, index| {
        let mut own = seen.pods["a-2"].clone();
        own.node = NodeSeen::Ready;
        own.heard = true;
        let known = world.desired.recorded.members.iter();
        let member = known.clone().find(|member| member.pod_name == pod);
        let id = member.and_then(|member| member.member_id.parse().ok());
        let status = own.view.as_mut().and_then(|view| view.status.as_mut());
        let status = status.expect("a status");
        status.member_id = id.expect("a member");
        (status.term, status.raft_index) = (term, index);
        seen.pods.insert(pod.to_owned(), own);
    };
    standing("a-1", 9, 50);
    standing("a-2", 4, 70);
    let next = plan(&world.desired, &seen);
    let recovery = next.status.and_then(|draft| draft.status.recovery);
    let recovery = recovery.expect("a recovery");
    assert_eq!(recovery.survivor.as_deref(), Some("a-2"), "{recovery:?}");
    assert!(recovery.message.contains("a-1 has no more"), "{recovery:?}");
}

#[test]
fn a_survivor_that_may_have_led_alone_is_not_forced_again() {
    let mut world = bereft(3, 2);
    world.approve("t", None);
    world.age = 60;
    while !world.pods_forced() {
        let next = plan(&world.desired, &world.observe());
        world.take(&next, usize::MAX);
        world.tick();
    }
    let attempt = |term: u64| {
        let mut seen = world.observe();
        seen.members = Reading::Unknown("it has no leader now".to_owned());
        let pod = seen.pods.get_mut("a-2").and_then(|pod| pod.view.as_mut());
        let status = pod.and_then(|view| view.status.as_mut()).expect("a status");
        (status.leader_id, status.term) = (None, term);
        let next = plan(&world.desired, &seen).status.expect("a status");
        next.status.recovery.expect("a recovery").attempt
    };
    assert_eq!(recovery(&world).step, RecoveryStep::Isolated);
    assert_eq!((attempt(3), attempt(4)), (2, 1));
}

#[test]
fn members_that_an_etcd_forgot_to_remove_are_removed_and_not_taken_for_new_ones() {
    let old = grown(3).observe().members;
    let mut world = bereft(3, 2);
    world.approve("t", None);
    while !world.pods_forced() {
        let next = plan(&world.desired, &world.observe());
        world.take(&next, usize::MAX);
        world.tick();
    }
    for round in 0..2 {
        let mut seen = world.observe();
        seen.members = old.clone();
        let next = plan(&world.desired, &seen);
        world.take(&next, 0);
        assert_eq!(recovery(&world).step, RecoveryStep::Forced, "round {round}");
        let removes = |step: &Step| matches!(step, Step::RemoveMember { .. });
        assert_eq!(next.steps.iter().any(removes), round > 0, "{:?}", next.steps);
    }
}
