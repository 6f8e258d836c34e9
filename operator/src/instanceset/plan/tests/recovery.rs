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

/// Until the survivor's pod is made as that of the only member.
fn force(world: &mut World) {
    while !world.pods_forced() {
        world.tick();
        let next = plan(&world.desired, &world.observe());
        world.take(&next, usize::MAX);
    }
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
    world.freeze("a-0");
    world.freeze("a-1");
    world.approve("t", None);
    let next = plan(&world.desired, &world.observe());
    world.take(&next, 0);
    world.thaw();
    world.tick();
    settle(&mut world);
    assert!(recovery(&world).message.contains("a quorum came back"));
    assert_eq!((is_whole(&world), &world.members), (Ok(()), &before));

    let mut world = grown(3);
    world.freeze("a-0");
    world.freeze("a-1");
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
    world.freeze("a-0");
    world.freeze("a-1");
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
    world.barren = true;
    settle(&mut world);
    let failed = recovery(&world);
    assert_eq!(failed.step, RecoveryStep::Failed, "{failed:?}");
    assert_eq!(failed.attempt, 3);
}

#[test]
fn the_furthest_is_who_has_committed_most_not_who_campaigned_last() {
    let mut world = grown(3);
    world.freeze("a-0");
    world.freeze("a-1");
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
fn one_that_may_still_come_up_alone_is_not_forced_again() {
    let mut world = bereft(3, 2);
    world.approve("t", None);
    world.barren = true;
    force(&mut world);
    world.tick();
    let attempt = |seconds: u64, has_leader: bool| {
        let mut seen = world.observe();
        let pod = seen.pods.get_mut("a-2").and_then(|pod| pod.view.as_mut());
        let own = pod
            .and_then(|view| view.standing.as_mut())
            .expect("a standing");
        (own.leaderless_seconds, own.has_leader) = (seconds, has_leader);
        let next = plan(&world.desired, &seen).status.expect("a status");
        next.status.recovery.expect("a recovery").attempt
    };
    assert_eq!(recovery(&world).step, RecoveryStep::Isolated);
    assert_eq!(
        (attempt(31, false), attempt(5, false), attempt(31, true)),
        (2, 1, 1)
    );
}

#[test]
fn members_that_an_etcd_forgot_to_remove_are_removed_and_not_taken_for_new_ones() {
    let old = grown(3).observe().members;
    let mut world = bereft(3, 2);
    world.approve("t", None);
    force(&mut world);
    world.tick();
    for round in 0..2 {
        let mut seen = world.observe();
        seen.members = old.clone();
        let next = plan(&world.desired, &seen);
        world.take(&next, 0);
        assert_eq!(recovery(&world).step, RecoveryStep::Forced, "round {round}");
        let removes = |step: &Step| matches!(step, Step::RemoveMember { .. });
        assert_eq!(
            next.steps.iter().any(removes),
            round > 0,
            "{:?}",
            next.steps
        );
    }
    let mut seen = world.observe();
    seen.members = old;
    let view = seen.pods.get_mut("a-2").and_then(|pod| pod.view.as_mut());
    let status = view.and_then(|view| view.status.as_mut());
    status.expect("a status").leader_id = None;
    let next = plan(&world.desired, &seen);
    let removes = |step: &Step| matches!(step, Step::RemoveMember { .. });
    assert!(!next.steps.iter().any(removes), "no leader: {next:?}");
}

#[test]
fn a_survivor_that_was_restarted_without_a_quorum_is_read_by_its_metrics() {
    let mut world = bereft(3, 2);
    world.delete_pod("a-2");
    settle(&mut world);
    let seen = world.observe();
    let pod = &seen.pods["a-2"];
    assert!(pod.status().is_none() && pod.standing().is_some());
    let mut told = seen.clone();
    let view = told.pods.get_mut("a-2").and_then(|pod| pod.view.as_mut());
    let own = view.and_then(|view| view.standing.as_mut());
    own.expect("a standing").has_leader = true;
    world.approve("t", None);
    let next = plan(&world.desired, &told).status.expect("a status");
    let refused = next.status.recovery.expect("a recovery");
    assert_eq!(refused.step, RecoveryStep::Refused, "{refused:?}");
    let id = world.disk_of("a-2");
    settle(&mut world);
    assert_eq!((is_whole(&world), world.disk_of("a-2")), (Ok(()), id));
}

#[test]
fn a_survivor_whose_term_was_not_known_at_first_is_not_one_that_has_seen_an_election() {
    let mut world = bereft(3, 2);
    let answered = world.observe().pods["a-2"].view.clone();
    world.delete_pod("a-2");
    settle(&mut world);
    world.approve("t", None);
    let next = plan(&world.desired, &world.observe()).status;
    let chosen = next.expect("a status").status.recovery.expect("a recovery");
    assert_eq!(chosen.step, RecoveryStep::Chosen);
    assert!(chosen.message.contains("term not known"), "{chosen:?}");
    world.desired.recorded.recovery = Some(chosen);
    let mut seen = world.observe();
    let view = seen.pods.get_mut("a-2").expect("the survivor's pod");
    view.view = answered;
    let status = view.view.as_mut().and_then(|view| view.status.as_mut());
    status.expect("a status").leader_id = None;
    let next = plan(&world.desired, &seen).status.expect("a status");
    let recovery = next.status.recovery.expect("a recovery");
    assert_eq!(recovery.step, RecoveryStep::Isolated, "{recovery:?}");
}

/// Two of three are frozen, and their pods are to go so that the third can continue.
fn given_up() -> World {
    let mut world = grown(3);
    world.freeze("a-0");
    world.freeze("a-1");
    world.approve("t", Some("a-2"));
    settle(&mut world);
    assert_eq!(recovery(&world).step, RecoveryStep::Chosen);
    world
}

#[test]
fn a_survivor_that_is_silent_or_lost_before_others_are_given_up_costs_nothing() {
    let mut world = given_up();
    world.freeze("a-2");
    world.thaw();
    world.freeze("a-2");
    let told = settle(&mut world);
    assert_eq!(recovery(&world).step, RecoveryStep::Chosen, "{told:?}");
    world.desired.recovery = None;
    settle(&mut world);
    assert_eq!(recovery(&world).step, RecoveryStep::Refused);
    assert!(world.quorate(), "the others are there again");
    world.thaw();
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));

    let mut world = given_up();
    world.lose_node("a-2");
    settle(&mut world);
    assert!(
        recovery(&world)
            .message
            .contains("the volume of a-2 is gone")
    );
    world.thaw();
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_survivor_that_is_lost_when_others_are_given_up_leaves_their_volumes() {
    let mut world = given_up();
    world.thaw();
    let others = [world.disk_of("a-0"), world.disk_of("a-1")];
    while recovery(&world).step == RecoveryStep::Chosen {
        world.tick();
        let next = plan(&world.desired, &world.observe());
        world.take(&next, usize::MAX);
    }
    world.lose_node("a-2");
    settle(&mut world);
    let failed = recovery(&world);
    assert_eq!(failed.step, RecoveryStep::Failed, "{failed:?}");
    assert!(
        failed
            .message
            .contains("the volumes of the others are kept")
    );
    assert_eq!(others, [world.disk_of("a-0"), world.disk_of("a-1")]);
    // The owner chooses again: what the mark kept away comes back when it is taken off.
    world.unmark("a-0");
    settle(&mut world);
    world.approve("u", Some("a-0"));
    settle(&mut world);
    assert_eq!(
        (is_whole(&world), world.disk_of("a-0")),
        (Ok(()), others[0])
    );
    assert_eq!(recovery(&world).step, RecoveryStep::Done);
}
