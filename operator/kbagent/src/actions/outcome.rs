//! How actions fail, in KubeBlocks' words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kbagent_protocol::ActionAnswer;
use serde::Serialize;

use crate::etcd::EtcdError;

/// An action that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No such action, or not one of etcd's.
    #[error("{0}")]
    NotDefined(String),
    /// The request is incomplete or contradicts the cluster.
    #[error("{0}")]
    BadRequest(String),
    /// It would be unsafe or etcd is not ready for it: nothing was done.
    #[error("{0}")]
    Precondition(String),
    /// Another action is under way.
    #[error("{0}")]
    Busy(String),
    /// It was started and is in progress.
    #[error("{0}")]
    InProgress(String),
    /// It was tried and did not succeed, as far as can be seen.
    #[error("{0}")]
    Failed(String),
    /// The deadline passed; it may have happened.
    #[error("{0}")]
    TimedOut(String),
}

impl Failure {
    fn word(&self) -> &'static str {
        match self {
            Self::NotDefined(_) => "notDefined",
            Self::BadRequest(_) => "badRequest",
            Self::Precondition(_) => "preconditionFailed",
            Self::Busy(_) => "busy",
            Self::InProgress(_) => "inProgress",
            Self::Failed(_) => "failed",
            Self::TimedOut(_) => "timedOut",
        }
    }
}

/// etcd's errors for "not now": its own check of a membership change fails until all members are healthy, and for the
/// first seconds after a start.
const NOT_NOW: [&str; 3] = [
    "unhealthy cluster",
    "not enough started members",
    "too many learner",
];

impl From<EtcdError> for Failure {
    fn from(error: EtcdError) -> Self {
        if NOT_NOW
            .iter()
            .any(|words| error.rejection().contains(words))
        {
            Self::Precondition(error.to_string())
        } else if error.is_timeout() {
            Self::TimedOut(error.to_string())
        } else {
            Self::Failed(error.to_string())
        }
    }
}

/// What an action brought.
pub(super) struct Success {
    message: String,
    output: String,
}

impl Success {
    pub(super) fn text(output: &str) -> Self {
        Self {
            message: String::new(),
            output: output.to_owned(),
        }
    }

    pub(super) fn json(message: String, output: &impl Serialize) -> Result<Self, Failure> {
        let output = serde_json::to_string(output)
            .map_err(|error| Failure::Failed(format!("failed to write the output: {error}")))?;
        Ok(Self { message, output })
    }
}

pub(super) fn answer(result: Result<Success, Failure>) -> ActionAnswer {
    match result {
        Ok(Success { message, output }) => ActionAnswer {
            error: None,
            message: (!message.is_empty()).then_some(message),
            output: Some(STANDARD.encode(output)),
        },
        Err(failure) => ActionAnswer {
            error: Some(failure.word().to_owned()),
            message: Some(failure.to_string()),
            output: None,
        },
    }
}
