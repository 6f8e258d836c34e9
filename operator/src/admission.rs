//! The admission policies that keep others from the operator's objects: what must be installed, and whether it is.
//!
//! Without them everything works, and a member can be taken away by an ordinary edit: so what is missing is reported.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, TypeMeta};
use kube::core::GroupVersionKind;
use kube::runtime::events::EventType;
use kube::{Client, ResourceExt};
use serde_json::Value;
use tokio::time::{interval, timeout};

use crate::client::CALL;
use crate::config::Config;
use crate::controller::{Context, holds};

/// The policies, for the account of [`SHIPPED`].
const POLICIES: &str = include_str!("../../deploy/25-admission.yaml");
/// The account that `deploy/` installs.
const SHIPPED: &str = "system:serviceaccount:kb-system:etcd-operator";
/// How often the installed policies are looked at: people change them rarely, and a look is ten small reads.
const EVERY: Duration = Duration::from_secs(60);
/// How often the event is repeated: the API server forgets one after an hour.
const AGAIN: Duration = Duration::from_secs(55 * 60);

/// The policies are no YAML of objects; a bug.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the admission policies of this program: {0}")]
pub(crate) struct NotRead(String);

/// The policies as YAML, for an operator of this service account.
pub(crate) fn policies(namespace: &str, account: &str) -> String {
    let account = format!("system:serviceaccount:{namespace}:{account}");
    POLICIES.replace(SHIPPED, &account)
}

/// Looks at the policies for ever. What is missing is a figure, a condition of every Cluster, a line in the log and an
/// event of this replica's pod, repeated every hour, for events are forgotten.
///
/// # Errors
/// When this program's own policies cannot be read.
pub(crate) async fn watch(context: &Context) -> anyhow::Result<()> {
    let (namespace, account) = (&context.config.namespace, &context.config.service_account);
    let wanted = parse(&policies(namespace, account))?;
    let mut ticks = interval(EVERY);
    let mut known = Found::default();
    let mut told: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let found = look(&context.client, &wanted).await;
        context
            .metrics
            .admission_missing(found.missing.len() + found.unread.len());
        // A policy that could not be read is where it was.
        if found.unread.is_empty() {
            context.unprotected.send_if_modified(|last| {
                let changed = *last != found.missing;
                last.clone_from(&found.missing);
                changed
            });
        }
        let changed = found != known;
        if changed {
            tell(&found);
        }
        let due = told.is_none_or(|then| then.elapsed() >= AGAIN);
        if !found.missing.is_empty() && (changed || due) {
            told = Some(Instant::now());
            let note = format!(
                "members are not protected, apply what `operator admission` prints: {}",
                found.missing.join("; ")
            );
            let pod = own_pod(&context.config);
            context
                .event(&pod, EventType::Warning, "AdmissionMissing", note)
                .await;
        }
        known = found;
    }
}

/// What the policies were found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    /// Not there, or not what they should be.
    missing: Vec<String>,
    /// Not known: the API server did not answer, or refused.
    unread: Vec<String>,
}

fn own_pod(config: &Config) -> Pod {
    Pod {
        metadata: ObjectMeta {
            name: Some(config.identity.clone()),
            namespace: Some(config.namespace.clone()),
            ..ObjectMeta::default()
        },
        ..Pod::default()
    }
}

fn tell(found: &Found) {
    if *found == Found::default() {
        tracing::info!("the admission policies are installed");
    }
    for text in found.missing.iter().chain(&found.unread) {
        tracing::warn!(
            policy = text,
            "an admission policy does not protect members: apply what `operator admission` prints"
        );
    }
}

fn parse(text: &str) -> Result<Vec<DynamicObject>, NotRead> {
    let values: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| NotRead(error.to_string()))?;
    let objects = values.into_iter().map(serde_json::from_value);
    let objects: Result<_, _> = objects.collect();
    objects.map_err(|error| NotRead(error.to_string()))
}

/// What is not installed as it should be, and why.
async fn look(client: &Client, wanted: &[DynamicObject]) -> Found {
    let mut found = Found::default();
    for object in wanted {
        let types = object.types.clone().unwrap_or_default();
        let name = object.name_any();
        let live = match resource(&types) {
            Some(resource) => {
                let policies: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
                timeout(CALL, policies.get_opt(&name)).await
            }
            None => Ok(Ok(None)),
        };
        let kind = types.kind;
        match live {
            Ok(Ok(live)) => found
                .missing
                .extend(differs(object, live.as_ref()).map(|why| format!("{kind} {name}: {why}"))),
            Ok(Err(error)) => found
                .unread
                .push(format!("{kind} {name}: it cannot be read: {error}")),
            Err(_) => {
                let text = "the API server does not answer";
                found.unread.push(format!("{kind} {name}: {text}"));
            }
        }
    }
    found
}

fn resource(types: &TypeMeta) -> Option<ApiResource> {
    let kind = GroupVersionKind::try_from(types).ok()?;
    Some(ApiResource::from_gvk(&kind))
}

/// Why the live object does not do what the wanted one does; `None` when it does. Pure.
fn differs(wanted: &DynamicObject, live: Option<&DynamicObject>) -> Option<&'static str> {
    let Some(live) = live else {
        return Some("it is not there");
    };
    let same = holds(&wanted.data["spec"], &live.data["spec"]);
    (!same).then_some("it is not what this version needs for its account")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_api::{NEVER, failure, server};

    #[test]
    fn another_account_is_named_everywhere() {
        let text = policies("etcd", "runner");
        assert!(
            !text.contains("kb-system"),
            "the shipped namespace is still named"
        );
        let conditions = text.matches("'system:serviceaccount:etcd:runner'").count();
        assert_eq!(conditions, POLICIES.matches(SHIPPED).count());
        let policies = parse(&text).expect("objects");
        let guarded = policies.iter().filter(|object| {
            object
                .types
                .as_ref()
                .is_some_and(|types| types.kind == "ValidatingAdmissionPolicy")
        });
        assert_eq!(guarded.count(), 5);
    }

    #[test]
    fn a_policy_that_is_gone_or_was_changed_is_noticed() {
        let wanted = parse(POLICIES).expect("objects").remove(0);
        assert_eq!(differs(&wanted, None), Some("it is not there"));
        let mut live = wanted.clone();
        live.data["spec"]["matchConstraints"]["matchPolicy"] = json!("Equivalent");
        assert_eq!(
            differs(&wanted, Some(&live)),
            None,
            "what the server adds does not matter"
        );
        live.data["spec"]["failurePolicy"] = json!("Ignore");
        assert!(differs(&wanted, Some(&live)).is_some());
        let other = parse(&policies("etcd", "runner"))
            .expect("objects")
            .remove(0);
        assert!(
            differs(&wanted, Some(&other)).is_some(),
            "for another account"
        );
    }

    #[tokio::test]
    async fn each_policy_and_binding_is_looked_at() {
        let wanted = parse(POLICIES).expect("objects");
        let (context, asked) = server(|line| match line.contains("bindings/etcd-operator-roles") {
            true => failure(404, "NotFound", "gone"),
            false => failure(403, "Forbidden", "no"),
        });
        let found = look(&context.client, &wanted).await;
        assert_eq!(found.unread.len(), wanted.len() - 1);
        let gone = "ValidatingAdmissionPolicyBinding etcd-operator-roles: it is not there";
        assert_eq!(found.missing, [gone]);
        assert_eq!(asked.lock().expect("no panic").len(), wanted.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_of_which_nothing_is_heard_does_not_hold_the_look_up() {
        let wanted = parse(POLICIES).expect("objects");
        let (context, asked) = server(|line| match line.contains("bindings/etcd-operator-roles") {
            true => (NEVER, json!(null)),
            false => failure(404, "NotFound", "gone"),
        });
        let found = look(&context.client, &wanted).await;
        let silent =
            "ValidatingAdmissionPolicyBinding etcd-operator-roles: the API server does not answer";
        assert_eq!(found.unread, [silent]);
        assert_eq!(asked.lock().expect("no panic").len(), wanted.len());
    }

    #[tokio::test]
    async fn what_is_missing_reaches_every_cluster_and_an_event() {
        let (context, asked) = server(|line| match line.starts_with("GET") {
            true => failure(404, "NotFound", "gone"),
            false => (201, json!({})),
        });
        let mut told = context.unprotected.subscribe();
        tokio::select! {
            ended = watch(&context) => panic!("{ended:?}"),
            () = async {
                told.changed().await.expect("told");
                while !asked.lock().expect("no panic").iter().any(|(line, _)| line.contains("/events")) {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
        assert_eq!(told.borrow().len(), parse(POLICIES).expect("objects").len());
        let asked = asked.lock().expect("no panic");
        let (line, body) = asked
            .iter()
            .find(|(line, _)| line.contains("/events"))
            .expect("an event");
        assert!(line.contains("/namespaces/kb-system/"), "{line}");
        assert_eq!(body["reason"], "AdmissionMissing");
        assert_eq!(body["regarding"]["name"], "operator-0");
    }

    #[test]
    fn kinds_of_the_operator_are_guarded_in_all_their_ways() {
        let objects = parse(POLICIES).expect("objects");
        let rules = |name: &str| {
            let policy = objects
                .iter()
                .find(|object| object.name_any() == name)
                .expect("a policy");
            let rules = &policy.data["spec"]["matchConstraints"]["resourceRules"];
            let rules = rules.as_array().into_iter().flatten();
            let pairs = rules.flat_map(|rule| {
                let words = |of: &str| rule[of].as_array().cloned().unwrap_or_default();
                let operations = words("operations");
                words("resources").into_iter().flat_map(move |resource| {
                    let resource = resource.as_str().unwrap_or_default().to_owned();
                    operations.clone().into_iter().map(move |operation| {
                        format!("{} {resource}", operation.as_str().unwrap_or_default())
                    })
                })
            });
            pairs.collect::<Vec<_>>()
        };
        let owned = rules("etcd-operator-owned-objects");
        for needed in [
            "CREATE components",
            "UPDATE components",
            "DELETE components",
            "CREATE instancesets",
            "DELETE instancesets",
            "UPDATE instancesets/scale",
        ] {
            assert!(owned.contains(&needed.to_owned()), "{needed}: {owned:?}");
        }
        let status = rules("etcd-operator-status");
        for needed in [
            "instancesets/status",
            "components/status",
            "clusters/status",
            "opsrequests/status",
        ] {
            assert!(
                status.contains(&format!("UPDATE {needed}")),
                "{needed}: {status:?}"
            );
        }
        let roles = rules("etcd-operator-roles");
        for needed in ["CREATE pods", "UPDATE pods", "UPDATE pods/status"] {
            assert!(roles.contains(&needed.to_owned()), "{needed}: {roles:?}");
        }
    }
}
