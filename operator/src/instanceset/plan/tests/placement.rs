//! Stories of members that are rebuilt on a node that a user has named.

use etcd_operator_api::instance_set::Placement;
use k8s_openapi::api::core::v1::{Affinity, Pod, PodSpec};
use serde_json::json;

use super::super::check::placement::nodes;
use super::super::placement;
use super::*;

/// Plans and acts, at most `upto` steps a round, until nothing more happens; the pods that were made.
fn made(world: &mut World, upto: usize) -> Vec<(String, Vec<Vec<String>>)> {
    let mut made = Vec::new();
    let mut quiet = 0;
    while quiet < 4 {
        let next = round(world, upto, &mut made);
        quiet = if next.steps.is_empty() { quiet + 1 } else { 0 };
        assert!(made.len() < 50, "no end: {made:?}");
    }
    made
}

fn round(world: &mut World, upto: usize, made: &mut Vec<(String, Vec<Vec<String>>)>) -> Plan {
    let next = lawful(world, &world.observe());
    for step in next.steps.iter().take(upto) {
        if let Step::CreatePod(pod) = step {
            made.push((name_of(pod), nodes(pod.spec.as_ref())));
        }
    }
    world.take(&next, upto);
    world.tick();
    next
}

fn name_of(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

fn bound(pod: &str, node: &str) -> (String, Vec<Vec<String>>) {
    (pod.to_owned(), vec![vec![node.to_owned()]])
}

fn free(pod: &str) -> (String, Vec<Vec<String>>) {
    (pod.to_owned(), Vec::new())
}

#[test]
fn a_member_is_rebuilt_on_the_node_that_was_named_however_often_the_operator_dies() {
    for upto in [1, usize::MAX] {
        let mut world = grown(3);
        world.condemn_to("a-1", "n7");
        assert_eq!(made(&mut world, upto), [bound("a-1", "n7")], "{upto}");
        assert_eq!(is_whole(&world), Ok(()), "its pod is not outdated");
        assert_eq!(world.desired.recorded.placements, []);
        // It has its vote: from now on the template decides.
        world.delete_pod("a-1");
        assert_eq!(made(&mut world, upto), [free("a-1")]);
        assert_eq!(is_whole(&world), Ok(()));
    }
}

#[test]
fn the_node_is_on_record_before_the_member_is_removed() {
    let mut world = grown(3);
    let old = world.members[1].id;
    world.condemn_to("a-1", "n7");
    let next = plan(&world.desired, &world.observe());
    let draft = next.status.expect("a status");
    let record = Placement {
        pod_name: "a-1".to_owned(),
        node_name: "n7".to_owned(),
        member_id: old.to_string(),
    };
    assert_eq!((draft.first, draft.status.placements), (true, vec![record]));
}

#[test]
fn a_pod_that_is_lost_before_its_member_votes_is_made_on_that_node_again() {
    let mut world = grown(3);
    world.condemn_to("a-1", "n7");
    let mut pods = Vec::new();
    while pods.is_empty() {
        round(&mut world, usize::MAX, &mut pods);
    }
    // The member list cannot be read either: its claim says what it was made for.
    world.blind = true;
    world.delete_pod("a-1");
    world.tick();
    while pods.len() < 2 {
        round(&mut world, usize::MAX, &mut pods);
    }
    world.blind = false;
    pods.extend(made(&mut world, usize::MAX));
    assert_eq!(pods, [bound("a-1", "n7"), bound("a-1", "n7")]);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn the_old_member_is_not_bound_to_the_node_of_the_new_one() {
    let mut world = grown(3);
    world.condemn_to("a-1", "n7");
    // Without it there is no quorum: it comes back first.
    for pod in ["a-1", "a-2"] {
        world.delete_pod(pod);
    }
    let pods = made(&mut world, usize::MAX);
    assert_eq!(pods, [free("a-1"), free("a-2"), bound("a-1", "n7")]);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_request_that_is_given_up_leaves_no_node_behind() {
    let mut world = grown(3);
    world.condemn_to("a-1", "n7");
    let next = plan(&world.desired, &world.observe());
    world.take(&next, 0);
    assert_eq!(world.desired.recorded.placements.len(), 1);
    world.pardon("a-1");
    assert_eq!(made(&mut world, usize::MAX), []);
    assert_eq!(world.desired.recorded.placements, []);
    world.condemn("a-1");
    assert_eq!(made(&mut world, usize::MAX), [free("a-1")]);
}

#[test]
fn another_request_names_another_node_for_a_member_that_does_not_come_up() {
    for (second, made_on) in [(Some("n8"), bound("a-1", "n8")), (None, free("a-1"))] {
        let mut world = grown(3);
        world.condemn_to("a-1", "n7");
        let mut pods = Vec::new();
        while pods.is_empty() {
            round(&mut world, usize::MAX, &mut pods);
        }
        match second {
            Some(node) => world.condemn_to("a-1", node),
            None => world.condemn("a-1"),
        }
        assert_eq!(made(&mut world, usize::MAX), [made_on]);
        assert_eq!(is_whole(&world), Ok(()));
    }
}

#[test]
fn a_node_without_space_is_tried_once() {
    let mut world = grown(3);
    world.full = Some("n7".to_owned());
    world.condemn_to("a-1", "n7");
    assert_eq!(made(&mut world, usize::MAX), [bound("a-1", "n7")]);
    let waits = plan(&world.desired, &world.observe()).waiting;
    let told: Vec<String> = waits.iter().map(ToString::to_string).collect();
    for word in [
        "a-1",
        "node n7",
        "Too many pods",
        "force: true",
        "targetNodeName",
    ] {
        assert!(told[0].contains(word), "{word}: {told:?}");
    }
    assert!(!told.iter().any(|text| text.contains("correct the Cluster")));
    // A quarter of an hour later it goes where there is space, even if its operator dies after each step.
    world.age = 901;
    assert_eq!(made(&mut world, 1), [free("a-1")]);
    assert_eq!(world.desired.recorded.placements, []);
    world.age = 60;
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_node_that_gets_space_in_time_takes_the_member() {
    let mut world = grown(3);
    world.full = Some("n7".to_owned());
    world.condemn_to("a-1", "n7");
    assert_eq!(made(&mut world, usize::MAX), [bound("a-1", "n7")]);
    world.age = 900;
    world.full = None;
    world.delete_pod("a-1");
    assert_eq!(made(&mut world, usize::MAX), [bound("a-1", "n7")]);
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn a_node_is_named_in_each_alternative_of_the_template_s_own_affinity() {
    let zone = |zone: &str| json!({ "matchExpressions": [{ "key": "zone", "operator": "In", "values": [zone] }] });
    let required = json!({ "nodeSelectorTerms": [zone("a"), zone("b")] });
    let affinity =
        json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": required } });
    let affinity: Affinity = serde_json::from_value(affinity).expect("an affinity");
    let mut spec = PodSpec {
        affinity: Some(affinity),
        ..PodSpec::default()
    };
    placement::bind(&mut spec, "n7");
    assert_eq!(nodes(Some(&spec)), [["n7"], ["n7"]]);
    let terms = json!(spec)["affinity"]["nodeAffinity"]
        ["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        .clone();
    assert_eq!(terms[1]["matchExpressions"], zone("b")["matchExpressions"]);
}
