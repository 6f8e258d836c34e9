//! PURE: who may reach the members' ports, as a NetworkPolicy. Where no controller enforces policies it has no effect.

use std::collections::BTreeMap;

use etcd_operator_api::{Component, labels};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kbagent_protocol::{EXPORTER_PORT, PORT};
use kube::ResourceExt;
use kube::api::ObjectMeta;

use super::fields::BadField;
use crate::controller::own;

/// etcd's ports, for clients and for peers.
const CLIENT: u16 = 2379;
pub(super) const PEER: u16 = 2380;
/// Label that Kubernetes gives each namespace: its name.
const NAMESPACE: &str = "kubernetes.io/metadata.name";

/// Who may reach the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    /// Clients and scrapers from everywhere; peers and agents from members and the operator.
    Open,
    /// The owner does not say: as `Namespace`, and the ports of services that lead outside from everywhere.
    #[default]
    Unsaid,
    /// As `Open`, but clients of the own namespace only.
    Namespace,
    /// Members, the operator and backups: the owner's own policies let clients in.
    Members,
    /// As Kubernetes does without a policy.
    Unbound,
}

impl Reach {
    /// What an owner may say.
    const SAID: [(&str, Reach); 4] = [
        (labels::REACH_OPEN, Reach::Open),
        (labels::REACH_NAMESPACE, Reach::Namespace),
        (labels::REACH_MEMBERS, Reach::Members),
        (labels::REACH_ALL, Reach::Unbound),
    ];
}

/// What the owner asks for.
pub(super) fn reach(component: &Component) -> Result<Reach, BadField> {
    let Some(asked) = component.annotations().get(labels::NETWORK_POLICY) else {
        return Ok(Reach::default());
    };
    let mut said = Reach::SAID.into_iter();
    let found = said.find(|(name, _)| name == asked);
    let reach = found.map(|(_, reach)| reach);
    reach.ok_or_else(|| BadField::NetworkPolicy {
        value: asked.clone(),
    })
}

/// The policy; `None` where there is to be none. `outside` are the ports that services lead to from outside, `operator`
/// is the operator's namespace.
pub(super) fn policy(
    component: &Component,
    reach: Reach,
    outside: &[NetworkPolicyPort],
    operator: &str,
) -> Option<NetworkPolicy> {
    let own_labels = component.labels();
    let three = [labels::MANAGED_BY, labels::INSTANCE, labels::COMPONENT_NAME];
    let three = three.iter().filter_map(|l| own_labels.get_key_value(*l));
    let three: BTreeMap<_, _> = three.map(|(k, v)| (k.clone(), v.clone())).collect();
    let members = LabelSelector {
        match_labels: Some(three.clone()),
        ..LabelSelector::default()
    };
    let of_members = callers(&three);
    let ingress = match reach {
        Reach::Unbound => return None,
        Reach::Open => vec![
            everyone(&[CLIENT, EXPORTER_PORT], outside),
            rule(Some(vec![of_members]), &[PEER, PORT]),
        ],
        Reach::Unsaid | Reach::Namespace => {
            let own = peer(Some(LabelSelector::default()), None);
            let known = reach == Reach::Unsaid;
            vec![
                rule(Some(vec![own]), &[CLIENT]),
                everyone(&[EXPORTER_PORT], if known { outside } else { &[] }),
                rule(Some(vec![of_members]), &[PEER, PORT]),
            ]
        }
        Reach::Members => vec![
            rule(Some(vec![of_members]), &[CLIENT, PEER, PORT]),
            backups(),
        ],
    };
    let operators = LabelSelector {
        match_labels: Some([(NAMESPACE.to_owned(), operator.to_owned())].into()),
        ..LabelSelector::default()
    };
    let asks = rule(Some(vec![peer(None, Some(operators))]), &[PORT]);
    let mut policy = NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(component.name_any()),
            namespace: component.namespace(),
            labels: Some(three),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(members),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(ingress.into_iter().chain([asks]).collect()),
            egress: None,
        }),
    };
    own(&mut policy, component);
    Some(policy)
}

/// Members, as those who call. Their three labels are anyone's to give a pod; a fourth one is the operator's alone.
fn callers(three: &BTreeMap<String, String>) -> NetworkPolicyPeer {
    let mut all = three.clone();
    let managed = labels::WORKLOAD_MANAGED_BY_VALUE.to_owned();
    all.insert(labels::WORKLOAD_MANAGED_BY.to_owned(), managed);
    let selector = LabelSelector {
        match_labels: Some(all),
        ..LabelSelector::default()
    };
    peer(Some(selector), None)
}

/// Pods of backup Jobs read from members.
fn backups() -> NetworkPolicyIngressRule {
    let marked = LabelSelectorRequirement {
        key: labels::BACKUP_UID.to_owned(),
        operator: "Exists".to_owned(),
        values: None,
    };
    let jobs = LabelSelector {
        match_expressions: Some(vec![marked]),
        ..LabelSelector::default()
    };
    rule(Some(vec![peer(Some(jobs), None)]), &[CLIENT])
}

/// Everyone reaches these ports, and the others.
fn everyone(own: &[u16], outside: &[NetworkPolicyPort]) -> NetworkPolicyIngressRule {
    let mut rule = rule(None, own);
    for port in outside {
        let open = rule.ports.get_or_insert_default();
        if !open.contains(port) {
            open.push(port.clone());
        }
    }
    rule
}

fn peer(pods: Option<LabelSelector>, namespaces: Option<LabelSelector>) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: pods,
        namespace_selector: namespaces,
        ip_block: None,
    }
}

fn rule(from: Option<Vec<NetworkPolicyPeer>>, ports: &[u16]) -> NetworkPolicyIngressRule {
    let port = |port: &u16| NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(*port))),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    NetworkPolicyIngressRule {
        from,
        ports: Some(ports.iter().map(port).collect()),
    }
}
