//! What all faults of bare members wait for and look at: the effect, an answer after the heal, what is left.

use std::time::Instant;

use crate::bare::cluster::{BareCluster, Seen};
use crate::faults::{Evidence, FaultError, Healing};
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

/// Waits until these members answer, each asked by the witness, or by itself where there is none; how long it took is
/// a fact of the healing.
///
/// # Errors
/// [`FaultError::Heal`] with what was seen instead.
pub(crate) async fn until_answered(
    cluster: &BareCluster,
    fault: &str,
    (members, witness): (&[String], Option<&String>),
    mut healing: Healing,
) -> Result<Healing, FaultError> {
    let begun = Instant::now();
    let answered = wait_until("every target answer again", timeouts::HEAL, async || {
        for member in members {
            let from = witness.unwrap_or(member);
            match cluster.look_from(from, std::slice::from_ref(member)).await {
                Ok(status) if status.answers(member) => {}
                Ok(_) => return silent(cluster, member, format!("no answer of {member}")).await,
                Err(error) => return silent(cluster, member, error).await,
            }
        }
        Poll::Ready(())
    });
    answered.await.map_err(|error| FaultError::Heal {
        fault: fault.to_owned(),
        reason: error.to_string(),
    })?;
    let after = format!("{} ms", begun.elapsed().as_millis());
    healing.evidence.add("answers_after", after);
    Ok(healing)
}

/// That a member does not answer: for ever, where it has ended by itself since the fault was healed.
async fn silent(cluster: &BareCluster, member: &str, status: String) -> Poll<(), String> {
    match cluster.crashed(member).await {
        Some(ended) => Poll::Failed(ended),
        None => Poll::NotYet(status),
    }
}

/// The first of these members whose container is not as it must be again, and how it is.
///
/// # Errors
/// When Docker does not tell.
pub(crate) async fn left(
    cluster: &BareCluster,
    members: &[String],
    whole: impl Fn(&Seen) -> bool,
) -> Result<Option<String>, FaultError> {
    for member in members {
        let seen = cluster.seen(member).await;
        let seen = seen.map_err(|error| FaultError::find(member.as_str(), error))?;
        if !whole(&seen) {
            return Ok(Some(format!("{member}: {seen:?}")));
        }
    }
    Ok(None)
}
