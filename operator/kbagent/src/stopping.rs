//! The last thing that the agent does when its pod stops, or its member is about to be removed: it has an etcd killed
//! that waits for clients which hold streams.
//!
//! etcd refuses new connections at once, asks its clients to leave (GOAWAY), and then waits for open streams to end by
//! themselves: a watch never does, so that it takes the whole of its request timeout (5 s and two elections), for which
//! the member is unavailable and nothing is gained. Ordinary requests have long been answered by then, leadership was
//! transferred before, and what was acknowledged is in the logs of a majority.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::fence::Launcher;
use crate::launch::Demand;

/// How long etcd may take to begin to stop: both containers are told at once. An agent that is stopped alone ends then.
const BEGIN: Duration = Duration::from_secs(2);
/// Time for requests that are under way.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(50);

/// Waits for etcd to stop listening, and has it killed soon after; false when it was not seen to stop. The launcher
/// refuses when etcd was not told to stop, and has ended itself when etcd has.
pub(crate) async fn end_etcd(config: &Arc<Config>) -> bool {
    let Ok(mut found) = tokio::net::lookup_host(config.etcd_address()).await else {
        return false;
    };
    let Some(address) = found.next() else {
        return false;
    };
    if !refuses_within(address, BEGIN).await {
        return false;
    }
    sleep(LAST_ANSWERS).await;
    match Launcher::new(&config.run_dir).demand(Demand::End).await {
        Ok(()) => tracing::info!("etcd waited for its clients: it is killed"),
        Err(error) => tracing::info!(%error, "etcd ends by itself"),
    }
    true
}

/// True once no process listens on the address any more.
async fn refuses_within(address: SocketAddr, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Ok(Err(_)) = timeout(EVERY, TcpStream::connect(address)).await {
            return true;
        }
        sleep(EVERY).await;
    }
    false
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_listener_is_waited_for_until_it_goes_and_no_longer_than_the_limit() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
        let address = listener.local_addr().expect("address");
        assert!(!refuses_within(address, Duration::from_millis(200)).await);
        drop(listener);
        assert!(refuses_within(address, Duration::from_secs(30)).await);
    }
}
