//! Labels, annotations, finalizers and the values that KubeBlocks gives them. Constants only.

/// Label of every child: [`MANAGED_BY_VALUE`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "kubeblocks";
/// Label: name of the Cluster.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Label: name of the component within its Cluster.
pub const COMPONENT_NAME: &str = "apps.kubeblocks.io/component-name";
/// Label: name of the ComponentDefinition (Component, pods, claims).
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Label of a Component: name of the ComponentDefinition.
pub const COMPONENT_DEFINITION: &str = "componentdefinition.kubeblocks.io/name";
/// Label of pods and claims, annotation of the InstanceSet: the resolved service version.
pub const SERVICE_VERSION: &str = "apps.kubeblocks.io/service-version";
/// Label of pods and claims: [`RELEASE_PHASE_STABLE`]; part of every service's selector.
pub const RELEASE_PHASE: &str = "apps.kubeblocks.io/release-phase";
/// Value of [`RELEASE_PHASE`].
pub const RELEASE_PHASE_STABLE: &str = "stable";
/// Label of pods and claims: name of the pod.
pub const POD_NAME: &str = "apps.kubeblocks.io/pod-name";
/// Label of claims: name of the claim template.
pub const VOLUME_CLAIM_TEMPLATE: &str = "apps.kubeblocks.io/vct-name";
/// Label of pods, claims and the headless service: [`WORKLOAD_MANAGED_BY_VALUE`].
pub const WORKLOAD_MANAGED_BY: &str = "workloads.kubeblocks.io/managed-by";
/// Value of [`WORKLOAD_MANAGED_BY`].
pub const WORKLOAD_MANAGED_BY_VALUE: &str = "InstanceSet";
/// Label of pods, claims and the headless service: name of the InstanceSet.
pub const WORKLOAD_INSTANCE: &str = "workloads.kubeblocks.io/instance";
/// Label of an OpsRequest: its type.
pub const OPS_TYPE: &str = "operations.kubeblocks.io/ops-type";
/// Label of pods: revision of the template that made them.
pub const REVISION: &str = "controller-revision-hash";
/// Label of pods: `leader`, `follower` or `learner`.
pub const ROLE: &str = "kubeblocks.io/role";

/// Annotation of pods: raft term (decimal) of the last role written.
pub const ROLE_TERM: &str = "apps.kubeblocks.io/last-role-snapshot-version";
/// Annotation of a pod: how often its role is asked for, in seconds, as the definition's `roleProbe` says;
/// [`ROLE_PROBE_OFF`] where it has none.
pub const ROLE_PROBE: &str = "apps.kubeblocks.io/role-probe-seconds";
/// Value of [`ROLE_PROBE`]: the pod gets no role label.
pub const ROLE_PROBE_OFF: &str = "off";
/// Period of a `roleProbe` that gives none, in seconds.
pub const ROLE_PROBE_DEFAULT_SECONDS: u32 = 5;
/// Annotation of a pod: no leader of a lower raft term may be labelled any more, because the leader of the term before
/// is known to have lost it. Written ahead of an election, so that the label of its winner needs one write.
pub const ROLE_FENCE: &str = "apps.kubeblocks.io/role-fence-term";
/// Annotation of a service: raft term of the last leader whose endpoint was late. Writing it makes the
/// endpoint controller look again; it is never read.
pub const LATE_TERM: &str = "apps.kubeblocks.io/late-leader-term";
/// Annotation of a Component (its Cluster's) and an InstanceSet (its Component's): the generation it was built from.
pub const GENERATION: &str = "kubeblocks.io/generation";
/// Annotation: API version that the object was built for.
pub const CRD_API_VERSION: &str = "kubeblocks.io/crd-api-version";
/// Annotation of a Component, an InstanceSet and a claim: UID of its Cluster.
pub const CLUSTER_UID: &str = "apps.kubeblocks.io/cluster-uid";
/// Annotation of an InstanceSet whose Cluster has the termination policy `DoNotTerminate`: [`HELD`]. While it is set,
/// nothing is deleted.
pub const TERMINATION_POLICY: &str = "apps.kubeblocks.io/termination-policy";
/// Value of [`TERMINATION_POLICY`].
pub const HELD: &str = "DoNotTerminate";
/// Annotation of component specs, copied to the pod template: a new value restarts the pods one by one.
pub const RESTART: &str = "kubeblocks.io/restart";
/// Annotation of an InstanceSet: digest of what its pods' template was made from. A template that differs although this
/// does not was changed by the operator.
pub const TEMPLATE_INPUTS: &str = "apps.kubeblocks.io/template-inputs";
/// Annotation of an InstanceSet whose members speak TLS: who issues their certificates.
pub const TLS_ISSUER: &str = "apps.kubeblocks.io/tls-issuer";
/// Annotation of an InstanceSet whose members speak TLS: fingerprints of the CAs that they believe. No certificate of
/// another CA is given to them, whatever becomes of Secrets.
pub const CAS_BELIEVED: &str = "apps.kubeblocks.io/cas-believed";
/// Annotation of an InstanceSet whose etcd has users: `on`.
pub const ACCOUNTS: &str = "apps.kubeblocks.io/accounts";
/// Annotation of an InstanceSet whose etcd has users, where members' certificates are not of the operator's issuing:
/// their common name, which is the user that members and agents are. Certificates of another one are not taken.
pub const MEMBER_USER: &str = "apps.kubeblocks.io/member-user";
/// Annotation of a Cluster, and of its Components: the issuer of cert-manager that issues the Secret of its issuer
/// UserProvided, `Issuer/NAME` or `ClusterIssuer/NAME`.
pub const CERT_MANAGER_ISSUER: &str = "apps.kubeblocks.io/cert-manager-issuer";
/// Annotation of a Cluster, and of its Components: who may reach the members. [`REACH_OPEN`] (the default with `tls`,
/// or with a service of the Cluster's that leads outside), [`REACH_NAMESPACE`], [`REACH_MEMBERS`] or [`REACH_ALL`].
/// Otherwise absent: as [`REACH_NAMESPACE`], and the ports of the definition's services that lead outside.
pub const NETWORK_POLICY: &str = "apps.kubeblocks.io/network-policy";
/// Clients from everywhere.
pub const REACH_OPEN: &str = "open";
/// Clients of the Cluster's own namespace.
pub const REACH_NAMESPACE: &str = "namespace";
/// No clients: NetworkPolicies of the Cluster's owner let them in.
pub const REACH_MEMBERS: &str = "members";
/// Everything: the operator makes no NetworkPolicy.
pub const REACH_ALL: &str = "none";
/// Annotation of a Cluster, its Components and InstanceSets: minutes ([`UNREACHABLE_LEAST`] to [`UNREACHABLE_MOST`])
/// after which a member is replaced whose node is not ready and holds its volume; absent: never.
pub const REPLACE_UNREACHABLE: &str = "apps.kubeblocks.io/replace-unreachable-minutes";
/// Annotation of a Cluster, and of its Components: `true` lets etcd change its minor without a backup before; `false`,
/// or absent: not.
pub const WITHOUT_BACKUP: &str = "apps.kubeblocks.io/upgrade-without-backup";
/// Annotation of a Cluster, and of its Components: `true` lets etcd go from 3.5 to 3.6 although it is not known whether
/// its store of API v2 is clean, or it is not; `false`, or absent: not.
pub const WITHOUT_V2_CHECK: &str = "apps.kubeblocks.io/upgrade-without-v2-check";
/// Label of the Backup that is made before etcd changes its minor: that minor.
pub const BEFORE_UPGRADE: &str = "apps.kubeblocks.io/before-upgrade-to";
/// Least value of [`REPLACE_UNREACHABLE`], in minutes: Kubernetes itself evicts pods from such a node after as long.
pub const UNREACHABLE_LEAST: u16 = 5;
/// Largest value of [`REPLACE_UNREACHABLE`], in minutes: a week.
pub const UNREACHABLE_MOST: u16 = 10_080;
/// Reads a value of [`REPLACE_UNREACHABLE`], in minutes; `None` for a value that is not accepted.
#[must_use]
pub fn minutes_unreachable(text: &str) -> Option<u16> {
    let minutes = text.parse().ok()?;
    (UNREACHABLE_LEAST..=UNREACHABLE_MOST)
        .contains(&minutes)
        .then_some(minutes)
}
/// Label of the pods of a backup's Jobs: UID of the Backup.
pub const BACKUP_UID: &str = "dataprotection.kubeblocks.io/backup-uid";
/// Annotation that a user writes on the Secret of a component's CA: a new value asks for another CA.
pub const CA_ROTATE: &str = "apps.kubeblocks.io/rotate-ca";
/// Annotation that a user writes on that Secret: minutes after which all applications have read their Secrets again,
/// [`CA_MINUTES_LEAST`] to [`CA_MINUTES_MOST`]; absent: 120.
pub const CA_MINUTES: &str = "apps.kubeblocks.io/rotate-ca-minutes";
/// Least value of [`CA_MINUTES`], in minutes: a mounted Secret takes about as long to reach all pods.
pub const CA_MINUTES_LEAST: u16 = 5;
/// Largest value of [`CA_MINUTES`], in minutes: a day.
pub const CA_MINUTES_MOST: u16 = 1_440;
/// Annotation of that Secret: the value of [`CA_ROTATE`] for which the CA was last replaced.
pub const CA_ROTATED: &str = "apps.kubeblocks.io/rotated-ca";
/// Annotation of that Secret while the CA is replaced: the step, and the time since which it is in effect.
pub const CA_STEP: &str = "apps.kubeblocks.io/ca-step";
/// Annotation of that Secret: which CAs members are to be started with; absent until the CA is replaced once. And of an
/// InstanceSet: the same, of the last such Secret with a CA that they believe.
pub const CA_TRUST: &str = "apps.kubeblocks.io/ca-trust";
/// Annotation of a claim whose member is to be rebuilt with an empty disk; UID of the OpsRequest that asked for it.
pub const REBUILD: &str = "workloads.kubeblocks.io/rebuild";
/// Annotation beside [`REBUILD`]: name of the node that the new member is placed on.
pub const REBUILD_NODE: &str = "workloads.kubeblocks.io/rebuild-on-node";
/// Annotation of an InstanceSet whose quorum is given up: a [`crate::recovery::RecoveryWish`] as JSON.
pub const RECOVER: &str = "workloads.kubeblocks.io/recover-quorum";
/// Annotation of an InstanceSet whose owner has members defragmented: a
/// [`crate::defragmentation::DefragmentationWish`] as JSON.
pub const DEFRAGMENT: &str = "workloads.kubeblocks.io/defragment";
/// Annotation of an InstanceSet whose members are downgraded: the minor version to go back to, e.g. `3.5`.
pub const DOWNGRADE: &str = "workloads.kubeblocks.io/downgrade-to";
/// Annotation of an InstanceSet: the minor version of etcd that the members' logs are prepared for, before an upgrade
/// to it.
pub const UPGRADE: &str = "workloads.kubeblocks.io/upgrade-to";
/// Annotation of an InstanceSet that waits with an upgrade to another minor version of etcd, e.g. for a backup: the
/// version that its pods keep until then. Members do not move to another storage class meanwhile.
pub const MINOR_AWAITED: &str = "workloads.kubeblocks.io/stays-before-minor";
/// Prefix of the annotations of the headless service that tell Prometheus what to scrape.
pub const MONITOR_PREFIX: &str = "monitor.kubeblocks.io/";
/// Annotation of a Cluster: the backup that each component begins with, as KubeBlocks writes it (JSON).
pub const RESTORE: &str = "kubeblocks.io/restore-from-backup";

/// Annotation that a user writes on the Secret of the agents' token: a new value asks for another token.
pub const TOKEN_ROTATE: &str = "apps.kubeblocks.io/rotate-token";
/// Annotation of that Secret: the value of [`TOKEN_ROTATE`] for which the token was last replaced.
pub const TOKEN_ROTATED: &str = "apps.kubeblocks.io/rotated-token";
/// Annotation of that Secret: when its token was made, where it is not as old as the Secret.
pub const TOKEN_SINCE: &str = "apps.kubeblocks.io/token-since";
/// Annotation of that Secret while its token is replaced: the step, and the time at which it was taken.
pub const TOKEN_STEP: &str = "apps.kubeblocks.io/token-step";

/// Kubernetes' label of EndpointSlices: their service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Finalizer of a Cluster.
pub const CLUSTER_FINALIZER: &str = "cluster.kubeblocks.io/finalizer";
/// Finalizer of a Component.
pub const COMPONENT_FINALIZER: &str = "component.kubeblocks.io/finalizer";
/// Finalizer of an InstanceSet.
pub const INSTANCE_SET_FINALIZER: &str = "instanceset.workloads.kubeblocks.io/finalizer";
/// Finalizer of an OpsRequest that asks for something by annotations: they are taken off before it goes.
pub const OPS_REQUEST_FINALIZER: &str = "opsrequest.kubeblocks.io/finalizer";
