//! Every field of what users write has an effect or is refused: each leaf of the schema is changed within the schema,
//! and the planners are asked what comes of it. The idea is Acto's (Gu et al., SOSP 2023).
//!
//! What a field does to an InstanceSet counts as far as its planner reads it ([`Desired`]). Admission rules are not
//! evaluated, but for those that refuse a field as a whole.

use std::collections::BTreeSet;

use etcd_operator_api::{Cluster, Component, ComponentDefinition, InstanceSet, OpsRequest};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::definition::check_definition;
use crate::instanceset::desired::Desired;
use crate::{cluster, component};

mod definition;
mod ops_request;

/// Fields of a Cluster of which nothing comes yet, and why.
const SILENT_IN_CLUSTER: &[(&str, &str)] = &[(
    "componentSpecs[].instanceUpdateStrategy.rollingUpdate.maxUnavailable",
    SERIAL,
)];

/// Fields of an InstanceSet of which nothing comes yet, and why.
const SILENT_IN_INSTANCE_SET: &[(&str, &str)] = &[
    (
        "instanceUpdateStrategy.rollingUpdate.maxUnavailable",
        SERIAL,
    ),
    ("lifecycleActions.memberJoin.http.path", ONE_VALUE),
    ("lifecycleActions.memberJoin.http.port", ONE_VALUE),
    ("lifecycleActions.memberLeave.http.path", ONE_VALUE),
    ("lifecycleActions.memberLeave.http.port", ONE_VALUE),
    ("lifecycleActions.roleProbe.http.path", ONE_VALUE),
    ("lifecycleActions.roleProbe.http.port", ONE_VALUE),
    ("lifecycleActions.switchover.http.path", ONE_VALUE),
    ("lifecycleActions.switchover.http.port", ONE_VALUE),
    ("lifecycleActions.roleProbe.periodSeconds", PROBE),
    ("lifecycleActions.roleProbe.timeoutSeconds", PROBE),
    ("membershipReconfiguration.switchover.http.path", TWICE),
    ("membershipReconfiguration.switchover.http.port", TWICE),
    ("membershipReconfiguration.switchover.timeoutSeconds", TWICE),
];

const SERIAL: &str =
    "the shipped definition says Serial, one at a time, which no bound widens; 0 is refused";
const ONE_VALUE: &str = "a rule lets the one value through that the agent answers to";
const PROBE: &str = "the role path reads it from the pods' annotation, which the Component writes";
const TWICE: &str = "KubeBlocks' place for what lifecycleActions.switchover says, which counts";

const CLUSTER: &str = r#"
metadata: {name: ledger, namespace: books, uid: u-1}
spec:
  terminationPolicy: Delete
  componentSpecs:
  - name: store
    componentDef: etcd
    serviceVersion: 3.6.1
    replicas: 3
    env: [{name: GOGC, value: "50"}]
    persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain}
    services: [{name: default}]
    configs: [{name: etcd, variables: {log-level: info}}]
    volumeClaimTemplates:
    - name: data
      spec: {storageClassName: local, resources: {requests: {storage: 20Gi}}}
  services:
  - name: outside
    roleSelector: leader
    componentSelector: store
    spec: {type: NodePort, ports: [{port: 2379}]}
"#;

/// Values that mean something, for fields whose type does not tell which do.
const MEANINGFUL: &[(&str, &str)] = &[
    ("offlineInstances", r#"["ledger-store-1"]"#),
    ("componentSpecs[].offlineInstances", r#"["ledger-store-1"]"#),
    ("roles[].name", r#""other""#),
];

/// A leaf of a schema.
struct Leaf {
    /// Names from the top; `[]` is the first entry of a list.
    path: Vec<String>,
    schema: Value,
    /// True when a rule refuses it, or what it is part of, as a whole.
    refused: bool,
    /// Words that a rule refuses.
    refused_words: Vec<String>,
}

impl Leaf {
    fn name(&self) -> String {
        self.path.join(".").replace(".[]", "[]")
    }
}

fn leaves_of<K: CustomResourceExt>() -> Vec<Leaf> {
    let crd = serde_json::to_value(K::crd()).expect("a definition is JSON");
    let spec =
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone();
    let mut found = Vec::new();
    collect(&spec, &[], false, &[], &mut found);
    found
}

fn collect(
    schema: &Value,
    path: &[String],
    refused: bool,
    refused_words: &[String],
    found: &mut Vec<Leaf>,
) {
    let below = |name: &str| [path, &[name.to_owned()]].concat();
    if let Some(properties) = schema["properties"].as_object() {
        let rules = schema["x-kubernetes-validations"].as_array();
        let messages = || {
            let rules = rules.into_iter().flatten();
            rules.filter_map(|rule| rule["message"].as_str())
        };
        let refusals: BTreeSet<&str> = messages()
            .filter_map(|text| text.split_once(" is not supported yet: leave it out"))
            .map(|(name, _)| name)
            .collect();
        for (name, schema) in properties {
            let refused = refused || refusals.contains(name.as_str());
            // As in: podUpdatePolicy: StrictInPlace is not supported.
            let words = messages().filter_map(|text| {
                let (word, _) = text
                    .strip_prefix(&format!("{name}: "))?
                    .split_once(" is not supported")?;
                Some(word.to_owned())
            });
            collect(
                schema,
                &below(name),
                refused,
                &words.collect::<Vec<_>>(),
                found,
            );
        }
    } else if schema["items"]["properties"].is_object() {
        collect(&schema["items"], &below("[]"), refused, &[], found);
    } else {
        found.push(Leaf {
            path: path.to_vec(),
            schema: schema.clone(),
            refused,
            refused_words: refused_words.to_vec(),
        });
    }
}

/// Values that the schema takes.
fn values(leaf: &Leaf) -> Vec<Value> {
    let (schema, name) = (&leaf.schema, leaf.name());
    if let Some((_, value)) = MEANINGFUL.iter().find(|(field, _)| *field == name) {
        return vec![serde_json::from_str(value).expect("a value")];
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.clone();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return vec![json!(1), json!("50%")];
    }
    match schema["type"].as_str() {
        Some("boolean") => vec![json!(true), json!(false)],
        Some("integer" | "number") => vec![json!(1), json!(5), json!(7)],
        Some("array") if schema["items"]["type"] == "string" => vec![json!(["mutated"])],
        Some("array") => vec![json!([{ "mutated": true }])],
        Some("object") if schema["additionalProperties"]["type"] == "string" => {
            vec![json!({ "mutated": "yes" })]
        }
        Some("object") if schema["additionalProperties"].is_object() => {
            vec![json!({ "cpu": "3", "storage": "30Gi" })]
        }
        Some("object") => vec![json!({ "mutated": true })],
        _ => vec![json!("mutated")],
    }
}

fn put(into: &mut Value, path: &[String], value: Value) {
    match path.split_first() {
        None => *into = value,
        Some((name, rest)) if name == "[]" => {
            if !into.is_array() {
                *into = json!([{}]);
            }
            put(&mut into[0], rest, value);
        }
        Some((name, rest)) => {
            if into.is_null() {
                *into = json!({});
            }
            put(&mut into[name.as_str()], rest, value);
        }
    }
}

/// Names of the leaves that can be changed without an effect and without a refusal: in every way, or to one of their
/// words as to another, which is named then.
fn silent<T: PartialEq>(
    leaves: &[Leaf],
    base: &Value,
    becomes: impl Fn(&Value) -> Result<T, String>,
) -> BTreeSet<String> {
    let before = becomes(base).unwrap_or_else(|error| panic!("the base is refused: {error}"));
    let mut silent = BTreeSet::new();
    for leaf in leaves.iter().filter(|leaf| !leaf.refused) {
        let mut same = values(leaf);
        same.retain(|value| {
            let mut object = base.clone();
            put(&mut object["spec"], &leaf.path, value.clone());
            let word = value
                .as_str()
                .is_some_and(|word| leaf.refused_words.iter().any(|w| w == word));
            !word && becomes(&object).is_ok_and(|after| after == before)
        });
        if same.len() == values(leaf).len() {
            silent.insert(leaf.name());
        } else if leaf.schema["enum"].is_array() && same.len() > 1 {
            // One of them is what the base says, or what is meant when it says nothing.
            silent.extend(same.iter().map(|word| format!("{}={word}", leaf.name())));
        }
    }
    silent
}

fn read(its: &InstanceSet) -> Result<Desired, String> {
    let read = Desired::read(its, "cluster.local");
    let mut desired = read.map_err(|error| error.to_string())?;
    desired.generation = None;
    Ok(desired)
}

/// What runs, for edits of it.
fn running(base: &Value) -> (Vec<Component>, Vec<InstanceSet>) {
    let cluster: Cluster = serde_json::from_value(base.clone()).expect("a Cluster");
    let (components, _) = cluster::tests::objects::of(&cluster, &[]).expect("a plan");
    let sets = components.iter().map(|component| {
        let (its, _) = component::tests::objects::of(component, None).expect("a plan");
        its
    });
    let sets = sets.collect();
    (components, sets)
}

fn compare(found: &BTreeSet<String>, known: &[(&str, &str)], kind: &str) {
    let known: BTreeSet<String> = known.iter().map(|(field, _)| (*field).to_owned()).collect();
    let new: Vec<_> = found.difference(&known).collect();
    assert!(
        new.is_empty(),
        "fields of {kind} that are neither refused nor have an effect: {new:#?}"
    );
    let mended: Vec<_> = known.difference(found).collect();
    assert!(
        mended.is_empty(),
        "take these off the list of {kind}: {mended:#?}"
    );
}

#[test]
fn every_field_of_a_cluster_has_an_effect_or_is_refused() {
    let base: Value = serde_saphyr::from_str(CLUSTER).expect("YAML");
    let (components, sets) = running(&base);
    let becomes = |object: &Value| -> Result<_, String> {
        let cluster: Cluster =
            serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
        let (planned, services) = cluster::tests::objects::of(&cluster, &components)?;
        let mut objects = vec![services];
        let mut wishes = Vec::new();
        for (component, its) in planned.iter().zip(&sets) {
            let (its, others) = component::tests::objects::of(component, Some(its))?;
            objects.push(others);
            // What is only looked at when it is deleted.
            objects.push(json!(component.spec.termination_policy));
            wishes.push(read(&its)?);
        }
        Ok((objects, wishes))
    };
    let leaves = leaves_of::<Cluster>();
    assert!(leaves.len() > 60, "{} leaves", leaves.len());
    compare(
        &silent(&leaves, &base, becomes),
        SILENT_IN_CLUSTER,
        "a Cluster",
    );
}

/// Fields of a Cluster that cannot go back without a word, and why.
const STAYS: &[(&str, &str)] = &[];

#[test]
fn an_edit_that_goes_back_leaves_nothing_or_is_refused() {
    let base: Value = serde_saphyr::from_str(CLUSTER).expect("YAML");
    let (components, sets) = running(&base);
    let planned = |object: &Value, components: &[Component], sets: &[InstanceSet]| {
        let cluster: Cluster =
            serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
        let (components, services) = cluster::tests::objects::of(&cluster, components)?;
        let mut built = Vec::new();
        for (at, component) in components.iter().enumerate() {
            built.push(component::tests::objects::of(component, sets.get(at))?);
        }
        Ok::<_, String>((components, services, built))
    };
    let before = planned(&base, &components, &sets).expect("the base");
    let mut stays = BTreeSet::new();
    let mut went_back = 0;
    for leaf in leaves_of::<Cluster>().iter().filter(|leaf| !leaf.refused) {
        for value in values(leaf) {
            let mut object = base.clone();
            put(&mut object["spec"], &leaf.path, value);
            let Ok((components, _, built)) = planned(&object, &components, &sets) else {
                continue;
            };
            let sets: Vec<_> = built.into_iter().map(|(its, _)| its).collect();
            match planned(&base, &components, &sets) {
                Ok(back) if back == before => went_back += 1,
                Ok(_) => drop(stays.insert(leaf.name())),
                Err(refused) => assert!(refused.contains("spec"), "{}: {refused}", leaf.name()),
            }
        }
    }
    assert!(went_back > 60, "{went_back} edits went back");
    compare(&stays, STAYS, "a Cluster that went back");
}

#[test]
fn every_field_of_an_instance_set_has_an_effect_or_is_refused() {
    let base: Value = serde_saphyr::from_str(CLUSTER).expect("YAML");
    let (_, sets) = running(&base);
    let base = serde_json::to_value(&sets[0]).expect("JSON");
    let becomes = |object: &Value| -> Result<_, String> {
        let its = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
        read(&its)
    };
    let leaves = leaves_of::<InstanceSet>();
    assert!(leaves.len() > 40, "{} leaves", leaves.len());
    let found = silent(&leaves, &base, becomes);
    compare(&found, SILENT_IN_INSTANCE_SET, "an InstanceSet");
}

#[test]
fn a_field_without_effect_is_found() {
    let leaves = leaves_of::<InstanceSet>();
    let found = silent(&leaves, &json!({ "spec": {} }), |_| Ok(()));
    assert!(found.contains("roles[].updatePriority"), "{found:?}");
    assert!(!found.contains("instances"), "a rule refuses it");
}
