//! As many writes as a cluster takes: clients that each hold a connection through the service and write again as soon
//! as they are answered. For measurements beside each other; nothing of it is in a history.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use etcd_client::Client;
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{ask::config, connection::dial, reach::Reach};

/// Longest time for a connection, a log-in included, or for the last answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Keys of each client, written in turn, so that the store does not grow without end.
const KEYS: usize = 1000;

/// How much is written.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Amount {
    /// Clients, each with a connection of its own.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    clients: u32,
    /// Bytes of each value.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    bytes: u32,
    /// How long.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

/// Writes, and tells how many a second, how long one took in milliseconds, and how many failed.
pub(crate) async fn run(dir: &Path, amount: Amount) -> anyhow::Result<Value> {
    let config = config(dir)?;
    let service = config
        .service
        .context("failed to begin: this run has no service")?;
    let [reach, _] = Reach::both(&config.access);
    let mut clients = Vec::new();
    // All are connected before the first write: a handshake is no part of what is measured.
    for _ in 0..amount.clients {
        let client = dial(&reach, &service, Instant::now() + ANSWER).await;
        clients.push(client.with_context(|| format!("failed to connect to {service}"))?);
    }
    let begin = Instant::now();
    let end = begin + Duration::from_secs(amount.seconds);
    let value: Arc<[u8]> = vec![b'v'; amount.bytes as usize].into();
    let mut writers = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let prefix = format!("{}throughput/{number}/", config.prefix);
        writers.spawn(write(client, prefix, Arc::clone(&value), end));
    }
    let (mut took, mut failed) = (Vec::new(), 0);
    while let Some(written) = writers.join_next().await {
        let written = written.context("failed to join a client")?;
        took.extend(written.took);
        failed += written.failed;
    }
    if took.is_empty() {
        bail!("failed to write anything in {} s", amount.seconds);
    }
    let mut told = summary(&mut took, end - begin);
    told["failed"] = json!(failed);
    Ok(told)
}

#[derive(Default)]
struct Written {
    took: Vec<Duration>,
    failed: u64,
}

async fn write(mut client: Client, prefix: String, value: Arc<[u8]>, end: Instant) -> Written {
    let mut written = Written::default();
    for number in 0.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        let key = format!("{prefix}{}", number % KEYS);
        let put = client.put(key, value.to_vec(), None);
        match timeout_at(end, put).await {
            Ok(Ok(_)) => written.took.push(begun.elapsed()),
            // Under way when the time was over.
            Err(_) => break,
            // A connection that broke is not dialled again: the rest of its time counts as time without a write, and
            // such a turn is compared with no other.
            Ok(Err(_)) => {
                written.failed += 1;
                break;
            }
        }
    }
    written
}

/// In few numbers; `took` is sorted by it.
fn summary(took: &mut [Duration], lasted: Duration) -> Value {
    took.sort_unstable();
    let at = |percent: usize| {
        let rank = (took.len() * percent).div_ceil(100).max(1);
        took[rank - 1].as_secs_f64() * 1e3
    };
    json!({
        "writes": took.len(),
        "writes_s": took.len() as f64 / lasted.as_secs_f64(),
        "median_ms": at(50),
        "p99_ms": at(99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_writes_are_told_in_few_numbers() {
        let mut took: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let told = summary(&mut took, Duration::from_secs(4));
        assert_eq!(told["writes"], 200);
        assert_eq!(told["writes_s"], 50.0);
        assert_eq!(told["median_ms"], 100.0);
        assert_eq!(told["p99_ms"], 198.0);
        let told = summary(&mut [Duration::from_millis(7)], Duration::from_secs(1));
        assert_eq!(
            (&told["median_ms"], &told["p99_ms"]),
            (&json!(7.0), &json!(7.0))
        );
    }
}
