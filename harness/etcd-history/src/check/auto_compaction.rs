//! etcd that compacts by itself: what its flags tell it to keep.

use serde::{Deserialize, Deserializer, Serialize, de};

const HOUR_MS: u64 = 3_600_000;

/// What etcd keeps while it compacts by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AutoCompaction {
    /// `--auto-compaction-mode=periodic`: what was the newest revision within this time, and all behind it.
    Periodic {
        /// The time, in milliseconds.
        #[serde(deserialize_with = "retention")]
        retention_ms: u64,
    },
    /// `--auto-compaction-mode=revision`: this many revisions in front of the newest one.
    Revision {
        /// The number of revisions.
        #[serde(deserialize_with = "retention")]
        retention: u64,
    },
}

fn retention<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match u64::deserialize(from)? {
        0 => Err(de::Error::custom(
            "a retention of 0 is no compaction to etcd: it must be 1 at least, or auto_compaction be left out",
        )),
        retention => Ok(retention),
    }
}

impl AutoCompaction {
    /// What etcd does by its flags `auto-compaction-mode` and `auto-compaction-retention`; absent where it compacts
    /// nothing.
    ///
    /// # Errors
    /// Flags that etcd does not take, in words.
    pub fn of_flags(mode: &str, retention: &str) -> Result<Option<Self>, String> {
        let number = retention.parse::<u64>().ok();
        let kept = match mode {
            "periodic" => number
                .and_then(|hours| hours.checked_mul(HOUR_MS))
                .or_else(|| milliseconds(retention))
                .map(|retention_ms| (retention_ms > 0).then_some(Self::Periodic { retention_ms })),
            "revision" => {
                number.map(|retention| (retention > 0).then_some(Self::Revision { retention }))
            }
            _ => {
                return Err(format!(
                    "the mode of automatic compaction is {mode:?}, it must be periodic or revision"
                ));
            }
        };
        kept.ok_or_else(|| {
            let accepted = match mode {
                "periodic" => "a length of time such as 1h30m, or a number of hours",
                _ => "a number of revisions",
            };
            format!("the retention of automatic compaction is {retention:?}, it must be {accepted} in mode {mode}")
        })
    }
}

/// A duration as Go writes it, of whole numbers.
fn milliseconds(text: &str) -> Option<u64> {
    let (mut rest, mut sum) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, behind) = after.split_at(letters);
        let unit = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => HOUR_MS,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(unit)?;
        sum = sum.checked_add(part)?;
        rest = behind;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn periodic(retention_ms: u64) -> AutoCompaction {
        AutoCompaction::Periodic { retention_ms }
    }

    #[test]
    fn flags_mean_what_they_mean_to_etcd() {
        let revision = |retention| AutoCompaction::Revision { retention };
        for (mode, retention, keeps) in [
            ("periodic", "1h", Some(periodic(3_600_000))),
            ("periodic", "1h30m", Some(periodic(5_400_000))),
            ("periodic", "2s500ms", Some(periodic(2_500))),
            ("periodic", "24", Some(periodic(86_400_000))),
            ("revision", "1000", Some(revision(1_000))),
            ("periodic", "0", None),
            ("periodic", "0s", None),
            ("revision", "0", None),
        ] {
            let read = AutoCompaction::of_flags(mode, retention);
            assert_eq!(read, Ok(keeps), "{mode} {retention}");
        }
    }

    #[test]
    fn flags_that_etcd_does_not_take_are_refused_with_what_it_takes() {
        for (mode, retention, accepted) in [
            ("Periodic", "1h", "periodic or revision"),
            ("periodic", "", "such as 1h30m, or a number of hours"),
            ("periodic", "1d", "such as 1h30m"),
            ("periodic", "-1h", "such as 1h30m"),
            ("periodic", "h", "such as 1h30m"),
            ("periodic", "99999999999999999999h", "such as 1h30m"),
            ("revision", "1h", "a number of revisions"),
        ] {
            let error = AutoCompaction::of_flags(mode, retention).expect_err("it must be refused");
            assert!(error.contains(accepted), "{mode} {retention}: {error}");
        }
    }

    #[test]
    fn what_is_written_can_be_read_and_nothing_else() {
        for keeps in [periodic(5), AutoCompaction::Revision { retention: 7 }] {
            let text = serde_json::to_string(&keeps).expect("it is JSON");
            let read: AutoCompaction = serde_json::from_str(&text).expect("it is read");
            assert_eq!(read, keeps);
        }
        for (text, told) in [
            (r#"{"periodic": {"retention_ms": 0}}"#, "left out"),
            (r#"{"revision": {"retention_ms": 5}}"#, "`retention_ms`"),
            (r#"{"hourly": {"retention_ms": 5}}"#, "`hourly`"),
        ] {
            let error =
                serde_json::from_str::<AutoCompaction>(text).expect_err("it must be refused");
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
