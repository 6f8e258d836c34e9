//! How fast the clock runs by which etcd ends what has a deadline. Go measures durations by the monotonic clock, which
//! no answer says: a watch with a deadline is asked for, through etcd's gateway, and ends when that has passed by it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::vdso::date::ask;

/// After so long by its own clock etcd ends the watch.
const DEADLINE: Duration = Duration::from_secs(3);
/// Longest wait for that end.
const LONGEST: Duration = Duration::from_secs(60);
/// Between two watches, when one could not be asked for.
const AGAIN: Duration = Duration::from_millis(250);
/// The key is no other's: `clock`.
const WATCH: &str = r#"{"create_request":{"key":"Y2xvY2s="}}"#;

/// Watches with deadlines, one after the other, until this is dropped.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// The highest of the least rates, in percent; 0 before the first.
    least: Arc<AtomicI64>,
}

impl Deadlines {
    /// Of the etcd at a port of the loopback.
    pub(super) fn of(port: u16) -> Self {
        let least = Arc::new(AtomicI64::new(0));
        let kept = Arc::downgrade(&least);
        thread::spawn(move || {
            while let Some(least) = kept.upgrade() {
                match watch(port) {
                    Ok(passed) => {
                        least.fetch_max(percent(passed), Ordering::Relaxed);
                    }
                    Err(_) => thread::sleep(AGAIN),
                }
            }
        });
        Self { least }
    }

    /// The clock runs at so many percent of the machine's rate at least; none before the first watch has ended.
    pub(super) fn least_percent(&self) -> Option<i64> {
        let least = self.least.load(Ordering::Relaxed);
        (least > 0).then_some(least)
    }
}

/// How long a watch with the deadline lasted, by the clock of this machine.
fn watch(port: u16) -> anyhow::Result<Duration> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (length, deadline) = (WATCH.len(), DEADLINE.as_secs());
    let question = format!(
        "POST /v3/watch HTTP/1.1\r\nHost: localhost\r\nGrpc-Timeout: {deadline}S\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{WATCH}"
    );
    let begun = Instant::now();
    let answer = ask(&at, &question, LONGEST);
    let passed = begun.elapsed();
    let answer = answer.with_context(|| format!("failed to watch at {at}"))?;
    anyhow::ensure!(
        answer.contains("deadline exceeded"),
        "etcd at {at} ended a watch for another reason than its deadline: {answer:?}"
    );
    Ok(passed)
}

/// The least percent of the machine's rate of a clock by which the deadline passed in this time. A timer never ends too
/// early by its own clock, and whatever is late only makes the rate look lower.
fn percent(passed: Duration) -> i64 {
    let percent = 100 * DEADLINE.as_micros() / passed.as_micros().max(1);
    i64::try_from(percent).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// What is seen of a watch that is answered with this.
    fn answered(answer: &'static str) -> anyhow::Result<Duration> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it listens");
        let port = listener.local_addr().expect("an address").port();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut question = [0; 512];
            let length = stream.read(&mut question).expect("a question");
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n{answer}").expect("it answers");
            String::from_utf8_lossy(&question[..length]).into_owned()
        });
        let seen = watch(port);
        let question = served.join().expect("it served");
        assert!(question.contains("Grpc-Timeout: 3S\r\n"), "{question}");
        assert!(question.ends_with(WATCH), "{question}");
        seen
    }

    #[test]
    fn what_etcd_says_at_a_deadline_is_known_and_another_end_is_none() {
        let created = r#"{"result":{"created":true}}"#;
        for message in [
            r#"{"error":{"grpc_code":4,"http_code":504,"message":"context deadline exceeded"}}"#,
            r#"{"error":{"code":4,"message":"context deadline exceeded"}}"#,
        ] {
            let answer: &'static str = format!("{created}\n{message}\n").leak();
            assert!(answered(answer).is_ok(), "{message}");
        }
        let error = answered(created).expect_err("it was cut off").to_string();
        assert!(error.contains("another reason"), "{error}");
    }

    #[test]
    fn a_deadline_that_comes_late_shows_a_lower_rate() {
        assert_eq!(percent(DEADLINE), 100);
        assert_eq!(percent(Duration::from_millis(2_500)), 120);
        assert_eq!(percent(Duration::from_millis(2_501)), 119);
        assert_eq!(percent(Duration::from_secs(6)), 50);
    }
}
