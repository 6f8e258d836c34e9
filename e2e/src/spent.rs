//! Where the time of a suite went. Pure.

use std::collections::BTreeMap;

/// What of a trial is in no phase: attaching to the cluster, making the namespace.
const REST: &str = "rest";

/// Where the seconds of a trial went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spent {
    /// By phase, with what is in none of them; without what came before the trial's turn.
    phases: BTreeMap<String, f64>,
    /// Before its turn, beside the judging of the trial before.
    ahead: f64,
}

impl Spent {
    /// Of a trial's phases, its seconds from begin to verdict, and those of them that came before its turn.
    pub fn new(phases: &BTreeMap<String, f64>, seconds: f64, ahead: f64) -> Self {
        let mut phases = phases.clone();
        let rest = seconds - phases.values().sum::<f64>();
        phases.insert(REST.to_owned(), rest.max(0.0));
        let mut left = ahead;
        for phase in [REST, "set_up", "ready"] {
            if let Some(seconds) = phases.get_mut(phase) {
                let beside = seconds.min(left);
                *seconds -= beside;
                left -= beside;
            }
        }
        Self { phases, ahead }
    }
}

/// All trials together: the longest phases first, and what ran beside something else.
pub fn told<'a>(trials: impl IntoIterator<Item = &'a Spent>) -> String {
    let mut phases: BTreeMap<&str, f64> = BTreeMap::new();
    let (mut ahead, mut count) = (0.0, 0);
    for trial in trials {
        for (phase, seconds) in &trial.phases {
            *phases.entry(phase).or_default() += seconds;
        }
        ahead += trial.ahead;
        count += u32::from(trial.ahead > 0.0);
    }
    let all: f64 = phases.values().sum();
    let mut phases: Vec<_> = phases.into_iter().collect();
    phases.sort_by(|a, b| b.1.total_cmp(&a.1));
    let words: Vec<_> = phases
        .iter()
        .map(|(phase, seconds)| format!("{phase} {seconds:.0}"))
        .collect();
    format!(
        "seconds by phase, {all:.0} in all: {}\nset up while the trial before was judged: {count} trials, {ahead:.0} s",
        words.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter()
            .map(|(name, s)| ((*name).to_owned(), *s))
            .collect()
    }

    #[test]
    fn what_came_before_its_turn_is_in_no_phase() {
        let of = phases(&[("set_up", 6.0), ("ready", 1.0), ("fault", 10.0)]);
        let trial = |ahead| Spent::new(&of, 18.0, ahead);
        let expected = |set_up, ready, rest| {
            phases(&[
                ("set_up", set_up),
                ("ready", ready),
                ("fault", 10.0),
                (REST, rest),
            ])
        };
        assert_eq!(trial(0.0).phases, expected(6.0, 1.0, 1.0));
        assert_eq!(
            trial(5.0).phases,
            expected(2.0, 1.0, 0.0),
            "its turn came in the set-up"
        );
        assert_eq!(
            trial(8.0).phases,
            expected(0.0, 0.0, 0.0),
            "it waited for its turn"
        );
    }

    #[test]
    fn the_phases_of_a_suite_add_up_to_its_time() {
        let first = Spent::new(&phases(&[("set_up", 6.0), ("fault", 10.0)]), 16.0, 0.0);
        let second = Spent::new(&phases(&[("set_up", 6.0), ("fault", 10.0)]), 16.0, 6.0);
        let text = told([&first, &second]);
        assert_eq!(
            text,
            "seconds by phase, 26 in all: fault 20; set_up 6; rest 0\n\
             set up while the trial before was judged: 1 trials, 6 s"
        );
    }
}
