//! What the kubelet says of a pod's containers: whether etcd runs, is about to be started again, or cannot run.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;

use super::names as keys;
use super::plan::safety::PATIENCE;

/// What the kubelet calls a container that waits and cannot run without a change.
const BROKEN: [&str; 8] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];
/// Seconds for which a container must have run that its next crash is one of its own, and no part of a loop.
const LASTED: i64 = 10;

/// Why the containers of a pod cannot run, if so.
pub(super) fn broken(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let inits = status.init_container_statuses.iter().flatten();
    let mut all = containers(pod).chain(inits);
    let unschedulable = || {
        let mut conditions = status.conditions.iter().flatten();
        let told = conditions.find(|told| {
            told.type_ == "PodScheduled" && told.reason.as_deref() == Some("Unschedulable")
        })?;
        let why = told.message.as_deref().unwrap_or_default();
        Some(format!("unschedulable: {why}"))
    };
    all.find_map(why_broken).or_else(unschedulable)
}

fn why_broken(container: &ContainerStatus) -> Option<String> {
    let name = &container.name;
    let state = container.state.as_ref()?;
    // Between two crashes of a loop a container is "terminated": the same failure, seen at another moment.
    if let Some(ended) = &state.terminated
        && ended.exit_code != 0
        && container.restart_count > 0
        && !lasted(ended)
    {
        let code = ended.exit_code;
        return Some(format!(
            "container {name}: crash-looping, last exit code {code}"
        ));
    }
    let reason = state.waiting.as_ref()?.reason.as_deref()?;
    BROKEN
        .contains(&reason)
        .then(|| format!("container {name}: {reason}"))
}

/// True for a run that was no failed start.
fn lasted(run: &ContainerStateTerminated) -> bool {
    let (Some(from), Some(to)) = (&run.started_at, &run.finished_at) else {
        return false;
    };
    to.0.as_second() - from.0.as_second() >= LASTED
}

/// Whether the kubelet says that etcd's container runs; any container, when none has that name.
pub(super) fn runs(pod: &Pod) -> bool {
    etcd(pod).any(|container| {
        let state = container.state.as_ref();
        state.is_some_and(|state| state.running.is_some())
    })
}

/// Whether etcd's container has just ended and the kubelet starts it again, in this pod and without delay. One that
/// has not come back for [`PATIENCE`] is not waited for.
pub(super) fn restarts(pod: &Pod, now: Timestamp) -> bool {
    let just = |run: &ContainerStateTerminated| {
        let end = run.finished_at.as_ref();
        end.is_some_and(|end| now.as_second() - end.0.as_second() < PATIENCE)
    };
    etcd(pod).any(|container| {
        let last = container.last_state.as_ref();
        let ended = container.state.as_ref().and_then(|state| {
            let waits = state.waiting.as_ref();
            let before = waits.and_then(|_| last?.terminated.as_ref());
            state.terminated.as_ref().or(before)
        });
        ended.is_some_and(just) && why_broken(container).is_none()
    })
}

/// The container of etcd; all of them, when none has that name.
fn etcd(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let mut specified = pod.spec.iter().flat_map(|spec| &spec.containers);
    let named = specified.any(|container| container.name == keys::ETCD);
    containers(pod).filter(move |container| !named || container.name == keys::ETCD)
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| status.container_statuses.iter().flatten())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-01-01T00:01:00Z";

    /// A pod whose etcd is in a state, after so many restarts.
    fn pod(state: &Value, last: &Value, restarts: i32) -> Pod {
        let named = |name: &str, state: &Value, last: &Value, restarts| {
            json!({ "name": name, "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                    "state": state, "lastState": last })
        };
        let other = json!({ "running": { "startedAt": NOW } });
        let statuses = [
            named("kbagent", &other, &json!({}), 0),
            named(keys::ETCD, state, last, restarts),
        ];
        let pod = json!({
            "metadata": { "name": "m-0" },
            "spec": { "containers": [{ "name": "kbagent" }, { "name": keys::ETCD }] },
            "status": { "containerStatuses": statuses },
        });
        serde_json::from_value(pod).expect("a pod")
    }

    /// A run of so many seconds that ended so many seconds before now.
    fn ended(ran: i64, ago: i64, code: i32) -> Value {
        let now: Timestamp = NOW.parse().expect("a time");
        let at = |seconds| {
            Timestamp::from_second(now.as_second() - seconds)
                .expect("a time")
                .to_string()
        };
        json!({ "terminated": { "exitCode": code, "startedAt": at(ago + ran), "finishedAt": at(ago) } })
    }

    fn seen(pod: &Pod) -> (bool, bool, Option<String>) {
        let now = NOW.parse().expect("a time");
        (runs(pod), restarts(pod, now), broken(pod))
    }

    #[test]
    fn a_member_that_was_killed_comes_back_in_its_pod() {
        let nothing = json!({});
        let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
        let back = (false, true, None);
        // The first time, and the tenth after an hour each.
        assert_eq!(seen(&pod(&ended(3600, 1, 137), &nothing, 0)), back);
        assert_eq!(seen(&pod(&ended(3600, 1, 137), &nothing, 9)), back);
        assert_eq!(seen(&pod(&ended(2, 1, 1), &nothing, 0)), back);
        let creating = pod(&waiting("ContainerCreating"), &ended(60, 1, 137), 1);
        assert_eq!(seen(&creating), back);
        // One that the kubelet does not start again is not waited for.
        let late = pod(&ended(3600, PATIENCE, 137), &nothing, 0);
        assert_eq!(seen(&late), (false, false, None));
    }

    #[test]
    fn one_that_cannot_run_is_not_waited_for() {
        let nothing = json!({});
        let waiting = |reason: &str| json!({ "waiting": { "reason": reason } });
        let looping = seen(&pod(&ended(2, 1, 1), &nothing, 3));
        assert!(!looping.1, "{looping:?}");
        assert_eq!(
            looping.2.as_deref(),
            Some("container etcd: crash-looping, last exit code 1")
        );
        let backs_off = seen(&pod(&waiting("CrashLoopBackOff"), &ended(3600, 1, 1), 3));
        assert!(!backs_off.1 && backs_off.2.is_some(), "{backs_off:?}");
        let never = seen(&pod(&waiting("ImagePullBackOff"), &nothing, 0));
        assert!(!never.1 && never.2.is_some(), "{never:?}");
        let creating = pod(&waiting("ContainerCreating"), &nothing, 0);
        assert_eq!(seen(&creating), (false, false, None));
        let running = json!({ "running": { "startedAt": NOW } });
        let running = pod(&running, &ended(3600, 1, 137), 1);
        assert_eq!(seen(&running), (true, false, None));
    }
}
