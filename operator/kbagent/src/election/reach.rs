//! Pure: does a leader's etcd reach a majority of voters? By connections that were accepted at its port of peers, on
//! which it writes heartbeats. Time is passed in.
//!
//! A connection is stuck from the first look on at which bytes are not acknowledged, until there are fewer at a look.
//! It is lost when the kernel has sent again in vain meanwhile (200 ms at least): much to send, and acknowledgements
//! that are delayed, are no loss. What cannot be told apart counts as reached: the result must never be a false claim.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::sockets::Socket;

/// A majority must have been reached for so long before it can be lost.
const SEEN: Duration = Duration::from_secs(1);
/// Who was not reached for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// The members, as far as the leader's agent knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Number of members with a vote.
    pub(super) voters: usize,
    /// Addresses of other voters, by their names.
    pub(super) others: BTreeSet<IpAddr>,
    /// Addresses of members without a vote.
    pub(super) learners: BTreeSet<IpAddr>,
}

impl Group {
    /// Whether a connection may be one of another voter to the own member: none of this machine with itself, none of a
    /// learner, none that another member in the same network namespace has accepted.
    fn counts(&self, socket: &Socket) -> bool {
        let (local, remote) = (socket.local.ip(), socket.remote.ip());
        let elsewhere = self.others.contains(&local) || self.learners.contains(&local);
        local != remote && !remote.is_loopback() && !elsewhere && !self.learners.contains(&remote)
    }

    /// Whose connection it is. One of an address that is no member's may be of any: each counts as one member.
    fn peer(&self, remote: SocketAddr) -> Peer {
        match self.others.contains(&remote.ip()) {
            true => Peer::Known(remote.ip()),
            false => Peer::Unknown(remote),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    Known(IpAddr),
    Unknown(SocketAddr),
}

/// A connection at the newest look.
#[derive(Clone, Copy, Debug)]
struct Connection {
    unacked: u32,
    stuck_since: Option<Instant>,
}

/// What the looks at one leader's connections tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    connections: BTreeMap<(SocketAddr, SocketAddr), Connection>,
    /// When each peer was last reached.
    reached: BTreeMap<Peer, Instant>,
    /// First and newest look at which members that are known were a majority.
    majority: Option<(Instant, Instant)>,
}

impl Reach {
    /// One look. Since when no majority is reached; `None` while one is, or may be.
    pub(super) fn look(
        &mut self,
        sockets: &[Socket],
        group: &Group,
        now: Instant,
    ) -> Option<Instant> {
        let lost = self.peers(sockets, group, now);
        for (peer, since) in &lost {
            let known = self.reached.entry(*peer).or_insert(now);
            *known = since.map_or(now, |since| since.min(*known));
        }
        self.reached
            .retain(|_, at| now.saturating_duration_since(*at) < FORGOTTEN);
        let reached = |known: bool| {
            let there = |(peer, since): &(&Peer, &Option<Instant>)| {
                since.is_none() && (!known || matches!(peer, Peer::Known(_)))
            };
            lost.iter().filter(there).count() + 1
        };
        let needed = group.voters / 2 + 1;
        if reached(true) >= needed {
            let (first, _) = self.majority.unwrap_or((now, now));
            self.majority = Some((first, now));
        }
        let (first, newest) = self.majority?;
        if reached(false) >= needed || newest.saturating_duration_since(first) < SEEN {
            return None;
        }
        let mut times: Vec<Instant> = self.reached.values().copied().collect();
        times.sort_unstable();
        // The own member is one of the majority.
        let since = times.iter().rev().nth(needed.checked_sub(2)?);
        Some(since.copied().unwrap_or(newest))
    }

    /// The peers of this look, each with the moment since which it is lost.
    fn peers(
        &mut self,
        sockets: &[Socket],
        group: &Group,
        now: Instant,
    ) -> BTreeMap<Peer, Option<Instant>> {
        let mut connections = BTreeMap::new();
        let mut lost: BTreeMap<Peer, Option<Instant>> = BTreeMap::new();
        for socket in sockets.iter().filter(|socket| group.counts(socket)) {
            let ends = (socket.local, socket.remote);
            let before = self.connections.get(&ends);
            let flows =
                socket.unacked == 0 || before.is_some_and(|before| socket.unacked < before.unacked);
            let since = before.and_then(|before| before.stuck_since).unwrap_or(now);
            let stuck_since = (!flows).then_some(since);
            connections.insert(
                ends,
                Connection {
                    unacked: socket.unacked,
                    stuck_since,
                },
            );
            let since = stuck_since.filter(|_| socket.resent > 0);
            let longest = lost.entry(group.peer(socket.remote)).or_default();
            *longest = match (*longest, since) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        self.connections = connections;
        lost
    }
}

#[cfg(test)]
#[path = "reach_tests.rs"]
mod tests;
