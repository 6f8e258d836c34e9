//! An API server on loopback, for the tests of the modules and for those of the program.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// One answer of it.
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// The header of that name.
    pub(crate) retry_after: Option<&'static str>,
    pub(crate) body: Value,
}

/// What it was asked: `GET /path?query` and the body.
pub(crate) type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// Answers by this closure, one request a connection. Its URL, and what it was asked.
pub(crate) fn serve(
    mut answer: impl FnMut(&str, &Value) -> Answer + Send + 'static,
) -> (String, Asked) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let Some((line, body)) = read(&mut connection) else {
                continue;
            };
            let given = answer(&line, &body);
            notes.lock().expect("no panic").push((line, body));
            write(&mut connection, &given);
        }
    });
    (format!("http://{address}"), asked)
}

/// The first line of a request without its version, and the body; `None` for a connection on which nothing is asked.
fn read(connection: &mut TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(connection);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let line = first.rsplit_once(' ')?.0.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((line, serde_json::from_slice(&body).unwrap_or_default()))
}

fn write(connection: &mut TcpStream, given: &Answer) {
    let text = given.body.to_string();
    let wait = given.retry_after;
    let wait = wait.map(|wait| format!("Retry-After: {wait}\r\n"));
    let (code, wait, length) = (given.code, wait.unwrap_or_default(), text.len());
    let head = format!(
        "HTTP/1.1 {code} Said\r\n{wait}Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    connection
        .write_all((head + &text).as_bytes())
        .expect("written");
}
