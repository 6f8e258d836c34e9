//! PURE: a valid Component -> every object that is wanted, and the services to delete.

use etcd_operator_api::{Backup, Component, InstanceSet, labels};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::accounts::{self, Planned};
use super::build;
use super::change::Wait;
use super::held::hold;
use super::network::{self, Reach};
use super::observe::Observed;
use super::outside;
use super::request::{self, RequestSpec};
use super::tls::{self, Tls, TlsError, started_with};
use super::validate::{SpecError, Valid, check_domain, validate};
use crate::certificates::{Believed, Names, member_names, needed};
use crate::instanceset::names::ENV_LEADER_SERVICE;

/// What the certificates of a component must be.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    /// Who issues them.
    pub(super) tls: Tls,
    /// Names that the operator puts into the members'.
    pub(super) names: Names,
    /// What cert-manager is asked for.
    pub(super) request: Option<RequestSpec>,
    /// Names that a user's must be for.
    pub(super) needed: Vec<String>,
    /// Whether etcd has users, of which the Jobs of backups are one.
    pub(super) users: bool,
    /// The user that etcd knows the members as, where that is on record.
    pub(super) member_user: Option<String>,
    /// The CAs that members believe, where that is on record.
    pub(super) believed: Option<Believed>,
    /// Whether members may have been started with a CA.
    pub(super) members_made: bool,
    /// Which CAs members are to be started with.
    pub(super) trust: Option<String>,
    /// The CAs that all members were started with, where that is on record.
    pub(super) started_with: Option<String>,
}

/// The desired objects.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Name of the service account to make; `None` when the user named one of his own.
    pub(super) service_account: Option<String>,
    /// Environment of the containers.
    pub(super) environment: ConfigMap,
    /// Services.
    pub(super) services: Vec<Service>,
    /// Services to delete.
    pub(super) obsolete_services: Vec<Service>,
    /// Disruption budget.
    pub(super) disruption_budget: PodDisruptionBudget,
    /// The members.
    pub(super) instance_set: InstanceSet,
    /// What the certificates must be; `None` without TLS.
    pub(super) certificates: Option<Certificates>,
    /// Users of etcd; `None` without any.
    pub(super) accounts: Option<Vec<Planned>>,
    /// Who may reach the members.
    pub(super) reach: Reach,
    /// Members' ports to which services lead from outside.
    pub(super) outside: Vec<NetworkPolicyPort>,
    /// What the operator would change in the pods on its own, and does not.
    pub(super) held: Option<String>,
    /// The backup to make before etcd changes its minor.
    pub(super) backup: Option<Box<Backup>>,
    /// Why pods are not made of that minor yet.
    pub(super) waits: Option<Wait>,
}

/// What an InstanceSet that is about to be deleted must be told first, as a merge patch: claims live by the policy that
/// holds now, and a policy that held it back holds no longer. `None` when it knows.
pub(super) fn last_word(component: &Component, its: &InstanceSet) -> Option<Value> {
    let retention = build::retention(&component.spec);
    let held = its.annotations().contains_key(labels::TERMINATION_POLICY);
    let known = its.spec.persistent_volume_claim_retention_policy;
    (held || known != retention).then(|| {
        json!({
            "metadata": { "annotations": { labels::TERMINATION_POLICY: null } },
            "spec": { "persistentVolumeClaimRetentionPolicy": retention },
        })
    })
}

/// Plans a Component; `cluster_domain` is the DNS domain of the Kubernetes cluster.
pub(super) fn plan(
    component: &Component,
    observed: &Observed,
    cluster_domain: &str,
) -> Result<Plan, SpecError> {
    let valid = validate(component, observed)?;
    let reach = network::reach(component)?;
    let environment = build::environment(&valid, cluster_domain);
    check_domain(observed, &environment)?;
    let services = build::services(&valid)?;
    let kept =
        |name: &str| services.iter().any(|s| s.name_any() == name) || name == valid.name.headless();
    let obsolete_services = observed
        .services
        .iter()
        .filter(|s| !kept(&s.name_any()))
        .cloned()
        .collect();
    let own_account = build::named_account(component).is_none();
    let mut instance_set = build::instance_set(&valid)?;
    let template = instance_set.spec.template.parse("template");
    let template = template.map_err(|e| SpecError::NotOfType(e.to_string()))?;
    let held = hold(&valid, observed.instance_set.as_ref(), &mut instance_set);
    let leader = environment.data.as_ref();
    let leader = leader.and_then(|data| data.get(ENV_LEADER_SERVICE));
    let named = (services.as_slice(), leader.map(String::as_str));
    let mut certificates = certificates(&valid, observed, named, cluster_domain);
    let named = [services.as_slice(), &observed.leading].concat();
    let request = request(&valid, &named, cluster_domain)?;
    if let Some(certificates) = &mut certificates {
        certificates.request = request;
    }
    Ok(Plan {
        certificates,
        accounts: valid
            .accounts
            .then(|| accounts::planned(component, valid.tls.as_ref())),
        service_account: own_account.then(|| build::service_account_name(&valid)),
        environment,
        obsolete_services,
        disruption_budget: build::disruption_budget(&valid, observed.instance_set.as_ref()),
        instance_set,
        outside: outside::ports(&services, &template),
        services,
        reach,
        held,
        backup: valid.change.backup.clone(),
        waits: valid.change.waits.clone(),
    })
}

/// What cert-manager is asked for. No name or address from outside is among it: the issuer may be the company's, and
/// who may edit Clusters has no other right over it.
fn request(
    valid: &Valid<'_>,
    services: &[Service],
    cluster_domain: &str,
) -> Result<Option<RequestSpec>, TlsError> {
    let component = valid.component;
    let Some((issuer, secret)) = tls::manager(component, valid.tls.as_ref())? else {
        return Ok(None);
    };
    let namespace = component.namespace().unwrap_or_default();
    let plain = |service: &Service| {
        let mut plain = Service::default();
        plain.metadata.name.clone_from(&service.metadata.name);
        plain
    };
    let services: Vec<_> = services.iter().map(plain).collect();
    let names = member_names(&valid.name, &namespace, cluster_domain, (&[], &services));
    let member = format!("etcd-member-{}", component.uid().unwrap_or_default());
    Ok(Some(request::request(&secret, &member, &names, issuer)))
}

fn certificates(
    valid: &Valid<'_>,
    observed: &Observed,
    (services, leader): (&[Service], Option<&str>),
    cluster_domain: &str,
) -> Option<Certificates> {
    let tls = valid.tls.clone()?;
    let namespace = valid.component.namespace().unwrap_or_default();
    let spec = &valid.component.spec;
    let replicas = u32::try_from(spec.replicas).unwrap_or(0);
    let pods = valid.name.pods(replicas, &spec.offline_instances);
    // Those that are planned are named before they are there; those that are there have addresses.
    let services = [services, &observed.leading].concat();
    let its = observed.instance_set.as_ref();
    let on_record = |name| its.and_then(|its| its.annotations().get(name));
    Some(Certificates {
        tls,
        names: member_names(&valid.name, &namespace, cluster_domain, (&pods, &services)),
        needed: needed(&valid.name, &namespace, cluster_domain, &pods, leader),
        request: None,
        users: valid.accounts,
        member_user: on_record(labels::MEMBER_USER).cloned(),
        believed: on_record(labels::CAS_BELIEVED).and_then(|text| Believed::read(text)),
        members_made: its.is_some(),
        trust: valid.trust.clone(),
        started_with: its.and_then(started_with),
    })
}
