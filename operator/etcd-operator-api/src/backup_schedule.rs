//! BackupSchedule: when backups are made by themselves. Data and admission rules only.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::opaque::Opaque;
use crate::rules;

/// When backups are made by themselves.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "dataprotection.kubeblocks.io",
    version = "v1alpha1",
    kind = "BackupSchedule",
    namespaced,
    status = "BackupScheduleStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "bs",
    category = "kubeblocks",
    doc = "When backups are made by themselves.",
    validation = Rule::new("self.metadata.name.size() <= 63").message(
        "metadata.name: use at most 63 characters, names of Backups are made of it"
    ),
    printcolumn = r#"{"name":"STATUS","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = bounds::fill)]
pub struct BackupScheduleSpec {
    /// The BackupPolicy, in the same namespace.
    #[schemars(length(min = 1, max = 253))]
    pub backup_policy_name: String,
    /// How many minutes late a backup may begin; without it, at any time: of those that were missed the last is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1440))]
    pub starting_deadline_minutes: Option<i64>,
    /// The schedules.
    #[schemars(
        length(min = 1, max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub schedules: Vec<SchedulePolicy>,
}

/// One schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::rule("self.backupMethod == 'datafile'", "backupMethod: datafile, a snapshot of etcd; an archive is a Backup that runs continuously, without a schedule"),
    rules::unsupported_entries("parameters"),
]))]
pub struct SchedulePolicy {
    /// Its name among those of this object.
    #[schemars(
        length(min = 1, max = 20),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// False makes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// `datafile`.
    #[schemars(length(min = 1, max = 63))]
    pub backup_method: String,
    /// Minute, hour, day of month, month, day of week: `0 18 * * 0`.
    #[schemars(length(min = 1, max = 128))]
    pub cron_expression: String,
    /// Time zone of the expression, e.g. `Europe/Berlin`; UTC when absent. Not KubeBlocks'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
    /// How long its backups are kept, e.g. `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]{1,6}[ymwdhs]){1,6}$"))]
    pub retention_period: Option<String>,
    /// How many verified backups of it are kept: when there are more, what is older goes. Not KubeBlocks'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub retention_count: Option<u32>,
    /// Not supported: the method has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Opaque>,
}

/// What is known of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupScheduleStatus {
    /// `Available`, or `Failed` while a schedule cannot be understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupSchedulePhase>,
    /// Why it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<String>,
    /// Generation that this describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<String, ScheduleStatus>,
}

/// What is known of one schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// The last time that it was due, and done or too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// The next time that it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,
}

/// State of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub enum BackupSchedulePhase {
    /// Backups are made.
    Available,
    /// None are.
    Failed,
}
