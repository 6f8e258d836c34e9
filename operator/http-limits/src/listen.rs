//! Listens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens at an address. `0.0.0.0` stands for all addresses of the pod, those of IPv6 too, as etcd has it: the pod's
/// own may be one of either family. Without IPv6 in the kernel it stands for those of IPv4.
///
/// # Errors
/// When the address cannot be had.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        match bound((Ipv6Addr::UNSPECIFIED, address.port()).into()) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                tracing::debug!(%error, "there is no IPv6 here");
            }
            known => return known,
        }
    }
    bound(address)
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Whatever the kernel's default is: callers by IPv4 come to this socket too.
        socket.set_only_v6(false)?;
    }
    // Connections of a process that was here before may still be ending.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let listener = listen(([0, 0, 0, 0], 0).into()).expect("listens");
        let port = listener.local_addr().expect("an address").port();
        let mut callers = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        // Not on a machine without IPv6.
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            callers.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
        for own in callers {
            let called = TcpStream::connect((own, port)).await;
            assert!(called.is_ok(), "{own}: {called:?}");
            let (_, from) = listener.accept().await.expect("accepts");
            assert_eq!(from.ip().to_canonical(), own);
        }
        let taken = listen(([0, 0, 0, 0], port).into()).expect_err("one at a time");
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn one_address_is_that_one() {
        let listener = listen(([127, 0, 0, 1], 0).into()).expect("listens");
        let own = listener.local_addr().expect("an address");
        assert_eq!(own.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
}
