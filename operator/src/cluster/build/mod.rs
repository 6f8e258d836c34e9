//! PURE builders of a Cluster's children, one file for each kind.

mod component;
mod reach;
mod service;

pub(super) use component::component;
pub(super) use service::service;
