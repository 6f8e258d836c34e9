//! InstanceSet -> pods, claims, headless service, etcd membership.
//!
//! `observe` (IO in) -> `plan` (pure) -> `apply` (IO out), once for each wake-up; `controller` strings them
//! together, `run` tells what wakes it. Must not write role labels (that is [`crate::roles`]' work) and speaks
//! to etcd through agents only.

pub(crate) mod apply;
mod approval;
mod calls;
mod container;
mod controller;
pub(crate) mod desired;
pub(crate) mod error;
pub(crate) mod events;
mod evict;
mod given_up;
pub(crate) mod names;
pub(crate) mod observe;
pub(crate) mod observed;
mod pace;
pub(crate) mod plan;
mod rehearse;
mod resize;
mod run;
mod sequence;
mod tainted;
mod unlabelled;
mod unreachable;
mod volume_hosts;

#[cfg(test)]
mod test_support;

pub(crate) use run::{Context, run};
