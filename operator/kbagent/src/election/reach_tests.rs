//! Tables for one leader's connections: stuck, lost, gone, of unknown addresses, and merged by NAT.

use super::*;

const PACE: Duration = Duration::from_millis(30);

/// Address of member `n`; the own one is 1.
fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 77, 1, n])
}

fn group(voters: u8) -> Group {
    Group {
        voters: voters.into(),
        others: (2..=voters).map(ip).collect(),
        learners: BTreeSet::new(),
    }
}

/// Connection number `n` of an address.
fn connection(remote: IpAddr, n: u16, unacked: u32, resent: u32) -> Socket {
    Socket {
        local: SocketAddr::new(ip(1), 2380),
        remote: SocketAddr::new(remote, 40000 + n),
        unacked,
        resent,
    }
}

fn flows(n: u8) -> Socket {
    connection(ip(n), 0, 0, 0)
}

fn lost(n: u8) -> Socket {
    connection(ip(n), 0, 50, 1)
}

/// A leader whose looks come at their pace.
struct Leader {
    reach: Reach,
    group: Group,
    now: Instant,
}

impl Leader {
    /// One that has seen these for long enough.
    fn new(group: Group, sockets: &[Socket]) -> Self {
        let mut leader = Self {
            reach: Reach::default(),
            group,
            now: Instant::now(),
        };
        let end = leader.now + SEEN + PACE * 2;
        while leader.now < end {
            assert_eq!(leader.look(sockets), None);
        }
        leader
    }

    /// Milliseconds without a majority at the next look.
    fn look(&mut self, sockets: &[Socket]) -> Option<u128> {
        self.now += PACE;
        let since = self.reach.look(sockets, &self.group, self.now)?;
        Some((self.now - since).as_millis())
    }
}

#[test]
fn a_majority_that_is_lost_is_claimed_since_it_was_stuck() {
    let mut leader = Leader::new(group(3), &[flows(2), flows(3)]);
    let stuck = |n, unacked, resent| connection(ip(n), 0, unacked, resent);
    assert_eq!(leader.look(&[stuck(2, 50, 0), stuck(3, 50, 0)]), None);
    for unacked in [50, 50, 100] {
        let sockets = [stuck(2, unacked, 0), stuck(3, unacked, 0)];
        assert_eq!(leader.look(&sockets), None, "the kernel has not sent again");
    }
    assert_eq!(leader.look(&[stuck(2, 100, 1), stuck(3, 100, 0)]), None);
    assert_eq!(
        leader.look(&[stuck(2, 150, 1), stuck(3, 150, 1)]),
        Some(150)
    );
    assert_eq!(
        leader.look(&[stuck(2, 150, 1), stuck(3, 150, 2)]),
        Some(180)
    );
    assert_eq!(leader.look(&[stuck(2, 100, 1), stuck(3, 200, 2)]), None);
    assert_eq!(leader.look(&[stuck(2, 100, 1), stuck(3, 0, 0)]), None);
}

#[test]
fn what_is_slow_to_be_acknowledged_flows() {
    let mut leader = Leader::new(group(3), &[flows(2), flows(3)]);
    // Much to send: more and more is unacknowledged, and never sent again.
    for unacked in 1..100 {
        let grows = [2, 3].map(|n| connection(ip(n), 0, unacked * 1000, 0));
        assert_eq!(leader.look(&grows), None);
    }
    // Packets are lost, and something is acknowledged between two looks.
    for n in 0..100 {
        let falls = [2, 3].map(|member| connection(ip(member), 0, 98_000 - n * 10, 1));
        assert_eq!(leader.look(&falls), None);
    }
}

#[test]
fn members_whose_connections_are_gone_are_not_reached() {
    let mut leader = Leader::new(group(3), &[flows(2), flows(3)]);
    for _ in 0..100 {
        assert_eq!(leader.look(&[flows(3)]), None, "one is restarted");
    }
    assert_eq!(leader.look(&[]), Some(30));
    assert_eq!(leader.look(&[lost(3)]), Some(60), "of a new connection");
    assert_eq!(leader.look(&[flows(2)]), None);
    let all = [flows(2), flows(3), flows(4), flows(5)];
    let mut leader = Leader::new(group(5), &all);
    for _ in 0..100 {
        assert_eq!(leader.look(&all[..2]), None, "two of five are gone");
    }
    assert_eq!(leader.look(&all[..1]), Some(30));
    assert_eq!(leader.look(&[all[0], lost(3)]), Some(60));
}

#[test]
fn a_member_is_lost_by_the_longest_of_its_connections() {
    let mut leader = Leader::new(group(3), &[flows(2)]);
    let idle = connection(ip(2), 1, 0, 0);
    assert_eq!(leader.look(&[idle, lost(2)]), Some(30));
    let later = connection(ip(2), 2, 10, 1);
    assert_eq!(leader.look(&[idle, lost(2), later]), Some(60));
    assert_eq!(leader.look(&[idle, flows(2), later]), Some(90));
    assert_eq!(leader.look(&[idle]), None);
}

#[test]
fn nothing_is_claimed_before_a_majority_was_seen_for_a_second() {
    let mut reach = Reach::default();
    let (group, start) = (group(3), Instant::now());
    for (after, claimed) in [(SEEN - PACE, false), (SEEN, true)] {
        let mut reach = reach.clone();
        assert_eq!(reach.look(&[flows(2)], &group, start), None);
        assert_eq!(reach.look(&[flows(2)], &group, start + after), None);
        let found = reach.look(&[], &group, start + after + PACE);
        assert_eq!(found, claimed.then_some(start + after), "{after:?}");
    }
    assert_eq!(reach.look(&[], &group, start), None);
    assert_eq!(reach.look(&[], &group, start + SEEN * 2), None);
}

#[test]
fn a_single_voter_is_never_cut_off_and_learners_are_no_voters() {
    let learners = Group {
        voters: 1,
        others: BTreeSet::new(),
        learners: [ip(2), ip(3)].into(),
    };
    let mut leader = Leader::new(learners.clone(), &[flows(2), flows(3)]);
    for _ in 0..100 {
        assert_eq!(leader.look(&[]), None);
        assert_eq!(leader.look(&[lost(2), lost(3)]), None);
    }
    let two = Group {
        voters: 2,
        others: [ip(4)].into(),
        ..learners
    };
    let all = [flows(2), flows(3), flows(4)];
    let mut leader = Leader::new(two, &all);
    assert_eq!(leader.look(&all[..2]), Some(30), "learners do not vote");
    assert_eq!(leader.look(&[lost(2), lost(3), flows(4)]), None);
}

#[test]
fn addresses_of_no_member_lead_to_no_claim() {
    let merged = |n, unacked| connection(ip(99), n, unacked, u32::from(unacked > 0));
    // All members come from one address: no majority is ever seen.
    let mut leader = Leader::new(group(3), &[merged(0, 0), merged(1, 0)]);
    for _ in 0..100 {
        assert_eq!(leader.look(&[merged(0, 9), merged(1, 9)]), None);
        assert_eq!(leader.look(&[]), None);
    }
    // Two of five do: one of them that flows may be the other.
    let all = [flows(2), flows(3), merged(0, 0), merged(1, 0)];
    let mut leader = Leader::new(group(5), &all);
    for _ in 0..100 {
        let sockets = [lost(2), flows(3), merged(0, 9), merged(1, 0)];
        assert_eq!(leader.look(&sockets), None);
    }
    let sockets = [lost(2), flows(3), merged(0, 9), merged(1, 9)];
    assert_eq!(leader.look(&sockets), Some(30));
    // A pod has come back with an address that was not looked up yet.
    let mut leader = Leader::new(group(3), &[flows(2), flows(3)]);
    for _ in 0..100 {
        assert_eq!(leader.look(&[connection(ip(77), 0, 0, 0)]), None);
    }
}

#[test]
fn only_connections_of_other_members_to_the_own_one_count() {
    let own = connection(ip(1), 0, 0, 0);
    let loopback = connection(IpAddr::from([127, 0, 0, 1]), 0, 0, 0);
    let elsewhere = Socket {
        local: SocketAddr::new(ip(2), 2380),
        ..flows(3)
    };
    let mut leader = Leader::new(group(3), &[flows(2), flows(3)]);
    assert_eq!(leader.look(&[own, loopback, elsewhere]), Some(30));
}

#[test]
fn who_was_not_reached_for_a_minute_is_forgotten() {
    let mut leader = Leader::new(group(3), &[flows(2), flows(3)]);
    for n in 0..1000 {
        let unknown = connection(ip(77), n, 0, 0);
        leader.now += PACE * 3;
        assert_eq!(leader.look(&[unknown, flows(2)]), None);
    }
    let most = (FORGOTTEN.as_millis() / (PACE * 4).as_millis()) as usize;
    assert!(leader.reach.reached.len() <= most + 2);
    leader.now += FORGOTTEN;
    assert!(leader.look(&[]).is_some(), "since the newest majority");
    assert!(leader.reach.reached.is_empty());
}
