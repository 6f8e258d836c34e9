//! Settings of etcd that a user may change: their names, values, and what versions call them. Data and pure checks.
//!
//! Every setting but [`FAST_ELECTION`] and [`RELAY_CLIENTS`] is a flag of etcd; all are read when the pod starts, so
//! that a change recreates pods, one by one. Flags that are not here belong to the operator (identity, addresses,
//! bootstrap) or to the definition.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::opaque::Opaque;
use crate::rules::{self, rule};

/// Name of the only entry that `configs` of a component may have.
pub const CONFIG: &str = "etcd";
/// Setting: interval of heartbeats, in milliseconds.
pub const HEARTBEAT: &str = "heartbeat-interval";
/// Setting: election timeout, in milliseconds.
pub const ELECTION: &str = "election-timeout";
/// Setting: quota of the database, in bytes.
pub const QUOTA: &str = "quota-backend-bytes";
/// Setting: whether automatic compaction goes by time (`periodic`) or by revisions (`revision`).
pub const COMPACTION_MODE: &str = "auto-compaction-mode";
/// Setting: how much history automatic compaction keeps, as a duration or a number of hours or revisions.
pub const COMPACTION_RETENTION: &str = "auto-compaction-retention";

/// Setting of the agents, no flag of etcd: when they let a follower campaign. `true`: as soon as the leader's etcd has
/// died; `suspicion`: also when it was silent for too long; `false`: never.
pub const FAST_ELECTION: &str = "fastElection";
/// Environment variable by which the agent is given [`FAST_ELECTION`].
pub const FAST_ELECTION_VARIABLE: &str = "KB_FAST_ELECTION";
/// Setting of the agents and the launcher, no flag of etcd: whether agents accept clients in front of etcd, and pass
/// them on to the leader while their own etcd is dead.
pub const RELAY_CLIENTS: &str = "relayClients";
/// Environment variable by which the agent and etcd's container are given [`RELAY_CLIENTS`].
pub const RELAY_CLIENTS_VARIABLE: &str = "KB_RELAY_CLIENTS";
/// Settings of the agent, each with its environment variable.
pub const OF_THE_AGENT: [(&str, &str); 2] = [
    (FAST_ELECTION, FAST_ELECTION_VARIABLE),
    (RELAY_CLIENTS, RELAY_CLIENTS_VARIABLE),
];

/// Settings of etcd.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rules::unsupported_field("configMap"),
    rules::unsupported_field("reconfigure"),
    rules::unsupported_true("externalManaged"),
    rules::rule("self.name == 'etcd'", "configs: there is one, its name is etcd"),
]))]
pub struct ComponentConfig {
    /// Its name: `etcd`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Settings of etcd by the names of its flags, `fastElection` and `relayClients`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "self::schema")]
    pub variables: BTreeMap<String, String>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<Opaque>,
    /// Not supported yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconfigure: Option<Opaque>,
    /// Not supported yet, except `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_managed: Option<bool>,
}

/// A setting of etcd or of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// Its name: etcd's flag without dashes in front, or the agent's own.
    pub name: &'static str,
    /// The values that it may have.
    pub values: Values,
    /// How versions of etcd name it.
    pub flag: Flag,
}

/// The values that a setting may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Values {
    /// A whole number from the first to the second one, both included, with its unit.
    Number(u64, u64, &'static str),
    /// A duration as Go writes it, e.g. `100ms`, `1h30m`.
    Duration,
    /// A duration as Go writes it, or a whole number of hours or revisions.
    Retention,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// How versions of etcd name a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flag {
    /// The same flag in all versions.
    Plain,
    /// Before 3.6 the flag has `experimental-` in front.
    ExperimentalBefore36,
    /// There is no such flag before 3.6.
    Since36,
    /// It is a setting of the agent and no flag of etcd.
    Agent,
}

const MIB: u64 = 1024 * 1024;

const fn setting(name: &'static str, values: Values, flag: Flag) -> Setting {
    Setting { name, values, flag }
}

/// All settings. Ranges are etcd's own where it has any (`embed/config.go`), else what a cluster survives.
pub const SETTINGS: [Setting; 23] = [
    setting(HEARTBEAT, Values::Number(10, 10_000, "ms"), Flag::Plain),
    setting(ELECTION, Values::Number(50, 50_000, "ms"), Flag::Plain),
    setting(
        QUOTA,
        Values::Number(16 * MIB, 8192 * MIB, "bytes"),
        Flag::Plain,
    ),
    setting(
        COMPACTION_MODE,
        Values::Words(&["periodic", "revision"]),
        Flag::Plain,
    ),
    setting(COMPACTION_RETENTION, Values::Retention, Flag::Plain),
    setting(
        "snapshot-count",
        Values::Number(100, 10_000_000, "entries"),
        Flag::Plain,
    ),
    setting(
        "snapshot-catchup-entries",
        Values::Number(100, 10_000_000, "entries"),
        Flag::Since36,
    ),
    setting(
        "max-request-bytes",
        Values::Number(1024, 10 * MIB, "bytes"),
        Flag::Plain,
    ),
    setting(
        "max-txn-ops",
        Values::Number(1, 10_000, "operations"),
        Flag::Plain,
    ),
    setting(
        "max-concurrent-streams",
        Values::Number(1, 4_294_967_295, "streams"),
        Flag::Plain,
    ),
    setting(
        "max-snapshots",
        Values::Number(0, 100, "files"),
        Flag::Plain,
    ),
    setting("max-wals", Values::Number(0, 100, "files"), Flag::Plain),
    setting("backend-batch-interval", Values::Duration, Flag::Plain),
    setting(
        "backend-batch-limit",
        Values::Number(1, 1_000_000, "operations"),
        Flag::Plain,
    ),
    setting("grpc-keepalive-min-time", Values::Duration, Flag::Plain),
    setting(
        "compaction-batch-limit",
        Values::Number(1, 1_000_000, "revisions"),
        Flag::ExperimentalBefore36,
    ),
    setting(
        "corrupt-check-time",
        Values::Duration,
        Flag::ExperimentalBefore36,
    ),
    setting(
        "watch-progress-notify-interval",
        Values::Duration,
        Flag::ExperimentalBefore36,
    ),
    setting(
        "warning-apply-duration",
        Values::Duration,
        Flag::ExperimentalBefore36,
    ),
    setting(
        "log-level",
        Values::Words(&["debug", "info", "warn", "error"]),
        Flag::Plain,
    ),
    setting(
        "metrics",
        Values::Words(&["basic", "extensive"]),
        Flag::Plain,
    ),
    setting(
        FAST_ELECTION,
        Values::Words(&["true", "suspicion", "false"]),
        Flag::Agent,
    ),
    setting(
        RELAY_CLIENTS,
        Values::Words(&["true", "false"]),
        Flag::Agent,
    ),
];

/// A setting that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSetting {
    /// There is no such setting, or users may not set it.
    #[error("{name:?} is not a setting; settings are: {}", names())]
    Unknown {
        /// Its name.
        name: String,
    },
    /// The value is none that the setting may have.
    #[error("{name} is {}, not {value:?}", wanted(.values))]
    Value {
        /// Its name.
        name: &'static str,
        /// The values that it may have.
        values: Values,
        /// The value that was refused.
        value: String,
    },
    /// The version of etcd does not have the setting.
    #[error("{name} is there from etcd 3.6 on, not in {major}.{minor}")]
    Version {
        /// Its name.
        name: &'static str,
        /// Major version of etcd.
        major: u64,
        /// Minor version of etcd.
        minor: u64,
    },
}

/// The setting of this name, when it may have this value.
///
/// # Errors
/// When there is no such setting, or the value is out of its range.
pub fn check(name: &str, value: &str) -> Result<Setting, BadSetting> {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
        return Err(BadSetting::Unknown { name: name.into() });
    };
    if setting.values.hold(value) {
        return Ok(*setting);
    }
    Err(BadSetting::Value {
        name: setting.name,
        values: setting.values,
        value: value.into(),
    })
}

impl Setting {
    /// The flag of etcd, without dashes in front, in this version (major, minor); `None` for a setting of the agent.
    ///
    /// # Errors
    /// When the version does not have it.
    pub fn flag_in(&self, (major, minor): (u64, u64)) -> Result<Option<String>, BadSetting> {
        let name = self.name;
        match self.flag {
            Flag::Since36 if (major, minor) < (3, 6) => {
                Err(BadSetting::Version { name, major, minor })
            }
            Flag::ExperimentalBefore36 if (major, minor) < (3, 6) => {
                Ok(Some(format!("experimental-{name}")))
            }
            Flag::Agent => Ok(None),
            _ => Ok(Some(name.to_owned())),
        }
    }
}

impl Values {
    fn hold(self, value: &str) -> bool {
        match self {
            Values::Number(least, most, _) => {
                number(value).is_some_and(|n| (least..=most).contains(&n))
            }
            Values::Duration => is_duration(value),
            Values::Retention => number(value).is_some() || is_duration(value),
            Values::Words(words) => words.contains(&value),
        }
    }

    /// The rule that says so, of a text `it`.
    fn rule(self, it: &str) -> String {
        match self {
            Values::Number(least, most, _) => {
                format!("{it}.matches('{NUMBER}') && int({it}) >= {least} && int({it}) <= {most}")
            }
            Values::Duration => format!("{it}.matches('{DURATION}')"),
            Values::Retention => format!("{it}.matches('{NUMBER}') || {it}.matches('{DURATION}')"),
            Values::Words(words) => format!("{it} in [{}]", quoted(words)),
        }
    }
}

const NUMBER: &str = "^[0-9]{1,12}$";
const DURATION: &str = "^([0-9]{1,9}(ms|s|m|h))+$";

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Digits and a unit, once or more.
fn is_duration(text: &str) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 9 {
            return false;
        }
        let after = &rest[digits..];
        let unit = ["ms", "s", "m", "h"]
            .iter()
            .find(|unit| after.starts_with(**unit));
        let Some(unit) = unit else { return false };
        rest = &after[unit.len()..];
    }
    !text.is_empty()
}

fn wanted(values: &Values) -> String {
    match values {
        Values::Number(least, most, unit) => {
            format!("a whole number of {unit} from {least} to {most}")
        }
        Values::Duration => "a length of time such as 100ms or 1h30m".to_owned(),
        Values::Retention => {
            "a length of time such as 1h30m, or a number of hours or revisions".to_owned()
        }
        Values::Words(words) => format!("one of {}", words.join(", ")),
    }
}

fn names() -> String {
    SETTINGS.map(|setting| setting.name).join(", ")
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    words.join(", ")
}

/// Validation rules of an object with the fields `key` and `value`, which are name and value of a setting.
#[must_use]
pub fn rules_of_parameter() -> Value {
    let known = format!(
        "self.key in [{}]",
        quoted(&SETTINGS.map(|setting| setting.name))
    );
    let mut rules = vec![rule(&known, &format!("settings are: {}", names()))];
    for Setting { name, values, .. } in SETTINGS {
        let holds = values.rule("self.value");
        let all = format!("self.key != '{name}' || !has(self.value) || ({holds})");
        rules.push(rule(&all, &format!("{name} is {}", wanted(&values))));
    }
    Value::Array(rules)
}

/// Schema of a map of settings by name, with validation rules for each.
#[must_use]
pub fn schema(_: &mut SchemaGenerator) -> Schema {
    let known = format!(
        "self.all(key, key in [{}])",
        quoted(&SETTINGS.map(|setting| setting.name))
    );
    let mut rules = vec![rule(&known, &format!("settings are: {}", names()))];
    for Setting { name, values, .. } in SETTINGS {
        let holds = values.rule(&format!("self['{name}']"));
        let all = format!("!('{name}' in self) || ({holds})");
        rules.push(rule(&all, &format!("{name} is {}", wanted(&values))));
    }
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "minLength": 1, "maxLength": 64 },
        "x-kubernetes-validations": rules,
    })
}

/// The settings of a component by name: the variables of the entry [`CONFIG`] of its `configs`.
#[must_use]
pub fn of(configs: &[ComponentConfig]) -> BTreeMap<String, String> {
    let own = configs.iter().find(|config| config.name == CONFIG);
    own.map(|config| config.variables.clone())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_etcd_takes() {
        for (name, value) in [
            (HEARTBEAT, "100"),
            (QUOTA, "16777216"),
            ("auto-compaction-mode", "revision"),
            ("auto-compaction-retention", "24"),
            ("auto-compaction-retention", "1h30m"),
            ("backend-batch-interval", "100ms"),
            (FAST_ELECTION, "false"),
            (FAST_ELECTION, "suspicion"),
            (RELAY_CLIENTS, "true"),
        ] {
            assert!(check(name, value).is_ok(), "{name} {value}");
        }
        for (name, value) in [
            (HEARTBEAT, "9"),
            (HEARTBEAT, "+100"),
            (HEARTBEAT, "1e3"),
            (QUOTA, ""),
            (QUOTA, "2Gi"),
            (QUOTA, "99999999999999999999"),
            ("auto-compaction-mode", "Periodic"),
            ("backend-batch-interval", "100"),
            ("backend-batch-interval", "ms"),
            ("backend-batch-interval", "1d"),
            (FAST_ELECTION, "no"),
            (RELAY_CLIENTS, "suspicion"),
            ("name", "etcd-0"),
            ("initial-cluster", "x"),
            ("--heartbeat-interval", "100"),
        ] {
            assert!(check(name, value).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn a_refusal_says_what_would_do() {
        let error = check(HEARTBEAT, "5").expect_err("too short").to_string();
        assert_eq!(
            error,
            "heartbeat-interval is a whole number of ms from 10 to 10000, not \"5\""
        );
        let error = check("data-dir", "/x")
            .expect_err("not the user's")
            .to_string();
        assert!(
            error.contains("is not a setting") && error.contains(QUOTA),
            "{error}"
        );
    }

    #[test]
    fn flags_have_their_versions_names() {
        let of = |name: &str, value: &str| check(name, value).expect("a setting");
        let corrupt = of("corrupt-check-time", "1h");
        assert_eq!(
            corrupt.flag_in((3, 5)),
            Ok(Some("experimental-corrupt-check-time".to_owned()))
        );
        assert_eq!(
            corrupt.flag_in((3, 6)),
            Ok(Some("corrupt-check-time".to_owned()))
        );
        assert_eq!(of(FAST_ELECTION, "false").flag_in((3, 6)), Ok(None));
        assert!(
            of("snapshot-catchup-entries", "5000")
                .flag_in((3, 5))
                .is_err()
        );
        assert_eq!(
            of(HEARTBEAT, "50").flag_in((3, 5)),
            Ok(Some(HEARTBEAT.to_owned()))
        );
    }
}
