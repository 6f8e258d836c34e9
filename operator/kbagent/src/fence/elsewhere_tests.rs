//! What others are taken to say, and when they are asked.

use kbagent_protocol::Id;

use super::*;
use crate::etcd::ResponseHeader;
use crate::test_support;

/// The last status of the own member, 1, in term 4.
fn own(leader: Option<u64>) -> MemberStatus {
    test_support::status(1, leader, 4)
}

fn status(cluster_id: u64, leader: u64, raft_term: u64) -> Status {
    let header = Some(ResponseHeader {
        cluster_id,
        ..ResponseHeader::default()
    });
    Status {
        header,
        leader,
        raft_term,
        ..Status::default()
    }
}

#[test]
fn only_another_leader_of_this_cluster_in_a_term_of_its_own_counts() {
    // Name, own leader, cluster, leader and term of the other, what it means.
    let cases = [
        ("another in a higher term", Some(1), 9, 2, 5, true),
        ("the term that this one leads", Some(1), 9, 2, 4, false),
        ("a candidate", Some(1), 9, 0, 5, false),
        ("ourselves, elected again", Some(1), 9, 1, 5, false),
        ("another cluster", Some(1), 8, 2, 5, false),
        ("the leader that this one lost", None, 9, 2, 4, true),
        ("the leader of an older term", None, 9, 2, 3, false),
    ];
    for (name, leads, cluster, leader, term, expected) in cases {
        let found = moved_on(&own(leads), &status(cluster, leader, term));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_process_that_is_gone_is_no_majority_elsewhere() {
    let endpoint = || "http://x".to_owned();
    let late = |dialled| {
        let answer = Err(EtcdError::TimedOut {
            endpoint: endpoint(),
            deadline_ms: 1,
        });
        meaning(&own(None), &Said { answer, dialled })
    };
    let refused = Said {
        answer: Err(EtcdError::Refused {
            endpoint: endpoint(),
        }),
        dialled: Dialled::Refused,
    };
    assert_eq!(meaning(&own(None), &refused), Answer::Other);
    assert_eq!(late(Dialled::Away), Answer::Silent);
    assert_eq!(late(Dialled::Reached), Answer::Other, "slow, not away");
    assert_eq!(late(Dialled::Unknown), Answer::Other, "a name alone");
}

/// The place of this address, looked up.
async fn found(address: std::net::SocketAddr) -> Place {
    let mut place = Place::new(address.to_string());
    while place.address().is_none() {
        place.look(LIST_FOR);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    place
}

#[tokio::test]
async fn a_member_in_whose_place_clients_are_held_is_gone_too() {
    let bind = || tokio::net::TcpListener::bind(("127.0.0.1", 0));
    let (clients, peers) = (bind().await.expect("bind"), bind().await.expect("bind"));
    let peer = found(peers.local_addr().expect("address")).await;
    let url = format!("http://{}", clients.local_addr().expect("address"));
    let client = Client::new(&url, &crate::tls::Tls::default()).expect("a client");
    let slow = says(&client, Some(&peer)).await;
    assert!(slow.dialled == Dialled::Reached && slow.answer.is_err());
    assert_eq!(meaning(&own(None), &slow), Answer::Other);
    drop(peers);
    let gone = says(&client, Some(&peer)).await;
    assert!(matches!(gone.answer, Err(EtcdError::Refused { .. })));
    assert_eq!(meaning(&own(None), &gone), Answer::Other);
    let unknown = says(&client, Some(&Place::new("no such name".to_owned()))).await;
    assert_eq!(meaning(&own(None), &unknown), Answer::Other);
}

#[tokio::test]
async fn an_answer_waits_for_no_dialling_and_silence_does() {
    use std::future::{pending, ready};
    let answer = || ready(Ok(status(9, 2, 5)));
    let said = first(pending(), answer(), "x").await;
    assert_eq!(meaning(&own(Some(1)), &said), Answer::Another(Id(2)));
    let late = || EtcdError::TimedOut {
        endpoint: "x".to_owned(),
        deadline_ms: 1,
    };
    for (dialled, meant) in [
        (Dialled::Away, Answer::Silent),
        (Dialled::Reached, Answer::Other),
        (Dialled::Refused, Answer::Other),
    ] {
        let dialling = async {
            tokio::task::yield_now().await;
            dialled
        };
        let said = first(dialling, ready(Err(late())), "x").await;
        assert_eq!(meaning(&own(None), &said), meant, "{dialled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_in_doubt_asks_early() {
    let knowledge = Knowledge::of(test_support::view(1, Some(1), 4));
    let (_knowledge, known) = watch::channel(knowledge);
    let paused = async |at| {
        let began = tokio::time::Instant::now();
        let (_doubted, doubted) = watch::channel(at);
        pause(known.clone(), doubted, true).await;
        began.elapsed()
    };
    let now = Instant::now();
    assert_eq!(paused(None).await, EVERY);
    assert_eq!(paused(Some(now)).await, EVERY_IN_TROUBLE);
    assert_eq!(paused(now.checked_sub(FRESH)).await, EVERY, "long ago");
}

#[test]
fn a_majority_of_voters_must_be_accounted_for() {
    use Answer::{Other, Silent};
    const ANOTHER: Answer = Answer::Another(Id(2));
    // Voters, answers, outvoted, deposed, whole.
    let cases: [(usize, &[Answer], [bool; 3]); 8] = [
        (3, &[Silent, Silent], [true, false, false]),
        (3, &[ANOTHER, ANOTHER], [true, true, true]),
        (3, &[ANOTHER, Silent], [true, true, false]),
        (3, &[ANOTHER, Other], [false, false, false]),
        (3, &[Other, Silent], [false, false, false]),
        (5, &[ANOTHER, Silent, Silent, Other], [true, true, false]),
        (5, &[ANOTHER, ANOTHER, Other, Other], [false, false, false]),
        (1, &[], [false, false, false]),
    ];
    let now = Instant::now();
    for (voters, answers, expected) in cases {
        let seen = Elsewhere::of(voters, answers, None, (4, now));
        let found = [seen.outvoted(now), seen.deposed(now), seen.whole(now)];
        assert_eq!(found, expected, "{voters} voters, {answers:?}");
        assert!(
            !seen.outvoted(now + FRESH),
            "an old answer counts for nothing"
        );
    }
}

#[test]
fn a_member_takes_part_when_its_raft_follows_the_leader_of_a_majority() {
    use Answer::{Another, Other, Silent};
    let (two, three) = (Id(2), Id(3));
    // Voters, answers, the leader of the own raft, whether it takes part.
    let cases: [(usize, &[Answer], Option<Id>, bool); 7] = [
        (3, &[Another(two), Another(two)], Some(two), true),
        (3, &[Another(two), Another(two)], Some(three), false),
        (3, &[Another(two), Another(two)], None, false),
        (3, &[Another(two), Another(three)], Some(two), false),
        (3, &[Another(two), Silent], Some(two), false),
        (
            5,
            &[Another(two), Another(two), Another(two), Other],
            Some(two),
            true,
        ),
        (
            5,
            &[Another(two), Another(two), Another(three), Other],
            Some(two),
            false,
        ),
    ];
    let now = Instant::now();
    for (voters, answers, follows, expected) in cases {
        let seen = Elsewhere::of(voters, answers, follows, (4, now));
        assert_eq!(seen.takes_part(now), expected, "{answers:?}, {follows:?}");
        assert!(!seen.takes_part(now + FRESH), "an old answer");
    }
}

#[test]
fn it_is_told_whether_all_voters_are_known() {
    let (report, told) = watch::channel(FencingReport::default());
    let mut others = Others::default();
    others.tell(&report);
    assert!(!told.borrow().voters_known && !told.has_changed().expect("open"));
    others.listed = Some(Instant::now());
    others.tell(&report);
    assert!(told.borrow().voters_known);
    others.listed = None;
    others.tell(&report);
    assert!(!told.borrow().voters_known, "one has no address yet");
}

#[test]
fn learners_have_no_say_and_addresses_follow_the_list() {
    let member = |id, url: &str, is_learner| Member {
        id,
        client_urls: vec![url.to_owned()],
        is_learner,
        ..Member::default()
    };
    let mut others = Others::default();
    others.take(
        &[
            member(1, "http://a", false),
            member(2, "http://b", false),
            member(3, "http://c", true),
        ],
        1,
    );
    assert_eq!(others.voters, 2);
    assert_eq!(others.urls, BTreeMap::from([(2, "http://b".to_owned())]));
}

#[tokio::test]
async fn a_place_is_kept_until_its_voter_has_another() {
    let member = |id, peer: &str| Member {
        id,
        client_urls: vec!["http://b".to_owned()],
        peer_urls: vec![peer.to_owned()],
        ..Member::default()
    };
    let list = |peer| [member(1, "http://127.0.0.1:1"), member(2, peer)];
    let mut others = Others::default();
    others.take(&list("http://127.0.0.1:2"), 1);
    assert_eq!(others.peers.len(), 1, "its own is not asked");
    let address = "127.0.0.1:2".parse().expect("an address");
    others.peers.insert(2, found(address).await);
    others.take(&list("http://127.0.0.1:2"), 1);
    assert_eq!(others.peers[&2].address(), Some(address));
    others.take(&list("http://127.0.0.1:3"), 1);
    assert_eq!(others.peers[&2].address(), None);
}
