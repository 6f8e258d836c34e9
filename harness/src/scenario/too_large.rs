//! A size that the driver cannot make is asked for, and taken back by an owner who sets a smaller one: in the end all
//! volumes have that one.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_operator_api::names;
use etcd_operator_api::quantity::amount;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::scenario::edits::{self, DATA};
use crate::scenario::operation::Asked;
use crate::scenario::subject::Subject;
use crate::scenario::{Operation, RunError};
use crate::wait::{Poll, wait_until};

/// What the operator says while a volume grows.
const REASON: &str = "Growing";
/// What Kubernetes says of a claim whose driver has refused the size that it asks for.
const REFUSED: &str = "ControllerResizeInfeasible";
/// How a request ends whose edit another client has replaced.
const ABORTED: &str = "Aborted";

/// A growth that was asked for and cannot come.
pub(super) struct TooLarge {
    subject: Subject,
    operation: Operation,
    asked: Asked,
    /// MiB that the owner sets instead.
    pub(super) then: u32,
}

impl TooLarge {
    pub(super) fn of(subject: &Subject, operation: Operation, asked: Asked, then: u32) -> Self {
        Self {
            subject: subject.clone(),
            operation,
            asked,
            then,
        }
    }

    /// Waits until the driver has refused the size and the operator says so; what it says. Only one claim has asked.
    pub(super) async fn refused(&self) -> Result<String, RunError> {
        let told = self.asked.begun().await?;
        if told.has_ended() {
            let (phase, text) = (told.phase, told.text);
            let why = format!("the request ended {phase} before its size was taken back: {text}");
            return Err(RunError::Wait(why));
        }
        let said = edits::said(&self.subject, REASON, REFUSED).await?;
        let claims = self.claims().await.map_err(RunError::Wait)?;
        let ask = asking(&claims, &self.subject.pod_names());
        match ask.as_slice() {
            [_] => Ok(said),
            _ => Err(RunError::Wait(format!(
                "one claim is to ask for more than it has, and these do: {ask:?}"
            ))),
        }
    }

    /// Sets the smaller size, waits until all volumes have it and the cluster is ready, and proves it.
    pub(super) async fn ended(&mut self, limit: Duration) -> Result<String, RunError> {
        let size = format!("{}Mi", self.then);
        let field = "resources/requests/storage";
        edits::set_claim(&self.subject, field, &size, "set a smaller size").await?;
        let told = self.asked.ended(limit).await?;
        if told.phase != ABORTED {
            return Err(RunError::Wait(format!(
                "the request whose size was taken back ended {}, not {ABORTED}: {}",
                told.phase, told.text
            )));
        }
        self.grown(&size, limit).await?;
        self.subject.wait_whole(limit).await?;
        let before = &self.asked.before;
        self.operation.proof(&self.subject, before, None).await?;
        Ok(format!(
            "all claims have {size} and ask for no more, nothing was restarted, and the request before ended {ABORTED}: \
             {}",
            told.text
        ))
    }

    async fn grown(&self, size: &str, limit: Duration) -> Result<(), RunError> {
        let pods = self.subject.pod_names();
        let what = format!("every claim has {size} and asks for no more");
        let grown = wait_until(what, limit, async || match self.claims().await {
            Ok(claims) => match lacking(&claims, &pods, size) {
                None => Poll::Ready(()),
                Some(wrong) => Poll::NotYet(wrong),
            },
            Err(error) => Poll::NotYet::<_, String>(error),
        });
        grown
            .await
            .map_err(|error| RunError::Wait(error.to_string()))
    }

    async fn claims(&self) -> Result<Vec<PersistentVolumeClaim>, String> {
        let subject = &self.subject;
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(subject.kube.clone(), &subject.namespace);
        let listed = claims.list(&ListParams::default()).await;
        listed
            .map(|listed| listed.items)
            .map_err(|error| error.to_string())
    }
}

/// Bytes that a claim asks for, and bytes that it has.
fn sizes(claim: &PersistentVolumeClaim) -> (Option<f64>, Option<f64>) {
    let spec = claim.spec.as_ref();
    let resources = spec.and_then(|spec| spec.resources.as_ref());
    let status = claim.status.as_ref();
    (
        storage(resources.and_then(|resources| resources.requests.as_ref())),
        storage(status.and_then(|status| status.capacity.as_ref())),
    )
}

fn storage(amounts: Option<&BTreeMap<String, Quantity>>) -> Option<f64> {
    amount(amounts?.get("storage")?)
}

/// The members' claims that ask for more than they have.
fn asking(claims: &[PersistentVolumeClaim], pods: &[String]) -> Vec<String> {
    let members: Vec<String> = pods.iter().map(|pod| names::claim(DATA, pod)).collect();
    let more = |claim: &&PersistentVolumeClaim| {
        let (asked, has) = sizes(claim);
        members.contains(&claim.name_any()) && asked > has
    };
    claims
        .iter()
        .filter(more)
        .map(ResourceExt::name_any)
        .collect()
}

/// Whose claim is not there, or has or asks for another size than this.
fn lacking(claims: &[PersistentVolumeClaim], pods: &[String], size: &str) -> Option<String> {
    let wanted = amount(&Quantity(size.to_owned()));
    pods.iter().find_map(|pod| {
        let name = names::claim(DATA, pod);
        let Some(claim) = claims.iter().find(|claim| claim.name_any() == name) else {
            return Some(format!("claim {name} is not there"));
        };
        let (asked, has) = sizes(claim);
        (wanted.is_none() || asked != wanted || has != wanted)
            .then(|| format!("claim {name} asks for {asked:?} bytes and has {has:?}, not {size}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::Repository;
    use crate::scenario::{Act, catalog};

    fn claim(pod: &str, asks: &str, has: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({ "metadata": { "name": format!("data-{pod}") },
            "spec": { "resources": { "requests": { "storage": asks } } },
            "status": { "capacity": { "storage": has } } }))
        .expect("a claim")
    }

    fn pods() -> Vec<String> {
        ["q-0", "q-1"].map(str::to_owned).to_vec()
    }

    #[test]
    fn one_claim_asks_for_more_than_it_has() {
        let first = claim("q-0", "8Gi", "256Mi");
        let asking = |second| asking(&[first.clone(), second], &pods());
        assert_eq!(asking(claim("q-1", "256Mi", "256Mi")), ["data-q-0"]);
        let both = ["data-q-0", "data-q-1"];
        assert_eq!(asking(claim("q-1", "8Gi", "256Mi")), both);
        assert_eq!(asking(claim("another", "8Gi", "256Mi")), ["data-q-0"]);
    }

    #[test]
    fn every_claim_has_the_size_and_asks_for_no_more() {
        let first = claim("q-0", "512Mi", "512Mi");
        let told = |second| lacking(&[first.clone(), second], &pods(), "512Mi");
        assert_eq!(told(claim("q-1", "0.5Gi", "536870912")), None);
        for second in [
            claim("another", "512Mi", "512Mi"),
            claim("q-1", "8Gi", "256Mi"),
            claim("q-1", "512Mi", "256Mi"),
            claim("q-1", "8Gi", "512Mi"),
            claim("q-1", "8Gi", "8Gi"),
        ] {
            let wrong = told(second.clone()).expect("it is seen");
            assert!(wrong.contains("data-q-1"), "{second:?}: {wrong}");
        }
        assert!(lacking(&[first], &pods()[..1], "no size").is_some());
    }

    #[test]
    fn the_first_size_is_more_than_the_driver_makes_and_the_second_is_not() {
        let repository = Repository::find().expect("the repository");
        let driver = repository.read("images/csi/volumes.go");
        let driver = driver.expect("the driver");
        assert!(driver.contains("least, most = 1 * mebibyte, 4 << 30"));
        let most = 4 << 10;
        let operations = catalog::all().into_iter().flat_map(|scenario| {
            let growing = scenario.is_growing();
            let Act::Faults(trial) = scenario.act else {
                return Vec::new();
            };
            let with = |operation| (operation, growing);
            trial.operations.into_iter().map(with).collect::<Vec<_>>()
        });
        let mut seen = 0;
        for (operation, growing) in operations {
            if let Operation::GrowTooFar { first, then } = operation {
                assert!(growing && first > most && then <= most);
                seen += 1;
            }
        }
        assert!(seen > 0, "no scenario takes a growth back");
    }
}
