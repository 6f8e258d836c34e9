//! Builds of etcd whose failpoints are code: their versions, how a member serves its failpoints, what is said of them.
//! Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::faults::{FailAction, Fault};

/// What the version of such a build ends with, before flags.
pub(crate) const SUFFIX: &str = "-gofail";
/// How etcd is told to serve its failpoints: on the loopback of its own container, which no fault of the network takes
/// from it and no other container reaches.
pub(crate) const SERVED: &str = "GOFAIL_HTTP=127.0.0.1:22381";
/// Asks etcd, in its own container, to defragment its database.
const DEFRAGMENT: &[&str] = &[
    "/usr/local/bin/etcdctl",
    "--endpoints=127.0.0.1:2379",
    "defrag",
];
/// What to do where a member serves none.
pub(crate) const REMEDY: &str = "`images/etcd.sh v3.6.16-gofail` makes an etcd with failpoints, `images/rust.sh \
     workload` the program that asks it";

/// True when one of these faults needs such a build.
pub(crate) fn needed(faults: &[Fault]) -> bool {
    let mut faults = faults.iter();
    faults.any(|fault| matches!(fault, Fault::Failpoint { .. }))
}

/// The version of etcd, as the build that these faults need; of several each.
pub(crate) fn build(version: &str, faults: &[Fault]) -> String {
    if !needed(faults) {
        return version.to_owned();
    }
    let (plain, flags) = version.split_at(version.find('+').unwrap_or(version.len()));
    let with_failpoints = |one: &str| format!("{}{SUFFIX}", one.trim_end_matches(SUFFIX));
    let builds: Vec<String> = plain.split(',').map(with_failpoints).collect();
    format!("{}{flags}", builds.join(","))
}

/// The one of these failpoints that the seed picks.
///
/// # Errors
/// Why there is nothing to do at it.
pub(crate) fn pick(at: &[String], action: FailAction, seed: u64) -> Result<&str, String> {
    if action == (FailAction::Sleep { ms: 0 }) {
        return Err("a sleep of 0 ms is none".to_owned());
    }
    let count = u64::try_from(at.len()).unwrap_or(u64::MAX);
    let place = seed
        .checked_rem(count)
        .and_then(|place| usize::try_from(place).ok());
    let picked = place.and_then(|place| at.get(place));
    picked
        .map(String::as_str)
        .ok_or_else(|| "it names no failpoint".to_owned())
}

/// What is done at a failpoint, in gofail's words. A panic says where it was.
pub(crate) fn words(name: &str, action: FailAction) -> String {
    match action {
        FailAction::Panic => format!("panic(\"{name}\")"),
        FailAction::Sleep { ms } => format!("sleep(\"{ms}ms\")"),
    }
}

/// The command in a member's container that makes etcd come to this failpoint; absent where it comes there by itself.
pub(crate) fn reached_by(name: &str) -> Option<&'static [&'static str]> {
    name.starts_with("defrag").then_some(DEFRAGMENT)
}

/// The failpoints of a member.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Points {
    points: BTreeMap<String, Point>,
}

/// One of them.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Point {
    /// What it is set to; empty when it is not set.
    pub(crate) action: String,
    /// How often that was done since it was set.
    pub(crate) reached: u64,
}

impl Points {
    /// From what `workload failpoint list` prints.
    ///
    /// # Errors
    /// When it is no list, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("{error}: {:?}", text.trim()))
    }

    /// The failpoint with this name.
    ///
    /// # Errors
    /// Which there are instead.
    pub(crate) fn get(&self, name: &str) -> Result<&Point, String> {
        self.points.get(name).ok_or_else(|| {
            let there: Vec<&str> = self.points.keys().map(String::as_str).collect();
            format!(
                "this build of etcd has no failpoint {name}; it has {}",
                there.join(", ")
            )
        })
    }

    /// Those that are set, and to what.
    pub(crate) fn set(&self) -> Vec<String> {
        let set = self.points.iter();
        let set = set.filter(|(_, point)| !point.action.is_empty());
        set.map(|(name, point)| format!("{name}={}", point.action))
            .collect()
    }
}

/// Exit code of a Go program that panicked.
const PANICKED: i64 = 2;
/// What etcd says when it has recovered from a panic in a defragmentation, and ends without one.
const RECOVERED: &str = "unexpected panic during defrag";
/// Its exit code then.
const FATAL: i64 = 1;

/// That a member has ended by a panic at this failpoint, by its exit code and the last panic in its log since its
/// start. One that is thrown again by who recovered it is that one still, and so is one that etcd reports as its fatal
/// error.
///
/// # Errors
/// What it ended by instead.
pub(crate) fn panicked(name: &str, exit_code: i64, log: &str) -> Result<(), String> {
    let panic = |line: &str| {
        let thrown = line.strip_prefix("panic: ");
        let thrown = thrown.map(|text| (text.to_owned(), PANICKED));
        thrown.or_else(|| recovered(line).map(|text| (text, FATAL)))
    };
    let Some((last, ends_with)) = log.lines().rev().find_map(panic) else {
        return Err(format!("it ended with {exit_code} and no panic"));
    };
    let at = last.strip_prefix("failpoint panic: ");
    let at = at.and_then(|text| text.split_whitespace().next());
    if at == Some(name) && exit_code == ends_with {
        return Ok(());
    }
    Err(format!("it ended with {exit_code}, its last panic: {last}"))
}

/// The panic that etcd recovered from in a defragmentation, where a line of its log reports that.
fn recovered(line: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Fatal {
        msg: String,
        panic: String,
    }
    let fatal: Fatal = serde_json::from_str(line).ok()?;
    (fatal.msg == RECOVERED).then_some(fatal.panic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Selector;

    fn failpoint() -> Fault {
        Fault::Failpoint {
            of: Selector::Leader,
            at: vec!["raftBeforeSave".to_owned()],
            action: FailAction::Panic,
        }
    }

    #[test]
    fn a_version_becomes_the_build_that_the_faults_need() {
        let needing = |version| build(version, &[failpoint()]);
        assert_eq!(needing("v3.6.16"), "v3.6.16-gofail");
        assert_eq!(needing("v3.6.16-gofail"), "v3.6.16-gofail");
        assert_eq!(needing("v3.6.1+a=b+c"), "v3.6.1-gofail+a=b+c");
        assert_eq!(needing("v3.6.1-gofail+c"), "v3.6.1-gofail+c");
        let elect = Fault::Elect {
            of: Selector::AnyFollower,
        };
        let other = |version| build(version, std::slice::from_ref(&elect));
        assert_eq!(other("v3.6.16"), "v3.6.16");
        assert_eq!(other("v3.6.16-gofail"), "v3.6.16-gofail");
    }

    #[test]
    fn the_seed_picks_one_after_the_other() {
        let at = ["a", "b", "c"].map(str::to_owned);
        let picked = |seed| pick(&at, FailAction::Panic, seed);
        let all: Vec<_> = (6..10).map(picked).collect();
        assert_eq!(all, [Ok("a"), Ok("b"), Ok("c"), Ok("a")]);
        assert_eq!(picked(u64::MAX), Ok("a"));
        assert!(pick(&[], FailAction::Panic, 1).is_err());
        assert!(pick(&at, FailAction::Sleep { ms: 0 }, 1).is_err());
        assert!(pick(&at, FailAction::Sleep { ms: 1 }, 1).is_ok());
    }

    #[test]
    fn etcd_defragments_where_it_is_asked_to_and_comes_to_all_else_by_itself() {
        let command = reached_by("defragBeforeCopy").expect("a command");
        assert_eq!(command.last(), Some(&"defrag"));
        for by_itself in ["raftBeforeSave", "compactBeforeSetFinishedCompact"] {
            assert_eq!(reached_by(by_itself), None, "{by_itself}");
        }
    }

    #[test]
    fn a_list_says_what_is_there_and_what_is_set() {
        let text = r#"{"afterCommit":{"action":"","reached":0},
            "beforeCommit":{"action":"sleep(\"100ms\")","reached":12}}"#;
        let points = Points::parse(text).expect("a list");
        assert_eq!(points.set(), ["beforeCommit=sleep(\"100ms\")"]);
        let slow = points.get("beforeCommit").expect("it is there");
        assert_eq!(slow.reached, 12);
        assert_eq!(
            slow.action,
            words("beforeCommit", FailAction::Sleep { ms: 100 })
        );
        let why = points.get("raftBeforeSafe").expect_err("no such failpoint");
        assert!(
            why.contains("no failpoint raftBeforeSafe")
                && why.ends_with("afterCommit, beforeCommit"),
            "{why}"
        );
        for text in ["", "[]", "{\"a\":{}}"] {
            assert!(Points::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_end_counts_when_the_last_panic_was_at_the_failpoint() {
        let at = |name| {
            format!("{{\"level\":\"info\"}}\npanic: failpoint panic: {name}\n\ngoroutine 7:\n")
        };
        let log = at("walAfterSync") + &at("beforeCommit [recovered]");
        let of = |name, code, log: &str| panicked(name, code, log);
        assert_eq!(of("beforeCommit", 2, &log), Ok(()));
        assert!(of("beforeCommit", 137, &log).is_err_and(|why| why.contains("137")));
        let earlier = of("walAfterSync", 2, &log);
        assert!(earlier.is_err_and(|why| why.contains("beforeCommit")));
        let other = log + "panic: runtime error: index out of range\n";
        assert!(of("beforeCommit", 2, &other).is_err_and(|why| why.contains("out of range")));
        assert!(of("beforeCommit", 2, "").is_err_and(|why| why.contains("no panic")));
    }

    #[test]
    fn etcd_ends_by_itself_of_a_panic_in_its_defragmentation() {
        let log = "{\"level\":\"info\",\"msg\":\"defragmenting\"}\n\
            {\"level\":\"fatal\",\"caller\":\"backend/backend.go:532\",\"msg\":\"unexpected panic during defrag\",\
            \"panic\":\"failpoint panic: defragBeforeCopy\",\"stacktrace\":\"go.etcd.io/etcd\"}\n";
        assert_eq!(panicked("defragBeforeCopy", 1, log), Ok(()));
        let other = panicked("defragBeforeRename", 1, log);
        assert!(other.is_err_and(|why| why.contains("defragBeforeCopy")));
        let killed = panicked("defragBeforeCopy", 137, log);
        assert!(killed.is_err_and(|why| why.contains("137")));
        let fatal = log.replace("during defrag", "elsewhere");
        let why = panicked("defragBeforeCopy", 1, &fatal).expect_err("another end");
        assert!(why.contains("no panic"), "{why}");
        // One that is thrown ends with another code.
        let thrown = "panic: failpoint panic: defragBeforeCopy\n";
        assert!(panicked("defragBeforeCopy", 1, thrown).is_err());
    }
}
