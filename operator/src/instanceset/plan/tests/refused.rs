//! Stories of an API server that refuses some steps, each time: the rest is done.

use super::*;
use crate::instanceset::names::JOIN;

/// Rounds as the reconciler carries them out.
fn rounds(world: &mut World, rounds: usize) {
    for _ in 0..rounds {
        let next = lawful(world, &world.observe());
        let before = world.desired.clone();
        world.advance(&before, &next, usize::MAX, true);
        world.tick();
    }
}

#[test]
fn a_quota_of_storage_keeps_no_other_member_away() {
    let mut world = grown(3);
    world.scale(5);
    world.refuses = &["create claim"];
    rounds(&mut world, 10);
    assert_eq!(world.members.len(), 4, "a learner waits for its claim");
    world.delete_pod("a-1");
    rounds(&mut world, 5);
    assert_eq!(world.pod_names(), ["a-0", "a-1", "a-2"]);
    let seen = world.observe();
    assert!(seen.pods.values().all(PodSeen::takes_part));
    world.refuses = &[];
    settle_until_whole(&mut world);
}

#[test]
fn one_claim_of_two_that_is_refused_makes_no_member_again() {
    let mut world = World::new(3);
    let mut wal = world.desired.claims[0].clone();
    wal.name = "wal".to_owned();
    world.desired.claims.push(wal);
    settle_until_whole(&mut world);
    world.scale(5);
    world.refuses = &["create claim wal"];
    let mut told = Vec::new();
    for _ in 0..10 {
        let next = plan(&world.desired, &world.observe());
        told.extend(next.steps.iter().map(summary));
        rounds(&mut world, 1);
    }
    let begins = |with: &str| told.iter().filter(|step| step.starts_with(with)).count();
    assert_eq!((begins("add "), begins("remove ")), (1, 0), "{told:?}");
    assert_eq!(begins("create claim data"), 1, "{told:?}");
    assert!(!world.pod_names().contains(&"a-3".to_owned()));
    // A claim that was made for another member is not the new one's.
    let mut seen = world.observe();
    let claim = seen.claims.get_mut("data-a-3").expect("a claim");
    claim.annotations.insert(JOIN.to_owned(), "1".to_owned());
    let steps: Vec<_> = plan(&world.desired, &seen)
        .steps
        .iter()
        .map(summary)
        .collect();
    let dropped = |step: &String| step.starts_with("remove a-3");
    assert!(steps.iter().any(dropped), "{steps:?}");
    world.refuses = &[];
    settle_until_whole(&mut world);
    assert_eq!(world.members.len(), 5);
}

#[test]
fn a_member_whose_pod_is_refused_leaves_when_it_is_not_wanted() {
    for gone in ["a-4", "a-1"] {
        let mut world = grown(5);
        world.refuses = &["create pod"];
        world.delete_pod(gone);
        rounds(&mut world, 3);
        assert_eq!(world.pod_names().len(), 4);
        world.scale(3);
        rounds(&mut world, 30);
        assert!(world.has_its_members(), "{:?}", world.members);
    }
}

#[test]
fn a_label_that_is_refused_holds_nothing_up() {
    let labelled = |world: &World| {
        let next = plan(&world.desired, &world.observe());
        let steps: Vec<String> = next.steps.iter().map(summary).collect();
        steps.contains(&"label pod a-0".to_owned())
    };
    let mut world = grown(3);
    world.label("a-0", "app", "another");
    world.refuses = &["label"];
    assert!(labelled(&world));
    let disk = world.disk_of("a-2");
    world.lose_node("a-2");
    rounds(&mut world, 30);
    assert!(world.has_its_members(), "{:?}", world.members);
    assert_ne!(world.disk_of("a-2"), disk, "a lost member is replaced");
    world.want_volumes(2);
    rounds(&mut world, 10);
    assert_eq!(world.sizes(), [2; 3], "volumes grow");
    assert!(labelled(&world), "it is tried again");
    world.change_template("etcd:2");
    rounds(&mut world, 30);
    assert!(!labelled(&world), "the pod is a new one");
    world.refuses = &[];
    settle_until_whole(&mut world);
}

#[test]
fn a_size_that_is_refused_keeps_no_database_from_care() {
    let mut world = grown(3);
    let sizes = &mut world.databases.sizes;
    sizes.insert("a-1".to_owned(), (200 << 20, 1 << 20));
    world.want_volumes(2);
    world.refuses = &["let claim"];
    rounds(&mut world, 5);
    assert_eq!(world.sizes(), [1; 3]);
    assert_eq!(world.databases.sizes["a-1"], (1 << 20, 1 << 20));
}

#[test]
fn a_cluster_begins_with_all_its_claims_or_with_none_of_its_pods() {
    let mut world = World::new(3);
    world.refuses = &["create claim data-a-1"];
    rounds(&mut world, 5);
    assert_eq!(world.pod_names(), Vec::<String>::new());
    world.refuses = &[];
    settle_until_whole(&mut world);
    assert_eq!(world.members.len(), 3);
}
