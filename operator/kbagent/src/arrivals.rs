//! Whether connections still come to this pod, by the kernel's count of those that were accepted in its network
//! namespace. The proxies of other nodes learn of another leader at their own pace, and on a slow node late: a client
//! that one of them still sends here finds a member that serves, as long as etcd is not told to stop before they cease.
//!
//! The count is of all ports: the kubelet's probes are in it too, which costs a moment. No connection is missed,
//! however short: a list of those that are open would not show one that was closed between two looks.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The kernel's counts of this network namespace.
const COUNTS: &str = "/proc/net/snmp";
/// The protocol, and its count of connections that were accepted.
const PROTOCOL: &str = "Tcp: ";
const ACCEPTED: &str = "PassiveOpens";

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(25);
/// Looks in a row at which none has come: a quarter of a second, and more on a machine that stalls, where a stall is
/// one look, because no client could have come meanwhile.
const QUIET: u32 = 10;
/// Longest wait: clients that dial this pod by its own name may never cease.
pub(crate) const MOST: Duration = Duration::from_secs(3);

/// Waits until no connections come to this pod any more; false when they still do after [`MOST`].
pub(crate) async fn cease() -> bool {
    ceased(accepted).await
}

/// Connections that were accepted here so far; `None` where the kernel does not say, and a quarter of a second has to
/// do.
fn accepted() -> Option<u64> {
    parse(&std::fs::read_to_string(COUNTS).ok()?)
}

/// A protocol has two lines: names, and what they are.
fn parse(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(PROTOCOL));
    let (mut names, values) = (lines.next()?.split_whitespace(), lines.next()?);
    let place = names.position(|name| name == ACCEPTED)?;
    values.split_whitespace().nth(place)?.parse().ok()
}

async fn ceased(mut accepted: impl FnMut() -> Option<u64>) -> bool {
    let until = Instant::now() + MOST;
    let mut quiet = Quiet::from(accepted());
    loop {
        sleep(LOOK).await;
        if quiet.look(accepted()) {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
    }
}

/// Pure: the looks at which nothing was new.
#[derive(Debug)]
struct Quiet {
    last: Option<u64>,
    looks: u32,
}

impl From<Option<u64>> for Quiet {
    fn from(last: Option<u64>) -> Self {
        Self { last, looks: 0 }
    }
}

impl Quiet {
    /// True when it has been quiet for long enough.
    fn look(&mut self, now: Option<u64>) -> bool {
        let quiet = std::mem::replace(&mut self.last, now) == now;
        self.looks = if quiet { self.looks + 1 } else { 0 };
        self.looks >= QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits while a connection comes every so often for so long: whether they ceased, and after how many milliseconds.
    async fn waits(every_ms: u128, for_ms: u128) -> (bool, u128) {
        let begun = Instant::now();
        let ceased = ceased(|| {
            let passed = begun.elapsed().as_millis().min(for_ms);
            u64::try_from(7 + passed / every_ms).ok()
        });
        (ceased.await, begun.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_is_late_is_waited_for() {
        let (ceased, after) = waits(50, 0).await;
        assert!(ceased && (250..300).contains(&after), "{after} ms");
        // Its rules came 400 ms late, and twenty clients a second dialled by the old ones.
        let (ceased, after) = waits(50, 400).await;
        assert!(ceased && (650..750).contains(&after), "{after} ms");
        let (ceased, after) = waits(100, 2_000).await;
        assert!(ceased && (2_250..2_400).contains(&after), "{after} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_never_cease_are_waited_for_for_three_seconds() {
        let (ceased, after) = waits(100, u128::MAX).await;
        assert!(!ceased && (3_000..3_100).contains(&after), "{after} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_kernel_does_not_say_a_quarter_of_a_second_has_to_do() {
        let begun = Instant::now();
        assert!(ceased(|| None).await);
        let after = begun.elapsed().as_millis();
        assert!((250..300).contains(&after), "{after} ms");
    }

    #[test]
    fn a_stall_is_one_look_however_long_it_is() {
        let mut quiet = Quiet::from(Some(1));
        for _ in 1..QUIET {
            assert!(!quiet.look(Some(1)));
        }
        assert!(!quiet.look(Some(2)), "one came at last");
        for _ in 1..QUIET {
            assert!(!quiet.look(Some(2)));
        }
        assert!(quiet.look(Some(2)));
    }

    #[test]
    fn the_count_is_found_by_its_name() {
        let text = "Ip: Forwarding PassiveOpens\nIp: 1 5\n\
                    Tcp: RtoAlgorithm ActiveOpens PassiveOpens CurrEstab\nTcp: 1 20 30 4\nUdp: InDatagrams\nUdp: 6\n";
        assert_eq!(parse(text), Some(30));
        for bad in [
            "",
            "Tcp: PassiveOpens\n",
            "Tcp: A B\nTcp: 1 2\n",
            "Tcp: PassiveOpens\nTcp: x\n",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_own_kernel_counts_every_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let before = accepted().expect("a file of Linux");
        for _ in 0..3 {
            let client = std::net::TcpStream::connect(address).expect("a connection");
            drop((client, listener.accept().expect("accepted")));
        }
        let after = accepted().expect("a file of Linux");
        // Other tests of this process may have some of their own.
        assert!(after >= before + 3, "{before}, {after}");
    }
}
