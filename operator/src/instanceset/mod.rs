//! InstanceSet -> pods, claims, headless service, etcd membership.
//!
//! `observe` (IO in) -> `plan` (pure) -> `apply` (IO out), once for each wake-up; `controller` strings them
//! together, `run` tells what wakes it. Must not write role labels (that is [`crate::roles`]' work) and speaks
//! to etcd through agents only.

pub mod apply;
mod approval;
mod calls;
mod controller;
pub mod desired;
pub mod error;
pub mod events;
mod evict;
pub mod names;
pub mod observe;
pub mod observed;
mod pace;
pub mod plan;
mod rehearse;
mod resize;
mod run;
mod sequence;

pub use run::{Context, run};
