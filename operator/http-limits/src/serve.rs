//! The accept loop.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::Limits;
use crate::door::{Door, Open};
use crate::places::{Places, Standing};

/// How long sent bytes may stay unacknowledged: a reader that is gone, or does not read, goes.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// Pause after a failed accept that is no caller's fault (no file descriptors, no memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Header lines of a request.
const HEADERS: usize = 64;

/// Serves until it is dropped. [`Standing`] is an extension of every request.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits) -> Infallible {
    serve_behind(listener, Open, router, limits).await
}

/// As [`serve`], for connections that `door` lets in; its [`Door::Link`] is an extension of every request.
pub async fn serve_behind<D: Door>(
    listener: TcpListener,
    door: D,
    router: Router,
    limits: Limits,
) -> Infallible {
    let places = Places::new(limits);
    let router = router.layer(from_fn(move |request, next| whole(request, next, limits)));
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_callers(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "failed to accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (standing, lost) = places.enter(address.ip().to_canonical());
        let (door, router) = (door.clone(), router.clone());
        tokio::spawn(async move {
            let closed = lost.notified();
            tokio::select! {
                () = connection(stream, door, router, standing, limits) => {}
                () = closed => tracing::debug!("closed a connection: the limit of connections is reached"),
            }
        });
    }
}

fn is_callers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

async fn connection<D: Door>(
    stream: TcpStream,
    door: D,
    router: Router,
    standing: Standing,
    limits: Limits,
) {
    let set = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED)));
    if let Err(error) = set {
        tracing::debug!(%error, "failed to set up a connection");
    }
    let (stream, link) = match timeout(limits.head_time, door.enter(stream)).await {
        Ok(Ok(entered)) => entered,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection was not let in"),
        Err(_) => return tracing::debug!("a connection did not come in within its time"),
    };
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(standing.clone());
        request.extensions_mut().insert(link.clone());
        hyper::service::Service::call(&TowerToHyperService::new(router.clone()), request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head_bytes)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Reads the body before the request is handled, within its size and its time.
async fn whole(request: Request, next: Next, limits: Limits) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    match timeout(limits.body_time, to_bytes(body, limits.body_bytes)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(head, bytes.into())).await,
        Ok(Err(_)) => {
            let text = format!(
                "the body is broken, or larger than {} bytes",
                limits.body_bytes
            );
            (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
        }
        Err(_) => {
            let text = format!("the body has not come within {:?}", limits.body_time);
            (StatusCode::REQUEST_TIMEOUT, text).into_response()
        }
    }
}
