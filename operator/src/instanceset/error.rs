//! What can fail between the API server, the agents and an InstanceSet.

use super::observed::{NO_CREDENTIALS, is_denied};
use crate::client::message;
use etcd_operator_api::opaque::NotOfType;

/// A failed action.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The spec cannot be read; only a new one helps.
    #[error(transparent)]
    Spec(#[from] NotOfType),
    /// The API server did not give what was asked for.
    #[error("failed to read {what}: {}", message(.source))]
    Read {
        /// What.
        what: &'static str,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server did not take a write.
    #[error("failed to {what}: {}", message(.source))]
    Write {
        /// What.
        what: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// A disruption budget does not let the pod of a voter go now.
    #[error("pod {pod} is not evicted: {why}")]
    Budget {
        /// The pod.
        pod: String,
        /// What the API server says.
        why: String,
    },
    /// The agents' token is not there.
    #[error(transparent)]
    Token(#[from] crate::token::TokenError),
    /// An agent did not carry out a change; it may have happened (M6).
    #[error("failed to {what}: {source}{}", hint(&source.to_string()))]
    Act {
        /// What.
        what: String,
        /// Why.
        source: crate::agent::Error,
    },
    /// Another replica may hold the lease by now.
    #[error(
        "a step was not taken: the lease was not renewed in time, and another replica may hold it"
    )]
    LeaseEnded,
    /// An object that is not ours has the name of one of ours.
    #[error(transparent)]
    Foreign(#[from] crate::controller::ApplyError),
    /// The API server refuses a step, and something else is looked at meanwhile.
    #[error("{source}")]
    Refused {
        /// The refusal.
        source: Box<Error>,
        /// When.
        again: std::time::Duration,
    },
    /// The reconcile took too long.
    #[error("failed to finish in {0} s")]
    Late(u64),
}

/// What to do about an answer of etcd that its words do not tell.
fn hint(answer: &str) -> String {
    if is_denied(answer) {
        format!(" ({NO_CREDENTIALS})")
    } else {
        String::new()
    }
}

impl Error {
    pub(super) fn read(what: &'static str, source: kube::Error) -> Self {
        Error::Read {
            what,
            source: Box::new(source),
        }
    }

    pub(super) fn write(what: impl Into<String>, source: kube::Error) -> Self {
        Error::Write {
            what: what.into(),
            source: Box::new(source),
        }
    }

    /// True when etcd is not ready for a change, as for some seconds after one of its members was unavailable.
    pub(crate) fn is_not_now(&self) -> bool {
        matches!(self, Error::Act { source, .. } if source.is_not_now())
    }

    /// True when the API server has said no to just this write, because of a quota, a policy or a budget: it is certain
    /// that nothing has happened. What says nothing of the object (a server that is busy, a webhook that does not
    /// answer) or that the look was late is no refusal.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Error::Budget { .. } => true,
            Error::Write { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => matches!(status.code, 400 | 403 | 422),
                _ => false,
            },
            _ => false,
        }
    }

    /// True when another client wrote in between: looking again at once is right. An object of that name that is there
    /// already has the same code and stays there.
    pub(crate) fn is_conflict(&self) -> bool {
        match self {
            Error::Write { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(status) if status.is_conflict())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_is_there_already_is_no_conflict() {
        let error = |reason: &str| {
            let status = serde_json::json!({ "status": "Failure", "reason": reason, "code": 409, "message": "" });
            let status = serde_json::from_value(status).expect("a status");
            Error::write("create claim data-a-0", kube::Error::Api(Box::new(status)))
        };
        assert!(error("Conflict").is_conflict());
        assert!(!error("AlreadyExists").is_conflict());
    }

    #[test]
    fn what_says_nothing_of_the_object_is_no_refusal() {
        let refused = |code: u16| {
            let status = serde_json::json!({ "status": "Failure", "reason": "", "code": code, "message": "" });
            let status = serde_json::from_value(status).expect("a status");
            Error::write("create pod a-0", kube::Error::Api(Box::new(status))).is_refusal()
        };
        for code in [400, 403, 422] {
            assert!(refused(code), "{code}");
        }
        for code in [401, 404, 409, 429, 500, 503, 504] {
            assert!(!refused(code), "{code}");
        }
        let (pod, why) = ("a-0".to_owned(), String::new());
        assert!(Error::Budget { pod, why }.is_refusal());
        assert!(!Error::LeaseEnded.is_refusal());
    }

    #[test]
    fn authentication_that_is_on_is_named_with_the_way_out() {
        let address = "10.0.0.1:5001".parse().expect("an address");
        let told = |reason: &str| {
            let source = crate::agent::Error::Exchange {
                address,
                reason: reason.to_owned(),
            };
            let what = "carry out memberJoin through a-0".to_owned();
            Error::Act { what, source }.to_string()
        };
        for answer in ["user name is empty", "user name not found"] {
            let denied = told(&format!("etcdserver: {answer}"));
            assert!(denied.contains("etcdctl auth disable"), "{denied}");
            assert!(denied.contains("grant-role etcd-member root"), "{denied}");
        }
        assert!(!told("connection refused").contains("auth"));
    }
}
