//! Pure: periods as KubeBlocks writes them, `7d` or `1w12h`, and durations as it shows them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// When a period ends that begins now; never without one, and of one that no calendar holds.
pub(super) fn end(period: Option<&str>, now: &Time) -> Option<Time> {
    let seconds = seconds(period?).ok()?;
    let end = now.0.as_second().saturating_add(seconds);
    Timestamp::from_second(end).ok().map(Time)
}

/// Seconds of a period; why it is none.
pub(super) fn seconds(text: &str) -> Result<i64, String> {
    let wrong = || {
        format!("{text:?} is no period: numbers with y, m (months), w, d, h or s, e.g. 7d or 1w12h")
    };
    let (mut all, mut number) = (0_i64, None);
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            let so_far: i64 = number.unwrap_or(0);
            number = Some(
                so_far
                    .checked_mul(10)
                    .and_then(|n| n.checked_add(i64::from(digit)))
                    .ok_or_else(wrong)?,
            );
            continue;
        }
        let unit = match c {
            'y' => 365 * 86400,
            'm' => 30 * 86400,
            'w' => 7 * 86400,
            'd' => 86400,
            'h' => 3600,
            's' => 1,
            _ => return Err(wrong()),
        };
        let part = number
            .take()
            .and_then(|number| number.checked_mul(unit))
            .ok_or_else(wrong)?;
        all = all.checked_add(part).ok_or_else(wrong)?;
    }
    if number.is_some() || all == 0 {
        return Err(wrong());
    }
    Ok(all)
}

/// A duration as KubeBlocks shows it: `1h2m3s`.
pub(super) fn shown(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn periods_are_read_as_kubeblocks_means_them() {
        assert_eq!(seconds("7d"), Ok(7 * 86400));
        assert_eq!(seconds("1w12h"), Ok(7 * 86400 + 12 * 3600));
        assert_eq!(seconds("1m"), Ok(30 * 86400));
        for bad in [
            "",
            "7",
            "d",
            "0d",
            "7x",
            "999999999999999999999y",
            "9223372036854775807y",
        ] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(
            (shown(5), shown(65), shown(3605)),
            ("5s".into(), "1m5s".into(), "1h0m5s".into())
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9ymwdhsx]{0,40}") {
            let _ = seconds(&text);
        }
    }
}
