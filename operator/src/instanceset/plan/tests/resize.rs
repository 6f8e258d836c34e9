//! Amounts of cpu and memory: in place where Kubernetes does it, by recreating pods where it does not.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{is_whole, lawful, settle};
use crate::instanceset::names as keys;
use crate::instanceset::observed::{Observed, Resize};
use crate::instanceset::plan::world::World;
use crate::instanceset::plan::{Plan, revision};

fn limited(world: &mut World, limits: &[(&str, &str)]) {
    let amounts = limits
        .iter()
        .map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned())));
    let resources = ResourceRequirements {
        limits: Some(amounts.collect()),
        ..ResourceRequirements::default()
    };
    let spec = world.desired.template.spec.as_mut().expect("a spec");
    spec.containers[0].resources = Some(resources);
}

/// Three members whose template now says two processors instead of one.
fn changed() -> World {
    let mut world = World::new(3);
    limited(&mut world, &[("cpu", "1"), ("memory", "1Gi")]);
    settle(&mut world);
    assert_eq!(is_whole(&world), Ok(()));
    limited(&mut world, &[("cpu", "2"), ("memory", "1Gi")]);
    world
}

fn steps(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter();
    steps.map(crate::instanceset::events::summary).collect()
}

#[test]
fn other_amounts_are_given_in_place_one_pod_after_the_other_and_the_leader_last() {
    let mut world = changed();
    let leader = world.leader.clone().expect("a leader");
    let told = settle(&mut world);
    let given = |pod: &str| format!("give pod {pod} its amounts of cpu and memory in place");
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[2], given(&leader));
    assert_eq!(world.leader, Some(leader));
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn the_next_pod_waits_until_the_kubelet_has_applied_the_last_change() {
    let mut world = changed();
    let first = lawful(&world, &world.observe());
    world.take(&first, usize::MAX);
    let mut seen = world.observe();
    let revision = revision::revision(&world.desired);
    let pod = seen.pods.values_mut().find(|pod| pod.revision == revision);
    pod.expect("one has them").resize = Resize::UnderWay("node is full".to_owned());
    let held = lawful(&world, &seen);
    assert_eq!(steps(&held), Vec::<String>::new());
    let told: Vec<String> = held.waiting.iter().map(ToString::to_string).collect();
    assert!(
        told.iter().any(|why| why.contains("node is full")),
        "{told:?}"
    );
    let updated = held.status.expect("a status").status.updated_replicas;
    assert_eq!(updated, 0, "a pod that has not got them is not updated");
}

#[test]
fn what_kubernetes_does_not_change_in_place_recreates_the_pod() {
    let recreated = |world: &World, seen: &Observed| {
        let told = steps(&lawful(world, seen));
        assert!(
            told.len() == 1 && told[0].starts_with("evict pod"),
            "{told:?}"
        );
    };
    let world = changed();
    let mut impossible = world.observe();
    for pod in impossible.pods.values_mut() {
        pod.resize = Resize::Impossible("node has 1 cpu".to_owned());
    }
    recreated(&world, &impossible);
    let mut refused = world.observe();
    for pod in refused.pods.values_mut() {
        let (key, revision) = (keys::RESIZE_REFUSED, revision::revision(&world.desired));
        pod.annotations.insert(key.to_owned(), revision);
    }
    recreated(&world, &refused);
    let mut always = changed();
    always.desired.recreate = true;
    recreated(&always, &always.observe());
    let mut less = changed();
    limited(&mut less, &[("cpu", "2")]);
    recreated(&less, &less.observe());
    let mut image = changed();
    image.change_template("etcd:2");
    recreated(&image, &image.observe());
}

#[test]
fn a_refusal_is_that_of_one_revision() {
    let world = changed();
    let mut seen = world.observe();
    for pod in seen.pods.values_mut() {
        let key = keys::RESIZE_REFUSED.to_owned();
        pod.annotations.insert(key, "former".to_owned());
    }
    let told = steps(&lawful(&world, &seen));
    assert!(told[0].starts_with("give pod"), "{told:?}");
}

#[test]
fn a_pod_that_is_not_ready_is_recreated_with_the_new_amounts() {
    let world = changed();
    let mut seen = world.observe();
    let leader = world.leader.clone();
    let mut followers = seen.pods.iter_mut();
    let ill = followers.find(|(name, _)| Some(*name) != leader.as_ref());
    let (name, pod) = ill.expect("a follower");
    pod.ready = false;
    let name = name.clone();
    let told = steps(&lawful(&world, &seen));
    assert_eq!(told, [format!("evict pod {name}: it is updated")]);
}
