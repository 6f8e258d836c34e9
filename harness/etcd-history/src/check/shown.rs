//! Whether and when a history shows a violation, for runs that look for one.

use super::all::all;
use super::expectations::Expectations;
use super::verdict::Finding;
use crate::history::History;
use crate::record::{Nanos, Record};

/// True when one of the checks with these names finds a violation.
pub fn shows(history: &History, expectations: &Expectations, checks: &[&str]) -> bool {
    all(history, expectations).iter().any(|verdict| {
        checks.contains(&&*verdict.check) && matches!(verdict.finding, Finding::Violation { .. })
    })
}

/// The time of the first record with which one of the checks with these names finds a violation; `None` when none does.
/// It is found by bisection, which assumes that a violation stays one however the history continues.
pub fn first_shown(
    history: &History,
    expectations: &Expectations,
    checks: &[&str],
) -> Option<Nanos> {
    let shown = |count: usize| {
        let records = history.records[..count].to_vec();
        shows(&History { records }, expectations, checks)
    };
    let (mut without, mut with) = (0, history.records.len());
    if !shown(with) {
        return None;
    }
    while with - without > 1 {
        let half = without.midpoint(with);
        if shown(half) {
            with = half;
        } else {
            without = half;
        }
    }
    history.records.get(with - 1).map(Record::time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::WatchEvent;
    use crate::simulate::{Plan, simulate};

    const WATCH: &[&str] = &["watch"];

    #[test]
    fn a_violation_is_shown_by_its_own_record_and_not_before() {
        let mut history = simulate(&Plan::default());
        let expectations = Expectations::default();
        assert_eq!(first_shown(&history, &expectations, WATCH), None);
        let late = history
            .records
            .iter_mut()
            .rev()
            .find_map(|record| match record {
                Record::Watch(watch) => match &mut watch.event {
                    WatchEvent::Events { events, .. } if !events.is_empty() => {
                        Some((watch.t, events))
                    }
                    _ => None,
                },
                _ => None,
            });
        let (t, events) = late.expect("a watcher is told something");
        let again = events[0].clone();
        events.push(again);
        assert_eq!(first_shown(&history, &expectations, WATCH), Some(t));
        assert_eq!(first_shown(&history, &expectations, &["raft"]), None);
    }
}
