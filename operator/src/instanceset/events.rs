//! Steps and failures as events of the InstanceSet, in words for a user. Never fails a reconcile.

use etcd_operator_api::InstanceSet;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use tracing::debug;

use super::error::Error;
use super::names as keys;
use super::plan::steps::{Changes, Labelled};
use super::plan::{Grace, Removal, Step};
use crate::controller::Events;

/// One line about a step, for logs and events.
pub(crate) fn summary(step: &Step) -> String {
    let name = |meta: &kube::api::ObjectMeta| meta.name.clone().unwrap_or_default();
    match step {
        Step::AddFinalizer => "add the finalizer".to_owned(),
        Step::RemoveFinalizer => "remove the finalizer".to_owned(),
        Step::ApplyService(service) => format!("apply service {}", name(&service.metadata)),
        Step::CreateClaim(claim) => format!("create claim {}", name(&claim.metadata)),
        Step::DeleteClaim { name, .. } => format!("delete claim {name}"),
        Step::RetireClaim { name, .. } => format!("keep claim {name} of a member that has left"),
        Step::GrowClaim { name, to, .. } => format!("let claim {name} grow to {}", to.0),
        Step::ReleaseClaim { name, .. } => format!("let claim {name} outlive the InstanceSet"),
        Step::BindClaim { name, .. } => format!("let claim {name} go with the InstanceSet"),
        Step::CreatePod(pod) => format!("create pod {}", name(&pod.metadata)),
        Step::Relabel { kind, name, .. } => match kind {
            Labelled::Pod => format!("label pod {name}"),
            Labelled::Claim => format!("label claim {name}"),
        },
        Step::Resize { name, .. } => {
            format!("give pod {name} its amounts of cpu and memory in place")
        }
        Step::DeletePod {
            name,
            grace,
            how,
            why,
            ..
        } => {
            let how = match (grace, how) {
                (Grace::Dead, _) => "force-delete pod",
                (_, Removal::Evict) => "evict pod",
                (_, Removal::Delete) => "delete pod",
            };
            format!("{how} {name}: {why}")
        }
        Step::Switchover { from, to, .. } => format!("move leadership from {from} to {to}"),
        Step::AddLearner { pod, .. } => format!("add {pod} as a learner"),
        Step::Promote { pod, member, .. } => {
            format!("promote learner {pod} (member {member}) to voter")
        }
        Step::RemoveMember {
            pod, member, why, ..
        } => {
            format!("remove {pod} (member {member}): {why}")
        }
        Step::Compact { via } => format!("compact the key space through {}", via.pod),
        Step::Defragment { via, request } => match request {
            Some(request) => format!("defragment {}, as OpsRequest {request} asks", via.pod),
            None => format!("defragment {}", via.pod),
        },
        Step::Disarm { alarm, .. } => {
            let kind = alarm.kind.as_str();
            format!("disarm {kind} of member {}", alarm.member)
        }
        Step::Downgrade { via, to } => {
            format!("begin etcd's downgrade to {to} through {}", via.pod)
        }
        Step::CancelDowngrade { via } => {
            format!(
                "cancel etcd's downgrade, which is not wanted, through {}",
                via.pod
            )
        }
        Step::AppendToLog { via } => {
            format!(
                "append entries without effect to etcd's log through {}, until members make a snapshot",
                via.pod
            )
        }
    }
}

/// Publishes that a step was taken.
pub(super) async fn taken(events: &Events, set: &InstanceSet, step: &Step) {
    let action = match step {
        Step::Relabel { name, changes, .. } if assumes(changes) => {
            let note = format!(
                "nothing says which storage class was asked for when claim {name} was made: its member stays \
                 (condition StorageClassAssumed)"
            );
            let reason = "StorageClassAssumed";
            return publish(events, set, EventType::Warning, reason, note).await;
        }
        Step::AddFinalizer | Step::RemoveFinalizer | Step::Relabel { .. } => return,
        Step::Compact { .. } => "Compact",
        Step::Defragment { .. } => "Defragment",
        Step::Disarm { .. } => "Disarm",
        Step::Downgrade { .. } => "Downgrade",
        Step::CancelDowngrade { .. } => "CancelDowngrade",
        Step::AppendToLog { .. } => "AppendToLog",
        Step::ApplyService(_) => "ApplyService",
        Step::CreateClaim(_) => "CreateClaim",
        Step::DeleteClaim { .. } => "DeleteClaim",
        Step::RetireClaim { .. } | Step::ReleaseClaim { .. } => "KeepClaim",
        Step::GrowClaim { .. } => "GrowClaim",
        Step::BindClaim { .. } => "BindClaim",
        Step::CreatePod(_) => "CreatePod",
        Step::Resize { .. } => "Resize",
        Step::DeletePod { .. } => "DeletePod",
        Step::Switchover { .. } => "Switchover",
        Step::AddLearner { .. } => "AddLearner",
        Step::Promote { .. } => "Promote",
        Step::RemoveMember { .. } => "RemoveMember",
    };
    publish(events, set, EventType::Normal, action, summary(step)).await;
}

/// True when the class that a claim was made for is taken for the one that is named.
fn assumes(changes: &Changes) -> bool {
    let assumed = changes.annotations.get(keys::ASSUMED);
    assumed.is_some_and(Option::is_some)
}

/// Publishes that a reconcile failed.
pub(super) async fn failed(events: &Events, set: &InstanceSet, error: &Error) {
    publish(
        events,
        set,
        EventType::Warning,
        "ReconcileFailed",
        error.to_string(),
    )
    .await;
}

async fn publish(events: &Events, set: &InstanceSet, type_: EventType, reason: &str, note: String) {
    let action = reason.to_owned();
    // The API server takes 1024 characters.
    let note: String = note.chars().take(1000).collect();
    let event = Event {
        type_,
        reason: action.clone(),
        note: Some(note),
        action,
        secondary: None,
    };
    if let Err(error) = events.publish(&event, &set.object_ref(&())).await {
        debug!(%error, "failed to publish an event");
    }
}
