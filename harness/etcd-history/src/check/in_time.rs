//! Phases of a run that must come in time: members ready after their creation, all well again after a fault.
//!
//! A phase that comes once a round is judged each time. A busy machine only adds time, and these limits are many times
//! what is usual: what came in time has kept its promise on any machine, and only what was late asks how busy it was.

use super::Case;
use super::gaps::{Window, milliseconds};
use super::verdict::{Findings, Verdict};
use crate::record::Nanos;

/// Name of the check of phases that must begin in time.
pub const CHECK: &str = "in_time";
/// Judges every phase that has a limit, as often as it came.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    for limit in &case.expectations.in_time {
        let (from, to) = (&limit.from, &limit.to);
        let begun: Vec<Nanos> = case.index.phases_named(from).collect();
        if begun.is_empty() {
            findings.doubt(format!("the run never came to {from}"));
        }
        let mut longest: f64 = 0.0;
        for (at, begin) in begun.iter().copied().enumerate() {
            let next = begun.get(at + 1).copied().unwrap_or(Nanos::MAX);
            let mut done = case.index.phases_named(to);
            let Some(done) = done.find(|done| (begin..=next).contains(done)) else {
                findings.doubt(format!("the run never came from {from} to {to}"));
                continue;
            };
            let window = Window {
                from: begin,
                to: done,
            };
            let took_ms = milliseconds(done - begin);
            longest = longest.max(took_ms);
            let limit_ms = u32::try_from(limit.limit_ms).unwrap_or(u32::MAX);
            let told = format!("from {from} to {to} {took_ms:.0} ms, {limit_ms} ms are allowed");
            if took_ms <= f64::from(limit_ms) {
                continue;
            }
            let conditions = case.machine.conditions(window);
            if took_ms <= conditions.allow(f64::from(limit_ms)) {
                findings.not_judged(told, &conditions.why);
            } else {
                findings.violation(told, Vec::new());
            }
        }
        findings.figure(format!("{from}.to.{to}_most_ms"), longest);
    }
    findings.verdict(CHECK)
}
