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
//! A stall excuses what it can have cost, and where processes queue for processors every step takes longer:
//! [`Conditions`] say how long a limit is then. Where the machine was slow all the time no one knows.

mod load;

use std::collections::BTreeMap;

use self::load::{Load, of_source, too_busy, touches};
use super::gaps::{Window, milliseconds};
use crate::index::Index;
use crate::record::{MachineSample, Nanos, Route};

/// The process of the recording client, as its samples name it.
const CLIENT: &str = "workload";

/// How busy the machine was in the course of a run.
pub(crate) struct Machine<'a> {
    /// By process, in order of time.
    sources: BTreeMap<&'a str, Vec<&'a MachineSample>>,
    /// When each write through the service left, and how late. They leave by the clock alone. Dial-all asks a second
    /// time when the first answer is late, which would make etcd's lateness the machine's.
    sends: Vec<(Nanos, Nanos)>,
}

/// How much longer than usual milliseconds may have been in a window, by the machine's doing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conditions {
    /// How busy the machine was, in words.
    pub(crate) why: String,
    /// How many times as long every step took: 1 where no more processes queued than usual, infinite where the machine
    /// was so slow that no one knows.
    pub(crate) stretch: f64,
    /// What stalls may have cost besides: by how much late timers and sends were late, all of them together.
    pub(crate) stalled_ms: f64,
}

impl Conditions {
    /// Of a machine that had time for everything.
    pub(crate) fn calm() -> Self {
        Self {
            why: String::new(),
            stretch: 1.0,
            stalled_ms: 0.0,
        }
    }

    /// True where the machine cost nothing.
    pub(crate) fn are_calm(&self) -> bool {
        self.stretch <= 1.0 && self.stalled_ms <= 0.0
    }

    /// True where a value cannot be compared with others: something stalled, or all was slow.
    pub(crate) fn spoil(&self) -> bool {
        self.stalled_ms > 0.0 || self.stretch.is_infinite()
    }

    /// What a value may be so that the machine alone may be why it is over its limit.
    pub(crate) fn allow(&self, limit_ms: f64) -> f64 {
        limit_ms * self.stretch + self.stalled_ms
    }

    /// True where half of a time, and more, was the machine's: what stalls cost, and what every step took longer.
    pub(crate) fn half_of(&self, ms: f64) -> bool {
        let usual = ms / self.stretch;
        ms - usual + self.stalled_ms >= ms / 2.0
    }
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

    /// How much longer than usual milliseconds may have been in a window. Where nothing but late sends shows the
    /// machine, it is not known what else they cost.
    pub(crate) fn conditions(&self, window: Window) -> Conditions {
        let load = self.load(window);
        let stalled = load.timers_sum.saturating_add(load.sends_late);
        Conditions {
            why: too_busy(&load),
            stretch: if load.slows() || self.sources.is_empty() && load.stalls() {
                f64::INFINITY
            } else {
                load.stretch()
            },
            stalled_ms: if load.stalls() {
                milliseconds(stalled)
            } else {
                0.0
            },
        }
    }

    /// For how many milliseconds of a window some process waited for a disk.
    pub(crate) fn disk_ms(&self, window: Window) -> f64 {
        let share = self.load(window).disk.unwrap_or(0.0);
        share * milliseconds(window.to.saturating_sub(window.from))
    }

    /// The worst that any process saw in a window.
    pub(super) fn load(&self, window: Window) -> Load {
        let seen = self
            .sources
            .values()
            .map(|samples| of_source(samples, window));
        let mut worst = seen.fold(Load::default(), Load::worse);
        let client = self.client(window);
        // That of the harness counts nowhere: what threads waited is forgotten when they end, and many of its own do.
        worst.delayed = client.and_then(|client| client.delayed);
        if let Some(client) = client {
            worst.timers_late = client.timers_late;
            worst.timer_late = client.timer_late;
            worst.timers_sum = client.timers_sum;
        }
        worst.sends_late = self.sends_late(window);
        worst
    }

    /// What the recording client saw; absent where it did not run, as in a set-up.
    fn client(&self, window: Window) -> Option<Load> {
        let samples = self.sources.get(CLIENT)?;
        let runs = samples.iter().any(|sample| touches(sample, window));
        runs.then(|| of_source(samples, window))
    }

    /// Why what the harness itself saw, labels and endpoints, may have been seen late in a window, and by how much.
    /// Absent where its timers are among the [conditions](Self::conditions), as no client ran.
    pub(crate) fn observer_late(&self, window: Window) -> Option<Conditions> {
        self.client(window)?;
        let mut samples = self.sources.iter().filter(|(source, _)| **source != CLIENT);
        let late = |load: &Load| load.stalls();
        samples.find_map(|(_, samples)| {
            let load = Some(of_source(samples, window)).filter(late)?;
            Some(Conditions {
                why: too_busy(&load),
                stretch: 1.0,
                stalled_ms: milliseconds(load.timers_sum),
            })
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
            disk: None,
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
    fn a_stall_excuses_what_it_can_have_cost_and_no_more() {
        let conditions = |samples: &[MachineSample]| {
            let index = Index {
                machine: samples.iter().collect(),
                ..Index::default()
            };
            let window = Window {
                from: 0,
                to: ms(300),
            };
            Machine::new(&index).conditions(window)
        };
        let calm = |n: i64| sample("workload", n * 100, 10, 2);
        assert!(conditions(&[calm(1), calm(2)]).are_calm());
        let stalled = conditions(&[calm(1), sample("workload", 200, 10, 150)]);
        assert!(stalled.spoil());
        assert_eq!((stalled.stretch, stalled.allow(100.0)), (1.0, 250.0));
        assert!(stalled.half_of(300.0) && !stalled.half_of(301.0));
        let full = conditions(&[sample("workload", 100, 99, 0)]);
        assert!(full.spoil() && full.half_of(1e9));
        assert!(full.allow(1.0).is_infinite());
    }

    #[test]
    fn where_no_client_ran_the_harness_tells_and_counts_once() {
        let samples = [
            sample("harness", 200, 10, 150),
            sample("workload", 5_000, 10, 2),
        ];
        let index = Index {
            machine: samples.iter().collect(),
            ..Index::default()
        };
        let machine = Machine::new(&index);
        let window = |from, to| Window {
            from: ms(from),
            to: ms(to),
        };
        let set_up = machine.conditions(window(0, 300));
        assert_eq!((set_up.stretch, set_up.stalled_ms), (1.0, 150.0));
        assert_eq!(machine.observer_late(window(0, 300)), None);
        assert!(machine.conditions(window(4_900, 5_000)).are_calm());
        // Where it ran, the harness stalls beside it.
        assert!(machine.conditions(window(0, 5_000)).are_calm());
        let observer = machine.observer_late(window(0, 5_000));
        assert_eq!(observer.map(|late| late.stalled_ms), Some(150.0));
    }

    #[test]
    fn where_no_client_ran_what_the_harness_waited_shows_no_free_processor() {
        for delayed in [-90, 5] {
            let harness = MachineSample {
                idle: Some(0),
                delayed: Some(ms(delayed)),
                ..sample("harness", 200, 99, 1)
            };
            let client = sample("workload", 5_000, 10, 2);
            for samples in [vec![harness.clone()], vec![harness, client]] {
                let told = starved(&samples, 0, 300).expect("it was full");
                assert!(!told.contains("client delayed"), "{told}");
            }
        }
    }

    #[test]
    fn a_queue_stretches_limits_where_the_client_waits_in_it() {
        let stretch = |runnable, delayed: Option<i64>| {
            let samples = [MachineSample {
                runnable,
                delayed: delayed.map(ms),
                ..sample("workload", 100, 60, 1)
            }];
            let index = Index {
                machine: samples.iter().collect(),
                ..Index::default()
            };
            let window = Window {
                from: 0,
                to: ms(100),
            };
            let conditions = Machine::new(&index).conditions(window);
            assert!(!conditions.spoil());
            // Twice as long is half of it.
            assert_eq!(conditions.half_of(1_000.0), conditions.stretch >= 2.0);
            conditions.stretch
        };
        let is = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        // Two processors: 8 is usual, and 15 % of the time.
        is(stretch(Some(8), Some(30)), 1.0);
        is(stretch(Some(16), Some(15)), 1.0);
        is(stretch(Some(12), Some(30)), 2.0);
        is(stretch(Some(11), Some(30)), 1.75);
        is(stretch(Some(16), Some(30)), 3.0);
        is(stretch(Some(24), Some(30)), 3.0);
        is(stretch(Some(12), None), 2.0);
        is(stretch(None, Some(90)), 1.0);
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
            machine.starved(window).is_some()
        };
        assert!(late_on(Route::ServiceHeld));
        assert!(!late_on(Route::DialAll));
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
        assert!(machine.conditions(window(40)).are_calm());
        assert!(machine.conditions(window(99)).half_of(1e9));
        let told = machine.starved(window(99)).expect("late sends");
        assert!(told.contains("sends 196 ms late"), "{told}");
    }
}
