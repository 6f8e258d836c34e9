//! A Docker for tests: it answers as it is told, and remembers what it was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bollard::{API_DEFAULT_VERSION, Docker};

/// A client of it, and what it was asked.
pub(crate) struct FakeDocker {
    /// The client.
    pub(crate) docker: Docker,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeDocker {
    /// Answers a request, such as `DELETE /containers/a`, with a status and a body.
    pub(crate) fn new(answer: impl Fn(&str) -> (u16, Vec<u8>) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let at = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&asked);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // A client that has gone is none of a test's business.
                let _gone = serve(stream, &answer, &remembered);
            }
        });
        let docker = Docker::connect_with_http(&format!("http://{at}"), 10, API_DEFAULT_VERSION);
        let docker = docker.expect("a client");
        Self { docker, asked }
    }

    /// What it was asked, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

/// A line of a container's log, as Docker sends it: where it was written to, how long it is, the line.
pub(crate) fn log_line(line: &str) -> Vec<u8> {
    let length = u32::try_from(line.len()).expect("a short line");
    [&[2, 0, 0, 0][..], &length.to_be_bytes(), line.as_bytes()].concat()
}

/// The path without the version of the API, if it has one (`/v1.49/containers/json`).
fn without_version(path: &str) -> &str {
    let Some(rest) = path.strip_prefix("/v") else {
        return path;
    };
    match rest.find('/') {
        Some(end) if rest.starts_with(|first: char| first.is_ascii_digit()) => &rest[end..],
        _ => path,
    }
}

/// Answers one request.
fn serve(
    stream: TcpStream,
    answer: &impl Fn(&str) -> (u16, Vec<u8>),
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split_whitespace();
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let path = path.split('?').next().unwrap_or_default();
    let request = format!("{method} {}", without_version(path));
    asked.lock().expect("no panic").push(request.clone());
    let (status, body) = answer(&request);
    let stream = reader.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status} said\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)?;
    stream.flush()
}
