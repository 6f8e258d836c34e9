//! Where the time of a creation goes: when all pods had come how far. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

/// How far all pods have come, in the order of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// All are there.
    Created,
    /// Each has a node.
    Scheduled,
    /// In each, a container has been started.
    FirstContainer,
    /// In each, etcd's has.
    EtcdContainer,
    /// Each is ready.
    Ready,
    /// One is labelled leader, where labels are given.
    Labelled,
    /// The Cluster's phase is Running. Pods do not tell it: it is noted by who looks at the Cluster.
    Running,
}

impl Stage {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Created,
        Self::Scheduled,
        Self::FirstContainer,
        Self::EtcdContainer,
        Self::Ready,
        Self::Labelled,
        Self::Running,
    ];

    /// For the table.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Created => "pods created",
            Self::Scheduled => "pods scheduled",
            Self::FirstContainer => "a container started in each",
            Self::EtcdContainer => "etcd's container started in each",
            Self::Ready => "pods ready",
            Self::Labelled => "leader labelled",
            Self::Running => "phase Running",
        }
    }

    fn reached(self, pods: &[Pod]) -> bool {
        let condition = |pod: &Pod, kind: &str| {
            let status = pod.status.as_ref();
            let mut all = status
                .into_iter()
                .flat_map(|status| status.conditions.iter().flatten());
            all.any(|condition| condition.type_ == kind && condition.status == "True")
        };
        let started = |pod: &Pod, name: Option<&str>| {
            let status = pod.status.as_ref();
            let mut all = status
                .into_iter()
                .flat_map(|status| status.container_statuses.iter().flatten());
            all.any(|container| {
                let runs = container
                    .state
                    .as_ref()
                    .is_some_and(|state| state.running.is_some());
                runs && name.is_none_or(|name| container.name == name)
            })
        };
        match self {
            Self::Created => true,
            Self::Running => false,
            Self::Scheduled => pods.iter().all(|pod| condition(pod, "PodScheduled")),
            Self::FirstContainer => pods.iter().all(|pod| started(pod, None)),
            Self::EtcdContainer => pods.iter().all(|pod| started(pod, Some("etcd"))),
            Self::Ready => pods.iter().all(|pod| condition(pod, "Ready")),
            Self::Labelled => pods.iter().any(|pod| {
                pod.labels()
                    .get(labels::ROLE)
                    .is_some_and(|role| role == "leader")
            }),
        }
    }
}

/// Seconds until all pods had come so far, each as seen ten times a second.
pub(crate) type Stages = BTreeMap<Stage, f64>;

/// Adds the stages that are reached for the first time.
pub(crate) fn note(seen: &mut Stages, pods: &[Pod], members: u32, at: Duration) {
    if pods.len() < members as usize {
        return;
    }
    for stage in Stage::ALL {
        if stage.reached(pods) {
            seen.entry(stage).or_insert(at.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(etcd: bool, ready: bool, role: &str) -> Pod {
        let state = |runs| {
            if runs {
                json!({ "running": {} })
            } else {
                json!({ "waiting": {} })
            }
        };
        let container = |name, runs| json!({ "name": name, "state": state(runs), "image": "", "imageID": "", "ready": false, "restartCount": 0 });
        let condition = |kind, holds: bool| json!({ "type": kind, "status": if holds { "True" } else { "False" } });
        serde_json::from_value(json!({
            "metadata": { "name": "a-0", "labels": { (labels::ROLE): role } },
            "status": {
                "conditions": [condition("PodScheduled", true), condition("Ready", ready)],
                "containerStatuses": [container("kbagent", true), container("etcd", etcd)],
            },
        }))
        .expect("a pod")
    }

    #[test]
    fn a_stage_is_reached_when_the_last_pod_reaches_it_and_noted_once() {
        let mut seen = Stages::new();
        let at = Duration::from_millis;
        note(&mut seen, &[pod(true, true, "leader")], 2, at(100));
        assert!(seen.is_empty(), "one of two pods");
        note(
            &mut seen,
            &[pod(true, true, ""), pod(false, false, "")],
            2,
            at(200),
        );
        assert_eq!(seen.keys().last(), Some(&Stage::FirstContainer));
        note(
            &mut seen,
            &[pod(true, true, "leader"), pod(true, true, "")],
            2,
            at(300),
        );
        assert_eq!(seen[&Stage::FirstContainer], 0.2);
        let later = [Stage::EtcdContainer, Stage::Ready, Stage::Labelled];
        assert!(later.iter().all(|stage| seen[stage] == 0.3), "{seen:?}");
        assert!(!seen.contains_key(&Stage::Running), "no pod tells it");
    }
}
