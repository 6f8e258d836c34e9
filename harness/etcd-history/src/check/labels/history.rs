//! How the leader label moves from record to record, and for how long something may be otherwise than the label.

use std::collections::BTreeMap;

use crate::check::Case;
use crate::check::gaps::{Window, milliseconds};
use crate::check::verdict::Findings;
use crate::record::{Nanos, PodRecord};

/// The role that the leader service selects.
pub(super) const LEADER: &str = "leader";

/// Pods with the label, by name and UID, and whether each is ready.
pub(super) type Leaders<'a> = BTreeMap<(&'a str, &'a str), bool>;

/// Plays a record: who has the label after it.
pub(super) fn play<'a>(leaders: &mut Leaders<'a>, record: &'a PodRecord) {
    let name = (record.pod.as_str(), record.uid.as_str());
    // A name belongs to one pod at a time: another one has taken the place of whatever had it.
    leaders.retain(|(pod, uid), _| *pod != record.pod || *uid == record.uid);
    if !record.deleted && record.role.as_deref() == Some(LEADER) {
        leaders.insert(name, record.ready);
    } else {
        leaders.remove(&name);
    }
}

/// What becomes of the labels, from when on each time it is another.
pub(super) fn states<'a, T: PartialEq>(
    ordered: &[&'a PodRecord],
    of: impl Fn(&Leaders<'a>) -> T,
) -> Vec<(Nanos, T)> {
    let mut leaders = Leaders::new();
    let mut states: Vec<(Nanos, T)> = Vec::new();
    for record in ordered {
        play(&mut leaders, record);
        let state = of(&leaders);
        if states.last().is_none_or(|(_, last)| *last != state) {
            states.push((record.t, state));
        }
    }
    told_late(&mut states);
    states
}

/// What a list told late had happened before what follows by version.
pub(super) fn told_late<T>(states: &mut [(Nanos, T)]) {
    let mut next = Nanos::MAX;
    for (t, _) in states.iter_mut().rev() {
        *t = next.min(*t);
        next = *t;
    }
}

/// Holds a time in which something was not as it should be against the budget of the run, if there is one.
pub(super) fn hold(case: &Case<'_>, window: Window, told: String, findings: &mut Findings) {
    #[expect(clippy::cast_precision_loss, reason = "a budget is far below 2^52 ms")]
    let budget = case.expectations.label_lag_ms.map(|budget| budget as f64);
    let ms = milliseconds(window.to.saturating_sub(window.from));
    let Some(budget) = budget.filter(|budget| ms > *budget) else {
        return;
    };
    // The client and the harness are two processes: one may stall after the other.
    let mut conditions = case.machine.conditions(window.around());
    if let Some(observer) = case.machine.observer_late(window.around()) {
        conditions.stalled_ms += observer.stalled_ms;
        conditions.why = observer.why;
    }
    if ms <= conditions.allow(budget) && !conditions.are_calm() {
        findings.not_judged(told, &conditions.why);
    } else {
        findings.violation(told, Vec::new());
    }
}
