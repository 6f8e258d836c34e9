//! Pure: what `/proc/net/tcp` and `/proc/net/tcp6` tell about connections that were accepted at one port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `TCP_ESTABLISHED` in the column `st`.
const ESTABLISHED: &str = "01";

/// An established connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// The own end.
    pub(super) local: SocketAddr,
    /// The other end.
    pub(super) remote: SocketAddr,
    /// Bytes written that the other kernel has not acknowledged.
    pub(super) unacked: u32,
    /// Times that the kernel has waited in vain and sent again; zero as soon as something is acknowledged.
    pub(super) resent: u32,
}

/// The connections of one file at the own port `port`. Lines that are no sockets are none.
pub(super) fn accepted(text: &str, port: u16) -> impl Iterator<Item = Socket> {
    text.lines()
        .filter_map(move |line| socket(line, port))
        .filter(|socket| socket.remote.port() != 0)
}

/// `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt ...`; most lines are of other ports, and
/// read no further than that.
fn socket(line: &str, port: u16) -> Option<Socket> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let local = words.next()?;
    let (_, at) = local.split_once(':')?;
    if hex(at)? != u32::from(port) {
        return None;
    }
    let remote = words.next()?;
    if words.next()? != ESTABLISHED {
        return None;
    }
    let (unacked, _) = words.next()?.split_once(':')?;
    let resent = words.nth(1)?;
    Some(Socket {
        local: address(local)?,
        remote: address(remote)?,
        unacked: hex(unacked)?,
        resent: hex(resent)?,
    })
}

/// An address is made of numbers of this machine's byte order, in which their bytes are those of the network.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(hex(ip)?.to_ne_bytes()).into(),
        32 => {
            let mut bytes = [0; 16];
            for (n, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&hex(ip.get(n * 8..n * 8 + 8)?)?.to_ne_bytes());
            }
            // A socket of both families has addresses of version 4 within those of version 6.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    let port = u16::try_from(hex(port)?).ok()?;
    Some(SocketAddr::new(ip, port))
}

fn hex(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a machine of little byte order: a server that listens at `[::]:2380`, one of another port, and the other
    /// end of a connection. Linux 6.18.
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 02014D0A:AA9D 01014D0A:094C 01 00000000:00000000 00:00000000 00000000     0        0 68660 1 00000000e705ff4a 20 4 16 10 -1                    
   1: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 123 1 000000001c3c5acd 100 0 0 10 0                       
   2: 01014D0A:094C 03014D0A:AA9E 01 00000032:00000000 01:00000012 00000000     0        0 68662 2 000000002babf88d 20 0 0 18 -1
   3: 01014D0A:094C 03014D0A:AA9F 04 00000032:00000000 01:00000012 00000003     0        0 68663 2 000000002babf88e 20 0 0 18 -1
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:094C 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 68659 1 000000004c750df9 100 0 0 10 0
   1: 0000000000000000FFFF000001014D0A:094C 0000000000000000FFFF000002014D0A:AA9D 01 000000FA:00000000 01:0000000C 00000001     0        0 68661 2 000000002babf88c 40 0 0 1 -1
   2: 000000FD000000000000000001000000:094C 000000FD000000000000000002000000:C350 01 00000000:00000000 00:00000000 00000000     0        0 68671 2 000000002babf88f 20 0 0 18 -1
";

    fn seen(text: &str) -> Vec<(String, String, u32, u32)> {
        accepted(text, 2380)
            .map(|socket| {
                let ends = (socket.local.to_string(), socket.remote.to_string());
                (ends.0, ends.1, socket.unacked, socket.resent)
            })
            .collect()
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn established_connections_of_the_port_are_read_from_both_files() {
        let own = "10.77.1.1:2380".to_owned();
        assert_eq!(
            seen(TCP),
            [(own.clone(), "10.77.1.3:43678".to_owned(), 50, 0)],
            "not what this machine dialled, listens at, or closes"
        );
        assert_eq!(
            seen(TCP6),
            [
                (own, "10.77.1.2:43677".to_owned(), 250, 1),
                (
                    "[fd00::1]:2380".to_owned(),
                    "[fd00::2]:50000".to_owned(),
                    0,
                    0
                )
            ]
        );
    }

    #[test]
    fn what_is_no_socket_is_left_out() {
        let whole =
            "2: 01014D0A:094C 03014D0A:AA9E 01 00000032:00000000 01:00000012 00000000 0 0 68662";
        assert_eq!(seen(whole).len(), 1);
        let words: Vec<&str> = whole.split(' ').collect();
        for n in 0..7 {
            assert_eq!(seen(&words[..n].join(" ")), [], "{n} words");
        }
        for (column, bad) in [
            (1, "x"),
            (1, "01014D0A"),
            (1, "+1014D0A:094C"),
            (1, "01014D0:094C"),
            (1, "01014D0A:1094C"),
            (2, "0301é0A:AA9E"),
            (2, "03014D0A:10000"),
            (2, "03014D0A:"),
            (2, "03014D0A:0000"),
            (2, "0000000000000000FFFF000003014D0:AA9E"),
            (3, "1"),
            (4, "00000032"),
            (4, "100000000:00000000"),
            (4, ":00000000"),
            (6, "-1"),
            (6, ""),
        ] {
            let mut other = words[..7].to_vec();
            other[column] = bad;
            assert_eq!(seen(&other.join(" ")), [], "{column}: {bad}");
        }
        assert_eq!(seen("2: é14D0A:094C éé:AA9E 01 00000032:0 01:0 0"), []);
        assert_eq!(seen("\0\n \n:\n"), []);
    }

    #[test]
    fn the_own_kernel_writes_what_is_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("an address");
        let other = std::net::TcpStream::connect(own).expect("a connection");
        let _accepted = listener.accept().expect("accepted");
        let text = std::fs::read_to_string("/proc/net/tcp").expect("a file of Linux");
        let known: Vec<_> = accepted(&text, own.port()).collect();
        let remote = other.local_addr().expect("an address");
        assert_eq!(known.len(), 1, "{known:?}");
        assert_eq!((known[0].local, known[0].remote), (own, remote));
        assert_eq!((known[0].unacked, known[0].resent), (0, 0));
    }
}
