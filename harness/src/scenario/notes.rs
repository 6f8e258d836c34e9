//! Entries of a run's own: what was done to the cluster, and figures beside the verdicts. Data in, data out.

use etcd_history::Record;
use etcd_history::record::{FaultRecord, FaultStep, Nanos};

use crate::faults::{Evidence, Fault};
use crate::report::{Finding, Verdict};

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

/// A verdict that is only a figure.
pub(crate) fn figure(check: &'static str, name: &str, value: f64) -> Verdict {
    let mut verdict = Verdict::new(check, Finding::Pass);
    verdict.figures.insert(name.to_owned(), value);
    verdict
}
