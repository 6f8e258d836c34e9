//! Waiting until the effect of a fault is seen. What cannot be looked at is asked again: a busy Docker refuses a
//! command, or takes most of the time that one gets.

use std::time::Duration;

use crate::faults::FaultError;
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// What a look has seen: the effect, or in words what is there instead.
pub(crate) type Look<T> = Result<Result<T, String>, FaultError>;

/// Looks until the effect of a fault that acts at once is seen.
///
/// # Errors
/// [`FaultError::NoEffect`] with what was seen last, or why it could not be looked at.
pub(crate) async fn until_seen<T, F: Future<Output = Look<T>>>(
    fault: &str,
    what: impl Into<String>,
    look: impl FnMut() -> F,
) -> Result<T, FaultError> {
    let pace = (timeouts::POLL, timeouts::EFFECT);
    until_seen_at(pace, (fault, what), look).await
}

/// The same, at a pace: how often, and how long.
///
/// # Errors
/// As [`until_seen`].
pub(crate) async fn until_seen_at<T, F: Future<Output = Look<T>>>(
    (every, limit): (Duration, Duration),
    (fault, what): (&str, impl Into<String>),
    mut look: impl FnMut() -> F,
) -> Result<T, FaultError> {
    let seen = wait_every(every, what, limit, || {
        let looked = look();
        async move {
            match looked.await {
                Ok(Ok(seen)) => Poll::Ready(seen),
                Ok(Err(instead)) => Poll::NotYet::<_, FaultError>(instead),
                Err(error) => Poll::NotYet(error.to_string()),
            }
        }
    });
    seen.await.map_err(|error| FaultError::unseen(fault, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> FaultError {
        FaultError::docker("run a command in node \"worker\"", "the daemon is busy")
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_docker_refuses_is_made_again() {
        let looks = std::cell::Cell::new(0);
        let pace = (Duration::from_millis(1), Duration::from_secs(5));
        let seen = until_seen_at(pace, ("a freeze", "the processes stop"), async || {
            looks.set(looks.get() + 1);
            match looks.get() {
                1 => Err(refused()),
                2 => Ok(Err("1 of 2 processes in state T".to_owned())),
                looks => Ok(Ok(looks)),
            }
        });
        assert_eq!(seen.await.expect("seen at last"), 3);
    }

    #[tokio::test]
    async fn a_docker_that_refuses_to_the_end_is_named() {
        let pace = (Duration::from_millis(1), Duration::from_millis(5));
        let look = async || Err::<Result<(), String>, _>(refused());
        let unseen = until_seen_at(pace, ("a freeze", "the processes stop"), look).await;
        let text = unseen.expect_err("never seen").to_string();
        assert!(
            text.contains("a freeze") && text.contains("the daemon is busy"),
            "{text}"
        );
    }
}
