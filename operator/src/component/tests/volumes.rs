//! Volumes that grow, or cannot.

use std::collections::BTreeMap;

use etcd_operator_api::Component;
use etcd_operator_api::instance_set::VolumeStatus;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::*;
use crate::instanceset::observed::{self as instance_set, ClaimSeen, Reading, Size};
use crate::instanceset::plan::volumes::status as status_of_volumes;

fn sized(size: &str) -> Component {
    let mut component = component();
    let claim = &mut component.spec.volume_claim_templates[0].spec;
    let size = Quantity(size.to_owned());
    claim.resources.requests.insert("storage".into(), size);
    component
}

/// Members whose claims ask for so much and have so much, in a cluster whose default class can grow volumes, or cannot.
fn running(spec: &str, asked: &[&str], has: &str, can: Option<bool>) -> Observed {
    let mut observed = shipped();
    let mut its = planned(&sized(spec)).instance_set;
    let volume = |(at, asked): (usize, &&str)| VolumeStatus {
        name: "data".to_owned(),
        pod_name: format!("three-etcd-{at}"),
        storage_class_name: Some("local".to_owned()),
        requested: Some((*asked).to_owned()),
        capacity: Some(has.to_owned()),
        file_system_bytes: None,
    };
    its.status.get_or_insert_default().volumes = asked.iter().enumerate().map(volume).collect();
    observed.instance_set = Some(its);
    let grows = |class: &mut StorageClass| class.allow_volume_expansion = can;
    observed.storage_classes.iter_mut().for_each(grows);
    observed
}

#[test]
fn claims_grow_where_their_class_can_and_never_shrink() {
    let can = running("20Gi", &["20Gi"; 3], "20Gi", Some(true));
    let grown = plan(&sized("30Gi"), &can, "cluster.local").expect("a plan");
    let template = &grown.instance_set.spec.volume_claim_templates[0];
    assert_eq!(template.spec.resources.requests["storage"].0, "30Gi");
    for cannot in [Some(false), None] {
        let observed = running("20Gi", &["20Gi"; 3], "20Gi", cannot);
        let text = refused(&sized("30Gi"), &observed);
        assert!(
            text.contains("does not have allowVolumeExpansion"),
            "{text}"
        );
        // What it has needs no class that can.
        assert!(plan(&sized("20Gi"), &observed, "cluster.local").is_ok());
    }
    let text = refused(&sized("19Gi"), &can);
    assert!(text.contains("claims have \"20Gi\""), "{text}");
    let mut gone = running("20Gi", &["20Gi"; 3], "20Gi", Some(true));
    gone.storage_classes.clear();
    let text = refused(&sized("30Gi"), &gone);
    assert!(text.contains("does not exist"), "{text}");
}

#[test]
fn a_size_that_no_claim_asked_for_yet_can_be_taken_back() {
    let stuck = running("30Gi", &["20Gi"; 3], "20Gi", None);
    assert!(plan(&sized("20Gi"), &stuck, "cluster.local").is_ok());
}

#[test]
fn a_size_that_no_volume_has_yet_can_be_taken_back() {
    let typo = running("30Ti", &["30Ti", "20Gi", "20Gi"], "20Gi", Some(true));
    for back in ["20Gi", "25Gi"] {
        let planned = plan(&sized(back), &typo, "cluster.local").expect("a plan");
        let template = &planned.instance_set.spec.volume_claim_templates[0];
        assert_eq!(template.spec.resources.requests["storage"].0, back);
    }
    let text = refused(&sized("19Gi"), &typo);
    assert!(text.contains("claims have \"20Gi\""), "{text}");
    let grown = running("30Gi", &["30Gi", "20Gi", "20Gi"], "30Gi", Some(true));
    let text = refused(&sized("25Gi"), &grown);
    assert!(text.contains("claims have \"30Gi\""), "{text}");
    assert!(plan(&sized("30Gi"), &grown, "cluster.local").is_ok());
}

/// A claim whose volume is never made: of a member that was added, and of one that is to form the cluster.
#[test]
fn a_new_member_s_claim_without_a_volume_holds_no_size() {
    let mut typo = running("30Ti", &["30Ti", "20Gi", "30Ti"], "20Gi", Some(true));
    let its = typo.instance_set.as_mut().expect("an InstanceSet");
    let status = its.status.get_or_insert_default();
    status.volumes[2].capacity = None;
    status.cluster_id = Some("7".to_owned());
    assert!(plan(&sized("20Gi"), &typo, "cluster.local").is_ok());
    let its = typo.instance_set.as_mut().expect("an InstanceSet");
    its.status.get_or_insert_default().cluster_id = None;
    let text = refused(&sized("20Gi"), &typo);
    assert!(text.contains("claims have \"30Ti\""), "{text}");
}

#[test]
fn etcds_quota_follows_when_the_volumes_have_grown_and_not_before() {
    let quota = |observed: &Observed| {
        let planned = plan(&sized("30Gi"), observed, "cluster.local").expect("a plan");
        let (_, pod) = pod(&planned);
        let args = pod.containers.iter().flat_map(|c| c.args.iter().flatten());
        let found = args.filter_map(|arg| arg.strip_prefix("--quota-backend-bytes="));
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    let small = running("30Gi", &["30Gi"; 3], "1Gi", Some(true));
    assert_eq!(quota(&small), ["536870912"]);
    let large = running("30Gi", &["30Gi"; 3], "30Gi", Some(true));
    assert_eq!(quota(&large), ["2147483648"]);
}

#[test]
fn a_larger_quota_waits_until_every_volume_holds_it() {
    let mut asks = sized("30Gi");
    let setting = ("quota-backend-bytes".to_owned(), "4294967296".to_owned());
    asks.spec.configs = vec![ComponentConfig {
        name: "etcd".into(),
        variables: [setting].into(),
        ..ComponentConfig::default()
    }];
    let quota = |observed: &Observed| {
        let planned = plan(&asks, observed, "cluster.local").expect("a plan");
        let (_, pod) = pod(&planned);
        let args = pod.containers.iter().flat_map(|c| c.args.iter().flatten());
        let found = args.filter_map(|arg| arg.strip_prefix("--quota-backend-bytes="));
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut small = running("30Gi", &["30Gi"; 3], "3Gi", Some(true));
    assert_eq!(quota(&small), ["2147483648"]);
    let large = running("30Gi", &["30Gi"; 3], "30Gi", Some(true));
    assert_eq!(quota(&large), ["4294967296"]);
    // An etcd that has it already keeps it: nothing is restarted.
    let has = planned(&asks).instance_set.spec.template;
    let its = small.instance_set.as_mut().expect("an InstanceSet");
    its.spec.template = has;
    assert_eq!(quota(&small), ["4294967296"]);
}

/// What the planner keeps on record of claims of this size while members are stopped or run, and the quota by it.
fn quota_of(stop: bool) -> Vec<String> {
    let mut observed = running("30Gi", &["30Gi"; 3], "1Gi", Some(true));
    let its = observed.instance_set.as_mut().expect("an InstanceSet");
    let pods = ["ledger-store-0", "ledger-store-1", "ledger-store-2"];
    let status = its.status.get_or_insert_default();
    for (volume, pod) in status.volumes.iter_mut().zip(pods) {
        volume.pod_name = pod.to_owned();
    }
    its.spec.stop = stop;
    let desired = Desired::read(its, "cluster.local").expect("it is read");
    let claim = || ClaimSeen {
        uid: "1".to_owned(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        terminating: false,
        lost: None,
        owned: true,
        bound: true,
        class: Some("local".to_owned()),
        class_in_spec: Some("local".to_owned()),
        size: Size {
            requested: Some(Quantity("30Gi".to_owned())),
            capacity: Some(Quantity("1Gi".to_owned())),
            told: String::new(),
        },
    };
    let seen = instance_set::Observed {
        pods: BTreeMap::new(),
        claims: pods
            .map(|pod| (format!("data-{pod}"), claim()))
            .into_iter()
            .collect(),
        service: None,
        members: Reading::Unknown("no member runs".to_owned()),
        no_node: None,
        tainted: BTreeMap::new(),
        refused_template: None,
        refused_move: None,
        made_class: BTreeMap::new(),
    };
    let volumes = status_of_volumes(&desired, &seen);
    its.status.get_or_insert_default().volumes = volumes;
    let mut component = sized("30Gi");
    component.spec.stop = Some(stop);
    let planned = plan(&component, &observed, "cluster.local").expect("a plan");
    let (_, pod) = pod(&planned);
    let args = pod.containers.iter().flat_map(|c| c.args.iter().flatten());
    let found = args.filter_map(|arg| arg.strip_prefix("--quota-backend-bytes="));
    found.map(str::to_owned).collect()
}

#[test]
fn etcds_quota_is_the_same_stopped_and_running() {
    assert_eq!(quota_of(false), ["536870912"]);
    assert_eq!(quota_of(true), ["536870912"]);
}

#[test]
fn claims_of_running_members_keep_what_they_were_made_with() {
    let its = planned(&component()).instance_set;
    let observed = Observed {
        instance_set: Some(its),
        ..shipped()
    };
    assert!(plan(&component(), &observed, "cluster.local").is_ok());
    let mut smaller = component();
    let requests = &mut smaller.spec.volume_claim_templates[0]
        .spec
        .resources
        .requests;
    requests.insert(
        "storage".into(),
        serde_json::from_str("\"1Gi\"").expect("quantity"),
    );
    let text = refused(&smaller, &observed);
    assert!(text.contains("storage cannot shrink to \"1Gi\""), "{text}");
    let mut same = component();
    let requests = &mut same.spec.volume_claim_templates[0].spec.resources.requests;
    requests.insert(
        "storage".into(),
        serde_json::from_str("\"20480Mi\"").expect("quantity"),
    );
    assert!(plan(&same, &observed, "cluster.local").is_ok());
}
