//! PURE: why a pod does not run, when it is no matter of seconds.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

/// A pod that was placed starts within so many seconds, unless an image takes long or something that it mounts is not
/// there.
const STARTS: i64 = 120;

/// Why it does not run; `None` while it does, or may yet.
pub(super) fn stuck(pod: &Pod, now: Timestamp) -> Option<String> {
    let status = pod.status.as_ref()?;
    let placed = placed(status);
    if let Some(condition) = placed.filter(|condition| condition.status == "False") {
        let text = condition.message.clone().unwrap_or_default();
        return Some(format!("pod {} is not scheduled: {text}", pod.name_any()));
    }
    let mut refused = containers(status).filter_map(|container| refused(pod, container));
    refused.next().or_else(|| late(pod, status, now))
}

fn placed(status: &PodStatus) -> Option<&PodCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == "PodScheduled")
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten())
}

/// What kubelet says of a container that it cannot start.
fn refused(pod: &Pod, container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let usual = matches!(reason, "" | "ContainerCreating" | "PodInitializing");
    let text = waiting.message.as_deref().unwrap_or_default();
    (!usual).then(|| {
        format!(
            "container {} of pod {}: {reason}: {text}",
            container.name,
            pod.name_any()
        )
    })
}

/// None of its containers was ever started although it was placed long ago: kubelet says why in events alone.
fn late(pod: &Pod, status: &PodStatus, now: Timestamp) -> Option<String> {
    let since = placed(status)?.last_transition_time.as_ref()?;
    let started = containers(status).any(|container| {
        let state = container.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    });
    let pending = status.phase.as_deref() == Some("Pending");
    if started || !pending || now.duration_since(since.0).as_secs() < STARTS {
        return None;
    }
    let name = pod.name_any();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    Some(format!(
        "pod {name} was placed on node {} more than {} minutes ago and has not started: `kubectl describe pod {name}` \
         says why (a volume that another node has, a Secret that is not there, an image that takes long)",
        node.unwrap_or("?"),
        STARTS / 60
    ))
}
