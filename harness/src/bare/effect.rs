//! Waiting until a fault of bare members shows itself, and until they answer again.

use std::time::Instant;

use crate::bare::cluster::BareCluster;
use crate::faults::{Evidence, FaultError};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Asks until `shown` has evidence; what it says instead is in the error.
///
/// # Errors
/// [`FaultError::NoEffect`] when there is none in time.
pub(crate) async fn until_shown<F: Future<Output = Result<Evidence, String>>>(
    fault: &str,
    what: &str,
    mut shown: impl FnMut() -> F,
) -> Result<Evidence, FaultError> {
    let seen = wait_until(what, timeouts::EFFECT, || {
        let shown = shown();
        async move {
            match shown.await {
                Ok(evidence) => Poll::Ready(evidence),
                Err(status) => Poll::NotYet::<_, FaultError>(status),
            }
        }
    });
    seen.await.map_err(|error| FaultError::unseen(fault, error))
}

/// Waits until these members answer, each asked by the witness, or by itself where there is none; says how long it
/// took.
///
/// # Errors
/// What was seen instead, in words.
pub(crate) async fn until_answered(
    cluster: &BareCluster,
    members: &[String],
    witness: Option<&String>,
) -> Result<String, String> {
    let begun = Instant::now();
    let answered = wait_until("every target answer again", timeouts::HEAL, async || {
        for member in members {
            let from = witness.unwrap_or(member);
            match cluster.look_from(from, std::slice::from_ref(member)).await {
                Ok(status) if status.answers(member) => {}
                Ok(_) => return Poll::NotYet::<(), String>(format!("no answer of {member}")),
                Err(error) => return Poll::NotYet(error),
            }
        }
        Poll::Ready(())
    });
    answered.await.map_err(|error| error.to_string())?;
    Ok(format!("{} ms", begun.elapsed().as_millis()))
}
