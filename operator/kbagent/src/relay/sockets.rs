//! Sockets of clients and members, whose buffers have one size: the kernel lets others grow to MiBs, and charges the
//! agent's container with what a slow reader leaves in them.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Bytes of each direction's buffer of a socket. The kernel takes twice as much, for its own accounts too.
pub(super) const SOCKET_BUFFER: usize = 16 * 1024;

/// Listens for clients. Their sockets begin with the listener's buffers: a window that was offered is not taken back.
///
/// # Errors
/// When the address cannot be had.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = http_limits::listen(address)?;
    bound(&SockRef::from(&listener))?;
    Ok(listener)
}

/// Connects to a member.
///
/// # Errors
/// When there is no connection.
pub(super) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    bound(&SockRef::from(&socket))?;
    socket.connect(address).await
}

/// Sets both buffers of a socket.
///
/// # Errors
/// When the kernel does not.
pub(super) fn bound(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn buffers(stream: &TcpStream) -> (usize, usize) {
        let socket = SockRef::from(stream);
        let both = (socket.recv_buffer_size(), socket.send_buffer_size());
        (both.0.expect("a size"), both.1.expect("a size"))
    }

    #[tokio::test]
    async fn sockets_of_clients_and_of_members_have_bounded_buffers() {
        let twice = (2 * SOCKET_BUFFER, 2 * SOCKET_BUFFER);
        let listener = listen(([127, 0, 0, 1], 0).into()).expect("listens");
        let address = listener.local_addr().expect("an address");
        let (member, client) = tokio::join!(connect(address), listener.accept());
        let (mut member, (mut client, _)) = (member.expect("connects"), client.expect("accepts"));
        assert_eq!((buffers(&client), buffers(&member)), (twice, twice));
        // They stay so: the kernel does not let a buffer grow that was set.
        let sent = vec![7; 4 << 20];
        let mut heard = Vec::new();
        let says = async {
            client.write_all(&sent).await.expect("says");
            client.shutdown().await.expect("ends");
        };
        let (_, read) = tokio::join!(says, member.read_to_end(&mut heard));
        assert_eq!(read.expect("heard"), sent.len());
        assert_eq!((buffers(&client), buffers(&member)), (twice, twice));
    }
}
