//! What can go wrong with bare members: the failed action, where, and what to do next.

use crate::cluster::ClusterError;
use crate::report::RunDirError;

/// A failed step of a run with bare members.
#[derive(Debug, thiserror::Error)]
pub enum BareError {
    /// Docker is not to be had.
    #[error(transparent)]
    Reach(#[from] ClusterError),
    /// The run directory cannot be written.
    #[error(transparent)]
    Save(#[from] RunDirError),
    /// Docker refused.
    #[error("failed to {action}: {source}")]
    CallDocker {
        /// What was asked.
        action: String,
        /// Cause.
        source: bollard::errors::Error,
    },
    /// An image is not on this machine.
    #[error("failed to find image {image} in Docker; `{remedy}` puts it there")]
    FindImage {
        /// The image.
        image: String,
        /// The command that does.
        remedy: String,
    },
    /// A command in a container failed.
    #[error("failed to run `{command}` in container {container}: {message}")]
    Command {
        /// The command.
        command: String,
        /// The container.
        container: String,
        /// What it said.
        message: String,
    },
    /// Something did not come about in time.
    #[error("failed to see {0}")]
    Wait(String),
}

impl BareError {
    /// A Docker call that failed.
    pub(crate) fn docker(action: impl Into<String>, source: bollard::errors::Error) -> Self {
        Self::CallDocker {
            action: action.into(),
            source,
        }
    }
}
