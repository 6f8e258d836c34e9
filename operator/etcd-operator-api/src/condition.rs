//! Condition types and reasons, as enums, and the one place where they become text.
//!
//! Types and reasons of KubeBlocks keep its spelling. Times are given by the caller: this module has no clock.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Type of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConditionType {
    /// The spec was read and resolved (Cluster, Component).
    ProvisioningStarted,
    /// All children were written (Cluster, Component).
    ApplyResources,
    /// All components are ready (Cluster).
    Ready,
    /// The service answers (Cluster, Component).
    Available,
    /// Deletion is blocked or in progress (Cluster).
    Terminating,
    /// All members are ready (InstanceSet).
    InstanceReady,
    /// All members are available (InstanceSet).
    InstanceAvailable,
    /// A pod failed (InstanceSet).
    InstanceFailure,
    /// An update is held back (InstanceSet).
    InstanceUpdateRestricted,
    /// The last reconcile succeeded (InstanceSet).
    Reconciled,
    /// A voting majority answers (InstanceSet).
    Quorate,
    /// All members report the same cluster identifier (InstanceSet).
    ClusterIdConsistent,
    /// A volume is not of the storage class that its template names, and nothing says which was asked for when it was
    /// made (InstanceSet, once it was so).
    StorageClassAssumed,
    /// A node of a member is ready and still tainted out of service: pods are evicted from it and none is started there
    /// (InstanceSet, once it was so; Component and Cluster while it is so).
    NodeTainted,
    /// etcd has raised an alarm and serves less than it should (InstanceSet; Component and Cluster while it stands).
    AlarmRaised,
    /// Pods would be recreated for no other reason than a new release of the operator, and are not; or not before a
    /// backup is made (Component, Cluster).
    UpdateHeld,
    /// The certificates are in order (Component, Cluster; with TLS only).
    CertificatesValid,
    /// etcd has its users, and asks who calls (Component, Cluster; with `systemAccounts` only).
    AccountsReady,
    /// Admission policies are missing: others may edit what the operator owns (Cluster, while it is so).
    Unprotected,
    /// The operation waits for earlier ones or for the Cluster (OpsRequest).
    WaitForProgressing,
    /// The operation can be carried out (OpsRequest).
    Validated,
    /// A small object was written, read and deleted there, or the storage class of its claims is there (BackupRepo).
    Reachable,
    /// Pods are being recreated (OpsRequest).
    Restarting,
    /// Members are stopped (OpsRequest).
    Stopping,
    /// Members are started (OpsRequest).
    Starting,
    /// Members come or go (OpsRequest).
    HorizontalScaling,
    /// Members get other resources (OpsRequest).
    VerticalScaling,
    /// Leadership is moved (OpsRequest).
    Switchover,
    /// Members get another version (OpsRequest).
    VersionUpgrading,
    /// Services come or go (OpsRequest).
    Exposing,
    /// Members get other settings (OpsRequest).
    Reconfigure,
    /// Members are replaced by new ones of the same name (OpsRequest).
    InstancesRebuilding,
    /// One member continues without the others, whose quorum does not come back (OpsRequest).
    QuorumRecovering,
    /// Volumes grow (OpsRequest).
    VolumeExpanding,
    /// An operation of KubeBlocks' add-on for etcd is carried out (OpsRequest).
    CustomOperation,
    /// Kubernetes refuses what came of its edit: the edit is taken back (OpsRequest).
    Reverting,
    /// The effect of the operation was seen (OpsRequest).
    Succeed,
    /// The operation was refused or has failed (OpsRequest).
    Failed,
    /// The operation was given up (OpsRequest).
    Aborted,
    /// The operation was undone (OpsRequest).
    Cancelled,
}

impl ConditionType {
    /// The type as it is written in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ConditionType::ProvisioningStarted => "ProvisioningStarted",
            ConditionType::ApplyResources => "ApplyResources",
            ConditionType::Ready => "Ready",
            ConditionType::Available => "Available",
            ConditionType::Terminating => "Terminating",
            ConditionType::InstanceReady => "InstanceReady",
            ConditionType::InstanceAvailable => "InstanceAvailable",
            ConditionType::InstanceFailure => "InstanceFailure",
            ConditionType::InstanceUpdateRestricted => "InstanceUpdateRestricted",
            ConditionType::Reconciled => "Reconciled",
            ConditionType::Quorate => "Quorate",
            ConditionType::ClusterIdConsistent => "ClusterIDConsistent",
            ConditionType::StorageClassAssumed => "StorageClassAssumed",
            ConditionType::NodeTainted => "NodeTainted",
            ConditionType::AlarmRaised => "AlarmRaised",
            ConditionType::UpdateHeld => "UpdateHeld",
            ConditionType::CertificatesValid => "CertificatesValid",
            ConditionType::AccountsReady => "AccountsReady",
            ConditionType::Unprotected => "Unprotected",
            ConditionType::WaitForProgressing => "WaitForProgressing",
            ConditionType::Validated => "Validated",
            ConditionType::Reachable => "Reachable",
            ConditionType::Restarting => "Restarting",
            ConditionType::Stopping => "Stopping",
            ConditionType::Starting => "Starting",
            ConditionType::HorizontalScaling => "HorizontalScaling",
            ConditionType::VerticalScaling => "VerticalScaling",
            ConditionType::Switchover => "Switchover",
            ConditionType::VersionUpgrading => "VersionUpgrading",
            ConditionType::Exposing => "Exposing",
            ConditionType::Reconfigure => "Reconfigure",
            ConditionType::InstancesRebuilding => "InstancesRebuilding",
            ConditionType::QuorumRecovering => "QuorumRecovering",
            ConditionType::VolumeExpanding => "VolumeExpanding",
            ConditionType::CustomOperation => "CustomOperation",
            ConditionType::Reverting => "Reverting",
            ConditionType::Succeed => "Succeed",
            ConditionType::Failed => "Failed",
            ConditionType::Aborted => "Aborted",
            ConditionType::Cancelled => "Cancelled",
        }
    }
}

/// Reason of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The spec is valid.
    PreCheckSucceed,
    /// The spec is not valid; the message names the field.
    PreCheckFailed,
    /// The repository is being tried (BackupRepo).
    PreChecking,
    /// All children were written.
    ApplyResourcesSucceed,
    /// A child could not be written.
    ApplyResourcesFailed,
    /// A field that cannot change was changed; the running members keep the old value.
    ImmutableFieldChanged,
    /// An admission policy or its binding is not installed, or differs from that of this release.
    AdmissionMissing,
    /// The Cluster is ready.
    ClusterReady,
    /// Some components are not ready.
    ComponentsNotReady,
    /// The service answers.
    Available,
    /// The service does not answer.
    Unavailable,
    /// `terminationPolicy: DoNotTerminate` blocks deletion.
    TerminationRefused,
    /// Children are being deleted.
    DeletingChildren,
    /// All are ready.
    Ready,
    /// Some are not ready.
    NotReady,
    /// A pod failed.
    InstanceFailure,
    /// The last reconcile succeeded.
    ReconcileSucceeded,
    /// The last reconcile failed; the message says at what.
    ReconcileFailed,
    /// A majority of voters answers.
    QuorumPresent,
    /// No majority of voters answers.
    QuorumLost,
    /// Not known.
    Unknown,
    /// Members report different cluster identifiers.
    ClusterIdMismatch,
    /// Members report the latched cluster identifier.
    ClusterIdMatches,
    /// The update is held back by its strategy.
    UpdateRestricted,
    /// No strategy holds an update back.
    UpdateUnrestricted,
    /// The cluster was never bootstrapped.
    NotBootstrapped,
    /// The data of a majority is lost; only a restore helps.
    DataLost,
    /// Of each volume it is known which storage class was asked for.
    OnRecord,
    /// Of a volume that is not known.
    NotOnRecord,
    /// The taint was left on a node that is ready.
    TaintLeft,
    /// No node of a member that is ready has it.
    NoTaint,
    /// No alarm stands.
    NoAlarm,
    /// A database has reached its quota.
    NoSpace,
    /// Members' data differ.
    Corrupt,
    /// The operator makes other pods from the same spec than its release before.
    OperatorChanged,
    /// A backup is made before etcd changes its minor.
    BackupFirst,
    /// It is not known whether servers of etcd's next minor would start with the members' data.
    V2StoreUnchecked,
    /// The certificates are in order.
    Certified,
    /// A certificate, its key or its Secret is not as it must be; the message names it.
    CertificateFault,
    /// etcd has its users.
    AccountsApplied,
    /// Users are on their way to etcd.
    AccountsPending,
    /// A user's Secret is not as it must be, or etcd does not take the users; the message names it.
    AccountFault,
    /// The operation has not begun (OpsRequest).
    WaitForProgressing,
    /// The operation can be carried out.
    ValidateOpsRequestPassed,
    /// The operation cannot be carried out; the message says why.
    ValidateFailed,
    /// The Cluster is in a phase in which the operation may not begin.
    ClusterPhaseMismatch,
    /// There is no such Cluster.
    ClusterNotFound,
    /// Pods are being recreated.
    RestartStarted,
    /// Members are stopped.
    StopStarted,
    /// Members are started.
    StartCluster,
    /// Members come or go.
    HorizontalScalingStarted,
    /// Members get other resources.
    VerticalScalingStarted,
    /// Leadership is moved.
    SwitchoverStarted,
    /// Members get another version.
    VersionUpgradeStarted,
    /// Services come or go.
    ExposeStarted,
    /// Members get other settings.
    ReconfigureStarted,
    /// Members are replaced by new ones of the same name.
    StartToRebuildInstances,
    /// One member is to continue without the others.
    QuorumRecoveryStarted,
    /// Volumes are to grow.
    VolumeExpansionStarted,
    /// Members are to be defragmented.
    EtcdDefragmentationStarting,
    /// The effect of the operation was seen.
    OpsRequestProcessedSuccessfully,
    /// The operation has failed.
    OpsRequestFailed,
    /// The operation was given up.
    OpsRequestAborted,
    /// The operation took longer than its `timeoutSeconds`.
    OpsRequestTimeout,
    /// The operation is being undone.
    CancelStarted,
    /// The operation was undone.
    CancelSucceed,
}

impl Reason {
    /// The reason as it is written in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::PreCheckSucceed => "PreCheckSucceed",
            Reason::PreCheckFailed => "PreCheckFailed",
            Reason::PreChecking => "PreChecking",
            Reason::ApplyResourcesSucceed => "ApplyResourcesSucceed",
            Reason::ApplyResourcesFailed => "ApplyResourcesFailed",
            Reason::ImmutableFieldChanged => "ImmutableFieldChanged",
            Reason::AdmissionMissing => "AdmissionMissing",
            Reason::ClusterReady => "ClusterReady",
            Reason::ComponentsNotReady => "ComponentsNotReady",
            Reason::Available => "Available",
            Reason::Unavailable => "Unavailable",
            Reason::TerminationRefused => "TerminationRefused",
            Reason::DeletingChildren => "DeletingChildren",
            Reason::Ready => "Ready",
            Reason::NotReady => "NotReady",
            Reason::InstanceFailure => "InstanceFailure",
            Reason::ReconcileSucceeded => "ReconcileSucceeded",
            Reason::ReconcileFailed => "ReconcileFailed",
            Reason::QuorumPresent => "QuorumPresent",
            Reason::QuorumLost => "QuorumLost",
            Reason::Unknown => "Unknown",
            Reason::ClusterIdMismatch => "ClusterIDMismatch",
            Reason::ClusterIdMatches => "ClusterIDMatches",
            Reason::UpdateRestricted => "UpdateRestricted",
            Reason::UpdateUnrestricted => "UpdateUnrestricted",
            Reason::NotBootstrapped => "NotBootstrapped",
            Reason::DataLost => "DataLost",
            Reason::OnRecord => "OnRecord",
            Reason::NotOnRecord => "NotOnRecord",
            Reason::TaintLeft => "TaintLeft",
            Reason::NoTaint => "NoTaint",
            Reason::NoAlarm => "NoAlarm",
            Reason::NoSpace => "NoSpace",
            Reason::Corrupt => "Corrupt",
            Reason::OperatorChanged => "OperatorChanged",
            Reason::BackupFirst => "BackupFirst",
            Reason::V2StoreUnchecked => "V2StoreUnchecked",
            Reason::Certified => "Certified",
            Reason::CertificateFault => "CertificateFault",
            Reason::AccountsApplied => "AccountsApplied",
            Reason::AccountsPending => "AccountsPending",
            Reason::AccountFault => "AccountFault",
            Reason::WaitForProgressing => "WaitForProgressing",
            Reason::ValidateOpsRequestPassed => "ValidateOpsRequestPassed",
            Reason::ValidateFailed => "ValidateFailed",
            Reason::ClusterPhaseMismatch => "ClusterPhaseMismatch",
            Reason::ClusterNotFound => "ClusterNotFound",
            Reason::RestartStarted => "RestartStarted",
            Reason::StopStarted => "StopStarted",
            Reason::StartCluster => "StartCluster",
            Reason::HorizontalScalingStarted => "HorizontalScalingStarted",
            Reason::VerticalScalingStarted => "VerticalScalingStarted",
            Reason::SwitchoverStarted => "SwitchoverStarted",
            Reason::VersionUpgradeStarted => "VersionUpgradeStarted",
            Reason::ExposeStarted => "ExposeStarted",
            Reason::ReconfigureStarted => "ReconfigureStarted",
            Reason::StartToRebuildInstances => "StartToRebuildInstances",
            Reason::QuorumRecoveryStarted => "QuorumRecoveryStarted",
            Reason::VolumeExpansionStarted => "VolumeExpansionStarted",
            Reason::EtcdDefragmentationStarting => "EtcdDefragmentationStarting",
            Reason::OpsRequestProcessedSuccessfully => "OpsRequestProcessedSuccessfully",
            Reason::OpsRequestFailed => "OpsRequestFailed",
            Reason::OpsRequestAborted => "OpsRequestAborted",
            Reason::OpsRequestTimeout => "OpsRequestTimeout",
            Reason::CancelStarted => "CancelStarted",
            Reason::CancelSucceed => "CancelSucceed",
        }
    }
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known whether it holds.
    Unknown,
}

impl Truth {
    /// The status as it is written in a condition: `True`, `False` or `Unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Truth::True } else { Truth::False }
    }
}

/// A condition as it is observed now, without the time since which it has its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Type of the condition.
    pub kind: ConditionType,
    /// Status of the condition.
    pub status: Truth,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: String,
}

impl Observation {
    /// Makes an observation.
    #[must_use]
    pub fn new(
        kind: ConditionType,
        status: impl Into<Truth>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Observation {
            kind,
            status: status.into(),
            reason,
            message: message.into(),
        }
    }
}

/// Writes observations into a list of conditions. A condition's transition time changes only when its status does; a
/// condition of which nothing changed stays equal, so that nothing has to be written.
pub fn record(
    conditions: &mut Vec<Condition>,
    observations: &[Observation],
    generation: Option<i64>,
    now: &Time,
) {
    for seen in observations {
        let new = Condition {
            type_: seen.kind.as_str().to_owned(),
            status: seen.status.as_str().to_owned(),
            reason: seen.reason.as_str().to_owned(),
            message: seen.message.clone(),
            observed_generation: generation,
            last_transition_time: now.clone(),
        };
        match conditions.iter_mut().find(|known| known.type_ == new.type_) {
            Some(known) if known.status == new.status => {
                let since = known.last_transition_time.clone();
                *known = Condition {
                    last_transition_time: since,
                    ..new
                };
            }
            Some(known) => *known = new,
            None => conditions.push(new),
        }
    }
}

/// The condition of a type; `None` when the list has none.
#[must_use]
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|known| known.type_ == kind.as_str())
}

/// True when the list has a condition of this type whose status is `True`.
#[must_use]
pub fn holds(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|known| known.status == Truth::True.as_str())
}

/// The alarm that the conditions of an InstanceSet or Component report, for the conditions of its owner; `None` while
/// there is none.
#[must_use]
pub fn alarm_of(conditions: &[Condition]) -> Option<Observation> {
    let kind = ConditionType::AlarmRaised;
    let known = find(conditions, kind).filter(|_| holds(conditions, kind))?;
    let mut reasons = [Reason::Corrupt, Reason::NoSpace].into_iter();
    let reason = reasons.find(|reason| reason.as_str() == known.reason)?;
    Some(Observation::new(kind, true, reason, known.message.clone()))
}

/// What the conditions of an InstanceSet or Component report of tainted nodes, for the conditions of its owner; `None`
/// while there is none.
#[must_use]
pub fn tainted_of(conditions: &[Condition]) -> Option<Observation> {
    let kind = ConditionType::NodeTainted;
    let known = find(conditions, kind).filter(|_| holds(conditions, kind))?;
    let told = known.message.clone();
    Some(Observation::new(kind, true, Reason::TaintLeft, told))
}

/// The update that the conditions of a Component report as held back, for the conditions of its owner; `None` when none
/// is.
#[must_use]
pub fn held_of(conditions: &[Condition]) -> Option<Observation> {
    let kind = ConditionType::UpdateHeld;
    let known = find(conditions, kind).filter(|_| holds(conditions, kind))?;
    let mut reasons = [Reason::BackupFirst, Reason::V2StoreUnchecked].into_iter();
    let reason = reasons.find(|reason| reason.as_str() == known.reason);
    let reason = reason.unwrap_or(Reason::OperatorChanged);
    Some(Observation::new(kind, true, reason, known.message.clone()))
}

/// What the conditions of a Component say of its certificates, for the conditions of its owner; `None` without TLS.
#[must_use]
pub fn certificates_of(conditions: &[Condition]) -> Option<Observation> {
    let kind = ConditionType::CertificatesValid;
    let known = find(conditions, kind)?;
    let fine = holds(conditions, kind);
    let reason = if fine {
        Reason::Certified
    } else {
        Reason::CertificateFault
    };
    Some(Observation::new(kind, fine, reason, known.message.clone()))
}

/// What the conditions of a Component say of etcd's users, for the conditions of its owner; `None` without users.
#[must_use]
pub fn accounts_of(conditions: &[Condition]) -> Option<Observation> {
    let kind = ConditionType::AccountsReady;
    let known = find(conditions, kind)?;
    let known_reasons = [
        Reason::AccountsApplied,
        Reason::AccountsPending,
        Reason::AccountFault,
    ];
    let mut reasons = known_reasons.into_iter();
    let reason = reasons.find(|reason| reason.as_str() == known.reason)?;
    let truth = match reason {
        Reason::AccountsApplied => Truth::True,
        Reason::AccountsPending => Truth::Unknown,
        _ => Truth::False,
    };
    Some(Observation::new(kind, truth, reason, known.message.clone()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).expect("in range"))
    }

    #[test]
    fn transition_time_moves_with_the_status_only() {
        let mut conditions = Vec::new();
        let ready = |holds, text: &str| {
            [Observation::new(
                ConditionType::Ready,
                holds,
                Reason::ClusterReady,
                text,
            )]
        };
        record(&mut conditions, &ready(true, "one"), Some(1), &at(10));
        record(&mut conditions, &ready(true, "two"), Some(2), &at(20));
        assert_eq!(conditions[0].last_transition_time, at(10));
        assert_eq!(conditions[0].message, "two");
        record(&mut conditions, &ready(false, "two"), Some(2), &at(30));
        assert_eq!(conditions[0].last_transition_time, at(30));
        assert_eq!(conditions.len(), 1);
        assert!(!holds(&conditions, ConditionType::Ready));
    }
}
