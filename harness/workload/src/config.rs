//! What the recording client is told: where the members are, how much traffic, which seed.
//!
//! Given as one JSON document. Every number has a default that two cores carry beside six kind nodes; an unknown field
//! is an error, so that a knob is never silently without effect.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::reach::Access;

/// How often the progress of a watch may be asked for under load, in milliseconds.
const PROGRESS_MS: std::ops::RangeInclusive<u64> = 5..=10_000;
/// How many revisions ahead a watch may begin.
const FUTURE: std::ops::RangeInclusive<i64> = 0..=1_000_000;
/// How often each compare of a transaction may be sent; etcd must be told to take so many (`max-txn-ops`).
const COMPARES: std::ops::RangeInclusive<u32> = 1..=5_000;
/// How many revisions may be between two compactions at a delete that stands alone.
const LONE_DELETES: std::ops::RangeInclusive<i64> = 0..=1_000_000;
/// How many watches may begin beside one: with more than 511 that are behind, etcd looks at a part of them at a time.
const CROWD: std::ops::RangeInclusive<u32> = 0..=450;
/// Most closed-loop clients: the numbers from 1000 on are those of the open-loop writers.
const CLIENTS_MAX: u32 = 900;
/// Most clients that take locks.
const HOLDERS_MAX: u32 = 100;
/// Most clients that keep objects.
const KEEPERS_MAX: u32 = 100;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Seed of every random choice.
    pub(crate) seed: u64,
    /// `host:port` of the leader service; absent where there is none. Then nothing is sent on its routes, and what
    /// needs the cluster as a whole is sent to members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// The members, by pod name.
    pub(crate) members: Vec<Member>,
    /// What opens it, where it is not open to all.
    #[serde(default)]
    pub(crate) access: Access,
    /// First characters of every key of the run.
    #[serde(default = "default_prefix")]
    pub(crate) prefix: String,
    /// Folder of the history and of the stop file.
    #[serde(default = "default_dir")]
    pub(crate) dir: PathBuf,
    /// Longest time for one operation, its dial included, in milliseconds.
    #[serde(default = "default_deadline_ms")]
    pub(crate) deadline_ms: u64,
    /// Traffic.
    #[serde(default)]
    pub(crate) rates: Rates,
    /// True when nothing is sent before the start file is there.
    #[serde(default)]
    pub(crate) gated: bool,
    /// True when linearizability is judged while the traffic runs. Only where no other client writes to keys of the
    /// run, and no data is given up on purpose.
    #[serde(default)]
    pub(crate) judged: bool,
    /// True when a held connection is also given up when an operation on it runs into its deadline. False leaves only
    /// what the connection itself says, as etcd's own client does: that is what fencing (design: a deposed leader is
    /// fenced) must rescue.
    #[serde(default = "default_true")]
    pub(crate) held_redials_on_deadline: bool,
}

/// One member of etcd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Member {
    /// Its pod's name.
    pub(crate) pod: String,
    /// `host:port` of its client address.
    pub(crate) address: String,
}

/// How much traffic of each kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rates {
    /// Open-loop writes a second, each on a connection of its own through the service.
    pub(crate) fresh: f64,
    /// Open-loop writes a second on one held connection through the service.
    pub(crate) held: f64,
    /// Open-loop writes a second of the client that dials all members.
    pub(crate) dial_all: f64,
    /// After this many milliseconds without an answer the dial-all client asks all other members too.
    pub(crate) hedge_ms: u64,
    /// Closed-loop clients with mixed operations.
    pub(crate) clients: u32,
    /// Operations a second of each of them at most.
    pub(crate) client_rate: f64,
    /// Keys of each kind that the closed-loop clients share; few keys mean contention.
    pub(crate) keys: u32,
    /// Seconds of a lease. The default is longer than any fault of a scenario, so that a lease ends when it is revoked.
    pub(crate) lease_s: i64,
    /// When so many revisions have come since its last compaction, a client compacts the store at the revision of a
    /// delete, right behind that. Most of what it sends are puts and deletes that stand alone, and the client that
    /// dials all members is silent: no client deletes its keys. 0 for none of that.
    pub(crate) lone_deletes: i64,
    /// True when leases are not revoked but left to end by themselves.
    pub(crate) leases_expire: bool,
    /// True when the closed-loop clients compact the store, and read at old revisions.
    pub(crate) compacts: bool,
    /// True when they compact what is a moment old, and send transactions that write one key and read another at a
    /// revision that is compacted: etcd must refuse them whole.
    pub(crate) compacted_txns: bool,
    /// True when each of them compacts to the revision of its last delete, and a further watch on each member begins at
    /// the compacted revision again and again. The client that dials all members is silent then.
    pub(crate) compacts_deletes: bool,
    /// How often each compare of a transaction is sent. More than once says the same and takes etcd longer; then each
    /// client also has a key of its own, which it compares and swaps again and again.
    pub(crate) compares: u32,
    /// True when a third of what each client sends is a read of its own key, in a transaction whose compare holds and
    /// that writes nothing.
    pub(crate) guarded_reads: bool,
    /// True when each closed-loop client asks one member only, so that those of a member that does not answer do not
    /// hold up the rest. Needs a configuration without a service.
    pub(crate) pinned: bool,
    /// Milliseconds between two questions for the progress of every watch while events come; 0 asks only in silence.
    pub(crate) progress_ms: u64,
    /// So many revisions ahead of what a member has begins a further watch on it, which is followed by another one soon
    /// after it has begun; 0 for none.
    pub(crate) future: i64,
    /// So many other watches begin at revision 1 in the stream of a further watch on each member, and watch a key that
    /// no client writes. The further one begins at the first event, and where that is compacted behind the compacted
    /// revision, again and again. 0 for none of them.
    pub(crate) crowd: u32,
    /// True when two further watches begin on each member again and again: one at revision -1, which etcd must refuse,
    /// and one in the past, which that must not harm.
    pub(crate) negative: bool,
    /// Clients that take a lock or stand in an election in turn, under leases of a second or two, and write what it
    /// guards.
    pub(crate) holders: u32,
    /// Clients that keep objects as a kube-apiserver does: guarded writes, and lists in pages of one revision.
    pub(crate) keepers: u32,
    /// Milliseconds between two status questions to a member.
    pub(crate) status_ms: u64,
    /// Watches on every member and through the service.
    pub(crate) watch: bool,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            fresh: 20.0,
            held: 20.0,
            dial_all: 20.0,
            // Above the time of an ordinary write on a busy machine, or every write is sent to every member.
            hedge_ms: 50,
            clients: 4,
            client_rate: 12.0,
            keys: 5,
            lease_s: 60,
            lone_deletes: 0,
            leases_expire: false,
            compacts: false,
            compacted_txns: false,
            compacts_deletes: false,
            compares: 1,
            guarded_reads: false,
            pinned: false,
            progress_ms: 0,
            future: 0,
            crowd: 0,
            negative: false,
            holders: 0,
            keepers: 0,
            status_ms: 100,
            watch: true,
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("failed to parse the configuration: {0}")]
    Parse(#[source] serde_json::Error),
    #[error("failed to accept the configuration: {0}")]
    Reject(&'static str),
}

impl Config {
    /// Parses and checks a document.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_str(text).map_err(ConfigError::Parse)?;
        let positive = |rate: f64| rate.is_finite() && (0.0..=10_000.0).contains(&rate);
        let rates = &config.rates;
        if config.members.is_empty() {
            return Err(ConfigError::Reject("members is empty"));
        }
        if let Some(fault) = config.access.fault() {
            return Err(ConfigError::Reject(fault));
        }
        if config.prefix.is_empty() {
            return Err(ConfigError::Reject(
                "prefix is empty: keys of others would be recorded",
            ));
        }
        if config.deadline_ms == 0 || rates.status_ms == 0 || rates.keys == 0 {
            return Err(ConfigError::Reject(
                "deadline_ms, status_ms and keys must be above 0",
            ));
        }
        if rates.lease_s <= 0 {
            return Err(ConfigError::Reject("lease_s must be above 0"));
        }
        if ![rates.fresh, rates.held, rates.dial_all, rates.client_rate]
            .into_iter()
            .all(positive)
        {
            return Err(ConfigError::Reject(
                "a rate must be between 0 and 10000 a second",
            ));
        }
        if !(rates.progress_ms == 0 || PROGRESS_MS.contains(&rates.progress_ms)) {
            return Err(ConfigError::Reject(
                "progress_ms must be 0 (only in silence) or between 5 and 10000",
            ));
        }
        if !FUTURE.contains(&rates.future) {
            return Err(ConfigError::Reject(
                "future must be 0 (no such watch) or at most 1000000 revisions",
            ));
        }
        if !COMPARES.contains(&rates.compares) {
            return Err(ConfigError::Reject("compares must be between 1 and 5000"));
        }
        if rates.pinned && config.service.is_some() {
            return Err(ConfigError::Reject(
                "pinned needs a configuration without service: a client that asks one member uses no service",
            ));
        }
        if !LONE_DELETES.contains(&rates.lone_deletes) {
            return Err(ConfigError::Reject(
                "lone_deletes must be 0 (none) or at most 1000000 revisions",
            ));
        }
        if !CROWD.contains(&rates.crowd) {
            return Err(ConfigError::Reject("crowd must be at most 450 watches"));
        }
        if rates.clients > CLIENTS_MAX {
            return Err(ConfigError::Reject("clients must be at most 900"));
        }
        if rates.holders > HOLDERS_MAX {
            return Err(ConfigError::Reject("holders must be at most 100"));
        }
        if rates.keepers > KEEPERS_MAX {
            return Err(ConfigError::Reject("keepers must be at most 100"));
        }
        Ok(config)
    }

    /// Longest time for one operation.
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// End of the key range of the run, exclusive.
    pub(crate) fn range_end(&self) -> String {
        range_end(&self.prefix)
    }

    /// The history file.
    pub(crate) fn history(&self) -> PathBuf {
        self.dir.join("history.jsonl")
    }
}

/// End of the range of keys that begin with an ASCII prefix.
pub(crate) fn range_end(prefix: &str) -> String {
    // '~' is above every character that keys here are made of, and keeps keys readable text.
    format!("{prefix}~")
}

fn default_prefix() -> String {
    "run/".to_owned()
}

fn default_dir() -> PathBuf {
    PathBuf::from("/history")
}

fn default_deadline_ms() -> u64 {
    1000
}

fn default_true() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str =
        r#"{"seed":7,"service":"a-etcd:2379","members":[{"pod":"a-etcd-0","address":"a-0:2379"}]}"#;

    #[test]
    fn smallest_document_takes_the_defaults() {
        let config = Config::parse(SMALLEST).unwrap();
        assert_eq!(config.deadline(), Duration::from_secs(1));
        assert_eq!(config.rates, Rates::default());
        assert_eq!(config.range_end(), "run/~");
    }

    #[test]
    fn a_cluster_may_have_no_service() {
        let text = SMALLEST.replace(r#","service":"a-etcd:2379""#, "");
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.service, None);
        let kept = serde_json::to_string(&config).unwrap();
        assert_eq!(
            Config::parse(&kept).unwrap(),
            config,
            "the final phase reads it"
        );
    }

    #[test]
    fn passwords_travel_in_clear_where_that_is_asked_for() {
        let access = r#""access":{"user":"/access/user","admin":"/access/admin","clear":true}"#;
        let text = SMALLEST.replace("\"seed\":7", &format!("\"seed\":7,{access}"));
        let config = Config::parse(&text).unwrap();
        assert!(config.access.clear && config.access.tls.is_none());
        let kept = serde_json::to_string(&config).unwrap();
        assert_eq!(Config::parse(&kept).unwrap(), config);
    }

    #[test]
    fn rates_are_overridden_one_by_one() {
        let text = SMALLEST.replace("\"seed\":7", r#""seed":7,"rates":{"fresh":50}"#);
        let config = Config::parse(&text).unwrap();
        assert!((config.rates.fresh - 50.0).abs() < f64::EPSILON);
        assert_eq!(config.rates.clients, Rates::default().clients);
    }

    #[test]
    fn unknown_and_absurd_values_are_refused() {
        for (bad, word) in [
            (r#""seed":7,"sede":1"#, "sede"),
            (r#""seed":7,"deadline_ms":0"#, "deadline_ms"),
            (r#""seed":7,"prefix":"""#, "prefix"),
            (r#""seed":7,"rates":{"held":-1}"#, "rate"),
            (r#""seed":7,"rates":{"lease_s":0}"#, "lease_s"),
            (r#""seed":7,"rates":{"progress_ms":4}"#, "progress_ms"),
            (r#""seed":7,"rates":{"future":-1}"#, "future"),
            (r#""seed":7,"rates":{"compares":0}"#, "compares"),
            (r#""seed":7,"rates":{"compares":5001}"#, "compares"),
            (r#""seed":7,"rates":{"lone_deletes":-1}"#, "lone_deletes"),
            (r#""seed":7,"rates":{"crowd":451}"#, "crowd"),
            (r#""seed":7,"rates":{"clients":901}"#, "clients"),
            (r#""seed":7,"rates":{"holders":101}"#, "holders"),
            (r#""seed":7,"rates":{"keepers":101}"#, "keepers"),
            (r#""seed":7,"access":{"password":"x"}"#, "password"),
            (r#""seed":7,"access":{"user":"/account"}"#, "access.tls"),
        ] {
            let text = SMALLEST.replace("\"seed\":7", bad);
            let error = Config::parse(&text).unwrap_err().to_string();
            assert!(error.contains(word), "{error} names {word}");
        }
    }
}
