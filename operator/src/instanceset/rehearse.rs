//! IO in: what the API server says to a pod of a new template, before a pod of the old one is touched. A pod that
//! cannot be made again must not be stopped.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::core::Status;

use super::desired::Desired;
use super::observed::PodSeen;
use super::plan::pods::{self, Purpose};
use super::plan::revision;
use crate::client::message;

/// What Kubernetes' quota says when there is no more; it has no code of its own.
const USED_UP: &str = "exceeded quota";

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
        let mut pod = pods::build(desired, member, &Purpose::default());
        // A name of its own, for the member's pod is there, and always the same, for it is part of the answer.
        pod.metadata.name = Some(format!("{}-dry-run", desired.name.as_str()));
        let all: Api<Pod> = Api::namespaced(client.clone(), &desired.namespace);
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        match all.create(&dry_run, &pod).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if refuses(&status) => {
                return Some(status.message.clone());
            }
            // A webhook may not know dry runs, and a user may have a pod of that name, which is looked at last: none is
            // a reason.
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 409) => {}
            Err(error) => {
                return Some(format!("it was asked and did not say: {}", message(&error)));
            }
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

/// True when the next pod will not be taken either. A quota that is used up may be so by the pods that are there.
fn refuses(status: &Status) -> bool {
    match status.code {
        422 => true,
        // An account or a runtime class that is not there, Pod Security, a policy, a quota that asks for more words.
        403 => !status.message.contains(USED_UP),
        _ => false,
    }
}

fn key(desired: &Desired) -> String {
    format!("{}/{}", desired.namespace, desired.name.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_api::{failure, server};
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
