//! From a user's manifest to objects, with the definitions that deploy/ ships.

use std::collections::BTreeMap;

use etcd_operator_api::condition::{self, ConditionType};
use etcd_operator_api::tls::IssuerName;
use etcd_operator_api::update::PodUpdatePolicy;
use etcd_operator_api::volume::{Retention, RetentionPolicy};
use etcd_operator_api::{
    Cluster, ClusterPhase, ClusterStatus, Component, ComponentDefinition, ComponentVersion, Opaque,
    TerminationPolicy, labels,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::observe::Observed;
use super::plan::{Plan, last_word, plan};
use super::status::{self, Outcome};

pub(crate) mod objects;
mod reach;

const DEFINITION: &str = include_str!("../../../deploy/40-componentdefinition.yaml");
const VERSION: &str = include_str!("../../../deploy/41-componentversion.yaml");

/// As KubeBlocks' users write it: a prefix as definition, an empty storage class, fields that are off.
const MANIFEST: &str = r#"
apiVersion: apps.kubeblocks.io/v1
kind: Cluster
metadata: {name: ledger, namespace: books, uid: u-1, generation: 4}
spec:
  terminationPolicy: Delete
  componentSpecs:
  - name: store
    componentDef: etcd
    serviceVersion: 3.6.1
    disableExporter: false
    replicas: 3
    tls: false
    systemAccounts: []
    resources:
      limits: {cpu: "0.5", memory: 0.5Gi}
    volumeClaimTemplates:
    - name: data
      spec:
        storageClassName: ""
        accessModes: [ReadWriteOnce]
        resources: {requests: {storage: 20Gi}}
  services:
  - name: outside
    roleSelector: leader
    componentSelector: store
    spec: {type: NodePort, ports: [{port: 2379}]}
"#;

/// The status while all admission policies are there.
fn status(
    cluster: &Cluster,
    components: &[Component],
    outcome: &Outcome,
    now: &Time,
) -> ClusterStatus {
    status::status(cluster, components, outcome, &[], now)
}

fn manifest() -> Cluster {
    serde_saphyr::from_str(MANIFEST).expect("manifest")
}

fn shipped() -> Observed {
    let definition: ComponentDefinition = serde_saphyr::from_str(DEFINITION).expect("definition");
    let version: ComponentVersion = serde_saphyr::from_str(VERSION).expect("version");
    Observed {
        definitions: vec![definition],
        versions: vec![version],
        ..Observed::default()
    }
}

fn planned(cluster: &Cluster) -> Plan {
    plan(cluster, &shipped()).expect("plan")
}

fn refused(cluster: &Cluster) -> String {
    plan(cluster, &shipped())
        .expect_err("must be refused")
        .to_string()
}

fn now() -> Time {
    Time(Timestamp::from_second(1_000).expect("in range"))
}

#[test]
fn a_manifest_becomes_a_component_with_what_was_resolved() {
    let plan = planned(&manifest());
    let component = &plan.components[0];
    assert_eq!(component.name_any(), "ledger-store");
    assert_eq!(component.spec.comp_def, "etcd-3-0.1.0");
    assert_eq!(component.spec.service_version.as_deref(), Some("3.6.1"));
    assert_eq!(component.labels()[labels::COMPONENT_NAME], "store");
    assert_eq!(component.labels()[labels::COMPONENT], "etcd-3-0.1.0");
    assert_eq!(component.annotations()[labels::GENERATION], "4");
    assert_eq!(component.annotations()[labels::CLUSTER_UID], "u-1");
    assert_eq!(component.owner_references()[0].uid, "u-1");
    assert_eq!(component.finalizers(), [labels::COMPONENT_FINALIZER]);
    assert_eq!(plan.resolutions[0].component_def, "etcd-3-0.1.0");
}

#[test]
fn a_cluster_service_selects_the_role_in_the_component() {
    let plan = planned(&manifest());
    let service = &plan.services[0];
    assert_eq!(service.name_any(), "ledger-outside");
    let spec = service.spec.as_ref().expect("spec");
    assert_eq!(spec.type_.as_deref(), Some("NodePort"));
    let selector = spec.selector.as_ref().expect("selector");
    assert_eq!(selector[labels::ROLE], "leader");
    assert_eq!(selector[labels::COMPONENT_NAME], "store");
    assert_eq!(selector[labels::INSTANCE], "ledger");
}

#[test]
fn what_cannot_be_carried_out_names_its_field() {
    let mut unknown = manifest();
    unknown.spec.component_specs[0].component_def = Some("mysql".into());
    assert!(refused(&unknown).starts_with("spec.componentSpecs[store].componentDef \"mysql\""));
    let mut version = manifest();
    version.spec.component_specs[0].service_version = Some("2.0.0".into());
    assert!(refused(&version).contains("serviceVersion \"2.0.0\" is not offered"));
    assert!(refused(&version).contains("3.6.16"));
    let mut long = manifest();
    long.metadata.name = Some("l".repeat(55));
    assert!(refused(&long).contains("metadata.name"));
    let mut none = manifest();
    none.spec.component_specs[0].component_def = None;
    assert!(refused(&none).contains("componentDef is empty"));
    let mut selector = manifest();
    selector.spec.services[0].component_selector = Some("other".into());
    assert!(refused(&selector).contains("spec.services[outside].componentSelector"));
    let mut restore = manifest();
    let asked = r#"{"store":{"name":"b","namespace":"books"}}"#;
    restore
        .annotations_mut()
        .insert(labels::RESTORE.into(), asked.into());
    assert!(refused(&restore).contains("Backup \"b\" is not there"));
    let mut policy = manifest();
    policy.spec.component_specs[0].pod_upgrade_policy = Some(PodUpdatePolicy::PreferInPlace);
    assert!(refused(&policy).contains("spec.componentSpecs[store].podUpgradePolicy"));
    let mut service = manifest();
    let misspelt = serde_json::json!({ "ports": [{ "prot": 2379, "port": 2379 }] });
    service.spec.services[0].spec = Some(Opaque(misspelt));
    assert!(refused(&service).contains("spec.services[outside].spec: ports[0].prot is no field"));
    let mut own = manifest();
    let annotations = &mut own.spec.services[0].annotations;
    annotations.insert(labels::LATE_TERM.into(), "9".into());
    assert!(refused(&own).starts_with("spec.services[outside].annotations[apps.kubeblocks.io/"));
    let mut twice = manifest();
    twice.spec.services[0].service_name = Some("store".into());
    assert!(refused(&twice).contains("would be named \"ledger-store\""));
}

#[test]
fn a_service_of_a_role_that_no_member_has_is_refused() {
    for component in [None, Some("store".to_owned())] {
        let mut cluster = manifest();
        cluster.spec.services[0].component_selector = component;
        for role in ["follower", "learner", ""] {
            cluster.spec.services[0].role_selector = Some(role.into());
            assert_eq!(planned(&cluster).services.len(), 1, "{role}");
        }
        cluster.spec.services[0].role_selector = Some("primary".into());
        let told = refused(&cluster);
        assert!(
            told.starts_with("spec.services[outside].roleSelector \"primary\""),
            "{told}"
        );
        assert!(
            told.ends_with("(spec.roles: follower, leader, learner)"),
            "{told}"
        );
    }
}

#[test]
fn what_was_resolved_stays_although_the_spec_does_not_say_it() {
    let mut cluster = manifest();
    cluster.spec.component_specs[0].service_version = None;
    let mut component = running();
    component.spec.service_version = Some("3.6.1".into());
    let observed = Observed {
        components: vec![component],
        ..shipped()
    };
    let again = plan(&cluster, &observed).expect("plan");
    assert_eq!(
        again.resolutions[0].service_version, "3.6.1",
        "the default is 3.6.16"
    );
    assert_eq!(again.resolutions[0].component_def, "etcd-3-0.1.0");
    let seen = status(&cluster, &again.components, &Outcome::Applied, &now());
    let told = &seen.components["store"];
    assert_eq!(told.component_def.as_deref(), Some("etcd-3-0.1.0"));
    assert_eq!(told.service_version.as_deref(), Some("3.6.1"));
    // A version that is no longer offered is replaced by the default; one that the spec names comes before both.
    let mut old = observed.clone();
    old.components[0].spec.service_version = Some("3.4.0".into());
    let again = plan(&cluster, &old).expect("plan");
    assert_eq!(again.resolutions[0].service_version, "3.6.16");
    cluster.spec.component_specs[0].service_version = Some("3.6.16".into());
    let again = plan(&cluster, &observed).expect("plan");
    assert_eq!(again.resolutions[0].service_version, "3.6.16");
}

#[test]
fn without_a_version_the_definitions_own_is_taken() {
    let mut cluster = manifest();
    cluster.spec.component_specs[0].service_version = None;
    assert_eq!(planned(&cluster).resolutions[0].service_version, "3.6.16");
}

#[test]
fn planning_again_from_what_was_recorded_changes_nothing() {
    let mut cluster = manifest();
    let first = planned(&cluster);
    cluster.spec.component_specs[0].component_def =
        Some(first.resolutions[0].component_def.clone());
    let observed = Observed {
        components: first.components.clone(),
        services: first.services.clone(),
        ..shipped()
    };
    let second = plan(&cluster, &observed).expect("plan");
    assert_eq!(second.components, first.components);
    assert_eq!(second.services, first.services);
    assert!(second.obsolete_components.is_empty() && second.obsolete_services.is_empty());
}

#[test]
fn what_is_no_longer_wanted_goes() {
    let mut cluster = manifest();
    let first = planned(&cluster);
    let observed = Observed {
        services: first.services,
        ..shipped()
    };
    cluster.spec.services.clear();
    let second = plan(&cluster, &observed).expect("plan");
    assert_eq!(second.obsolete_services[0].name_any(), "ledger-outside");
}

/// The planned component, as if it ran.
fn running() -> Component {
    let mut component = planned(&manifest()).components.remove(0);
    component.metadata.generation = Some(1);
    component.status = Some(
        serde_saphyr::from_str(
            r#"
observedGeneration: 1
phase: Running
conditions:
- {type: Available, status: "True", reason: Available, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}
- {type: ApplyResources, status: "True", reason: ApplyResourcesSucceed, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}
"#,
        )
        .expect("status"),
    );
    component
}

#[test]
fn a_running_component_makes_a_ready_cluster_and_its_status_is_a_fixpoint() {
    let mut cluster = manifest();
    let first = status(&cluster, &[running()], &Outcome::Applied, &now());
    assert_eq!(first.phase, Some(ClusterPhase::Running));
    assert!(condition::holds(&first.conditions, ConditionType::Ready));
    assert!(condition::holds(
        &first.conditions,
        ConditionType::Available
    ));
    assert!(first.components["store"].up_to_date);
    cluster.status = Some(first.clone());
    let later = Time(Timestamp::from_second(2_000).expect("in range"));
    assert_eq!(
        status(&cluster, &[running()], &Outcome::Applied, &later),
        first
    );
}

#[test]
fn an_alarm_or_taint_of_a_component_is_the_clusters_while_it_stands() {
    for (kind, reason) in [
        (ConditionType::AlarmRaised, "NoSpace"),
        (ConditionType::NodeTainted, "TaintLeft"),
    ] {
        let mut component = running();
        let conditions = &mut component.status.as_mut().expect("status").conditions;
        let mut raised = conditions[0].clone();
        (raised.type_, raised.reason) = (kind.as_str().into(), reason.into());
        raised.message = "what is wrong".into();
        conditions.push(raised);
        let mut cluster = manifest();
        let seen = status(&cluster, &[component], &Outcome::Applied, &now());
        let told = condition::find(&seen.conditions, kind).expect("told");
        assert_eq!(told.message, "store: what is wrong");
        assert_eq!(
            (told.status.as_str(), told.reason.as_str()),
            ("True", reason)
        );
        cluster.status = Some(seen);
        let seen = status(&cluster, &[running()], &Outcome::Applied, &now());
        assert!(condition::find(&seen.conditions, kind).is_none());
    }
}

#[test]
fn a_refused_spec_shows_in_conditions_and_leaves_running_members_running() {
    let outcome = Outcome::Refused("spec.x is wrong".into());
    let seen = status(&manifest(), &[running()], &outcome, &now());
    assert_eq!(seen.phase, Some(ClusterPhase::Running));
    let started =
        condition::find(&seen.conditions, ConditionType::ProvisioningStarted).expect("condition");
    assert_eq!(
        (started.status.as_str(), started.reason.as_str()),
        ("False", "PreCheckFailed")
    );
    assert_eq!(seen.message.as_deref(), Some("spec.x is wrong"));
    let nothing = status(&manifest(), &[], &outcome, &now());
    assert_eq!(nothing.phase, Some(ClusterPhase::Failed));
}

#[test]
fn a_component_that_has_not_seen_its_spec_is_not_running_by_it() {
    let mut component = running();
    component.metadata.generation = Some(2);
    let seen = status(&manifest(), &[component], &Outcome::Applied, &now());
    assert_eq!(seen.phase, Some(ClusterPhase::Updating));
    assert!(!condition::holds(&seen.conditions, ConditionType::Ready));
}

#[test]
fn deletion_is_told_and_held_back_only_by_its_policy() {
    let mut cluster = manifest();
    cluster.metadata.deletion_timestamp = Some(now());
    let going = status(&cluster, &[running()], &Outcome::Applied, &now());
    assert_eq!(going.phase, Some(ClusterPhase::Deleting));
    cluster.spec.termination_policy = TerminationPolicy::DoNotTerminate;
    let held = status(&cluster, &[running()], &Outcome::Applied, &now());
    assert_eq!(held.phase, Some(ClusterPhase::Running));
    let told = condition::find(&held.conditions, ConditionType::Terminating).expect("condition");
    assert_eq!(told.reason, "TerminationRefused");
}

#[test]
fn a_component_is_told_the_policies_of_now_before_it_goes() {
    let mut cluster = manifest();
    cluster.spec.termination_policy = TerminationPolicy::DoNotTerminate;
    let component = planned(&cluster).components.remove(0);
    assert_eq!(last_word(&cluster, &component), None);
    cluster.spec.termination_policy = TerminationPolicy::WipeOut;
    let kept = RetentionPolicy {
        when_deleted: Some(Retention::Retain),
        when_scaled: None,
    };
    cluster.spec.component_specs[0].persistent_volume_claim_retention_policy = Some(kept);
    let word = last_word(&cluster, &component).expect("it has something to say");
    assert_eq!(word["spec"]["terminationPolicy"], "WipeOut");
    let claims = &word["spec"]["persistentVolumeClaimRetentionPolicy"];
    assert_eq!(claims["whenDeleted"], "Retain");
    assert!(claims["whenScaled"].is_null());
}

#[test]
fn a_component_that_cannot_be_carried_out_shows_in_the_clusters_condition() {
    let mut component = running();
    let conditions = &mut component.status.as_mut().expect("status").conditions;
    conditions[0].type_ = "ProvisioningStarted".into();
    conditions[0].status = "False".into();
    conditions[0].message = "volumeClaimTemplates[data] is wrong".into();
    let seen = status(&manifest(), &[component], &Outcome::Applied, &now());
    let started =
        condition::find(&seen.conditions, ConditionType::ProvisioningStarted).expect("condition");
    assert_eq!(started.reason, "PreCheckFailed");
    assert_eq!(
        started.message,
        "spec.componentSpecs[store].volumeClaimTemplates[data] is wrong"
    );
}

#[test]
fn what_kubernetes_refuses_is_told_by_object_and_no_component_is_up_to_date_without_it() {
    let why = "spec.ports[0].nodePort: provided port is already allocated".to_owned();
    let refused: BTreeMap<_, _> = [("Service/ledger-outside".to_owned(), why.clone())].into();
    let outcome = Outcome::Failed("failed to apply".into(), refused.clone());
    let seen = status(&manifest(), &[running()], &outcome, &now());
    assert_eq!(seen.refused_objects, refused);
    assert!(seen.components["store"].up_to_date);
    let fine = status(&manifest(), &[running()], &Outcome::Applied, &now());
    assert!(fine.refused_objects.is_empty());

    let mut component = running();
    let told = component.status.as_mut().expect("status");
    told.conditions[1].status = "False".into();
    told.refused_objects = [("ConfigMap/ledger-store-env".to_owned(), why)].into();
    let seen = status(&manifest(), &[component.clone()], &Outcome::Applied, &now());
    let of_store = &seen.components["store"];
    assert_eq!(of_store.refused_objects.len(), 1);
    assert!(!of_store.up_to_date && of_store.observed_generation.is_none());
    // The Cluster was edited, and the Component was not told yet: what it says is of the edit before.
    let mut edited = manifest();
    edited.metadata.generation = Some(5);
    let seen = status(&edited, &[component], &Outcome::Applied, &now());
    assert!(seen.components["store"].refused_objects.is_empty());
}

#[test]
fn an_update_that_a_component_holds_back_is_told_by_the_cluster() {
    let mut component = running();
    let conditions = &mut component.status.as_mut().expect("status").conditions;
    let mut held = conditions[0].clone();
    (held.type_, held.reason) = ("UpdateHeld".into(), "OperatorChanged".into());
    held.message = "it would change x".into();
    conditions.push(held);
    let seen = status(&manifest(), &[component], &Outcome::Applied, &now());
    let told = condition::find(&seen.conditions, ConditionType::UpdateHeld).expect("told");
    assert_eq!(told.message, "store: it would change x");
    assert_eq!(seen.phase, Some(ClusterPhase::Running));
    let seen = status(&manifest(), &[running()], &Outcome::Applied, &now());
    assert!(condition::find(&seen.conditions, ConditionType::UpdateHeld).is_none());
}

#[test]
fn the_sample_with_tls_becomes_a_component_with_tls() {
    let sample = include_str!("../../../deploy/samples/cluster-with-tls.yaml");
    let mut cluster: Cluster = serde_saphyr::from_str(sample).expect("a Cluster");
    cluster.metadata.namespace = Some("books".to_owned());
    cluster.metadata.uid = Some("u".to_owned());
    let (components, _) = objects::of(&cluster, &[]).expect("a plan");
    let tls = components[0].spec.tls_config.as_ref().expect("TLS");
    let issuer = tls.issuer.as_ref().expect("an issuer");
    assert!(tls.enable && issuer.name == IssuerName::KubeBlocks);
    assert_eq!(planned(&manifest()).components[0].spec.tls_config, None);
}

#[test]
fn a_certificate_at_fault_is_told_by_the_cluster_before_those_in_order() {
    let with = |name: &str, truth: &str| {
        let mut component = running();
        let conditions = &mut component.status.as_mut().expect("status").conditions;
        let mut told = conditions[0].clone();
        told.type_ = "CertificatesValid".into();
        told.status = truth.into();
        told.message = format!("about {name}");
        conditions.push(told);
        let name = (labels::COMPONENT_NAME.to_owned(), name.to_owned());
        component.labels_mut().extend([name]);
        component
    };
    let seen = |components: &[Component]| {
        let seen = status(&manifest(), components, &Outcome::Applied, &now());
        condition::find(&seen.conditions, ConditionType::CertificatesValid).cloned()
    };
    assert_eq!(seen(&[running()]), None, "without TLS");
    let fine = seen(&[with("a", "True")]).expect("told");
    assert_eq!(
        (fine.status.as_str(), fine.message.as_str()),
        ("True", "a: about a")
    );
    assert_eq!(fine.reason, "Certified");
    let fault = seen(&[with("a", "True"), with("b", "False")]).expect("told");
    assert_eq!(
        (fault.status.as_str(), fault.message.as_str()),
        ("False", "b: about b")
    );
    assert_eq!(fault.reason, "CertificateFault");
}

#[test]
fn a_user_is_told_while_no_policy_protects_the_members() {
    let missing = ["ValidatingAdmissionPolicy x: it is not there".to_owned()];
    let mut cluster = manifest();
    let seen = status::status(&cluster, &[running()], &Outcome::Applied, &missing, &now());
    let told = condition::find(&seen.conditions, ConditionType::Unprotected).expect("told");
    assert_eq!(
        (told.status.as_str(), told.reason.as_str()),
        ("True", "AdmissionMissing")
    );
    assert!(told.message.ends_with(&missing[0]), "{}", told.message);
    cluster.status = Some(seen);
    let seen = status(&cluster, &[running()], &Outcome::Applied, &now());
    assert!(condition::find(&seen.conditions, ConditionType::Unprotected).is_none());
}
