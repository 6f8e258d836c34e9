//! Why a request is refused before anything is touched, in words that say what to do.

use super::places::NotThere;

/// The request contradicts the Cluster or itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{field} names component {name:?}, which cluster {cluster} does not have: {known}")]
    UnknownComponent {
        field: &'static str,
        name: String,
        cluster: String,
        known: String,
    },
    #[error("{field} names component {name:?} twice")]
    Twice { field: &'static str, name: String },
    #[error(
        "horizontalScaling[{component}] would leave {replicas} of {from} members: at least 1 must stay; to stop the component use type Stop"
    )]
    NoneLeft {
        component: String,
        from: i32,
        replicas: i32,
    },
    #[error(
        "horizontalScaling[{component}] goes from {from} to {replicas} members, and {replicas} is even: make it {} or {}",
        replicas.saturating_sub(1), replicas.saturating_add(1)
    )]
    Even {
        component: String,
        from: i32,
        replicas: i32,
    },
    #[error(
        "horizontalScaling[{component}].{field} names {listed} instances, replicaChanges is {changes}: it must be at least as many"
    )]
    MoreNamedThanChanged {
        component: String,
        field: &'static str,
        listed: usize,
        changes: i32,
    },
    #[error("horizontalScaling[{component}].{field} names {name:?}, which is {what}")]
    Instance {
        component: String,
        field: &'static str,
        name: String,
        what: &'static str,
    },
    #[error(
        "upgrade.components[{component}]: say serviceVersion, e.g. 3.6.16, or componentDefinitionName: both are empty"
    )]
    NoVersion { component: String },
    #[error("reconfigures[{component}].parameters names {key:?} twice: say which value is meant")]
    KeyTwice { component: String, key: String },
    #[error("switchover[{component}]: {name:?} is not an instance of the component: {known}")]
    Stranger {
        component: String,
        name: String,
        known: String,
    },
    #[error("switchover[{component}]: instanceName and candidateName are both {name:?}")]
    ItselfAsCandidate { component: String, name: String },
    #[error("rebuildFrom[{component}]: {name:?} is not a member of the component: {known}")]
    NoMember {
        component: String,
        name: String,
        known: String,
    },
    #[error(
        "rebuildFrom[{component}]: {name:?} cannot be rebuilt, no other member has a vote and its data: scale to 3 first \
         (HorizontalScaling), or bring the other members back"
    )]
    OnlyMember { component: String, name: String },
    #[error(
        "rebuildFrom[{component}]: {name:?} has no claim: its disk is lost, and it is replaced without being asked"
    )]
    NoClaim { component: String, name: String },
    #[error("custom.opsDefinitionName is {name:?}: the only one is etcd-defragmentation")]
    UnknownOperation { name: String },
    #[error(
        "custom.components[{component}].parameters names {name:?}: the only one is instances, to be given once, or not at \
         all to mean all members"
    )]
    Parameter { component: String, name: String },
    #[error(
        "custom.components[{component}]: instances names {name:?}, which is not a member of the component: {known}"
    )]
    NotDefragmented {
        component: String,
        name: String,
        known: String,
    },
    #[error("custom.components[{component}]: instances names {name:?} twice")]
    MemberTwice { component: String, name: String },
    #[error(
        "custom.components[{component}]: no member is on record, so there is none to defragment"
    )]
    NoMembers { component: String },
    #[error("rebuildFrom[{component}].instances[{name}].targetNodeName: node {node:?} {why}")]
    Node {
        component: String,
        name: String,
        node: String,
        why: Box<NotThere>,
    },
    #[error("rebuildFrom[{component}].instances names {name:?} twice: name it once")]
    InstanceTwice { component: String, name: String },
    #[error(
        "volumeExpansion[{component}] names claim template {name:?} twice: say which size is meant"
    )]
    TemplateTwice { component: String, name: String },
    #[error(
        "volumeExpansion[{component}]: {name:?} is no claim template of the component: {known}"
    )]
    NoTemplate {
        component: String,
        name: String,
        known: String,
    },
    #[error(
        "recoverQuorum[{component}]: say dryRun: true, to see what would be lost, or acceptDataLoss: true, and not both"
    )]
    NotApproved { component: String },
    #[error(
        "recoverQuorum[{component}]: the component has no InstanceSet, so no member is on record"
    )]
    NothingToRecover { component: String },
    #[error(
        "recoverQuorum[{component}]: survivor {name:?} is not a member on record: {known}; or say furthest"
    )]
    NoSurvivor {
        component: String,
        name: String,
        known: String,
    },
    #[error(
        "expose: spec.services has another {name:?} already: give yours another name, or disable that one first"
    )]
    ServiceThere { name: String },
    #[error(
        "expose: service {name:?} of type {kind} leads to {component} from outside, and that component has no tls: passwords and \
         keys would travel in clear, and every client would have all rights. Make a Cluster with tls: true, or set force: true"
    )]
    InClear {
        name: String,
        kind: &'static str,
        component: String,
    },
    #[error("expose names service {name:?} twice")]
    ServiceTwice { name: String },
    #[error("expose: {suffix:?} is longer than 25 characters: give the service a shorter name")]
    ServiceName { suffix: String },
    #[error("expose: spec.services has no {name:?} to disable, there are: {known}")]
    NoService { name: String, known: String },
    #[error(
        "expose[{component}].services names {name:?}, which leads to component {other:?}: name that one to take it away"
    )]
    ServiceOfAnother {
        component: String,
        name: String,
        other: String,
    },
}
