//! The types of a plan: steps, and the agent an etcd change goes through.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etcd_operator_api::condition::Observation;
use etcd_operator_api::instance_set::InstanceSetStatus;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceRequirements, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kbagent_protocol::{Alarm, Id};

use super::waiting::Waiting;
use crate::definition::Minor;

/// What to do, in order, and what is being waited for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// The status to record, without conditions' times.
    pub status: Option<StatusDraft>,
    /// Steps, to be taken in order. A failed one ends the round, but one that the API server refuses stops only those
    /// that need it ([`super::refused`]).
    pub steps: Vec<Step>,
    /// Steps that are not taken, and why.
    pub waiting: Vec<Waiting>,
}

impl Plan {
    /// True while no step is planned that touches a member, or that others stand on.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        self.steps.iter().all(Step::is_apart)
    }
}

/// A status whose conditions have no times yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StatusDraft {
    /// All but the conditions, which are those of the recorded status.
    pub status: InstanceSetStatus,
    /// The conditions.
    pub observations: Vec<Observation>,
    /// True when the status holds something that must be on record before any step is taken (B1).
    pub first: bool,
}

/// The agent that carries out a change of membership: a healthy voter, the leader when there is one (M7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Via {
    /// Its pod.
    pub pod: String,
    /// Its address.
    pub ip: IpAddr,
}

/// How long a pod's containers may take to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grace {
    /// As long as its template says: leadership is transferred meanwhile.
    Template,
    /// A moment: it is no member, so it has no leadership to transfer and its data is not used again.
    Moment,
    /// None, and no kubelet needs to confirm its end: no process of it can still run (P5).
    Dead,
}

/// How a pod is asked away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// By an eviction, which takes the vote off the disruption budget in the same moment: a drain that comes at the
    /// same time is refused (P4).
    Evict,
    /// By a plain deletion. No vote is lost with it, or all are meant to go: then no budget may hold it.
    Delete,
}

/// What has labels and annotations of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Labelled {
    /// A pod.
    Pod,
    /// A claim.
    Claim,
}

/// Labels and annotations that are set, or taken away where the value is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Labels.
    pub labels: BTreeMap<String, Option<String>>,
    /// Annotations.
    pub annotations: BTreeMap<String, Option<String>>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// Puts the finalizer on the InstanceSet.
    AddFinalizer,
    /// Takes it off.
    RemoveFinalizer,
    /// Applies the headless service.
    ApplyService(Box<Service>),
    /// Creates a claim.
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Deletes this incarnation of a claim.
    DeleteClaim {
        /// Name.
        name: String,
        /// Incarnation.
        uid: String,
    },
    /// Marks a claim as left behind by its member (M10).
    RetireClaim {
        /// Name.
        name: String,
        /// Incarnation.
        uid: String,
    },
    /// Asks for a larger volume.
    GrowClaim {
        /// Name.
        name: String,
        /// Incarnation.
        uid: String,
        /// What it is to ask for.
        to: Quantity,
    },
    /// Makes a claim outlive the InstanceSet.
    ReleaseClaim {
        /// Name.
        name: String,
        /// Incarnation.
        uid: String,
    },
    /// Makes a claim go with the InstanceSet.
    BindClaim {
        /// Name.
        name: String,
        /// Incarnation.
        uid: String,
    },
    /// Creates a pod.
    CreatePod(Box<Pod>),
    /// Brings labels and annotations of a pod or claim in line with its template.
    Relabel {
        /// What it is.
        kind: Labelled,
        /// Name.
        name: String,
        /// Incarnation.
        uid: String,
        /// What differs.
        changes: Changes,
    },
    /// Gives this incarnation of a pod other amounts of cpu and memory while it runs.
    Resize {
        /// Name.
        name: String,
        /// Incarnation.
        uid: String,
        /// Amounts of each container, in the pod's order.
        amounts: Vec<(String, ResourceRequirements)>,
        /// The revision that the pod then has.
        revision: String,
    },
    /// Deletes this incarnation of a pod.
    DeletePod {
        /// Name.
        name: String,
        /// Incarnation.
        uid: String,
        /// How long its containers may take to end.
        grace: Grace,
        /// How it is asked away.
        how: Removal,
        /// Why, for the event.
        why: String,
    },
    /// Moves leadership.
    Switchover {
        /// The leader's agent.
        via: Via,
        /// The pod that leads.
        from: String,
        /// The pod that is to lead.
        to: String,
    },
    /// Adds a pod as a learner.
    AddLearner {
        /// Who carries it out.
        via: Via,
        /// The pod.
        pod: String,
        /// Its full DNS name.
        host: String,
    },
    /// Gives a learner its vote.
    Promote {
        /// Who carries it out.
        via: Via,
        /// The pod.
        pod: String,
        /// The member.
        member: Id,
    },
    /// Removes a member.
    RemoveMember {
        /// Who carries it out.
        via: Via,
        /// The pod it lived in.
        pod: String,
        /// Its full DNS name: the member's peer URL must hold it (M4).
        host: String,
        /// The member.
        member: Id,
        /// Why, for the event.
        why: String,
        /// Its own agent, when the others decide without its vote: its clients are asked to leave first.
        drain: Option<Via>,
    },
    /// Compacts the key space to its newest revision.
    Compact {
        /// Who carries it out.
        via: Via,
    },
    /// Defragments one member's database.
    Defragment {
        /// The member's own agent.
        via: Via,
        /// UID of the OpsRequest that asked for it, if one did.
        request: Option<String>,
    },
    /// Disarms an alarm.
    Disarm {
        /// Who carries it out.
        via: Via,
        /// The alarm.
        alarm: Alarm,
    },
    /// Begins etcd's downgrade to the minor before.
    Downgrade {
        /// Who carries it out.
        via: Via,
        /// That minor.
        to: Minor,
    },
    /// Ends etcd's downgrade where it is.
    CancelDowngrade {
        /// Who carries it out.
        via: Via,
    },
    /// Appends entries without effect to etcd's log, until members make a snapshot.
    AppendToLog {
        /// Who carries it out.
        via: Via,
    },
}

impl Step {
    /// True for a step that touches no member, and that no other one needs but evictions, which need the service: what
    /// keeps it from being taken holds nothing else up.
    #[must_use]
    pub(crate) fn is_apart(&self) -> bool {
        match self {
            // One that is not there gives members their names.
            Step::ApplyService(service) => service.metadata.uid.is_some(),
            Step::Relabel { .. }
            | Step::BindClaim { .. }
            | Step::ReleaseClaim { .. }
            | Step::GrowClaim { .. } => true,
            _ => false,
        }
    }

    /// True for a step that changes etcd's membership.
    #[must_use]
    pub(crate) fn changes_membership(&self) -> bool {
        matches!(
            self,
            Step::AddLearner { .. } | Step::Promote { .. } | Step::RemoveMember { .. }
        )
    }
}
