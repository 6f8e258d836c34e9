//! A type reads what its schema admits: whole objects are made from the schema of each kind, with values from its
//! borders.
//!
//! Admission rules are not evaluated: objects that only a rule refuses must be read too.

use etcd_operator_api::{
    Backup, BackupPolicy, BackupRepo, BackupSchedule, Cluster, Component, ComponentDefinition,
    ComponentVersion, InstanceSet, OpsRequest,
};
use kube::CustomResourceExt;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Any value that the schema takes.
fn any_of(schema: &Value) -> BoxedStrategy<Value> {
    let value = not_null(schema);
    if schema["nullable"] == true {
        return prop_oneof![3 => value, 1 => Just(Value::Null)].boxed();
    }
    value
}

fn not_null(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(words) = schema["enum"].as_array() {
        return select(words.clone()).boxed();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return prop_oneof![integer(schema), string(schema)].boxed();
    }
    match schema["type"].as_str() {
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        Some("integer") => integer(schema),
        Some("number") => prop_oneof![integer(schema), Just(json!(0.5))].boxed(),
        Some("string") => string(schema),
        Some("array") => {
            let most = schema["maxItems"].as_u64().unwrap_or(3).min(3) as usize;
            let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
            let items = prop::collection::vec(any_of(&schema["items"]), least..=most.max(least));
            items.prop_map(Value::from).boxed()
        }
        Some("object") => object(schema),
        other => panic!("a schema of type {other:?}: {schema}"),
    }
}

/// The ends of what the schema takes, as the API server reads it: a format bounds as minimum and maximum do.
fn integer(schema: &Value) -> BoxedStrategy<Value> {
    let (least, most) = match schema["format"].as_str() {
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        None | Some("int64") => (i64::MIN, i64::MAX),
        other => panic!("a format without known bounds: {other:?}"),
    };
    let bound =
        |name: &str, otherwise: i64| schema[name].as_f64().map_or(otherwise, |it| it as i64);
    let (least, most) = (
        least.max(bound("minimum", least)),
        most.min(bound("maximum", most)),
    );
    select(vec![
        least,
        most,
        0.clamp(least, most),
        7.clamp(least, most),
    ])
    .prop_map(Value::from)
    .boxed()
}

fn string(schema: &Value) -> BoxedStrategy<Value> {
    if schema["format"] == "date-time" {
        return select(vec![
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.123456+02:00",
        ])
        .prop_map(Value::from)
        .boxed();
    }
    let Some(pattern) = schema["pattern"].as_str() else {
        return select(vec!["", "x", "\u{10ffff}\"\\\u{0}"])
            .prop_map(Value::from)
            .boxed();
    };
    // Only the whole is a language of its own: the anchors of an alternative are those of the value.
    let whole = pattern.replace(['^', '$'], "");
    let made =
        prop::string::string_regex(&whole).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    made.prop_map(Value::from).boxed()
}

fn object(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(values) = schema
        .get("additionalProperties")
        .filter(|values| values.is_object())
    {
        let entries = prop::collection::btree_map("[a-z]{1,8}", any_of(values), 0..3);
        return entries
            .prop_map(|entries| Value::Object(entries.into_iter().collect()))
            .boxed();
    }
    let Some(properties) = schema["properties"].as_object() else {
        let open = vec![
            json!({}),
            json!({ "a": [1, { "b": null }], "c": 1e300, "d": u64::MAX }),
        ];
        return select(open).boxed();
    };
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let fields = properties.iter().map(|(name, schema)| {
        let value = any_of(schema);
        let value = match required.contains(&name.as_str()) {
            true => value.prop_map(Some).boxed(),
            false => prop::option::of(value).boxed(),
        };
        let name = name.clone();
        value.prop_map(move |value| Some((name.clone(), value?)))
    });
    let fields: Vec<_> = fields.collect();
    fields
        .prop_map(|fields| Value::Object(fields.into_iter().flatten().collect::<Map<_, _>>()))
        .boxed()
}

fn reads_what_it_admits<K: CustomResourceExt + DeserializeOwned>() {
    let crd = serde_json::to_value(K::crd()).expect("a definition is JSON");
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut runner = TestRunner::new(Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    });
    let found = runner.run(&any_of(schema), |mut object| {
        object["metadata"] = json!({ "name": "x" });
        let read = serde_json::from_str::<K>(&object.to_string());
        prop_assert!(read.is_ok(), "{}: {:?}", K::crd_name(), read.err());
        Ok(())
    });
    if let Err(error) = found {
        panic!("{error}");
    }
}

#[test]
fn a_cluster_that_is_admitted_is_read() {
    reads_what_it_admits::<Cluster>();
}

#[test]
fn a_component_that_is_admitted_is_read() {
    reads_what_it_admits::<Component>();
}

#[test]
fn an_instance_set_that_is_admitted_is_read() {
    reads_what_it_admits::<InstanceSet>();
}

#[test]
fn a_definition_or_version_that_is_admitted_is_read() {
    reads_what_it_admits::<ComponentDefinition>();
    reads_what_it_admits::<ComponentVersion>();
}

#[test]
fn a_request_that_is_admitted_is_read() {
    reads_what_it_admits::<OpsRequest>();
}

#[test]
fn a_backup_its_policy_and_repository_that_are_admitted_are_read() {
    reads_what_it_admits::<Backup>();
    reads_what_it_admits::<BackupPolicy>();
    reads_what_it_admits::<BackupRepo>();
    reads_what_it_admits::<BackupSchedule>();
}
