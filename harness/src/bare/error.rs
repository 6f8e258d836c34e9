//! What can go wrong with bare members: the failed action, where, and what to do next.

use crate::cluster::ClusterError;
use crate::report::RunDirError;
use crate::scenario::blame::{Blame, Blamed};

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
    /// Images are not on this machine.
    #[error("failed to find in Docker: {images}; `{remedy}` puts there what is missing")]
    FindImages {
        /// The images.
        images: String,
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
    /// A member was started with a flag that its etcd does not take.
    #[error(
        "failed to start etcd: {0}; behind the + of --version stand flags that this etcd switches on"
    )]
    Flag(String),
}

impl Blamed for BareError {
    fn blame(&self) -> Blame {
        match self {
            Self::Wait(_) => Blame::Product,
            Self::Reach(_)
            | Self::Save(_)
            | Self::CallDocker { .. }
            | Self::FindImages { .. }
            | Self::Command { .. }
            | Self::Flag(_) => Blame::Harness,
        }
    }
}

/// True for what etcd says that was started with a flag that it does not take.
pub(super) fn is_of_a_flag(said: &str) -> bool {
    let told = ["flag provided but not defined: -", " for flag -"];
    told.iter().any(|words| said.contains(words))
}

impl BareError {
    /// What members did not come to, and why.
    pub(crate) fn wait(told: String) -> Self {
        match is_of_a_flag(&told) {
            true => Self::Flag(told),
            false => Self::Wait(told),
        }
    }

    /// A Docker call that failed.
    pub(crate) fn docker(action: impl Into<String>, source: bollard::errors::Error) -> Self {
        Self::CallDocker {
            action: action.into(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_that_do_not_answer_are_the_products_failure() {
        let dead = BareError::Wait("every member answer".to_owned());
        assert_eq!(dead.blame(), Blame::Product);
        let broken = BareError::Command {
            command: "workload stop".to_owned(),
            container: "client".to_owned(),
            message: "no end after 30 s".to_owned(),
        };
        assert_eq!(broken.blame(), Blame::Harness);
        let gone = bollard::errors::Error::RequestTimeoutError;
        let refused = BareError::docker("start container client", gone);
        assert_eq!(refused.blame(), Blame::Harness);
        let misspelt = "every member answer: m-0 ended with 2: flag provided but not defined: -x";
        let error = BareError::wait(misspelt.to_owned());
        assert_eq!(error.blame(), Blame::Harness);
        assert!(error.to_string().contains("--version"), "{error}");
        let crashed = BareError::wait("every member answer: m-0 ended with 2: panic: x".to_owned());
        assert_eq!(crashed.blame(), Blame::Product);
    }
}
