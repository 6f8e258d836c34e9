//! Claims live as long as the policy says now, and what another Cluster has left is not taken.

use super::super::world::World;
use super::super::{Grace, Step, plan};
use super::{grown, is_whole, settle, settle_until_whole};
use crate::instanceset::events::summary;
use crate::instanceset::observed::{NodeSeen, Observed};

fn bound(world: &World) -> Vec<bool> {
    let claims = world.observe().claims;
    claims.values().map(|claim| claim.bound).collect()
}

fn reasons(world: &World) -> Vec<&'static str> {
    let next = plan(&world.desired, &world.observe());
    next.waiting.iter().map(|why| why.reason()).collect()
}

#[test]
fn a_policy_that_is_set_later_protects_the_claims_that_are_there() {
    let mut world = grown(3);
    assert_eq!(bound(&world), [true; 3]);
    world.desired.keep_when_deleted = true;
    let told = settle(&mut world);
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(bound(&world), [false; 3]);
    assert_eq!(is_whole(&world), Ok(()));
    world.desired.keep_when_deleted = false;
    settle_until_whole(&mut world);
    assert_eq!(bound(&world), [true; 3]);
}

#[test]
fn claims_that_are_kept_outlive_the_instance_set() {
    let mut world = grown(3);
    world.desired.keep_when_deleted = true;
    world.desired.deleting = true;
    for _ in 0..4 {
        let next = plan(&world.desired, &world.observe());
        let gone = |step: &Step| matches!(step, Step::DeleteClaim { .. });
        assert!(!next.steps.iter().any(gone), "{:?}", next.steps);
        world.take(&next, usize::MAX);
        world.tick();
    }
    assert_eq!(bound(&world), [false; 3]);
    let last = plan(&world.desired, &world.observe());
    assert_eq!(last.steps, [Step::RemoveFinalizer]);
}

#[test]
fn an_instance_set_whose_members_are_to_stay_goes_and_touches_none() {
    let mut world = grown(3);
    world.desired.deleting = true;
    world.desired.orphaning = true;
    let next = plan(&world.desired, &world.observe());
    assert_eq!(next.steps, [Step::RemoveFinalizer]);
}

#[test]
fn what_keeps_a_deletion_from_its_end_is_told_in_status() {
    let mut world = grown(3);
    world.desired.deleting = true;
    world.freeze("a-1");
    let round = |world: &mut World| {
        let next = plan(&world.desired, &world.observe());
        let before = world.desired.recorded.clone();
        world.take(&next, usize::MAX);
        world.tick();
        (before, next)
    };
    for _ in 0..3 {
        round(&mut world);
    }
    let (before, next) = round(&mut world);
    let status = next.status.expect("a status").status;
    let told: Vec<&str> = status
        .waiting_on
        .iter()
        .map(|w| w.reason.as_str())
        .collect();
    assert_eq!((status.replicas, told), (1, vec!["NodeNotReady"]));
    let message = status.message.clone().unwrap_or_default();
    assert!(message.starts_with("pod a-1 is on a node"), "{message}");
    assert_eq!(status, before, "nothing more is written");
    assert_eq!(status.cluster_id.as_deref(), Some("7"), "latches stay");
    world.thaw();
    world.tick();
    for _ in 0..3 {
        round(&mut world);
    }
    assert_eq!(round(&mut world).1.steps, [Step::RemoveFinalizer]);
}

#[test]
fn an_instance_set_that_is_held_goes_on_when_it_is_deleted() {
    let mut world = grown(3);
    world.desired.held = true;
    world.desired.keep_when_deleted = true;
    world.delete_pod("a-1");
    world.tick();
    let told = settle(&mut world);
    assert!(told.contains(&"create pod a-1".to_owned()), "{told:?}");
    assert!(!told.iter().any(|line| line.contains("finalizer")));
    assert_eq!(reasons(&world), ["DeletionHeld"]);
    assert_eq!(world.pod_names().len(), 3);
}

#[test]
fn claims_of_an_earlier_cluster_are_named_and_left_alone() {
    let mut world = World::new(3);
    let old: Vec<_> = (0..5).map(|at| world.leave_behind(at)).collect();
    let told = settle(&mut world);
    assert_eq!(told, Vec::<String>::new());
    assert!(reasons(&world).contains(&"ForeignClaim"));
    let status = plan(&world.desired, &world.observe()).status;
    let failure = status.expect("a status").observations;
    let named = failure.iter().any(|seen| {
        seen.message
            .contains("claim data-a-0 holds data of an earlier")
    });
    assert!(named, "{failure:?}");
    // The owner deletes those that are in the way. A claim that is not wanted stays, and blocks no member.
    for pod in ["a-0", "a-1", "a-2"] {
        world.delete_claim(pod);
    }
    world.tick();
    settle_until_whole(&mut world);
    world.scale(5);
    let told = settle(&mut world);
    assert_eq!(
        told,
        Vec::<String>::new(),
        "no member is added to wait for a disk"
    );
    assert!(reasons(&world).contains(&"ForeignClaim"));
    world.scale(3);
    settle_until_whole(&mut world);
    world.desired.deleting = true;
    for _ in 0..6 {
        let next = plan(&world.desired, &world.observe());
        world.take(&next, usize::MAX);
        world.tick();
    }
    let left: Vec<_> = ["a-3", "a-4"]
        .iter()
        .map(|pod| world.disk_of(pod))
        .collect();
    assert_eq!(left, old[3..], "{:?}", world.observe().claims.keys());
}

#[test]
fn a_new_claim_tells_whose_it_is() {
    let world = World::new(1);
    let next = plan(&world.desired, &world.observe());
    let claims = next.steps.iter().filter_map(|step| match step {
        Step::CreateClaim(claim) => claim.metadata.annotations.clone(),
        _ => None,
    });
    let homes: Vec<_> = claims
        .filter_map(|all| all.get(etcd_operator_api::labels::CLUSTER_UID).cloned())
        .collect();
    assert_eq!(
        homes,
        ["c"],
        "{:?}",
        next.steps.iter().map(summary).collect::<Vec<_>>()
    );
}

#[test]
fn claims_deleted_under_all_members_move_leadership_once_and_the_leader_goes_last() {
    for (members, leads) in [(3, "a-0"), (3, "a-1"), (5, "a-2")] {
        let mut world = grown(members);
        world.leader = Some(leads.to_owned());
        for pod in world.pod_names() {
            world.delete_claim(&pod);
        }
        let told = settle(&mut world);
        assert_eq!(is_whole(&world), Ok(()));
        let moves: Vec<_> = told
            .iter()
            .filter(|step| step.starts_with("move"))
            .collect();
        assert_eq!(moves.len(), 1, "{told:?}");
        let removed: Vec<_> = told
            .iter()
            .filter(|step| step.starts_with("remove"))
            .collect();
        assert_eq!(removed.len(), members as usize, "{told:?}");
        let last = format!("remove {leads} ");
        assert!(
            removed.last().is_some_and(|step| step.starts_with(&last)),
            "{told:?}"
        );
    }
}

/// A world of so many members whose claims and pods were just made, and what is seen when these claims are lost.
fn lost_early(replicas: u32, lost: &[&str], node: NodeSeen) -> (World, Observed) {
    let mut world = World::new(replicas);
    let first = plan(&world.desired, &world.observe());
    world.take(&first, usize::MAX);
    let mut seen = world.observe();
    for pod in seen.pods.values_mut() {
        pod.node = node;
    }
    for pod in lost {
        seen.claims.remove(&format!("data-{pod}"));
    }
    (world, seen)
}

#[test]
fn a_set_without_any_disk_begins_again_when_no_pod_of_it_was_placed() {
    for (replicas, lost) in [(1, &["a-0"][..]), (3, &["a-0", "a-1", "a-2"][..])] {
        let (world, mut seen) = lost_early(replicas, lost, NodeSeen::Unassigned);
        let next = plan(&world.desired, &seen);
        let gone = |step: &Step| {
            matches!(
                step,
                Step::DeletePod {
                    grace: Grace::Template,
                    ..
                }
            )
        };
        assert_eq!(next.steps.len(), lost.len(), "{:?}", next.steps);
        assert!(next.steps.iter().all(gone), "{:?}", next.steps);
        seen.pods.clear();
        let again = plan(&world.desired, &seen);
        let made = |step: &&Step| matches!(step, Step::CreateClaim(_));
        assert_eq!(again.steps.iter().filter(made).count(), lost.len());
    }
}

#[test]
fn a_set_that_has_lost_too_many_disks_says_so_and_nothing_of_it_is_deleted() {
    let told = |replicas, lost: &[&str], node| {
        let (world, seen) = lost_early(replicas, lost, node);
        let next = plan(&world.desired, &seen);
        let deletes = |step: &Step| matches!(step, Step::DeletePod { .. });
        assert!(!next.steps.iter().any(deletes), "{:?}", next.steps);
        let reasons = next.waiting.iter().map(|why| why.reason());
        let early = reasons.filter(|why| ["CannotForm", "ClaimLostEarly"].contains(why));
        early.collect::<Vec<_>>()
    };
    // A pod that was placed may have run.
    assert_eq!(told(1, &["a-0"], NodeSeen::Ready), ["CannotForm"]);
    // A disk that is left may hold something.
    let two = ["a-0", "a-1"];
    assert_eq!(told(3, &two, NodeSeen::Unassigned), ["CannotForm"]);
    assert_eq!(told(3, &["a-0"], NodeSeen::Ready), ["ClaimLostEarly"]);
}
