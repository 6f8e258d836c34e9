//! A sample of the same measurement, one value a round, and its limits.
//!
//! One value of many is late now and then on any machine. The median of at least [`ROUNDS_MIN`] rounds tells whether
//! the service has become slower; each value alone tells only of what is far out. Rounds on a starved machine are left
//! out, and where too few are left nothing is judged.

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
    /// Why it cannot be judged.
    starved: Option<String>,
}

impl Sample {
    pub(crate) fn add(&mut self, round: usize, ms: f64, starved: Option<String>) {
        self.values.push(Value { round, ms, starved });
    }

    /// Holds it against its limits; `what` names the measurement in figures, `told` begins the sentence of a violation.
    pub(crate) fn judge(&self, what: &str, told: &str, limits: Limits, findings: &mut Findings) {
        let judged: Vec<&Value> = self.values.iter().filter(|v| v.starved.is_none()).collect();
        findings.count(format!("{what}.rounds"), self.values.len());
        findings.count(format!("{what}.rounds_judged"), judged.len());
        if let Some(median) = median(self.values.iter().map(|value| value.ms)) {
            findings.figure(format!("{what}.median_ms"), median);
        }
        if let Some(most) = self.values.iter().map(|value| value.ms).reduce(f64::max) {
            findings.figure(format!("{what}.most_ms"), most);
        }
        for value in &judged {
            if value.ms > limits.most_ms {
                let Value { round, ms, .. } = value;
                findings.violation(
                    format!(
                        "{told} for {ms:.0} ms in round {round}, {:.0} ms are allowed",
                        limits.most_ms
                    ),
                    Vec::new(),
                );
            }
        }
        let wanted = match self.values.len() {
            of if of < ROUNDS_MIN => of,
            of => ROUNDS_MIN.max(of / 2 + 1),
        };
        if judged.len() < wanted {
            let starved = self.values.iter().find_map(|value| value.starved.as_ref());
            if let Some(why) = starved {
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
        let (Some(limit), Some(median)) = (limits.median_ms, sampled) else {
            return;
        };
        if judged.len() >= ROUNDS_MIN && median > limit {
            findings.violation(
                format!(
                    "{told} for {median:.0} ms in the median of {} rounds, {limit:.0} ms are allowed",
                    judged.len()
                ),
                Vec::new(),
            );
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
        let mut sample = Sample::default();
        for (round, ms) in values.iter().enumerate() {
            sample.add(round, ms.abs(), (*ms < 0.0).then(|| "busy".to_owned()));
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
        assert_eq!(judge(&[10.0, -900.0, 10.0, -900.0, 10.0]), Finding::Pass);
        violation(&[110.0, -1.0, 110.0, -1.0, 110.0], "median of 3 rounds");
        unjudged(&[400.0, -1.0, 10.0, -1.0, -1.0], "2 of 5 rounds");
        unjudged(&[-900.0], "0 of 1 rounds");
        // What was far out in a round that could be judged stays.
        violation(&[-1.0, -1.0, -1.0, -1.0, 600.0], "in round 4");
    }

    #[test]
    fn a_median_of_an_even_count_is_between_two() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), Some(2.5));
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([].into_iter()), None);
    }
}
