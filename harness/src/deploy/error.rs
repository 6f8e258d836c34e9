//! What can go wrong when something is deployed: the failed action, on which object, and what was seen.

use std::fmt::Display;

use crate::cluster::RepositoryError;
use crate::wait::Poll;

/// A failed deployment.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The manifests are not there.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// A manifest is no YAML, or no object.
    #[error("failed to parse {file}: {message}")]
    Parse {
        /// The file.
        file: String,
        /// Cause.
        message: String,
    },
    /// The API server refused.
    #[error("failed to {action} {object}: {message}")]
    Call {
        /// What was asked.
        action: &'static str,
        /// Of which object.
        object: String,
        /// Cause.
        message: String,
    },
    /// It did not come true in time.
    #[error(
        "failed to see {what} in time: {seen}; `harness logs` collects what the operator and the pods say"
    )]
    Await {
        /// What was waited for.
        what: String,
        /// What was seen last.
        seen: String,
    },
    /// A file of the collection cannot be written.
    #[error("failed to write {path:?}: {source}")]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// Cause.
        source: std::io::Error,
    },
}

/// How an API server begins to say that one of the operator's admission policies refused.
const DENIED: &str = "ValidatingAdmissionPolicy 'etcd-operator-";

/// True where an answer of an API server is a refusal by one of the operator's admission policies.
pub(crate) fn is_denied(answer: &str) -> bool {
    answer.contains(DENIED)
}

/// What a refused attempt is to one who waits until an object is accepted. What a policy of the operator refuses is not
/// tried again: that would hide one that refuses now and then.
pub(crate) fn refused<T>(error: &impl Display) -> Poll<T, String> {
    let told = error.to_string();
    match is_denied(&told) {
        true => Poll::Failed(told),
        false => Poll::NotYet(told),
    }
}

impl DeployError {
    pub(crate) fn call(
        action: &'static str,
        object: impl Into<String>,
        message: impl ToString,
    ) -> Self {
        DeployError::Call {
            action,
            object: object.into(),
            message: message.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_of_the_operator_refuses_is_not_tried_until_it_lets_it_through() {
        let told = |answer: &str| refused::<()>(&DeployError::call("apply", "Pod a", answer));
        let policy = "ValidatingAdmissionPolicy 'etcd-operator-held' with binding 'b'";
        let denied = told(&format!("{policy} denied request: it is held"));
        assert!(matches!(denied, Poll::Failed(_)));
        assert!(matches!(told("no service account"), Poll::NotYet(_)));
    }
}
