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
            Self::Deploy(_) | Self::CallApi { .. } => Blame::Either,
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
