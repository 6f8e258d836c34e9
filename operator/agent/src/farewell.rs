//! The last thing that the agent does when its pod stops: it closes the connections of clients that hold streams.
//!
//! etcd refuses new connections at once, asks its clients to leave (GOAWAY), and then waits for open streams to end by
//! themselves: a watch never does, so that it takes the whole of its request timeout (5 s and two elections), for which
//! the member is unavailable and nothing is gained. Ordinary requests have long been answered by then.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::config::Config;
use crate::fence::{Cutter, Scope};

/// How long etcd may take to begin to stop: both containers are told at once. An agent that is stopped alone ends then.
const BEGIN: Duration = Duration::from_secs(2);
/// Time for requests that are under way.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// Longest time in which connections are closed.
const END: Duration = Duration::from_secs(8);
/// Pause between two looks.
const EVERY: Duration = Duration::from_millis(50);

/// Waits for etcd to stop and lets its clients go. Does nothing where connections cannot be cut.
pub async fn farewell(config: &Arc<Config>, can_cut: bool) {
    if !can_cut {
        return;
    }
    let local = config.fence_local_address;
    let address = SocketAddr::new(
        local.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        config.client_port,
    );
    if !refuses_within(address, BEGIN).await {
        return;
    }
    sleep(LAST_ANSWERS).await;
    let cutter = Cutter::new(
        config.client_port,
        local.map_or(Scope::SpareLoopback, Scope::To),
    );
    let until = Instant::now() + END;
    let mut let_go = 0;
    // Streams may have been accepted in the very last moment: until nothing is left twice.
    let mut nothing = 0;
    while nothing < 2 && Instant::now() < until {
        match cutter.cut() {
            Ok(0) => nothing += 1,
            Ok(cut) => (let_go, nothing) = (let_go + cut, 0),
            Err(error) => {
                tracing::warn!(%error, "failed to close client connections");
                return;
            }
        }
        sleep(EVERY).await;
    }
    tracing::info!(let_go, "closed client connections of the stopping member");
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
        assert!(refuses_within(address, Duration::from_millis(200)).await);
    }
}
