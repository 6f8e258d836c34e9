//! Counters of the kernel. What it does not tell (another system, pressure accounting switched off) is absent.

use etcd_history::record::Nanos;

/// Counters since boot.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    waiting: Option<Nanos>,
    stolen: Option<Nanos>,
    idle: Option<Nanos>,
    processors: Option<u32>,
    runnable: Option<u32>,
    delayed: Option<Nanos>,
    disk: Option<Nanos>,
}

impl Counters {
    /// Nanoseconds since another reading in which threads of this process were ready and did not run, summed over all.
    pub(crate) fn delayed_since(&self, before: &Self) -> Option<Nanos> {
        Some(self.delayed?.saturating_sub(before.delayed?))
    }

    /// Nanoseconds since another reading in which some process waited for a disk.
    pub(crate) fn disk_since(&self, before: &Self) -> Option<Nanos> {
        Some(self.disk?.saturating_sub(before.disk?))
    }

    /// Nanoseconds since another reading in which some process waited for a processor.
    pub(crate) fn waiting_since(&self, before: &Self) -> Option<Nanos> {
        Some(self.waiting?.saturating_sub(before.waiting?))
    }

    /// Nanoseconds of all processors since another reading that the hypervisor gave to others.
    pub(crate) fn stolen_since(&self, before: &Self) -> Option<Nanos> {
        Some(self.stolen?.saturating_sub(before.stolen?))
    }

    /// Nanoseconds of all processors since another reading in which they had nothing to do.
    pub(crate) fn idle_since(&self, before: &Self) -> Option<Nanos> {
        Some(self.idle?.saturating_sub(before.idle?))
    }

    /// Processors.
    pub(crate) fn processors(&self) -> Option<u32> {
        self.processors
    }

    /// Processes that run or are ready to run.
    pub(crate) fn runnable(&self) -> Option<u32> {
        self.runnable
    }
}

#[cfg(target_os = "linux")]
impl Counters {
    pub(crate) fn read() -> Self {
        use std::time::Duration;

        use procfs::{Current, CurrentSI};

        let nanos = |time: Duration| Nanos::try_from(time.as_nanos()).ok();
        let pressure = procfs::CpuPressure::current().ok();
        let waiting = pressure
            .map(|pressure| Duration::from_micros(pressure.some.total))
            .and_then(nanos);
        let disk = procfs::IoPressure::current().ok();
        let disk = disk
            .map(|pressure| Duration::from_micros(pressure.some.total))
            .and_then(nanos);
        let delayed = delayed();
        let Ok(stat) = procfs::KernelStats::current() else {
            return Self {
                waiting,
                delayed,
                disk,
                ..Self::default()
            };
        };
        Self {
            waiting,
            idle: nanos(
                stat.total.idle_duration() + stat.total.iowait_duration().unwrap_or_default(),
            ),
            stolen: stat.total.steal_duration().and_then(nanos),
            processors: u32::try_from(stat.cpu_time.len()).ok(),
            runnable: stat.procs_running,
            delayed,
            disk,
        }
    }
}

/// Nanoseconds for which threads of this process have been ready and did not run. A thread that has ended is forgotten.
#[cfg(target_os = "linux")]
fn delayed() -> Option<Nanos> {
    let tasks = procfs::process::Process::myself().ok()?.tasks().ok()?;
    let delays = tasks.filter_map(|task| task.ok()?.schedstat().ok());
    let delays = delays.map(|stat| stat.run_delay);
    Nanos::try_from(delays.sum::<u64>()).ok()
}

#[cfg(not(target_os = "linux"))]
impl Counters {
    pub(crate) fn read() -> Self {
        Self::default()
    }
}
