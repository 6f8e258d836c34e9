//! The pod of a member. Builder only; the template is the component definition's.

use etcd_operator_api::{labels, names};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, PersistentVolumeClaimVolumeSource, Pod, PodSpec, Volume,
};
use kbagent_protocol::Id;
use kube::api::ObjectMeta;

use super::{placement, relabel, revision, template};
use crate::instanceset::desired::Desired;
use crate::instanceset::names as keys;
use crate::instanceset::observed::{PodSeen, Resize};

/// What a pod is made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Purpose<'a> {
    /// The set it bootstraps with; only before the cluster's identifier is latched (B2).
    pub bootstrap: Option<&'a [String]>,
    /// The learner it starts as; only for a claim made for that learner (M11).
    pub join: Option<Id>,
    /// The mark by which it becomes the only member, once (D11).
    pub force: Option<&'a str>,
    /// The node that it is bound to, by a user's choice.
    pub node: Option<&'a str>,
    /// Raft index that its member must have applied to count as caught up (P9).
    pub catch_up: u64,
}

/// True when the pod is what its template says now.
#[must_use]
pub(crate) fn is_current(desired: &Desired, name: &str, pod: &PodSeen) -> bool {
    let lacks = || desired.recreate && relabel::of_pod(desired, name, pod).is_some();
    let current = pod.revision == revision::revision(desired) && pod.resize == Resize::Settled;
    current && !lacks()
}

/// The pod of the member `name`.
#[must_use]
pub(crate) fn build(desired: &Desired, name: &str, purpose: &Purpose<'_>) -> Pod {
    let mut own = template::labels(desired, name);
    let meta = desired.template.metadata.as_ref();
    let mut annotations = meta
        .and_then(|meta| meta.annotations.clone())
        .unwrap_or_default();
    template::record(&own, &mut annotations);
    own.insert(labels::REVISION.to_owned(), revision::revision(desired));
    annotations.insert(keys::CATCH_UP.to_owned(), purpose.catch_up.to_string());
    annotations.insert(keys::BASE.to_owned(), revision::base(desired));
    let mut spec = desired.template.spec.clone().unwrap_or_default();
    spec.hostname = Some(name.to_owned());
    spec.subdomain = Some(desired.name.headless());
    mount_claims(desired, name, &mut spec);
    if let Some(node) = purpose.node {
        placement::bind(&mut spec, node);
    }
    let variables = environment(desired, purpose);
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        give(container, &variables);
    }
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(desired.namespace.clone()),
            labels: Some(own),
            annotations: Some(annotations),
            owner_references: Some(vec![desired.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

fn mount_claims(desired: &Desired, pod: &str, spec: &mut PodSpec) {
    let volumes = spec.volumes.get_or_insert_default();
    for template in &desired.claims {
        volumes.retain(|volume| volume.name != template.name);
        volumes.push(Volume {
            name: template.name.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: names::claim(&template.name, pod),
                read_only: None,
            }),
            ..Volume::default()
        });
    }
}

fn environment(desired: &Desired, purpose: &Purpose<'_>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = desired
        .vars
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some(members) = purpose.bootstrap {
        all.push((keys::ENV_BOOTSTRAP.to_owned(), members.join(",")));
    }
    if let Some(member) = purpose.join {
        all.push((keys::ENV_JOIN.to_owned(), member.to_string()));
    }
    if let Some(mark) = purpose.force {
        all.push((keys::ENV_FORCE.to_owned(), mark.to_owned()));
    }
    all
}

fn give(container: &mut Container, variables: &[(String, String)]) {
    let env = container.env.get_or_insert_default();
    for (name, value) in variables {
        env.retain(|known| known.name != *name);
        env.push(EnvVar {
            name: name.clone(),
            value: Some(value.clone()),
            value_from: None,
        });
    }
}
