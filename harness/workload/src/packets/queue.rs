//! The queue: packets that wait in the kernel until this program says what becomes of each.

use std::io;

use anyhow::Context as _;

use crate::packets::netlink::{ACK, Attributes, Netlink, REQUEST, Received, message};
use crate::packets::rule::QUEUE;

/// `NFNL_SUBSYS_QUEUE`.
const SUBSYSTEM: u16 = 3;
const PACKET: u16 = SUBSYSTEM << 8;
const VERDICT: u16 = SUBSYSTEM << 8 | 1;
const CONFIG: u16 = SUBSYSTEM << 8 | 2;
/// Most packets that wait; the next one passes.
const WAITING_MAX: u32 = 1024;
/// Bytes of packets that are not read yet.
const UNREAD_MAX: usize = 4 * 1024 * 1024;
/// `NFQA_CFG_F_FAIL_OPEN`: what finds the queue full passes.
const FAIL_OPEN: u32 = 1;

/// A packet that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The kernel's number of it.
    pub(super) id: u32,
    /// `NF_INET_LOCAL_IN` or `NF_INET_LOCAL_OUT`.
    pub(super) hook: u8,
    /// From its IP header on. The kernel has cut it into what goes over the wire, with its checksums, as
    /// `NFQA_CFG_F_GSO` is not set.
    pub(super) bytes: Vec<u8>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate<'a> {
    Lost,
    Passes,
    /// With these bytes in place of its own. The kernel does not touch its checksums then.
    Changed(&'a [u8]),
}

/// Reads packets and answers for each.
pub(super) struct Queue(Netlink);

impl Queue {
    /// Opens the queue of this namespace.
    pub(super) fn open() -> anyhow::Result<Self> {
        let socket = Netlink::open().context("failed to reach the kernel's netfilter")?;
        socket.set_unread_max(UNREAD_MAX)?;
        for (number, attributes) in (1..).zip(configuration()) {
            let asked = message((CONFIG, REQUEST | ACK), number, (0, QUEUE), &attributes);
            socket.ask(&asked, number).with_context(|| {
                "failed to open a queue of packets: the kernel needs NETFILTER_NETLINK_QUEUE, this process CAP_NET_ADMIN"
            })?;
        }
        socket.set_nonblocking()?;
        Ok(Self(socket))
    }

    /// The socket, to be waited for.
    pub(super) fn socket(&self) -> &Netlink {
        &self.0
    }

    /// Says what becomes of a packet.
    pub(super) fn answer(&self, id: u32, fate: Fate<'_>) -> io::Result<()> {
        self.0.send(&answer(id, fate))
    }
}

/// What is asked of the queue, in order: it is ours; it gives whole packets; when it is full they pass.
fn configuration() -> [Attributes; 4] {
    let one = Attributes::default;
    let mut whole = 0xffff_u32.to_be_bytes().to_vec();
    whole.push(2);
    [
        // NFQNL_CFG_CMD_BIND
        one().with(1, &[1, 0, 0, 0]),
        // NFQNL_COPY_PACKET
        one().with(2, &whole),
        one().number(3, WAITING_MAX),
        one().number(4, FAIL_OPEN).number(5, FAIL_OPEN),
    ]
}

fn answer(id: u32, fate: Fate<'_>) -> Vec<u8> {
    let passes = u32::from(fate != Fate::Lost);
    let head = [passes.to_be_bytes(), id.to_be_bytes()].concat();
    let mut attributes = Attributes::default().with(2, &head);
    if let Fate::Changed(bytes) = fate {
        attributes = attributes.with(10, bytes);
    }
    message((VERDICT, REQUEST), 0, (0, QUEUE), &attributes)
}

/// The packet that a message of the kernel is.
pub(super) fn waiting(message: &Received<'_>) -> Option<Waiting> {
    if message.kind != PACKET {
        return None;
    }
    let head = message.attribute(1)?;
    let id = u32::from_be_bytes(head.get(..4)?.try_into().ok()?);
    Some(Waiting {
        id,
        hook: *head.get(6)?,
        bytes: message.attribute(10).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::netlink::messages;
    use crate::packets::rule::OUT;

    #[test]
    fn a_packet_is_read_with_its_number_and_its_way() {
        let attributes = Attributes::default()
            .with(1, &[0, 0, 1, 2, 8, 0, OUT])
            .with(10, b"packet");
        let bytes = message((PACKET, 0), 0, (2, QUEUE), &attributes);
        let packet = waiting(&messages(&bytes)[0]).expect("a packet");
        let wanted = Waiting {
            id: 258,
            hook: OUT,
            bytes: b"packet".to_vec(),
        };
        assert_eq!(packet, wanted);
        let other = message((VERDICT, 0), 0, (2, QUEUE), &attributes);
        assert_eq!(waiting(&messages(&other)[0]), None);
    }

    #[test]
    fn an_answer_names_the_packet_and_has_bytes_only_where_they_changed() {
        let head = |fate| {
            let bytes = answer(258, fate);
            let message = messages(&bytes)[0];
            let head = message.attribute(2).expect("a head").to_vec();
            (head, message.attribute(10).map(<[u8]>::to_vec))
        };
        assert_eq!(head(Fate::Lost), (vec![0, 0, 0, 0, 0, 0, 1, 2], None));
        assert_eq!(head(Fate::Passes).0, [0, 0, 0, 1, 0, 0, 1, 2]);
        let changed = head(Fate::Changed(b"new"));
        assert_eq!(changed.0, [0, 0, 0, 1, 0, 0, 1, 2]);
        assert_eq!(changed.1.as_deref(), Some(&b"new"[..]));
    }

    #[test]
    fn a_full_queue_passes_what_comes() {
        let flags = message((CONFIG, 0), 0, (0, QUEUE), &configuration()[3]);
        let all = messages(&flags);
        assert_eq!(all[0].attribute(5), Some(&FAIL_OPEN.to_be_bytes()[..]));
        assert_eq!(all[0].attribute(4), all[0].attribute(5), "the mask");
    }
}
