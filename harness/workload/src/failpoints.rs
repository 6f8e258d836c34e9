//! Failpoints of an etcd that was built with gofail: set, cleared and listed over the loopback of its container, where
//! this program is put beside it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde::Serialize;

/// Longest wait for etcd to take or to say something.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest answer: all failpoints of etcd take a few kilobytes.
const ANSWER_MAX: u64 = 256 * 1024;

/// Where etcd serves its failpoints.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Port of the loopback.
    #[arg(long, default_value_t = 22381)]
    port: u16,
}

/// What is asked of etcd.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints all failpoints as JSON: of each what it is set to, and how often that was done.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Sets one.
    Set {
        #[command(flatten)]
        place: Place,
        /// Its name.
        #[arg(value_parser = name)]
        name: String,
        /// What etcd does there, in gofail's words, as `sleep("100ms")`.
        action: String,
    },
    /// Clears one.
    Clear {
        #[command(flatten)]
        place: Place,
        /// Its name.
        #[arg(value_parser = name)]
        name: String,
    },
}

/// One failpoint.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Point {
    /// What it is set to; empty when it is not set.
    action: String,
    /// How often that was done since it was set.
    reached: u64,
}

impl Command {
    /// Does it; returns what is to be printed.
    pub(crate) fn run(&self) -> anyhow::Result<String> {
        match self {
            Self::List { place } => {
                let mut points = parse(&ask(place, ("GET", ""), "")?)?;
                for (name, point) in &mut points {
                    if !point.action.is_empty() {
                        let told = ask(place, ("GET", &format!("{name}/count")), "")?;
                        point.reached = told
                            .trim()
                            .parse()
                            .with_context(|| format!("{told:?} is no count of {name}"))?;
                    }
                }
                Ok(serde_json::to_string(&points)?)
            }
            Self::Set {
                place,
                name,
                action,
            } => ask(place, ("PUT", name), action),
            Self::Clear { place, name } => ask(place, ("DELETE", name), ""),
        }
    }
}

/// A name that is part of a request.
fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.is_empty() || !text.bytes().all(plain) {
        return Err(format!("{text:?} is no failpoint: letters, digits and _"));
    }
    Ok(text.to_owned())
}

/// The list that etcd prints: `NAME=ACTION` in each line, without an action where it is not set.
fn parse(text: &str) -> anyhow::Result<BTreeMap<String, Point>> {
    let mut points = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let Some((name, action)) = line.split_once('=') else {
            bail!("{line:?} is no failpoint and its action");
        };
        let point = Point {
            action: action.to_owned(),
            reached: 0,
        };
        points.insert(name.to_owned(), point);
    }
    if points.is_empty() {
        bail!("there is no failpoint");
    }
    Ok(points)
}

/// One request. By HTTP/1.0: the answer ends with the connection.
fn ask(place: &Place, (method, path): (&str, &str), body: &str) -> anyhow::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, place.port));
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)
        .with_context(|| format!("no failpoints are served at {address}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let head = format!(
        "{method} /{path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    let read = stream.take(ANSWER_MAX).read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    match answered(&answer) {
        Some((200..300, body)) => Ok(body.to_owned()),
        Some((code, body)) => bail!("{method} /{path}: {code} {}", body.trim()),
        None => {
            read.context("no answer")?;
            bail!("{answer:?} is no answer to {method} /{path}")
        }
    }
}

/// Code and body of an answer whose head is there; etcd may end before the rest of it.
fn answered(text: &str) -> Option<(u16, &str)> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (version, rest) = head.split_once(' ')?;
    let code = rest.get(..3)?.parse().ok()?;
    version.starts_with("HTTP/").then_some((code, body))
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;
    use std::net::TcpListener;

    use super::*;

    const LIST: &str = "afterCommit=\nbeforeCommit=sleep(\"100ms\")\nraftAfterSave=\n";

    /// Answers one request with each of these; returns the port, and what was asked.
    fn served(answers: Vec<String>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let task = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut head = std::io::BufReader::new(stream.try_clone().expect("a stream"));
                let mut text = String::new();
                while !text.ends_with("\r\n\r\n") {
                    assert!(head.read_line(&mut text).expect("a line") > 0, "{text}");
                }
                let length = text.split("Content-Length: ").nth(1).expect("a length");
                let length = length.trim().parse().expect("a number");
                let mut body = vec![0; length];
                head.read_exact(&mut body).expect("a body");
                let line = text.lines().next().expect("a line").to_owned();
                asked.push(format!("{line} {}", String::from_utf8_lossy(&body)));
                stream.write_all(answer.as_bytes()).expect("sent");
            }
            asked
        });
        (port, task)
    }

    fn good(body: &str) -> String {
        format!("HTTP/1.0 200 OK\r\nDate: today\r\n\r\n{body}")
    }

    #[test]
    fn a_list_names_all_and_counts_what_is_set() {
        let (port, task) = served(vec![good(LIST), good("12")]);
        let list = Command::List {
            place: Place { port },
        };
        let told = list.run().expect("a list");
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        let wanted = serde_json::json!({
            "afterCommit": {"action": "", "reached": 0},
            "beforeCommit": {"action": "sleep(\"100ms\")", "reached": 12},
            "raftAfterSave": {"action": "", "reached": 0},
        });
        assert_eq!(told, wanted);
        let asked = task.join().expect("served");
        assert_eq!(
            asked,
            ["GET / HTTP/1.0 ", "GET /beforeCommit/count HTTP/1.0 "]
        );
    }

    #[test]
    fn one_is_set_and_cleared_and_a_refusal_is_told() {
        let none = "HTTP/1.0 204 No Content\r\n\r\n".to_owned();
        let refused = "HTTP/1.0 400 Bad Request\r\n\r\nfailpoint does not exist\n".to_owned();
        let (port, task) = served(vec![none.clone(), none, refused]);
        let place = || Place { port };
        let (name, action) = ("beforeCommit".to_owned(), "panic".to_owned());
        let set = Command::Set {
            place: place(),
            name: name.clone(),
            action,
        };
        assert_eq!(set.run().expect("set"), "");
        let clear = Command::Clear {
            place: place(),
            name,
        };
        assert_eq!(clear.run().expect("cleared"), "");
        let why = clear.run().expect_err("refused").to_string();
        assert_eq!(why, "DELETE /beforeCommit: 400 failpoint does not exist");
        let asked = task.join().expect("served");
        assert_eq!(asked[0], "PUT /beforeCommit HTTP/1.0 panic");
        assert_eq!(asked[1], "DELETE /beforeCommit HTTP/1.0 ");
    }

    #[test]
    fn an_etcd_without_failpoints_is_told_from_one_that_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let list = Command::List {
            place: Place { port },
        };
        let why = format!("{:#}", list.run().expect_err("nothing listens"));
        assert!(why.contains("no failpoints are served"), "{why}");
        let (port, task) = served(vec![String::new()]);
        let list = Command::List {
            place: Place { port },
        };
        let why = format!("{:#}", list.run().expect_err("it says nothing"));
        assert!(why.contains("no answer"), "{why}");
        task.join().expect("served");
    }

    #[test]
    fn what_is_no_list_and_no_name_is_refused() {
        for text in ["", "\n", "afterCommit\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(name("raftBeforeSave").is_ok());
        for text in ["", "a b", "a/count", "a\r\n"] {
            assert!(name(text).is_err(), "{text:?}");
        }
        assert_eq!(answered("HTTP/1.0 204 No Content\r\n\r\n"), Some((204, "")));
        for text in [
            "",
            "HTTP/1.0 204 No",
            "HTTP/1.0 x\r\n\r\n",
            "SSH-2.0 200\r\n\r\n",
        ] {
            assert_eq!(answered(text), None, "{text:?}");
        }
    }
}
