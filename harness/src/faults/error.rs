//! What can go wrong with a fault: the failed action, where, and what it means for the run.

use crate::cluster::{ClusterError, ShellError};
use crate::wait::WaitError;

/// No member fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to select {selector}: {reason}")]
pub struct SelectError {
    /// Which members were meant.
    pub selector: String,
    /// Why no member fits.
    pub reason: String,
}

/// A failed action of a fault.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// This cluster or this kernel cannot do it.
    #[error("failed to inject {fault}: not possible here: {reason}")]
    Unavailable {
        /// The fault.
        fault: String,
        /// Why.
        reason: String,
    },
    /// No member matches.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// It was injected and nothing happened: the run proves nothing.
    #[error("failed to see an effect of {fault} in {waited_s:.1} s: {seen}")]
    NoEffect {
        /// The fault.
        fault: String,
        /// Seconds waited.
        waited_s: f64,
        /// What was seen instead.
        seen: String,
    },
    /// The cluster refused or does not answer.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A command in a node failed.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// The API server refused.
    #[error("failed to {action}: {message}")]
    CallApi {
        /// What was asked.
        action: String,
        /// Cause.
        message: String,
    },
    /// Docker refused.
    #[error("failed to {action}: {message}")]
    CallDocker {
        /// What was asked.
        action: String,
        /// Cause.
        message: String,
    },
    /// Something that the fault acts on is not there.
    #[error("failed to find {what}: {reason}")]
    Find {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// It failed after it had made revisions itself.
    #[error("{failed}")]
    Wrote {
        /// The revisions.
        writes: Vec<i64>,
        /// What failed.
        failed: Box<FaultError>,
    },
    /// It could not be taken back.
    #[error(
        "failed to heal {fault}: {reason}; `harness doctor --residue` shows what is left, `--fix` removes it"
    )]
    Heal {
        /// The fault.
        fault: String,
        /// Why.
        reason: String,
    },
}

impl FaultError {
    /// An effect that was waited for and not seen, or the failure to look for it.
    pub(crate) fn unseen(fault: &str, error: WaitError<FaultError>) -> Self {
        match error {
            WaitError::Failed { source, .. } => source,
            WaitError::TimedOut {
                what,
                elapsed,
                last,
                ..
            } => FaultError::NoEffect {
                fault: fault.to_owned(),
                waited_s: elapsed.as_secs_f64(),
                seen: format!("{what}: {last}"),
            },
        }
    }

    /// The same of a fault that had made these revisions itself: no client did, and the history has them.
    pub(crate) fn with_writes(self, writes: Vec<i64>) -> Self {
        match self {
            error if writes.is_empty() => error,
            FaultError::Wrote { failed, .. } => FaultError::Wrote { writes, failed },
            error => FaultError::Wrote {
                writes,
                failed: Box::new(error),
            },
        }
    }

    /// Revisions that the fault had made itself before it failed.
    pub(crate) fn writes(&self) -> &[i64] {
        match self {
            FaultError::Wrote { writes, .. } => writes,
            _ => &[],
        }
    }

    /// An API call that failed.
    pub(crate) fn api(action: impl Into<String>, message: impl ToString) -> Self {
        FaultError::CallApi {
            action: action.into(),
            message: message.to_string(),
        }
    }

    /// A Docker call that failed.
    pub(crate) fn docker(action: impl Into<String>, message: impl ToString) -> Self {
        FaultError::CallDocker {
            action: action.into(),
            message: message.to_string(),
        }
    }

    /// Something that is not there.
    pub(crate) fn find(what: impl Into<String>, reason: impl ToString) -> Self {
        FaultError::Find {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}
