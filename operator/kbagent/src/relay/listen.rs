//! Stands by at etcd's address, behind etcd; and beside it when it dies.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use nix::libc::{BPF_K, BPF_RET, sock_filter, sock_fprog};
use nix::sys::socket::{setsockopt, sockopt::AttachReusePortCbpf};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;
/// Connections that etcd must get before the kernel is believed to prefer it: a fair coin would show itself.
const TRIES: usize = 8;

/// Listens as IPv6 on the mapped address, so that etcd's own socket, of IPv4, goes before it.
///
/// # Errors
/// When a process of another user has the port or does not share it, or the kernel has no IPv6.
pub(super) fn listen(ip: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
    let socket = sharing(Domain::IPV6)?;
    socket.set_only_v6(false)?;
    socket.bind(&SocketAddr::from((ip.to_ipv6_mapped(), port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn sharing(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Listens as IPv4 beside an etcd that is dying, and has the kernel give all connections to the second of the group of
/// sockets that share the port: to this one while the dying one is the first. A number that does not exist is as if
/// nothing was said: when the dying one is gone this is the only one. The next etcd's is the second again, and gets all
/// that comes from then on.
///
/// # Errors
/// When the socket cannot be had, or the kernel takes no such choice.
pub(super) fn listen_beside(ip: Ipv4Addr, port: u16) -> io::Result<TcpListener> {
    let socket = sharing(Domain::IPV4)?;
    socket.bind(&SocketAddr::from((ip, port)).into())?;
    // The choice is the group's, which there is only now.
    socket.listen(BACKLOG)?;
    let mut second = sock_filter {
        code: u16::try_from(BPF_RET | BPF_K).map_err(io::Error::other)?,
        jt: 0,
        jf: 0,
        k: 1,
    };
    let choice = sock_fprog {
        len: 1,
        filter: &raw mut second,
    };
    setsockopt(&socket, AttachReusePortCbpf, &choice)?;
    Ok(socket.into())
}

/// What came while [`behind`] looked.
pub(super) struct Tried {
    /// Whether all went to the other listener.
    pub(super) behind: bool,
    /// Clients that came here meanwhile.
    pub(super) clients: Vec<(TcpStream, SocketAddr)>,
}

/// Finds out whether the kernel prefers the listener that shares the port, which must be there.
///
/// # Errors
/// When a connection fails: nothing is known then.
pub(super) async fn behind(listener: &TcpListener, address: SocketAddr) -> io::Result<Tried> {
    let mut own = Vec::new();
    for _ in 0..TRIES {
        own.push(tokio::net::TcpStream::connect(address).await?);
    }
    let ours: Vec<_> = own.iter().filter_map(|one| one.local_addr().ok()).collect();
    let mut tried = Tried {
        behind: true,
        clients: Vec::new(),
    };
    while let Ok((stream, from)) = listener.accept() {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if ours.contains(&from) {
            tried.behind = false;
        } else {
            tried.clients.push((stream, from));
        }
    }
    Ok(tried)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Go listens on an IPv4 address when it is told to share the port.
    fn etcd(ip: Ipv4Addr, port: u16) -> TcpListener {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("set");
        socket.set_reuse_port(true).expect("set");
        socket.set_nonblocking(true).expect("set");
        let address = SocketAddr::from((ip, port));
        socket.bind(&address.into()).expect("bind");
        socket.listen(BACKLOG).expect("listen");
        socket.into()
    }

    fn taken(listener: &TcpListener) -> usize {
        std::iter::from_fn(|| listener.accept().ok()).count()
    }

    fn connections(address: SocketAddr) -> Vec<TcpStream> {
        let connect = |_| TcpStream::connect(address).expect("accepted");
        (0..50).map(connect).collect()
    }

    #[tokio::test]
    async fn who_stands_by_gets_nothing_while_etcd_listens_and_all_when_it_does_not() {
        for etcd_first in [true, false] {
            let ip = Ipv4Addr::new(127, 77, 90, 1);
            let first = etcd(ip, 0);
            let address = first.local_addr().expect("address");
            let port = address.port();
            let mut serving = Some(first).filter(|_| etcd_first);
            let ours = listen(ip, port).expect("listen");
            for _ in 0..20 {
                let theirs = serving.take().unwrap_or_else(|| etcd(ip, port));
                let held = connections(address);
                assert_eq!((taken(&theirs), taken(&ours)), (50, 0));
                assert!(behind(&ours, address).await.expect("tried").behind);
                drop(theirs);
                drop(held);
                let held = connections(address);
                assert_eq!(taken(&ours), 50);
                drop(held);
                assert!(!behind(&ours, address).await.expect("tried").behind);
            }
        }
    }

    #[test]
    fn who_listens_beside_a_dying_etcd_gets_all_until_the_next_one_listens() {
        let ip = Ipv4Addr::new(127, 77, 90, 3);
        let mut serving = etcd(ip, 0);
        let address = serving.local_addr().expect("address");
        let standby = listen(ip, address.port()).expect("listen");
        for _ in 0..20 {
            let before = connections(address);
            assert_eq!((taken(&serving), taken(&standby)), (50, 0));
            let ours = listen_beside(ip, address.port()).expect("listen");
            let while_it_dies = connections(address);
            assert_eq!((taken(&serving), taken(&ours)), (0, 50));
            drop(serving);
            let while_it_is_dead = connections(address);
            assert_eq!((taken(&ours), taken(&standby)), (50, 0));
            serving = etcd(ip, address.port());
            let after = connections(address);
            assert_eq!((taken(&serving), taken(&ours)), (50, 0));
            drop(ours);
            let last = connections(address);
            assert_eq!((taken(&serving), taken(&standby)), (50, 0));
            drop((before, while_it_dies, while_it_is_dead, after, last));
        }
    }

    #[test]
    fn who_comes_when_etcd_is_dead_already_leaves_all_to_the_next_one() {
        let ip = Ipv4Addr::new(127, 77, 90, 4);
        let first = etcd(ip, 0);
        let address = first.local_addr().expect("address");
        drop(first);
        let ours = listen_beside(ip, address.port()).expect("listen");
        let held = connections(address);
        assert_eq!(taken(&ours), 50);
        let next = etcd(ip, address.port());
        let later = connections(address);
        assert_eq!((taken(&next), taken(&ours)), (50, 0));
        drop((held, later));
    }

    #[test]
    fn a_port_that_is_not_shared_is_left_to_its_owner() {
        let ip = Ipv4Addr::new(127, 77, 90, 2);
        let owner = TcpListener::bind((ip, 0)).expect("bind");
        let port = owner.local_addr().expect("address").port();
        let error = listen(ip, port).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
