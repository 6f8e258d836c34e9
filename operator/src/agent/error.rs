//! What can go wrong between the operator and an agent.

use std::net::SocketAddr;

/// Why an agent returned nothing usable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No connection.
    #[error("failed to connect to the agent at {address}: {reason}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The connection broke or the time was up. An action may have happened (M6).
    #[error("failed to hear from the agent at {address}: {reason}")]
    Exchange {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The agent answered with an error of its own.
    #[error("failed to get an answer of the agent at {address} ({code}): {message}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// The agent's word for it.
        code: String,
        /// The agent's explanation.
        message: String,
    },
    /// The answer is not what the protocol says.
    #[error("failed to read the answer of the agent at {address}: {reason}")]
    Answer {
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// True when the agent or its etcd said "not now" and has done nothing: it says otherwise by itself before long.
    #[must_use]
    pub(crate) fn is_not_now(&self) -> bool {
        matches!(self, Error::Refused { code, .. } if matches!(code.as_str(), "preconditionFailed" | "busy"))
    }

    /// True when the requested action has begun and is in progress.
    #[must_use]
    pub(crate) fn is_in_progress(&self) -> bool {
        matches!(self, Error::Refused { code, .. } if code == "inProgress")
    }
}
