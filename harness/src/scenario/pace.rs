//! Whether the machine let the recording client keep its pace. Pure.
//!
//! An open-loop client that sends late measures its own starvation. Then a gap says nothing of etcd, and a verdict
//! about time becomes "not known", which is as red as a violation but sends nobody on a hunt.

use etcd_history::check::CONTINUITY;
use etcd_history::{History, Record};

use crate::report::{Finding, Judgement};
use crate::scenario::promise::HAND_OVER;

/// Lateness in milliseconds of the slowest hundredth of sends above which times are not judged: a fraction of the
/// tightest budget.
const LATE_MS: f64 = 100.0;

/// Checks whose verdict is about time.
const TIMED: [&str; 3] = [CONTINUITY, HAND_OVER, "no_failed_write"];

/// Adds the judgement of the pace, and takes back what was judged about time when the pace was lost.
pub(super) fn judge(history: &History, judgements: &mut Vec<Judgement>) {
    let late = lateness_ms(history);
    let Some(p99) = percentile(&late, 99) else {
        return;
    };
    let lost = p99 > LATE_MS;
    for judgement in judgements
        .iter_mut()
        .filter(|judgement| lost && TIMED.contains(&judgement.check.as_str()))
    {
        if let Finding::Violation { explanation, .. } = &judgement.outcome {
            let reason =
                format!("the machine was too busy to tell (sends {p99:.0} ms late): {explanation}");
            judgement.outcome = Finding::Inconclusive { reason };
        }
    }
    let mut pace = Judgement::new("pace", Finding::Pass);
    pace.figures
        .insert("late_p99_ms".to_owned(), serde_json::json!(p99));
    judgements.push(pace);
}

/// How late each scheduled request left, ascending.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of a run")]
fn lateness_ms(history: &History) -> Vec<f64> {
    let late = |record: &Record| match record {
        Record::Call(call) if call.scheduled != call.t => {
            Some((call.t - call.scheduled).max(0) as f64 / 1e6)
        }
        _ => None,
    };
    let mut all: Vec<f64> = history.records.iter().filter_map(late).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn percentile(ascending: &[f64], percent: usize) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    ascending.get(last * percent / 100).copied()
}

#[cfg(test)]
mod tests {
    use etcd_history::Request;
    use etcd_history::record::{Call, Road};

    use super::*;

    fn judged(late_ms: i64) -> Vec<Judgement> {
        let call = |op: u64| {
            let scheduled = i64::try_from(op).expect("small") * 1_000_000_000;
            let request = Request::LeaseRevoke { id: 1 };
            let t = scheduled + late_ms * 1_000_000;
            Record::Call(Call {
                t,
                op,
                client: 1,
                road: Road::ServiceHeld,
                scheduled,
                request,
            })
        };
        let history = History {
            records: (1..200).map(call).collect(),
        };
        let violation = Finding::Violation {
            explanation: "a gap".to_owned(),
            ops: vec![],
        };
        let mut judgements = vec![
            Judgement::new("continuity", violation.clone()),
            Judgement::new("durability", violation),
        ];
        judge(&history, &mut judgements);
        judgements
    }

    #[test]
    fn times_are_not_judged_on_a_machine_that_is_too_busy() {
        let busy = judged(500);
        assert!(matches!(busy[0].outcome, Finding::Inconclusive { .. }));
        assert!(
            matches!(busy[1].outcome, Finding::Violation { .. }),
            "what is lost is lost at any pace"
        );
        let idle = judged(2);
        assert!(matches!(idle[0].outcome, Finding::Violation { .. }));
        assert_eq!(idle[2].check, "pace");
    }
}
