//! From a Component to its children, with the definitions that deploy/ ships.

use etcd_operator_api::condition::{self, ConditionType};
use etcd_operator_api::lifecycle::LifecycleActions;
use etcd_operator_api::settings::ComponentConfig;
use etcd_operator_api::volume::Retention;
use etcd_operator_api::{
    Component, ComponentDefinition, ComponentPhase, ComponentVersion, InstanceSet, labels,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::observe::Observed;
use super::plan::{Plan, plan};
use super::status::{Outcome, Secured, status};
use crate::instanceset::desired::Desired;

mod accounts;
mod believed;
mod certificates;
mod classes;
mod fields;
mod held;
mod manager;
mod network;
pub(crate) mod objects;
mod phases;
mod restricted;
mod running;
mod secrets;
mod services;
mod snapshot;
mod tls;
mod v2store;
mod volumes;

const DEFINITION: &str = include_str!("../../../deploy/40-componentdefinition.yaml");
const VERSION: &str = include_str!("../../../deploy/41-componentversion.yaml");

const COMPONENT: &str = r#"
metadata:
  name: ledger-store
  namespace: books
  uid: u-2
  generation: 7
  labels:
    app.kubernetes.io/managed-by: kubeblocks
    app.kubernetes.io/instance: ledger
    apps.kubeblocks.io/component-name: store
  annotations: {apps.kubeblocks.io/cluster-uid: u-1}
spec:
  compDef: etcd-3-0.1.0
  serviceVersion: 3.6.1
  replicas: 3
  env: [{name: GOMAXPROCS, value: "2"}]
  annotations: {kubeblocks.io/restart: now}
  resources: {limits: {cpu: "0.5", memory: 0.5Gi}}
  volumeClaimTemplates:
  - name: data
    spec: {storageClassName: "", resources: {requests: {storage: 20Gi}}}
"#;

fn component() -> Component {
    serde_saphyr::from_str(COMPONENT).expect("component")
}

fn shipped() -> Observed {
    let definition: ComponentDefinition = serde_saphyr::from_str(DEFINITION).expect("definition");
    let version: ComponentVersion = serde_saphyr::from_str(VERSION).expect("version");
    let class: StorageClass = serde_saphyr::from_str(
        r#"
metadata: {name: local, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: p
"#,
    )
    .expect("storage class");
    Observed {
        definition: Some(definition),
        versions: vec![version],
        storage_classes: vec![class],
        ..Observed::default()
    }
}

fn planned(component: &Component) -> Plan {
    plan(component, &shipped(), "cluster.local").expect("plan")
}

fn refused(component: &Component, observed: &Observed) -> String {
    plan(component, observed, "cluster.local")
        .expect_err("must be refused")
        .to_string()
}

fn pod(plan: &Plan) -> (PodTemplateSpec, PodSpec) {
    let template: PodTemplateSpec = plan
        .instance_set
        .spec
        .template
        .parse("template")
        .expect("template");
    let spec = template.spec.clone().expect("pod spec");
    (template, spec)
}

fn container<'a>(spec: &'a PodSpec, name: &str) -> &'a Container {
    spec.containers
        .iter()
        .find(|c| c.name == name)
        .expect("container")
}

#[test]
fn pods_have_the_three_containers_with_their_images_and_ports() {
    let plan = planned(&component());
    let (_, spec) = pod(&plan);
    let names: Vec<_> = spec.containers.iter().map(|c| c.name.as_str()).collect();
    // The agent brings etcd's launcher; the resources below are etcd's, the definition's first container.
    assert_eq!(names, ["kbagent", "etcd", "metrics-exporter"]);
    let etcd = container(&spec, "etcd");
    assert_eq!(etcd.image.as_deref(), Some("etcd-harness/etcd:v3.6.1"));
    let ports = |c: &Container| -> Vec<i32> {
        c.ports
            .iter()
            .flatten()
            .map(|port| port.container_port)
            .collect()
    };
    assert_eq!(ports(etcd), [2379, 2380, 2381]);
    assert_eq!(ports(container(&spec, "kbagent")), [5001]);
    assert_eq!(ports(container(&spec, "metrics-exporter")), [9187]);
    let limits = etcd
        .resources
        .as_ref()
        .and_then(|r| r.limits.as_ref())
        .expect("limits");
    assert_eq!(limits["memory"].0, "0.5Gi");
}

#[test]
fn every_container_has_the_components_environment_and_the_users() {
    let (_, spec) = pod(&planned(&component()));
    for container in &spec.containers {
        let from = container.env_from.as_ref().expect("env from");
        let map = from[0].config_map_ref.as_ref().expect("config map");
        assert_eq!(
            (map.name.as_str(), map.optional),
            ("ledger-store-env", Some(false))
        );
        let env = container.env.as_ref().expect("env");
        assert!(
            env.iter().any(|v| v.name == "GOMAXPROCS"),
            "{}",
            container.name
        );
    }
    let secret = spec
        .volumes
        .iter()
        .flatten()
        .find_map(|v| v.secret.as_ref())
        .expect("secret");
    assert_eq!(secret.secret_name.as_deref(), Some("ledger-store-kbagent"));
    assert_eq!(
        spec.service_account_name.as_deref(),
        Some("kb-etcd-3-0.1.0")
    );
}

#[test]
fn pods_carry_the_labels_that_services_and_users_select_by() {
    let plan = planned(&component());
    let (template, spec) = pod(&plan);
    let metadata = template.metadata.expect("metadata");
    let pod_labels = metadata.labels.expect("labels");
    assert_eq!(pod_labels[labels::RELEASE_PHASE], "stable");
    assert_eq!(pod_labels[labels::SERVICE_VERSION], "3.6.1");
    assert_eq!(pod_labels[labels::COMPONENT], "etcd-3-0.1.0");
    assert_eq!(
        metadata.annotations.expect("annotations")[labels::RESTART],
        "now"
    );
    let service = &plan.services[0];
    assert_eq!(service.name_any(), "ledger-store");
    let wanted = service
        .spec
        .as_ref()
        .and_then(|s| s.selector.clone())
        .expect("selector");
    assert_eq!(wanted[labels::ROLE], "leader");
    for (label, value) in wanted.iter().filter(|(label, _)| *label != labels::ROLE) {
        assert_eq!(pod_labels.get(label), Some(value));
    }
    let spread = spec
        .affinity
        .and_then(|a| a.pod_anti_affinity)
        .expect("anti-affinity");
    assert!(
        spread
            .preferred_during_scheduling_ignored_during_execution
            .is_some()
    );
}

#[test]
fn the_environment_names_peers_and_leader() {
    let data = planned(&component()).environment.data.expect("data");
    assert_eq!(
        data["KB_PEERS"],
        "ledger-store-0,ledger-store-1,ledger-store-2"
    );
    assert_eq!(
        data["KB_HEADLESS_DOMAIN"],
        "ledger-store-headless.books.svc.cluster.local"
    );
    assert_eq!(
        data["KB_LEADER_SERVICE"],
        "ledger-store.books.svc.cluster.local"
    );
    assert_eq!(data["KB_CLUSTER_UID"], "u-1");
}

#[test]
fn a_change_of_the_member_count_does_not_change_the_template() {
    let three = planned(&component());
    let mut five = component();
    five.spec.replicas = 5;
    let five = planned(&five);
    assert_eq!(
        three.instance_set.spec.template,
        five.instance_set.spec.template
    );
    assert_eq!(five.instance_set.spec.replicas, 5);
}

#[test]
fn the_budget_keeps_the_larger_quorum_and_counts_voters_only() {
    let least = |component: &Component, observed: &Observed| {
        let plan = plan(component, observed, "cluster.local").expect("plan");
        let spec = plan.disruption_budget.spec.expect("spec");
        let expressions = spec
            .selector
            .and_then(|s| s.match_expressions)
            .expect("expressions");
        assert_eq!(
            expressions[0].values.as_deref(),
            Some(&["leader".into(), "follower".into()][..])
        );
        spec.min_available.expect("integer")
    };
    assert_eq!(least(&component(), &shipped()), IntOrString::Int(2));
    let mut live = planned(&component()).instance_set;
    live.spec.replicas = 5;
    let members: String = (0..5)
        .map(|n| format!("- {{podName: ledger-store-{n}, memberID: \"{n}\"}}\n"))
        .collect();
    live.status = Some(serde_saphyr::from_str(&format!("members:\n{members}")).expect("status"));
    let observed = Observed {
        instance_set: Some(live),
        ..shipped()
    };
    assert_eq!(least(&component(), &observed), IntOrString::Int(3));
    let mut stopped = component();
    stopped.spec.stop = Some(true);
    assert_eq!(least(&stopped, &shipped()), IntOrString::Int(0));
}

#[test]
fn the_exporter_is_scraped_unless_disabled() {
    let on = planned(&component())
        .instance_set
        .spec
        .headless_service_annotations;
    assert_eq!(on["monitor.kubeblocks.io/port"], "9187");
    assert_eq!(on["monitor.kubeblocks.io/scrape"], "true");
    let mut off = component();
    off.spec.disable_exporter = Some(true);
    assert!(
        planned(&off)
            .instance_set
            .spec
            .headless_service_annotations
            .is_empty()
    );
}

#[test]
fn an_empty_storage_class_is_the_default_one() {
    let its = planned(&component()).instance_set;
    let claim = &its.spec.volume_claim_templates[0].spec;
    assert_eq!(claim.storage_class_name, None);
    assert_eq!(claim.access_modes, ["ReadWriteOnce"]);
    let policy = its.spec.persistent_volume_claim_retention_policy;
    assert_eq!(policy.when_deleted, Some(Retention::Delete));
}

#[test]
fn what_cannot_be_carried_out_names_its_field() {
    let mut class = component();
    class.spec.volume_claim_templates[0].spec.storage_class_name = Some("fast".into());
    assert!(refused(&class, &shipped()).contains("storageClassName \"fast\" does not exist"));
    let no_class = Observed {
        storage_classes: vec![],
        ..shipped()
    };
    assert!(refused(&component(), &no_class).contains("no default storage class"));
    let no_definition = Observed {
        definition: None,
        ..shipped()
    };
    assert!(refused(&component(), &no_definition).contains("compDef \"etcd-3-0.1.0\""));
    let mut version = component();
    version.spec.service_version = Some("9.9.9".into());
    assert!(refused(&version, &shipped()).contains("serviceVersion \"9.9.9\""));
    let mut volumes = component();
    volumes.spec.volume_claim_templates.clear();
    assert!(refused(&volumes, &shipped()).contains("volumeClaimTemplates has no \"data\""));
    let mut size = component();
    let requests = &mut size.spec.volume_claim_templates[0].spec.resources.requests;
    requests.insert(
        "storage".into(),
        serde_json::from_str("\"ten\"").expect("quantity"),
    );
    assert!(refused(&size, &shipped()).contains("\"ten\" is not a positive quantity"));
}

#[test]
fn settings_take_the_place_of_the_definitions_flags() {
    let with = |settings: &[(&str, &str)], version: &str| {
        let mut component = component();
        component.spec.service_version = Some(version.into());
        let of = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        component.spec.configs = vec![ComponentConfig {
            name: "etcd".into(),
            variables: settings.iter().map(of).collect(),
            ..ComponentConfig::default()
        }];
        component
    };
    let tuned = with(
        &[
            ("election-timeout", "1000"),
            ("heartbeat-interval", "100"),
            ("corrupt-check-time", "1h"),
            ("fastElection", "false"),
        ],
        "3.5.15",
    );
    let (_, spec) = pod(&planned(&tuned));
    let args = container(&spec, "etcd").args.clone().unwrap_or_default();
    let times = |arg: &str| args.iter().filter(|known| known.as_str() == arg).count();
    assert_eq!(times("--election-timeout=1000"), 1, "{args:?}");
    assert_eq!(times("--election-timeout=500"), 0, "{args:?}");
    assert_eq!(times("--experimental-corrupt-check-time=1h"), 1);
    assert_eq!(times("--snapshot-count=10000"), 1, "others stay");
    let agent = container(&spec, "kbagent").env.clone().unwrap_or_default();
    let told = |name: &str| agent.iter().find(|v| v.name == name)?.value.as_deref();
    assert_eq!(told("KB_ELECTION_TIMEOUT_MS"), Some("1000"));
    assert_eq!(told("KB_FAST_ELECTION"), Some("false"));
    assert!(!args.iter().any(|arg| arg.contains("fastElection")));

    let plain = pod(&planned(&component())).0;
    assert_eq!(
        pod(&planned(&with(&[], "3.6.1"))).0,
        plain,
        "none is no change"
    );

    let refusal = |settings: &[(&str, &str)]| refused(&with(settings, "3.5.15"), &shipped());
    assert!(refusal(&[("election-timeout", "200")]).contains("5 times heartbeat-interval 50 ms"));
    let revision = ("auto-compaction-mode", "revision");
    assert!(refusal(&[revision]).contains("auto-compaction-retention 1h is a length of time"));
    let both = with(&[revision, ("auto-compaction-retention", "10000")], "3.6.1");
    assert!(plan(&both, &shipped(), "cluster.local").is_ok());
    let hours = with(&[("auto-compaction-retention", "24")], "3.6.1");
    assert!(plan(&hours, &shipped(), "cluster.local").is_ok());
    assert!(refusal(&[("snapshot-catchup-entries", "5000")]).contains("from etcd 3.6 on"));
    assert!(refusal(&[("data-dir", "/x")]).contains("is not a setting"));
    assert!(refusal(&[("fastElection", "no")]).contains("one of true, suspicion, false"));
    let mut small = with(&[("quota-backend-bytes", "8589934592")], "3.6.1");
    let claim = &mut small.spec.volume_claim_templates[0].spec;
    let size = serde_json::from_str("\"5Gi\"").expect("quantity");
    claim.resources.requests.insert("storage".into(), size);
    assert!(refused(&small, &shipped()).contains("more than the claim data-* holds, 5Gi"));
}

#[test]
fn an_even_count_is_refused_where_admission_let_it_through() {
    let mut even = component();
    even.spec.replicas = 4;
    let told = refused(&even, &shipped());
    assert_eq!(told, "replicas must be odd: 3 or 5, not 4");
    even.spec.replicas = i32::MIN;
    let told = refused(&even, &shipped());
    assert!(told.contains("must be odd"), "{told}");
    let mut its = planned(&component()).instance_set;
    its.spec.replicas = 4;
    let told = Desired::read(&its, "cluster.local").expect_err("must be refused");
    assert!(told.to_string().contains("3 or 5"), "{told}");
    its.metadata.deletion_timestamp = Some(at(1));
    assert!(
        Desired::read(&its, "cluster.local").is_ok(),
        "it may always go"
    );
}

#[test]
fn a_definition_without_member_join_cannot_grow() {
    let its = planned(&component()).instance_set;
    let mut observed = Observed {
        instance_set: Some(its),
        ..shipped()
    };
    let definition = observed.definition.as_mut().expect("definition");
    definition
        .spec
        .lifecycle_actions
        .as_mut()
        .expect("actions")
        .member_join = None;
    let mut five = component();
    five.spec.replicas = 5;
    assert!(refused(&five, &observed).contains("lifecycleActions.memberJoin"));
}

#[test]
fn the_role_path_is_told_of_the_probe() {
    let asked = |change: &dyn Fn(&mut LifecycleActions)| {
        let mut observed = shipped();
        let definition = observed.definition.as_mut().expect("definition");
        change(definition.spec.lifecycle_actions.as_mut().expect("actions"));
        let plan = plan(&component(), &observed, "cluster.local").expect("plan");
        let metadata = pod(&plan).0.metadata.expect("metadata");
        metadata.annotations.expect("annotations")[labels::ROLE_PROBE].clone()
    };
    let every = |seconds| {
        asked(&|actions| {
            actions.role_probe.as_mut().expect("probe").period_seconds = seconds;
        })
    };
    assert_eq!(every(30), "30");
    assert_eq!(every(0), "5", "0 is the default");
    assert_eq!(
        asked(&|actions| actions.role_probe = None),
        labels::ROLE_PROBE_OFF
    );
}

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).expect("in range"))
}

/// The planned InstanceSet with three members in a state.
fn instance_set(ready: i32, roles: usize, extra: &str) -> InstanceSet {
    let mut its = planned(&component()).instance_set;
    its.metadata.generation = Some(1);
    let members: String = (0..roles)
        .map(|n| {
            let (name, exclusive) = if n == 0 { ("leader", true) } else { ("follower", false) };
            format!(
                "- {{podName: ledger-store-{n}, role: {{name: {name}, participatesInQuorum: true, isExclusive: {exclusive}}}}}\n"
            )
        })
        .collect();
    let members = if roles == 0 {
        String::new()
    } else {
        format!("membersStatus:\n{members}")
    };
    let text = format!(
        "observedGeneration: 1\nreplicas: 3\nreadyReplicas: {ready}\nupdatedReplicas: 3\n{members}{extra}"
    );
    its.status = Some(serde_saphyr::from_str(&text).expect("status"));
    its
}

#[test]
fn planning_again_changes_nothing() {
    let first = planned(&component());
    let observed = Observed {
        instance_set: Some(first.instance_set.clone()),
        services: first.services.clone(),
        ..shipped()
    };
    let second = plan(&component(), &observed, "cluster.local").expect("plan");
    assert_eq!(second.instance_set, first.instance_set);
    assert_eq!(second.services, first.services);
    assert!(second.obsolete_services.is_empty());
}
