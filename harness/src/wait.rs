//! The only place of the harness that sleeps: waiting for a condition, with a deadline and the last thing seen.
//!
//! Timeouts are always wrong, some too short and some too long: prefer a watch that reports the change, and use this
//! where there is none. A timeout says what was waited for, how long, and what was seen last.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

use crate::timeouts;

/// What a condition says of itself when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Poll<T, E> {
    /// It holds.
    Ready(T),
    /// Not yet; the text is the status that a timeout reports.
    NotYet(String),
    /// It can never hold any more.
    Failed(E),
}

/// Why a wait ended without its condition.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WaitError<E: Display> {
    /// The deadline passed.
    #[error("{what}: not after {:.1} s; last seen: {last}", elapsed.as_secs_f64())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        elapsed: Duration,
        /// The last status.
        last: String,
    },
    /// The condition failed permanently.
    #[error("{what}: {source}")]
    Failed {
        /// What was waited for.
        what: String,
        /// Why.
        source: E,
    },
}

/// Asks `condition` every [`timeouts::POLL`] until it is ready, has failed or `limit` has passed. It is asked at least
/// once, and a call that hangs is cut off at the limit.
///
/// # Errors
/// [`WaitError::TimedOut`] with the last status, or [`WaitError::Failed`] with the condition's own error.
pub(crate) async fn wait_until<T, E: Display, F: Future<Output = Poll<T, E>>>(
    what: impl Into<String>,
    limit: Duration,
    condition: impl FnMut() -> F,
) -> Result<T, WaitError<E>> {
    wait_every(timeouts::POLL, what, limit, condition).await
}

/// As [`wait_until`], asking every `interval`.
///
/// # Errors
/// As [`wait_until`].
pub(crate) async fn wait_every<T, E: Display, F: Future<Output = Poll<T, E>>>(
    interval: Duration,
    what: impl Into<String>,
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> Result<T, WaitError<E>> {
    let what = what.into();
    let start = Instant::now();
    let mut last = "nothing".to_owned();
    loop {
        // At least one poll interval for the question itself, so that a limit of zero still asks once.
        let left = limit
            .saturating_sub(start.elapsed())
            .max(timeouts::POLL_CALL_MIN);
        match tokio::time::timeout(left, condition()).await {
            Ok(Poll::Ready(value)) => return Ok(value),
            Ok(Poll::Failed(source)) => return Err(WaitError::Failed { what, source }),
            Ok(Poll::NotYet(status)) => last = status,
            Err(_) => last = format!("no answer to the last question ({last} before it)"),
        }
        if start.elapsed() + interval > limit {
            return Err(WaitError::TimedOut {
                what,
                elapsed: start.elapsed(),
                last,
            });
        }
        pause(interval).await;
    }
}

/// Lets `duration` pass. For the spacing of a plan (a fault that is to last so long), never for "it should be done by
/// then": that is [`wait_until`].
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Runs `work` and says every `interval` that it is still at work, with the time since it began.
pub(crate) async fn telling<T>(
    interval: Duration,
    work: impl Future<Output = T>,
    tell: impl Fn(Duration),
) -> T {
    let start = Instant::now();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = pause(interval) => tell(start.elapsed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Where the clock is paused it stands still but where something waits: a slow machine's delays are not in it.

    #[tokio::test(start_paused = true)]
    async fn work_that_takes_long_is_told_of() {
        let interval = Duration::from_millis(10);
        let told = std::cell::Cell::new(0);
        let tell = |elapsed: Duration| {
            assert!(elapsed >= interval * (told.get() + 1));
            told.set(told.get() + 1);
        };
        assert_eq!(telling(interval, async { 7 }, tell).await, 7);
        assert_eq!(told.get(), 0, "over at once");
        telling(interval, pause(interval * 5), tell).await;
        assert!((4..=5).contains(&told.get()), "{}", told.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_comes_true_is_waited_for() {
        let asked = std::cell::Cell::new(0);
        let got = wait_every(
            Duration::from_millis(1),
            "the third time",
            Duration::from_secs(5),
            async || {
                asked.set(asked.get() + 1);
                match asked.get() {
                    3 => Poll::Ready(3),
                    other => Poll::NotYet::<_, String>(other.to_string()),
                }
            },
        )
        .await;
        assert_eq!(got.expect("ready"), 3);
    }

    #[tokio::test]
    async fn a_timeout_tells_the_last_status() {
        let got = wait_until("a miracle", Duration::from_millis(1), async || {
            Poll::NotYet::<(), String>("2 of 3 pods".into())
        })
        .await;
        let text = got.expect_err("times out").to_string();
        assert!(text.starts_with("a miracle: not after"), "{text}");
        assert!(text.ends_with("last seen: 2 of 3 pods"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_hangs_is_cut_off() {
        let got = wait_until("an answer", Duration::from_millis(20), async || {
            std::future::pending::<Poll<(), String>>().await
        })
        .await;
        assert!(matches!(got, Err(WaitError::TimedOut { .. })));
    }

    #[tokio::test]
    async fn a_failure_ends_the_wait_at_once() {
        let got = wait_until("a pod", Duration::from_secs(60), async || {
            Poll::Failed::<(), _>("pod is gone".to_owned())
        })
        .await;
        assert_eq!(got.expect_err("fails").to_string(), "a pod: pod is gone");
    }
}
