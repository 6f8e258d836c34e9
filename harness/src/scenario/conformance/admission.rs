//! Good and bad specs: what is refused, what is reported, and that a running cluster is never touched by either.

use std::time::Duration;

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Error, ResourceExt};
use serde_json::{Value, json};

use super::bring_up::bring_up;
use super::checklist::Checklist;
use super::outcome::found;
use super::requests::bad_requests;
use super::seats::{seats, unmoved};
use super::{first_template, strangers, termination};
use crate::scenario::Lab;
use crate::scenario::outcome::Found;
use crate::scenario::subject::{CLUSTER, MANAGER, Subject};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// How long is waited until a bad spec that was accepted is reported, or a hand-made change taken back.
const REPORTED: Duration = timeouts::patient(Duration::from_secs(20));

pub(crate) async fn admission(lab: &Lab, subject: &Subject) -> Found {
    let mut list = Checklist::new("admission", lab.live.clone());
    counts(subject, &mut list).await;
    if bring_up(lab, subject, &mut list).await {
        let before = seats(subject, &mut list).await;
        bad_specs(subject, &mut list).await;
        Box::pin(first_template::check(subject, &mut list)).await;
        bad_changes(subject, &mut list).await;
        bad_requests(subject, &mut list).await;
        roles_by_hand(subject, &mut list).await;
        Box::pin(strangers::check(subject, &mut list)).await;
        hand_edits(subject, &mut list).await;
        let whole = subject
            .wait_whole(REPORTED)
            .await
            .map_err(|error| error.to_string());
        list.came_about("the running cluster is whole after all of it", whole);
        let before = before.as_deref();
        unmoved("pods of the running cluster", subject, before, &mut list).await;
        termination::check(subject, before, &mut list).await;
    }
    found(list)
}

/// Odd counts are taken; even ones are refused with their odd neighbours named.
async fn counts(subject: &Subject, list: &mut Checklist) {
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    for count in [1, 3, 5, 7] {
        let answer = create(
            subject,
            &with("probe", |spec| spec["replicas"] = json!(count), subject),
            &dry,
        )
        .await;
        list.came_about(format!("{count} members are taken"), answer);
    }
    for count in [-1, 0, 2, 4, 6, 1000] {
        let answer = create(
            subject,
            &with("probe", |spec| spec["replicas"] = json!(count), subject),
            &dry,
        )
        .await;
        list.holds(format!("{count} members are refused"), answer.is_err());
        let said = answer.err().unwrap_or_default();
        if count > 0 && count % 2 == 0 {
            let named =
                said.contains(&(count - 1).to_string()) && said.contains(&(count + 1).to_string());
            list.holds(
                format!("the refusal of {count} names its odd neighbours ({said})"),
                named || count == 1000,
            );
        }
    }
}

/// Specs that cannot be met: refused, or a condition says so and names what is wrong.
async fn bad_specs(subject: &Subject, list: &mut Checklist) {
    type Change = fn(&mut Value);
    let cases: [(&str, &str, Change); 5] = [
        ("unknown-definition", "no-such-definition", |spec| {
            spec["componentDef"] = json!("no-such-definition")
        }),
        ("unknown-version", "9.9.9", |spec| {
            spec["serviceVersion"] = json!("9.9.9")
        }),
        ("bad-quantity", "memory", |spec| {
            spec["resources"]["limits"]["memory"] = json!("a lot")
        }),
        ("bad-storage", "storage", |spec| {
            spec["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] =
                json!("-1Gi");
        }),
        ("missing-class", "no-such-class", |spec| {
            spec["volumeClaimTemplates"][0]["spec"]["storageClassName"] = json!("no-such-class");
        }),
    ];
    for (name, word, change) in cases {
        let object = with(name, change, subject);
        let said = match create(subject, &object, &PostParams::default()).await {
            Err(refusal) => Ok(refusal),
            Ok(()) => reported(subject, name, word).await,
        };
        if let Some(said) = list.came_about(format!("{name} is refused or reported"), said) {
            list.holds(
                format!("what is said of {name} names {word:?}: {said}"),
                said.contains(word),
            );
        }
    }
    let long = format!("x{}", "y".repeat(62));
    let answer = create(
        subject,
        &with(&long, |_| {}, subject),
        &PostParams::default(),
    )
    .await;
    let said = match answer {
        Err(refusal) => Ok(refusal),
        Ok(()) => reported(subject, &long, "name").await,
    };
    list.came_about(
        "a name that is too long for host names is refused or reported",
        said,
    );
    for name in cases.iter().map(|(name, ..)| *name).chain([long.as_str()]) {
        // What was refused is not there.
        let _ = subject
            .clusters()
            .delete(name, &DeleteParams::default())
            .await;
    }
}

/// Changes of the running cluster that must not happen.
async fn bad_changes(subject: &Subject, list: &mut Checklist) {
    for count in [0, 2, 4] {
        let patch =
            json!([{"op": "replace", "path": "/spec/componentSpecs/0/replicas", "value": count}]);
        let answer = change(subject, patch).await;
        list.holds(format!("scaling to {count} is refused"), answer.is_err());
    }
    let patch = json!([{"op": "replace", "path": "/spec/componentSpecs/0/name", "value": "other"}]);
    list.holds(
        "renaming the component is refused",
        change(subject, patch).await.is_err(),
    );
}

/// Roles and terms are written by the operator alone; other labels are free for all.
async fn roles_by_hand(subject: &Subject, list: &mut Checklist) {
    let pods: Api<Pod> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let name = format!("{}-0", Subject::leader_service());
    let merge = PatchParams::default();
    let edits = [
        ("a role", json!({"labels": {labels::ROLE: "no-such-role"}})),
        (
            "a role that is taken away",
            json!({"labels": {labels::ROLE: null}}),
        ),
        (
            "a term",
            json!({"annotations": {labels::ROLE_TERM: "999999"}}),
        ),
        (
            "a fence",
            json!({"annotations": {labels::ROLE_FENCE: "999999"}}),
        ),
    ];
    for (what, metadata) in edits {
        let edit = Patch::Merge(json!({ "metadata": metadata }));
        let edited = pods.patch(&name, &merge, &edit).await;
        list.holds(format!("{what} by hand is refused"), edited.is_err());
    }
    let edit = Patch::Merge(json!({"metadata": {"labels": {"team": "a"}}}));
    let edited = pods.patch(&name, &merge, &edit).await;
    list.came_about(
        "a label of a user's own is taken",
        edited.map(drop).map_err(|error| error.to_string()),
    );
}

/// What is edited by hand in owned objects and in the status is corrected.
async fn hand_edits(subject: &Subject, list: &mut Checklist) {
    let services: Api<Service> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let name = Subject::leader_service();
    let merge = PatchParams {
        field_manager: Some("a-user".to_owned()),
        ..PatchParams::default()
    };
    let edit = json!({"spec": {"selector": {labels::ROLE: "follower"}}});
    let edited = services.patch(&name, &merge, &Patch::Merge(edit)).await;
    list.came_about(
        "the leader service can be edited by hand",
        edited.map_err(|error| error.to_string()),
    );
    let restored = wait_until(
        "the leader service to select the leader again",
        REPORTED,
        async || {
            let role = match services.get(&name).await {
                Ok(service) => service
                    .spec
                    .and_then(|spec| spec.selector?.get(labels::ROLE).cloned()),
                Err(error) => return Poll::NotYet::<(), String>(error.to_string()),
            };
            if role.as_deref() == Some("leader") {
                Poll::Ready(())
            } else {
                Poll::NotYet(format!("it selects {role:?}"))
            }
        },
    )
    .await;
    list.came_about(
        "an edited leader service is corrected",
        restored.map_err(|error| error.to_string()),
    );

    let uid = services
        .get(&name)
        .await
        .ok()
        .and_then(|service| service.uid());
    let deleted = services.delete(&name, &DeleteParams::default()).await;
    list.came_about(
        "the leader service can be deleted by hand",
        deleted.map(drop).map_err(|error| error.to_string()),
    );
    let made = wait_until(
        "the leader service to be made again",
        REPORTED,
        async || match services.get(&name).await {
            Ok(service) if service.uid() != uid => Poll::Ready(()),
            Ok(_) => Poll::NotYet::<(), String>("the old one is still there".to_owned()),
            Err(error) => Poll::NotYet(error.to_string()),
        },
    )
    .await;
    list.came_about(
        "a deleted leader service is made again",
        made.map_err(|error| error.to_string()),
    );
    garbage_in_status(subject, list).await;
}

async fn garbage_in_status(subject: &Subject, list: &mut Checklist) {
    let garbage = json!({"status": {"phase": "Failed", "message": "garbage", "observedGeneration": 4711, "components": {}}});
    let merge = PatchParams {
        field_manager: Some("a-user".to_owned()),
        ..PatchParams::default()
    };
    match subject
        .clusters()
        .patch_status(CLUSTER, &merge, &Patch::Merge(garbage))
        .await
    {
        Err(Error::Api(_)) => list.holds("garbage in the status is refused", true),
        Err(error) => list.wrong(format!("the status could not be written: {error}")),
        Ok(_) => {
            let right = wait_until(
                "the status to be true again",
                REPORTED,
                async || match subject.clusters().get(CLUSTER).await {
                    Ok(cluster) => {
                        let status = &cluster.data["status"];
                        let generation = cluster.metadata.generation;
                        let right = status["phase"] == "Running"
                            && status["observedGeneration"].as_i64() == generation;
                        if right {
                            Poll::Ready(())
                        } else {
                            Poll::NotYet::<(), String>(status.to_string())
                        }
                    }
                    Err(error) => Poll::NotYet(error.to_string()),
                },
            )
            .await;
            list.came_about(
                "garbage in the status is corrected",
                right.map_err(|error| error.to_string()),
            );
        }
    }
}

/// A Cluster of another name with one thing changed in its component.
fn with(name: &str, change: impl FnOnce(&mut Value), subject: &Subject) -> Value {
    let mut object = subject.etcd(None).manifest();
    object["metadata"]["name"] = json!(name);
    change(&mut object["spec"]["componentSpecs"][0]);
    object
}

async fn create(subject: &Subject, object: &Value, params: &PostParams) -> Result<(), String> {
    let object = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    match subject.clusters().create(params, &object).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

async fn change(subject: &Subject, patch: Value) -> Result<(), String> {
    let patch: kube::core::params::Patch<Value> =
        Patch::Json(serde_json::from_value(patch).map_err(|error| error.to_string())?);
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    subject
        .clusters()
        .patch(CLUSTER, &params, &patch)
        .await
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Waits for a condition or a message in the status that names the word.
async fn reported(subject: &Subject, name: &str, word: &str) -> Result<String, String> {
    wait_until(
        format!("a condition of {name} that names {word:?}"),
        REPORTED,
        async || match subject.clusters().get(name).await {
            Ok(cluster) => {
                let status = &cluster.data["status"];
                let text = format!("{} {}", status["conditions"], status["message"]);
                let running = status["phase"] == "Running";
                if text.contains(word) && !running {
                    Poll::Ready(text)
                } else {
                    Poll::NotYet::<String, String>(status.to_string())
                }
            }
            Err(error) => Poll::NotYet(error.to_string()),
        },
    )
    .await
    .map_err(|error| error.to_string())
}
