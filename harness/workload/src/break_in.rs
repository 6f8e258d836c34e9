//! Tries to get in, and says what came of it: a question to etcd, or a request in HTTP, with what is shown for it.

use std::{io, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{connection::dial, reach::Reach, tls::Tls};

/// Longest time for one attempt.
const LIMIT: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read: its first line is looked at.
const HEAD: usize = 4096;

/// One attempt.
#[derive(Debug, clap::Args)]
pub(crate) struct Attempt {
    /// `host:port` that is dialled.
    #[arg(long)]
    address: String,
    /// Folder with the CA of who must answer; plain text when absent.
    #[arg(long)]
    trusts: Option<PathBuf>,
    /// Folder with the certificate and key that are shown; none when absent.
    #[arg(long, requires = "trusts")]
    shows: Option<PathBuf>,
    /// Folder with the name and password of a user.
    #[arg(long, requires = "trusts")]
    user: Option<PathBuf>,
    /// What is asked for: a key of etcd, or with --method a path.
    #[arg(long)]
    asks: String,
    /// The method of a request in HTTP.
    #[arg(long)]
    method: Option<String>,
}

/// Whether it was let in, and what it was told.
pub(crate) async fn run(attempt: &Attempt) -> Value {
    let tried = timeout(LIMIT, tried(attempt)).await;
    let (let_in, told) = match tried {
        Ok(Ok(told)) => (true, told),
        Ok(Err(told)) => (false, told),
        Err(_) => (false, "no answer in time".to_owned()),
    };
    json!({"let_in": let_in, "told": told})
}

async fn tried(attempt: &Attempt) -> Result<String, String> {
    let tls = attempt.trusts.as_ref();
    let tls = tls.map(|trusts| Tls::showing(trusts, attempt.shows.as_deref()));
    let tls = tls.map(|tls| {
        if attempt.method.is_some() {
            tls.http()
        } else {
            tls
        }
    });
    let reach = Reach::with(tls, attempt.user.as_deref());
    if attempt.method.is_some() {
        let line = request(attempt, &reach).await;
        let line = line.map_err(|error| error.to_string())?;
        let code = line.split(' ').nth(1).unwrap_or_default();
        return if code.starts_with('2') {
            Ok(line)
        } else {
            Err(line)
        };
    }
    let until = Instant::now() + LIMIT;
    let client = dial(&reach, &attempt.address, until).await;
    let mut client = client.map_err(|error| error.to_string())?;
    let answer = client.get(attempt.asks.as_str(), None).await;
    let answer = answer.map_err(|error| match error {
        etcd_client::Error::GRpcStatus(status) => {
            format!("{:?}: {}", status.code(), status.message())
        }
        other => other.to_string(),
    })?;
    Ok(format!("{} keys", answer.count()))
}

/// The first line of the answer.
async fn request(attempt: &Attempt, reach: &Reach) -> io::Result<String> {
    let address = reach.names.address(&attempt.address).await?;
    let stream = TcpStream::connect(address).await?;
    let mut wire = reach.wire(&attempt.address, stream).await?;
    let method = attempt.method.as_deref().unwrap_or("GET");
    let asks = &attempt.asks;
    let text = format!(
        "{method} {asks} HTTP/1.1\r\nHost: etcd\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    wire.write_all(text.as_bytes()).await?;
    wire.flush().await?;
    let mut head = Vec::new();
    let mut some = wire.take(HEAD as u64);
    while !head.contains(&b'\n') && some.read_buf(&mut head).await? > 0 {}
    let text = String::from_utf8_lossy(&head);
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    if line.is_empty() {
        let kind = io::ErrorKind::UnexpectedEof;
        return Err(io::Error::new(kind, "closed without an answer"));
    }
    Ok(line)
}
