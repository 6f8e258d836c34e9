//! Labels and annotations of running pods and their claims follow the template, in place.

use std::collections::BTreeMap;

use etcd_operator_api::component_definition::ReplicaRole;
use etcd_operator_api::labels;

use super::super::services;
use super::super::world::World;
use super::super::{Step, plan};
use super::{grown, is_whole, settle, settle_until_whole};
use crate::instanceset::names::{JOIN, RETIRED};
use crate::instanceset::observed::Observed;

fn metadata(world: &mut World) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    world.desired.template.metadata.get_or_insert_default()
}

fn set(world: &mut World, label: Option<&str>, note: Option<&str>) {
    let meta = metadata(world);
    let own = |value: Option<&str>, key: &str| {
        let value = value.map(|value| (key.to_owned(), value.to_owned()));
        value.into_iter().collect::<BTreeMap<_, _>>()
    };
    meta.labels = Some(own(label, "team"));
    meta.annotations = Some(own(note, "note"));
}

#[test]
fn labels_and_annotations_change_in_place_and_go_back() {
    let mut world = grown(3);
    let (before, claims) = (world.observe().pods, world.observe().claims);
    let original = metadata(&mut world).clone();
    set(&mut world, Some("blue"), Some("hello"));
    let told = settle(&mut world);
    let only = |line: &String| line.starts_with("label ");
    assert!(told.len() == 6 && told.iter().all(only), "{told:?}");
    let seen = world.observe();
    for (name, pod) in &seen.pods {
        assert_eq!(pod.uid, before[name].uid, "no pod is recreated");
        assert_eq!(pod.labels["team"], "blue");
        assert_eq!(pod.annotations["note"], "hello");
        assert!(!pod.labels.contains_key("app"), "{:?}", pod.labels);
    }
    assert!(
        seen.claims
            .values()
            .all(|claim| claim.labels["team"] == "blue")
    );
    *metadata(&mut world) = original;
    settle_until_whole(&mut world);
    assert_eq!(world.observe().pods, before);
    assert_eq!(world.observe().claims, claims);
}

#[test]
fn what_others_have_put_on_a_pod_stays_and_an_edit_of_what_is_not_theirs_is_put_right() {
    let mut world = grown(1);
    world.label("a-0", "mine", "1");
    world.label("a-0", labels::ROLE, "leader");
    assert_eq!(settle(&mut world), Vec::<String>::new());
    world.label("a-0", "app", "other");
    assert_eq!(settle(&mut world), ["label pod a-0"]);
    let pod = &world.observe().pods["a-0"];
    assert_eq!(
        (pod.labels["app"].as_str(), pod.labels["mine"].as_str()),
        ("a", "1")
    );
    assert_eq!(pod.labels[labels::ROLE], "leader");
}

/// What a template says of claims was refused before: this is the second line of defence.
#[test]
fn no_template_has_a_say_in_the_operator_s_own_labels_and_annotations_of_claims() {
    let (mut with, mut without) = (grown(1), grown(1));
    let template = &mut with.desired.claims[0];
    let put = |to: &mut BTreeMap<String, String>, keys: &[&str]| {
        to.extend(keys.iter().map(|key| ((*key).to_owned(), "x".to_owned())));
    };
    let own = [
        labels::WORKLOAD_INSTANCE,
        labels::POD_NAME,
        labels::INSTANCE,
    ];
    put(&mut template.labels, &own);
    let marks = [RETIRED, JOIN, labels::REBUILD, labels::CLUSTER_UID];
    put(&mut template.annotations, &marks);
    assert_eq!(settle(&mut with), Vec::<String>::new(), "nothing differs");
    for world in [&mut with, &mut without] {
        let template = &mut world.desired.claims[0];
        put(&mut template.labels, &["team", "app"]);
        put(&mut template.annotations, &["note"]);
        assert_eq!(settle(world), ["label claim data-a-0"]);
        world.scale(3);
        settle_until_whole(world);
    }
    assert_eq!(with.observe().claims, without.observe().claims);
    let claims = with.observe().claims;
    assert_eq!(claims.len(), 3);
    for (name, claim) in claims {
        assert_eq!(claim.labels[labels::WORKLOAD_INSTANCE], "a", "{name}");
        let pod = claim.labels[labels::POD_NAME].as_str();
        assert_eq!(name, format!("data-{pod}"));
        let given = ["team", "app"].map(|key| claim.labels[key].as_str());
        assert_eq!((given, claim.annotations["note"].as_str()), (["x"; 2], "x"));
    }
}

#[test]
fn a_claim_that_has_lost_its_labels_is_given_them_again_and_its_member_stays() {
    let mut world = grown(3);
    let before = world.observe().claims;
    world.unlabel_claim("a-1");
    assert_eq!(settle(&mut world), ["label claim data-a-1"]);
    assert_eq!(world.observe().claims, before);
}

#[test]
fn a_pod_that_is_not_updated_yet_keeps_the_version_that_it_runs() {
    let mut world = World::new(1);
    let version = |world: &mut World, version: &str| {
        let all = metadata(world).labels.get_or_insert_default();
        all.insert(labels::SERVICE_VERSION.to_owned(), version.to_owned());
    };
    version(&mut world, "3.6.1");
    settle(&mut world);
    version(&mut world, "3.6.16");
    world.desired.update.rolling = false;
    world.change_template("etcd:2");
    settle(&mut world);
    let shown = |world: &World| world.observe().pods["a-0"].labels[labels::SERVICE_VERSION].clone();
    assert_eq!(shown(&world), "3.6.1");
    world.desired.update.rolling = true;
    settle(&mut world);
    assert_eq!(shown(&world), "3.6.16");
    assert_eq!(is_whole(&world), Ok(()));
}

#[test]
fn by_the_policy_recreate_labels_come_with_new_pods() {
    let mut world = grown(3);
    let before = world.observe().pods;
    world.desired.recreate = true;
    assert_eq!(
        settle(&mut world),
        Vec::<String>::new(),
        "the policy alone changes nothing"
    );
    set(&mut world, Some("blue"), None);
    settle_until_whole(&mut world);
    for (name, pod) in &world.observe().pods {
        assert_ne!(pod.uid, before[name].uid);
        assert_eq!(pod.labels["team"], "blue");
    }
}

#[test]
fn a_role_of_a_higher_priority_is_updated_later() {
    let mut world = grown(5);
    let role = |name: &str, update_priority| ReplicaRole {
        name: name.to_owned(),
        update_priority,
        ..ReplicaRole::default()
    };
    world.desired.roles = vec![role("early", 1), role("late", 7)];
    for (pod, role) in [
        ("a-1", "early"),
        ("a-2", "late"),
        ("a-3", "early"),
        ("a-4", "late"),
    ] {
        world.label(pod, labels::ROLE, role);
    }
    world.set_leader("a-0");
    world.change_template("etcd:2");
    let mut order = Vec::new();
    for _ in 0..60 {
        let next = plan(&world.desired, &world.observe());
        let gone = next.steps.iter().filter_map(|step| match step {
            Step::DeletePod { name, .. } => Some(name.clone()),
            _ => None,
        });
        order.extend(gone);
        world.take(&next, usize::MAX);
        world.tick();
    }
    assert_eq!(order, ["a-3", "a-1", "a-4", "a-2", "a-0"]);
}

#[test]
fn the_headless_service_loses_what_is_no_longer_wanted() {
    let mut world = grown(1);
    let all = &mut world.desired.service_annotations;
    all.insert("monitor.kubeblocks.io/scrape".to_owned(), "true".to_owned());
    let mut seen = world.observe();
    seen.service = Some(services::build(&world.desired));
    let applies = |world: &World, seen: &Observed| {
        let next = plan(&world.desired, seen);
        next.steps
            .iter()
            .any(|step| matches!(step, Step::ApplyService(_)))
    };
    assert!(!applies(&world, &seen));
    world.desired.service_annotations.clear();
    assert!(applies(&world, &seen), "the exporter is scraped no longer");
    seen.service = Some(services::build(&world.desired));
    set(&mut world, Some("blue"), None);
    assert!(applies(&world, &seen), "labels are the services' too");
}
