//! The page's port: who may ask, what is kept between two readers, the headers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_limits::Limits;
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use super::gather::Gather;
use super::html::{STYLE, html};
use super::view::{ClusterView, View, clusters, page};
use crate::controller::Context;
use crate::roles::{Board, MemberStore};

/// How long what was put together serves all readers.
const FRESH: Duration = Duration::from_secs(1);
/// Names that a reader may have come by. A page of another name that a browser resolved to this address is refused.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// An address of the page: loopback, so that only who may forward a port to the pod reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(SocketAddr);

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<SocketAddr>().ok();
        let address = address.filter(|address| address.ip().is_loopback());
        address.map(Address).ok_or_else(|| {
            "the page has no log-in, so it is served on loopback only: 127.0.0.1:PORT or [::1]:PORT".to_owned()
        })
    }
}

/// Takes the address.
///
/// # Errors
/// When it cannot be bound.
pub(crate) async fn bind(address: Address) -> anyhow::Result<TcpListener> {
    use anyhow::Context as _;
    TcpListener::bind(address.0).await.with_context(|| {
        format!(
            "failed to serve the page on {}: choose another --page-address",
            address.0
        )
    })
}

/// Keeps the caches of the page and serves it.
///
/// # Errors
/// When a watch ends, which it only does with the process.
pub(crate) async fn run(
    context: &Context,
    store: Arc<MemberStore>,
    board: Arc<Board>,
    listener: TcpListener,
) -> anyhow::Result<()> {
    let gather = Arc::new(Gather::new(context, store, board));
    let source = {
        let gather = Arc::clone(&gather);
        move || {
            let facts = gather.facts();
            (clusters(&facts), facts.unread)
        }
    };
    let router = router(context.config.identity.clone(), source);
    tokio::select! {
        never = http_limits::serve(listener, router, Limits::default()) => match never {},
        ended = gather.keep() => ended,
    }
}

/// What was put together, and of which kinds there is no list yet.
type Whole = (Vec<ClusterView>, Vec<&'static str>);

struct Page {
    replica: String,
    source: Box<dyn Fn() -> Whole + Send + Sync>,
    whole: Mutex<Option<(Instant, Timestamp, Whole)>>,
}

impl Page {
    /// The page of this number. Put together once a second at most, however many ask.
    fn view(&self, number: usize) -> View {
        let mut kept = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        let old = kept.take().filter(|(made, ..)| made.elapsed() < FRESH);
        let (_, at, (all, unread)) =
            kept.insert(old.unwrap_or_else(|| (Instant::now(), Timestamp::now(), (self.source)())));
        page(all, number, &self.replica, *at, unread)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default = "first")]
    page: usize,
}

fn first() -> usize {
    1
}

fn router(replica: String, source: impl Fn() -> Whole + Send + Sync + 'static) -> Router {
    let state = Arc::new(Page {
        replica,
        source: Box::new(source),
        whole: Mutex::new(None),
    });
    let policy = policy();
    Router::new()
        .route("/", get(show))
        .route("/page.json", get(json))
        .with_state(state)
        .layer(from_fn(move |request, next| {
            guard(request, next, policy.clone())
        }))
}

async fn show(State(state): State<Arc<Page>>, Query(asked): Query<Asked>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (kind, html(&state.view(asked.page))).into_response()
}

async fn json(State(state): State<Arc<Page>>, Query(asked): Query<Asked>) -> Json<View> {
    Json(state.view(asked.page))
}

/// Nothing is loaded, run or framed; of styles, only the sheet of the page.
fn policy() -> String {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

async fn guard(request: Request, next: Next, policy: String) -> Response {
    let mut response = if is_local(request.headers()) {
        next.run(request).await
    } else {
        let text = "ask for localhost or 127.0.0.1: other names are refused, so that no web site reads this page";
        (StatusCode::FORBIDDEN, text).into_response()
    };
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(host) = host else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    HOSTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::view::tests::facts;
    use super::*;

    /// The page on a real port, and how often it was put together.
    async fn served() -> (SocketAddr, Arc<AtomicUsize>) {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let source = move || {
            count.fetch_add(1, Ordering::Relaxed);
            (clusters(&facts()), Vec::new())
        };
        let address = "127.0.0.1:0".parse().expect("loopback");
        let listener = bind(address).await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let router = router("operator-0".to_owned(), source);
        tokio::spawn(http_limits::serve(listener, router, Limits::default()));
        (at, made)
    }

    async fn ask(at: SocketAddr, path: &str, host: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(at).await.expect("connected");
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        text
    }

    #[test]
    fn only_loopback_is_accepted() {
        let read = |text: &str| text.parse::<Address>();
        assert!(read("127.0.0.1:8081").is_ok() && read("[::1]:8081").is_ok());
        for bad in [
            "0.0.0.0:8081",
            "10.0.0.1:8081",
            "[::]:8081",
            "localhost",
            "8081",
            "",
        ] {
            assert!(
                read(bad).is_err_and(|why| why.contains("127.0.0.1:PORT")),
                "{bad:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_page_and_its_json_come_with_a_policy_that_allows_the_sheet_only() {
        let (at, _) = served().await;
        for (path, kind, text) in [
            ("/", "text/html", "<title>etcd clusters</title>"),
            ("/page.json?page=1", "application/json", "\"format\":1"),
        ] {
            let answer = ask(at, path, "localhost:1234").await.to_lowercase();
            for part in [
                "http/1.1 200",
                &format!("content-type: {kind}"),
                "content-security-policy: default-src 'none'; style-src 'sha256-",
                "x-content-type-options: nosniff",
                "cache-control: no-store",
                &text.to_lowercase(),
            ] {
                assert!(answer.contains(part), "{path}: {part}\n{answer}");
            }
        }
    }

    #[tokio::test]
    async fn another_host_number_or_method_is_refused() {
        let (at, made) = served().await;
        for host in [
            "etcd.example",
            "localhost.example:1",
            "",
            "127.0.0.1.example",
            "localhost:1:x",
        ] {
            let answer = ask(at, "/page.json", host).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{host:?}: {answer}");
            assert!(answer.contains("content-security-policy"), "{answer}");
        }
        assert_eq!(made.load(Ordering::Relaxed), 0);
        for path in [
            "/?page=x",
            "/?page=-1",
            "/?namespace=shop",
            "/page.json?page=99999999999999999999999",
        ] {
            let answer = ask(at, path, "[::1]:1").await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        }
        assert!(
            ask(at, "/other", "127.0.0.1")
                .await
                .starts_with("HTTP/1.1 404")
        );
    }

    #[tokio::test]
    async fn many_readers_within_a_second_have_it_put_together_once() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let page = Page {
            replica: "r".to_owned(),
            source: Box::new(move || {
                count.fetch_add(1, Ordering::Relaxed);
                (Vec::new(), Vec::new())
            }),
            whole: Mutex::new(None),
        };
        for number in 0..1000 {
            page.view(number);
        }
        let first = made.load(Ordering::Relaxed);
        if let Some((at, ..)) = page.whole.lock().expect("no panic").as_mut() {
            *at = at.checked_sub(FRESH).expect("a time");
        }
        page.view(1);
        assert_eq!(
            made.load(Ordering::Relaxed),
            first + 1,
            "a second later again"
        );
        assert!(first <= 2, "{first}");
    }
}
