//! Phases of a run that must come in time: members ready after their creation, all well again after a fault.

use super::Case;
use super::gaps::{Window, milliseconds};
use super::verdict::{Findings, Verdict};

/// Name of the check.
pub const CHECK: &str = "in_time";

/// Judges every phase that has a limit. One that never came is not this check's to judge: the run says so itself.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    for limit in &case.expectations.in_time {
        let (from, to) = (&limit.from, &limit.to);
        let (Some(begun), Some(done)) = (case.index.phase(from), case.index.phase(to)) else {
            findings.doubt(format!("the run never came from {from} to {to}"));
            continue;
        };
        let window = Window {
            from: begun,
            to: done,
        };
        let took_ms = milliseconds(done - begun);
        findings.figure(format!("{from}.to.{to}_ms"), took_ms);
        let limit_ms = u32::try_from(limit.limit_ms).unwrap_or(u32::MAX);
        let told = format!("from {from} to {to} {took_ms:.0} ms, {limit_ms} ms are allowed");
        match case.machine.slow(window) {
            Some(why) => findings.not_judged(told, &why),
            None if took_ms > f64::from(limit_ms) => findings.violation(told, Vec::new()),
            None => {}
        }
    }
    findings.verdict(CHECK)
}
