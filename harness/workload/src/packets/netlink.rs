//! Messages to the kernel's netfilter and back, in their bytes (netlink(7)), and the socket that carries them.

use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// `AF_NETLINK`.
const AF_NETLINK: i32 = 16;
/// `NETLINK_NETFILTER`.
const NETFILTER: i32 = 12;
/// The kernel answers at once.
const ANSWER: Duration = Duration::from_secs(2);
/// Longest message of the kernel: a packet of 64 KiB and what is known of it.
pub(super) const MESSAGE_MAX: usize = 128 * 1024;

/// It is a request.
pub(super) const REQUEST: u16 = 1;
/// It is answered in any case.
pub(super) const ACK: u16 = 4;
/// It makes something that is not there yet (`NLM_F_EXCL | NLM_F_CREATE`).
pub(super) const CREATE: u16 = 0x200 | 0x400;
/// It adds to the end of a list (`NLM_F_CREATE | NLM_F_APPEND`).
pub(super) const APPEND: u16 = 0x400 | 0x800;

/// `NLMSG_ERROR`, also the answer of success.
const ERROR: u16 = 2;
/// An attribute has attributes in it.
const NESTED: u16 = 0x8000;
/// Bits of an attribute's kind that are none of it.
const KIND: u16 = 0x3fff;
const HEADER: usize = 16;
/// Of netfilter's own header: family, version, resource.
const NETFILTER_HEADER: usize = 4;

/// Attributes of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// With one more.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("an attribute is shorter than 64 KiB");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// With a number in the order of the network.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.with(kind, &value.to_be_bytes())
    }

    /// With a text.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        self.with(kind, &[value.as_bytes(), &[0]].concat())
    }

    /// With attributes in it.
    pub(super) fn nest(self, kind: u16, inside: &Attributes) -> Self {
        self.with(kind | NESTED, &inside.0)
    }
}

/// A message: its kind and flags, its number, netfilter's family and resource, its attributes.
pub(super) fn message(
    (kind, flags): (u16, u16),
    number: u32,
    (family, resource): (u8, u16),
    attributes: &Attributes,
) -> Vec<u8> {
    let length = HEADER + NETFILTER_HEADER + attributes.0.len();
    let length = u32::try_from(length).expect("a message is shorter than 4 GiB");
    let mut bytes = Vec::new();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(number.to_ne_bytes());
    // From no port: the kernel knows the socket's.
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(&attributes.0);
    bytes
}

/// A message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received<'a> {
    pub(super) kind: u16,
    pub(super) number: u32,
    body: &'a [u8],
}

impl<'a> Received<'a> {
    /// How a request has ended, if this says so.
    pub(super) fn end(&self) -> Option<io::Result<()>> {
        if self.kind != ERROR {
            return None;
        }
        Some(match int(self.body, 0)?.cast_signed() {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        })
    }

    /// The value of its first attribute of a kind.
    pub(super) fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        let mut rest = self.body.get(NETFILTER_HEADER..)?;
        loop {
            let length = usize::from(short(rest, 0)?);
            let value = rest.get(4..length)?;
            if short(rest, 2)? & KIND == kind {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

fn int(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// The messages that these bytes are, up to one that is no whole one.
pub(super) fn messages(bytes: &[u8]) -> Vec<Received<'_>> {
    let first = |bytes: &'_ [u8]| {
        let length = usize::try_from(int(bytes, 0)?).ok()?;
        bytes.get(HEADER..length)?;
        Some((short(bytes, 4)?, int(bytes, 8)?, length))
    };
    let mut all = Vec::new();
    let mut rest = bytes;
    while let Some((kind, number, length)) = first(rest) {
        let body = &rest[HEADER..length];
        all.push(Received { kind, number, body });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    all
}

/// A socket to the kernel's netfilter, in the namespace of this process.
pub(super) struct Netlink(Socket);

impl Netlink {
    /// Opens one.
    pub(super) fn open() -> io::Result<Self> {
        let domain = Domain::from(AF_NETLINK);
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(NETFILTER)))?;
        socket.set_read_timeout(Some(ANSWER))?;
        Ok(Self(socket))
    }

    /// Sends messages as one.
    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.0.send(bytes).map(drop)
    }

    /// Reads what has come.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Sends requests and waits until the one of this number has ended well, or any has not.
    pub(super) fn ask(&self, bytes: &[u8], last: u32) -> io::Result<()> {
        self.send(bytes)?;
        let mut buffer = vec![0; MESSAGE_MAX];
        loop {
            let length = self.receive(&mut buffer)?;
            for message in messages(&buffer[..length]) {
                match message.end() {
                    Some(Ok(())) if message.number != last => {}
                    Some(end) => return end,
                    None => {}
                }
            }
        }
    }

    /// From now on nothing is waited for.
    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        self.0.set_nonblocking(true)
    }

    /// So many bytes may wait until they are read.
    pub(super) fn set_unread_max(&self, bytes: usize) -> io::Result<()> {
        self.0.set_recv_buffer_size(bytes)
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let inside = Attributes::default().text(1, "ab");
        let attributes = Attributes::default()
            .with(3, &[7])
            .nest(4, &inside)
            .number(5, 9);
        let mut bytes = message((0x301, REQUEST | ACK), 8, (2, 258), &attributes);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes[16..20], [2, 0, 1, 2], "family, version, resource");
        bytes.extend(message((2, 0), 9, (0, 0), &Attributes::default()));
        let all = messages(&bytes);
        let kinds: Vec<_> = all.iter().map(|one| (one.kind, one.number)).collect();
        assert_eq!(kinds, [(0x301, 8), (2, 9)]);
        assert_eq!(all[0].attribute(3), Some(&[7][..]));
        assert_eq!(all[0].attribute(5), Some(&[0, 0, 0, 9][..]));
        let nested = all[0].attribute(4).expect("it is there");
        assert_eq!(nested[4..7], *b"ab\0");
        assert_eq!(all[0].attribute(6), None);
        assert!(all[0].end().is_none());
    }

    #[test]
    fn an_answer_is_a_success_or_says_what_failed() {
        let answer = |error: i32| {
            let mut bytes = message((ERROR, 0), 1, (0, 0), &Attributes::default());
            bytes[16..20].copy_from_slice(&error.to_ne_bytes());
            let all = messages(&bytes);
            all[0].end().expect("an end")
        };
        assert!(answer(0).is_ok());
        let refused = answer(-1).expect_err("not permitted");
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn what_is_cut_off_is_no_message_and_no_attribute() {
        let attributes = Attributes::default().with(3, &[1, 2, 3, 4]);
        let bytes = message((1, 0), 1, (0, 0), &attributes);
        for length in 0..bytes.len() {
            assert!(messages(&bytes[..length]).is_empty(), "{length}");
        }
        let mut torn = bytes;
        torn[20] = 200;
        assert_eq!(messages(&torn)[0].attribute(3), None);
        // An attribute that claims to be shorter than its head must not be read for ever.
        torn[20] = 0;
        assert_eq!(messages(&torn)[0].attribute(9), None);
    }
}
