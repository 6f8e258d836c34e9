//! Real sockets and the real kernel: `ignored` by reason where the capability is missing.

use std::io::{ErrorKind, Read};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use super::*;

/// True where cutting works; says why not otherwise.
fn able() -> bool {
    Cutter::take_capability();
    match Cutter::trial() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("ignored: {error}");
            false
        }
    }
}

fn pair(listener: &TcpListener, to: SocketAddr) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(to).expect("connect");
    client
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("timeout");
    let (server, _) = listener.accept().expect("accept");
    (client, server)
}

#[test]
fn an_established_connection_is_reset_and_the_listener_lives() {
    if !able() {
        return;
    }
    let listener = TcpListener::bind(("127.0.0.2", 0)).expect("bind");
    let address = listener.local_addr().expect("address");
    let (mut client, mut server) = pair(&listener, address);
    let cutter = Cutter::new(address.port(), Scope::To(address.ip()));
    assert_eq!(cutter.cut().expect("cut"), 1);
    let mut byte = [0];
    assert_eq!(
        client.read(&mut byte).expect_err("reset").kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        server.read(&mut byte).expect_err("aborted").kind(),
        ErrorKind::ConnectionAborted
    );
    let _again = pair(&listener, address);
    assert_eq!(cutter.cut().expect("cut"), 1, "the next one as well");
    assert_eq!(cutter.cut().expect("cut"), 0, "nothing is left");
}

#[test]
fn loopback_peers_are_spared_and_other_ports_untouched() {
    if !able() {
        return;
    }
    let listener = TcpListener::bind(("127.0.0.2", 0)).expect("bind");
    let address = listener.local_addr().expect("address");
    let _pair = pair(&listener, address);
    assert_eq!(
        Cutter::new(address.port(), Scope::SpareLoopback)
            .cut()
            .expect("cut"),
        0,
        "loopback is spared"
    );
    let other = TcpListener::bind(("127.0.0.2", 0)).expect("bind");
    let port = other.local_addr().expect("address").port();
    assert_eq!(
        Cutter::new(port, Scope::To(address.ip()))
            .cut()
            .expect("cut"),
        0,
        "there is no connection there"
    );
}

#[test]
fn both_families_are_cut_also_ipv4_on_a_socket_of_ipv6() {
    if !able() {
        return;
    }
    let Ok(listener) = TcpListener::bind(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 0, 0, 0)) else {
        eprintln!("ignored: no IPv6 here");
        return;
    };
    let port = listener.local_addr().expect("address").port();
    let (mut mapped, _server) = pair(&listener, ([127, 0, 0, 1], port).into());
    let (mut six, _other) = pair(&listener, (Ipv6Addr::LOCALHOST, port).into());
    assert_eq!(
        Cutter::new(port, Scope::SpareLoopback).cut().expect("cut"),
        0,
        "a mapped loopback is loopback"
    );
    let four = Cutter::new(port, Scope::To(Ipv4Addr::LOCALHOST.into()));
    assert_eq!(four.cut().expect("cut"), 1);
    let six_only = Cutter::new(port, Scope::To(Ipv6Addr::LOCALHOST.into()));
    assert_eq!(six_only.cut().expect("cut"), 1);
    let mut byte = [0];
    assert_eq!(
        mapped.read(&mut byte).expect_err("reset").kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(
        six.read(&mut byte).expect_err("reset").kind(),
        ErrorKind::ConnectionReset
    );
}
