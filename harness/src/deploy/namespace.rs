//! A namespace for one test: a random name, labelled, deleted when everything worth looking at has been collected.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};

use crate::deploy::{DeployError, owner};
use crate::timeouts;
use crate::wait::{Poll, WaitError, wait_until};

/// Label of these namespaces; its value is the test's name.
const LABEL: &str = "etcd-harness/test";
/// Label with the process that made it and will delete it.
const OWNER: &str = "etcd-harness/owner";

/// A namespace that is there.
#[derive(Clone)]
pub(crate) struct TempNamespace {
    /// Its name.
    pub name: String,
    kube: Client,
}

impl std::fmt::Debug for TempNamespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TempNamespace({})", self.name)
    }
}

/// Most characters of a namespace that tell the test. Paths of backups hold a namespace twice, and the S3 server of the
/// tests makes a file's name, of 255 bytes at most, of such a path in base64.
const MOST: usize = 24;

impl TempNamespace {
    /// Creates one for the test `test`; asked for again while the API server is too busy to answer.
    ///
    /// # Errors
    /// When the API server refuses, or does not answer for a minute.
    pub(crate) async fn create(kube: &Client, test: &str) -> Result<Self, DeployError> {
        let word = label_value(test);
        let name = format!(
            "{}-{:05x}",
            word[..word.len().min(MOST)].trim_end_matches('-'),
            rand::random::<u32>() & 0xf_ffff
        );
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(BTreeMap::from([
                    (LABEL.to_owned(), word),
                    (OWNER.to_owned(), owner::own()),
                ])),
                ..Default::default()
            },
            ..Default::default()
        };
        let api: Api<Namespace> = Api::all(kube.clone());
        let (params, unanswered) = (PostParams::default(), AtomicBool::new(false));
        let what = format!("namespace {name}");
        let created = wait_until(what.clone(), timeouts::EFFECT, async || {
            // Set before the question: one that is cut off may have made it.
            let before = unanswered.swap(true, Ordering::Relaxed);
            let asked = api.create(&params, &namespace);
            match tokio::time::timeout(timeouts::API_CALL, asked).await {
                Ok(answer) => made(answer, before),
                Err(_) => Poll::NotYet("no answer in time".to_owned()),
            }
        });
        match created.await {
            Ok(()) => Ok(Self {
                name,
                kube: kube.clone(),
            }),
            Err(WaitError::Failed { source, .. }) => Err(DeployError::call("create", what, source)),
            Err(error @ WaitError::TimedOut { .. }) => Err(DeployError::Await {
                what,
                seen: error.to_string(),
            }),
        }
    }

    /// Deletes it and everything in it, without waiting. Its pods get a second: handing leadership over from member to
    /// member for as long as there is one would only slow down the test that comes next.
    ///
    /// # Errors
    /// When the API server refuses to delete the namespace.
    pub(crate) async fn delete(&self) -> Result<(), DeployError> {
        let api: Api<Namespace> = Api::all(self.kube.clone());
        match api.delete(&self.name, &DeleteParams::background()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => {
                let what = format!("namespace {}", self.name);
                return Err(DeployError::call("delete", what, error));
            }
        }
        let pods: Api<Pod> = Api::namespaced(self.kube.clone(), &self.name);
        let soon = DeleteParams::default().grace_period(1);
        let deleted = pods.delete_collection(&soon, &ListParams::default()).await;
        // The namespace goes anyway, and refuses for a while after the API server has started: it does not know yet
        // where the Clusters of the operator's policy are.
        if let Err(error) = deleted {
            tracing::info!(namespace = self.name, %error, "its pods go more slowly");
        }
        Ok(())
    }

    /// Leaves it where it is: it has no owner any more and is no leftover.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(crate) async fn keep(&self) -> Result<(), DeployError> {
        let api: Api<Namespace> = Api::all(self.kube.clone());
        let patch = serde_json::json!({"metadata": {"labels": {OWNER: null}}});
        let patched = api
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched
            .map(drop)
            .map_err(|error| DeployError::call("keep", format!("namespace {}", self.name), error))
    }
}

/// What an answer says of a namespace that was asked for. Where an earlier question had no answer it may have made the
/// namespace, whose name is no other's.
fn made(answer: kube::Result<Namespace>, unanswered: bool) -> Poll<(), kube::Error> {
    match answer {
        Ok(_) => Poll::Ready(()),
        Err(kube::Error::Api(status)) if status.code == 409 && unanswered => Poll::Ready(()),
        Err(kube::Error::Api(status)) if status.code != 429 && status.code < 500 => {
            Poll::Failed(kube::Error::Api(status))
        }
        Err(error) => Poll::NotYet(error.to_string()),
    }
}

/// Waits until no namespace of a test is being deleted: its deletion takes processor time from all others.
///
/// # Errors
/// [`DeployError::Await`] with their names when they do not go.
pub(crate) async fn wait_quiet(kube: &Client) -> Result<(), DeployError> {
    let api: Api<Namespace> = Api::all(kube.clone());
    let tests = ListParams::default().labels(LABEL);
    let what = "no namespace of another test is being deleted";
    let quiet = wait_until(what, timeouts::NAMESPACE_GONE, async || {
        match api.list(&tests).await {
            Ok(listed) => {
                let going = listed
                    .items
                    .iter()
                    .filter(|namespace| namespace.metadata.deletion_timestamp.is_some());
                match going
                    .map(ResourceExt::name_any)
                    .reduce(|a, b| a + ", " + &b)
                {
                    None => Poll::Ready(()),
                    Some(names) => Poll::NotYet::<(), String>(names),
                }
            }
            Err(error) => Poll::NotYet(error.to_string()),
        }
    })
    .await;
    quiet.map_err(|error| DeployError::Await {
        what: what.to_owned(),
        seen: error.to_string(),
    })
}

/// Names of all namespaces of tests that are still there.
///
/// # Errors
/// When the API server refuses.
pub(crate) async fn left(kube: &Client) -> Result<Vec<String>, DeployError> {
    let api: Api<Namespace> = Api::all(kube.clone());
    let listed = api.list(&ListParams::default().labels(LABEL)).await;
    let listed = listed.map_err(|error| DeployError::call("list", "namespaces of tests", error))?;
    Ok(listed.items.iter().map(ResourceExt::name_any).collect())
}

/// Names of namespaces whose maker has died on this machine before it deleted them.
///
/// # Errors
/// When the API server refuses or does not answer.
pub(crate) async fn orphaned(kube: &Client) -> Result<Vec<String>, DeployError> {
    let api: Api<Namespace> = Api::all(kube.clone());
    let what = "namespaces of runs";
    let owned = ListParams::default().labels(OWNER);
    let listed = tokio::time::timeout(timeouts::API_CALL, api.list(&owned)).await;
    let listed = listed.map_err(|_| DeployError::Await {
        what: what.to_owned(),
        seen: "the API server gives no answer in time".to_owned(),
    })?;
    let listed = listed.map_err(|error| DeployError::call("list", what, error))?;
    let orphaned = listed.items.iter().filter(|namespace| {
        let owner = namespace.labels().get(OWNER);
        namespace.metadata.deletion_timestamp.is_none()
            && owner.is_some_and(|owner| owner::has_died(owner))
    });
    Ok(orphaned.map(ResourceExt::name_any).collect())
}

/// A test's name as a label's value and the beginning of a namespace's name.
fn label_value(test: &str) -> String {
    let word: String = test
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let word = word.trim_matches('-');
    let word = &word[..word.len().min(63)];
    let word = word.trim_end_matches('-');
    if word.starts_with(|c: char| c.is_ascii_lowercase()) {
        word.to_owned()
    } else {
        format!("t-{word}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn a_namespace_is_asked_for_again_until_there_is_an_answer_and_not_after_a_refusal() {
        let refused = |code| {
            let status = Status::failure("no", "Reason").with_code(code);
            Err(kube::Error::Api(Box::new(status)))
        };
        assert!(matches!(
            made(Ok(Namespace::default()), false),
            Poll::Ready(())
        ));
        for code in [429, 500, 503] {
            assert!(
                matches!(made(refused(code), false), Poll::NotYet(_)),
                "{code}"
            );
        }
        for code in [403, 409, 422] {
            assert!(
                matches!(made(refused(code), false), Poll::Failed(_)),
                "{code}"
            );
        }
        // The answer to the first question was lost.
        assert!(matches!(made(refused(409), true), Poll::Ready(())));
        assert!(matches!(made(refused(403), true), Poll::Failed(_)));
    }

    #[test]
    fn any_test_name_makes_a_valid_label() {
        assert_eq!(
            label_value("failover/leader_killed (3)"),
            "failover-leader-killed--3"
        );
        assert_eq!(label_value("3 of 5"), "t-3-of-5");
        assert!(label_value(&"x/".repeat(80)).len() <= 63);
    }
}
