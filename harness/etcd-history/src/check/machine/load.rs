//! How busy a machine was in a window, and what that means for times.

use std::fmt;

use crate::check::gaps::{Window, milliseconds};
use crate::check::verdict::Findings;
use crate::record::{MachineSample, Nanos};

/// Share of a window in which some process waited for a processor, above which times are not judged. A run of five
/// members on two cores has 45 to 70 % in the windows of its faults when nothing else runs.
const WAITING_MAX: f64 = 0.90;
/// Share of all processors' time without work, below which times are not judged: whatever wakes finds all of them
/// taken.
const IDLE_MIN: f64 = 0.05;
/// Share of all processors' time that the hypervisor gave to others, above which times are not judged.
const STOLEN_MAX: f64 = 0.05;
/// A timer later than this is late: a fifth of the tightest budget (100 ms, a planned move).
const TIMER_LATE: Nanos = 20_000_000;
/// Share of late timers above which times are not judged.
const TIMERS_LATE_MAX: f64 = 0.05;
/// Lateness of a single timer above which times are not judged: a stall as long as the tightest budget.
const STALL_MAX: Nanos = 100_000_000;
/// Share of the time for which the recording client was ready and did not run, up to which a machine without idle time
/// is not starved: whatever takes the processors leaves them to the nodes. On two cores beside a build and two busy
/// loops it was 15 to 21 %, and gaps were as long as without.
const DELAYED_MAX: f64 = 0.30;
/// Processes that run or are ready, for each processor, from which on every step of a failover takes longer.
const QUEUE_USUAL: f64 = 4.0;
/// The same as a share of the time for which the recording client was ready and did not run. Processes beside the nodes
/// lengthen the queue and not this, where the nodes have the weight.
const DELAYED_USUAL: f64 = 0.15;
/// By how much more gaps grow than the two above. `failover::leader_etcd_killed` over dial-all, medians of five rounds,
/// with the client delayed for 15 % of the time: 111 ms; for 21 %: 164 and 221; 26 to 28 %: 278 to 318; 31 %: 133 in
/// the one run; 33 to 36 %: 304 to 364.
const STRETCH_SLOPE: f64 = 2.0;
/// Lateness of the slowest hundredth of sends above which times are not judged: the client measures itself.
const SEND_LATE_MAX: Nanos = 100_000_000;

/// How busy it was in a window. Shares are between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::check) struct Load {
    /// Share of the time in which some process waited for a processor.
    pub(super) waiting: Option<f64>,
    /// Share of the processors' time that the hypervisor gave to others.
    pub(super) stolen: Option<f64>,
    /// Share of the processors' time in which they had nothing to do.
    pub(super) idle: Option<f64>,
    /// Processes that ran or were ready to run, on average.
    pub(super) runnable: Option<f64>,
    /// The same for each processor.
    pub(super) queue: Option<f64>,
    /// Share of the time for which the recording client was ready and did not run.
    pub(super) delayed: Option<f64>,
    /// Share of the time in which some process waited for a disk. Of all claims only a missed deadline asks for it.
    pub(super) disk: Option<f64>,
    /// Share of timers that were late.
    pub(super) timers_late: f64,
    /// The latest timer.
    pub(super) timer_late: Nanos,
    /// By how much late timers were late, all together.
    pub(super) timers_sum: Nanos,
    /// Lateness of the slowest hundredth of sends.
    pub(super) sends_late: Nanos,
}

/// True when a sample's interval touches the window.
pub(super) fn touches(sample: &MachineSample, window: Window) -> bool {
    sample.t >= window.from && sample.t.saturating_sub(sample.interval) <= window.to
}

/// What one process saw: every sample whose interval touches the window.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a run")]
pub(super) fn of_source(samples: &[&MachineSample], window: Window) -> Load {
    let inside: Vec<&&MachineSample> = samples
        .iter()
        .filter(|sample| touches(sample, window))
        .collect();
    let intervals = inside.iter().map(|sample| sample.interval);
    let time = intervals.fold(0, Nanos::saturating_add);
    let share = |part: fn(&MachineSample) -> Option<Nanos>| {
        let parts: Vec<Nanos> = inside.iter().filter_map(|sample| part(sample)).collect();
        (time > 0 && !parts.is_empty())
            .then(|| parts.iter().copied().fold(0, Nanos::saturating_add) as f64 / time as f64)
    };
    let processors = inside.iter().find_map(|sample| sample.processors);
    let of_all = |share: f64| share / f64::from(processors.unwrap_or(1).max(1));
    let late = |sample: &&&&MachineSample| sample.late > TIMER_LATE;
    let runnable: Vec<f64> = inside
        .iter()
        .filter_map(|sample| sample.runnable.map(f64::from))
        .collect();
    let runnable =
        (!runnable.is_empty()).then(|| runnable.iter().sum::<f64>() / runnable.len() as f64);
    Load {
        waiting: share(|sample| sample.waiting),
        stolen: share(|sample| sample.stolen).map(of_all),
        idle: share(|sample| sample.idle).map(of_all),
        runnable,
        queue: runnable.filter(|_| processors.is_some()).map(of_all),
        delayed: share(|sample| sample.delayed),
        disk: share(|sample| sample.disk),
        timers_late: inside.iter().filter(late).count() as f64 / inside.len().max(1) as f64,
        timer_late: inside.iter().map(|sample| sample.late).max().unwrap_or(0),
        timers_sum: inside
            .iter()
            .map(|sample| sample.late)
            .filter(|late| *late > TIMER_LATE)
            .fold(0, Nanos::saturating_add),
        sends_late: 0,
    }
}

pub(super) fn too_busy(load: &Load) -> String {
    format!("machine too busy to tell ({load})")
}

impl Load {
    pub(super) fn worse(self, other: Self) -> Self {
        let worse = |a: Option<f64>, b: Option<f64>, of: fn(f64, f64) -> f64| match (a, b) {
            (Some(a), Some(b)) => Some(of(a, b)),
            (a, b) => a.or(b),
        };
        Self {
            waiting: worse(self.waiting, other.waiting, f64::max),
            stolen: worse(self.stolen, other.stolen, f64::max),
            idle: worse(self.idle, other.idle, f64::min),
            runnable: worse(self.runnable, other.runnable, f64::max),
            queue: worse(self.queue, other.queue, f64::max),
            delayed: worse(self.delayed, other.delayed, f64::max),
            disk: worse(self.disk, other.disk, f64::max),
            timers_late: self.timers_late.max(other.timers_late),
            timer_late: self.timer_late.max(other.timer_late),
            timers_sum: self.timers_sum.max(other.timers_sum),
            sends_late: self.sends_late.max(other.sends_late),
        }
    }

    /// True when everything takes longer.
    pub(super) fn slows(&self) -> bool {
        let full = self.waiting.is_some_and(|share| share > WAITING_MAX)
            || self.idle.is_some_and(|share| share < IDLE_MIN);
        let delays = self.delayed.is_none_or(|share| share > DELAYED_MAX);
        full && delays || self.stolen.is_some_and(|share| share > STOLEN_MAX)
    }

    /// How many times as long every step took. Both must say so: the queue, and the client that waited in it.
    pub(super) fn stretch(&self) -> f64 {
        let Some(queue) = self.queue else {
            return 1.0;
        };
        let queue = queue / QUEUE_USUAL;
        let delayed = self.delayed.map_or(queue, |share| share / DELAYED_USUAL);
        1.0 + STRETCH_SLOPE * (queue.min(delayed) - 1.0).max(0.0)
    }

    /// True when something may have waited as long as a budget of milliseconds.
    pub(super) fn stalls(&self) -> bool {
        self.timers_late > TIMERS_LATE_MAX
            || self.timer_late > STALL_MAX
            || self.sends_late > SEND_LATE_MAX
    }

    pub(in crate::check) fn tell(&self, prefix: &str, findings: &mut Findings) {
        let percent = [
            ("waiting_pct", self.waiting),
            ("stolen_pct", self.stolen),
            ("idle_pct", self.idle),
            ("delayed_pct", self.delayed),
            ("disk_pct", self.disk),
            ("timers_late_pct", Some(self.timers_late)),
        ];
        for (name, share) in percent {
            if let Some(share) = share {
                findings.figure(format!("{prefix}.{name}"), share * 100.0);
            }
        }
        if let Some(runnable) = self.runnable {
            findings.figure(format!("{prefix}.runnable"), runnable);
            findings.figure(format!("{prefix}.stretch"), self.stretch());
        }
        for (name, late) in [
            ("timer_late_max_ms", self.timer_late),
            ("sends_late_p99_ms", self.sends_late),
        ] {
            findings.figure(format!("{prefix}.{name}"), milliseconds(late));
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(share) = self.waiting {
            write!(f, "CPU pressure {:.0} %, ", share * 100.0)?;
        }
        if let Some(share) = self.stolen {
            write!(f, "stolen {:.0} %, ", share * 100.0)?;
        }
        if let Some(share) = self.idle {
            write!(f, "idle {:.0} %, ", share * 100.0)?;
        }
        if let Some(share) = self.delayed {
            write!(f, "client delayed {:.0} %, ", share * 100.0)?;
        }
        if let Some(queue) = self.queue {
            write!(f, "{queue:.1} ready for each processor, ")?;
        }
        if let Some(share) = self.disk {
            write!(f, "waiting for disks {:.0} %, ", share * 100.0)?;
        }
        write!(
            f,
            "{:.0} % of timers late, one by {:.0} ms, sends {:.0} ms late",
            self.timers_late * 100.0,
            milliseconds(self.timer_late),
            milliseconds(self.sends_late)
        )
    }
}
