//! Pure: when the agents' token is replaced, and by which steps.
//!
//! Agents read the token from a mounted Secret, which a kubelet brings up to date within a minute or two. So a new one
//! is taken by all agents before anyone sends it, and the old one until all send the new.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_operator_api::labels;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Time that a step takes to reach all agents: more than a kubelet's period of a minute and its cache.
const SPREAD: SignedDuration = SignedDuration::from_mins(5);

/// What is written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A new token is taken by the agents, too.
    Prepare,
    /// It is sent from now on, and the old one is taken, too.
    Switch,
    /// The old one is taken for as long once more: since when it has been cannot be told.
    Stamp,
    /// The old one opens nothing any more.
    Retire,
}

/// What [`labels::TOKEN_STEP`] says after a step.
const PREPARED: &str = "prepared";
const RETIRING: &str = "retiring";

/// The step that is due.
pub(super) fn next(
    annotations: &BTreeMap<String, String>,
    created: Option<Timestamp>,
    longest: Duration,
    now: Timestamp,
) -> Option<Step> {
    let read = |key| annotations.get(key).map(String::as_str);
    if let Some(step) = read(labels::TOKEN_STEP) {
        let (word, at) = step.split_once(' ').unwrap_or((step, ""));
        // A time that cannot be read, or is ahead, is as good as now: nothing may be hurried.
        let spread = at
            .parse()
            .is_ok_and(|at: Timestamp| now.duration_since(at) >= SPREAD);
        return match word {
            PREPARED if spread => Some(Step::Switch),
            RETIRING if spread => Some(Step::Retire),
            PREPARED | RETIRING if at.parse::<Timestamp>().is_ok_and(|at| at <= now) => None,
            // Agents may still send the old one: another in its place would part them.
            RETIRING => Some(Step::Stamp),
            _ => Some(Step::Prepare),
        };
    }
    let asked =
        read(labels::TOKEN_ROTATE).is_some_and(|asked| read(labels::TOKEN_ROTATED) != Some(asked));
    let since = read(labels::TOKEN_SINCE)
        .and_then(|text| text.parse().ok())
        .or(created);
    let old = since.is_some_and(|since| {
        !longest.is_zero() && now.duration_since(since).unsigned_abs() >= longest && since < now
    });
    (asked || old).then_some(Step::Prepare)
}

/// Annotations after a step; `None` removes one.
pub(super) fn after(
    step: Step,
    annotations: &BTreeMap<String, String>,
    now: Timestamp,
) -> BTreeMap<&'static str, Option<String>> {
    let at = |word| Some(format!("{word} {now}"));
    match step {
        Step::Prepare => {
            let asked = annotations.get(labels::TOKEN_ROTATE).cloned();
            [
                (labels::TOKEN_STEP, at(PREPARED)),
                (labels::TOKEN_ROTATED, asked),
            ]
            .into()
        }
        Step::Switch => [
            (labels::TOKEN_STEP, at(RETIRING)),
            (labels::TOKEN_SINCE, Some(now.to_string())),
        ]
        .into(),
        Step::Stamp => [(labels::TOKEN_STEP, at(RETIRING))].into(),
        Step::Retire => [(labels::TOKEN_STEP, None)].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    fn write(annotations: &mut BTreeMap<String, String>, step: Step, now: Timestamp) {
        for (key, value) in after(step, annotations, now) {
            match value {
                Some(value) => drop(annotations.insert(key.to_owned(), value)),
                None => drop(annotations.remove(key)),
            }
        }
    }

    #[test]
    fn a_token_is_replaced_in_three_steps_that_each_reach_all_agents_first() {
        let mut known = BTreeMap::new();
        let asks = |known: &_, minutes| next(known, Some(at(0)), MONTH, at(minutes));
        assert_eq!(asks(&known, 1), None, "it is young");
        known.insert(labels::TOKEN_ROTATE.to_owned(), "monday".to_owned());
        let mut minute = 1;
        for step in [Step::Prepare, Step::Switch, Step::Retire] {
            assert_eq!(asks(&known, minute), Some(step));
            write(&mut known, step, at(minute));
            assert_eq!(asks(&known, minute + 4), None, "after {step:?}");
            minute += 5;
        }
        assert_eq!(asks(&known, minute), None, "once for each value");
        known.insert(labels::TOKEN_ROTATE.to_owned(), "tuesday".to_owned());
        assert_eq!(asks(&known, minute), Some(Step::Prepare));
    }

    #[test]
    fn an_old_token_is_replaced_unless_that_is_switched_off() {
        let known = BTreeMap::new();
        let month = 30 * 24 * 60;
        assert_eq!(next(&known, Some(at(0)), MONTH, at(month - 1)), None);
        assert_eq!(
            next(&known, Some(at(0)), MONTH, at(month)),
            Some(Step::Prepare)
        );
        assert_eq!(next(&known, Some(at(0)), Duration::ZERO, at(month)), None);
        assert_eq!(
            next(&known, Some(at(month)), MONTH, at(0)),
            None,
            "a clock that went back"
        );
        let since = [(labels::TOKEN_SINCE.to_owned(), at(month).to_string())].into();
        assert_eq!(next(&since, Some(at(0)), MONTH, at(month)), None);
    }

    #[test]
    fn a_step_that_cannot_be_read_begins_again() {
        for step in [
            "",
            "prepared",
            "prepared yesterday",
            "x 1970-01-01T00:00:00Z",
        ] {
            let known = [(labels::TOKEN_STEP.to_owned(), step.to_owned())].into();
            assert_eq!(
                next(&known, None, MONTH, at(9)),
                Some(Step::Prepare),
                "{step}"
            );
        }
        let ahead = [(
            labels::TOKEN_STEP.to_owned(),
            format!("prepared {}", at(100)),
        )]
        .into();
        assert_eq!(next(&ahead, None, MONTH, at(9)), Some(Step::Prepare));
    }

    #[test]
    fn an_old_token_is_kept_for_longer_where_the_time_cannot_be_told() {
        let ahead = format!("retiring {}", at(100));
        for step in [ahead.as_str(), "retiring", "retiring soon"] {
            let mut known = [(labels::TOKEN_STEP.to_owned(), step.to_owned())].into();
            let asks = |known: &_, minute| next(known, None, MONTH, at(minute));
            assert_eq!(asks(&known, 9), Some(Step::Stamp), "{step}");
            write(&mut known, Step::Stamp, at(9));
            assert_eq!(asks(&known, 13), None, "{step}");
            assert_eq!(asks(&known, 14), Some(Step::Retire), "{step}");
        }
    }
}
