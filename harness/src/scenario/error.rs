//! Why a run could not be made at all. What goes wrong in a run that was made is a verdict, not an error.

use crate::cluster::ClusterError;
use crate::deploy::DeployError;
use crate::report::RunDirError;
use crate::scenario::blame::{Blame, Blamed};

/// A failed step of a run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster is not to be had.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A step of putting something into the cluster failed.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The run directory cannot be written.
    #[error(transparent)]
    Save(#[from] RunDirError),
    /// The API server refused.
    #[error("failed to {action}: {message}")]
    CallApi {
        /// What was asked.
        action: String,
        /// Cause.
        message: String,
    },
    /// Something did not come about in time.
    #[error("failed to see {0}")]
    Wait(String),
    /// Something of the harness's own did not come about in time.
    #[error("the harness failed to see {0}")]
    Unready(String),
    /// It was interrupted.
    #[error("interrupted")]
    Interrupted,
    /// It was set up ahead of its turn, which did not come.
    #[error("given up before its turn; its namespace is deleted")]
    GivenUp,
    /// A command of the recording client failed.
    #[error("failed to run `workload {command}` where the client runs: {message}")]
    Client {
        /// Its arguments.
        command: String,
        /// What it said.
        message: String,
    },
    /// The client's history cannot be read.
    #[error("failed to read the client's history: {0}")]
    History(#[from] etcd_history::history::ReadError),
}

impl Blamed for RunError {
    fn blame(&self) -> Blame {
        match self {
            Self::Wait(_) => Blame::Product,
            Self::Deploy(error) => Blame::of_answer(&error.to_string()),
            Self::CallApi { message, .. } => Blame::of_answer(message),
            Self::Cluster(_)
            | Self::Save(_)
            | Self::Unready(_)
            | Self::Interrupted
            | Self::GivenUp
            | Self::Client { .. }
            | Self::History(_) => Blame::Harness,
        }
    }
}

impl RunError {
    /// An API call that failed.
    pub(super) fn api(action: impl Into<String>, error: &impl ToString) -> Self {
        Self::CallApi {
            action: action.into(),
            message: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_object_that_a_policy_of_the_operator_refuses_is_the_products_failure() {
        let denied = "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'etcd-operator-roles' with binding \
                      'etcd-operator-roles' denied request: the operator labels this pod";
        let others = denied.replace("etcd-operator-roles", "of-this-site");
        for (answer, blame) in [
            (denied, Blame::Product),
            (others.as_str(), Blame::Either),
            ("Timeout: request did not complete", Blame::Either),
        ] {
            let called = RunError::api("create the Cluster", &answer);
            assert_eq!(called.blame(), blame, "{answer}");
            let deployed = RunError::from(DeployError::call("apply", "Pod a", answer));
            assert_eq!(deployed.blame(), blame, "{answer}");
        }
    }
}
