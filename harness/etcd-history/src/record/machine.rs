//! How busy the machine was, as a process of the harness saw it.

use serde::{Deserialize, Serialize};

use super::Nanos;

/// What one process saw since its sample before. It samples ten times a second, so that a stall of a tenth of a second
/// is seen. What the machine does not tell is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSample {
    /// When the sample was taken: the end of its interval.
    pub t: Nanos,
    /// The process: `harness` or `workload`.
    pub source: String,
    /// Nanoseconds since the sample before.
    pub interval: Nanos,
    /// Nanoseconds between the time that its timer was set to and the time at which it ran.
    pub late: Nanos,
    /// Nanoseconds of the interval in which some process waited for a processor: `some` of `/proc/pressure/cpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Nanos>,
    /// Nanoseconds that the hypervisor gave to others, summed over all processors: `steal` of `/proc/stat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen: Option<Nanos>,
    /// Nanoseconds in which processors had nothing to do, summed over all: `idle` and `iowait` of `/proc/stat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Nanos>,
    /// Processors of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processors: Option<u32>,
    /// Processes that ran or were ready to run: `procs_running` of `/proc/stat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runnable: Option<u32>,
    /// Nanoseconds for which threads of the process itself were ready and did not run, summed over its threads:
    /// `/proc/self/task/*/schedstat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delayed: Option<Nanos>,
    /// Nanoseconds in which some process waited for a disk: `some` of `/proc/pressure/io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Nanos>,
}
