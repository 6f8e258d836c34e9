//! Members that move to another storage class, or cannot.

use etcd_operator_api::instance_set::VolumeStatus;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::*;

/// A component whose claims name a class, if any, and ask for a size.
fn of(class: &str, size: &str, replicas: i32) -> Component {
    let mut component = component();
    component.spec.replicas = replicas;
    let claim = &mut component.spec.volume_claim_templates[0].spec;
    claim.storage_class_name = Some(class.to_owned());
    let size = Quantity(size.to_owned());
    claim.resources.requests.insert("storage".into(), size);
    component
}

/// A cluster that was made of `spec`, with claims of these classes and sizes; of the classes that there are, `local` is
/// the default one, and `fast` lets no volume grow.
fn running(spec: &Component, claims: &[(&str, &str)]) -> Observed {
    let mut observed = shipped();
    let more = ["slow", "fast"].map(|name| {
        let mut class = observed.storage_classes[0].clone();
        class.metadata.name = Some(name.to_owned());
        class.metadata.annotations = None;
        class.allow_volume_expansion = Some(name == "slow");
        class
    });
    observed.storage_classes.extend(more);
    let mut its = plan(spec, &observed, "cluster.local")
        .expect("a plan")
        .instance_set;
    its.metadata.generation = Some(1);
    let volume = |(at, (class, size)): (usize, &(&str, &str))| VolumeStatus {
        name: "data".to_owned(),
        pod_name: format!("ledger-store-{at}"),
        storage_class_name: Some((*class).to_owned()),
        requested: Some((*size).to_owned()),
        capacity: Some((*size).to_owned()),
        file_system_bytes: None,
    };
    let status = its.status.get_or_insert_default();
    status.cluster_id = Some("7".to_owned());
    status.volumes = claims.iter().enumerate().map(volume).collect();
    observed.instance_set = Some(its);
    observed
}

/// From a spec, with these claims, to another one: what it is refused with, if it is.
type Row = (
    Component,
    &'static [(&'static str, &'static str)],
    Component,
    Option<&'static str>,
);

const SLOW: &[(&str, &str)] = &[("slow", "20Gi"); 3];
const MIXED: &[(&str, &str)] = &[("slow", "20Gi"), ("slow", "20Gi"), ("fast", "30Gi")];

const FIRST: &[(&str, &str)] = &[("fast", "20Gi"), ("slow", "20Gi"), ("slow", "20Gi")];
const BARE: &[(&str, &str)] = &[("", "20Gi"); 3];

fn rows() -> Vec<Row> {
    let slow = || of("slow", "20Gi", 3);
    let one: &[(&str, &str)] = &[("slow", "20Gi")];
    vec![
        (slow(), SLOW, of("fast", "20Gi", 3), None),
        (
            slow(),
            SLOW,
            of("lost", "20Gi", 3),
            Some("\"lost\" does not exist; available: local, slow, fast"),
        ),
        // A class that is the default one moves no one, unless it is named.
        (slow(), SLOW, of("", "20Gi", 3), Some("name \"slow\"")),
        (of("", "20Gi", 3), SLOW, of("", "20Gi", 3), None),
        (of("", "20Gi", 3), SLOW, of("local", "20Gi", 3), None),
        (
            of("slow", "20Gi", 1),
            one,
            of("fast", "20Gi", 1),
            Some("set replicas to 3 first"),
        ),
        // Three at once: the new ones come first.
        (of("slow", "20Gi", 1), one, of("fast", "20Gi", 3), None),
        // It is there already.
        (of("", "20Gi", 1), one, of("slow", "20Gi", 1), None),
        // New claims are of the new size, whatever their class lets grow.
        (slow(), SLOW, of("fast", "30Gi", 3), None),
        (
            slow(),
            SLOW,
            of("fast", "10Gi", 3),
            Some("cannot shrink to \"10Gi\""),
        ),
        (of("fast", "30Gi", 3), SLOW, of("fast", "40Gi", 3), None),
        (
            of("fast", "30Gi", 3),
            MIXED,
            of("fast", "40Gi", 3),
            Some("\"fast\" does not have allowVolumeExpansion"),
        ),
        (
            of("fast", "30Gi", 3),
            MIXED,
            of("fast", "20Gi", 3),
            Some("claims have \"30Gi\""),
        ),
        // Back again, with or without the size.
        (of("fast", "30Gi", 3), MIXED, of("slow", "30Gi", 3), None),
        (of("fast", "30Gi", 3), MIXED, slow(), None),
        (
            of("fast", "30Gi", 3),
            MIXED,
            of("slow", "10Gi", 3),
            Some("claims have \"20Gi\""),
        ),
    ]
}

/// Other numbers of members, while members move.
fn scaled() -> Vec<Row> {
    let fast = |replicas| of("fast", "20Gi", replicas);
    let one: &[(&str, &str)] = &[("slow", "20Gi")];
    vec![
        (
            fast(3),
            SLOW,
            fast(1),
            Some(
                "replicas cannot go to 1 before ledger-store-0 has moved to storage class \"fast\"",
            ),
        ),
        (
            fast(3),
            SLOW,
            fast(1),
            Some("[data].spec.storageClassName back to \"slow\""),
        ),
        (fast(3), BARE, fast(1), Some("wait for that")),
        // The one that stays has moved, or need not.
        (fast(3), FIRST, fast(1), None),
        (of("fast", "30Gi", 3), MIXED, of("slow", "30Gi", 1), None),
        // Enough are left.
        (fast(3), SLOW, fast(5), None),
        (fast(5), SLOW, fast(3), None),
        // What an earlier release let through is told by the planner, and can be set right.
        (fast(1), one, fast(1), None),
        (fast(1), one, of("slow", "20Gi", 1), None),
        (fast(1), one, fast(3), None),
    ]
}

#[test]
fn members_move_to_a_class_that_is_named_and_there() {
    for (before, claims, after, refused) in rows().into_iter().chain(scaled()) {
        let claim = &after.spec.volume_claim_templates[0].spec;
        let (class, size) = (claim.class(), &claim.resources.requests["storage"].0);
        let told = plan(&after, &running(&before, claims), "cluster.local");
        match (told, refused) {
            (Ok(plan), None) => {
                let set = &plan.instance_set.spec.volume_claim_templates[0].spec;
                assert_eq!(set.class(), class);
                assert_eq!(&set.resources.requests["storage"].0, size);
            }
            (Err(told), Some(word)) if told.to_string().contains(word) => {}
            (told, _) => {
                let told = told.map(|_| ()).map_err(|told| told.to_string());
                panic!("{claims:?} to {class:?} of {size}: {told:?}");
            }
        }
    }
}

#[test]
fn a_mistyped_class_can_be_taken_out_before_there_are_members() {
    let text = refused(&of("lcoal", "20Gi", 3), &shipped());
    assert!(text.contains("\"lcoal\" does not exist"), "{text}");
    for class in ["", "local"] {
        assert!(plan(&of(class, "20Gi", 3), &shipped(), "cluster.local").is_ok());
    }
}

#[test]
fn a_class_that_goes_while_members_move_is_told_and_one_that_is_not_needed_is_not() {
    let fast = of("fast", "20Gi", 3);
    for (claims, needed) in [(SLOW, true), (&[("fast", "20Gi"); 3], false)] {
        let mut observed = running(&fast, claims);
        let gone = |class: &StorageClass| class.name_any() != "fast";
        observed.storage_classes.retain(gone);
        let told = plan(&fast, &observed, "cluster.local");
        assert_eq!(told.is_err(), needed, "{claims:?}");
    }
}

#[test]
fn a_cluster_that_has_not_formed_keeps_its_class() {
    let mut observed = running(&of("slow", "20Gi", 3), SLOW);
    let its = observed.instance_set.as_mut().expect("an InstanceSet");
    its.status.get_or_insert_default().cluster_id = None;
    let text = refused(&of("fast", "20Gi", 3), &observed);
    assert!(text.contains("before the cluster has formed"), "{text}");
}

#[test]
fn a_component_is_updating_until_all_members_have_moved() {
    let fast = of("fast", "20Gi", 3);
    let phase = |claims: &[(&str, &str)]| {
        let mut its = running(&fast, claims).instance_set.expect("a set");
        its.spec.roles.clear();
        let seen = its.status.get_or_insert_default();
        seen.observed_generation = Some(1);
        (seen.replicas, seen.ready_replicas, seen.updated_replicas) = (3, 3, 3);
        let mut component = fast.clone();
        component.status.get_or_insert_default().phase = Some(ComponentPhase::Running);
        let secured = Secured::default();
        let told = status(&component, Some(&its), &Outcome::Applied, &secured, &at(1));
        told.phase.expect("a phase")
    };
    assert_eq!(phase(&[("fast", "20Gi"); 3]), ComponentPhase::Running);
    assert_eq!(phase(MIXED), ComponentPhase::Updating);
}
