//! The rule that gives packets of a port to the queue, both ways: a table of nf_tables that the kernel removes with the
//! socket that made it (from Linux 5.12 on).

use std::io;

use anyhow::Context as _;

use crate::packets::netlink::{ACK, APPEND, Attributes, CREATE, Netlink, REQUEST, message};

/// Its name.
const TABLE: &str = "harness-packets";
/// The queue's number: each network namespace has its own.
pub(super) const QUEUE: u16 = 23_800;
/// Packets with this mark are this program's own, and pass.
pub(super) const MARK: u32 = 0x6e66_7130;

/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const GET_TABLE: u16 = SUBSYSTEM << 8 | 1;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
/// `NFT_TABLE_F_OWNER`.
const OWNED: u32 = 2;
/// A dead reader lets everything pass (`NFT_QUEUE_FLAG_BYPASS`, `NFQ_FLAG_BYPASS`).
const BYPASS: u16 = 1;
/// `NF_INET_LOCAL_IN`.
pub(super) const IN: u8 = 1;
/// `NF_INET_LOCAL_OUT`.
pub(super) const OUT: u8 = 3;

/// By which expression a kernel gives packets to a queue.
#[derive(Clone, Copy, Debug)]
enum By {
    /// That of nf_tables (`NFT_QUEUE`).
    Own,
    /// That of iptables (`NETFILTER_XT_TARGET_NFQUEUE`), by way of `NFT_COMPAT`.
    Iptables,
}

/// The rule, while this is kept.
pub(super) struct Rule(Netlink);

impl Rule {
    /// Sets it, by what this kernel has.
    pub(super) fn set(port: u16) -> anyhow::Result<Self> {
        let own = match Self::set_by(port, By::Own) {
            Ok(rule) => return Ok(rule),
            Err(own) => own,
        };
        Self::set_by(port, By::Iptables).with_context(|| {
            format!(
                "no rule of nf_tables gives packets to a queue here (NFT_QUEUE: {own}; NFT_COMPAT with NFQUEUE follows; \
                 Linux 5.12 or later, and CAP_NET_ADMIN, are needed)"
            )
        })
    }

    fn set_by(port: u16, by: By) -> io::Result<Self> {
        let socket = Netlink::open()?;
        let (bytes, last) = batch(&made(port, by));
        socket.ask(&bytes, last)?;
        Ok(Self(socket))
    }

    /// Removes it.
    pub(super) fn remove(self) -> io::Result<()> {
        let flags = REQUEST | ACK;
        let (bytes, last) = batch(&[(DELETE_TABLE, flags, Attributes::default().text(1, TABLE))]);
        self.0.ask(&bytes, last)
    }
}

/// True when there is such a rule in this namespace, of any process.
pub(super) fn is_set() -> io::Result<bool> {
    let name = Attributes::default().text(1, TABLE);
    let asked = message((GET_TABLE, REQUEST | ACK), 1, (IPV4, 0), &name);
    match Netlink::open()?.ask(&asked, 1) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A message of a batch: kind, flags, attributes.
type Step = (u16, u16, Attributes);

/// Messages that take effect together, and the number of the last one that is answered.
fn batch(steps: &[Step]) -> (Vec<u8>, u32) {
    let none = Attributes::default();
    let mut bytes = message((BATCH_BEGIN, REQUEST), 0, (0, SUBSYSTEM), &none);
    let mut number = 0;
    for (kind, flags, attributes) in steps {
        number += 1;
        bytes.extend(message((*kind, *flags), number, (IPV4, 0), attributes));
    }
    let end = (BATCH_END, REQUEST);
    bytes.extend(message(end, number + 1, (0, SUBSYSTEM), &none));
    (bytes, number)
}

/// What makes the table: a chain each for what comes in and goes out, and in it a rule for either end of a connection.
fn made(port: u16, by: By) -> Vec<Step> {
    let flags = REQUEST | ACK;
    let table = Attributes::default().text(1, TABLE).number(2, OWNED);
    let mut steps = vec![(NEW_TABLE, flags | CREATE, table)];
    for (name, hook) in [("in", IN), ("out", OUT)] {
        let place = Attributes::default()
            .number(1, u32::from(hook))
            .number(2, 0);
        let chain = Attributes::default()
            .text(1, TABLE)
            .text(3, name)
            .nest(4, &place)
            .text(7, "filter");
        steps.push((NEW_CHAIN, flags | CREATE, chain));
        for end in [SOURCE_PORT, DESTINATION_PORT] {
            let rule = Attributes::default()
                .text(1, TABLE)
                .text(2, name)
                .nest(4, &expressions(end, port, by));
            steps.push((NEW_RULE, flags | APPEND, rule));
        }
    }
    steps
}

/// Where TCP's header has them.
const SOURCE_PORT: u32 = 0;
const DESTINATION_PORT: u32 = 2;

/// TCP, not marked, this port at this end: to the queue.
fn expressions(end: u32, port: u16, by: By) -> Attributes {
    const TCP: u8 = 6;
    const META_MARK: u32 = 3;
    const META_PROTOCOL: u32 = 16;
    const TRANSPORT_HEADER: u32 = 2;
    const EQUAL: u32 = 0;
    const OTHER: u32 = 1;
    let register = || Attributes::default().number(1, 1);
    let meta = |key| ("meta", register().number(2, key));
    let compare = |how, value: &[u8]| {
        let value = Attributes::default().with(1, value);
        ("cmp", register().number(2, how).nest(3, &value))
    };
    let ports = register()
        .number(2, TRANSPORT_HEADER)
        .number(3, end)
        .number(4, 2);
    [
        meta(META_PROTOCOL),
        compare(EQUAL, &[TCP]),
        meta(META_MARK),
        compare(OTHER, &MARK.to_ne_bytes()),
        ("payload", ports),
        compare(EQUAL, &port.to_be_bytes()),
        queued(by),
    ]
    .into_iter()
    .fold(Attributes::default(), |list, (name, data)| {
        list.nest(1, &Attributes::default().text(1, name).nest(2, &data))
    })
}

fn queued(by: By) -> (&'static str, Attributes) {
    match by {
        By::Own => {
            let numbers = [QUEUE, 1, BYPASS];
            let numbers = (1..).zip(numbers.map(u16::to_be_bytes));
            let all = numbers.fold(Attributes::default(), |all, (kind, value)| {
                all.with(kind, &value)
            });
            ("queue", all)
        }
        By::Iptables => {
            // `xt_NFQ_info_v3`: the first queue, how many, flags; then up to eight bytes.
            let info = [QUEUE, 1, BYPASS, 0].map(u16::to_ne_bytes).concat();
            let target = Attributes::default()
                .text(1, "NFQUEUE")
                .number(2, 3)
                .with(3, &info);
            ("target", target)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::netlink::messages;

    #[test]
    fn the_table_is_its_sockets_own_and_catches_both_ends_both_ways() {
        let (bytes, last) = batch(&made(2380, By::Iptables));
        let all = messages(&bytes);
        let kinds: Vec<u16> = all.iter().map(|message| message.kind).collect();
        let chain = [NEW_CHAIN, NEW_RULE, NEW_RULE];
        let wanted = [&[BATCH_BEGIN, NEW_TABLE][..], &chain, &chain, &[BATCH_END]].concat();
        assert_eq!(kinds, wanted);
        assert_eq!(last, 7);
        assert_eq!(all[7].number, last, "the last rule");
        assert_eq!(all[1].attribute(2), Some(&OWNED.to_be_bytes()[..]));
        let port = 2380_u16.to_be_bytes();
        for rule in all.iter().filter(|message| message.kind == NEW_RULE) {
            let text = rule.attribute(4).expect("expressions");
            let has = |wanted: &[u8]| text.windows(wanted.len()).any(|part| part == wanted);
            assert!(has(&port) && has(&MARK.to_ne_bytes()) && has(b"NFQUEUE\0"));
        }
    }

    #[test]
    fn a_queue_without_a_reader_is_passed_by_in_either_form() {
        for by in [By::Own, By::Iptables] {
            let bytes = message((NEW_RULE, 0), 1, (IPV4, 0), &queued(by).1);
            let all = messages(&bytes);
            let flags = match by {
                By::Own => all[0].attribute(3).expect("flags") == BYPASS.to_be_bytes(),
                By::Iptables => all[0].attribute(3).expect("info")[4..6] == BYPASS.to_ne_bytes(),
            };
            assert!(flags, "{by:?}");
        }
    }
}
