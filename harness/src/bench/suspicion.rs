//! What it costs to call a silent leader dead sooner: the gap when one is frozen, and the elections on a machine that
//! is too small, where nothing has died.

use etcd_history::History;
use etcd_history::record::{FaultStep, Nanos, Record, Route};
use serde::Serialize;

use super::failover::FailoverReport;
use super::statistics::milliseconds;
use super::table::table;
use crate::report::continuity::Acknowledgements;

/// One run in which nothing died.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Starved {
    /// How long the members were starved, in seconds.
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
    /// All members were starved.
    pub starved: Vec<Starved>,
}

impl Point {
    /// True when all of it was measured.
    pub(crate) fn is_whole(&self) -> bool {
        let frozen = &self.frozen;
        frozen.unusable == 0 && !frozen.failovers.is_empty() && !self.starved.is_empty()
    }
}

/// Measures a run with one fault; `None` when it had no effect, was not healed, or no member told its term.
pub(crate) fn starved(history: &History) -> Option<Starved> {
    let step = |wanted: FaultStep| {
        history.records.iter().find_map(|record| match record {
            Record::Fault(fault) if fault.step == wanted => Some(fault.t),
            _ => None,
        })
    };
    let (from, to) = (step(FaultStep::Effective)?, step(FaultStep::Healing)?);
    let highest = |within: std::ops::Range<Nanos>| {
        let terms = terms(history).filter(|(t, _)| within.contains(t));
        terms.map(|(_, term)| term).max()
    };
    let elections = highest(from..to)?.saturating_sub(highest(0..from)?);
    let writes = Acknowledgements::of(history, Route::DialAll);
    let gap = writes.longest_mostly_within(from, to);
    Some(Starved {
        seconds: milliseconds(to - from) / 1000.0,
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
        "starved s",
        "elections",
        "an hour",
        "longest gap ms",
    ];
    let rows: Vec<Vec<String>> = points.iter().map(row).collect();
    format!(
        "Gap of new connections through the service when the leader is frozen, beside elections while all members have a part of \
         a processor and nothing dies:\n\n{}",
        table(&head, &rows)
    )
}

fn row(point: &Point) -> Vec<String> {
    let gap = point.frozen.gap_ms.get(&Route::ServiceFresh);
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
    let seconds = point.starved.iter().fold(0.0, |all, run| all + run.seconds);
    let elections: u64 = point.starved.iter().map(|run| run.elections).sum();
    // Counts of elections are small.
    #[expect(clippy::cast_precision_loss, reason = "a count of elections")]
    let an_hour = (seconds > 0.0).then(|| elections as f64 * 3600.0 / seconds);
    let gaps = point.starved.iter().filter_map(|run| run.gap_ms);
    vec![
        point.setting.clone(),
        number(gap.map(|gap| gap.median)),
        number(gap.map(|gap| gap.max)),
        (point.frozen.failovers.len() - point.frozen.unusable).to_string(),
        format!("{seconds:.0}"),
        elections.to_string(),
        number(an_hour),
        number(gaps.reduce(f64::max)),
    ]
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
            starved: vec![found, found],
        };
        assert!(!point.is_whole(), "nothing was frozen");
        let text = text(&[point]);
        let line = text.lines().last().expect("a line");
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells, ["true", "-", "-", "0", "20", "4", "720", "-"]);
    }
}
