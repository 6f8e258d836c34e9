//! What a client asks, from seeds and from answers that it is given.

use super::*;

fn mix(seed: u64, rates: &Rates) -> Mix {
    let rates = Rates {
        keys: 3,
        ..rates.clone()
    };
    Mix::new(seed, 1, "t/", &rates)
}

fn requests(seed: u64) -> Vec<Step> {
    let mut mix = mix(seed, &Rates::default());
    (1..400).map(|op| mix.next(op)).collect()
}

#[test]
fn a_seed_gives_the_same_requests_again() {
    assert_eq!(requests(5), requests(5));
    assert_ne!(requests(5), requests(6));
}

/// What a client asks that is always answered, at revisions that grow.
fn asked(rates: &Rates) -> Vec<Request> {
    let mut mix = mix(1, rates);
    let mut asked = Vec::new();
    for op in 1..2000 {
        let step = mix.next(op);
        let response = match &step.request {
            Request::Put { .. } => Response::Put {},
            Request::Range { .. } => Response::Range {
                kvs: vec![],
                count: 0,
                more: false,
            },
            Request::LeaseGrant { id, ttl } => Response::LeaseGrant { id: *id, ttl: *ttl },
            Request::LeaseRevoke { .. } => Response::LeaseRevoke {},
            Request::LeaseKeepAlive { .. } => Response::LeaseKeepAlive { ttl: 1 },
            Request::Compact { .. } => Response::Compact {},
            Request::Delete { .. } => Response::Delete { deleted: 1 },
            _ => Response::Txn {
                succeeded: true,
                responses: vec![],
            },
        };
        let outcome = Outcome::Ok {
            revision: op.cast_signed(),
            term: 1,
            member: "1".into(),
            response,
        };
        mix.learn(&step.request, &outcome);
        asked.push(step.request);
    }
    asked
}

fn kinds(asked: &[Request]) -> std::collections::BTreeSet<String> {
    let kind = |request: &Request| {
        let text = serde_json::to_value(request).unwrap();
        text["kind"].as_str().unwrap().to_owned()
    };
    asked.iter().map(kind).collect()
}

#[test]
fn every_kind_is_asked() {
    let kinds = kinds(&asked(&Rates::default()));
    let wanted = [
        "lease_grant",
        "lease_keep_alive",
        "lease_revoke",
        "put",
        "range",
        "txn",
    ];
    assert!(wanted.iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
    assert!(!kinds.contains("compact"), "only where it is asked for");
}

#[test]
fn leases_that_are_to_end_by_themselves_are_not_revoked() {
    let asked = asked(&Rates {
        lease_s: 3,
        leases_expire: true,
        ..Rates::default()
    });
    let grants = asked.iter().filter(|request| match request {
        Request::LeaseGrant { ttl, .. } => {
            assert_eq!(*ttl, 3);
            true
        }
        _ => false,
    });
    assert!(grants.count() > 5, "one after the other");
    assert!(!kinds(&asked).contains("lease_revoke"));
}

#[test]
fn a_client_compacts_what_is_old_and_reads_on_both_sides_of_it() {
    let asked = asked(&Rates {
        compacts: true,
        ..Rates::default()
    });
    let (mut compacted, mut now) = (0, 0);
    let (mut before, mut after) = (0, 0);
    for (revision, request) in (1..).zip(&asked) {
        match request {
            Request::Compact { revision } => {
                assert!(*revision > compacted && *revision <= now - KEPT);
                compacted = *revision;
            }
            Request::Range {
                revision: at @ 1.., ..
            } if *at < compacted => before += 1,
            Request::Range {
                revision: at @ 1.., ..
            } => {
                assert!(*at <= now, "nothing of the future");
                after += 1;
            }
            _ => {}
        }
        now = revision;
    }
    assert!(
        compacted > 1000 && before > 0 && after > 0,
        "{compacted} {before} {after}"
    );
}

#[test]
fn a_transaction_reads_what_its_client_has_compacted() {
    let asked = asked(&Rates {
        compacted_txns: true,
        ..Rates::default()
    });
    let (mut compacted, mut met) = (0, 0);
    for request in &asked {
        match request {
            Request::Compact { revision } => compacted = *revision,
            Request::Txn { then, .. } => {
                let below = then.iter().any(|request| {
                    matches!(request, Request::Range { revision: at @ 1.., .. } if *at < compacted)
                });
                let writes = then.iter().any(|r| matches!(r, Request::Put { .. }));
                met += u32::from(below && writes);
            }
            _ => {}
        }
    }
    assert!(compacted > 1000 && met > 50, "{compacted} {met}");
}

#[test]
fn a_client_swaps_a_key_of_its_own_where_compares_are_to_take_long() {
    let swaps = |compares| {
        let asked = asked(&Rates {
            compares,
            ..Rates::default()
        });
        let own = |request: &&Request| {
            matches!(request, Request::Txn { compare, then, .. } if !compare.is_empty()
                && then.iter().any(|request| matches!(request, Request::Put { key, .. } if key == "t/own/1")))
        };
        asked.iter().filter(own).count()
    };
    assert_eq!(swaps(1), 0);
    assert!(swaps(2) > 300, "{}", swaps(2));
}

#[test]
fn a_client_compacts_to_revisions_at_which_it_has_deleted_something() {
    let compactions = |compacts_deletes, deleted| {
        let rates = Rates {
            compacts_deletes,
            ..Rates::default()
        };
        let mut mix = mix(1, &rates);
        let mut compactions = Vec::new();
        for op in 1..200_u64 {
            let revision = 50 * op.cast_signed();
            let delete = mix.delete("t/k/000".to_owned(), op);
            let responses = vec![Response::Delete { deleted }, Response::Put {}];
            let outcome = Outcome::Ok {
                revision,
                term: 1,
                member: "1".into(),
                response: Response::Txn {
                    succeeded: true,
                    responses,
                },
            };
            mix.learn(&delete, &outcome);
            if let Request::Compact { revision: to } = mix.next(op).request {
                assert_eq!(to, revision);
                compactions.push(to);
            }
        }
        compactions
    };
    assert!(compactions(false, 1).is_empty());
    assert!(compactions(true, 0).is_empty(), "nothing was deleted");
    let told = compactions(true, 1);
    assert_eq!(told[..3], [150, 300, 450]);
}

#[test]
fn a_client_reads_its_own_key_in_transactions_that_write_nothing() {
    let reads = |requests: &[Request]| {
        let mut requests = requests.iter();
        requests.all(|request| matches!(request, Request::Range { key, .. } if key == "t/own/1"))
    };
    let read = |request: &Request| match request {
        Request::Txn {
            compare,
            then,
            otherwise,
        } => {
            let compared = compare.first();
            let holds = compared
                .is_some_and(|compare| matches!(compare, Compare::ModRevision { revision: 7, .. }));
            holds && reads(then) && reads(otherwise)
        }
        _ => false,
    };
    let count = |guarded_reads| {
        let rates = Rates {
            guarded_reads,
            ..Rates::default()
        };
        let mut mix = mix(1, &rates);
        let own = mix.put("t/own/1".to_owned(), 1, 0);
        let outcome = Outcome::Ok {
            revision: 7,
            term: 1,
            member: "1".into(),
            response: Response::Put {},
        };
        mix.learn(&own, &outcome);
        (2..1000).filter(|op| read(&mix.next(*op).request)).count()
    };
    assert_eq!(count(false), 0);
    assert!((250..450).contains(&count(true)), "{}", count(true));
}

#[test]
fn a_client_compacts_at_the_revision_of_a_lone_delete_right_behind_it() {
    let asked = asked(&Rates {
        lone_deletes: 50,
        ..Rates::default()
    });
    let (mut compacted, mut compactions, mut deletes) = (0, 0, 0);
    let mut before = None;
    for (revision, request) in (1..).zip(&asked) {
        match request {
            Request::Compact { revision: at } => {
                assert_eq!(*at, revision - 1);
                assert!(matches!(before, Some(Request::Delete { .. })), "{at}");
                assert!(*at >= compacted + 50, "{at} after {compacted}");
                compacted = *at;
                compactions += 1;
            }
            Request::Delete { .. } => deletes += 1,
            _ => {}
        }
        before = Some(request.clone());
    }
    assert!(compactions > 10 && deletes > 200, "{compactions} {deletes}");
}

#[test]
fn compare_and_swap_uses_what_was_read() {
    let rates = Rates {
        keys: 1,
        ..Rates::default()
    };
    let mut mix = Mix::new(1, 1, "t/", &rates);
    let read = get("t/k/000".into(), false);
    let kv = KeyValue {
        key: "t/k/000".into(),
        value: "c9-9".into(),
        create_revision: 4,
        mod_revision: 8,
        version: 2,
        lease: 0,
    };
    let response = Response::Range {
        kvs: vec![kv],
        count: 1,
        more: false,
    };
    mix.learn(
        &read,
        &Outcome::Ok {
            revision: 9,
            term: 1,
            member: "1".into(),
            response,
        },
    );
    let Request::Txn { compare, .. } = mix.compare_and_swap("t/k/000".into(), 77) else {
        panic!("a compare-and-swap is a transaction")
    };
    let by_revision = Compare::ModRevision {
        key: "t/k/000".into(),
        revision: 8,
    };
    let by_value = Compare::Value {
        key: "t/k/000".into(),
        value: "c9-9".into(),
    };
    assert!(
        compare == [by_revision] || compare == [by_value],
        "{compare:?}"
    );
    mix.learn(
        &read,
        &Outcome::Unknown {
            class: "deadline".into(),
            message: String::new(),
        },
    );
    let write = Request::Put {
        key: "t/k/000".into(),
        value: "x".into(),
        lease: 0,
    };
    mix.learn(
        &write,
        &Outcome::Unknown {
            class: "deadline".into(),
            message: String::new(),
        },
    );
    assert_eq!(
        mix.compare_and_swap("t/k/000".into(), 78),
        get("t/k/000".into(), false)
    );
}

#[test]
fn no_transaction_writes_a_key_twice() {
    for step in requests(11) {
        let Request::Txn { then, .. } = &step.request else {
            continue;
        };
        let mut written = std::collections::BTreeSet::new();
        for request in then {
            if let Request::Put { key, .. } | Request::Delete { key, .. } = request {
                assert!(written.insert(key), "etcd refuses {then:?}");
            }
        }
    }
}
