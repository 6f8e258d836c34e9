//! An object as it is now, from the API server. One that the schema allows and its type does not is reported on the
//! object itself, and does not stop the others.

use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, DeserializeGuard, ObjectMeta};
use kube::runtime::events::EventType;
use kube::{Client, Resource, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use etcd_operator_api::condition::{self, ConditionType, Observation, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::{Context, Head, is_refusal};

/// When an unreadable object is looked at again although it has not changed: this operator may be newer by then.
pub(crate) const UNREADABLE: Duration = Duration::from_secs(300);

/// Objects of a page of a list: annotations alone may be 256 KiB each.
pub(super) const PAGE: u32 = 50;

/// Where a status says that the object cannot be read. The reconciler writes the same place once it can.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blame {
    /// A condition that is false for this reason.
    Condition(ConditionType, Reason),
    /// `phase: Unavailable` and `message`.
    Phase,
}

/// The object as it is now; `None` when it is gone or cannot be read, which is reported.
///
/// # Errors
/// When the API server does not answer.
pub(crate) async fn current<K>(
    context: &Context,
    head: &Head<K>,
    blame: Blame,
) -> kube::Result<Option<K>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    let name = head.name_any();
    let found = raw::<K>(&context.client, &head.metadata)
        .get_opt(&name)
        .await?;
    let watches = &context.metrics.watches;
    let Some(found) = found else {
        watches.readable(&K::kind(&()), &key(&head.metadata));
        return Ok(None);
    };
    let value = serde_json::to_value(found).map_err(kube::Error::SerdeError)?;
    match K::deserialize(&value) {
        Ok(object) => {
            watches.readable(&K::kind(&()), &key(&head.metadata));
            Ok(Some(object))
        }
        Err(error) => {
            tell::<K>(context, &head.metadata, &error.to_string(), blame).await;
            Ok(None)
        }
    }
}

/// The objects of a list that can be read, and the metadata of those that cannot.
///
/// # Errors
/// When the API server does not answer.
pub(crate) async fn list<K>(
    api: &Api<DeserializeGuard<K>>,
    params: &ListParams,
) -> kube::Result<(Vec<K>, Vec<ObjectMeta>)>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    list_as(api, params, |object| object).await
}

/// As [`list`], of each what is needed: all of the others together may be more than there is memory for. Without a
/// limit all are read, page by page.
///
/// # Errors
/// When the API server does not answer.
pub(crate) async fn list_as<K, T>(
    api: &Api<DeserializeGuard<K>>,
    params: &ListParams,
    part: impl Fn(K) -> T,
) -> kube::Result<(Vec<T>, Vec<ObjectMeta>)>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    let mut params = params.clone();
    let all = params.limit.is_none();
    params.limit.get_or_insert(PAGE);
    loop {
        let page = api.list(&params).await?;
        for object in page.items {
            match object.0 {
                Ok(mut object) => {
                    object.meta_mut().managed_fields = None;
                    good.push(part(object));
                }
                Err(error) => bad.push(error.metadata),
            }
        }
        let next = page.metadata.continue_;
        params.continue_token = next.filter(|token| all && !token.is_empty());
        if params.continue_token.is_none() {
            return Ok((good, bad));
        }
    }
}

/// Tells on the object itself that it cannot be read: its status and, once, an event. Its content stays out of the log.
pub(super) async fn tell<K>(context: &Context, meta: &ObjectMeta, reason: &str, blame: Blame)
where
    K: Resource<DynamicType = ()>,
{
    let kind = K::kind(&());
    let text = format!("this {kind} cannot be read: {reason}: correct that field");
    if let Err(error) = mark::<K>(context, meta, &text, blame).await {
        tracing::debug!(%kind, object = key(meta), %error, "the status of an unreadable object is not written");
    }
    if !context.metrics.watches.unreadable(&kind, &key(meta)) {
        return;
    }
    tracing::warn!(%kind, object = key(meta), "an object cannot be read: its event says why");
    let mut about = Head::<K> {
        types: None,
        metadata: meta.clone(),
        _phantom: std::marker::PhantomData,
    };
    about.metadata.managed_fields = None;
    context
        .event(&about, EventType::Warning, "Unreadable", text)
        .await;
}

/// Whether reading something would fail again: the API server does not permit it, does not have the kind (a single
/// object that is not there is no error, and so is a namespace without any), or the answer is not understood. While it
/// is in trouble itself (5xx) it takes no status either.
pub(crate) fn is_lasting(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => is_refusal(status) || status.code == 404,
        kube::Error::SerdeError(_) => true,
        _ => false,
    }
}

/// Tells in the object's status why nothing is done for it.
pub(crate) async fn stuck<K>(context: &Context, object: &K, text: &str, blame: Blame)
where
    K: Resource<DynamicType = ()>,
{
    if let Err(error) = mark::<K>(context, object.meta(), text, blame).await {
        let kind = K::kind(&());
        tracing::debug!(%kind, object = key(object.meta()), %error, "what stops its rounds is not written");
    }
}

/// Writes the text into the status, when it is not there yet.
async fn mark<K>(context: &Context, meta: &ObjectMeta, text: &str, blame: Blame) -> kube::Result<()>
where
    K: Resource<DynamicType = ()>,
{
    let api = raw::<K>(&context.client, meta);
    let name = meta.name.clone().unwrap_or_default();
    let Some(found) = api.get_opt(&name).await? else {
        return Ok(());
    };
    let status = found.data.get("status").cloned().unwrap_or_default();
    let next = blamed(
        &status,
        text,
        meta.generation,
        blame,
        &Time(Timestamp::now()),
    );
    if crate::controller::holds(&next, &status) {
        return Ok(());
    }
    let body = json!({ "metadata": { "uid": meta.uid }, "status": next });
    let patch = Patch::Merge(&body);
    api.patch_status(&name, &PatchParams::default(), &patch)
        .await
        .map(drop)
}

/// What of a status changes when its object cannot be read. Pure.
fn blamed(status: &Value, text: &str, generation: Option<i64>, blame: Blame, now: &Time) -> Value {
    match blame {
        Blame::Phase => json!({ "phase": "Unavailable", "message": text }),
        Blame::Condition(kind, reason) => {
            let conditions = Vec::<Condition>::deserialize(&status["conditions"]);
            let mut conditions = conditions.unwrap_or_default();
            let seen = Observation::new(kind, false, reason, text);
            condition::record(&mut conditions, &[seen], generation, now);
            json!({ "conditions": conditions })
        }
    }
}

fn raw<K>(client: &Client, meta: &ObjectMeta) -> Api<DynamicObject>
where
    K: Resource<DynamicType = ()>,
{
    let resource = ApiResource::erase::<K>(&());
    match &meta.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn key(meta: &ObjectMeta) -> String {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    format!("{namespace}/{}", meta.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use etcd_operator_api::{Cluster, OpsRequest};
    use kube::runtime::watcher::Event;

    use super::super::watched::sort;
    use super::*;
    use crate::fake_api::{Asked, server};

    /// A number that the type does not hold, and a text that must not be logged.
    fn unreadable(name: &str) -> Value {
        json!({ "apiVersion": "apps.kubeblocks.io/v1", "kind": "Cluster",
            "metadata": { "name": name, "namespace": "n", "uid": "u", "generation": 3 },
            "spec": { "terminationPolicy": "Delete", "componentSpecs": [
                { "name": "etcd", "replicas": 3_000_000_000_u32, "env": [{ "name": "PASSWORD", "value": "hunter2" }] }] } })
    }

    fn head() -> Head<Cluster> {
        let object = DeserializeGuard::<Cluster>::deserialize(unreadable("bad"));
        let bad = object.expect("metadata").0.expect_err("unreadable");
        Head {
            types: None,
            metadata: bad.metadata,
            _phantom: std::marker::PhantomData,
        }
    }

    /// An API server with one unreadable Cluster, which takes what is written into its status.
    fn with_unreadable() -> (Context, Arc<Mutex<Vec<Asked>>>) {
        let stored = Mutex::new(unreadable("bad"));
        server(move |line| {
            let mut stored = stored.lock().expect("no panic");
            if line.starts_with("PATCH") {
                stored["status"] = json!({ "written": true });
            }
            (200, stored.clone())
        })
    }

    const BLAME: Blame =
        Blame::Condition(ConditionType::ProvisioningStarted, Reason::PreCheckFailed);

    #[tokio::test]
    async fn an_object_that_cannot_be_read_is_told_of_on_itself_once() {
        let (context, asked) = with_unreadable();
        for _ in 0..2 {
            let found = current::<Cluster>(&context, &head(), BLAME).await;
            assert!(found.expect("an answer").is_none());
        }
        let asked = asked.lock().expect("no panic");
        let events: Vec<_> = asked
            .iter()
            .filter(|(line, _)| line.contains("/events"))
            .collect();
        assert_eq!(events.len(), 1, "{asked:?}");
        assert_eq!(events[0].1["reason"], "Unreadable");
        assert_eq!(events[0].1["regarding"]["kind"], "Cluster");
        let mut written = asked
            .iter()
            .filter(|(line, _)| line.contains("/clusters/bad/status"));
        let condition = &written.next().expect("a status").1["status"]["conditions"][0];
        assert_eq!(
            (&condition["type"], &condition["status"]),
            (&json!("ProvisioningStarted"), &json!("False"))
        );
        assert!(
            condition["message"]
                .as_str()
                .is_some_and(|text| text.contains("cannot be read")),
            "{condition}"
        );
        assert!(
            context
                .metrics
                .text()
                .expect("text")
                .contains(r#"unreadable_objects{kind="Cluster"} 1"#)
        );
    }

    #[test]
    fn a_status_that_says_so_already_is_not_written_again() {
        let now = Time(Timestamp::now());
        let first = blamed(&Value::Null, "why", Some(3), BLAME, &now);
        let later = Time(Timestamp::now() + std::time::Duration::from_secs(9));
        assert_eq!(blamed(&first, "why", Some(3), BLAME, &later), first);
        assert_ne!(blamed(&first, "another", Some(3), BLAME, &later), first);
        let garbage = json!({ "conditions": [{ "type": 5 }] });
        assert_eq!(blamed(&garbage, "why", Some(3), BLAME, &now), first);
    }

    #[tokio::test]
    async fn a_list_leaves_out_what_cannot_be_read() {
        let mut good = unreadable("good");
        good["spec"]["componentSpecs"][0]["replicas"] = json!(3);
        let (context, _) = server(move |_| {
            (
                200,
                json!({ "metadata": {}, "items": [unreadable("bad"), good.clone()] }),
            )
        });
        let api = Api::<DeserializeGuard<Cluster>>::all(context.client.clone());
        let (read, rest) = list(&api, &ListParams::default()).await.expect("a list");
        let read: Vec<_> = read.iter().map(ResourceExt::name_any).collect();
        let rest: Vec<_> = rest
            .iter()
            .filter_map(|meta| meta.name.as_deref())
            .collect();
        assert_eq!((read, rest), (vec!["good".to_owned()], vec!["bad"]));
    }

    #[tokio::test]
    async fn a_list_is_read_in_pages_and_without_what_writers_note() {
        let (context, asked) = server(move |line| {
            let page = |name: &str, next: &str| {
                let mut object = unreadable(name);
                object["spec"]["componentSpecs"][0]["replicas"] = json!(3);
                object["metadata"]["managedFields"] = json!([{ "manager": "x" }]);
                (
                    200,
                    json!({ "metadata": { "continue": next }, "items": [object] }),
                )
            };
            if line.contains("continue=more") {
                page("second", "")
            } else {
                page("first", "more")
            }
        });
        let api = Api::<DeserializeGuard<Cluster>>::all(context.client.clone());
        let names = |read: &[Cluster]| read.iter().map(ResourceExt::name_any).collect::<Vec<_>>();
        let (read, _) = list(&api, &ListParams::default()).await.expect("a list");
        assert_eq!(names(&read), ["first", "second"]);
        assert!(
            read.iter()
                .all(|read| read.metadata.managed_fields.is_none())
        );
        let few = ListParams::default().limit(1);
        let (read, _) = list(&api, &few).await.expect("a list");
        assert_eq!(names(&read), ["first"]);
        let asked = asked.lock().expect("no panic");
        let limits = asked.iter().map(|(line, _)| line.contains("limit=50"));
        assert_eq!(limits.collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn a_watch_goes_on_after_what_cannot_be_read() {
        let guard = |spec: Value| -> DeserializeGuard<OpsRequest> {
            let object = json!({ "metadata": { "name": "a" }, "spec": spec });
            serde_json::from_value(object).expect("a guard")
        };
        let bad = guard(json!({ "clusterName": 5 }));
        let (event, told) = sort(Event::InitApply(bad), |_| None);
        assert!(
            event.is_none() && told.is_some_and(|bad| bad.metadata.name.as_deref() == Some("a"))
        );
        let good = guard(json!({ "clusterName": "a", "type": "Restart" }));
        let (event, told) = sort(Event::Apply(good), |_| None);
        assert!(matches!(event, Some(Ok(Event::Apply(_)))) && told.is_none());
        let bad = guard(json!({ "clusterName": 5 }));
        // It went at once: it was never seen to be on its way out.
        let (event, told) = sort(Event::Delete(bad), |meta| {
            meta.deletion_timestamp.as_ref()?;
            Some(OpsRequest {
                metadata: meta.clone(),
                ..OpsRequest::default()
            })
        });
        let named = |object: &OpsRequest| object.metadata.name.as_deref() == Some("a");
        assert!(matches!(event, Some(Ok(Event::Delete(object))) if named(&object)));
        assert!(told.is_some(), "it is reported all the more");
    }
}
