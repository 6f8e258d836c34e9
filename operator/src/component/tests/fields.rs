//! Every field has its effect, or is refused by name.

use etcd_operator_api::Opaque;
use etcd_operator_api::restore::{FILLED, SEED};
use etcd_operator_api::scheduling::SchedulingPolicy;
use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::json;

use super::*;
use crate::instanceset::names::{JOIN, RETIRED};

fn told(change: &dyn Fn(&mut Component)) -> String {
    let mut component = component();
    change(&mut component);
    refused(&component, &shipped())
}

#[test]
fn fields_that_mean_nothing_here_are_refused_by_name() {
    let block = told(&|component| {
        component.spec.volume_claim_templates[0].spec.volume_mode = Some("Block".into());
    });
    assert!(
        block.contains("volumeClaimTemplates[data].spec.volumeMode \"Block\""),
        "{block}"
    );
    for none in [json!(0), json!("0%"), json!("00")] {
        let strategy = json!({ "rollingUpdate": { "maxUnavailable": none } });
        let refused = told(&|component| {
            let strategy = serde_json::from_value(strategy.clone()).expect("a strategy");
            component.spec.instance_update_strategy = Some(strategy);
        });
        assert!(refused.contains("maxUnavailable is 0"), "{refused}");
    }
    let unknown = told(&|component| component.spec.offline_instances = vec!["unknown".into()]);
    assert!(
        unknown.contains("offlineInstances[unknown] is no pod of ledger-store"),
        "{unknown}"
    );
    let misspelt = told(&|component| {
        component.spec.scheduling_policy = Some(SchedulingPolicy {
            tolerations: vec![Opaque(json!({ "key": "a", "operater": "Exists" }))],
            ..SchedulingPolicy::default()
        });
    });
    assert!(
        misspelt.contains("tolerations: operater is no field"),
        "{misspelt}"
    );
}

#[test]
fn claims_keep_limits_and_modes_and_take_labels() {
    let observed = Observed {
        instance_set: Some(planned(&component()).instance_set),
        ..shipped()
    };
    let change = |change: &dyn Fn(&mut etcd_operator_api::volume::VolumeClaimTemplate)| {
        let mut component = component();
        change(&mut component.spec.volume_claim_templates[0]);
        let planned = plan(&component, &observed, "cluster.local");
        planned.map(|plan| {
            plan.instance_set.spec.volume_claim_templates[0]
                .labels
                .clone()
        })
    };
    let limits = change(&|template| {
        let limits = &mut template.spec.resources.limits;
        limits.insert("storage".into(), Quantity("30Gi".into()));
    });
    let error = limits.expect_err("it is refused").to_string();
    assert!(error.contains("resources.limits cannot change"), "{error}");
    let class = change(&|template| template.spec.volume_attributes_class_name = Some("x".into()));
    assert!(
        class
            .expect_err("it is refused")
            .to_string()
            .contains("volumeAttributesClassName")
    );
    let labels = change(&|template| template.labels = [("a".into(), "b".into())].into());
    assert_eq!(labels.expect("a plan")["a"], "b");
}

/// Claims are found by labels of the operator, and members are replaced by annotations of it.
#[test]
fn claims_and_services_are_not_given_what_is_the_operator_s_or_kubernetes_own() {
    let keys = [
        ("labels", labels::WORKLOAD_INSTANCE, "own"),
        ("labels", labels::POD_NAME, "own"),
        ("labels", labels::INSTANCE, "own"),
        ("labels", labels::VOLUME_CLAIM_TEMPLATE, "own"),
        ("labels", "a b", "no key"),
        ("labels", "team", "has a value"),
        ("annotations", RETIRED, "own"),
        ("annotations", JOIN, "own"),
        ("annotations", labels::REBUILD, "own"),
        ("annotations", labels::CLUSTER_UID, "own"),
        ("annotations", labels::RESTART, "own"),
        ("annotations", FILLED, "own"),
        (
            "annotations",
            "volume.beta.kubernetes.io/storage-class",
            "storageClassName",
        ),
        ("annotations", "Example.org/a", "no key"),
    ];
    for (field, key, why) in keys {
        let refused = told(&|component| {
            let template = &mut component.spec.volume_claim_templates[0];
            let given = match field {
                "labels" => &mut template.labels,
                _ => &mut template.annotations,
            };
            given.insert(key.to_owned(), "x y".to_owned());
        });
        let named = format!("volumeClaimTemplates[data].{field}[{key}] ");
        assert!(
            refused.starts_with(&named) && refused.contains(why),
            "{refused}"
        );
    }
    let services = json!([{ "name": "peer", "annotations": { "apps.kubeblocks.io/x": "y" } }]);
    let refused = told(&|component| {
        component.spec.services = serde_json::from_value(services.clone()).expect("services");
    });
    let named = "services[peer].annotations[apps.kubeblocks.io/x] is the operator's own";
    assert!(refused.starts_with(named), "{refused}");
}

#[test]
fn a_storage_class_is_needed_for_new_claims_only() {
    let mut observed = Observed {
        instance_set: Some(planned(&component()).instance_set),
        ..shipped()
    };
    observed.storage_classes.clear();
    assert!(plan(&component(), &observed, "cluster.local").is_ok());
    let mut five = component();
    five.spec.replicas = 5;
    let error = refused(&five, &observed);
    assert!(error.contains("no default storage class"), "{error}");
}

#[test]
fn an_instance_set_may_always_go_whatever_its_template_says() {
    let mut its = planned(&component()).instance_set;
    its.spec.template = Opaque(json!({ "spec": { "containers": [], "misspelt": 1 } }));
    let told = Desired::read(&its, "cluster.local").expect_err("it is refused");
    assert!(
        told.to_string().contains("spec.misspelt is no field"),
        "{told}"
    );
    its.metadata.deletion_timestamp = Some(at(1));
    assert!(Desired::read(&its, "cluster.local").is_ok());
    // One whose deletion is held still makes pods.
    let held = (
        labels::TERMINATION_POLICY.to_owned(),
        labels::HELD.to_owned(),
    );
    its.annotations_mut().extend([held]);
    assert!(Desired::read(&its, "cluster.local").is_err());
}

#[test]
fn an_instance_set_may_always_go_whatever_its_annotations_ask_for() {
    for asked in [
        labels::RECOVER,
        labels::DEFRAGMENT,
        labels::DOWNGRADE,
        labels::UPGRADE,
        SEED,
    ] {
        let mut its = planned(&component()).instance_set;
        let unreadable = (asked.to_owned(), "what".to_owned());
        its.annotations_mut().extend([unreadable]);
        let told = Desired::read(&its, "cluster.local").expect_err("it is refused");
        assert!(told.to_string().contains(asked), "{told}");
        its.metadata.deletion_timestamp = Some(at(1));
        assert!(Desired::read(&its, "cluster.local").is_ok(), "{asked}");
    }
}

#[test]
fn an_instance_set_that_is_deleted_alone_says_so_by_a_finalizer() {
    let mut its = planned(&component()).instance_set;
    let read = |its: &InstanceSet| Desired::read(its, "cluster.local").expect("it is read");
    assert!(!read(&its).orphaning);
    its.finalizers_mut().push("orphan".to_owned());
    assert!(read(&its).orphaning);
}

#[test]
fn time_limits_of_actions_reach_the_agents() {
    let read = |its: &InstanceSet| Desired::read(its, "cluster.local").expect("it is read");
    let mut its = planned(&component()).instance_set;
    let limits = read(&its).limits;
    assert_eq!(
        (limits.join, limits.leave, limits.switchover),
        (Some(10), Some(10), Some(10))
    );
    let actions = its.spec.lifecycle_actions.as_mut().expect("actions");
    actions
        .member_join
        .as_mut()
        .expect("an action")
        .timeout_seconds = 0;
    actions.member_leave = None;
    let limits = read(&its).limits;
    assert_eq!((limits.join, limits.leave), (None, None));
}

#[test]
fn minutes_until_a_member_is_replaced_reach_the_instance_set_or_are_refused() {
    let with = |text: &str| {
        let mut component = component();
        let minutes = (labels::REPLACE_UNREACHABLE.to_owned(), text.to_owned());
        component.annotations_mut().extend([minutes]);
        component
    };
    for text in ["5", "10080"] {
        let set = planned(&with(text)).instance_set;
        assert_eq!(set.annotations()[labels::REPLACE_UNREACHABLE], text);
    }
    let none = planned(&component()).instance_set;
    assert!(!none.annotations().contains_key(labels::REPLACE_UNREACHABLE));
    for text in ["4", "10081", "30m", "", "-30"] {
        let told = refused(&with(text), &shipped());
        assert!(
            told.contains("from 5 to 10080") && told.contains(&format!("{text:?}")),
            "{told}"
        );
    }
}

#[test]
fn a_collector_to_which_agents_cannot_send_is_refused() {
    let asked = |collector: &str| {
        let mut component = component();
        component.spec.env = vec![EnvVar {
            name: "OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(),
            value: Some(collector.to_owned()),
            value_from: None,
        }];
        plan(&component, &shipped(), "cluster.local").map(|_| ())
    };
    for right in ["", "http://collector.observe:4318"] {
        asked(right).expect(right);
    }
    for wrong in ["collector:4318", "https://collector:4318"] {
        let told = asked(wrong).expect_err(wrong).to_string();
        assert!(told.contains("env OTEL_EXPORTER_OTLP_ENDPOINT: "), "{told}");
        assert!(told.contains("give http://HOST:PORT"), "{told}");
    }
}

#[test]
fn an_empty_account_is_none_and_the_pods_get_their_own() {
    let accounts = |named: Option<&str>| {
        let mut component = component();
        component.spec.service_account_name = named.map(str::to_owned);
        let plan = planned(&component);
        (pod(&plan).1.service_account_name, plan.service_account)
    };
    let own = Some("kb-etcd-3-0.1.0".to_owned());
    for named in [None, Some("")] {
        assert_eq!(accounts(named), (own.clone(), own.clone()), "{named:?}");
    }
    assert_eq!(accounts(Some("mine")), (Some("mine".to_owned()), None));
}
