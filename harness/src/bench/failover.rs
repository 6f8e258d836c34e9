//! Failovers measured from histories: for each fault the longest time without an acknowledged write on every route, in
//! the same moment, and where that time went.

use std::collections::BTreeMap;

use etcd_history::History;
use etcd_history::record::{FaultStep, Nanos, Record, Route};
use serde::Serialize;

use super::probes::{self, Probe, ProbeReport, Toll, Writes};
use super::statistics::{Summary, above_all_seen};
use crate::report::continuity::{Acknowledgements, Signs, Stage};

/// The routes that are compared; the last one is the reference client.
pub(crate) const ROUTES: [Route; 3] = [Route::ServiceFresh, Route::ServiceHeld, Route::DialAll];

/// One fault and what it cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Failover {
    /// Where it was measured: the run's directory or number.
    pub run: String,
    /// Name of the fault.
    pub fault: String,
    /// What it hit.
    pub target: String,
    /// False when its effect was looked for and not seen: such a failover is no sample.
    pub effective: bool,
    /// What each route lost.
    pub routes: BTreeMap<Route, Cost>,
    /// What each client that is not ours lost.
    pub probes: BTreeMap<Probe, Toll>,
}

/// What a route lost in one failover.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Cost {
    /// Longest time without an acknowledged write, in milliseconds.
    pub gap_ms: f64,
    /// False when no acknowledgement ended it: the real gap is longer.
    pub closed: bool,
    /// Where the time went, in milliseconds. Stages that did not happen are absent.
    pub stages_ms: BTreeMap<Stage, f64>,
}

/// All failovers of a measurement and their distribution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FailoverReport {
    /// What was done to the leader.
    pub kind: String,
    /// Members.
    pub members: u32,
    /// Each failover.
    pub failovers: Vec<Failover>,
    /// Gap of each route, in milliseconds.
    pub gap_ms: BTreeMap<Route, Summary>,
    /// Gap through the service less the gap of the dial-all client ([`Failover::over_dial_all`]), in milliseconds.
    pub over_dial_all_ms: BTreeMap<Route, Summary>,
    /// Each stage on each route, in milliseconds.
    pub stages_ms: BTreeMap<Route, BTreeMap<Stage, Summary>>,
    /// Clients that are not ours.
    pub probes: BTreeMap<Probe, ProbeReport>,
    /// Failovers that are no samples: no effect, no writes, or a gap that never ended.
    pub unusable: usize,
    /// With how much probability at most the next one is worse than all of these, with 95 % confidence.
    pub above_all_seen: f64,
}

/// Measures every fault of a history, also on what probes wrote meanwhile. A fault's window ends where the next one
/// begins.
pub(crate) fn measure(
    run: &str,
    history: &History,
    probes: &BTreeMap<Probe, Writes>,
) -> Vec<Failover> {
    let signs = Signs::of(history);
    let routes = ROUTES.map(|route| (route, Acknowledgements::of(history, route)));
    let faults = faults(history);
    let mut failovers = Vec::new();
    for (at, fault) in faults.iter().enumerate() {
        let until = faults.get(at + 1).map_or(Nanos::MAX, |next| next.from);
        let mut costs = BTreeMap::new();
        for (route, acknowledgements) in &routes {
            let Some(gap) = acknowledgements.longest_mostly_within(fault.from, until) else {
                continue;
            };
            let stages = signs.decompose(gap, *route).stages;
            let stages_ms = stages
                .into_iter()
                .map(|(stage, from, to)| (stage, milliseconds(to - from)));
            let (gap_ms, closed) = (milliseconds(gap.length()), gap.closed);
            costs.insert(
                *route,
                Cost {
                    gap_ms,
                    closed,
                    stages_ms: stages_ms.collect(),
                },
            );
        }
        let toll =
            |(probe, writes): (&Probe, &Writes)| Some((*probe, writes.toll(fault.from, until)?));
        failovers.push(Failover {
            run: run.to_owned(),
            fault: fault.name.clone(),
            target: fault.target.clone(),
            effective: fault.effective,
            routes: costs,
            probes: probes.iter().filter_map(toll).collect(),
        });
    }
    failovers
}

struct Injected {
    number: u32,
    name: String,
    target: String,
    from: Nanos,
    effective: bool,
}

fn faults(history: &History) -> Vec<Injected> {
    let mut faults: Vec<Injected> = Vec::new();
    for record in &history.records {
        let Record::Fault(step) = record else {
            continue;
        };
        if let Some(known) = faults.iter_mut().find(|fault| fault.number == step.fault) {
            known.effective |= step.step == FaultStep::Effective;
            if !step.target.is_empty() {
                known.target.clone_from(&step.target);
            }
        } else {
            faults.push(Injected {
                number: step.fault,
                name: step.name.clone(),
                target: step.target.clone(),
                from: step.t,
                effective: step.step == FaultStep::Effective,
            });
        }
    }
    faults.sort_by_key(|fault| fault.from);
    faults
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a run lasts minutes: microseconds are exact"
)]
pub(super) fn milliseconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e6
}

impl Failover {
    /// True when it says something: it took effect, and every route had writes and came back.
    pub(crate) fn usable(&self) -> bool {
        self.effective
            && ROUTES
                .iter()
                .all(|route| self.routes.get(route).is_some_and(|c| c.closed))
    }

    /// What a route's gap has over the gap of the dial-all client, in milliseconds: what the way through the service
    /// cost.
    pub(crate) fn over_dial_all(&self, route: Route) -> Option<f64> {
        Some(self.routes.get(&route)?.gap_ms - self.routes.get(&Route::DialAll)?.gap_ms)
    }
}

impl FailoverReport {
    /// Of all failovers of a measurement, with these probes. Those that are no samples are kept and counted, and are in
    /// no distribution.
    pub(crate) fn of(kind: &str, members: u32, failovers: Vec<Failover>, asked: &[Probe]) -> Self {
        let usable = || failovers.iter().filter(|failover| failover.usable());
        let mut gap_ms = BTreeMap::new();
        let mut over_dial_all_ms = BTreeMap::new();
        let mut stages_ms = BTreeMap::new();
        for route in ROUTES {
            let costs = || usable().filter_map(|failover| failover.routes.get(&route));
            if let Some(summary) = Summary::of(costs().map(|cost| cost.gap_ms)) {
                gap_ms.insert(route, summary);
            }
            if route != Route::DialAll
                && let Some(summary) = Summary::of(usable().filter_map(|f| f.over_dial_all(route)))
            {
                over_dial_all_ms.insert(route, summary);
            }
            let stages = [
                Stage::Election,
                Stage::Label,
                Stage::Endpoints,
                Stage::Client,
            ];
            let of_stage = |stage| {
                Summary::of(costs().filter_map(|cost| cost.stages_ms.get(&stage).copied()))
                    .map(|summary| (stage, summary))
            };
            stages_ms.insert(route, stages.into_iter().filter_map(of_stage).collect());
        }
        let count = usable().count();
        let unusable = failovers.len() - count;
        Self {
            kind: kind.to_owned(),
            members,
            gap_ms,
            over_dial_all_ms,
            stages_ms,
            probes: probes::reports(&failovers, asked),
            unusable,
            above_all_seen: above_all_seen(count),
            failovers,
        }
    }
}

#[cfg(test)]
mod tests {
    use etcd_history::record::{Call, FaultRecord, Outcome, Request, Response, Return};

    use super::*;

    const MS: Nanos = 1_000_000;

    fn write(op: u64, route: Route, t: Nanos) -> [Record; 2] {
        let request = Request::Put {
            key: "k".into(),
            value: op.to_string(),
            lease: 0,
        };
        let response = Response::Put {};
        let outcome = Outcome::Ok {
            revision: 1,
            term: 1,
            member: "a".into(),
            response,
        };
        [
            Record::Call(Call {
                t: t - MS,
                op,
                client: 1,
                route,
                scheduled: t - MS,
                request,
            }),
            Record::Return(Return { t, op, outcome }),
        ]
    }

    fn fault(t: Nanos, fault: u32, step: FaultStep) -> Record {
        let (name, target) = ("kill_process".into(), "e-0".into());
        Record::Fault(FaultRecord {
            t,
            fault,
            name,
            target,
            step,
            evidence: [].into(),
            writes: Vec::new(),
        })
    }

    /// Writes every 10 ms but for `lost` ms after each fault, which come a second apart.
    fn history(lost: &[(Route, [Nanos; 2])], step: FaultStep) -> History {
        let mut records = Vec::new();
        let mut op = 0;
        for (route, lost) in lost {
            for t in 0..300 {
                let t = t * 10;
                let since = t % 1000;
                let hit = usize::try_from(t / 1000).unwrap().checked_sub(1);
                if hit.is_some_and(|hit| since > 0 && since < lost[hit]) {
                    continue;
                }
                op += 1;
                records.extend(write(op, *route, t * MS + MS));
            }
        }
        for number in 1..=2 {
            records.push(fault(
                (Nanos::from(number) * 1000 + 2) * MS,
                number,
                FaultStep::Injecting,
            ));
            records.push(fault((Nanos::from(number) * 1000 + 3) * MS, number, step));
        }
        History { records }
    }

    fn sample(step: FaultStep) -> Vec<Failover> {
        let lost = [
            (Route::ServiceFresh, [300, 500]),
            (Route::ServiceHeld, [400, 800]),
            (Route::DialAll, [250, 480]),
        ];
        measure("run", &history(&lost, step), &BTreeMap::new())
    }

    #[test]
    fn each_fault_has_its_own_gap_beside_the_yardstick() {
        let failovers = sample(FaultStep::Effective);
        let gaps: Vec<_> = failovers
            .iter()
            .map(|f| f.routes[&Route::ServiceFresh].gap_ms.round())
            .collect();
        assert_eq!(gaps, [300.0, 500.0]);
        assert_eq!(failovers[1].over_dial_all(Route::ServiceHeld), Some(320.0));
        let report = FailoverReport::of("sigkill", 3, failovers, &[]);
        assert_eq!(report.unusable, 0);
        assert_eq!(report.gap_ms[&Route::ServiceFresh].median, 400.0);
        assert_eq!(report.over_dial_all_ms[&Route::ServiceFresh].max, 50.0);
    }

    #[test]
    fn a_probe_is_measured_between_the_same_faults() {
        let line = |ms: Nanos| format!("- write {} ok\n", ms * MS);
        let lost = |ms: &Nanos| !(1010..1700).contains(ms) && !(2010..2300).contains(ms);
        let times = (0..300).map(|t| t * 10).filter(lost);
        let log: String = std::iter::once("- begin 0\n".to_owned())
            .chain(times.map(line))
            .collect();
        let writes = Writes::read(&[log]).unwrap();
        let history = history(&[], FaultStep::Effective);
        let failovers = measure("run", &history, &BTreeMap::from([(Probe::Go, writes)]));
        let gaps: Vec<_> = failovers
            .iter()
            .map(|f| f.probes[&Probe::Go].gap_ms)
            .collect();
        assert_eq!(gaps, [700.0, 300.0]);
        let report = FailoverReport::of("sigkill", 3, failovers, &[Probe::Etcdctl]);
        assert_eq!(report.probes[&Probe::Go].gap_ms.unwrap().median, 500.0);
        assert_eq!(report.probes[&Probe::Etcdctl].unusable, 2);
    }

    #[test]
    fn a_fault_without_effect_is_no_sample() {
        let report = FailoverReport::of("sigkill", 3, sample(FaultStep::Ineffective), &[]);
        assert_eq!(report.unusable, 2);
        assert!(report.gap_ms.is_empty());
    }

    #[test]
    fn a_gap_that_never_ended_is_no_sample() {
        let mut failovers = sample(FaultStep::Effective);
        if let Some(cost) = failovers[0].routes.get_mut(&Route::ServiceFresh) {
            cost.closed = false;
        }
        assert_eq!(FailoverReport::of("sigkill", 3, failovers, &[]).unusable, 1);
    }
}
