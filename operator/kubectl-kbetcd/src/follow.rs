//! IO: makes an object and follows it until it ends. What is said about it is pure.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::bail;
use etcd_operator_api::{OpsPhase, OpsRequest};
use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use crate::cli::Output;
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

/// What is made and then followed.
pub(crate) trait Followed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + 'static
{
    /// kubectl's word for it.
    const RESOURCE: &'static str;

    /// Whether the operator has begun with it.
    fn is_taken_up(&self) -> bool;

    /// Where it stands, in one line.
    fn line(&self) -> String;

    /// How it has ended, if it has.
    fn end(&self) -> Option<End>;
}

/// Makes the object, which has its name then.
pub(crate) async fn make<K: Followed>(api: &Api<K>, object: &K) -> anyhow::Result<K> {
    let made = api.create(&PostParams::default(), object).await;
    made.map_err(|error| failed(&format!("make the {}", K::kind(&())), &error))
}

/// Tells each step of the object until it ends, or for as long as `limit`; the object as it was seen last.
pub(crate) async fn follow<K: Followed>(
    api: &Api<K>,
    made: K,
    limit: Duration,
    output: Output,
) -> anyhow::Result<(End, K)> {
    let (kind, name) = (K::kind(&()), made.name_any());
    let begin = Instant::now();
    let deadline = begin + limit;
    let mut hint_at = Some(begin + TAKEN_UP);
    let mut told = String::new();
    let mut last = made;
    let mut changes = std::pin::pin!(watcher::watch_object(api.clone(), &name).default_backoff());
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
            Err(_) => return Ok((End::Late, last)),
        };
        match next {
            Some(Ok(Some(object))) => last = object,
            Some(Ok(None)) => {
                bail!("{kind} {name} was deleted: what it has begun is not taken back")
            }
            Some(Err(error)) => {
                refused(&kind, &error)?;
                out::note(&format!("looking again, because: {error}"));
                continue;
            }
            None => bail!(
                "the watch of {kind} {name} has ended: kubectl describe {} {name}",
                K::RESOURCE
            ),
        }
        if last.is_taken_up() {
            hint_at = None;
        }
        let line = last.line();
        if line != told {
            out::step(output, &line)?;
            told = line;
        }
        if let Some(end) = last.end() {
            return Ok((end, last));
        }
    }
}

/// What will be refused again is not tried again.
fn refused(kind: &str, error: &watcher::Error) -> anyhow::Result<()> {
    let source = match error {
        watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source) => {
            source
        }
        watcher::Error::WatchError(status) if status.code == 403 => {
            bail!("failed to watch the {kind}: {status}")
        }
        _ => return Ok(()),
    };
    match source {
        kube::Error::Api(status) if [401, 403].contains(&status.code) => {
            Err(failed(&format!("watch the {kind}"), source))
        }
        _ => Ok(()),
    }
}

impl Followed for OpsRequest {
    const RESOURCE: &'static str = "ops";

    fn is_taken_up(&self) -> bool {
        phase(self).is_some()
    }

    fn line(&self) -> String {
        line(self)
    }

    fn end(&self) -> Option<End> {
        match phase(self)? {
            OpsPhase::Succeed => Some(End::Succeeded),
            phase => phase.is_ended().then_some(End::Otherwise),
        }
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
