//! Asks an agent to move leadership. The agent chooses who is fit, moves, and answers when it has seen the new leader.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etcd_operator_api::labels;
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::ops_request::Switchover;
use etcd_operator_api::{InstanceSet, OpsRequest};
use k8s_openapi::api::core::v1::Pod;
use kbagent_protocol::{ActionRequest, SwitchoverOutput, action, parameter};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::observed::{Moved, NotMoved};
use crate::agent::{Error, Peer};
use crate::controller::Context;
use crate::token;

/// Error codes of an agent that must not be retried.
const FINAL: [&str; 4] = [
    "badRequest",
    "preconditionFailed",
    "notDefined",
    "notImplemented",
];

/// Carries out all switchovers of a request; tells what was seen.
pub(super) async fn carry_out(context: &Context, request: &OpsRequest) -> Result<Moved, NotMoved> {
    let mut told = Vec::new();
    let mut moved = Moved::default();
    for wish in &request.spec.switchover {
        let (leader, text) = one(context, request, wish).await?;
        let component = wish.component_name.clone().unwrap_or_default();
        moved.leaders.insert(component, leader);
        told.push(text);
    }
    moved.text = told.join("; ");
    Ok(moved)
}

async fn one(
    context: &Context,
    request: &OpsRequest,
    wish: &Switchover,
) -> Result<(String, String), NotMoved> {
    let namespace = request.namespace().unwrap_or_default();
    let component = wish.component_name.clone().unwrap_or_default();
    let unknown = |why: String| NotMoved::Unknown(why);
    let name = ComponentName::new(&request.spec.cluster_name, &component);
    let name = name.map_err(|error| NotMoved::Refused(error.to_string()))?;
    let token = token::read(&context.client, &namespace, &name).await;
    let token = token.map_err(|error| unknown(error.to_string()))?;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let selector = format!("{}={}", labels::WORKLOAD_INSTANCE, name.as_str());
    let pods = pods.list(&ListParams::default().labels(&selector)).await;
    let mut pods = pods.map_err(|error| unknown(error.to_string()))?;
    let sets: Api<InstanceSet> = Api::namespaced(context.client.clone(), &namespace);
    let set = sets.get_metadata_opt(name.as_str()).await;
    let set = set.map_err(|error| unknown(error.to_string()))?;
    // The token is for members only.
    let set = set.and_then(|set| set.uid());
    pods.items.retain(|pod| is_member(set.as_deref(), pod));
    // The leader's own agent first: it need not ask its way.
    let leads = |pod: &Pod| {
        pod.labels()
            .get(labels::ROLE)
            .is_some_and(|role| role == "leader")
    };
    let leader = pods.items.iter().find(|pod| leads(pod));
    let via = leader.or_else(|| pods.items.iter().find(|pod| agent(pod).is_some()));
    let Some(peer) = via.and_then(agent) else {
        return Err(unknown(format!(
            "no agent of {} has an address",
            name.as_str()
        )));
    };
    let candidate = wish.candidate_name.clone().filter(|name| !name.is_empty());
    let mut parameters = vec![(
        parameter::SWITCHOVER_CURRENT_NAME.to_owned(),
        wish.instance_name.clone(),
    )];
    if let Some(candidate) = &candidate {
        parameters.push((
            parameter::SWITCHOVER_CANDIDATE_NAME.to_owned(),
            candidate.clone(),
        ));
    }
    let action = ActionRequest {
        action: action::SWITCHOVER.to_owned(),
        parameters: parameters.into_iter().collect(),
        timeout_seconds: None,
    };
    let answer = context.agents.act(&peer, &token, &action).await;
    let answer = answer.map_err(|error| match error {
        Error::Refused { code, message, .. } if FINAL.contains(&code.as_str()) => {
            NotMoved::Refused(message)
        }
        other => unknown(other.to_string()),
    })?;
    let text = answer.message.clone().unwrap_or_default();
    let output = answer.output.as_ref();
    let output = output.and_then(|output| STANDARD.decode(output).ok());
    let output = output.and_then(|output| serde_json::from_slice(&output).ok());
    judge(wish, output, &text)
}

/// The pod that leads, and what to say, when that is what was asked for.
fn judge(
    wish: &Switchover,
    output: Option<SwitchoverOutput>,
    text: &str,
) -> Result<(String, String), NotMoved> {
    let candidate = wish.candidate_name.as_ref().filter(|name| !name.is_empty());
    let Some(output) = output else {
        let text = format!("the agent's answer holds no leader: {text}");
        return Err(NotMoved::Unknown(text));
    };
    if let Some(candidate) = candidate.filter(|candidate| output.leader != **candidate) {
        let text = format!("{text}, and {candidate} does not lead");
        return Err(NotMoved::Refused(text));
    }
    if output.leader == wish.instance_name {
        let text = format!("{text}, and {} leads", output.leader);
        return Err(NotMoved::Unknown(text));
    }
    let text = format!("{text} (term {})", output.term);
    Ok((output.leader, text))
}

/// Whether the InstanceSet with this UID controls the pod.
fn is_member(set: Option<&str>, pod: &Pod) -> bool {
    let mut owners = pod.owner_references().iter();
    let controller = owners.find(|owner| owner.controller == Some(true));
    set.is_some() && controller.map(|owner| owner.uid.as_str()) == set
}

/// The agent of a pod that stays.
fn agent(pod: &Pod) -> Option<Peer> {
    Peer::of(pod).filter(|_| pod.metadata.deletion_timestamp.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_with_the_labels_of_a_member_and_another_owner_gets_no_token() {
        let pod = |owners: serde_json::Value| -> Pod {
            let pod = serde_json::json!({ "metadata": { "name": "p", "ownerReferences": owners } });
            serde_json::from_value(pod).expect("a pod")
        };
        let owner = |uid: &str, controller: bool| serde_json::json!([{ "apiVersion": "v1", "kind": "K", "name": "n", "uid": uid, "controller": controller }]);
        let set = Some("set");
        assert!(is_member(set, &pod(owner("set", true))));
        for stranger in [
            serde_json::json!([]),
            owner("other", true),
            owner("set", false),
        ] {
            assert!(!is_member(set, &pod(stranger)));
        }
        assert!(
            !is_member(None, &pod(serde_json::json!([]))),
            "no InstanceSet, no member"
        );
    }

    #[test]
    fn only_the_leader_that_was_asked_for_counts_as_moved() {
        let judged = |candidate: &str, leader: Option<&str>| {
            let wish = Switchover {
                instance_name: "db-etcd-0".to_owned(),
                candidate_name: Some(candidate.to_owned()),
                ..Switchover::default()
            };
            let output = leader.map(|leader| {
                let output = serde_json::json!({ "leader": leader, "leaderId": "a1", "term": 4, "moved": true });
                serde_json::from_value(output).expect("an output")
            });
            judge(&wish, output, "asked").map(|(leader, _)| leader)
        };
        let moved = |leader: &str| Ok(leader.to_owned());
        assert_eq!(judged("db-etcd-2", Some("db-etcd-2")), moved("db-etcd-2"));
        assert_eq!(judged("", Some("db-etcd-1")), moved("db-etcd-1"));
        assert!(matches!(
            judged("db-etcd-2", Some("db-etcd-1")),
            Err(NotMoved::Refused(_))
        ));
        for leader in [None, Some("db-etcd-0")] {
            assert!(matches!(judged("", leader), Err(NotMoved::Unknown(_))));
        }
    }
}
