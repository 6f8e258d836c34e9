//! A sample of the same measurement, one value a round, and its limits.
//!
//! One value of many is late now and then on any machine. The median of at least [`ROUNDS_MIN`] rounds tells whether
//! the service has become slower; each value alone tells only of what is far out. Rounds in which the machine stalled
//! or was slow all the time are left out of the median, and where too few are left nothing is judged.
//!
//! Where processes queued for processors, every step took longer: a value over its limit is then held against one that
//! is as much longer ([`Conditions::allow`]). Over that one too it is a violation as any other, and between the two it
//! is not judged. What is within its limit has kept it on any machine.

use super::machine::Conditions;
use super::verdict::Findings;

/// Fewest rounds whose median says something.
const ROUNDS_MIN: usize = 3;

/// Limits of a sample, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the median; absent: it is only reported.
    pub(crate) median_ms: Option<f64>,
    /// For each value.
    pub(crate) most_ms: f64,
}

/// One value a round.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    values: Vec<Value>,
}

#[derive(Debug)]
struct Value {
    round: usize,
    ms: f64,
    /// What the machine may have added to it.
    conditions: Conditions,
}

impl Value {
    /// What is wrong with one that is over its limit.
    fn is_over(&self, told: &str, most_ms: f64) -> String {
        let Self { round, ms, .. } = self;
        format!("{told} for {ms:.0} ms in round {round}, {most_ms:.0} ms are allowed")
    }
}

impl Sample {
    pub(crate) fn add(&mut self, round: usize, ms: f64, conditions: Conditions) {
        self.values.push(Value {
            round,
            ms,
            conditions,
        });
    }

    /// Holds it against its limits; `what` names the measurement in figures, `told` begins the sentence of a violation.
    pub(crate) fn judge(&self, what: &str, told: &str, limits: Limits, findings: &mut Findings) {
        let comparable = |value: &&Value| !value.conditions.spoil();
        let judged: Vec<&Value> = self.values.iter().filter(comparable).collect();
        findings.count(format!("{what}.rounds"), self.values.len());
        findings.count(format!("{what}.rounds_judged"), judged.len());
        if let Some(median) = median(self.values.iter().map(|value| value.ms)) {
            findings.figure(format!("{what}.median_ms"), median);
        }
        if let Some(most) = self.values.iter().map(|value| value.ms).reduce(f64::max) {
            findings.figure(format!("{what}.most_ms"), most);
        }
        self.judge_each(told, limits.most_ms, findings);
        let wanted = match self.values.len() {
            of if of < ROUNDS_MIN => of,
            of => ROUNDS_MIN.max(of / 2 + 1),
        };
        if judged.len() < wanted {
            let mut conditions = self.values.iter().map(|value| &value.conditions);
            if let Some(Conditions { why, .. }) = conditions.find(|of| of.spoil()) {
                let all: Vec<_> = self.values.iter().map(|v| format!("{:.0}", v.ms)).collect();
                let (judged, of) = (judged.len(), self.values.len());
                let all = all.join(", ");
                findings.not_judged(
                    format!("{told} for {all} ms, {judged} of {of} rounds could be judged"),
                    why,
                );
            }
            return;
        }
        let sampled = median(judged.iter().map(|value| value.ms));
        if let (Some(limit), Some(median)) = (limits.median_ms, sampled)
            && judged.len() >= ROUNDS_MIN
            && median > limit
        {
            hold_median(&judged, (median, limit), told, findings);
        }
    }
}

/// A median over its limit, against what the machine of these rounds may have made of that limit. What it made of one
/// round excuses no other: the median of what is left of the values counts, too.
fn hold_median(judged: &[&Value], (ms, limit): (f64, f64), told: &str, findings: &mut Findings) {
    let stretch = median(judged.iter().map(|value| value.conditions.stretch)).unwrap_or(1.0);
    let left = judged
        .iter()
        .map(|value| value.ms / value.conditions.stretch);
    let left = median(left).unwrap_or(ms);
    let over = format!(
        "{told} for {ms:.0} ms in the median of {} rounds, {limit:.0} ms are allowed",
        judged.len()
    );
    let stretched = limit * stretch;
    let busiest = judged
        .iter()
        .max_by(|a, b| a.conditions.stretch.total_cmp(&b.conditions.stretch));
    match busiest {
        Some(busiest) if ms <= stretched && left <= limit => {
            findings.not_judged(over, &busiest.conditions.why);
        }
        _ if ms <= stretched => {
            let told =
                format!("{over} (it is {left:.0} without what a busy machine added to each)");
            findings.violation(told, Vec::new());
        }
        _ if stretch > 1.0 => {
            let told = format!("{over} (and {stretched:.0} on a machine as busy as this one)");
            findings.violation(told, Vec::new());
        }
        _ => findings.violation(over, Vec::new()),
    }
}

impl Sample {
    /// Each value alone.
    fn judge_each(&self, told: &str, most_ms: f64, findings: &mut Findings) {
        for value in self.values.iter().filter(|value| value.ms > most_ms) {
            let over = value.is_over(told, most_ms);
            let conditions = &value.conditions;
            let allowed = conditions.allow(most_ms);
            if conditions.are_calm() {
                findings.violation(over, Vec::new());
            } else if value.ms <= allowed {
                findings.not_judged(over, &conditions.why);
            } else {
                let told = format!("{over} (and {allowed:.0} on a machine as busy as this one)");
                findings.violation(told, Vec::new());
            }
        }
    }
}

/// The value in the middle; of an even count the mean of the two.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], upper),
        _ => upper,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;

    const LIMITS: Limits = Limits {
        median_ms: Some(100.0),
        most_ms: 500.0,
    };

    /// The outcome for values of which some are starved (negative ones).
    fn judge(values: &[f64]) -> Finding {
        judge_stalled(values, None)
    }

    /// The same where the stalls of each round took so long together.
    fn judge_stalled(values: &[f64], stalled_ms: Option<f64>) -> Finding {
        let busy = || Conditions {
            why: "busy".to_owned(),
            stretch: stalled_ms.map_or(f64::INFINITY, |_| 1.0),
            stalled_ms: stalled_ms.unwrap_or(0.0),
        };
        let calm = Conditions::calm;
        let values = values
            .iter()
            .map(|ms| (ms.abs(), if *ms < 0.0 { busy() } else { calm() }));
        judge_under(values)
    }

    /// The same where every step took so many times as long in each round.
    fn judge_stretched(values: &[f64], stretch: f64) -> Finding {
        let queued = || Conditions {
            why: "queued".to_owned(),
            stretch,
            stalled_ms: 0.0,
        };
        judge_under(values.iter().map(|ms| (*ms, queued())))
    }

    fn judge_under(values: impl Iterator<Item = (f64, Conditions)>) -> Finding {
        let mut sample = Sample::default();
        for (round, (ms, conditions)) in values.enumerate() {
            sample.add(round, ms, conditions);
        }
        let mut findings = Findings::default();
        sample.judge("gap", "no write", LIMITS, &mut findings);
        findings.verdict("sample").finding
    }

    fn violation(values: &[f64], words: &str) {
        match judge(values) {
            Finding::Violation { explanation, .. } => {
                assert!(explanation.contains(words), "{explanation}");
            }
            other => panic!("{values:?}: {other:?}"),
        }
    }

    fn unjudged(values: &[f64], words: &str) {
        match judge(values) {
            Finding::NotJudged { reason } => assert!(reason.contains(words), "{reason}"),
            other => panic!("{values:?}: {other:?}"),
        }
    }

    #[test]
    fn the_median_decides_and_one_late_value_does_not() {
        assert_eq!(judge(&[10.0, 90.0, 400.0, 80.0, 300.0]), Finding::Pass);
        violation(
            &[10.0, 110.0, 400.0, 80.0, 300.0],
            "no write for 110 ms in the median of 5 rounds, 100 ms are allowed",
        );
    }

    #[test]
    fn one_value_that_is_far_out_decides() {
        violation(
            &[10.0, 10.0, 600.0, 10.0, 10.0],
            "no write for 600 ms in round 2, 500 ms are allowed",
        );
        violation(&[600.0], "in round 0");
        assert_eq!(judge(&[400.0]), Finding::Pass);
        assert_eq!(judge(&[400.0, 400.0]), Finding::Pass);
    }

    #[test]
    fn starved_rounds_are_left_out_until_too_few_are_left() {
        assert_eq!(judge(&[10.0, -400.0, 10.0, -400.0, 10.0]), Finding::Pass);
        violation(&[110.0, -1.0, 110.0, -1.0, 110.0], "median of 3 rounds");
        unjudged(&[400.0, -1.0, 10.0, -1.0, -1.0], "2 of 5 rounds");
        unjudged(&[-900.0], "0 of 1 rounds");
        // What was far out in a round that could be judged stays.
        violation(&[-1.0, -1.0, -1.0, -1.0, 600.0], "in round 4");
    }

    #[test]
    fn a_starved_round_over_the_limit_is_never_passed_over() {
        unjudged(
            &[10.0, -900.0, 10.0, -20.0, 10.0],
            "no write for 900 ms in round 1, 500 ms are allowed",
        );
        let stalled = |ms| judge_stalled(&[10.0, -900.0, 10.0, -20.0, 10.0], Some(ms));
        assert!(matches!(stalled(400.0), Finding::NotJudged { .. }));
        match stalled(399.0) {
            Finding::Violation { explanation, .. } => {
                let words = "900 ms in round 1, 500 ms are allowed (and 899 on a machine";
                assert!(explanation.contains(words), "{explanation}");
            }
            other => panic!("{other:?}"),
        }
        let none_over = judge_stalled(&[10.0, -400.0, 10.0, -20.0, 10.0], Some(0.0));
        assert_eq!(none_over, Finding::Pass);
    }

    #[test]
    fn a_queue_excuses_as_much_as_it_makes_every_step_longer() {
        let values = [150.0, 150.0, 150.0, 10.0, 20.0];
        assert!(matches!(judge(&values), Finding::Violation { .. }));
        let told = |finding: Finding| match finding {
            Finding::NotJudged { reason } => reason,
            Finding::Violation { explanation, .. } => explanation,
            other => panic!("{other:?}"),
        };
        let stretched = judge_stretched(&values, 1.5);
        assert!(matches!(stretched, Finding::NotJudged { .. }));
        assert!(told(stretched).contains("queued"));
        let slower = judge_stretched(&values, 1.4);
        assert!(matches!(slower, Finding::Violation { .. }));
        assert!(told(slower).contains("100 ms are allowed (and 140 on a machine"));
        // What is within its limit has kept it.
        assert_eq!(judge_stretched(&[90.0; 5], 3.0), Finding::Pass);
        let far_out = [10.0, 10.0, 900.0];
        let excused = judge_stretched(&far_out, 1.8);
        assert!(matches!(excused, Finding::NotJudged { .. }), "{excused:?}");
        let late = judge_stretched(&far_out, 1.7);
        assert!(matches!(late, Finding::Violation { .. }), "{late:?}");
    }

    #[test]
    fn a_queue_in_some_rounds_excuses_no_others() {
        let queued = |stretch| Conditions {
            why: "queued".to_owned(),
            stretch,
            stalled_ms: 0.0,
        };
        let judge = |values: [(f64, f64); 5]| {
            judge_under(
                values
                    .into_iter()
                    .map(|(ms, stretch)| (ms, queued(stretch))),
            )
        };
        // Three of five are over what their own machine allowed.
        let late = judge([
            (10.0, 3.0),
            (10.0, 3.0),
            (450.0, 3.0),
            (290.0, 1.0),
            (290.0, 1.0),
        ]);
        match late {
            Finding::Violation { explanation, .. } => {
                let words =
                    "290 ms in the median of 5 rounds, 100 ms are allowed (it is 150 without";
                assert!(explanation.contains(words), "{explanation}");
            }
            other => panic!("{other:?}"),
        }
        let two = judge([
            (10.0, 3.0),
            (10.0, 3.0),
            (300.0, 3.0),
            (290.0, 1.0),
            (290.0, 1.0),
        ]);
        assert!(matches!(two, Finding::NotJudged { .. }), "{two:?}");
    }

    #[test]
    fn a_median_of_an_even_count_is_between_two() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), Some(2.5));
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([].into_iter()), None);
    }
}
