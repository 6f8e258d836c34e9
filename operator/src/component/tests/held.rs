//! A new release of the operator restarts no cluster by itself, and says what it would change.

use etcd_operator_api::condition::Reason;
use serde_json::{Value, json};

use super::*;

/// An InstanceSet that an operator has made which gave etcd's container no ports and had another volume.
fn of_another_operator() -> InstanceSet {
    let mut its = planned(&component()).instance_set;
    let spec = &mut its.spec.template.0["spec"];
    spec["containers"][1]["ports"] = json!([{ "containerPort": 2379 }]);
    spec["terminationGracePeriodSeconds"] = json!(7);
    its
}

fn replan(component: &Component, live: &InstanceSet, change: impl Fn(&mut Observed)) -> Plan {
    let mut observed = Observed {
        instance_set: Some(live.clone()),
        ..shipped()
    };
    change(&mut observed);
    plan(component, &observed, "cluster.local").expect("plan")
}

fn pods(its: &InstanceSet) -> &Value {
    &its.spec.template.0["spec"]
}

#[test]
fn what_only_the_operator_would_change_is_held_back_and_told() {
    let live = of_another_operator();
    let plan = replan(&component(), &live, |_| {});
    assert_eq!(pods(&plan.instance_set), pods(&live));
    let told = plan.held.expect("told");
    assert!(told.contains("containers[etcd].ports"), "{told}");
    assert!(told.contains("terminationGracePeriodSeconds"), "{told}");
    assert!(told.contains("Restart"), "{told}");
    // What does not touch pods is still applied.
    let mut more = component();
    more.spec.replicas = 5;
    more.spec.labels.insert("team".into(), "a".into());
    let plan = replan(&more, &live, |_| {});
    assert_eq!(plan.instance_set.spec.replicas, 5);
    assert_eq!(pods(&plan.instance_set), pods(&live));
    let metadata = &plan.instance_set.spec.template.0["metadata"];
    assert_eq!(metadata["labels"]["team"], "a");
    assert!(plan.held.is_some());
    // Once it is held, the next round says the same.
    let again = replan(&component(), &plan.instance_set, |_| {});
    assert!(again.held.is_some());
}

#[test]
fn the_owners_next_change_takes_it_along() {
    let live = of_another_operator();
    let mut restarted = component();
    let annotations = &mut restarted.spec.annotations;
    annotations.insert(labels::RESTART.to_owned(), "later".to_owned());
    let mut larger = component();
    let quantities = json!({ "limits": { "cpu": "1", "memory": "1Gi" } });
    larger.spec.resources = serde_json::from_value(quantities).expect("resources");
    for wish in [restarted, larger] {
        let plan = replan(&wish, &live, |_| {});
        assert_eq!(plan.held, None);
        assert_ne!(pods(&plan.instance_set), pods(&live));
        assert_eq!(
            pods(&plan.instance_set)["terminationGracePeriodSeconds"],
            30
        );
        let settled = replan(&wish, &plan.instance_set, |_| {});
        assert_eq!(
            (settled.held, settled.instance_set),
            (None, plan.instance_set)
        );
    }
    let plan = replan(&component(), &live, |observed| {
        let definition = observed.definition.as_mut().expect("a definition");
        definition.spec.runtime.0["terminationGracePeriodSeconds"] = json!(60);
    });
    assert_eq!(plan.held, None);
    assert_eq!(
        pods(&plan.instance_set)["terminationGracePeriodSeconds"],
        60
    );
}

#[test]
fn another_definition_of_the_same_content_is_not_held_back() {
    let live = planned(&component()).instance_set;
    let mut renamed = component();
    renamed.spec.comp_def = "etcd-3-0.1.1".to_owned();
    let name = |observed: &mut Observed| {
        let definition = observed.definition.as_mut().expect("a definition");
        definition.metadata.name = Some("etcd-3-0.1.1".to_owned());
    };
    let plan = replan(&renamed, &live, name);
    assert_eq!(plan.held, None);
    assert_eq!(
        pods(&plan.instance_set)["serviceAccountName"],
        "kb-etcd-3-0.1.1"
    );
    let settled = replan(&renamed, &plan.instance_set, name);
    assert_eq!(
        (settled.held, settled.instance_set),
        (None, plan.instance_set)
    );
}

#[test]
fn without_a_record_nothing_is_held() {
    let mut live = of_another_operator();
    live.annotations_mut().remove(labels::TEMPLATE_INPUTS);
    let plan = replan(&component(), &live, |_| {});
    assert_eq!(plan.held, None);
    assert_eq!(
        pods(&plan.instance_set)["terminationGracePeriodSeconds"],
        30
    );
}

#[test]
fn an_update_that_is_held_shows_in_the_status_until_it_is_not() {
    let now = Time(Timestamp::from_second(1_000).expect("in range"));
    let mut component = component();
    let held = Outcome::Held("it would change x".to_owned());
    let told = status(&component, None, &held, &Secured::default(), &now);
    let known = condition::find(&told.conditions, ConditionType::UpdateHeld).expect("told");
    assert_eq!(known.reason, Reason::OperatorChanged.as_str());
    assert!(condition::holds(
        &told.conditions,
        ConditionType::ApplyResources
    ));
    let message = &told.message["Component/ledger-store"];
    assert_eq!(message, "it would change x");
    component.status = Some(told);
    let told = status(
        &component,
        None,
        &Outcome::Applied,
        &Secured::default(),
        &now,
    );
    assert!(condition::find(&told.conditions, ConditionType::UpdateHeld).is_none());
}

/// With this value of the setting `relayClients`, if any.
fn relaying(value: Option<&str>) -> Component {
    let mut component = component();
    let variables = value.map(|value| ("relayClients".to_owned(), value.to_owned()));
    component.spec.configs = vec![ComponentConfig {
        name: "etcd".into(),
        variables: variables.into_iter().collect(),
        ..ComponentConfig::default()
    }];
    component
}

/// Containers that are told all addresses of the pod.
fn told_addresses(its: &InstanceSet) -> Vec<String> {
    let containers = pods(its)["containers"].as_array().expect("containers");
    let told = containers.iter().filter(|container| {
        let mut env = container["env"].as_array().into_iter().flatten();
        env.any(|variable| {
            variable["name"] == "POD_IPS"
                && variable["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIPs"
        })
    });
    let names = told.map(|container| container["name"].as_str().expect("a name").to_owned());
    names.collect()
}

#[test]
fn pods_are_told_all_their_addresses_where_clients_come_to_the_agent_and_running_ones_stay() {
    for value in [None, Some("false")] {
        let its = planned(&relaying(value)).instance_set;
        assert!(told_addresses(&its).is_empty(), "{value:?}");
    }
    let wish = relaying(Some("true"));
    let made = planned(&wish).instance_set;
    assert_eq!(told_addresses(&made), ["kbagent", "etcd"]);
    // An operator of before has told them none.
    let mut live = made;
    let containers = live.spec.template.0["spec"]["containers"].as_array_mut();
    for container in containers.expect("containers") {
        let env = container["env"].as_array_mut().expect("variables");
        env.retain(|variable| variable["name"] != "POD_IPS");
    }
    let plan = replan(&wish, &live, |_| {});
    assert_eq!(pods(&plan.instance_set), pods(&live));
    let told = plan.held.expect("told");
    assert!(told.contains("containers[kbagent].env"), "{told}");
}
