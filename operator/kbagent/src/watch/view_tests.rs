//! Tables for what a poll means.

use super::*;
use crate::etcd::ResponseHeader;

fn answer(change: impl FnOnce(&mut Status)) -> Result<Status, EtcdError> {
    let header = ResponseHeader {
        cluster_id: 1,
        member_id: 10,
        revision: 5,
        raft_term: 3,
    };
    let mut status = Status {
        header: Some(header),
        version: "3.6.5".into(),
        leader: 11,
        raft_term: 3,
        raft_index: 100,
        raft_applied_index: 100,
        db_size: 2048,
        ..Status::default()
    };
    change(&mut status);
    Ok(status)
}

fn refused() -> Result<Status, EtcdError> {
    Err(EtcdError::Refused {
        endpoint: "e".into(),
    })
}

fn timeout() -> Result<Status, EtcdError> {
    Err(EtcdError::TimedOut {
        endpoint: "e".into(),
        deadline_ms: 300,
    })
}

struct Bench {
    knowledge: Knowledge,
    names: Names,
    own: Own,
    log: Option<LogSeen>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let names = Names::from([(10, "p0".to_owned()), (11, "p1".to_owned())]);
        let knowledge = Knowledge::new("p0".into(), "uid".into(), 1, now);
        Self {
            knowledge,
            names,
            own: Own::default(),
            log: None,
            now,
        }
    }

    fn fold(&mut self, poll: Result<Status, EtcdError>) -> bool {
        let hints = Hints {
            names: &self.names,
            refusal: None,
            standing: None,
            file_system_bytes: None,
            v2_store: None,
            log: self.log,
            own: self.own.clone(),
        };
        self.knowledge.fold(poll, &hints, self.now)
    }
}

/// A change of a status, its name, and whether it must be told at once.
type Case = (&'static str, fn(&mut Status), bool);

#[test]
fn only_what_others_act_on_is_told_at_once() {
    let cases: &[Case] = &[
        ("nothing", |_| {}, false),
        (
            "indexes",
            |s| (s.raft_index, s.raft_applied_index) = (200, 190),
            false,
        ),
        (
            "sizes",
            |s| (s.db_size, s.db_size_in_use) = (4096, 1024),
            false,
        ),
        ("smaller file", |s| s.db_size = 1024, true),
        ("leader lost", |s| s.leader = 0, true),
        ("leader moved", |s| s.leader = 12, true),
        ("own election", |s| s.leader = 10, true),
        ("term", |s| s.raft_term = 4, true),
        ("learner", |s| s.is_learner = true, true),
        ("alarm", |s| s.errors = vec!["NOSPACE".into()], true),
        ("version", |s| s.version = "3.6.6".into(), true),
    ];
    for (name, change, told) in cases {
        let mut bench = Bench::new();
        assert!(bench.fold(answer(|_| {})), "the first answer is news");
        let before = bench.knowledge.at(bench.now).sequence;
        assert_eq!(bench.fold(answer(change)), *told, "{name}");
        let after = bench.knowledge.at(bench.now).sequence;
        assert_eq!(
            after - before,
            u64::from(*told),
            "{name}: the sequence counts changes"
        );
    }
}

#[test]
fn a_long_action_is_told_when_it_begins_and_ends() {
    let mut bench = Bench::new();
    bench.fold(answer(|_| {}));
    bench.own.under_way = Some("udf-defragment");
    assert!(bench.fold(timeout()));
    let shown = bench.knowledge.at(bench.now).under_way;
    assert_eq!(shown.as_deref(), Some("udf-defragment"));
    assert!(!bench.fold(timeout()), "the action is in progress");
    bench.own.under_way = None;
    assert!(
        bench.fold(timeout()),
        "it has ended, and etcd is silent still"
    );
    bench.own.care.defragmented = 5;
    assert!(bench.fold(timeout()), "what it was for is done");
}

#[test]
fn silence_is_told_apart() {
    let mut bench = Bench::new();
    bench.fold(refused());
    assert!(
        matches!(bench.knowledge.etcd(), EtcdState::Starting { .. }),
        "never answered yet"
    );
    bench.fold(answer(|_| {}));
    assert!(bench.fold(timeout()));
    assert!(matches!(
        bench.knowledge.etcd(),
        EtcdState::Unreachable { refused: false, .. }
    ));
    assert!(!bench.fold(timeout()), "still silent is no news");
    assert!(bench.fold(refused()), "from hanging to gone is news");
    assert!(matches!(
        bench.knowledge.etcd(),
        EtcdState::Unreachable { refused: true, .. }
    ));
    let lost = Refusal {
        code: "DataLost".into(),
        message: "m".into(),
    };
    let hints = Hints {
        names: &bench.names,
        refusal: Some(&lost),
        standing: None,
        file_system_bytes: None,
        v2_store: None,
        log: None,
        own: Own::default(),
    };
    assert!(bench.knowledge.fold(refused(), &hints, bench.now));
    assert!(matches!(bench.knowledge.etcd(), EtcdState::Refused { .. }));
}

#[test]
fn the_leader_has_a_name_as_soon_as_the_list_tells_it() {
    let mut bench = Bench::new();
    bench.fold(answer(|s| s.leader = 12));
    assert_eq!(bench.knowledge.status().expect("status").leader, None);
    bench.names.insert(12, "p2".into());
    assert!(bench.fold(answer(|s| s.leader = 12)), "a name is news");
    let name = bench.knowledge.status().expect("status").leader.clone();
    assert_eq!(name.as_deref(), Some("p2"));
    bench.fold(answer(|s| {
        s.leader = 10;
        s.raft_term = 4;
    }));
    let status = bench.knowledge.status().expect("status");
    assert_eq!(
        (status.leader.as_deref(), status.role().as_str()),
        (Some("p0"), "leader")
    );
}

#[test]
fn an_old_status_is_no_role() {
    let mut bench = Bench::new();
    bench.fold(answer(|_| {}));
    let second = Duration::from_secs(1);
    let later = bench.now + second + Duration::from_millis(1);
    assert!(bench.knowledge.fresh(second, bench.now + second).is_some());
    assert!(bench.knowledge.fresh(second, later).is_none());
    assert_eq!(bench.knowledge.at(later).status_age_ms, Some(1001));
    bench.fold(timeout());
    assert!(
        bench.knowledge.fresh(second, bench.now).is_none(),
        "silent now"
    );
}

#[test]
fn polls_are_dense_only_while_something_happens() {
    let mut bench = Bench::new();
    bench.fold(answer(|_| {}));
    assert_eq!(bench.knowledge.pace(bench.now), ALERT);
    assert_eq!(bench.knowledge.pace(bench.now + SETTLE), CALM);
    bench.fold(answer(|s| s.leader = 0));
    assert_eq!(bench.knowledge.pace(bench.now + SETTLE), ALERT, "no leader");
    assert_eq!(
        bench.knowledge.pace(bench.now + ALERT_FOR),
        CALM,
        "no leader for long"
    );
    bench.fold(answer(|_| {}));
    let calm = bench.now + ALERT_FOR;
    assert_eq!(bench.knowledge.pace(calm), CALM);
    bench.knowledge.alert(calm);
    assert_eq!(bench.knowledge.pace(calm), ALERT, "a hint");
    assert_eq!(
        bench.knowledge.pace(calm + HINT_FOR),
        CALM,
        "nothing came of it"
    );
    bench.knowledge.alert(calm);
    bench.now = calm + SETTLE;
    bench.fold(answer(|s| s.raft_term += 1));
    assert_eq!(
        bench.knowledge.pace(bench.now + SETTLE),
        CALM,
        "the election came"
    );
}

#[test]
fn a_second_leader_of_one_term_is_not_believed() {
    let mut bench = Bench::new();
    bench.fold(answer(|_| {}));
    let seen = |bench: &Bench| {
        let status = bench.knowledge.status().expect("answered");
        (status.term, status.leader_id, status.leader.clone())
    };
    assert_eq!(seen(&bench), (3, Some(Id(11)), Some("p1".into())));
    // The new leader is there before its term is.
    bench.fold(answer(|status| status.leader = 10));
    assert_eq!(seen(&bench), (3, None, None));
    assert!(!bench.knowledge.follows(), "raft says that it leads itself");
    bench.fold(answer(|status| status.leader = 12));
    assert_eq!(seen(&bench), (3, None, None));
    assert!(bench.knowledge.follows(), "which its clients can rely on");
    bench.fold(answer(|status| status.leader = 0));
    assert!(!bench.knowledge.follows());
    bench.fold(answer(|status| {
        status.leader = 10;
        status.raft_term = 4;
    }));
    assert_eq!(seen(&bench), (4, Some(Id(10)), Some("p0".into())));
}

#[test]
fn what_the_log_holds_is_told_at_once_and_how_far_it_was_read_later() {
    let mut bench = Bench::new();
    bench.fold(answer(|_| {}));
    let log = |read_to, old_request| LogSeen {
        read_to,
        old_request,
    };
    for (seen, matters) in [
        (Some(log(7, Some(4))), true),
        (Some(log(9, Some(4))), false),
        (Some(log(9, None)), true),
        (Some(log(12, None)), false),
        (None, true),
    ] {
        bench.log = seen;
        assert_eq!(bench.fold(answer(|_| {})), matters, "{seen:?}");
        let told = bench.knowledge.status().expect("a status").format.log;
        assert_eq!(told, seen);
    }
}
