//! Finds and destroys TCP connections of this network namespace through netlink (`SOCK_DESTROY`): the peer gets a
//! reset, and the process, hanging or not, an error. Needs `CAP_NET_ADMIN`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{SockDiagDestroy, SockDiagMessage};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Why connections could not be cut.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// The capability is missing.
    #[error("failed to cut a connection: this process has no CAP_NET_ADMIN")]
    NotPermitted,
    /// The kernel cannot do it.
    #[error(
        "failed to cut a connection: this kernel has no SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY)"
    )]
    NotSupported,
    /// Netlink failed.
    #[error("failed to speak to the kernel's socket diagnostics")]
    Netlink(#[source] io::Error),
    /// The kernel's answer cannot be read.
    #[error("failed to read the kernel's answer: {0}")]
    Answer(String),
}

impl From<io::Error> for FenceError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            io::ErrorKind::Unsupported => Self::NotSupported,
            _ => Self::Netlink(error),
        }
    }
}

/// Whose connections are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All but those whose peer is a loopback address: kbagent's own, the exporter's and a person's in the container.
    SpareLoopback,
    /// Those to this local address, from any peer: for several members in one network namespace (tests).
    To(IpAddr),
}

/// Cuts established connections to one local port.
#[derive(Clone, Copy, Debug)]
pub struct Cutter {
    port: u16,
    scope: Scope,
}

impl Cutter {
    /// For connections to local `port`.
    #[must_use]
    pub fn new(port: u16, scope: Scope) -> Self {
        Self { port, scope }
    }

    /// Takes the capability into effect if the executable was permitted it. To be called before other threads start.
    pub fn take_capability() {
        if let Ok(mut sets) = capabilities(None)
            && sets.permitted.contains(CapabilitySet::NET_ADMIN)
            && !sets.effective.contains(CapabilitySet::NET_ADMIN)
        {
            sets.effective |= CapabilitySet::NET_ADMIN;
            if let Err(error) = set_capabilities(None, sets) {
                tracing::warn!(%error, "failed to take CAP_NET_ADMIN into effect");
            }
        }
    }

    /// Cuts a connection of its own as a trial.
    ///
    /// # Errors
    /// When connections cannot be cut here.
    pub fn trial() -> Result<(), FenceError> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let _client = TcpStream::connect(("127.0.0.1", port))?;
        let _server = listener.accept()?;
        let cut = Self::new(port, Scope::To(Ipv4Addr::LOCALHOST.into())).cut()?;
        if cut == 0 {
            return Err(FenceError::Answer(
                "the trial connection was not found".into(),
            ));
        }
        Ok(())
    }

    /// Cuts what is established now; the number of connections.
    ///
    /// # Errors
    /// When the kernel refuses. A connection that went away by itself meanwhile is no error.
    pub fn cut(&self) -> Result<usize, FenceError> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&NetlinkAddr::new(0, 0))?;
        // The kernel has its answer ready when `send` returns: waiting would only hide a fault.
        socket.set_non_blocking(true)?;
        let mut cut = 0;
        for family in [AF_INET, AF_INET6] {
            for id in self.established(&socket, family)? {
                cut += usize::from(destroy(&socket, family, id)?);
            }
        }
        Ok(cut)
    }

    fn established(&self, socket: &Socket, family: u8) -> Result<Vec<SocketId>, FenceError> {
        let mut filter = if family == AF_INET {
            SocketId::new_v4()
        } else {
            SocketId::new_v6()
        };
        filter.source_port = self.port;
        let request = request(
            family,
            filter,
            StateFlags::ESTABLISHED | StateFlags::SYN_RECV,
        );
        send(
            socket,
            NLM_F_REQUEST | NLM_F_DUMP,
            SockDiagMessage::InetRequest(request),
        )?;
        let mut found = Vec::new();
        loop {
            let (bytes, _) = socket.recv_from_full()?;
            let mut done = false;
            each::<SockDiagMessage>(&bytes, |payload| {
                match payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        let id = response.header.socket_id;
                        if self.is_clients(&id) {
                            found.push(id);
                        }
                    }
                    NetlinkPayload::Done(_) => done = true,
                    NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                    _ => {}
                }
                Ok(())
            })?;
            if done {
                return Ok(found);
            }
        }
    }

    fn is_clients(&self, id: &SocketId) -> bool {
        let in_scope = match self.scope {
            Scope::SpareLoopback => !id.destination_address.to_canonical().is_loopback(),
            Scope::To(address) => id.source_address.to_canonical() == address,
        };
        id.source_port == self.port && in_scope
    }
}

fn request(family: u8, socket_id: SocketId, states: StateFlags) -> InetRequest {
    InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    }
}

/// True when the connection was there and is cut.
fn destroy(socket: &Socket, family: u8, id: SocketId) -> Result<bool, FenceError> {
    let request = SockDiagMessage::InetRequest(request(family, id, StateFlags::all()));
    send(
        socket,
        NLM_F_REQUEST | NLM_F_ACK,
        SockDiagDestroy::new(request),
    )?;
    let (bytes, _) = socket.recv_from_full()?;
    let mut cut = false;
    each::<SockDiagMessage>(&bytes, |payload| {
        if let NetlinkPayload::Error(answer) = payload {
            match answer.code {
                None => cut = true,
                Some(_) if answer.to_io().kind() == io::ErrorKind::NotFound => {}
                Some(_) => return Err(answer.to_io().into()),
            }
        }
        Ok(())
    })?;
    Ok(cut)
}

fn send<M>(socket: &Socket, flags: u16, message: M) -> Result<(), FenceError>
where
    M: NetlinkSerializable + Into<NetlinkPayload<M>>,
{
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut packet = NetlinkMessage::new(header, message.into());
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    Ok(())
}

/// Reads every message of one datagram.
fn each<M: NetlinkDeserializable>(
    bytes: &[u8],
    mut read: impl FnMut(NetlinkPayload<M>) -> Result<(), FenceError>,
) -> Result<(), FenceError> {
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let message = NetlinkMessage::<M>::deserialize(rest)
            .map_err(|error| FenceError::Answer(error.to_string()))?;
        let length = usize::try_from(message.header.length).unwrap_or(0);
        if length == 0 {
            return Ok(());
        }
        read(message.payload)?;
        // Messages lie at multiples of four bytes.
        offset += length.next_multiple_of(4);
    }
    Ok(())
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
