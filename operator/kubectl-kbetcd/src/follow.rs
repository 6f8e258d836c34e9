//! IO: makes an object and follows it until it ends. What is said about it is pure.

use std::fmt::Debug;
use std::time::Duration;

use etcd_operator_api::{OpsPhase, OpsRequest};
use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::cli::Output;
use crate::failed::failed;
use crate::out;

/// A request that was not taken up for so long has no operator.
const TAKEN_UP: Duration = Duration::from_secs(15);

/// What is drawn for a name: Kubernetes' own letters, which form no words, but more of them than it draws.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const DRAWN: usize = 8;

/// How following ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    /// It ended in another way.
    Otherwise,
    /// It did not end in time.
    Late,
    /// It was deleted before it ended.
    Deleted,
    /// It cannot be seen any more, and why.
    Unseen(String),
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

/// Makes the object. It is named before it is sent: where an answer is lost, the call is repeated (`retry`), and the
/// name tells that it is there already.
pub(crate) async fn make<K: Followed>(api: &Api<K>, object: &K) -> anyhow::Result<K> {
    let (kind, object) = (K::kind(&()), named(object, rand::random()));
    let error = match api.create(&PostParams::default(), &object).await {
        Ok(made) => return Ok(made),
        Err(error) => error,
    };
    if matches!(&error, kube::Error::Api(status) if status.is_already_exists()) {
        let name = object.name_any();
        let there = api.get(&name).await;
        let there = there.map_err(|error| failed(&format!("read the {kind} {name}"), &error))?;
        if asks_the_same(&object, &there)? {
            return Ok(there);
        }
    }
    Err(failed(&format!("make the {kind}"), &error))
}

/// With a name where it has only the beginning of one.
fn named<K: Resource + Clone>(object: &K, drawn: [u8; DRAWN]) -> K {
    let mut object = object.clone();
    if let Some(mut name) = object.meta_mut().generate_name.take() {
        let letters = drawn.map(|byte| LETTERS[usize::from(byte) % LETTERS.len()]);
        name.extend(letters.map(char::from));
        object.meta_mut().name = Some(name);
    }
    object
}

/// Whether all that is asked for is asked for there, too: the API server adds defaults.
fn asks_the_same<K: Serialize>(asked: &K, there: &K) -> anyhow::Result<bool> {
    let spec =
        |object: &K| -> anyhow::Result<Value> { Ok(serde_json::to_value(object)?["spec"].take()) };
    Ok(is_within(&spec(asked)?, &spec(there)?))
}

fn is_within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            let mut fields = part.iter();
            fields.all(|(name, value)| whole.get(name).is_some_and(|other| is_within(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            let mut items = part.iter().zip(whole);
            part.len() == whole.len() && items.all(|(item, other)| is_within(item, other))
        }
        _ => part == whole,
    }
}

/// Tells each step of the object until it ends, or for as long as `limit`; the object as it was seen last. It is made:
/// what fails here says nothing of how it ends.
pub(crate) async fn follow<K: Followed>(
    api: &Api<K>,
    made: K,
    limit: Duration,
    output: Output,
) -> (End, K) {
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
            Err(_) => return (End::Late, last),
        };
        match next {
            Some(Ok(Some(object))) => last = object,
            Some(Ok(None)) => return (End::Deleted, last),
            Some(Err(error)) => {
                if let Some(why) = refused(&kind, &error) {
                    return (End::Unseen(why), last);
                }
                out::note(&format!("looking again, because: {error}"));
                continue;
            }
            None => {
                let why = format!("the watch of {kind} {name} has ended");
                return (End::Unseen(why), last);
            }
        }
        if last.is_taken_up() {
            hint_at = None;
        }
        let line = last.line();
        if line != told {
            out::step(output, &line);
            told = line;
        }
        if let Some(end) = last.end() {
            return (end, last);
        }
    }
}

/// What will be refused again is not tried again: why.
fn refused(kind: &str, error: &watcher::Error) -> Option<String> {
    let source = match error {
        watcher::Error::InitialListFailed(source) | watcher::Error::WatchStartFailed(source) => {
            source
        }
        watcher::Error::WatchError(status) if status.code == 403 => {
            return Some(format!("failed to watch the {kind}: {status}"));
        }
        _ => return None,
    };
    let is_refusal =
        matches!(source, kube::Error::Api(status) if [401, 403].contains(&status.code));
    is_refusal.then(|| failed(&format!("watch the {kind}"), source).to_string())
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
    use crate::fake_api::Answer;
    use crate::retry;
    use crate::test_support::{ops, server};

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

    /// Makes a Restart at a server that loses the first answer and has an object of this spec then.
    async fn made(spec: Value) -> (anyhow::Result<OpsRequest>, Vec<(String, Value)>) {
        let mut times = 0;
        let (config, asked) = server(move |line, _| {
            times += 1;
            let (code, body) = match (line.starts_with("POST"), times) {
                (true, 1) => (503, json!({ "code": 503, "message": "no answer" })),
                (true, _) => (
                    409,
                    json!({ "code": 409, "reason": "AlreadyExists", "message": "it already exists" }),
                ),
                (false, _) => {
                    let name = line.rsplit('/').next().unwrap_or_default();
                    let metadata = json!({ "name": name, "namespace": "ns", "uid": "u" });
                    (
                        200,
                        json!({ "apiVersion": "operations.kubeblocks.io/v1alpha1", "kind": "OpsRequest",
                        "metadata": metadata, "spec": spec }),
                    )
                }
            };
            Answer {
                code,
                retry_after: None,
                body,
            }
        });
        let api = Api::namespaced(retry::client(config).expect("a client"), "ns");
        let mut request = ops(&Value::Null);
        request.metadata.name = None;
        request.metadata.generate_name = Some("db-restart-".to_owned());
        let made = make(&api, &request).await;
        let asked = asked.lock().expect("no panic").clone();
        (made, asked)
    }

    #[tokio::test]
    async fn what_is_there_by_a_call_whose_answer_was_lost_is_taken_for_what_was_made() {
        let (there, asked) = made(
            json!({ "clusterName": "db", "type": "Restart", "force": false,
            "restart": [{ "componentName": "etcd" }] }),
        )
        .await;
        let there = there.expect("an object");
        let name = there.name_any();
        assert_eq!(there.uid().as_deref(), Some("u"));
        let sent: Vec<&Value> = asked
            .iter()
            .map(|(_, body)| &body["metadata"]["name"])
            .collect();
        assert_eq!(sent, [&json!(name), &json!(name), &Value::Null]);
        let (another, _) = made(json!({ "clusterName": "db", "type": "Restart",
            "restart": [{ "componentName": "web" }] }))
        .await;
        let text = another.expect_err("another one's").to_string();
        assert_eq!(text, "failed to make the OpsRequest: it already exists");
    }

    #[test]
    fn the_page_names_what_a_watch_of_one_object_needs() {
        let page = include_str!("../../../docs/tasks.md");
        let words: Vec<&str> = page.split_whitespace().collect();
        let page = words.join(" ");
        // A watch begins with a list, of one object too.
        for rights in [
            "for `backup` `get`, `list`, `create` and `watch` of `backups`",
            "`get` and `list` of the resources of `apps`, `workloads` and `operations.kubeblocks.io`",
            "for operations `create` and `watch` of `opsrequests`",
        ] {
            assert!(page.contains(rights), "{rights}");
        }
    }

    #[test]
    fn a_name_is_drawn_where_only_its_beginning_is_given() {
        let mut request = ops(&Value::Null);
        assert_eq!(named(&request, [9; DRAWN]).name_any(), "r");
        request.metadata.generate_name = Some("db-restart-".to_owned());
        let drawn = named(&request, [0, 1, 26, 27, 255, 9, 9, 9]);
        assert_eq!(drawn.metadata.name.as_deref(), Some("db-restart-bc9bqmmm"));
        assert_eq!(drawn.metadata.generate_name, None);
    }
}
