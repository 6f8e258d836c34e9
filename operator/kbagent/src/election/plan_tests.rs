//! Tables for who goes first, who consents, and when raft is left alone.

use super::*;

const CLUSTER: Id = Id(9);
const LEADER: Id = Id(1);
const TERM: u64 = 5;
const ELECTION: Duration = Duration::from_millis(1000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn standing(id: u64, commit: u64) -> ElectionStanding {
    ElectionStanding {
        member_id: Id(id),
        cluster_id: CLUSTER,
        term: TERM,
        leader_id: Some(LEADER),
        commit,
        is_learner: false,
    }
}

/// Of member 2 in a cluster of 3.
fn look() -> Look {
    Look {
        witness: Witness {
            died: Some(Died {
                leader: LEADER,
                term: TERM,
            }),
            evidence: Evidence::Gone,
            own: Some(standing(2, 100)),
            stopping: false,
        },
        others: vec![standing(3, 100)],
        voters: [1, 2, 3].map(Id).into(),
    }
}

fn own(look: &mut Look) -> &mut ElectionStanding {
    look.witness.own.as_mut().expect("a standing")
}

fn request(id: u64, commit: u64) -> ElectionRequest {
    ElectionRequest {
        leader: LEADER,
        standing: standing(id, commit),
        consent: true,
    }
}

/// A planner that is old enough, and now.
fn grown() -> (Planner, Instant) {
    let born = Instant::now();
    (Planner::new(ELECTION, born), born + YOUNG)
}

/// Asks and gets the consent of `from`.
fn elected(planner: &mut Planner, look: &Look, from: &[u64], now: Instant) -> Option<Order> {
    match planner.step(look, now) {
        Step::Ask(ask) => planner.elect(&ask, &from.iter().copied().map(Id).collect(), now),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_goes_first_and_the_other_waits() {
    let (mut planner, now) = grown();
    let order = elected(&mut planner, &look(), &[3], now);
    let wanted = Order {
        member: Id(2),
        term: TERM,
    };
    assert_eq!(order, Some(wanted), "the lowest identifier of two equals");
    let (mut planner, now) = grown();
    let mut behind = look();
    own(&mut behind).commit = 99;
    assert_eq!(
        planner.step(&behind, now),
        Step::Wait(TURN),
        "the other is ahead"
    );
    let order = elected(&mut planner, &behind, &[3], now + TURN);
    assert_eq!(order, Some(wanted), "the other had its turn");
}

#[test]
fn no_member_campaigns_when_raft_is_to_decide() {
    type Case = (&'static str, fn(&mut Look), Reason);
    let cases: &[Case] = &[
        (
            "alive",
            |l| l.witness.evidence = Evidence::Alive,
            Reason::Alive,
        ),
        (
            "silent",
            |l| l.witness.evidence = Evidence::Silent,
            Reason::Silent,
        ),
        ("no death", |l| l.witness.died = None, Reason::OtherLeader),
        ("stopping", |l| l.witness.stopping = true, Reason::Stopping),
        ("untold", |l| l.witness.own = None, Reason::Unreadable),
        ("learner", |l| own(l).is_learner = true, Reason::NoVote),
        (
            "no voter",
            |l| l.voters = [1, 3, 4].map(Id).into(),
            Reason::NoVote,
        ),
        (
            "follows another",
            |l| own(l).leader_id = Some(Id(3)),
            Reason::LeaderKnown,
        ),
        (
            "leads",
            |l| own(l).leader_id = Some(Id(2)),
            Reason::LeaderKnown,
        ),
        ("no term", |l| own(l).term = 0, Reason::OtherTerm),
        ("older term", |l| own(l).term = 4, Reason::OtherTerm),
        ("no answer", |l| l.others.clear(), Reason::NoMajority),
        (
            "a learner answers",
            |l| l.voters = [1, 2, 4].map(Id).into(),
            Reason::NoMajority,
        ),
        (
            "another cluster",
            |l| l.others[0].cluster_id = Id(8),
            Reason::NoMajority,
        ),
        (
            "five, one answers",
            |l| l.voters = [1, 2, 3, 4, 5].map(Id).into(),
            Reason::NoMajority,
        ),
        (
            "another knows a leader",
            |l| {
                l.others[0].leader_id = Some(Id(3));
                l.others[0].term = TERM + 1;
            },
            Reason::LeaderKnown,
        ),
    ];
    for (name, change, reason) in cases {
        let (mut planner, now) = grown();
        let mut look = look();
        change(&mut look);
        assert_eq!(planner.step(&look, now), Step::GiveWay(*reason), "{name}");
    }
}

#[test]
fn a_turn_is_had_once_and_ends_with_rafts_own_timeout() {
    let (mut planner, now) = grown();
    assert!(elected(&mut planner, &look(), &[3], now).is_some());
    // Its log was too short: both are in the next term, without a leader.
    let mut next = look();
    own(&mut next).term = TERM + 1;
    own(&mut next).leader_id = None;
    next.others[0].term = TERM + 1;
    next.others[0].leader_id = None;
    assert_eq!(
        planner.step(&next, now + TURN),
        Step::Wait(TURN),
        "the other's turn"
    );
    let step = planner.step(&next, now + TURN * 2);
    assert_eq!(step, Step::GiveWay(Reason::Exhausted));
    let (mut planner, now) = grown();
    assert!(matches!(planner.step(&look(), now), Step::Ask(_)));
    let step = planner.step(&look(), now + ELECTION + ms(1));
    assert_eq!(step, Step::GiveWay(Reason::RaftsTurn));
}

#[test]
fn an_election_that_is_under_way_gets_its_time() {
    let (mut planner, now) = grown();
    let mut under_way = look();
    own(&mut under_way).leader_id = None;
    own(&mut under_way).term = TERM + 1;
    under_way.others[0].term = TERM + 1;
    assert_eq!(planner.step(&under_way, now), Step::Wait(TURN));
    assert!(matches!(planner.step(&under_way, now + TURN), Step::Ask(_)));
}

#[test]
fn consents_count_once_of_voters_only_and_not_of_the_dead() {
    let enough: &[(&[u64], bool)] = &[
        (&[3], true),
        (&[], false),
        (&[1], false),
        (&[2], false),
        (&[7], false),
    ];
    for (from, expected) in enough {
        let (mut planner, now) = grown();
        let order = elected(&mut planner, &look(), from, now);
        assert_eq!(order.is_some(), *expected, "{from:?}");
    }
    let (mut planner, now) = grown();
    let Step::Ask(ask) = planner.step(&look(), now) else {
        panic!("it is the first");
    };
    let from = BTreeSet::from([Id(3)]);
    assert_eq!(planner.elect(&ask, &from, now + USE + ms(1)), None, "late");
    assert!(planner.elect(&ask, &from, now + USE).is_some());
    assert_eq!(planner.elect(&ask, &from, now + USE), None, "once a term");
}

#[test]
fn an_agent_consents_to_one_candidate_a_term() {
    let (mut planner, now) = grown();
    let mut witness = look().witness;
    witness.own = Some(standing(4, 90));
    let mut ask = |id, commit| planner.consent(&request(id, commit), &witness, now);
    assert_eq!(ask(3, 89), Err(Reason::Better));
    assert_eq!(ask(5, 90), Err(Reason::Better), "the lower of two equals");
    assert_eq!(ask(3, 90), Ok(()));
    assert_eq!(ask(3, 90), Ok(()), "asked again");
    assert_eq!(ask(2, 95), Err(Reason::Given));
    assert_eq!(ask(4, 90), Err(Reason::NoVote), "itself");
    assert_eq!(ask(1, 900), Err(Reason::NoVote), "the dead");
    let mut own_turn = look();
    own_turn.witness.own = Some(standing(4, 90));
    own_turn.others = vec![];
    own_turn.voters = [1, 4].map(Id).into();
    let step = planner.step(&own_turn, now);
    assert_eq!(
        step,
        Step::GiveWay(Reason::NoMajority),
        "two voters, one dead"
    );
}

#[test]
fn consent_is_refused_to_what_the_agent_does_not_see_itself() {
    type Case = (&'static str, fn(&mut ElectionRequest, &mut Witness), Reason);
    let cases: &[Case] = &[
        ("alive", |_, w| w.evidence = Evidence::Alive, Reason::Alive),
        (
            "silent",
            |_, w| w.evidence = Evidence::Silent,
            Reason::Silent,
        ),
        (
            "another leader",
            |r, _| r.leader = Id(3),
            Reason::OtherLeader,
        ),
        ("no leader yet", |_, w| w.died = None, Reason::OtherLeader),
        (
            "another cluster",
            |r, _| r.standing.cluster_id = Id(8),
            Reason::Foreign,
        ),
        (
            "a learner asks",
            |r, _| r.standing.is_learner = true,
            Reason::NoVote,
        ),
        (
            "older term",
            |r, _| r.standing.term = TERM - 1,
            Reason::OtherTerm,
        ),
        (
            "invented term",
            |r, _| r.standing.term = TERM + 9,
            Reason::OtherTerm,
        ),
        (
            "a leader is known",
            |_, w| w.own.as_mut().expect("own").leader_id = Some(Id(3)),
            Reason::LeaderKnown,
        ),
    ];
    for (name, change, reason) in cases {
        let (mut planner, now) = grown();
        let mut witness = look().witness;
        witness.own = Some(standing(3, 100));
        let mut request = request(2, 100);
        change(&mut request, &mut witness);
        let answer = planner.consent(&request, &witness, now);
        assert_eq!(answer, Err(*reason), "{name}");
    }
}

#[test]
fn who_came_up_just_now_or_was_wrong_takes_no_part() {
    let born = Instant::now();
    let mut young = Planner::new(ELECTION, born);
    let witness = Witness {
        own: Some(standing(3, 100)),
        ..look().witness
    };
    let soon = born + YOUNG - ms(1);
    assert_eq!(young.step(&look(), soon), Step::GiveWay(Reason::Young));
    let consent = young.consent(&request(2, 100), &witness, soon);
    assert_eq!(consent, Err(Reason::Young));
    let (mut planner, mut now) = grown();
    for rest in [REST, REST * 2, REST * 4] {
        planner.was_needless(false, now);
        let step = planner.step(&look(), now + rest - ms(1));
        assert_eq!(step, Step::GiveWay(Reason::Rests));
        now += rest;
    }
    assert!(matches!(planner.step(&look(), now), Step::Ask(_)));
}

#[test]
fn a_wrong_suspicion_does_not_keep_a_death_waiting() {
    let (mut planner, now) = grown();
    planner.was_needless(true, now);
    let mut suspected = look();
    suspected.witness.evidence = Evidence::Suspected;
    let step = planner.step(&suspected, now);
    assert_eq!(step, Step::GiveWay(Reason::Rests));
    assert!(matches!(planner.step(&look(), now), Step::Ask(_)));
    planner.was_there();
    let step = planner.step(&suspected, now + REST);
    assert!(matches!(step, Step::Ask(_)), "{step:?}");
}

#[test]
fn a_leader_that_is_there_again_may_die_later_and_consents_stay() {
    let (mut planner, now) = grown();
    let mut suspected = look();
    suspected.witness.evidence = Evidence::Suspected;
    suspected.witness.own = Some(standing(3, 100));
    suspected.others = vec![standing(2, 100)];
    assert_eq!(planner.step(&suspected, now), Step::Wait(TURN));
    assert_eq!(
        planner.consent(&request(2, 100), &suspected.witness, now),
        Ok(())
    );
    let later = now + ELECTION * 3;
    let step = planner.step(&suspected, later);
    assert_eq!(step, Step::GiveWay(Reason::RaftsTurn));
    planner.was_there();
    let mut died = suspected;
    died.witness.evidence = Evidence::Gone;
    assert_eq!(planner.step(&died, later), Step::Wait(TURN));
    assert_eq!(
        planner.step(&died, later + TURN),
        Step::Wait(TURN),
        "the term's consent is another's"
    );
}

#[test]
fn memory_is_bounded_and_what_is_forgotten_is_refused() {
    let (mut planner, now) = grown();
    for term in 1..=REMEMBERED as u64 + 3 {
        planner.give(term, Id(2));
    }
    assert_eq!(planner.given.len(), REMEMBERED);
    let mut witness = look().witness;
    let mut old = standing(3, 100);
    old.term = 2;
    witness.own = Some(old.clone());
    witness.died = Some(Died {
        leader: LEADER,
        term: 2,
    });
    let request = ElectionRequest {
        leader: LEADER,
        standing: ElectionStanding {
            member_id: Id(2),
            ..old
        },
        consent: true,
    };
    let answer = planner.consent(&request, &witness, now);
    assert_eq!(answer, Err(Reason::OtherTerm));
}
