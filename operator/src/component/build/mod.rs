//! PURE builders of a Component's children, one file for each kind.

mod config_map;
mod disruption_budget;
mod instance_set;
mod metadata;
mod service;
mod service_account;
mod template;

pub(super) use config_map::environment;
pub(super) use disruption_budget::{disruption_budget, quorum};
pub(super) use instance_set::{instance_set, retention};
pub(super) use service::services;
pub(super) use service_account::{named_account, service_account, service_account_name};
