//! Which trials passed without their claims about time: a suite that seldom judges them is no proof of them. Pure.

/// In one line, of each trial's name and whether its claims about time were judged, where it has any.
pub fn told<'a>(trials: impl IntoIterator<Item = (&'a str, Option<bool>)>) -> String {
    let (mut judged, mut silent, mut names) = (0, 0, Vec::new());
    for (name, of) in trials {
        match of {
            Some(true) => judged += 1,
            Some(false) => names.push(name),
            None => silent += 1,
        }
    }
    let (count, claim) = (names.len(), names.len() + judged);
    let listed = match names.as_slice() {
        [] => String::new(),
        names => format!(": {}", names.join(", ")),
    };
    format!(
        "time not judged in {count} of {claim} trials that claim something about it ({silent} more claim nothing){listed}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trial_whose_time_was_not_judged_is_named() {
        let trials = [
            ("a::members_3", Some(true)),
            ("b::members_3", Some(false)),
            ("c::members_5", None),
            ("d::members_5", Some(false)),
        ];
        assert_eq!(
            told(trials),
            "time not judged in 2 of 3 trials that claim something about it (1 more claim nothing): \
             b::members_3, d::members_5"
        );
        assert_eq!(
            told([trials[0]]),
            "time not judged in 0 of 1 trials that claim something about it (0 more claim nothing)"
        );
    }
}
