//! The table of errors: what certainly did not happen, and what may have.
//!
//! Pure. The rule is one-sided: an error is definite only where etcd's source shows that the request had no effect, and
//! everything else - a new message, a new code, a broken connection - is unknown. A wrong "definite" would hide a lost
//! write; a wrong "unknown" only costs the checker a little power.

use etcd_history::record::Outcome;
use tonic::Code;

/// What an error says about the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It had no effect.
    Definite(&'static str),
    /// It may have had its effect, at any time from the call on.
    Unknown(&'static str),
}

impl Meaning {
    /// As an outcome of the history.
    pub(crate) fn outcome(self, message: impl Into<String>) -> Outcome {
        let message = message.into();
        match self {
            Self::Definite(class) => Outcome::Failed {
                class: class.to_owned(),
                message,
            },
            Self::Unknown(class) => Outcome::Unknown {
                class: class.to_owned(),
                message,
            },
        }
    }
}

/// Failures before anything was sent: the connection was not there, so the request never left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BeforeSend {
    /// The name has no address.
    Name,
    /// The other side refused, or reset, the new connection.
    Refused,
    /// No answer to the new connection within the deadline.
    Timeout,
    /// The new connection could not be used (HTTP/2 handshake).
    Handshake,
    /// The held connection was already closed when the request came to it.
    Closed,
    /// etcd let the user not log in.
    LogIn,
    /// Any other error of the new connection (no route, ...).
    Other,
}

impl BeforeSend {
    /// Always definite.
    pub(crate) fn meaning(self) -> Meaning {
        Meaning::Definite(match self {
            Self::Name => "name_not_resolved_before_send",
            Self::Refused => "connection_refused_before_send",
            Self::Timeout => "connect_timeout_before_send",
            Self::Handshake => "handshake_failed_before_send",
            Self::Closed => "connection_closed_before_send",
            Self::LogIn => "login_failed_before_send",
            Self::Other => "connect_failed_before_send",
        })
    }

    /// Sorts an error of `connect(2)`.
    pub(crate) fn of_io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::ConnectionReset => {
                Self::Refused
            }
            std::io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Other,
        }
    }
}

/// Refusals of who asked, before or instead of anything else: they say nothing of the same request under a new token.
pub(crate) const LOG_IN_AGAIN: [&str; 2] = ["unauthenticated", "auth_store_changed"];

/// etcd's own messages (api/v3rpc/rpctypes/error.go and go.etcd.io/raft), by their exact text.
///
/// Three that look definite are not. "database space exceeded" is also returned after a put was applied
/// (quotaApplierV3). "leader changed" and all timeouts come after the proposal may have left. "server stopped" is
/// returned by a member that proposed and then went away.
const MESSAGES: &[(&str, Meaning)] = &[
    (
        "etcdserver: key is not provided",
        Meaning::Definite("invalid_argument"),
    ),
    (
        "etcdserver: key not found",
        Meaning::Definite("key_not_found"),
    ),
    (
        "etcdserver: value is provided",
        Meaning::Definite("invalid_argument"),
    ),
    (
        "etcdserver: lease is provided",
        Meaning::Definite("invalid_argument"),
    ),
    (
        "etcdserver: too many operations in txn request",
        Meaning::Definite("invalid_argument"),
    ),
    (
        "etcdserver: duplicate key given in txn request",
        Meaning::Definite("invalid_argument"),
    ),
    (
        "etcdserver: invalid sort option",
        Meaning::Definite("invalid_argument"),
    ),
    (
        "etcdserver: request is too large",
        Meaning::Definite("request_too_large"),
    ),
    (
        "etcdserver: too many requests",
        Meaning::Definite("too_many_requests"),
    ),
    (
        "etcdserver: mvcc: required revision has been compacted",
        Meaning::Definite("compacted"),
    ),
    (
        "etcdserver: mvcc: required revision is a future revision",
        Meaning::Definite("future_revision"),
    ),
    (
        "etcdserver: requested lease not found",
        Meaning::Definite("lease_not_found"),
    ),
    (
        "etcdserver: lease already exists",
        Meaning::Definite("lease_exists"),
    ),
    (
        "etcdserver: too large lease TTL",
        Meaning::Definite("invalid_argument"),
    ),
    (
        "etcdserver: permission denied",
        Meaning::Definite("permission_denied"),
    ),
    (
        "etcdserver: invalid auth token",
        Meaning::Definite("unauthenticated"),
    ),
    // When it is applied, and then nothing of it is.
    (
        "etcdserver: revision of auth store is old",
        Meaning::Definite("auth_store_changed"),
    ),
    (
        "etcdserver: user name is empty",
        Meaning::Definite("no_user"),
    ),
    ("etcdserver: no leader", Meaning::Definite("no_leader")),
    ("etcdserver: not leader", Meaning::Definite("not_leader")),
    ("etcdserver: not capable", Meaning::Definite("not_capable")),
    (
        "etcdserver: rpc not supported for learner",
        Meaning::Definite("learner"),
    ),
    // The member's own raft dropped it (leadership is being transferred): it was never appended anywhere.
    (
        "raft proposal dropped",
        Meaning::Definite("proposal_dropped"),
    ),
    (
        "etcdserver: mvcc: database space exceeded",
        Meaning::Unknown("no_space"),
    ),
    (
        "etcdserver: leader changed",
        Meaning::Unknown("leader_changed"),
    ),
    (
        "etcdserver: server stopped",
        Meaning::Unknown("server_stopped"),
    ),
    (
        "etcdserver: request timed out",
        Meaning::Unknown("etcd_timeout"),
    ),
    (
        "etcdserver: request timed out, possibly due to previous leader failure",
        Meaning::Unknown("etcd_timeout_leader_failed"),
    ),
    (
        "etcdserver: request timed out, possibly due to connection lost",
        Meaning::Unknown("etcd_timeout_connection_lost"),
    ),
    (
        "etcdserver: request timed out, waiting for the applied index took too long",
        Meaning::Unknown("etcd_timeout_apply"),
    ),
    (
        "etcdserver: request canceled",
        Meaning::Unknown("cancelled"),
    ),
    (
        "etcdserver: context deadline exceeded",
        Meaning::Unknown("deadline"),
    ),
    ("etcdserver: corrupt cluster", Meaning::Unknown("corrupt")),
];

/// Sorts an answer of etcd, or what the transport made of its absence.
pub(crate) fn classify(code: Code, message: &str) -> Meaning {
    if let Some((_, meaning)) = MESSAGES.iter().find(|(text, _)| *text == message) {
        return *meaning;
    }
    match code {
        // gRPC says so before the handler runs: there is no such method on that server.
        Code::Unimplemented => Meaning::Definite("not_capable"),
        Code::DeadlineExceeded => Meaning::Unknown("deadline"),
        Code::Unavailable => Meaning::Unknown("unavailable"),
        Code::Cancelled => Meaning::Unknown("cancelled"),
        Code::Internal | Code::Unknown if transport(message) => Meaning::Unknown("connection_lost"),
        _ => Meaning::Unknown("unclassified"),
    }
}

fn transport(message: &str) -> bool {
    [
        "transport error",
        "h2 protocol error",
        "error reading a body",
        "connection",
        "broken pipe",
    ]
    .iter()
    .any(|word| message.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_etcd_are_definite() {
        for (code, message, class) in [
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                "compacted",
            ),
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                "lease_not_found",
            ),
            (Code::Unavailable, "etcdserver: no leader", "no_leader"),
            (Code::Unknown, "raft proposal dropped", "proposal_dropped"),
            (
                Code::ResourceExhausted,
                "etcdserver: too many requests",
                "too_many_requests",
            ),
        ] {
            assert_eq!(
                classify(code, message),
                Meaning::Definite(class),
                "{message}"
            );
        }
    }

    #[test]
    fn what_may_have_left_is_unknown() {
        for (code, message, class) in [
            (
                Code::Unavailable,
                "etcdserver: request timed out",
                "etcd_timeout",
            ),
            (
                Code::Unavailable,
                "etcdserver: leader changed",
                "leader_changed",
            ),
            (
                Code::Unavailable,
                "etcdserver: server stopped",
                "server_stopped",
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                "no_space",
            ),
            (Code::DeadlineExceeded, "", "deadline"),
            (Code::Unavailable, "tcp connect error", "unavailable"),
            (Code::Unknown, "transport error", "connection_lost"),
            (
                Code::Internal,
                "h2 protocol error: http2 error",
                "connection_lost",
            ),
        ] {
            assert_eq!(
                classify(code, message),
                Meaning::Unknown(class),
                "{message}"
            );
        }
    }

    #[test]
    fn a_message_must_match_to_the_letter() {
        let near = "etcdserver: no leader (maybe)";
        assert_eq!(
            classify(Code::Unavailable, near),
            Meaning::Unknown("unavailable")
        );
    }

    #[test]
    fn whatever_is_new_is_unknown() {
        for code in 0..=16 {
            let code = Code::from_i32(code);
            if code == Code::Unimplemented {
                continue;
            }
            let meaning = classify(code, "etcdserver: something of a later version");
            assert!(
                matches!(meaning, Meaning::Unknown(_)),
                "{code:?} is {meaning:?}"
            );
        }
    }

    #[test]
    fn nothing_sent_is_always_definite() {
        for (kind, class) in [
            (
                std::io::ErrorKind::ConnectionRefused,
                "connection_refused_before_send",
            ),
            (std::io::ErrorKind::TimedOut, "connect_timeout_before_send"),
            (
                std::io::ErrorKind::HostUnreachable,
                "connect_failed_before_send",
            ),
        ] {
            assert_eq!(
                BeforeSend::of_io(&kind.into()).meaning(),
                Meaning::Definite(class)
            );
        }
    }

    #[test]
    fn a_message_stands_once_in_the_table() {
        for (index, (message, _)) in MESSAGES.iter().enumerate() {
            let last = MESSAGES.iter().rposition(|(text, _)| text == message);
            assert_eq!(last, Some(index), "{message}");
        }
    }
}
