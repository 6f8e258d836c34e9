//! Requests: each field of each type is changed in a request of that type.

use serde_json::Value;

use super::*;
use crate::operations::tests::lives;

/// Fields of an OpsRequest of which nothing comes yet, and why.
const SILENT: &[(&str, &str)] = &[(
    "rebuildFrom[].inPlace",
    "a rule lets no value through but true",
)];

/// A request for the field that heads a leaf, so that what is changed means something.
fn base(leaf: &Leaf) -> Value {
    let spec = match leaf.path[0].as_str() {
        "restart" => "{type: Restart, restart: [{componentName: etcd}]}",
        "stop" => "{type: Stop, stop: [{componentName: etcd}]}",
        "start" => "{type: Start, start: [{componentName: etcd}]}",
        "horizontalScaling" if leaf.path.contains(&"scaleIn".to_owned()) => {
            "{type: HorizontalScaling, horizontalScaling: [{componentName: etcd, scaleIn: {replicaChanges: 2}}]}"
        }
        "verticalScaling" => {
            "{type: VerticalScaling, verticalScaling: [{componentName: etcd, limits: {cpu: '2'}}]}"
        }
        "switchover" => {
            "{type: Switchover, switchover: [{componentName: etcd, instanceName: db-etcd-0}]}"
        }
        "upgrade" => {
            "{type: Upgrade, upgrade: {components: [{componentName: etcd, serviceVersion: 3.6.16}]}}"
        }
        "reconfigures" => {
            "{type: Reconfiguring, reconfigures: [{componentName: etcd, parameters: [{key: metrics, value: basic}]}]}"
        }
        "expose" => {
            "{type: Expose, expose: [{componentName: etcd, switch: Enable, services: [{name: outside}]}]}"
        }
        "rebuildFrom" => {
            "{type: RebuildInstance, force: true, rebuildFrom: [{componentName: etcd, inPlace: true, instances: [{name: db-etcd-1}]}]}"
        }
        "recoverQuorum" => {
            "{type: RecoverQuorum, recoverQuorum: [{componentName: etcd, acceptDataLoss: true}]}"
        }
        "volumeExpansion" => {
            "{type: VolumeExpansion, volumeExpansion: [{componentName: etcd, volumeClaimTemplates: [{name: data, storage: 30Gi}]}]}"
        }
        "custom" => {
            "{type: Custom, custom: {opsDefinitionName: etcd-defragmentation, components: [{componentName: etcd, parameters: [{name: instances, value: db-etcd-1}]}]}}"
        }
        // It takes a part of `force` back.
        "enqueueOnForce" => {
            "{type: HorizontalScaling, force: true, horizontalScaling: [{componentName: etcd, scaleOut: {replicaChanges: 2}}]}"
        }
        _ => {
            "{type: HorizontalScaling, horizontalScaling: [{componentName: etcd, scaleOut: {replicaChanges: 2}}]}"
        }
    };
    let mut spec: Value = serde_saphyr::from_str(spec).expect("a spec");
    spec["clusterName"] = json!("db");
    json!({ "spec": spec })
}

#[test]
fn every_field_of_a_request_has_an_effect_or_is_refused() {
    let leaves = leaves_of::<OpsRequest>();
    assert!(leaves.len() > 50, "{} leaves", leaves.len());
    let becomes = |object: &Value| lives::of(&object["spec"]);
    let found = leaves.iter().flat_map(|leaf| {
        let base = base(leaf);
        silent(std::slice::from_ref(leaf), &base, becomes)
    });
    compare(&found.collect(), SILENT, "an OpsRequest");
}
