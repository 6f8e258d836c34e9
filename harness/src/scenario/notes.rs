//! Entries of a run's own: what was done to the cluster, and figures beside the verdicts. Data in, data out.

use etcd_history::Record;
use etcd_history::record::{FaultRecord, FaultStep, Nanos};

use crate::faults::{Evidence, Fault};
use crate::report::{Finding, Judgement};

pub(super) fn fault_record(
    (t, number): (Nanos, u32),
    fault: &Fault,
    target: &str,
    step: FaultStep,
    evidence: Evidence,
) -> Record {
    Record::Fault(FaultRecord {
        t,
        fault: number,
        name: fault.name().to_owned(),
        target: target.to_owned(),
        step,
        writes: evidence.writes().to_vec(),
        evidence: evidence.into_map(),
    })
}

/// A judgement that is only a figure.
pub(crate) fn figure(check: &str, name: &str, value: f64) -> Judgement {
    let mut judgement = Judgement::new(check, Finding::Pass);
    judgement
        .figures
        .insert(name.to_owned(), serde_json::json!(value));
    judgement
}
