//! Hostile callers over real sockets. Addresses of 127.0.0.0/8 stand for pods.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::routing::{get, post};
use http_limits::{Limits, Standing, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// Only against hanging.
const LONG: Duration = Duration::from_secs(20);
/// A limit that hostile callers exceed.
const SHORT: Duration = Duration::from_millis(300);

/// Its times end no connection while a test runs, however slow the machine is.
fn limits() -> Limits {
    Limits {
        connections: 32,
        per_address: 8,
        trusted: 4,
        head_time: Duration::from_secs(600),
        body_bytes: 1024,
        body_time: Duration::from_secs(600),
        ..Limits::default()
    }
}

async fn start(limits: Limits) -> SocketAddr {
    let router = Router::new()
        .route("/now", get(async || "now"))
        .route("/trust", get(trust))
        .route("/length", post(async |body: String| body.len().to_string()));
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(serve(listener, router, limits));
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn trust(Extension(standing): Extension<Standing>) -> &'static str {
    standing.trust();
    "trusted"
}

async fn from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 1, last], 0).into()).expect("bound");
    socket.connect(to).await.expect("a connection")
}

/// Sends `text` and reads until `end` has come or the connection ends.
async fn ask(stream: &mut TcpStream, text: &str, end: &str) -> String {
    // A connection that is closed meanwhile refuses the write: what was answered counts.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = String::new();
    let mut buffer = [0; 4096];
    let read = async {
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            answer.push_str(&String::from_utf8_lossy(&buffer[..length]));
            if !end.is_empty() && answer.ends_with(end) {
                break;
            }
        }
    };
    timeout(LONG, read).await.expect("an answer or an end");
    answer
}

const NOW: &str = "GET /now HTTP/1.1\r\nHost: x\r\n\r\n";
const TRUST: &str = "GET /trust HTTP/1.1\r\nHost: x\r\n\r\n";
const HALF: &str = "GET /now HTTP/1.1\r\nHost: x\r\nX-Half: ";

#[tokio::test]
async fn half_a_head_and_silence_are_let_go() {
    let server = start(Limits {
        head_time: SHORT,
        ..limits()
    })
    .await;
    for text in ["", HALF] {
        let mut stream = from(1, server).await;
        let answer = ask(&mut stream, text, "").await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    // After an answer too. A slow machine may be too late for one.
    for _ in 0..20 {
        let mut stream = from(1, server).await;
        if ask(&mut stream, NOW, "now").await.contains("200 OK") {
            assert_eq!(ask(&mut stream, "", "").await, "");
            return;
        }
    }
    panic!("no answer");
}

#[tokio::test]
async fn two_hundred_half_requests_take_nobodys_place() {
    let server = start(limits()).await;
    let mut trusted = from(200, server).await;
    assert!(ask(&mut trusted, TRUST, "trusted").await.contains("200 OK"));
    let mut flood = Vec::new();
    for at in 0..200u8 {
        let mut stream = from(1 + at % 20, server).await;
        stream.write_all(HALF.as_bytes()).await.expect("sent");
        flood.push(stream);
    }
    let mut honest = from(100, server).await;
    assert!(ask(&mut honest, NOW, "now").await.contains("200 OK"));
    assert!(ask(&mut trusted, NOW, "now").await.contains("200 OK"));
    let most = limits().connections;
    let closed = async { while open(&flood).await > most {} };
    timeout(LONG, closed).await.expect("the others are closed");
}

/// How many of these connections the server has not closed yet.
async fn open(flood: &[TcpStream]) -> usize {
    let mut open = 0;
    for stream in flood {
        let mut byte = [0];
        let gone = timeout(Duration::from_millis(5), stream.peek(&mut byte)).await;
        open += usize::from(gone.is_err());
    }
    open
}

#[tokio::test]
async fn a_head_and_a_body_have_a_size_and_a_time() {
    let server = start(limits()).await;
    let long = format!("{HALF}{}", "a".repeat(400_000));
    let answer = ask(&mut from(1, server).await, &long, "").await;
    assert!(answer.is_empty() || answer.contains(" 431 "), "{answer}");
    let body = |told: usize, sent: usize| {
        let head = format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {told}\r\n\r\n");
        head + &"b".repeat(sent)
    };
    let answer = ask(&mut from(1, server).await, &body(1024, 1024), "1024").await;
    assert!(answer.contains("200 OK"), "{answer}");
    let answer = ask(&mut from(1, server).await, &body(2048, 2048), "1024 bytes").await;
    assert!(answer.contains(" 413 "), "{answer}");
    let server = start(Limits {
        body_time: SHORT,
        ..limits()
    })
    .await;
    let answer = ask(&mut from(1, server).await, &body(1024, 10), "300ms").await;
    assert!(answer.contains(" 408 "), "{answer}");
}
