//! IO: makes an OpsRequest and follows it until it ends. What is said about it is pure.

use std::time::Duration;

use anyhow::bail;
use etcd_operator_api::{OpsPhase, OpsRequest};
use futures::StreamExt as _;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt};
use tokio::time::{Instant, timeout_at};

use crate::failed::failed;
use crate::out;

/// A request that was not taken up for so long has no operator.
const TAKEN_UP: Duration = Duration::from_secs(15);

/// How following ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    /// It ended in another way.
    Otherwise,
    /// It did not end in time.
    Late,
}

/// Makes the request; its name.
pub(crate) async fn make(api: &Api<OpsRequest>, request: &OpsRequest) -> anyhow::Result<String> {
    let made = api.create(&PostParams::default(), request).await;
    let made = made.map_err(|error| failed("make the OpsRequest", &error))?;
    Ok(made.name_any())
}

/// Tells each step of the request until it ends, or for as long as `limit`.
pub(crate) async fn follow(
    api: &Api<OpsRequest>,
    name: &str,
    limit: Duration,
) -> anyhow::Result<End> {
    let begin = Instant::now();
    let deadline = begin + limit;
    let mut hint_at = Some(begin + TAKEN_UP);
    let mut told = String::new();
    let mut changes = std::pin::pin!(watcher::watch_object(api.clone(), name).default_backoff());
    loop {
        let until = hint_at.map_or(deadline, |hint| hint.min(deadline));
        let next = match timeout_at(until, changes.next()).await {
            Ok(next) => next,
            Err(_) if until < deadline => {
                hint_at = None;
                out::note(
                    "no operator has taken it up yet: is it running? kubectl get deployment -A | grep etcd",
                );
                continue;
            }
            Err(_) => return Ok(End::Late),
        };
        let request = match next {
            Some(Ok(Some(request))) => request,
            Some(Ok(None)) => {
                bail!("OpsRequest {name} was deleted: what it has begun is not taken back")
            }
            Some(Err(error)) => {
                refused(&error)?;
                out::note(&format!("looking again, because: {error}"));
                continue;
            }
            None => bail!("the watch of OpsRequest {name} has ended: kubectl describe ops {name}"),
        };
        if phase(&request).is_some() {
            hint_at = None;
        }
        let line = line(&request);
        if line != told {
            out::say(&format!("{line}\n"))?;
            told = line;
        }
        match phase(&request) {
            Some(OpsPhase::Succeed) => return Ok(End::Succeeded),
            Some(phase) if phase.is_ended() => return Ok(End::Otherwise),
            _ => {}
        }
    }
}

/// What will be refused again is not tried again.
fn refused(error: &watcher::Error) -> anyhow::Result<()> {
    let source = match error {
        watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source) => {
            source
        }
        watcher::Error::WatchError(status) if status.code == 403 => {
            bail!("failed to watch the OpsRequest: {status}")
        }
        _ => return Ok(()),
    };
    match source {
        kube::Error::Api(status) if [401, 403].contains(&status.code) => {
            Err(failed("watch the OpsRequest", source))
        }
        _ => Ok(()),
    }
}

fn phase(request: &OpsRequest) -> Option<OpsPhase> {
    request.status.as_ref()?.phase
}

/// Where the request stands, in one line.
fn line(request: &OpsRequest) -> String {
    let status = request.status.clone().unwrap_or_default();
    let Some(phase) = status.phase else {
        return "not taken up yet".to_owned();
    };
    let mut words = vec![format!("{phase:?}")];
    if phase.is_ended() {
        let took = status.start_timestamp.zip(status.completion_timestamp);
        words.extend(
            took.map(|(from, to)| format!("after {} s", to.0.as_second() - from.0.as_second())),
        );
        let last = status
            .conditions
            .iter()
            .max_by_key(|c| c.last_transition_time.0);
        let last = last.map(|c| format!("({}): {}", c.reason, c.message));
        words.extend(last);
        return words.join(" ");
    }
    words.extend(status.progress);
    let waits = status.components.iter();
    words.extend(waits.filter_map(|(name, part)| {
        let message = part.message.as_ref()?;
        Some(format!("{name}: {message}"))
    }));
    if phase == OpsPhase::Pending {
        let last = status
            .conditions
            .iter()
            .max_by_key(|c| c.last_transition_time.0);
        words.extend(last.map(|c| c.message.clone()));
    }
    words.join("  ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_support::ops;

    fn condition(kind: &str, at: &str) -> serde_json::Value {
        json!({ "type": kind, "status": "True", "reason": format!("{kind}Reason"), "message": format!("{kind} text"),
            "lastTransitionTime": at })
    }

    #[test]
    fn an_end_is_told_with_its_reason_and_how_long_it_took() {
        let conditions = [
            condition("Validated", "2026-01-01T00:00:00Z"),
            condition("Aborted", "2026-01-01T00:01:05Z"),
        ];
        let ended = ops(&json!({ "phase": "Aborted", "conditions": conditions,
            "startTimestamp": "2026-01-01T00:00:00Z", "completionTimestamp": "2026-01-01T00:01:05Z" }));
        assert_eq!(
            line(&ended),
            "Aborted after 65 s (AbortedReason): Aborted text"
        );
        assert_eq!(phase(&ended), Some(OpsPhase::Aborted));
    }

    #[test]
    fn progress_is_told_with_what_is_waited_for() {
        assert_eq!(line(&ops(&json!({}))), "not taken up yet");
        let running = ops(&json!({ "phase": "Running", "progress": "1/3",
            "components": { "etcd": { "reason": "Update", "message": "db-etcd-1 is not ready" } } }));
        assert_eq!(line(&running), "Running  1/3  etcd: db-etcd-1 is not ready");
        let pending = ops(&json!({ "phase": "Pending",
            "conditions": [condition("WaitForProgressing", "2026-01-01T00:00:00Z")] }));
        assert_eq!(line(&pending), "Pending  WaitForProgressing text");
    }
}
