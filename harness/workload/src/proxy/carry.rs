//! Connections: each is carried by two links, one for each way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::proxy::link::{Link, Piece};
use crate::proxy::net::Net;
use crate::schedule::pause;

/// Most connections at once. Members dial again while a link is closed, and what they gave up stays until it opens.
const CONNECTIONS_MAX: usize = 1024;
/// Largest piece.
const PIECE: usize = 16 * 1024;
/// Most bytes that wait in one direction of one connection; then its sender waits, as for a full window.
pub(super) const WINDOW: usize = 1024 * 1024;
/// What a piece takes of it at least. Heartbeats are small, and as many as come in a long delay must have space.
const PIECE_LEAST: usize = 256;
/// Longest time until a member takes a connection.
const DIAL: Duration = Duration::from_secs(2);
/// After this the next connection is accepted when one could not be.
const AGAIN: Duration = Duration::from_millis(50);

/// Carries all connections that are made to a member, for ever.
pub(crate) async fn serve(net: Arc<Net>, listener: TcpListener, to: usize, places: Arc<Semaphore>) {
    loop {
        let Ok((client, address)) = listener.accept().await else {
            pause(AGAIN).await;
            continue;
        };
        // One too many is closed at once.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let net = Arc::clone(&net);
        tokio::spawn(async move {
            carry(&net, client, address, to).await;
            drop(place);
        });
    }
}

/// Places for the connections of one proxy.
pub(crate) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS_MAX))
}

async fn carry(net: &Net, mut client: TcpStream, address: SocketAddr, to: usize) {
    let Some(from) = net.at(address).await.filter(|from| *from != to) else {
        eprintln!("proxy: {address} is no member's address: its connection is closed");
        return;
    };
    let (there, back) = (net.link(from, to), net.link(to, from));
    // A connection needs both ways to come about.
    there.open().await;
    back.open().await;
    let member = &net.members[to];
    let dialled = TcpStream::connect((member.name.as_str(), member.port));
    let Ok(Ok(mut server)) = tokio::time::timeout(DIAL, dialled).await else {
        // As a member whose port is closed.
        let _ = client.set_zero_linger();
        return;
    };
    // Heartbeats are small: without this the proxy itself would delay them.
    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
    let reset = {
        let (client_out, client_in) = client.split();
        let (server_out, server_in) = server.split();
        let both = async {
            tokio::try_join!(
                pump(client_out, server_in, there),
                pump(server_out, client_in, back)
            )
        };
        tokio::select! {
            ended = both => ended.is_err(),
            () = there.reset() => true,
            () = back.reset() => true,
        }
    };
    if reset {
        // Closed with a reset, which is what the other end of a broken connection gets.
        let _ = client.set_zero_linger().and(server.set_zero_linger());
    }
}

/// Carries one way of a connection to its end.
async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, link: &Link) -> io::Result<()> {
    let (pieces, waiting) = mpsc::unbounded_channel();
    tokio::try_join!(read(from, pieces, link), write(waiting, to, link)).map(drop)
}

/// A piece, and its place in the window.
type Placed = (Piece, OwnedSemaphorePermit);

async fn read(
    mut from: ReadHalf<'_>,
    to: mpsc::UnboundedSender<Placed>,
    link: &Link,
) -> io::Result<()> {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut buffer = vec![0; PIECE];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let piece = link.piece(&buffer[..count]);
        let size = u32::try_from(count.max(PIECE_LEAST)).map_err(io::Error::other)?;
        let place = Arc::clone(&window).acquire_many_owned(size).await;
        let place = place.map_err(io::Error::other)?;
        // The writer ends with an error of its own only, which ends this too.
        if to.send((piece, place)).is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut from: mpsc::UnboundedReceiver<Placed>,
    mut to: WriteHalf<'_>,
    link: &Link,
) -> io::Result<()> {
    while let Some((piece, _place)) = from.recv().await {
        link.pass(&piece).await;
        to.write_all(&piece.bytes).await?;
        link.passed(&piece);
    }
    to.shutdown().await
}
