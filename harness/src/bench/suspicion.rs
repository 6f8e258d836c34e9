//! What it costs to call a silent leader dead sooner: the gap when one is frozen, and the elections where nothing has
//! died: under load, and on a machine that is too small.

use etcd_history::History;
use etcd_history::record::{FaultStep, Nanos, Record, Route};
use serde::Serialize;

use super::failover::FailoverReport;
use super::statistics::milliseconds;
use super::table::table;
use crate::report::continuity::Acknowledgements;

/// A time under load in which nothing died.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Unharmed {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Terms that began meanwhile: each is an election that was not needed.
    pub elections: u64,
    /// Longest time without an acknowledged write of the client that dials all members, in milliseconds.
    pub gap_ms: Option<f64>,
}

/// One value of the setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    /// The value.
    pub setting: String,
    /// The leader was frozen.
    pub frozen: FailoverReport,
    /// Nothing was done to the members.
    pub loaded: Vec<Unharmed>,
    /// All members were starved.
    pub starved: Vec<Unharmed>,
}

impl Point {
    /// True when all of it was measured.
    pub(crate) fn is_whole(&self) -> bool {
        let frozen = &self.frozen;
        let measured = !self.loaded.is_empty() && !self.starved.is_empty();
        frozen.unusable == 0 && !frozen.failovers.is_empty() && measured
    }
}

/// The time of a run's one fault; `None` when it had no effect, was not healed, or no member told its term.
pub(crate) fn starved(history: &History) -> Option<Unharmed> {
    let (from, to) = (
        step(history, FaultStep::Effective)?,
        step(history, FaultStep::Healing)?,
    );
    unharmed(history, from, to)
}

/// The time before a run's first fault; `None` when there was none, or no member told its term.
pub(crate) fn loaded(history: &History) -> Option<Unharmed> {
    let warm_up = history.records.iter().find_map(|record| match record {
        Record::Phase { t, name, .. } if name == "warm_up" => Some(*t),
        _ => None,
    });
    let from = warm_up?;
    // Members tell their terms from here on.
    let from = terms(history).find(|(t, _)| *t >= from)?.0 + 1;
    unharmed(history, from, step(history, FaultStep::Injecting)?)
}

/// When the first fault did this step.
fn step(history: &History, wanted: FaultStep) -> Option<Nanos> {
    history.records.iter().find_map(|record| match record {
        Record::Fault(fault) if fault.step == wanted => Some(fault.t),
        _ => None,
    })
}

fn unharmed(history: &History, from: Nanos, to: Nanos) -> Option<Unharmed> {
    let highest = |within: std::ops::Range<Nanos>| {
        let terms = terms(history).filter(|(t, _)| within.contains(t));
        terms.map(|(_, term)| term).max()
    };
    let elections = highest(from..to)?.saturating_sub(highest(0..from)?);
    let writes = Acknowledgements::of(history, Route::DialAll);
    let gap = writes.longest_mostly_within(from, to);
    Some(Unharmed {
        seconds: milliseconds(to.checked_sub(from)?) / 1000.0,
        elections,
        gap_ms: gap.map(|gap| milliseconds(gap.length())),
    })
}

/// What the members said of their terms.
fn terms(history: &History) -> impl Iterator<Item = (Nanos, u64)> {
    history.records.iter().filter_map(|record| match record {
        Record::Member(sample) => Some((sample.t, sample.status.as_ref()?.term)),
        _ => None,
    })
}

/// The curve: a line for each value of the setting.
pub(crate) fn text(points: &[Point]) -> String {
    let head = [
        "setting",
        "frozen: gap ms, median",
        "longest",
        "samples",
        "loaded s",
        "elections",
        "longest gap ms",
        "starved s",
        "elections",
        "longest gap ms",
    ];
    let rows: Vec<Vec<String>> = points.iter().map(row).collect();
    format!(
        "Gap of new connections through the service when the leader is frozen, beside elections while nothing dies: under load \
         alone, and while all members have a part of a processor:\n\n{}",
        table(&head, &rows)
    )
}

fn row(point: &Point) -> Vec<String> {
    let gap = point.frozen.gap_ms.get(&Route::ServiceFresh);
    let mut cells = vec![
        point.setting.clone(),
        number(gap.map(|gap| gap.median)),
        number(gap.map(|gap| gap.max)),
        (point.frozen.failovers.len() - point.frozen.unusable).to_string(),
    ];
    for runs in [&point.loaded, &point.starved] {
        let seconds = runs.iter().fold(0.0, |all, run| all + run.seconds);
        let elections: u64 = runs.iter().map(|run| run.elections).sum();
        let gaps = runs.iter().filter_map(|run| run.gap_ms);
        cells.extend([
            format!("{seconds:.0}"),
            elections.to_string(),
            number(gaps.reduce(f64::max)),
        ]);
    }
    cells
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.0}"))
}

#[cfg(test)]
mod tests {
    use etcd_history::record::{FaultRecord, MemberSample, RaftStatus};

    use super::*;

    const S: Nanos = 1_000_000_000;

    fn fault(t: Nanos, step: FaultStep) -> Record {
        Record::Fault(FaultRecord {
            t,
            fault: 1,
            name: "starve".into(),
            target: "e-0".into(),
            step,
            evidence: [].into(),
            writes: Vec::new(),
        })
    }

    fn told(t: Nanos, term: u64) -> Record {
        Record::Member(MemberSample {
            t,
            pod: "e-0".into(),
            status: Some(RaftStatus {
                cluster: "c".into(),
                member: "a".into(),
                leader: None,
                term,
                raft_index: 1,
                applied_index: 1,
                revision: 1,
                learner: false,
            }),
        })
    }

    #[test]
    fn terms_that_began_while_members_were_starved_are_counted() {
        let all = [
            told(0, 2),
            fault(S, FaultStep::Effective),
            told(2 * S, 2),
            told(3 * S, 4),
            told(4 * S, 3),
            fault(11 * S, FaultStep::Healing),
            told(12 * S, 9),
        ];
        let of = |records: &[Record]| {
            starved(&History {
                records: records.to_vec(),
            })
        };
        let found = of(&all).expect("measured");
        assert_eq!((found.seconds, found.elections), (10.0, 2));
        assert_eq!(of(&all[..5]), None, "it was not healed");
        assert_eq!(of(&all[1..]), None, "no term is known before");
        let point = Point {
            setting: "true".into(),
            frozen: FailoverReport::of("frozen", 3, vec![], &[]),
            loaded: vec![found],
            starved: vec![found, found],
        };
        assert!(!point.is_whole(), "nothing was frozen");
        let text = text(&[point]);
        let line = text.lines().last().expect("a line");
        let cells: Vec<&str> = line.split_whitespace().collect();
        let loaded = ["10", "2", "-"];
        assert_eq!(cells[..4], ["true", "-", "-", "0"]);
        assert_eq!(cells[4..7], loaded);
        assert_eq!(cells[7..], ["20", "4", "-"]);
    }

    #[test]
    fn terms_that_began_before_the_first_fault_are_counted_for_load() {
        let warm_up = |t| Record::Phase {
            t,
            name: "warm_up".to_owned(),
        };
        let all = [
            told(0, 1),
            warm_up(S),
            told(2 * S, 2),
            told(7 * S, 3),
            fault(12 * S, FaultStep::Injecting),
            told(13 * S, 9),
        ];
        let of = |records: &[Record]| {
            loaded(&History {
                records: records.to_vec(),
            })
        };
        let found = of(&all).expect("measured");
        assert_eq!(found.elections, 1, "neither forming nor the fault counts");
        assert!((found.seconds - 10.0).abs() < 0.001, "{}", found.seconds);
        assert_eq!(of(&all[..4]), None, "nothing ended it");
        assert_eq!(of(&[all[1].clone(), all[4].clone()]), None, "no term");
    }
}
