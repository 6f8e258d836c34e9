//! PURE: one look -> why the cluster is not as it was asked to be, the most specific reasons first.

use etcd_operator_api::condition::ConditionType;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use crate::look::Seen;
use crate::model::{Report, report};
use crate::reasons::{Explained, explained};

/// Conditions that are bad when they hold; the others are bad when they do not.
const BAD_WHEN_TRUE: [ConditionType; 8] = [
    ConditionType::Terminating,
    ConditionType::InstanceFailure,
    ConditionType::InstanceUpdateRestricted,
    ConditionType::StorageClassAssumed,
    ConditionType::NodeTainted,
    ConditionType::AlarmRaised,
    ConditionType::UpdateHeld,
    ConditionType::Unprotected,
];

/// Why a cluster waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    cluster: String,
    phase: Option<String>,
    message: Option<String>,
    findings: Vec<Cause>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cause {
    /// `Kind/name`.
    object: String,
    reason: String,
    /// As the object says it.
    message: String,
    /// What docs/troubleshooting.md says of the reason.
    #[serde(flatten)]
    explained: Option<Explained>,
}

impl Cause {
    /// A finding that is explained by the first of these words that the document knows; the first is its reason.
    fn new(object: String, words: &[&str], message: &str) -> Self {
        Cause {
            object,
            reason: words.first().copied().unwrap_or_default().to_owned(),
            message: message.to_owned(),
            explained: explained(words),
        }
    }
}

/// Everything that keeps the cluster from what was asked for.
pub(crate) fn explanation(seen: &Seen) -> Explanation {
    let report = report(seen);
    let mut findings = waits(&report);
    findings.extend(seen.pods.iter().flat_map(pod));
    findings.extend(silent(&report));
    findings.extend(requests(&report));
    findings.extend(refused(seen));
    findings.extend(conditions(seen));
    Explanation {
        cluster: report.cluster,
        phase: report.phase,
        message: report.message,
        findings,
    }
}

fn waits(report: &Report) -> Vec<Cause> {
    let mut findings = Vec::new();
    for part in &report.components {
        let object = format!("InstanceSet/{}", part.name);
        let waits = part.waiting_on.iter();
        findings.extend(waits.map(|w| Cause::new(object.clone(), &[&w.reason], &w.message)));
    }
    findings
}

/// What Kubernetes says of a pod that cannot run.
fn pod(pod: &Pod) -> Vec<Cause> {
    let object = format!("Pod/{}", pod.name_any());
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let unscheduled = status.conditions.iter().flatten();
    let unscheduled = unscheduled.filter(|c| c.type_ == "PodScheduled" && c.status == "False");
    let mut findings: Vec<Cause> = unscheduled
        .map(|c| {
            let reason = c.reason.as_deref().unwrap_or("Unschedulable");
            let message = c.message.as_deref().unwrap_or_default();
            Cause::new(object.clone(), &[reason], message)
        })
        .collect();
    let containers = status.container_statuses.iter().flatten();
    let containers = containers.chain(status.init_container_statuses.iter().flatten());
    for container in containers {
        let state = container.state.as_ref().and_then(|s| s.waiting.as_ref());
        let Some(waiting) = state else { continue };
        let reason = waiting.reason.as_deref().unwrap_or_default();
        // Every pod passes through these.
        if ["", "ContainerCreating", "PodInitializing"].contains(&reason) {
            continue;
        }
        let said = waiting.message.as_deref().unwrap_or_default();
        let message = format!("container {}: {said}", container.name);
        findings.push(Cause::new(object.clone(), &[reason], &message));
    }
    findings
}

fn silent(report: &Report) -> Vec<Cause> {
    let members = report.components.iter().flat_map(|part| &part.members);
    let silent = members.filter_map(|m| Some((&m.pod, m.silence.as_ref()?)));
    silent
        .map(|(pod, why)| Cause::new(format!("Pod/{pod}"), &["MemberSilent"], why))
        .collect()
}

fn requests(report: &Report) -> Vec<Cause> {
    let finding = |request: &crate::model::RequestReport| {
        let phase = request.phase.as_deref().unwrap_or("NotTakenUp");
        let message = request.message.as_deref().unwrap_or_default();
        Cause::new(format!("OpsRequest/{}", request.name), &[phase], message)
    };
    report.requests.iter().map(finding).collect()
}

/// Objects that Kubernetes refuses.
fn refused(seen: &Seen) -> Vec<Cause> {
    let of_cluster = seen.cluster.status.iter();
    let of_cluster = of_cluster.flat_map(|status| &status.refused_objects);
    let of_components = seen.components.iter().filter_map(|c| c.status.as_ref());
    let of_components = of_components.flat_map(|status| &status.refused_objects);
    let mut findings: Vec<Cause> = Vec::new();
    for (object, why) in of_cluster.chain(of_components) {
        let new = Cause::new(object.clone(), &["Refused by Kubernetes"], why);
        if !findings.contains(&new) {
            findings.push(new);
        }
    }
    findings
}

fn conditions(seen: &Seen) -> Vec<Cause> {
    let none = Vec::new();
    let mut all = Vec::new();
    let of_cluster = seen
        .cluster
        .status
        .as_ref()
        .map_or(&none, |s| &s.conditions);
    all.push((format!("Cluster/{}", seen.cluster.name_any()), of_cluster));
    for component in &seen.components {
        let conditions = component.status.as_ref().map_or(&none, |s| &s.conditions);
        all.push((format!("Component/{}", component.name_any()), conditions));
    }
    for set in &seen.sets {
        let conditions = set.status.as_ref().map_or(&none, |s| &s.conditions);
        all.push((format!("InstanceSet/{}", set.name_any()), conditions));
    }
    let mut findings = Vec::new();
    for (object, conditions) in all {
        let bad = conditions.iter().filter(|condition| is_bad(condition));
        findings
            .extend(bad.map(|c| Cause::new(object.clone(), &[&c.type_, &c.reason], &c.message)));
    }
    findings
}

fn is_bad(condition: &Condition) -> bool {
    let bad_when_true = BAD_WHEN_TRUE
        .iter()
        .any(|kind| kind.as_str() == condition.type_);
    match condition.status.as_str() {
        "True" => bad_when_true,
        "False" => !bad_when_true,
        _ => true,
    }
}

/// The explanation as text.
pub(crate) fn text(explanation: &Explanation) -> String {
    let phase = explanation.phase.as_deref().unwrap_or("not known");
    let mut lines = vec![format!("cluster {}: {phase}", explanation.cluster)];
    lines.extend(explanation.message.iter().map(|m| format!("  {m}")));
    if explanation.findings.is_empty() {
        lines.push(String::new());
        lines.push("nothing is waited for".to_owned());
    }
    for finding in &explanation.findings {
        lines.push(String::new());
        lines.push(format!("{}: {}", finding.object, finding.reason));
        let mut say = |head: &str, text: &str| {
            if !text.is_empty() {
                lines.push(format!("  {head:<7} {text}"));
            }
        };
        say("says:", &finding.message);
        if let Some(explained) = &finding.explained {
            say("means:", &explained.meaning);
            say("do:", &explained.remedy);
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::test_support::{ops, seen};

    #[test]
    fn a_reason_to_wait_comes_with_what_the_document_says_of_it() {
        let text = text(&explanation(&seen()));
        let row = explained(&["CatchingUp"]).expect("a row of the document");
        let expected = format!(
            "\
cluster db: Updating

InstanceSet/db-etcd: CatchingUp
  says:   db-etcd-1 has applied 100 of 120
  means:  {}
  do:     {}
",
            row.meaning, row.remedy
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn nothing_to_wait_for_is_said() {
        let mut seen = seen();
        seen.sets[0].status.as_mut().expect("a status").waiting_on = Vec::new();
        assert!(text(&explanation(&seen)).ends_with("\nnothing is waited for\n"));
    }

    #[test]
    fn conditions_are_told_where_they_are_bad() {
        let condition = |kind: &str, status: &str| Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: "Some".to_owned(),
            message: "m".to_owned(),
            observed_generation: None,
            last_transition_time: serde_json::from_value(json!("2026-01-01T00:00:00Z"))
                .expect("a time"),
        };
        let mut seen = seen();
        let status = seen.sets[0].status.as_mut().expect("a status");
        status.waiting_on = Vec::new();
        status.conditions = vec![
            condition("Quorate", "False"),
            condition("InstanceReady", "True"),
            condition("AlarmRaised", "True"),
            condition("InstanceFailure", "False"),
            condition("Reconciled", "Unknown"),
        ];
        let told = explanation(&seen).findings;
        let reasons: Vec<&str> = told.iter().map(|f| f.reason.as_str()).collect();
        assert_eq!(reasons, ["Quorate", "AlarmRaised", "Reconciled"]);
        assert!(told.iter().all(|f| f.explained.is_some()), "{told:?}");
    }

    #[test]
    fn a_pod_that_cannot_run_says_what_kubernetes_says() {
        let mut seen = seen();
        let waiting = json!({ "name": "etcd", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } });
        let creating = json!({ "name": "kbagent", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ContainerCreating" } } });
        let status = json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes" }], "containerStatuses": [waiting, creating] });
        seen.pods[1].status = Some(serde_json::from_value(status).expect("a status"));
        let told = explanation(&seen).findings;
        let pod: Vec<&Cause> = told
            .iter()
            .filter(|f| f.object == "Pod/db-etcd-1")
            .collect();
        assert_eq!(pod.len(), 2, "{told:?}");
        assert_eq!(
            (pod[0].reason.as_str(), pod[0].message.as_str()),
            ("Unschedulable", "0/3 nodes")
        );
        assert_eq!(pod[1].message, "container etcd: no such image");
        assert!(pod.iter().all(|f| f.explained.is_some()), "{pod:?}");
    }

    #[test]
    fn silent_agents_requests_and_refused_objects_are_reasons_too() {
        let mut seen = seen();
        seen.views.insert("db-etcd-1".into(), Err("refused".into()));
        seen.requests = vec![
            ops(&json!({ "phase": "Pending" })),
            ops(&json!({ "phase": "Failed" })),
        ];
        let status = seen.cluster.status.as_mut().expect("a status");
        status.refused_objects = [("Service/x".to_owned(), "port is taken".to_owned())].into();
        let json = serde_json::to_value(explanation(&seen)).expect("JSON");
        let findings = json["findings"].as_array().expect("an array");
        let reasons: Vec<&str> = findings
            .iter()
            .filter_map(|f| f["reason"].as_str())
            .collect();
        assert_eq!(
            reasons,
            [
                "CatchingUp",
                "MemberSilent",
                "Pending",
                "Refused by Kubernetes"
            ]
        );
        for finding in findings {
            assert!(finding["remedy"].is_string(), "{finding}");
        }
    }
}
