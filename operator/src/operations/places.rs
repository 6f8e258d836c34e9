//! PURE: whether rebuilt members can be placed on the nodes that a request names, as far as that is known before the
//! first of them is touched. What only the scheduler knows (how much of a node is free, pods of others) is its to say:
//! such a member waits, and the InstanceSet's status has the scheduler's words.

use std::collections::BTreeMap;

use etcd_operator_api::quantity::amount;
use etcd_operator_api::volume::VolumeClaimTemplate;
use etcd_operator_api::{InstanceSet, names};
use k8s_openapi::api::core::v1::{
    Node, NodeSelectorTerm, PersistentVolume, Pod, PodAffinityTerm, PodSpec, PodTemplateSpec,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::node::{self, Unfit};

/// Annotation that marks the default storage class.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Provisioner of classes whose volumes are made by hand.
const BY_HAND: &str = "kubernetes.io/no-provisioner";
/// Label that every node has, with its name in most clusters.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What was seen of nodes and storage.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Places {
    /// The nodes that are named, and those that pods of the Cluster are on; one that is not there is missing.
    pub(super) nodes: BTreeMap<String, Node>,
    /// Storage classes.
    pub(super) classes: Vec<StorageClass>,
    /// Volumes, where [`asks_for_volumes`] says that they matter.
    pub(super) volumes: Vec<PersistentVolume>,
}

/// Why a member cannot be placed on a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotThere {
    #[error("is not there: name a node that kubectl get nodes shows")]
    NoNode,
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(
        "has the same {topology} as {pod}, and the required podAntiAffinity of schedulingPolicy keeps the two apart: name \
         another one"
    )]
    Beside { pod: String, topology: String },
    #[error("is in none of allowedTopologies of storage class {0}: name one that is")]
    Topology(String),
    #[error(
        "has too few free volumes of storage class {class}, which makes none by itself, for claim {claim}: make one there, or \
         name another node"
    )]
    NoVolume { class: String, claim: String },
    #[error(
        "does not reach the volume of claim {claim}, and storage class {class} makes volumes before a node is chosen \
         (volumeBindingMode Immediate), so that the new one may be elsewhere too: take a class with WaitForFirstConsumer, or \
         name a node that reaches it"
    )]
    Elsewhere { class: String, claim: String },
}

/// A component, and the members of it that are placed.
pub(super) struct Asked<'a> {
    pub(super) set: &'a InstanceSet,
    /// Nodes by pod.
    pub(super) targets: BTreeMap<&'a str, &'a str>,
    /// The Cluster's pods.
    pub(super) pods: &'a BTreeMap<String, Pod>,
    pub(super) places: &'a Places,
}

impl Asked<'_> {
    /// Whether `pod` can be placed where it is wanted.
    pub(super) fn check(&self, pod: &str) -> Result<(), NotThere> {
        let Some(target) = self.targets.get(pod) else {
            return Ok(());
        };
        let node = self.places.nodes.get(*target).ok_or(NotThere::NoNode)?;
        // One that cannot be read is refused by the InstanceSet's controller, which makes no pod of it.
        let template = self.set.spec.template.parse::<PodTemplateSpec>("template");
        let template = template.ok().and_then(|template| template.spec);
        let template = template.unwrap_or_default();
        node::fits(node, &template)?;
        self.apart(pod, node, &template)?;
        let claims = &self.set.spec.volume_claim_templates;
        claims
            .iter()
            .try_for_each(|claim| self.volume(pod, node, claim))
    }

    /// Members that are there, or are placed there by the same request.
    fn apart(&self, pod: &str, node: &Node, template: &PodSpec) -> Result<(), NotThere> {
        let affinity = template.affinity.as_ref();
        let affinity = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let terms = affinity.and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_deref()
        });
        for term in terms.unwrap_or_default() {
            let topology = term.topology_key.clone();
            let domain = domain(node, &topology);
            let is_near = |name: &str| {
                let other = self.places.nodes.get(name);
                domain.is_some() && other.and_then(|other| self::domain(other, &topology)) == domain
            };
            let others = self.pods.iter().filter(|(name, _)| *name != pod);
            for (name, other) in others.filter(|(_, other)| self.is_meant(term, other)) {
                let now = other
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.node_name.as_deref());
                let then = self.targets.get(name.as_str()).copied();
                if now.into_iter().chain(then).any(is_near) {
                    let pod = name.clone();
                    return Err(NotThere::Beside { pod, topology });
                }
            }
        }
        Ok(())
    }

    /// Whether the term is about the other pod. One that takes more than the two to say is the scheduler's.
    fn is_meant(&self, term: &PodAffinityTerm, other: &Pod) -> bool {
        let by_keys =
            |keys: &Option<Vec<String>>| keys.as_ref().is_some_and(|keys| !keys.is_empty());
        if by_keys(&term.match_label_keys) || by_keys(&term.mismatch_label_keys) {
            return false;
        }
        let namespaces = term.namespaces.as_deref().unwrap_or_default();
        let own = self.set.namespace().unwrap_or_default();
        let here = match &term.namespace_selector {
            Some(selector) if *selector == LabelSelector::default() => true,
            None if namespaces.is_empty() => true,
            _ => namespaces.contains(&own),
        };
        let selector = term.label_selector.clone().map(Selector::try_from);
        here && matches!(selector, Some(Ok(selector)) if selector.matches(other.labels()))
    }

    /// Whether the member's new volume can be there.
    fn volume(
        &self,
        pod: &str,
        node: &Node,
        template: &VolumeClaimTemplate,
    ) -> Result<(), NotThere> {
        let Some(class) = class_of(template, &self.places.classes) else {
            return Ok(());
        };
        let terms = class.allowed_topologies.as_deref().unwrap_or_default();
        if !node::in_topology(node, terms) {
            return Err(NotThere::Topology(class.name_any()));
        }
        let claim = names::claim(&template.name, pod);
        let class_name = class.name_any();
        let mut volumes = self.places.volumes.iter();
        if class.provisioner == BY_HAND {
            let wanted = self.wanted(node, &class_name, template);
            let free = volumes.filter(|volume| {
                is_free(volume, &class_name, template, node) && self.is_for(volume, &wanted)
            });
            return match free.count() >= wanted.len() {
                true => Ok(()),
                false => Err(NotThere::NoVolume {
                    class: class_name,
                    claim,
                }),
            };
        }
        let own = |volume: &&PersistentVolume| {
            let spec = volume.spec.as_ref();
            let of = spec.and_then(|spec| spec.claim_ref.as_ref());
            // One of an earlier claim of the name may still be there, released.
            let bound = phase(volume) == Some("Bound");
            of.is_some_and(|of| {
                of.name.as_ref() == Some(&claim) && of.namespace == self.set.namespace() && bound
            })
        };
        match volumes.find(own).filter(|_| is_immediate(class)) {
            Some(volume) if !reaches(volume, node) => Err(NotThere::Elsewhere {
                class: class_name,
                claim,
            }),
            _ => Ok(()),
        }
    }
}

impl Asked<'_> {
    /// The claims that want volumes of the class on the node, as large as the template's or larger: what fits a larger
    /// one fits this one too, so where there are enough for each size there are enough for all.
    fn wanted(&self, node: &Node, class: &str, template: &VolumeClaimTemplate) -> Vec<String> {
        let templates = self.set.spec.volume_claim_templates.iter();
        let rivals = templates.filter(|other| {
            let of = class_of(other, &self.places.classes);
            of.is_some_and(|of| of.name_any() == class) && asked(other) >= asked(template)
        });
        let name = node.name_any();
        let pods = self.targets.iter().filter(|(_, target)| **target == name);
        pods.flat_map(|(pod, _)| {
            rivals
                .clone()
                .map(move |other| names::claim(&other.name, pod))
        })
        .collect()
    }

    /// False for a volume that is kept for another claim.
    fn is_for(&self, volume: &PersistentVolume, claims: &[String]) -> bool {
        let spec = volume.spec.as_ref();
        let kept = spec.and_then(|spec| spec.claim_ref.as_ref());
        kept.is_none_or(|kept| {
            let name = kept.name.as_ref();
            kept.namespace == self.set.namespace() && name.is_some_and(|name| claims.contains(name))
        })
    }
}

/// Whether volumes themselves are looked at for these claims.
pub(super) fn asks_for_volumes(
    templates: &[VolumeClaimTemplate],
    classes: &[StorageClass],
) -> bool {
    let mut used = templates
        .iter()
        .filter_map(|claim| class_of(claim, classes));
    used.any(|class| class.provisioner == BY_HAND || is_immediate(class))
}

/// The class of the template's claims; an empty name means the default one.
fn class_of<'a>(
    template: &VolumeClaimTemplate,
    classes: &'a [StorageClass],
) -> Option<&'a StorageClass> {
    let named = template.spec.storage_class_name.as_deref();
    let named = named.filter(|named| !named.is_empty());
    let is_default = |class: &&StorageClass| {
        class.annotations().get(DEFAULT_CLASS).map(String::as_str) == Some("true")
    };
    match named {
        Some(named) => classes.iter().find(|class| class.name_any() == named),
        // Of several, Kubernetes takes the newest.
        None => classes
            .iter()
            .filter(is_default)
            .max_by_key(|class| class.creation_timestamp().map(|made| made.0)),
    }
}

fn is_immediate(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() != Some("WaitForFirstConsumer")
}

fn domain<'a>(node: &'a Node, topology: &str) -> Option<&'a str> {
    let label = node.labels().get(topology).map(String::as_str);
    // A node that has no such label is still a host of its own.
    label.or_else(|| {
        node.metadata
            .name
            .as_deref()
            .filter(|_| topology == HOSTNAME)
    })
}

fn is_free(
    volume: &PersistentVolume,
    class: &str,
    template: &VolumeClaimTemplate,
    node: &Node,
) -> bool {
    let spec = volume.spec.clone().unwrap_or_default();
    let has = spec.capacity.as_ref();
    let has = has.and_then(|capacity| amount(capacity.get("storage")?));
    let asked = asked(template);
    phase(volume) == Some("Available")
        && spec.storage_class_name.as_deref() == Some(class)
        && has.zip(asked).is_none_or(|(has, asked)| has >= asked)
        && reaches(volume, node)
}

fn asked(template: &VolumeClaimTemplate) -> Option<f64> {
    amount(template.spec.resources.requests.get("storage")?)
}

fn phase(volume: &PersistentVolume) -> Option<&str> {
    let status = volume.status.as_ref();
    status.and_then(|status| status.phase.as_deref())
}

fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let spec = volume.spec.as_ref();
    let affinity = spec.and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    let terms = required.map(|required| required.node_selector_terms.as_slice());
    terms.is_none_or(|terms: &[NodeSelectorTerm]| node::meets(node, terms))
}
