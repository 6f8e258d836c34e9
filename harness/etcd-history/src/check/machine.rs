//! Whether the machine let times be judged.
//!
//! A process that is ready and gets no processor is late, whatever it was to do. In a window in which that happened for
//! longer than a budget can bear, a late answer says nothing of etcd or of the operator, and an answer in time is luck:
//! claims about time are not judged there, either way. What decides is the machine alone, never the outcome. Claims
//! about safety never ask.
//!
//! The client that measures runs in a node, as the members do, and its timers count. Those of the harness count where
//! nothing else tells: it runs beside the nodes, which may outweigh it.
//!
//! A machine that is slow all the time ([`Machine::slow`]) spoils claims of seconds. Claims of milliseconds are spoilt
//! by a single stall as well ([`Machine::starved`]).

use std::collections::BTreeMap;
use std::fmt;

use super::gaps::{Window, milliseconds};
use super::verdict::Findings;
use crate::index::Index;
use crate::record::{MachineSample, Nanos, Route};

/// The process of the recording client, as its samples name it.
const CLIENT: &str = "workload";
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
/// Lateness of the slowest hundredth of sends above which times are not judged: the client measures itself.
const SEND_LATE_MAX: Nanos = 100_000_000;

/// How busy the machine was in the course of a run.
pub(crate) struct Machine<'a> {
    /// By process, in order of time.
    sources: BTreeMap<&'a str, Vec<&'a MachineSample>>,
    /// When each write through the service left, and how late. They leave by the clock alone. Dial-all asks a second
    /// time when the first answer is late, which would make etcd's lateness the machine's.
    sends: Vec<(Nanos, Nanos)>,
}

/// How busy it was in a window. Shares are between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    /// Share of the time in which some process waited for a processor.
    waiting: Option<f64>,
    /// Share of the processors' time that the hypervisor gave to others.
    stolen: Option<f64>,
    /// Share of the processors' time in which they had nothing to do.
    idle: Option<f64>,
    /// Processes that ran or were ready to run, on average.
    runnable: Option<f64>,
    /// Share of the time for which the recording client was ready and did not run.
    delayed: Option<f64>,
    /// Share of timers that were late.
    timers_late: f64,
    /// The latest timer.
    timer_late: Nanos,
    /// Lateness of the slowest hundredth of sends.
    sends_late: Nanos,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(index: &Index<'a>) -> Self {
        let mut sources: BTreeMap<&str, Vec<&MachineSample>> = BTreeMap::new();
        for sample in &index.machine {
            sources.entry(&sample.source).or_default().push(sample);
        }
        for samples in sources.values_mut() {
            samples.sort_by_key(|sample| sample.t);
        }
        let by_the_clock = |route| matches!(route, Route::ServiceFresh | Route::ServiceHeld);
        let calls = index.ops.iter().map(|op| op.call);
        let mut sends: Vec<_> = calls
            .filter(|call| by_the_clock(call.route) && call.scheduled != call.t)
            .map(|call| (call.t, (call.t - call.scheduled).max(0)))
            .collect();
        sends.sort_unstable();
        Self { sources, sends }
    }

    /// Why milliseconds cannot be judged in a window; absent where they can.
    pub(crate) fn starved(&self, window: Window) -> Option<String> {
        let load = self.load(window);
        (load.slows() || load.stalls()).then(|| too_busy(&load))
    }

    /// Why seconds cannot be judged in a window; absent where they can.
    pub(crate) fn slow(&self, window: Window) -> Option<String> {
        let load = self.load(window);
        load.slows().then(|| too_busy(&load))
    }

    /// True when the recording client itself was late in a window: what it saw late may have been in time.
    pub(crate) fn client_late(&self, window: Window) -> bool {
        let samples = self.sources.get(CLIENT).map(Vec::as_slice);
        let load = of_source(samples.unwrap_or_default(), window);
        Load {
            timers_late: load.timers_late,
            timer_late: load.timer_late,
            sends_late: self.sends_late(window),
            ..Load::default()
        }
        .stalls()
    }

    /// The worst that any process saw in a window.
    pub(super) fn load(&self, window: Window) -> Load {
        let seen = self
            .sources
            .values()
            .map(|samples| of_source(samples, window));
        let mut worst = seen.fold(Load::default(), Load::worse);
        if let Some(client) = self.sources.get(CLIENT) {
            let client = of_source(client, window);
            worst.timers_late = client.timers_late;
            worst.timer_late = client.timer_late;
            worst.delayed = client.delayed;
        }
        worst.sends_late = self.sends_late(window);
        worst
    }

    /// Why what the harness itself saw, labels and endpoints, may have been seen late in a window.
    pub(crate) fn observer_late(&self, window: Window) -> Option<String> {
        let mut samples = self.sources.iter().filter(|(source, _)| **source != CLIENT);
        let late = |load: &Load| load.stalls();
        samples.find_map(|(_, samples)| {
            let load = Some(of_source(samples, window)).filter(late)?;
            Some(too_busy(&load))
        })
    }

    /// Lateness of the slowest hundredth of sends.
    fn sends_late(&self, window: Window) -> Nanos {
        let late = self.sends.iter().filter(|(t, _)| window.holds(*t));
        let mut late: Vec<Nanos> = late.map(|(_, late)| *late).collect();
        late.sort_unstable();
        let last = late.len().saturating_sub(1);
        late.get(last * 99 / 100).copied().unwrap_or(0)
    }
}

/// What one process saw: every sample whose interval touches the window.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a run")]
fn of_source(samples: &[&MachineSample], window: Window) -> Load {
    let inside: Vec<&&MachineSample> = samples
        .iter()
        .filter(|sample| {
            sample.t >= window.from && sample.t.saturating_sub(sample.interval) <= window.to
        })
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
    Load {
        waiting: share(|sample| sample.waiting),
        stolen: share(|sample| sample.stolen).map(of_all),
        idle: share(|sample| sample.idle).map(of_all),
        runnable: (!runnable.is_empty())
            .then(|| runnable.iter().sum::<f64>() / runnable.len() as f64),
        delayed: share(|sample| sample.delayed),
        timers_late: inside.iter().filter(late).count() as f64 / inside.len().max(1) as f64,
        timer_late: inside.iter().map(|sample| sample.late).max().unwrap_or(0),
        sends_late: 0,
    }
}

fn too_busy(load: &Load) -> String {
    format!("machine too busy to tell ({load})")
}

impl Load {
    fn worse(self, other: Self) -> Self {
        let worse = |a: Option<f64>, b: Option<f64>, of: fn(f64, f64) -> f64| match (a, b) {
            (Some(a), Some(b)) => Some(of(a, b)),
            (a, b) => a.or(b),
        };
        Self {
            waiting: worse(self.waiting, other.waiting, f64::max),
            stolen: worse(self.stolen, other.stolen, f64::max),
            idle: worse(self.idle, other.idle, f64::min),
            runnable: worse(self.runnable, other.runnable, f64::max),
            delayed: worse(self.delayed, other.delayed, f64::max),
            timers_late: self.timers_late.max(other.timers_late),
            timer_late: self.timer_late.max(other.timer_late),
            sends_late: self.sends_late.max(other.sends_late),
        }
    }

    /// True when everything takes longer.
    fn slows(&self) -> bool {
        let full = self.waiting.is_some_and(|share| share > WAITING_MAX)
            || self.idle.is_some_and(|share| share < IDLE_MIN);
        let delays = self.delayed.is_none_or(|share| share > DELAYED_MAX);
        full && delays || self.stolen.is_some_and(|share| share > STOLEN_MAX)
    }

    /// True when something may have waited as long as a budget of milliseconds.
    fn stalls(&self) -> bool {
        self.timers_late > TIMERS_LATE_MAX
            || self.timer_late > STALL_MAX
            || self.sends_late > SEND_LATE_MAX
    }

    pub(super) fn tell(&self, prefix: &str, findings: &mut Findings) {
        let percent = [
            ("waiting_pct", self.waiting),
            ("stolen_pct", self.stolen),
            ("idle_pct", self.idle),
            ("delayed_pct", self.delayed),
            ("timers_late_pct", Some(self.timers_late)),
        ];
        for (name, share) in percent {
            if let Some(share) = share {
                findings.figure(format!("{prefix}.{name}"), share * 100.0);
            }
        }
        if let Some(runnable) = self.runnable {
            findings.figure(format!("{prefix}.runnable"), runnable);
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
        write!(
            f,
            "{:.0} % of timers late, one by {:.0} ms, sends {:.0} ms late",
            self.timers_late * 100.0,
            milliseconds(self.timer_late),
            milliseconds(self.sends_late)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::test_support::{ms, put};
    use crate::index::Op;
    use crate::record::Call;

    fn sample(source: &str, t: i64, waiting: i64, late: i64) -> MachineSample {
        MachineSample {
            t: ms(t),
            source: source.to_owned(),
            interval: ms(100),
            late: ms(late),
            waiting: Some(ms(waiting)),
            stolen: Some(0),
            idle: Some(ms(60)),
            processors: Some(2),
            runnable: Some(3),
            delayed: None,
        }
    }

    fn starved(samples: &[MachineSample], from: i64, to: i64) -> Option<String> {
        let index = Index {
            machine: samples.iter().collect(),
            ..Index::default()
        };
        Machine::new(&index).starved(Window {
            from: ms(from),
            to: ms(to),
        })
    }

    #[test]
    fn a_window_is_starved_by_what_happened_in_it_and_by_nothing_else() {
        let samples: Vec<_> = (1..=100)
            .map(|n| {
                let busy = (51..=80).contains(&n);
                let (waiting, late) = if busy { (99, 5) } else { (40, 5) };
                sample("harness", n * 100, waiting, late)
            })
            .collect();
        assert_eq!(starved(&samples, 0, 4_900), None);
        assert_eq!(starved(&samples, 8_100, 9_900), None);
        let told = starved(&samples, 5_200, 7_900).expect("it was busy");
        assert!(told.contains("CPU pressure 99 %"), "{told}");
        // A short stretch of it does not spoil a long window.
        assert_eq!(starved(&samples, 0, 10_000), None);
    }

    #[test]
    fn late_timers_of_either_process_starve() {
        let calm = (1..=60).map(|n| sample("harness", n * 100, 10, 1));
        let late = |every: i64| {
            (1..=60).map(move |n| {
                let late = if n % every == 0 { 40 } else { 1 };
                sample("workload", n * 100, 10, late)
            })
        };
        let of = |every| calm.clone().chain(late(every)).collect::<Vec<_>>();
        assert_eq!(starved(&of(20), 0, 6_000), None, "one in twenty");
        let told = starved(&of(10), 0, 6_000).expect("one in ten");
        assert!(told.contains("10 % of timers late, one by 40 ms"), "{told}");
    }

    #[test]
    fn a_full_machine_that_leaves_the_processors_to_the_nodes_is_not_starved() {
        let of = |client_delayed| -> Vec<_> {
            let full = |source: &str, n: i64, delayed: Option<i64>, late| MachineSample {
                delayed: delayed.map(ms),
                idle: Some(0),
                ..sample(source, n * 100, 99, late)
            };
            (1..=60)
                .flat_map(|n| {
                    // The harness is beside the nodes, and as late as whatever else is.
                    [
                        full("harness", n, Some(90), 200),
                        full("workload", n, client_delayed, 1),
                    ]
                })
                .collect()
        };
        assert_eq!(starved(&of(Some(29)), 0, 6_000), None);
        let told = starved(&of(Some(31)), 0, 6_000).expect("the client waits too");
        assert!(told.contains("client delayed 31 %"), "{told}");
        assert!(starved(&of(None), 0, 6_000).is_some(), "nothing tells");
    }

    #[test]
    fn a_stall_spoils_milliseconds_and_no_seconds() {
        let stalled = [sample("harness", 100, 10, 150)];
        let full = [sample("harness", 100, 99, 0)];
        let judged = |samples: &[MachineSample]| {
            let index = Index {
                machine: samples.iter().collect(),
                ..Index::default()
            };
            let machine = Machine::new(&index);
            let window = Window {
                from: 0,
                to: ms(100),
            };
            (
                machine.starved(window).is_some(),
                machine.slow(window).is_some(),
            )
        };
        assert_eq!(judged(&stalled), (true, false));
        assert_eq!(judged(&full), (true, true));
    }

    #[test]
    fn a_second_attempt_of_dial_all_is_no_late_send() {
        let late_on = |route| {
            let calls: Vec<Call> = (0..100)
                .map(|n| Call {
                    t: ms(n * 50 + 130),
                    op: n.unsigned_abs(),
                    client: 1,
                    route,
                    scheduled: ms(n * 50),
                    request: put("k", "v"),
                })
                .collect();
            let index = Index {
                ops: calls
                    .iter()
                    .map(|call| Op {
                        call,
                        end: None,
                        called_at: 0,
                        ended_at: u32::MAX,
                    })
                    .collect(),
                ..Index::default()
            };
            let window = Window {
                from: 0,
                to: ms(6_000),
            };
            let machine = Machine::new(&index);
            (
                machine.starved(window).is_some(),
                machine.client_late(window),
            )
        };
        assert_eq!(late_on(Route::ServiceHeld), (true, true));
        assert_eq!(late_on(Route::DialAll), (false, false));
    }

    #[test]
    fn only_its_own_samples_make_the_client_late() {
        let client_late = |source: &str| {
            let samples: Vec<_> = (1..=60).map(|n| sample(source, n * 100, 99, 40)).collect();
            let index = Index {
                machine: samples.iter().collect(),
                ..Index::default()
            };
            let window = Window {
                from: 0,
                to: ms(6_000),
            };
            let machine = Machine::new(&index);
            assert!(machine.starved(window).is_some());
            machine.client_late(window)
        };
        assert!(client_late("workload"));
        assert!(!client_late("harness"));
    }

    #[test]
    fn a_single_stall_as_long_as_a_budget_starves() {
        let stalled = |late: i64| -> Vec<_> {
            let one = |n: i64| sample("harness", n * 100, 10, if n == 30 { late } else { 1 });
            (1..=60).map(one).collect()
        };
        assert_eq!(starved(&stalled(90), 0, 6_000), None);
        assert!(starved(&stalled(110), 0, 6_000).is_some());
        assert_eq!(starved(&stalled(110), 4_000, 6_000), None, "it was before");
    }

    #[test]
    fn stolen_time_counts_for_all_processors() {
        let stolen = |ms_each: i64| -> Vec<_> {
            let steal = |n: i64| MachineSample {
                stolen: Some(ms(ms_each)),
                ..sample("harness", n * 100, 10, 1)
            };
            (1..=50).map(steal).collect()
        };
        assert_eq!(starved(&stolen(8), 0, 5_000), None, "4 % of two");
        assert!(starved(&stolen(12), 0, 5_000).is_some(), "6 % of two");
    }

    #[test]
    fn a_machine_without_idle_time_is_starved() {
        let idle = |ms_each: i64| -> Vec<_> {
            let idle = |n: i64| MachineSample {
                idle: Some(ms(ms_each)),
                ..sample("harness", n * 100, 10, 1)
            };
            (1..=50).map(idle).collect()
        };
        assert_eq!(starved(&idle(12), 0, 5_000), None, "6 % of two");
        let told = starved(&idle(8), 0, 5_000).expect("4 % of two");
        assert!(told.contains("idle 4 %"), "{told}");
    }

    #[test]
    fn a_machine_that_tells_nothing_is_judged_by_the_sends_alone() {
        let silent = MachineSample {
            waiting: None,
            stolen: None,
            idle: None,
            processors: None,
            runnable: None,
            ..sample("harness", 100, 0, 2)
        };
        assert_eq!(starved(&[silent], 0, 100), None);
        assert_eq!(starved(&[], 0, 100), None);
        let machine = Machine {
            sources: BTreeMap::new(),
            sends: (0..100).map(|n| (ms(n), ms(n * 2))).collect(),
        };
        let window = |to| Window {
            from: 0,
            to: ms(to),
        };
        assert_eq!(machine.starved(window(40)), None);
        let told = machine.starved(window(99)).expect("late sends");
        assert!(told.contains("sends 196 ms late"), "{told}");
    }
}
