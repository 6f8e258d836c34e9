//! Orders to a supervisor: a line of JSON each way, over an abstract socket, which needs no place in a file system and
//! is one of this network namespace alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::message::{Order, Report};

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Done(Report),
    Failed(String),
}

/// Listens under this name.
pub(crate) fn listen(name: &str) -> anyhow::Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(name)?;
    UnixListener::bind_addr(&address).with_context(|| format!("failed to listen at {name:?}"))
}

/// Reads one order and answers it.
pub(crate) fn serve(
    stream: UnixStream,
    obey: impl FnOnce(Order) -> anyhow::Result<Report>,
) -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    let done = serde_json::from_str(&line).context("failed to read the order");
    let reply = match done.and_then(obey) {
        Ok(report) => Reply::Done(report),
        Err(error) => Reply::Failed(format!("{error:#}")),
    };
    writeln!(&stream, "{}", serde_json::to_string(&reply)?)?;
    Ok(())
}

/// Gives an order.
pub(crate) fn ask(name: &str, order: &str) -> anyhow::Result<Report> {
    // Read here too, so that a wrong one is refused where it is written.
    let order: Order = serde_json::from_str(order).context("failed to read the order")?;
    let address = SocketAddr::from_abstract_name(name)?;
    let stream = UnixStream::connect_addr(&address)
        .with_context(|| format!("failed to find a supervisor at {name:?}"))?;
    writeln!(&stream, "{}", serde_json::to_string(&order)?)?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    match serde_json::from_str(&line).context("failed to read the answer")? {
        Reply::Done(report) => Ok(report),
        Reply::Failed(reason) => bail!(reason),
    }
}
