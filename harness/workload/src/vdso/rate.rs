//! How fast a clock runs of which whole seconds are seen. Pure.

use std::time::{Duration, Instant};

/// What a clock said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its seconds; it was less than one further.
    pub(super) seconds: i64,
    /// It was asked at this time of the machine.
    pub(super) asked: Instant,
    /// And had answered at this one.
    pub(super) came: Instant,
}

/// The rate of a clock, from its first answer on.
#[derive(Debug, Default)]
pub(super) struct Rate {
    first: Option<Answer>,
}

impl Rate {
    /// The least and the most percent of the machine's rate at which a clock runs that said this at first and now;
    /// none for the first answer, and one that came too soon after it.
    ///
    /// This holds however late an answer came: it was given at some time after its question.
    pub(super) fn percent(&mut self, answer: Answer) -> Option<[i64; 2]> {
        let first = *self.first.get_or_insert(answer);
        let passed = i128::from(answer.seconds - first.seconds);
        let longest = micros(answer.came.checked_duration_since(first.asked)?)?;
        let shortest = micros(answer.asked.checked_duration_since(first.came)?)?;
        let percent = 100 * 1_000_000;
        let least = ((passed - 1) * percent).div_euclid(longest);
        // Rounded up.
        let most = -(-(passed + 1) * percent).div_euclid(shortest);
        Some([i64::try_from(least).ok()?, i64::try_from(most).ok()?])
    }
}

/// Whole microseconds; none where there is not one.
fn micros(duration: Duration) -> Option<i128> {
    i128::try_from(duration.as_micros())
        .ok()
        .filter(|micros| *micros > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a clock answers that has run at such a rate since its half second: asked after so many milliseconds, it
    /// says what it is `late` after that, and the answer takes as long again.
    fn answer((begun, percent): (Instant, u64), ms: u64, late: u64) -> Answer {
        let passed = 500 + (ms + late) * percent / 100;
        Answer {
            seconds: i64::try_from(passed / 1_000).expect("a number"),
            asked: begun + Duration::from_millis(ms),
            came: begun + Duration::from_millis(ms + 2 * late),
        }
    }

    #[test]
    fn it_lies_between_what_the_seconds_allow_however_late_answers_are() {
        let begun = Instant::now();
        for percent in [10, 50, 99, 100, 110, 200, 1_000] {
            for late in [0, 1, 400, 3_000] {
                let clock = (begun, percent);
                let mut rate = Rate::default();
                assert_eq!(rate.percent(answer(clock, 0, late)), None);
                for ms in (7_000..30_000).step_by(777) {
                    let seen = rate.percent(answer(clock, ms, late));
                    let [least, most] = seen.expect("a rate");
                    let percent = i64::try_from(percent).expect("a number");
                    assert!(
                        (least..=most).contains(&percent),
                        "{percent}: {least} to {most}"
                    );
                }
            }
        }
    }

    #[test]
    fn five_seconds_tell_double_and_half_the_rate_from_the_machines() {
        let begun = Instant::now();
        let after = |percent| {
            let mut rate = Rate::default();
            rate.percent(answer((begun, percent), 0, 1));
            rate.percent(answer((begun, percent), 5_000, 1))
                .expect("a rate")
        };
        let [least, most] = after(200);
        assert!(least > 100 && most < 250, "{least} to {most}");
        let [least, most] = after(50);
        assert!(least > 0 && most < 100, "{least} to {most}");
        let [least, most] = after(100);
        assert!(least < 100 && most > 100, "{least} to {most}");
    }

    #[test]
    fn an_answer_that_came_before_the_last_question_shows_nothing() {
        let begun = Instant::now();
        let mut rate = Rate::default();
        let first = answer((begun, 100), 0, 2_000);
        rate.percent(first);
        assert_eq!(rate.percent(answer((begun, 100), 1_000, 10)), None);
        assert_eq!(rate.percent(first), None);
    }
}
