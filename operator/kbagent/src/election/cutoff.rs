//! Looks whether the own member, while it leads, reaches a majority of its peers, as [`super::reach`] tells: etcd of a
//! leader that is cut off at its port of peers alone answers every question. Agent and etcd share a network namespace.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::hold;
use super::plan::Died;
use super::reach::{Group, Reach};
use super::sockets::{Socket, accepted};
use super::suspicion::BEAT;
use crate::config::Config;
use crate::etcd::{Client, Member};
use crate::watch::Knowledge;

/// The kernel's connections of both families; the second is missing where there is no IPv6.
const FILES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];
/// For each time that a look takes, so many pass without one: where there are many clients the files are long.
const REST: u32 = 19;
/// Looks whose shortest time counts: one that waited for a processor did not work all the time.
const LOOKS: usize = 4;
/// How often members are listed.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the list, which the own member has in memory.
const LIST: Duration = Duration::from_millis(500);

/// No majority is reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct CutOff {
    since: Instant,
    /// The next look is due before.
    until: Instant,
}

impl CutOff {
    /// For how long, unless the look is too old.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        (now < self.until).then(|| now.saturating_duration_since(self.since))
    }
}

/// What is needed to look.
pub(super) struct Peers {
    pub(super) config: Arc<Config>,
    pub(super) own: Client,
    pub(super) knowledge: watch::Receiver<Knowledge>,
    pub(super) addresses: watch::Receiver<BTreeMap<String, SocketAddr>>,
    /// Told when a majority is lost.
    pub(super) doubted: Arc<watch::Sender<Option<Instant>>>,
}

impl Peers {
    /// Looks while the own member leads and beats are read.
    pub(super) async fn watch(
        self,
        read: impl Fn() -> bool + Send + Sync,
        found: watch::Sender<Option<CutOff>>,
    ) {
        loop {
            if let Some(led) = self.leads().filter(|_| read()) {
                let on = || self.leads() == Some(led) && read();
                let (group_to, group) = watch::channel(None);
                tokio::select! {
                    () = self.list(&group_to) => {}
                    () = self.look(on, &group, &found) => {}
                }
            }
            self.tell(&found, None);
            sleep(BEAT).await;
        }
    }

    fn tell(&self, found: &watch::Sender<Option<CutOff>>, now: Option<CutOff>) {
        tell(found, &self.doubted, now);
    }

    /// The own member and its term, while it leads.
    fn leads(&self) -> Option<Died> {
        let (led, name) = hold::leader(&self.knowledge.borrow())?;
        (name == self.config.pod_name).then_some(led)
    }

    async fn list(&self, group: &watch::Sender<Option<Group>>) {
        loop {
            // A list that fails changes nothing.
            if let Ok(list) = self.own.members(false, LIST).await {
                let addresses = self.addresses.borrow().clone();
                let known = group_of(&list.members, &self.config.pod_name, &addresses);
                group.send_replace(Some(known));
            }
            sleep(LIST_EVERY).await;
        }
    }

    async fn look(
        &self,
        on: impl Fn() -> bool,
        group: &watch::Receiver<Option<Group>>,
        found: &watch::Sender<Option<CutOff>>,
    ) {
        let (mut reach, mut voters, mut pace) = (Reach::default(), 0, Pace::default());
        let port = self.config.peer_port;
        while on() {
            let began = Instant::now();
            let Ok(Ok((sockets, took))) = spawn_blocking(move || read(port)).await else {
                self.tell(found, None);
                sleep(LIST_EVERY).await;
                continue;
            };
            let pause = pace.pause(took);
            if let Some(group) = group.borrow().as_ref() {
                if std::mem::replace(&mut voters, group.voters) != group.voters {
                    reach = Reach::default();
                }
                let until = Instant::now() + pause + took + BEAT * 2;
                let since = reach.look(&sockets, group, began);
                self.tell(found, since.map(|since| CutOff { since, until }));
            }
            sleep(pause).await;
        }
    }
}

/// Only the first look that finds no majority is a reason to ask the others at the fast interval: a cut may last. The
/// agent of a leader that comes later says so itself.
fn tell(
    found: &watch::Sender<Option<CutOff>>,
    doubted: &watch::Sender<Option<Instant>>,
    now: Option<CutOff>,
) {
    let before = found.send_replace(now);
    if now.is_some() && before.is_none() {
        doubted.send_replace(Some(Instant::now()));
    }
}

/// Connections that were accepted at the port, and how long it took to read them.
fn read(port: u16) -> std::io::Result<(Vec<Socket>, Duration)> {
    let began = Instant::now();
    let mut sockets = vec![];
    for file in FILES {
        match read_to_string(file) {
            Ok(text) => sockets.extend(accepted(&text, port)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Part of the connections would look like a majority that is gone.
            Err(error) => return Err(error),
        }
    }
    Ok((sockets, began.elapsed()))
}

/// Who votes, and where the others are.
fn group_of(members: &[Member], own: &str, addresses: &BTreeMap<String, SocketAddr>) -> Group {
    let of = |learners: bool| {
        let which = members
            .iter()
            .filter(move |member| member.is_learner == learners);
        which.filter(|member| member.name != own)
    };
    let known = |member: &Member| addresses.get(&member.name).map(SocketAddr::ip);
    Group {
        voters: members.iter().filter(|member| !member.is_learner).count(),
        others: of(false).filter_map(known).collect(),
        learners: of(true).filter_map(known).collect(),
    }
}

/// How long the last looks took.
struct Pace {
    took: [Duration; LOOKS],
    next: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            took: [Duration::MAX; LOOKS],
            next: 0,
        }
    }
}

impl Pace {
    /// How long to wait after a look that took so long.
    fn pause(&mut self, took: Duration) -> Duration {
        self.took[self.next] = took;
        self.next = (self.next + 1) % LOOKS;
        let least = self.took.iter().min().copied().unwrap_or(took);
        BEAT.saturating_sub(took).max(least * REST)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn looks_take_a_twentieth_of_the_time_at_most() {
        let mut pace = Pace::default();
        let ms = Duration::from_millis;
        assert_eq!(pace.pause(ms(1)), ms(29));
        assert_eq!(pace.pause(ms(2000)), ms(19), "it waited for a processor");
        for _ in 0..LOOKS {
            pace.pause(ms(10));
        }
        assert_eq!(pace.pause(ms(10)), ms(190));
        assert_eq!(pace.pause(Duration::ZERO), BEAT);
    }

    #[test]
    fn voters_are_counted_and_the_others_have_their_names_addresses() {
        let member = |name: &str, is_learner| Member {
            name: name.to_owned(),
            is_learner,
            ..Member::default()
        };
        let members = [
            member("a", false),
            member("b", false),
            member("c", false),
            member("", true),
            member("d", true),
        ];
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        let names = ["a", "b", "d", "e"].into_iter().zip(1..);
        let addresses = names.map(|(name, n)| (name.to_owned(), SocketAddr::new(ip(n), 5001)));
        let known = Group {
            voters: 3,
            others: [ip(2)].into(),
            learners: [ip(3)].into(),
        };
        assert_eq!(group_of(&members, "a", &addresses.collect()), known);
    }

    #[test]
    fn a_look_that_is_too_old_tells_nothing() {
        let since = Instant::now();
        let (second, milli) = (Duration::from_secs(1), Duration::from_millis(1));
        let until = since + second;
        let claim = CutOff { since, until };
        assert_eq!(claim.silence(until - milli), Some(second - milli));
        assert_eq!(claim.silence(until), None);
    }

    #[test]
    fn a_cut_that_lasts_is_a_reason_to_ask_once() {
        let since = Instant::now();
        let until = since + Duration::from_secs(1);
        let cut = Some(CutOff { since, until });
        let (found, seen) = watch::channel(None);
        let (doubted, mut told) = watch::channel(None);
        let looks = [
            (None, false),
            (cut, true),
            (cut, false),
            (cut, false),
            (None, false),
            (cut, true),
        ];
        for (now, reason) in looks {
            tell(&found, &doubted, now);
            assert_eq!(seen.borrow().is_some(), now.is_some());
            assert_eq!(told.has_changed().expect("open"), reason);
            told.mark_unchanged();
        }
        assert!(told.borrow().is_some());
    }

    #[test]
    fn connections_of_both_families_are_read() {
        // Of both families, as Go's are.
        let Ok(listener) = std::net::TcpListener::bind("[::]:0") else {
            println!("no IPv6 here");
            return;
        };
        let port = listener.local_addr().expect("an address").port();
        let other = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let _accepted = listener.accept().expect("accepted");
        let (sockets, _) = read(port).expect("files of Linux");
        let remotes: Vec<_> = sockets.iter().map(|socket| socket.remote).collect();
        assert_eq!(remotes, [other.local_addr().expect("an address")]);
    }
}
