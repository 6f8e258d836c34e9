//! Members of which etcd has ended by itself: how, as Docker reports it, and with which panic, as its log says.

use crate::bare::cluster::BareCluster;
use crate::bare::error::is_of_a_flag;

/// Exit code of a process that was ended by SIGKILL: 128 and the signal's number.
pub(crate) const KILLED: i64 = 128 + 9;
/// Lines of a log that hold the text of a panic and its stack.
const LINES: &str = "400";
/// Lines of a log that stand for all of it where there is no panic in them.
const LAST: usize = 3;

/// How a member has ended.
struct Ended {
    exit_code: i64,
    /// The same in words, with what it said last.
    told: String,
    /// The panic that its log ends with, and the stack behind it, or the error that etcd ended with.
    panic: Option<String>,
}

impl BareCluster {
    /// A member that has ended by itself, with its last words.
    pub(crate) async fn ended(&self) -> Option<String> {
        for name in self.layout().names() {
            if let Some(ended) = self.end_of(&name).await {
                return Some(ended.told);
            }
        }
        None
    }

    /// How this member has ended, where it has and was not killed.
    pub(crate) async fn crashed(&self, name: &str) -> Option<String> {
        let ended = self.end_of(name).await?;
        (ended.exit_code != KILLED).then_some(ended.told)
    }

    /// Whether a member has ended by a panic that says this, itself or in its stack, or by such an error.
    pub(crate) async fn has_panicked(&self, words: &str) -> bool {
        for name in self.layout().names() {
            let ended = self.end_of(&name).await;
            let panic = ended.and_then(|ended| ended.panic);
            if panic.is_some_and(|panic| panic.contains(words)) {
                return true;
            }
        }
        false
    }

    async fn end_of(&self, name: &str) -> Option<Ended> {
        let seen = self.seen(name).await.ok()?;
        if seen.running || seen.exit_code == 0 {
            return None;
        }
        let (said, panic) = match self.log_since_start(name, LINES).await {
            Ok(log) => (last_words(&log), panic_of(&log).or_else(|| fatal_of(&log))),
            Err(why) => (why, None),
        };
        Some(Ended {
            exit_code: seen.exit_code,
            told: format!("{name} ended with {}: {said}", seen.exit_code),
            panic,
        })
    }
}

/// The panic that a log of a Go program ends with, behind which is only its stack.
fn panic_of(log: &str) -> Option<String> {
    let lines: Vec<&str> = log.lines().collect();
    let begin = lines.iter().rposition(|line| line.starts_with("panic: "))?;
    Some(lines[begin..].join("\n"))
}

/// The error with which etcd has ended by itself, without a panic.
fn fatal_of(log: &str) -> Option<String> {
    let last = log.lines().last()?;
    last.contains(r#""level":"fatal""#).then(|| last.to_owned())
}

/// What such a panic says, without the stack; else what a flag is refused with, in front of the usage; else the last
/// lines.
fn last_words(log: &str) -> String {
    let panic = panic_of(log).unwrap_or_default();
    if let Some(said) = panic.lines().next() {
        return said.to_owned();
    }
    let lines: Vec<&str> = log.lines().collect();
    if let Some(flag) = lines.iter().find(|line| is_of_a_flag(line)) {
        return (*flag).to_owned();
    }
    lines[lines.len().saturating_sub(LAST)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bare::member::Layout;
    use crate::cluster::fake_docker::{FakeDocker, log_line};

    /// A run with one member that is like this.
    fn cluster(state: &'static str) -> (FakeDocker, BareCluster) {
        let log = [
            "2026-11-30T06:00:07.000000000Z {\"level\":\"error\"}\n",
            "2026-11-30T06:00:07.000000001Z panic: runtime error: nil pointer dereference\n",
            "2026-11-30T06:00:07.000000002Z [signal SIGSEGV: segmentation violation]\n",
            "2026-11-30T06:00:07.000000003Z \n",
            "2026-11-30T06:00:07.000000004Z goroutine 7 [running]:\n",
            "2026-11-30T06:00:07.000000005Z go.etcd.io/etcd/etcdserver.warn(0xc000)\n",
        ];
        let log = log.map(log_line).concat();
        let fake = FakeDocker::new(move |request| match request {
            "GET /containers/bare-r-0/json" => {
                let started = r#""StartedAt":"2026-11-30T06:00:00Z""#;
                let body = format!(r#"{{"State":{{{state},{started}}}}}"#);
                (200, body.into_bytes())
            }
            _ => (200, log.clone()),
        });
        let cluster = BareCluster::new(fake.docker.clone(), Layout::new("r", 1, &[]));
        (fake, cluster)
    }

    #[tokio::test]
    async fn a_member_that_panicked_says_why_and_one_that_was_killed_did_not_crash() {
        let (_docker, panicked) = cluster(r#""Running":false,"ExitCode":2"#);
        let told = "bare-r-0 ended with 2: panic: runtime error: nil pointer dereference";
        assert_eq!(panicked.ended().await.as_deref(), Some(told));
        assert_eq!(panicked.crashed("bare-r-0").await.as_deref(), Some(told));
        let (_docker, killed) = cluster(r#""Running":false,"ExitCode":137"#);
        assert!(killed.ended().await.is_some());
        assert_eq!(killed.crashed("bare-r-0").await, None);
        for state in [
            r#""Running":true,"ExitCode":0"#,
            r#""Running":false,"ExitCode":0"#,
        ] {
            let (_docker, healthy) = cluster(state);
            assert_eq!(healthy.ended().await, None, "{state}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_told_by_the_functions_of_its_stack_and_not_by_what_was_logged_before() {
        let (_docker, panicked) = cluster(r#""Running":false,"ExitCode":2"#);
        assert!(panicked.has_panicked("etcdserver.warn(").await);
        assert!(panicked.has_panicked("nil pointer").await);
        assert!(!panicked.has_panicked("etcdserver.apply(").await);
        assert!(!panicked.has_panicked("level").await, "before the panic");
        let (_docker, runs) = cluster(r#""Running":true,"ExitCode":0"#);
        assert!(!runs.has_panicked("etcdserver.warn(").await);
    }

    #[test]
    fn etcd_ends_without_a_panic_with_what_it_logs_last_as_fatal() {
        let fatal = r#"{"level":"fatal","msg":"discovery failed","error":"membership: too many learner members"}"#;
        let log = format!("{{\"level\":\"info\"}}\n{fatal}\n");
        assert_eq!(fatal_of(&log).as_deref(), Some(fatal));
        assert_eq!(fatal_of(&format!("{log}{{\"level\":\"info\"}}\n")), None);
        assert_eq!(fatal_of(""), None);
    }

    #[test]
    fn what_ended_without_a_panic_is_told_by_its_last_lines() {
        assert_eq!(last_words("a\nb\nc\nd\n"), "b\nc\nd");
        assert_eq!(last_words("a\n"), "a");
        assert_eq!(last_words(""), "");
        let usage = "flag provided but not defined: -x\nUsage:\n\n  etcd [flags]\n    Start an etcd server.\n";
        assert_eq!(last_words(usage), "flag provided but not defined: -x");
    }
}
