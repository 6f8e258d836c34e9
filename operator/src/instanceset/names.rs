//! Keys that this module writes on its children, and the environment it gives to containers. Constants only.

/// Annotation of claims: identifier (hexadecimal) of the member that the claim was made for by a join.
pub(crate) const JOIN: &str = "workloads.kubeblocks.io/join-member-id";
/// Annotation of claims: the storage class that was asked for, empty for the default one. A policy may have put another
/// one into the claim.
pub(crate) const CLASS: &str = "workloads.kubeblocks.io/storage-class";
/// Annotation of claims: the class on record is the one that was named when this operator saw the claim first, and the
/// claim is of another one. Whether that was asked for is not known.
pub(crate) const ASSUMED: &str = "workloads.kubeblocks.io/storage-class-assumed";
/// Annotation of claims that were kept when their member left; never used again by a member as it is (M10).
pub(crate) const RETIRED: &str = "workloads.kubeblocks.io/retired";
/// Annotation of pods: the raft index (decimal) that its member must have applied to count as caught up (P9).
pub(crate) const CATCH_UP: &str = "workloads.kubeblocks.io/catch-up-index";
/// Annotation of pods: the template's state without the amounts of cpu and memory, which can be changed in place.
pub(crate) const BASE: &str = "workloads.kubeblocks.io/template-base";
/// Annotation of pods: the revision whose amounts of cpu and memory were given to the pod in place.
pub(crate) const RESIZED: &str = "workloads.kubeblocks.io/resized-to";
/// Annotation of pods: the revision whose amounts of cpu and memory Kubernetes refuses to give in place.
pub(crate) const RESIZE_REFUSED: &str = "workloads.kubeblocks.io/resize-refused";

/// Annotation of pods and claims: keys of the labels and annotations that their template gave them, as JSON. One that
/// the template has no longer is taken away.
pub(crate) const TEMPLATE_KEYS: &str = "workloads.kubeblocks.io/template-keys";

/// Name of the container that etcd runs in.
pub(crate) const ETCD: &str = "etcd";

/// UID of the Cluster.
pub(crate) const ENV_CLUSTER_UID: &str = "KB_CLUSTER_UID";
/// Domain of the pods' host names.
pub(crate) const ENV_HEADLESS_DOMAIN: &str = "KB_HEADLESS_DOMAIN";
/// DNS name of the leader's service.
pub(crate) const ENV_LEADER_SERVICE: &str = "KB_LEADER_SERVICE";
/// Pods that bootstrap the cluster.
pub(crate) const ENV_BOOTSTRAP: &str = "KB_BOOTSTRAP_MEMBERS";
/// Identifier of the learner that the pod was made for.
pub(crate) const ENV_JOIN: &str = "KB_JOIN_MEMBER_ID";
/// The mark by which the pod's member becomes the only one of its cluster, once (D11).
pub(crate) const ENV_FORCE: &str = "KB_FORCE_NEW_CLUSTER";
/// Pods to ask for the member list.
pub(crate) const ENV_PEERS: &str = "KB_PEERS";
