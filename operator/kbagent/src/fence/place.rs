//! Where another voter's etcd listens for its peers, and whether its host takes a connection there.
//!
//! Names are looked up before there is trouble, and one lookup of a name is under way at a time. When it matters the
//! name service may be too slow or out of reach itself, and neither says anything of the voter.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest wait for a connection. The kernel takes it for a process that is starved; packet rules that a process
/// decides on may need a processor for that.
pub(super) const DIAL: Duration = Duration::from_millis(300);
/// A lookup that takes longer hangs.
const HANGS: Duration = Duration::from_secs(1);

/// What came of dialling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialled {
    /// Its host accepted: the kernel does so for a process that is starved or stopped, and nothing does it beyond a
    /// partition.
    Reached,
    /// Its host is there, and no process listens.
    Refused,
    /// No answer in time, or the network has no way to it.
    Away,
    /// Its name was never resolved, or the agent could not dial: nothing is known of the voter.
    Unknown,
}

/// One voter's place.
#[derive(Debug)]
pub(super) struct Place {
    name: String,
    address: Option<SocketAddr>,
    lookup: Option<JoinHandle<Option<SocketAddr>>>,
    begun: Option<Instant>,
}

impl Place {
    /// The place `host:port`.
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            address: None,
            lookup: None,
            begun: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Its address, by the last lookup that succeeded.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// True while a lookup takes longer than any that succeeds: a client that dials by name would wait as well.
    pub(super) fn hangs(&self) -> bool {
        let long = self.begun.is_some_and(|begun| begun.elapsed() > HANGS);
        self.lookup.is_some() && long
    }

    /// Takes in what a lookup has found, and begins another one when the last began that long ago.
    pub(super) fn look(&mut self, every: Duration) {
        if let Some(lookup) = &mut self.lookup
            && let Some(ended) = lookup.now_or_never()
        {
            self.lookup = None;
            self.address = ended.ok().flatten().or(self.address);
        }
        let due = self.begun.is_none_or(|begun| begun.elapsed() >= every);
        if due && self.lookup.is_none() {
            let name = self.name.clone();
            self.begun = Some(Instant::now());
            self.lookup = Some(tokio::spawn(
                async move { lookup_host(name).await.ok()?.next() },
            ));
        }
    }
}

/// Dials an address.
pub(super) async fn dial(address: Option<SocketAddr>) -> Dialled {
    let Some(address) = address else {
        return Dialled::Unknown;
    };
    match timeout(DIAL, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Dialled::Reached,
        Ok(Err(error)) => failed(&error),
        Err(_) => Dialled::Away,
    }
}

/// Pure: what an error shows about the voter. Without descriptors, memory or ports the agent fails at each dial, and
/// then all voters would be away at once.
fn failed(error: &io::Error) -> Dialled {
    match error.kind() {
        ErrorKind::ConnectionRefused => Dialled::Refused,
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Dialled::Away
        }
        _ => Dialled::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::io::Errno;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    /// Looks until the lookup that is under way has ended.
    async fn settled(place: &mut Place) {
        let ended = async {
            while place.lookup.is_some() {
                place.look(Duration::MAX);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), ended)
            .await
            .expect("an end");
    }

    #[tokio::test]
    async fn an_address_stays_known_while_its_name_cannot_be_resolved() {
        let mut place = Place::new("127.0.0.1:2380".to_owned());
        assert_eq!(dial(place.address()).await, Dialled::Unknown);
        place.look(Duration::ZERO);
        settled(&mut place).await;
        let known = place.address();
        assert_eq!(known, "127.0.0.1:2380".parse().ok());
        place.name = "no such name".to_owned();
        place.look(Duration::ZERO);
        settled(&mut place).await;
        assert_eq!(place.address(), known);
    }

    #[tokio::test]
    async fn one_lookup_is_under_way_at_a_time() {
        let mut place = Place::new("127.0.0.1:2380".to_owned());
        place.lookup = Some(tokio::spawn(std::future::pending()));
        place.begun = Instant::now().checked_sub(HANGS * 2);
        assert!(place.hangs());
        let begun = place.begun;
        place.look(Duration::ZERO);
        assert_eq!(place.begun, begun, "the first one has not ended");
    }

    #[tokio::test]
    async fn who_listens_who_does_not_and_who_is_away_are_told_apart() {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        let bind = "127.0.0.1:0".parse().expect("an address");
        socket.bind(bind).expect("bind");
        let listener = socket.listen(1).expect("listen");
        let address = listener.local_addr().ok();
        assert_eq!(dial(address).await, Dialled::Reached);
        // With a full queue the kernel drops what asks for a connection, as a partition does.
        let mut waiting = Vec::new();
        while let Ok(Ok(taken)) = timeout(DIAL, TcpStream::connect(address.expect("it"))).await {
            waiting.push(taken);
        }
        assert_eq!(dial(address).await, Dialled::Away);
        drop((waiting, listener));
        assert_eq!(dial(address).await, Dialled::Refused);
    }

    #[test]
    fn what_the_agent_lacks_tells_nothing_of_a_voter() {
        for (errno, wanted) in [
            (Errno::CONNREFUSED, Dialled::Refused),
            (Errno::TIMEDOUT, Dialled::Away),
            (Errno::HOSTUNREACH, Dialled::Away),
            (Errno::NETUNREACH, Dialled::Away),
            (Errno::MFILE, Dialled::Unknown),
            (Errno::NFILE, Dialled::Unknown),
            (Errno::NOBUFS, Dialled::Unknown),
            (Errno::NOMEM, Dialled::Unknown),
            (Errno::ADDRNOTAVAIL, Dialled::Unknown),
            (Errno::PERM, Dialled::Unknown),
            (Errno::CONNRESET, Dialled::Unknown),
        ] {
            assert_eq!(failed(&errno.into()), wanted, "{errno:?}");
        }
    }

    /// In a process of its own, which the limit is for.
    #[test]
    fn without_descriptors_no_voter_is_away() {
        const ALONE: &str = "KB_TEST_WITHOUT_DESCRIPTORS";
        if std::env::var_os(ALONE).is_some() {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().expect("a runtime");
            let none = Rlimit {
                current: Some(0),
                ..getrlimit(Resource::Nofile)
            };
            setrlimit(Resource::Nofile, none).expect("a limit");
            let dialled = runtime.block_on(dial("127.0.0.1:1".parse().ok()));
            return assert_eq!(dialled, Dialled::Unknown);
        }
        let name = "fence::place::tests::without_descriptors_no_voter_is_away";
        let mut own = Command::new(std::env::current_exe().expect("this program"));
        let ended = own.args(["--exact", name]).env(ALONE, "1").output();
        let ended = ended.expect("it runs");
        let told = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && told.contains("1 passed"),
            "{told}"
        );
    }
}
