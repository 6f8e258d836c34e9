//! What the role path knows of a pod: a few words out of its metadata. Data only.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kbagent_protocol::Role;
use kube::{Resource, ResourceExt};

use etcd_operator_api::{InstanceSet, labels};

/// Name of a pod in its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PodKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// One version of one pod, as far as roles are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodFacts {
    /// Name, which is the member's name.
    pub name: String,
    /// Identity of this incarnation of the name.
    pub uid: String,
    /// The version, the guard of every write.
    pub resource_version: String,
    /// The role label's value, from any writer.
    pub role: Option<String>,
    /// The raft term of the last role written; `None` when there is none or it is no number.
    pub term: Option<u64>,
    /// The lowest raft term whose leader may still be labelled; `None` when nothing was fenced off.
    pub fence: Option<u64>,
}

impl PodFacts {
    /// Reads them from any object that has a pod's metadata.
    pub(crate) fn of(pod: &impl ResourceExt) -> Self {
        let number = |key: &str| {
            let written = pod.annotations().get(key);
            written.and_then(|term| term.parse().ok())
        };
        Self {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            resource_version: pod.resource_version().unwrap_or_default(),
            role: pod.labels().get(labels::ROLE).cloned(),
            term: number(labels::ROLE_TERM),
            fence: number(labels::ROLE_FENCE),
        }
    }

    /// True when the label says leader.
    pub(crate) fn is_labelled_leader(&self) -> bool {
        self.role.as_deref() == Some(Role::Leader.as_str())
    }

    /// No leader of a lower term than this may be labelled, whichever pod it is.
    pub(crate) fn floor(&self) -> u64 {
        self.term.max(self.fence).unwrap_or(0)
    }

    /// True when `self` is a later version of the same pod. Versions are numbers that grow (Kubernetes 1.35
    /// promises it, every earlier release did it).
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        let number = |facts: &Self| facts.resource_version.parse::<u64>().unwrap_or(0);
        self.uid == other.uid && number(self) > number(other)
    }
}

/// What the pod watch knows of a pod beyond [`PodFacts`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    /// Name of the InstanceSet.
    pub instance_set: String,
    /// Name of the Cluster.
    pub cluster: String,
    /// Address, once it has one.
    pub ip: Option<String>,
    /// Period of the safety net under the stream.
    pub probe: Duration,
}

/// Reads where a pod belongs and lives; `None` for a pod that no InstanceSet of its label's name controls, and for one
/// whose definition has no `roleProbe`.
pub(crate) fn whereabouts(pod: &Pod) -> Option<Whereabouts> {
    let instance_set = pod.labels().get(labels::WORKLOAD_INSTANCE)?.clone();
    let mut owners = pod.owner_references().iter();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    let group = owner.api_version.split('/').next();
    if owner.name != instance_set
        || owner.kind != InstanceSet::kind(&())
        || group != Some(&*InstanceSet::group(&()))
    {
        return None;
    }
    let asked = pod
        .annotations()
        .get(labels::ROLE_PROBE)
        .map(String::as_str);
    if asked == Some(labels::ROLE_PROBE_OFF) {
        return None;
    }
    let seconds = asked.and_then(|seconds| seconds.parse().ok());
    let seconds = seconds.unwrap_or(labels::ROLE_PROBE_DEFAULT_SECONDS).max(1);
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let cluster = pod.labels().get(labels::INSTANCE).cloned();
    Some(Whereabouts {
        instance_set,
        cluster: cluster.unwrap_or_default(),
        ip: ip.filter(|ip| !ip.is_empty()),
        probe: Duration::from_secs(u64::from(seconds)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(owner: &Value) -> Pod {
        let labels = json!({ labels::WORKLOAD_INSTANCE: "a", labels::INSTANCE: "c" });
        let metadata = json!({ "name": "a-0", "labels": labels, "ownerReferences": owner });
        let pod = json!({ "metadata": metadata, "status": { "podIP": "10.0.0.1" } });
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn only_pods_that_an_instance_set_controls_are_followed() {
        let owner = |kind: &str, name: &str, controls: bool| json!([{ "apiVersion": "workloads.kubeblocks.io/v1", "kind": kind, "name": name, "uid": "u", "controller": controls }]);
        assert!(whereabouts(&pod(&owner("InstanceSet", "a", true))).is_some());
        assert!(whereabouts(&pod(&json!([]))).is_none(), "made by hand");
        assert!(whereabouts(&pod(&owner("InstanceSet", "a", false))).is_none());
        assert!(whereabouts(&pod(&owner("InstanceSet", "b", true))).is_none());
        assert!(whereabouts(&pod(&owner("ReplicaSet", "a", true))).is_none());
    }

    #[test]
    fn a_pod_whose_definition_has_no_role_probe_belongs_to_no_group() {
        let seconds = |probe: &str| {
            let owner = json!([{ "apiVersion": "workloads.kubeblocks.io/v1", "kind": "InstanceSet", "name": "a", "uid": "u", "controller": true }]);
            let mut pod = pod(&owner);
            pod.annotations_mut()
                .insert(labels::ROLE_PROBE.to_owned(), probe.to_owned());
            whereabouts(&pod).map(|place| place.probe.as_secs())
        };
        assert_eq!(seconds(labels::ROLE_PROBE_OFF), None);
        assert_eq!(seconds("30"), Some(30));
        assert_eq!(
            seconds("nonsense"),
            Some(5),
            "what cannot be read is the default"
        );
    }
}
