//! Why a call to a member failed, told apart by what it means for the caller.

use std::error::Error as _;
use std::io;

/// A failed call. Every variant but [`EtcdError::Rejected`] leaves open whether a change happened (M6).
#[derive(Debug, Clone, thiserror::Error)]
pub enum EtcdError {
    /// No process listens on the address: etcd is not running there.
    #[error("failed to connect to {endpoint}: connection refused")]
    Refused {
        /// The address.
        endpoint: String,
    },
    /// Another member answers there: that of the address is not running, and its agent leads clients elsewhere.
    #[error("failed to reach the member of {endpoint}: another one answers in its place")]
    Another {
        /// The address.
        endpoint: String,
    },
    /// No answer within the deadline.
    #[error("failed to get an answer from {endpoint} within {deadline_ms} ms")]
    TimedOut {
        /// The address.
        endpoint: String,
        /// The deadline in milliseconds.
        deadline_ms: u128,
    },
    /// etcd answered with an error.
    #[error("failed to {call}: {message}")]
    Rejected {
        /// The call.
        call: &'static str,
        /// gRPC code as a number.
        code: i32,
        /// etcd's own words.
        message: String,
    },
    /// The transport failed otherwise.
    #[error("failed to reach {endpoint}: {message}")]
    Transport {
        /// The address.
        endpoint: String,
        /// The error.
        message: String,
    },
}

impl EtcdError {
    /// True when no process listens: the member's etcd is gone.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// True when the member exists but does not answer.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut { .. })
    }

    /// etcd's own words when it answered, empty otherwise.
    #[must_use]
    pub fn rejection(&self) -> &str {
        match self {
            Self::Rejected { message, .. } => message,
            _ => "",
        }
    }

    pub(super) fn from_status(status: &tonic::Status, call: &'static str, endpoint: &str) -> Self {
        let endpoint = endpoint.to_owned();
        let mut deepest = status.message().to_owned();
        let mut source = status.source();
        let transport = source.is_some();
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<io::Error>()
                && io.kind() == io::ErrorKind::ConnectionRefused
            {
                return Self::Refused { endpoint };
            }
            deepest = error.to_string();
            source = error.source();
        }
        if transport {
            return Self::Transport {
                endpoint,
                message: deepest,
            };
        }
        Self::Rejected {
            call,
            code: status.code() as i32,
            message: deepest,
        }
    }
}
