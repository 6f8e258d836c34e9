//! One port, two languages. A TLS handshake begins with a byte with which no HTTP request does, so the agent's port
//! speaks TLS to who begins one, and plain HTTP to the rest: the kubelet has no certificate, and getrole in plain text
//! is KubeBlocks' contract. Who wants more than that where TLS is on shows a certificate of the component's CA.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_limits::Door;
use kbagent_protocol::{
    Authorization, ErrorAnswer, PATH_ACTION, PATH_DRAINED, PATH_GETROLE, PATH_HANDOFF,
    PATH_HEALTHZ, PATH_STARTED,
};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use webpki::EndEntityCert;

use super::sparing::Sparing;
use crate::config::Config;
use crate::tls::{Stream, Tls, begins_handshake, is_own};

/// What everyone may ask in plain text.
const OPEN: [&str; 4] = [PATH_GETROLE, PATH_HEALTHZ, PATH_STARTED, PATH_DRAINED];
/// What only the operator asks from outside of the pod.
const OPERATORS: [&str; 2] = [PATH_ACTION, PATH_HANDOFF];

/// How a caller is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// From within the pod: its own containers, and `kubectl port-forward`.
    Own,
    /// In plain text.
    Plain,
    /// With a certificate of the component's CA.
    Tls {
        /// True when it is the operator's, or cannot be told from it.
        operator: bool,
    },
}

/// Why a caller is refused before it is asked for authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    #[error(
        "this path is not open in plain text, because the cluster has TLS: use TLS on the same port, with a certificate of the \
         component's CA"
    )]
    PlainText,
    #[error("this path is open to the operator's certificate only")]
    NotTheOperators,
}

/// Lets connections in.
#[derive(Clone)]
pub(super) struct Entrance(Arc<Rules>);

struct Rules {
    tls: Tls,
    operator: Option<ServerName<'static>>,
    strict: bool,
    sparing: Sparing,
}

impl Entrance {
    /// As the environment says. Pods of before are called in plain text by operators of before: they take both.
    pub(super) fn new(config: &Config) -> io::Result<Self> {
        let name = config.tls_operator_name.clone();
        let operator = name.map(ServerName::try_from).transpose();
        Ok(Self(Arc::new(Rules {
            tls: config.tls.clone(),
            operator: operator.map_err(io::Error::other)?,
            strict: config.tls.is_on() && config.authorization == Authorization::Signed,
            sparing: Sparing::default(),
        })))
    }
}

impl Rules {
    /// Members have a certificate of the same CA, and are no operators.
    fn is_operator(&self, shown: &CertificateDer<'_>) -> bool {
        let Some(name) = &self.operator else {
            return true;
        };
        EndEntityCert::try_from(shown)
            .is_ok_and(|shown| shown.verify_is_valid_for_subject_name(name).is_ok())
    }
}

impl Door for Entrance {
    type Stream = Box<dyn Stream>;
    type Link = Link;

    async fn enter(&self, stream: TcpStream) -> io::Result<(Box<dyn Stream>, Link)> {
        let rules = &self.0;
        let caller = stream.peer_addr()?.ip();
        if rules.tls.is_on() && begins_handshake(&stream).await? {
            let accepted = rules.tls.accept(stream).await;
            let (stream, shown) = accepted.inspect_err(|error| {
                rules.sparing.tell("a TLS handshake", error);
            })?;
            let operator = rules.is_operator(&shown);
            return Ok((stream, Link::Tls { operator }));
        }
        let link = if is_own(caller) {
            Link::Own
        } else {
            Link::Plain
        };
        Ok((Box::new(stream), link))
    }
}

/// Whether a path is open by this link, where TLS is on.
fn open(path: &str, link: Link) -> Result<(), Closed> {
    match link {
        Link::Own | Link::Tls { operator: true } => Ok(()),
        Link::Tls { operator: false } if OPERATORS.contains(&path) => Err(Closed::NotTheOperators),
        Link::Tls { operator: false } => Ok(()),
        Link::Plain if OPEN.contains(&path) => Ok(()),
        Link::Plain => Err(Closed::PlainText),
    }
}

/// Refuses what is not open to the caller.
pub(super) async fn guard(
    State(entrance): State<Entrance>,
    request: Request,
    next: Next,
) -> Response {
    let rules = &entrance.0;
    let link = request.extensions().get::<Link>().copied();
    let path = request.uri().path();
    if rules.strict
        && let Err(closed) = open(path, link.unwrap_or(Link::Plain))
    {
        rules.sparing.tell(path, &closed);
        let answer = ErrorAnswer {
            error_code: "ERR_CLOSED".to_owned(),
            message: closed.to_string(),
        };
        return (StatusCode::FORBIDDEN, Json(answer)).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::{
        PATH_AGENT, PATH_BEATS, PATH_CLOCK, PATH_ELECTION, PATH_MEMBER, PATH_MEMBERS, PATH_WATCH,
    };

    use super::*;

    #[test]
    fn plain_text_has_the_role_and_no_more_and_changes_are_the_operators() {
        let (member, operator) = (Link::Tls { operator: false }, Link::Tls { operator: true });
        let everyone = OPEN;
        let members = [
            PATH_AGENT,
            PATH_BEATS,
            PATH_CLOCK,
            PATH_ELECTION,
            PATH_MEMBER,
            PATH_MEMBERS,
            PATH_WATCH,
        ];
        let unknown = [
            "/",
            "/v1.0/",
            "/v1.0/getrole/",
            "//v1.0/getrole",
            "/V1.0/getrole",
        ];
        for path in everyone
            .iter()
            .chain(&members)
            .chain(&OPERATORS)
            .chain(&unknown)
        {
            let plain = everyone.contains(path);
            assert_eq!(
                open(path, Link::Plain).is_ok(),
                plain,
                "{path} in plain text"
            );
            let changes = OPERATORS.contains(path);
            assert_eq!(
                open(path, member).is_ok(),
                !changes,
                "{path} with a member's"
            );
            assert_eq!(open(path, operator), Ok(()), "{path}");
            assert_eq!(open(path, Link::Own), Ok(()), "{path}");
        }
    }

    #[test]
    fn only_the_pods_own_address_is_its_own() {
        for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_own(own.parse().expect("an address")), "{own}");
        }
        for other in ["127.0.0.2", "10.0.0.1", "::", "::2", "fe80::1"] {
            assert!(!is_own(other.parse().expect("an address")), "{other}");
        }
    }
}
