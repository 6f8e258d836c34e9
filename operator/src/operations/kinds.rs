//! PURE: what each type of operation is: one file a type, behind one trait.

use etcd_operator_api::OpsType;

use super::kind::Kind;

mod custom;
mod expose;
mod horizontal_scaling;
mod rebuild_instance;
mod reconfiguring;
mod recover_quorum;
mod restart;
mod start;
mod stop;
mod switchover;
mod upgrade;
mod vertical_scaling;
mod volume_expansion;

pub(super) use custom::{
    lost as defragmentations_lost, wishes as defragmentations,
    withdrawn as defragmentations_withdrawn,
};
pub(super) use expose::objects as services_of;
pub(super) use rebuild_instance::begun;
pub(super) use recover_quorum::{under_way, wishes, withdrawn};
pub(super) use switchover::leaders;

/// The type's own file.
pub(super) fn of(kind: OpsType) -> &'static dyn Kind {
    match kind {
        OpsType::Restart => &restart::Restart,
        OpsType::Stop => &stop::Stop,
        OpsType::Start => &start::Start,
        OpsType::HorizontalScaling => &horizontal_scaling::HorizontalScaling,
        OpsType::VerticalScaling => &vertical_scaling::VerticalScaling,
        OpsType::Switchover => &switchover::Switchover,
        OpsType::Upgrade => &upgrade::Upgrade,
        OpsType::Reconfiguring => &reconfiguring::Reconfiguring,
        OpsType::Expose => &expose::Expose,
        OpsType::RebuildInstance => &rebuild_instance::RebuildInstance,
        OpsType::RecoverQuorum => &recover_quorum::RecoverQuorum,
        OpsType::VolumeExpansion => &volume_expansion::VolumeExpansion,
        OpsType::Custom => &custom::Custom,
    }
}
