//! Dials an address until what is wanted comes of it: to see what stands between two pods, whatever is spoken there.

use std::{io, time::Duration};

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use crate::schedule::pause;

/// Longest time for one attempt: TCP sends what is lost once more after a second.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Time between two attempts.
const BETWEEN: Duration = Duration::from_millis(50);

/// Commands that speak no protocol.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Dials until each of these outcomes has come about, one after the other; prints each as it comes.
    Dial {
        /// `host:port`.
        address: String,
        /// The outcomes.
        #[arg(required = true)]
        wanted: Vec<Outcome>,
        /// Longest time in seconds, for all of them.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Takes connections at a port and ends them, until it is ended.
    Answer {
        /// The port.
        #[arg(long)]
        port: u16,
    },
}

impl Command {
    /// Does it.
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Dial {
                address,
                wanted,
                seconds,
            } => dial(address, wanted, Duration::from_secs(*seconds)).await,
            Self::Answer { port } => answer(*port).await,
        }
    }
}

/// What comes of dialling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Outcome {
    /// There is a connection.
    Connected,
    /// The other side says no.
    Refused,
    /// No answer: packets are dropped on the way.
    Timeout,
}

async fn dial(address: &str, wanted: &[Outcome], limit: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + limit;
    for wanted in wanted {
        loop {
            let (outcome, told) = once(address).await;
            if outcome == *wanted {
                println!("{wanted:?}");
                break;
            }
            if Instant::now() > end {
                bail!("wanted {wanted:?} of {address}, last seen: {told}");
            }
            pause(BETWEEN).await;
        }
    }
    Ok(())
}

async fn once(address: &str) -> (Outcome, String) {
    match timeout(ATTEMPT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => (Outcome::Connected, "it is connected".to_owned()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
            (Outcome::Timeout, error.to_string())
        }
        Ok(Err(error)) => (Outcome::Refused, error.to_string()),
        Err(_) => (Outcome::Timeout, "no answer in time".to_owned()),
    }
}

/// Takes every connection at this port and ends it.
async fn answer(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        // Who has gone before it was taken is no reason to end.
        drop(listener.accept().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_of_dialling_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let soon = Duration::from_millis(1);
        let all = [Outcome::Connected, Outcome::Connected];
        dial(&address, &all, soon).await.expect("it listens");
        let refused = dial(&address, &[Outcome::Refused], soon).await;
        let told = refused.expect_err("it listens").to_string();
        assert!(told.contains("it is connected"), "{told}");
        drop(listener);
        dial(&address, &[Outcome::Refused], soon)
            .await
            .expect("no one listens");
    }
}
