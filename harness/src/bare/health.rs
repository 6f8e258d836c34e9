//! Whether a member answers a read that needs the others, and how long it took, as `etcdctl endpoint health` prints it.
//! Pure.

use std::time::Duration;

use serde::Deserialize;

/// What a member said to a linearizable read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answered after so long.
    Healthy(Duration),
    /// It did not; why.
    Unhealthy(String),
}

#[derive(Deserialize)]
struct Line {
    health: bool,
    took: String,
    #[serde(default)]
    error: String,
}

impl Health {
    /// From the JSON that etcdctl prints for one member.
    ///
    /// # Errors
    /// When it is none, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let unclear = |why: &str| format!("{why}: {:?}", text.trim());
        let lines: Vec<Line> =
            serde_json::from_str(text.trim()).map_err(|error| unclear(&error.to_string()))?;
        let [line] = lines.as_slice() else {
            return Err(unclear("not one member"));
        };
        if !line.health {
            return Ok(Self::Unhealthy(line.error.clone()));
        }
        let took = duration(&line.took).ok_or_else(|| unclear("no time"))?;
        Ok(Self::Healthy(took))
    }
}

/// A time as Go writes it: `1m2.5s`, `3.007458ms`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("µs", 1e-6),
        ("us", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(end);
        let unit = behind
            .find(|c: char| c.is_ascii_digit())
            .map_or(behind, |at| &behind[..at]);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = &behind[unit.len()..];
    }
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_has_a_time_or_a_reason() {
        let good = r#"[{"endpoint":"127.0.0.1:2379","health":true,"took":"3.5ms"}]"#;
        assert_eq!(
            Health::parse(good),
            Ok(Health::Healthy(Duration::from_micros(3500)))
        );
        let bad = r#"[{"endpoint":"a","health":false,"took":"301ms","error":"context deadline exceeded"}]"#;
        let why = "context deadline exceeded".to_owned();
        assert_eq!(Health::parse(bad), Ok(Health::Unhealthy(why)));
        for text in [
            "",
            "[]",
            "Error: unhealthy cluster",
            &good.replace("3.5ms", "soon"),
        ] {
            assert!(Health::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_those_of_go() {
        let ms = |text| duration(text).map(|time| time.as_millis());
        assert_eq!(ms("1m2.5s"), Some(62_500));
        assert_eq!(ms("1.2s"), Some(1200));
        assert_eq!(ms("950.1µs"), Some(0));
        assert_eq!(duration("950µs"), Some(Duration::from_micros(950)));
        for text in ["", "5", "ms", "-1s", "1.2.3s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
