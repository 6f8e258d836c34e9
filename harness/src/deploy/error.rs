//! What can go wrong when something is deployed: the failed action, on which object, and what was seen.

use crate::cluster::RepositoryError;

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
