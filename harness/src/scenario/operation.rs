//! Operations on a running cluster, asked for as its owner asks: by an OpsRequest that is made and then watched.

use std::time::Duration;

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;
use serde_json::{Value, json};

use crate::scenario::RunError;
use crate::scenario::subject::{CLUSTER, COMPONENT, Subject};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// What is asked of a running cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// To so many members.
    Scale(u32),
    /// Every pod is made anew.
    Restart,
    /// etcd gets a larger limit of processor time.
    Resize,
    /// Leadership leaves the pod that has it.
    Switchover,
    /// All members are stopped.
    Stop,
    /// They are started again.
    Start,
}

impl Operation {
    /// Members afterwards, of so many before.
    pub(super) const fn members_after(self, before: u32) -> u32 {
        match self {
            Operation::Scale(to) => to,
            _ => before,
        }
    }

    /// The request's spec, for a cluster of `members` whose leader is in the pod `leader`.
    fn spec(self, members: u32, leader: &str) -> Value {
        let component = json!([{ "componentName": COMPONENT }]);
        let mut spec = match self {
            Operation::Scale(to) => {
                let (word, changes) = if to >= members {
                    ("scaleOut", to - members)
                } else {
                    ("scaleIn", members - to)
                };
                json!({ "type": "HorizontalScaling",
                    "horizontalScaling": [{ "componentName": COMPONENT, word: { "replicaChanges": changes } }] })
            }
            Operation::Restart => json!({ "type": "Restart", "restart": component }),
            Operation::Resize => json!({ "type": "VerticalScaling",
                "verticalScaling": [{ "componentName": COMPONENT, "limits": { "cpu": "1500m" } }] }),
            Operation::Switchover => json!({ "type": "Switchover",
                "switchover": [{ "componentName": COMPONENT, "instanceName": leader }] }),
            Operation::Stop => json!({ "type": "Stop", "stop": component }),
            Operation::Start => json!({ "type": "Start", "start": component }),
        };
        spec["clusterName"] = json!(CLUSTER);
        spec
    }

    /// A word for it that is valid in names.
    pub(super) fn word(self) -> String {
        match self {
            Operation::Scale(to) => format!("scale-to-{to}"),
            Operation::Restart => "restart".to_owned(),
            Operation::Resize => "resize".to_owned(),
            Operation::Switchover => "switchover".to_owned(),
            Operation::Stop => "stop".to_owned(),
            Operation::Start => "start".to_owned(),
        }
    }
}

/// A request that was made.
pub(super) struct Asked {
    api: Api<DynamicObject>,
    name: String,
}

/// What a request says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) phase: String,
    pub(super) text: String,
}

impl Told {
    fn of(object: &DynamicObject) -> Self {
        let status = &object.data["status"];
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let last = conditions.last().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            phase: text(&status["phase"]),
            text: format!("{} {}", text(&status["progress"]), text(&last["message"])),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(
            self.phase.as_str(),
            "Succeed" | "Failed" | "Aborted" | "Cancelled"
        )
    }

    pub(super) fn succeeded(&self) -> bool {
        self.phase == "Succeed"
    }
}

/// Makes the request, the `number`th of its run.
pub(super) async fn ask(
    subject: &Subject,
    operation: Operation,
    number: u32,
) -> Result<Asked, RunError> {
    let api = Api::namespaced_with(subject.kube.clone(), &subject.namespace, &resource());
    let name = format!("{}-{number}", operation.word());
    let leader = subject.leader().await.unwrap_or_default();
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "operations.kubeblocks.io/v1alpha1",
        "kind": "OpsRequest",
        "metadata": { "name": name, "namespace": subject.namespace },
        "spec": operation.spec(subject.members, &leader),
    }))
    .map_err(|error| RunError::Wait(error.to_string()))?;
    let made = api.create(&PostParams::default(), &object).await;
    made.map_err(|error| RunError::Wait(format!("failed to make OpsRequest {name}: {error}")))?;
    Ok(Asked { api, name })
}

impl Asked {
    /// Waits until it goes on, or has ended already.
    pub(super) async fn begun(&self) -> Result<Told, RunError> {
        let begun = |told: &Told| told.phase == "Running" || told.has_ended();
        self.wait("begun", timeouts::EFFECT_SLOW, begun).await
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&self, limit: Duration) -> Result<Told, RunError> {
        self.wait("ended", limit, Told::has_ended).await
    }

    async fn wait(
        &self,
        what: &str,
        limit: Duration,
        fits: impl Fn(&Told) -> bool,
    ) -> Result<Told, RunError> {
        let what = format!("OpsRequest {} has {what}", self.name);
        let found = wait_until(what, limit, async || match self.api.get(&self.name).await {
            Ok(object) => {
                let told = Told::of(&object);
                if fits(&told) {
                    Poll::Ready(told)
                } else {
                    Poll::NotYet::<_, String>(format!("{} {}", told.phase, told.text))
                }
            }
            Err(error) => Poll::NotYet(error.to_string()),
        });
        found
            .await
            .map_err(|error| RunError::Wait(error.to_string()))
    }
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "operations.kubeblocks.io",
        "v1alpha1",
        "OpsRequest",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaling_says_the_difference_and_which_way() {
        let wish = |operation: Operation, members| {
            operation.spec(members, "")["horizontalScaling"][0].clone()
        };
        assert_eq!(
            wish(Operation::Scale(5), 3)["scaleOut"]["replicaChanges"],
            2
        );
        assert_eq!(wish(Operation::Scale(1), 3)["scaleIn"]["replicaChanges"], 2);
    }

    #[test]
    fn a_request_tells_its_last_word() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "x", "metadata": {},
            "status": { "phase": "Failed", "progress": "1/2", "conditions": [{ "message": "old" }, { "message": "it lags" }] },
        }))
        .expect("an object");
        let told = Told::of(&object);
        assert!(told.has_ended() && !told.succeeded());
        assert_eq!(told.text, "1/2 it lags");
    }
}
