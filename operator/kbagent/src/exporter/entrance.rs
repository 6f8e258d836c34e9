//! One port, two languages, as the agent's: with TLS figures are for who begins a handshake, and plain text is left to
//! the kubelet's probe. No certificate is asked for: scrapers have none, and no key of etcd is among the figures.

use std::io;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_limits::Door;
use tokio::net::TcpStream;

use crate::tls::{Stream, Tls, begins_handshake, is_own};

/// What the kubelet asks, which does not know a CA.
pub(super) const PROBE: &str = "/healthz";

/// Whether a caller may read figures by its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    figures: bool,
}

/// Lets connections in.
#[derive(Clone)]
pub(super) struct Entrance(pub(super) Tls);

impl Door for Entrance {
    type Stream = Box<dyn Stream>;
    type Link = Link;

    async fn enter(&self, stream: TcpStream) -> io::Result<(Box<dyn Stream>, Link)> {
        let Entrance(tls) = self;
        let caller = stream.peer_addr()?.ip();
        if tls.is_on() && begins_handshake(&stream).await? {
            return Ok((tls.accept_any(stream).await?, Link { figures: true }));
        }
        let figures = !tls.is_on() || is_own(caller);
        Ok((Box::new(stream), Link { figures }))
    }
}

/// Refuses figures in plain text where there is TLS.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let link = request.extensions().get::<Link>();
    if link.is_some_and(|link| link.figures) || request.uri().path() == PROBE {
        return next.run(request).await;
    }
    let text = "figures are not served in plain text, because the cluster has TLS: use https on the same port, with the \
                component's CA (ca.crt of the Secret {component}-tls-certs)\n";
    (StatusCode::FORBIDDEN, text).into_response()
}
