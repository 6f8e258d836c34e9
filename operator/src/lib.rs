//! Runs etcd clusters on Kubernetes: Cluster -> Component -> InstanceSet -> Pod.
//!
//! Map of the rooms, in the order in which a wish travels:
//! - [`cluster`]: Cluster -> Components and its own services.
//! - [`component`]: Component -> InstanceSet, services, secret, budget.
//! - [`instanceset`]: InstanceSet -> pods, claims, membership.
//! - [`roles`]: which pod carries which role label; a data path, runs in every replica without the lease.
//! - [`controller`]: what the reconcilers share: context, errors to backoff, events, apply.
//! - [`lease`], [`metrics`], [`telemetry`], [`crd`]: the frame around them.
//!
//! Rule of dependency: `plan` modules see no client and no clock; nothing depends on the controllers.

pub mod instanceset;
pub mod roles;
