//! Reasons for steps that are not taken.

use kbagent_protocol::Id;

use crate::definition::Minor;

/// The reason that is on record while members move to another storage class.
pub(crate) const MOVING: &str = "MovingVolumes";

/// Why a step is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Waiting {
    /// The user paused the InstanceSet.
    #[error("the InstanceSet is paused (spec.paused)")]
    Paused,
    /// It was deleted, and its Cluster's policy holds it.
    #[error(
        "the InstanceSet was deleted and stays: the Cluster's terminationPolicy is DoNotTerminate, set it to Delete or \
         WipeOut to let it go"
    )]
    Held,
    /// The template names a node that is not there.
    #[error(
        "schedulingPolicy.nodeName {0:?} is no node of this cluster: name another or take it out; until then no pod is made \
         or updated"
    )]
    NoNode(String),
    /// The API server takes no pod of the template.
    #[error(
        "the API server takes no pod of the new template, so no pod of the old one is stopped: {0}; correct the Cluster"
    )]
    TemplateRefused(String),
    /// A claim that another Cluster of this name has left.
    #[error(
        "claim {0} holds data of an earlier Cluster, which is left alone: delete the claim if the data is not needed, or give \
         this Cluster another name"
    )]
    LeftBehind(String),
    /// The first member's claim is not filled with the backup yet.
    #[error(
        "claim {claim} is being filled with the backup that the cluster begins with{}",
        after(.tried.as_deref())
    )]
    Seed {
        /// The claim.
        claim: String,
        /// Why the attempt before has failed.
        tried: Option<String>,
    },
    /// It cannot be.
    #[error(
        "claim {claim} is not filled with the backup: {why}; correct that and delete the failed Job to try again, or delete \
         the Cluster, which holds no data"
    )]
    SeedFailed {
        /// The claim.
        claim: String,
        /// Why not.
        why: String,
    },
    /// The containers of a pod cannot run.
    #[error("pod {pod} cannot run: {why}; correct the Cluster, and the pod is replaced at once")]
    CannotRun {
        /// The pod.
        pod: String,
        /// What Kubernetes says.
        why: String,
    },
    /// The node that a user has named does not take the pod.
    #[error(
        "pod {pod} is bound to node {node}, which a RebuildInstance has named, and {why}: make space there, or make another \
         RebuildInstance of {pod} with force: true and another targetNodeName, or none; a member that has not started after \
         15 minutes is placed as schedulingPolicy says"
    )]
    NodeRefuses {
        /// The pod.
        pod: String,
        /// The node.
        node: String,
        /// What Kubernetes says.
        why: String,
    },
    /// The cluster has not formed yet.
    #[error("members {0} are bootstrapping the cluster")]
    Bootstrap(String),
    /// A claim was lost before the cluster had formed.
    #[error(
        "claim {0} was lost before the cluster had formed; it is replaced once the others have formed it"
    )]
    ClaimLostEarly(String),
    /// So many were lost that the others cannot form it.
    #[error(
        "claims of {lost} were lost before the cluster had formed, and the others are too few to form it: delete the pods \
         and claims of {all}, and it begins again with empty disks"
    )]
    CannotForm {
        /// The pods whose claims are missing.
        lost: String,
        /// All that were to form it.
        all: String,
    },
    /// The member list is not known.
    #[error(
        "the member list is not known: {0}; bring members back, or let the operator reach port 5001 of their pods"
    )]
    MembersUnknown(String),
    /// Members report different clusters.
    #[error(
        "members report cluster {found}, the cluster is {latched}: {pod} holds foreign data; delete its claim if that is \
         not needed"
    )]
    ClusterIdMismatch {
        /// The recorded cluster.
        latched: String,
        /// The reported one.
        found: String,
        /// The pod of that member.
        pod: String,
    },
    /// A pod is going.
    #[error("pod {0} is terminating")]
    PodTerminating(String),
    /// A pod is on a node whose kubelet does not report.
    #[error(
        "pod {0} is on a node that is not ready: it may still run, so it is not replaced; repair the node, or taint it \
         node.kubernetes.io/out-of-service when it is surely off"
    )]
    NodeNotReady(String),
    /// A claim is going.
    #[error("claim {0} is terminating")]
    ClaimTerminating(String),
    /// An object of the name exists and has another owner, or none.
    #[error("{kind} {name} exists and has another owner, or none: rename or delete it")]
    NotOurs {
        /// Kind.
        kind: &'static str,
        /// Name.
        name: String,
    },
    /// The agent found data of another cluster or member.
    #[error("pod {pod} holds data that is not its own ({message}): clear or remove its claim")]
    ForeignData {
        /// The pod.
        pod: String,
        /// What the agent says.
        message: String,
    },
    /// The agent does not let etcd start.
    #[error(
        "pod {pod} does not start etcd ({code}: {message}); its member is replaced once the member list is known"
    )]
    Refused {
        /// The pod.
        pod: String,
        /// The agent's word.
        code: String,
        /// What it found.
        message: String,
    },
    /// Too few voters are healthy for the change.
    #[error(
        "{what} waits for a quorum: {healthy} healthy voters, {needed} are needed; bring members back"
    )]
    Quorum {
        /// The change.
        what: String,
        /// Voters that take part in it.
        healthy: usize,
        /// Voters that are needed.
        needed: usize,
    },
    /// A volume grows.
    #[error("claim {claim} grows to {to}{told}")]
    Growing {
        /// The claim.
        claim: String,
        /// What it is to have.
        to: String,
        /// What Kubernetes says, after a colon.
        told: String,
    },
    /// Members are to have volumes of another storage class.
    #[error("members move to volumes of another storage class, one at a time: {left}; {told}")]
    Moving {
        /// Those that are left, and why.
        left: String,
        /// Which is next, or what that waits for.
        told: String,
        /// The one that is next, unless that waits.
        next: Option<String>,
    },
    /// A quorum is given up, or is to be.
    #[error("recovery of the quorum: {0}")]
    Recovery(String),
    /// The only member's data is gone.
    #[error("the data of {0} is gone and no member is left that has it: restore a backup")]
    DataLost(String),
    /// A member has not started yet.
    #[error("member of pod {0} has not started yet")]
    MemberStarting(String),
    /// A learner that was started does not serve now.
    #[error(
        "learner {0} has joined and is not ready now: look at its pod; one that stays away is made again by an \
         OpsRequest RebuildInstance"
    )]
    LearnerStarting(String),
    /// A learner copies data.
    #[error("learner {pod} has applied index {applied} of {leader}")]
    CatchingUp {
        /// The pod.
        pod: String,
        /// Index it has applied.
        applied: u64,
        /// Index the leader has.
        leader: u64,
    },
    /// A membership change is in progress.
    #[error("{what} waits until the change of member {pod} has ended")]
    ChangeGoingOn {
        /// What waits.
        what: String,
        /// The pod whose member is being changed.
        pod: String,
    },
    /// No agent of a healthy voter can be asked.
    #[error(
        "{what} waits for a healthy voter whose agent answers: check that the operator reaches port 5001 of the pods"
    )]
    NoVoter {
        /// What waits.
        what: String,
    },
    /// A member takes part that the list does not hold.
    #[error(
        "pod {pod} takes part as member {member}, which the member list does not hold: \
         nothing is changed until it has stopped or is listed"
    )]
    NotListed {
        /// The pod.
        pod: String,
        /// Its member.
        member: Id,
    },
    /// A member is listed at another address than its pod's.
    #[error(
        "member {member} of pod {pod} has the peer URL {listed}, its pod is at {wanted}: \
         set it back (etcdctl member update {member} --peer-urls={wanted})"
    )]
    PeerUrlChanged {
        /// The pod.
        pod: String,
        /// The member.
        member: Id,
        /// Its peer URLs.
        listed: String,
        /// The one it needs.
        wanted: String,
    },
    /// The operator's cluster domain is not that of the members.
    #[error(
        "members have peer URLs in the cluster domain {listed:?}, the operator is set to {configured:?}: \
         set the operator's CLUSTER_DOMAIN back; until then no member is added and no pod is updated"
    )]
    DomainChanged {
        /// The members'.
        listed: String,
        /// The operator's.
        configured: String,
    },
    /// Two slots lay claim to one member.
    #[error(
        "pod {pod} and another one hold data of member {member}, and are left alone: keep the one that runs, delete the \
         other's claim"
    )]
    Disputed {
        /// The pod that is not its holder by the list.
        pod: String,
        /// The member.
        member: Id,
    },
    /// The claim of a member that is needed is being deleted.
    #[error(
        "a claim of pod {0} is gone or being deleted, and no majority has the data without this pod: \
         the pod is not stopped until other members hold the data (a cluster of one: scale it to 3; a component that \
         is to be stopped: start it until its members are replaced)"
    )]
    ClaimGoing(String),
    /// A claim that its member needs.
    #[error("claim {0} is not deleted: its pod is there or its member is in the list")]
    ClaimNeeded(String),
    /// The member's address is not its pod's, or would not be.
    #[error("{what} waits until the members' peer URLs are those of their pods")]
    NoAddress {
        /// What waits.
        what: String,
    },
    /// An unknown member is in the list.
    #[error(
        "member {0} is in the cluster and belongs to no pod of this InstanceSet: remove it if it is not needed \
         (etcdctl member remove {0})"
    )]
    Stranger(String),
    /// A member's database has reached its quota.
    #[error(
        "the database of {0} is at its quota (alarm NOSPACE): it is compacted and defragmented; if that is not enough, \
         delete keys or raise quota-backend-bytes"
    )]
    NoSpace(String),
    /// A member's data differs, and it is replaced.
    #[error("member {0} is replaced: its data differs from the others' (alarm CORRUPT)")]
    Corrupt(Id),
    /// Data differs, and it cannot be decided which is right.
    #[error(
        "the data of member {0} differs from the others' (alarm CORRUPT; 0 is an unknown one), and no majority agrees \
         without it: compare the members (etcdctl endpoint hashkv) and restore a backup"
    )]
    NoMajority(Id),
    /// A defragmentation is under way.
    #[error("the database of {0} is being defragmented")]
    Defragmenting(String),
    /// Something that needs all members and no other change in progress.
    #[error(
        "{what} waits until all members are voters that take part and no other change is in progress"
    )]
    NotAlone {
        /// What waits.
        what: String,
    },
    /// A pod is not back yet.
    #[error("the update waits for pod {pod}: {why}")]
    Update {
        /// The pod.
        pod: String,
        /// What is missing.
        why: String,
    },
    /// The kubelet has not applied other amounts of cpu and memory.
    #[error("the update waits until the kubelet has given pod {pod} its cpu and memory: {why}")]
    Resizing {
        /// The pod.
        pod: String,
        /// What the kubelet says.
        why: String,
    },
    /// Kubernetes did not let a voter be stopped.
    #[error("pod {pod} is not stopped yet: {why}")]
    Budget {
        /// The pod.
        pod: String,
        /// What the API server says.
        why: String,
    },
    /// The data of members is not of an older minor yet.
    #[error("the downgrade to {to} waits: {why}")]
    Downgrade {
        /// The minor.
        to: Minor,
        /// What is missing.
        why: String,
    },
    /// A member's log holds what servers of a newer minor do not read, or what it holds is not known.
    #[error("the upgrade to {to} waits: {why}")]
    Upgrade {
        /// The minor.
        to: Minor,
        /// What is missing.
        why: String,
    },
    /// A member's log holds what its own server does not read.
    #[error("pod {pod} does not start etcd, and its data is left alone: {message}")]
    OldLog {
        /// The pod.
        pod: String,
        /// What the launcher found, and what to do.
        message: String,
    },
    /// The strategy leaves the update to the user.
    #[error("{0} pods have an old revision and are updated when the user deletes them")]
    OnDelete(usize),
    /// The strategy lets no more pods be updated.
    #[error(
        "instanceUpdateStrategy.rollingUpdate.replicas lets {most} pods be updated, and {updated} are: raise it or \
         take it out, and the other {left} follow"
    )]
    Restricted {
        /// How many it lets be updated.
        most: usize,
        /// How many are.
        updated: usize,
        /// How many have an old revision.
        left: usize,
    },
}

/// What an attempt is told with that follows one which has failed.
fn after(failed: Option<&str>) -> String {
    failed.map_or_else(String::new, |why| {
        format!("; an attempt has failed, and the next one is under way: {why}")
    })
}

impl Waiting {
    /// The reason in one word.
    #[must_use]
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Waiting::Paused => "Paused",
            Waiting::Held => "DeletionHeld",
            Waiting::NoNode(_) => "NodeNotFound",
            Waiting::TemplateRefused(_) => "TemplateRefused",
            Waiting::LeftBehind(_) => "ForeignClaim",
            Waiting::Seed { .. } => "Restore",
            Waiting::SeedFailed { .. } => "RestoreFailed",
            Waiting::CannotRun { .. } => "CannotRun",
            Waiting::NodeRefuses { .. } => "NodeRefuses",
            Waiting::Bootstrap(_) => "Bootstrap",
            Waiting::ClaimLostEarly(_) => "ClaimLostEarly",
            Waiting::CannotForm { .. } => "CannotForm",
            Waiting::MembersUnknown(_) => "MembersUnknown",
            Waiting::ClusterIdMismatch { .. } => "ClusterIDMismatch",
            Waiting::PodTerminating(_) => "PodTerminating",
            Waiting::NodeNotReady(_) => "NodeNotReady",
            Waiting::ClaimTerminating(_) => "ClaimTerminating",
            Waiting::NotOurs { .. } => "NotOurs",
            Waiting::ForeignData { .. } => "ForeignData",
            Waiting::Refused { .. } => "Refused",
            Waiting::Quorum { .. } => "Quorum",
            Waiting::Recovery(_) => "Recovery",
            Waiting::Growing { .. } => "Growing",
            Waiting::Moving { .. } => MOVING,
            Waiting::DataLost(_) => "DataLost",
            Waiting::MemberStarting(_) | Waiting::LearnerStarting(_) => "MemberStarting",
            Waiting::CatchingUp { .. } => "CatchingUp",
            Waiting::ChangeGoingOn { .. } => "ChangeGoingOn",
            Waiting::NoVoter { .. } => "NoVoter",
            Waiting::Stranger(_) => "Stranger",
            Waiting::NotListed { .. } => "NotListed",
            Waiting::PeerUrlChanged { .. } => "PeerURLChanged",
            Waiting::DomainChanged { .. } => "ClusterDomainChanged",
            Waiting::Disputed { .. } => "Disputed",
            Waiting::ClaimGoing(_) => "ClaimGoing",
            Waiting::ClaimNeeded(_) => "ClaimNeeded",
            Waiting::NoAddress { .. } => "NoAddress",
            Waiting::NoSpace(_) => "NoSpace",
            Waiting::Corrupt(_) => "Corrupt",
            Waiting::NoMajority(_) => "CorruptWithoutMajority",
            Waiting::Defragmenting(_) => "Defragmenting",
            Waiting::NotAlone { .. } => "NotAlone",
            Waiting::Update { .. } => "Update",
            Waiting::Resizing { .. } => "Resizing",
            Waiting::Budget { .. } => "DisruptionBudget",
            Waiting::Downgrade { .. } => "Downgrade",
            Waiting::Upgrade { .. } => "Upgrade",
            Waiting::OldLog { .. } => "OldLog",
            Waiting::OnDelete(_) => "OnDelete",
            Waiting::Restricted { .. } => "UpdateRestricted",
        }
    }

    /// True for what only an edit of the InstanceSet ends, which wakes by itself: to look again pays nothing.
    #[must_use]
    pub(crate) fn ends_with_an_edit(&self) -> bool {
        matches!(self, Waiting::Paused | Waiting::Restricted { .. })
    }

    /// True when something moves without any object changing, so that looking again soon pays.
    #[must_use]
    pub(crate) fn moves_by_itself(&self) -> bool {
        matches!(
            self,
            Waiting::CatchingUp { .. }
                | Waiting::MemberStarting(_)
                | Waiting::LearnerStarting(_)
                | Waiting::Update { .. }
                | Waiting::Budget { .. }
                | Waiting::NotListed { .. }
                | Waiting::Downgrade { .. }
                | Waiting::Upgrade { .. }
                | Waiting::Moving { .. }
        )
    }
}
