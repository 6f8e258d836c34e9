//! The listener: small lines leave at once, and a peer that vanished is noticed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::{Listener, ListenerExt};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

/// How long sent bytes may stay unacknowledged: a watcher on a lost node must not be kept for a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Binds the address.
pub(super) async fn bind(
    address: SocketAddr,
) -> io::Result<impl Listener<Io = TcpStream, Addr = SocketAddr>> {
    let listener = TcpListener::bind(address).await?;
    Ok(listener.tap_io(|stream| {
        let set = stream
            .set_nodelay(true)
            .and_then(|()| SockRef::from(&*stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED)));
        if let Err(error) = set {
            tracing::debug!(%error, "failed to set up a connection");
        }
    }))
}
