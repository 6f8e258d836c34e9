//! What was seen of an InstanceSet's world, as plain data. No client, no clock: ages are numbers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kbagent_protocol::{
    EtcdState, Id, MemberList, MemberStanding, MemberStatus, MemberView, action,
};

/// Something read, or the reason why it is not known. Unknown is never absent (M5).
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reading<T> {
    /// Read just now.
    Known(T),
    /// Not read, and why.
    Unknown(String),
}

impl<T> Reading<T> {
    /// The value, if it is known.
    pub(crate) fn known(&self) -> Option<&T> {
        match self {
            Reading::Known(value) => Some(value),
            Reading::Unknown(_) => None,
        }
    }
}

/// All that a plan is made of, beside the desired state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    /// Pods by name.
    pub pods: BTreeMap<String, PodSeen>,
    /// Claims by name.
    pub claims: BTreeMap<String, ClaimSeen>,
    /// The headless service.
    pub service: Option<Service>,
    /// The member list, read linearizably.
    pub members: Reading<MemberList>,
    /// The node that the template names, when there is no such node.
    pub no_node: Option<String>,
    /// Nodes that are ready and still tainted out of service, by the pod that is there or whose volume is.
    pub tainted: BTreeMap<String, String>,
    /// Why the API server takes no pod of the template, when pods of another one are there.
    pub refused_template: Option<String>,
    /// Why a claim or a pod that the next member to move would be made of cannot be had.
    pub refused_move: Option<String>,
    /// The storage class that the API server puts into a new claim, by template, when a member would be next to move,
    /// or it is not known what its claim was made for.
    pub made_class: BTreeMap<String, String>,
}

/// State of the node that a pod was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeSeen {
    /// No node yet.
    Unassigned,
    /// The node is ready.
    Ready,
    /// The node's kubelet does not report; its pods may still run (P5).
    NotReady,
    /// Its kubelet has not reported for longer than the owner allows, nor has the pod's agent.
    Unreachable,
    /// An administrator has declared that nothing runs on the node any more.
    OutOfService,
    /// There is no such node.
    Gone,
}

impl NodeSeen {
    /// True when no process of the pod can still run, or its owner has it replaced whether one does or not.
    #[must_use]
    pub(crate) fn is_dead(self) -> bool {
        use NodeSeen::{Gone, OutOfService, Unreachable};
        matches!(self, OutOfService | Gone | Unreachable)
    }
}

/// What has become of amounts of cpu and memory that a pod was given while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Resize {
    /// It has them, or was never given others.
    #[default]
    Settled,
    /// The kubelet has not applied them yet; what it says.
    UnderWay(String),
    /// Its node can never give them; what the kubelet says.
    Impossible(String),
}

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodSeen {
    /// Identity of this incarnation.
    pub uid: String,
    /// Revision of the template it was made of.
    pub revision: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// True when it runs in the service's eyes.
    pub ready: bool,
    /// Seconds since it became ready.
    pub ready_seconds: i64,
    /// Seconds since it was made.
    pub age_seconds: i64,
    /// True when it is being deleted.
    pub terminating: bool,
    /// True when all its containers have ended permanently (evicted, node shut down).
    pub ended: bool,
    /// Why its containers cannot run (image, crash loop, no node), if so.
    pub broken: Option<String>,
    /// Whether amounts of cpu and memory that it was given while it runs have arrived.
    pub resize: Resize,
    /// True when kubelet says that the container of etcd runs.
    pub runs: bool,
    /// True when the container of etcd has just ended, and the kubelet starts it again in this pod.
    pub restarts: bool,
    /// Its node.
    pub node: NodeSeen,
    /// Its address.
    pub ip: Option<String>,
    /// True when this InstanceSet controls it.
    pub owned: bool,
    /// The member it was made for, when it joins as a learner.
    pub join: Option<Id>,
    /// The mark by which it is started as the only member of its cluster, when it was made for that.
    pub force: Option<String>,
    /// What its agent said last.
    pub view: Option<MemberView>,
    /// True when the agent reports now.
    pub heard: bool,
}

impl PodSeen {
    /// What etcd says, if it answers now.
    #[must_use]
    pub(crate) fn status(&self) -> Option<&MemberStatus> {
        let view = self.view.as_ref().filter(|_| self.heard)?;
        match view.etcd {
            EtcdState::Running => view.status.as_ref(),
            _ => None,
        }
    }

    /// Where the member stands while etcd answers no status: it was restarted and has had no leader since.
    #[must_use]
    pub(crate) fn standing(&self) -> Option<&MemberStanding> {
        let view = self.view.as_ref().filter(|_| self.heard)?;
        match view.etcd {
            EtcdState::Starting { .. } | EtcdState::Unreachable { .. } => view.standing.as_ref(),
            EtcdState::Running | EtcdState::Refused { .. } => None,
        }
    }

    /// What etcd answers when it refuses the agent for want of credentials.
    #[must_use]
    pub(crate) fn denied(&self) -> Option<&str> {
        match &self.view.as_ref().filter(|_| self.heard)?.etcd {
            EtcdState::Starting { reason } | EtcdState::Unreachable { reason, .. } => {
                is_denied(reason).then_some(reason.as_str())
            }
            _ => None,
        }
    }

    /// Why the agent does not let etcd start, if so.
    #[must_use]
    pub(crate) fn refused(&self) -> Option<(&str, &str)> {
        match &self.view.as_ref().filter(|_| self.heard)?.etcd {
            EtcdState::Refused { code, message } => Some((code, message)),
            _ => None,
        }
    }

    /// True when no process of etcd can be running in it, nor is about to: its end takes no vote away. Doubt is no
    /// proof (P5).
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        let never_placed = self.node == NodeSeen::Unassigned;
        if self.ended || never_placed || self.node.is_dead() || self.refused().is_some() {
            return true;
        }
        !self.runs && !self.restarts && self.status().is_none() && self.node == NodeSeen::Ready
    }

    /// True while its agent defragments the database: the member serves no client, whatever its status says.
    #[must_use]
    pub(crate) fn defragments(&self) -> bool {
        let view = self.view.as_ref().filter(|_| self.heard);
        view.is_some_and(|view| view.under_way.as_deref() == Some(action::DEFRAGMENT))
    }

    /// True when the member takes part: it answers and follows, or is, a leader.
    #[must_use]
    pub(crate) fn takes_part(&self) -> bool {
        !self.terminating
            && self
                .status()
                .is_some_and(|status| status.leader_id.is_some())
    }
}

/// What to say where etcd refuses the agents.
pub(crate) const NO_CREDENTIALS: &str = "etcd's authentication is on, and its members' agents are no users of it: members are \
     neither added, removed nor moved, and without tls no role is reported. With tls give etcd the agents' user: \
     `etcdctl user add etcd-member --no-password`, then `etcdctl user grant-role etcd-member root`; without tls: \
     `etcdctl auth disable`";

/// True for an answer of an etcd whose authentication is on.
#[must_use]
pub(crate) fn is_denied(answer: &str) -> bool {
    let denials = [
        "user name is empty",
        "permission denied",
        "invalid auth token",
        // The common name of a certificate, with tls.
        "user name not found",
    ];
    denials.iter().any(|denial| answer.contains(denial))
}

/// A claim.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClaimSeen {
    /// Identity of this incarnation.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// True when it is being deleted: its data goes with the pod that still uses it.
    pub terminating: bool,
    /// Why its data can never be reached again, if so (its only node is gone).
    pub lost: Option<String>,
    /// True when it is this InstanceSet's: it has no other controller, and it was not kept from another Cluster.
    pub owned: bool,
    /// True when it would be deleted with the InstanceSet: it names it as its owner.
    pub bound: bool,
    /// The storage class that was asked for, as far as it is on record, or else the one in its spec.
    pub class: Option<String>,
    /// The one in its spec.
    pub class_in_spec: Option<String>,
    /// How large it is.
    pub size: Size,
}

/// How large a claim is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Size {
    /// What it asks for.
    pub requested: Option<Quantity>,
    /// What it has; `None` until there is a volume.
    pub capacity: Option<Quantity>,
    /// What Kubernetes says of a growth that is under way; empty when it says nothing.
    pub told: String,
}

/// The storage class that was asked for by a claim with these annotations and this class in its spec.
#[must_use]
pub(crate) fn class_of(
    annotations: &BTreeMap<String, String>,
    in_spec: Option<&str>,
) -> Option<String> {
    let asked = annotations.get(super::names::CLASS).map(String::as_str);
    let asked = asked.filter(|class| !class.is_empty());
    asked.or(in_spec).map(str::to_owned)
}

impl ClaimSeen {
    /// True for a claim that a member uses, or is to use.
    #[must_use]
    pub(crate) fn is_used(&self) -> bool {
        self.owned && !self.terminating && self.lost.is_none() && !self.retired()
    }

    /// The member that the claim was made for, when it was made for a learner.
    #[must_use]
    pub(crate) fn join(&self) -> Option<Id> {
        self.annotations.get(super::names::JOIN)?.parse().ok()
    }

    /// True when a user has requested the rebuild of its member. Its data is good until then.
    #[must_use]
    pub(crate) fn to_rebuild(&self) -> bool {
        self.annotations
            .contains_key(etcd_operator_api::labels::REBUILD)
    }

    /// The node that the rebuilt member is to be placed on, if a user has named one.
    #[must_use]
    pub(crate) fn rebuild_on(&self) -> Option<&str> {
        let node = self
            .annotations
            .get(etcd_operator_api::labels::REBUILD_NODE)?;
        Some(node)
    }

    /// UID of the Backup that it was filled with.
    #[must_use]
    pub(crate) fn filled(&self) -> Option<&str> {
        let filled = self.annotations.get(etcd_operator_api::restore::FILLED)?;
        Some(filled)
    }

    /// UID of the Cluster that the claim was made for, where that is on record.
    #[must_use]
    pub(crate) fn home(&self) -> Option<&str> {
        let home = self
            .annotations
            .get(etcd_operator_api::labels::CLUSTER_UID)?;
        Some(home)
    }

    /// True for a claim that was kept when its member left.
    #[must_use]
    pub(crate) fn retired(&self) -> bool {
        self.annotations.contains_key(super::names::RETIRED)
    }
}
