//! A packet of TCP over IPv4: whose it is, its checksum, a bit of it that is another. Pure.

use std::ops::Range;

/// Addresses and ports of both ends, in the order of the packet: one way of one connection.
pub(super) type Flow = [u8; 12];

/// Where things are in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) flow: Flow,
    /// TCP's header and what it carries.
    segment: Range<usize>,
    /// What it carries.
    payload: Range<usize>,
}

impl Parts {
    /// The parts of a packet; none of one that is no whole one of TCP.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        const TCP: u8 = 6;
        let short = |at: usize| Some(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?));
        let ihl = usize::from(packet.first()? & 15) * 4;
        let fragment = short(6)? & 0x3fff;
        if packet[0] >> 4 != 4 || ihl < 20 || packet.get(9) != Some(&TCP) || fragment != 0 {
            return None;
        }
        let end = usize::from(short(2)?);
        let header = usize::from(packet.get(ihl + 12)? >> 4) * 4;
        let begin = ihl + header;
        if header < 20 || begin > end || end > packet.len() {
            return None;
        }
        let mut flow = [0; 12];
        flow[..8].copy_from_slice(packet.get(12..20)?);
        flow[8..].copy_from_slice(packet.get(ihl..ihl + 4)?);
        Some(Self {
            flow,
            segment: ihl..end,
            payload: begin..end,
        })
    }

    /// True when its receiver would take it.
    fn is_right(&self, packet: &[u8]) -> bool {
        let segment = &packet[self.segment.clone()];
        let length = u32::try_from(segment.len()).unwrap_or(u32::MAX);
        // The pseudo-header: addresses, protocol, length.
        let words = packet[12..20].chunks(2).chain(segment.chunks(2));
        let word = |bytes: &[u8]| {
            let low = bytes.get(1).copied().unwrap_or_default();
            u32::from(u16::from_be_bytes([bytes[0], low]))
        };
        let mut sum = 6 + length + words.map(word).sum::<u32>();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    /// Turns a bit of what it carries, so that its receiver sees that and drops it; `draw` says which. False where that
    /// cannot be: it carries nothing, or its checksum was not right before.
    pub(super) fn flip(&self, packet: &mut [u8], draw: u32) -> bool {
        let bits = self.payload.len() * 8;
        if bits == 0 || !self.is_right(packet) {
            return false;
        }
        let bit = usize::try_from(draw).unwrap_or_default() % bits;
        packet[self.payload.start + bit / 8] ^= 1 << (bit % 8);
        !self.is_right(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet from port 40000 of 10.0.0.1 to port 2380 of 10.0.0.2.
    fn packet(payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(40 + payload.len()).expect("a short one");
        let mut bytes = vec![0x45, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend(40_000_u16.to_be_bytes());
        bytes.extend(2380_u16.to_be_bytes());
        bytes.extend([0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
        bytes.extend(payload);
        let sum = sum(&bytes);
        bytes[36..38].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    /// RFC 1071, written apart from what it tests.
    fn sum(packet: &[u8]) -> u16 {
        let mut words = packet[12..].to_vec();
        words.extend([0, 6]);
        let length = u16::try_from(packet.len() - 20).expect("a short one");
        let odd = words.len() % 2 == 1;
        let mut sum: u64 = u64::from(length);
        if odd {
            // The protocol stands behind the segment: padded before it.
            words.insert(words.len() - 2, 0);
        }
        for pair in words.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair[1]);
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).expect("folded")
    }

    #[test]
    fn the_checksum_of_a_real_packet_is_right_and_each_bit_makes_it_wrong() {
        for payload in [&b"odd"[..], b"even", b"\xff\xff\xff\xff\x00"] {
            let whole = packet(payload);
            let parts = Parts::of(&whole).expect("a packet");
            assert!(parts.is_right(&whole), "{payload:?}");
            let bits = u32::try_from(payload.len() * 8).expect("a few");
            for bit in 0..bits {
                let mut harmed = whole.clone();
                assert!(parts.flip(&mut harmed, bit), "{payload:?}, bit {bit}");
                assert_eq!(harmed[..40], whole[..40], "no header is touched");
                let differ = harmed.iter().zip(&whole).map(|(a, b)| (a ^ b).count_ones());
                assert_eq!(differ.sum::<u32>(), 1);
                assert!(!parts.is_right(&harmed));
            }
        }
    }

    #[test]
    fn what_carries_nothing_or_has_no_checksum_yet_is_left_alone() {
        let mut bare = packet(b"");
        assert!(!Parts::of(&bare).expect("a packet").flip(&mut bare, 3));
        assert_eq!(bare, packet(b""));
        let mut partial = packet(b"data");
        partial[36] ^= 1;
        let before = partial.clone();
        assert!(!Parts::of(&partial).expect("a packet").flip(&mut partial, 3));
        assert_eq!(partial, before);
    }

    #[test]
    fn both_ways_of_a_connection_are_two_flows() {
        let one = Parts::of(&packet(b"a")).expect("a packet");
        assert_eq!(one.flow, Parts::of(&packet(b"b")).expect("a packet").flow);
        let mut back = packet(b"a");
        back.copy_within(12..16, 16);
        assert_ne!(one.flow, Parts::of(&back).expect("a packet").flow);
    }

    #[test]
    fn what_is_no_whole_packet_of_tcp_has_no_parts() {
        let whole = packet(b"data");
        for length in 0..whole.len() {
            assert_eq!(Parts::of(&whole[..length]), None, "{length}");
        }
        let with = |at: usize, value: u8| {
            let mut other = whole.clone();
            other[at] = value;
            Parts::of(&other)
        };
        assert_eq!(with(0, 0x65), None, "IPv6");
        assert_eq!(with(0, 0x41), None, "a header of four bytes");
        assert_eq!(with(9, 17), None, "UDP");
        assert_eq!(with(6, 0x20), None, "the first of several fragments");
        assert_eq!(with(7, 1), None, "a later fragment");
        assert_eq!(with(32, 0xf0), None, "a header behind the end");
    }
}
