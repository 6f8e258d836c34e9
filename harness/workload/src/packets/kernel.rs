//! What the kernel itself has counted of TCP in this network namespace. It counts clients' connections too, to which
//! nothing is done.

use std::fs;

use anyhow::Context as _;
use serde::Serialize;

/// Figures since the start of the namespace, or between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Kernel {
    /// Segments that were sent again.
    pub(super) sent_again: u64,
    /// Segments that were dropped because their checksum was wrong.
    pub(super) checksum_wrong: u64,
    /// Segments that came before an earlier one.
    pub(super) out_of_order: u64,
    /// Segments that came a second time, here or, as it said, at the other end (DSACK).
    pub(super) doubled: u64,
}

impl Kernel {
    /// Reads them.
    pub(super) fn read() -> anyhow::Result<Self> {
        let read = |name| {
            let path = format!("/proc/self/net/{name}");
            fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))
        };
        Ok(Self::parse(&[read("snmp")?, read("netstat")?].concat()))
    }

    /// Pairs of lines: names, then figures. A figure that this kernel does not have is none.
    fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let figure = |group: &str, name: &str| {
            let mut pairs = lines.windows(2).filter(|pair| {
                let mut first = pair.iter().map(|line| line.split_whitespace().next());
                first.all(|first| first == Some(group))
            });
            let pair = pairs.next()?;
            let at = pair[0].split_whitespace().position(|word| word == name)?;
            pair[1].split_whitespace().nth(at)?.parse::<u64>().ok()
        };
        let figure = |group, name| figure(group, name).unwrap_or_default();
        Self {
            sent_again: figure("Tcp:", "RetransSegs"),
            checksum_wrong: figure("Tcp:", "InCsumErrors"),
            out_of_order: figure("TcpExt:", "TCPOFOQueue"),
            doubled: figure("TcpExt:", "TCPDSACKOldSent")
                + figure("TcpExt:", "TCPDSACKOfoSent")
                + figure("TcpExt:", "TCPDSACKRecv"),
        }
    }

    /// What has been added since an earlier look.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            sent_again: self.sent_again.saturating_sub(before.sent_again),
            checksum_wrong: self.checksum_wrong.saturating_sub(before.checksum_wrong),
            out_of_order: self.out_of_order.saturating_sub(before.out_of_order),
            doubled: self.doubled.saturating_sub(before.doubled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: MaxConn InSegs RetransSegs InCsumErrors
Tcp: -1 90 7 3
TcpExt: SyncookiesSent TCPDSACKOldSent TCPDSACKOfoSent TCPDSACKRecv TCPOFOQueue
TcpExt: 0 5 1 2 11
";

    #[test]
    fn figures_are_found_by_their_names() {
        let kernel = Kernel::parse(TEXT);
        let wanted = Kernel {
            sent_again: 7,
            checksum_wrong: 3,
            out_of_order: 11,
            doubled: 8,
        };
        assert_eq!(kernel, wanted);
        assert_eq!(Kernel::parse("Tcp: MaxConn\nTcp: -1\n"), Kernel::default());
        assert_eq!(Kernel::parse(""), Kernel::default());
    }

    #[test]
    fn what_was_there_before_does_not_count() {
        let before = Kernel::parse(TEXT);
        let mut now = before;
        now.sent_again += 2;
        let since = now.since(&before);
        assert_eq!((since.sent_again, since.checksum_wrong), (2, 0));
    }
}
