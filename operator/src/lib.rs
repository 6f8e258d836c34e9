//! Runs etcd clusters on Kubernetes: Cluster -> Component -> InstanceSet -> Pod.
//!
//! Modules, in the order in which a change of a spec passes through them:
//! - [`cluster`]: Cluster -> Components and its own services.
//! - [`component`]: Component -> InstanceSet, services, secret, budget.
//! - [`instanceset`]: InstanceSet -> pods, claims, membership.
//! - [`backup`]: Backup -> a Job that makes it, and what came of it; policies and repositories.
//! - [`operations`]: OpsRequest -> an edit of its Cluster, and what came of it.
//! - [`roles`]: which pod carries which role label; a data path, runs in every replica without the lease.
//! - [`page`]: one look at all clusters, for people; off by default.
//! - [`definition`]: ComponentDefinitions and ComponentVersions: matching, resolution, their status.
//! - [`agent`]: client of kbagent, the only way to etcd.
//! - [`certificates`]: names, issuing and checks of certificates: pure.
//! - [`admission`]: the policies that keep others from the operator's objects.
//! - [`token`]: what opens an agent for changes.
//! - [`controller`]: what the reconcilers share: context, backoff, events, apply.
//! - [`run`], [`config`], [`client`], [`lease`], [`server`], [`metrics`], [`namespaces`], [`watches`], [`telemetry`],
//!   [`crd`]: the frame around them.
//!
//! Rule of dependency: `plan` modules see no client and no clock; nothing depends on the reconcilers.

pub mod admission;
#[cfg(test)]
mod admitted;
pub mod agent;
pub mod backup;
#[cfg(test)]
mod broken;
pub mod certificates;
pub mod client;
pub mod cluster;
pub mod component;
pub mod config;
pub mod controller;
pub mod crd;
pub mod definition;
#[cfg(test)]
mod fake_api;
pub mod instanceset;
pub mod lease;
pub mod metrics;
#[cfg(test)]
mod mutation;
pub mod namespaces;
pub mod operations;
pub mod page;
pub mod roles;
pub mod run;
pub mod server;
mod shallow;
pub mod telemetry;
pub mod token;
pub mod watches;
