//! A cluster that begins with a backup: one member has its data, the others join it.

use etcd_operator_api::restore::{FILLED_AGAIN, NOT_FILLED};

use super::super::{Waiting, check};
use super::*;
use crate::instanceset::names as keys;

#[test]
fn one_member_begins_with_the_backup_and_the_others_join_as_learners() {
    let mut world = World::seeded(3);
    let told = settle(&mut world);
    assert_eq!(told[..2], ["create claim data-a-0", "create pod a-0"]);
    assert_eq!(told[2], "add a-1 as a learner", "{told:?}");
    assert_eq!(is_whole(&world), Ok(()));
    assert!(world.has_the_backup());
    assert_eq!(world.desired.recorded.bootstrap_members, ["a-0"]);
}

#[test]
fn no_pod_is_made_on_a_claim_that_is_not_filled() {
    let mut world = World::seeded(3);
    let first = plan(&world.desired, &world.observe());
    world.take(&first, usize::MAX);
    // The Job has not run: the claim is there, and nothing else happens.
    let mut seen = world.observe();
    let waits = plan(&world.desired, &seen);
    assert!(waits.steps.is_empty(), "{:?}", waits.steps);
    let seed = Waiting::Seed {
        claim: "data-a-0".to_owned(),
        tried: None,
    };
    assert_eq!(waits.waiting[0], seed);
    let claim = seen.claims.get_mut("data-a-0").expect("the claim");
    claim
        .annotations
        .insert(FILLED_AGAIN.to_owned(), "the disk is full".to_owned());
    let again = plan(&world.desired, &seen);
    assert_eq!(again.waiting[0].reason(), "Restore");
    let told = again.waiting[0].to_string();
    assert!(told.ends_with("is under way: the disk is full"), "{told}");
    let claim = seen.claims.get_mut("data-a-0").expect("the claim");
    claim
        .annotations
        .insert(NOT_FILLED.to_owned(), "no such object".to_owned());
    let failed = plan(&world.desired, &seen);
    assert!(failed.steps.is_empty());
    assert_eq!(failed.waiting[0].reason(), "RestoreFailed");
    assert!(failed.waiting[0].to_string().contains("no such object"));
    // One that holds another backup is not the one.
    let claim = seen.claims.get_mut("data-a-0").expect("the claim");
    claim.annotations.insert(
        etcd_operator_api::restore::FILLED.to_owned(),
        "other".to_owned(),
    );
    assert!(plan(&world.desired, &seen).steps.is_empty());
}

#[test]
fn the_first_pod_is_never_told_to_begin_with_nothing() {
    let mut world = World::seeded(1);
    let first = plan(&world.desired, &world.observe());
    world.take(&first, usize::MAX);
    world.tick();
    let seen = world.observe();
    let next = plan(&world.desired, &seen);
    let Some(Step::CreatePod(pod)) = next.steps.first() else {
        panic!("{:?}", next.steps);
    };
    let names = |pod: &k8s_openapi::api::core::v1::Pod| {
        let env = pod
            .spec
            .iter()
            .flat_map(|spec| spec.containers[0].env.clone().unwrap_or_default());
        env.map(|variable| variable.name).collect::<Vec<_>>()
    };
    assert!(!names(pod).contains(&keys::ENV_BOOTSTRAP.to_owned()));
    // The independent checker sees a planner that does, and one that does not wait.
    let mut desired = world.desired.clone();
    desired.seed = None;
    let careless = plan(&desired, &seen);
    assert!(!check::lint(&world.desired, &seen, &careless).is_empty());
}
