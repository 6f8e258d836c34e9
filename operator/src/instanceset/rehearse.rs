//! IO in: what the API server says to a pod of a new template, before a pod of the old one is touched, and to claims
//! and pod of a member that is to move, before the old one is given up. What cannot be made again must stay.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, PostParams};
use kube::core::Status;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::desired::Desired;
use super::observed::PodSeen;
use super::plan::pods::{self, Purpose};
use super::plan::{revision, volumes};
use crate::client::message;

/// What Kubernetes' quota says when there is no more; it has no code of its own.
const USED_UP: &str = "exceeded quota";
/// What the resources of a quota for one storage class have in their names.
const OF_A_CLASS: &str = ".storageclass.storage.k8s.io/";

/// Revisions that the API server takes, by InstanceSet. One that is refused is asked about again: a webhook or a policy
/// may have changed.
#[derive(Debug, Default)]
pub(crate) struct Rehearsals(Mutex<HashMap<String, String>>);

impl Rehearsals {
    /// Why the API server takes no pod of the template, when pods of another one are there. When it cannot say, that is
    /// the reason: only the update waits for it, members are still looked after.
    pub(super) async fn refusal(
        &self,
        client: &Client,
        desired: &Desired,
        there: &BTreeMap<String, PodSeen>,
    ) -> Option<String> {
        let outdated = |(name, pod): (&String, &PodSeen)| {
            desired.wants(name) && pod.owned && !pods::is_current(desired, name, pod)
        };
        let (revision, key) = (revision::revision(desired), key(desired));
        if !there.iter().any(outdated) || self.known().get(&key) == Some(&revision) {
            return None;
        }
        let member = desired.members.first()?;
        if let Err(why) = ask(client, desired, pod(desired, member)).await {
            return Some(why);
        }
        self.known().insert(key, revision);
        None
    }

    /// The InstanceSet, by namespace and name, is gone.
    pub(super) fn forget(&self, set: &str) {
        self.known().remove(set);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What would replace the member of this pod, whose claims are to be of the class that is named: the class that the API
/// server puts into each claim, by template, where it says. It is asked each time: a member that has its data is given
/// up on the answer.
///
/// # Errors
/// Why it cannot be had.
pub(super) async fn replacement(
    client: &Client,
    desired: &Desired,
    member: &str,
) -> Result<BTreeMap<String, String>, String> {
    let mut classes = BTreeMap::new();
    for template in &desired.claims {
        refused_class(client, template.spec.class()).await?;
        let mut claim = volumes::build(desired, template, member, None);
        let name = format!("{}-{}-dry-run", template.name, desired.name.as_str());
        claim.metadata.name = Some(name);
        let made = ask(client, desired, claim).await;
        let made = made.map_err(|why| format!("a claim of template {}: {why}", template.name))?;
        let class = made.and_then(|claim| claim.spec?.storage_class_name);
        classes.extend(class.map(|class| (template.name.clone(), class)));
    }
    let made = ask(client, desired, pod(desired, member)).await;
    made.map_err(|why| format!("its pod: {why}"))?;
    Ok(classes)
}

/// Why no volume is made of the class. One that is not named is the API server's to choose.
async fn refused_class(client: &Client, class: Option<&str>) -> Result<(), String> {
    let Some(class) = class else {
        return Ok(());
    };
    let classes: Api<StorageClass> = Api::all(client.clone());
    match classes.get_metadata_opt(class).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(format!("storage class {class:?} does not exist")),
        Err(error) => {
            let error = message(&error);
            Err(format!("storage class {class:?} cannot be read: {error}"))
        }
    }
}

/// The member's pod, by a name of its own, for the member's is there, and always the same, for it is part of the
/// answer.
fn pod(desired: &Desired, member: &str) -> Pod {
    let mut pod = pods::build(desired, member, &Purpose::default());
    pod.metadata.name = Some(format!("{}-dry-run", desired.name.as_str()));
    pod
}

/// What the API server would make of the object, where it can say; nothing is made. An error says why it does not take
/// it, or that it did not answer.
async fn ask<K>(client: &Client, desired: &Desired, object: K) -> Result<Option<K>, String>
where
    K: Resource<Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
    K::DynamicType: Default,
{
    let all: Api<K> = Api::namespaced(client.clone(), &desired.namespace);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match all.create(&dry_run, &object).await {
        Ok(made) => Ok(Some(made)),
        Err(kube::Error::Api(status)) if refuses(&status) => Err(status.message.clone()),
        // A webhook may not know dry runs, and a user may have an object of that name, which is looked at last: none is
        // a reason.
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 409) => Ok(None),
        Err(error) => Err(format!("it was asked and did not say: {}", message(&error))),
    }
}

/// True when the next one will not be taken either. A quota that is used up may be so by what is there, and is freed by
/// what is replaced; that of one storage class is freed by no claim of another one.
fn refuses(status: &Status) -> bool {
    match status.code {
        422 => true,
        // An account or a runtime class that is not there, Pod Security, a policy, a quota that asks for more words.
        403 => !status.message.contains(USED_UP) || status.message.contains(OF_A_CLASS),
        _ => false,
    }
}

fn key(desired: &Desired) -> String {
    format!("{}/{}", desired.namespace, desired.name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fake_api::{Asked, failure, server};
    use crate::instanceset::plan::tests::corrected;

    #[tokio::test]
    async fn a_template_is_asked_about_once_before_its_first_pod_and_again_while_it_is_refused() {
        let text = "Pod \"a-dry-run\" is invalid: spec.containers[0].image: Required value";
        let taken = (201, json!({ "metadata": {}, "spec": { "containers": [] } }));
        let busy = failure(403, "Forbidden", "exceeded quota: small, requested: pods=1");
        let account = "error looking up service account demo/clerk: serviceaccount not found";
        let table = [
            (failure(403, "Forbidden", account), Some(account), 2),
            (failure(422, "Invalid", text), Some(text), 2),
            (
                failure(500, "InternalError", "failed calling webhook"),
                Some("failed calling webhook"),
                2,
            ),
            (taken, None, 1),
            (busy, None, 1),
        ];
        for (answer, refused, times) in table {
            let (context, asked) = server(move |_| answer.clone());
            let rehearsals = Rehearsals::default();
            let (desired, there) = corrected();
            for _ in 0..2 {
                let said = rehearsals.refusal(&context.client, &desired, &there).await;
                assert_eq!(said.is_some(), refused.is_some(), "{said:?}");
                assert!(
                    said.unwrap_or_default()
                        .contains(refused.unwrap_or_default())
                );
            }
            let asked = asked.lock().expect("no panic");
            assert_eq!(asked.len(), times, "{asked:?}");
            let (line, body) = &asked[0];
            assert!(
                line.contains("/namespaces/demo/pods?") && line.contains("dryRun=All"),
                "{line}"
            );
            assert_eq!(body["metadata"]["name"], "a-dry-run");
            assert_eq!(body["spec"]["containers"][0]["image"], "etcd:2");
        }
    }

    type Replaced = Result<BTreeMap<String, String>, String>;

    /// What is said of a member that is to move to class `fast`, by an API server that answers what it is asked about
    /// the class, the claim and the pod, and what it was asked.
    async fn replaced(answers: [(u16, Value); 3]) -> (Replaced, Vec<Asked>) {
        let (context, asked) = server(move |line| {
            let at = ["/storageclasses/fast", "/persistentvolumeclaims?", "/pods?"];
            let at = at.iter().position(|part| line.contains(part));
            at.map_or(failure(404, "NotFound", line), |at| answers[at].clone())
        });
        let (mut desired, _) = corrected();
        desired.claims[0].spec.storage_class_name = Some("fast".to_owned());
        let said = replacement(&context.client, &desired, "a-2").await;
        let asked = asked.lock().expect("no panic").clone();
        (said, asked)
    }

    #[tokio::test]
    async fn a_member_is_given_up_only_where_its_new_claim_and_pod_can_be_had() {
        let kind = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {} });
        let class = || (200, kind.clone());
        let claim = || (201, json!({ "metadata": {} }));
        let pod = || (201, json!({ "metadata": {}, "spec": { "containers": [] } }));
        let forbidden = |text| failure(403, "Forbidden", text);
        let of_class =
            "exceeded quota: q, requested: fast.storageclass.storage.k8s.io/requests.storage=1Gi";
        let of_all =
            "exceeded quota: q, requested: requests.storage=1Gi, used: requests.storage=3Gi";
        let security = "violates PodSecurity \"restricted:latest\"";
        let table = [
            ([class(), claim(), pod()], None),
            (
                [failure(404, "NotFound", "it is gone"), claim(), pod()],
                Some("storage class \"fast\" does not exist"),
            ),
            (
                [failure(500, "InternalError", "no etcd"), claim(), pod()],
                Some("no etcd"),
            ),
            ([class(), forbidden(of_class), pod()], Some(of_class)),
            // The claim that goes frees as much as the new one needs.
            ([class(), forbidden(of_all), pod()], None),
            (
                [class(), forbidden("a policy wants labels"), pod()],
                Some("a policy wants labels"),
            ),
            ([class(), claim(), forbidden(security)], Some(security)),
            (
                [
                    class(),
                    claim(),
                    forbidden("exceeded quota: q, requested: pods=1"),
                ],
                None,
            ),
        ];
        for (answers, expected) in table {
            let (said, asked) = replaced(answers).await;
            let said = said.err();
            assert_eq!(said.is_some(), expected.is_some(), "{said:?}");
            let said = said.unwrap_or_default();
            assert!(said.contains(expected.unwrap_or_default()), "{said}");
            let posts = asked.iter().filter(|(line, _)| line.starts_with("POST"));
            for (line, body) in posts {
                assert!(line.contains("dryRun=All"), "{line}");
                let name = body["metadata"]["name"].as_str().unwrap_or_default();
                assert!(name.ends_with("a-dry-run"), "{name}");
            }
        }
        let policy = json!({ "metadata": {}, "spec": { "storageClassName": "fast-encrypted" } });
        let (said, asked) = replaced([class(), (201, policy), pod()]).await;
        let made = ("data".to_owned(), "fast-encrypted".to_owned());
        assert_eq!(said, Ok(BTreeMap::from([made])));
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert_eq!(asked[1].1["spec"]["storageClassName"], "fast");
    }

    #[tokio::test]
    async fn pods_that_are_current_are_not_asked_about() {
        let (context, asked) = server(|_| failure(500, "", ""));
        let (mut desired, there) = corrected();
        let spec = desired.template.spec.as_mut().expect("a spec");
        spec.containers[0].image = Some("etcd:1".to_owned());
        let said = Rehearsals::default();
        let said = said.refusal(&context.client, &desired, &there).await;
        assert_eq!(said, None);
        assert!(asked.lock().expect("no panic").is_empty());
    }
}
