//! Spoiled ends: of the run, as its members were dumped, and of leases.

use super::store::{acknowledged_puts, calls, phantom, pick_end};
use super::{Mutation, Spoiler};
use crate::record::{
    Call, FinalState, KeyValue, Nanos, Outcome, Record, Request, Response, Return, Route,
};

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "lost final key",
        check: "durability",
        apply: |s| {
            final_key(s, |kvs, at| {
                kvs.remove(at);
            })
        },
    },
    Mutation {
        name: "final key of an older revision",
        check: "durability",
        apply: |s| final_key(s, |kvs, at| kvs[at].mod_revision -= 1),
    },
    Mutation {
        name: "final key of another value",
        check: "durability",
        apply: |s| final_key(s, |kvs, at| kvs[at].value += "x"),
    },
    Mutation {
        name: "acknowledged write lost permanently",
        check: "durability",
        apply: |s| phantom(s).is_some(),
    },
    Mutation {
        name: "whole cluster set back",
        check: "durability",
        apply: set_back,
    },
    Mutation {
        name: "final read without a key",
        check: "durability",
        apply: lost_in_final_read,
    },
    Mutation {
        name: "lease gone early",
        check: "leases",
        apply: early_lease,
    },
    Mutation {
        name: "lease alive after its end",
        check: "leases",
        apply: revived_lease,
    },
    Mutation {
        name: "grant refused for a lease that no one has",
        check: "leases",
        apply: |s| {
            let grants = calls(s, |call| matches!(call.request, Request::LeaseGrant { .. }));
            refused(s, grants, "lease_exists")
        },
    },
    Mutation {
        name: "put without a lease refused for one",
        check: "leases",
        apply: |s| {
            let puts = calls(s, |call| {
                matches!(call.request, Request::Put { lease: 0, .. })
            });
            refused(s, puts, "lease_not_found")
        },
    },
    Mutation {
        name: "lease granted for less than nothing",
        check: "agreement",
        apply: negative_lease,
    },
];

/// Changes an acknowledged key in the dump of one member.
fn final_key(spoiler: &mut Spoiler, change: impl Fn(&mut Vec<KeyValue>, usize)) -> bool {
    let acknowledged = acknowledged_puts(spoiler);
    let Some(at) = spoiler.pick(|record| matches!(record, Record::FinalState(_))) else {
        return false;
    };
    let Record::FinalState(FinalState { kvs, .. }) = &mut spoiler.history.records[at] else {
        return false;
    };
    let named = |kv: &KeyValue| acknowledged.iter().any(|op| kv.key == format!("t/w/{op}"));
    let Some(position) = kvs.iter().position(named) else {
        return false;
    };
    change(kvs, position);
    true
}

/// Every member starts again from an older copy.
fn set_back(spoiler: &mut Spoiler) -> bool {
    for record in &mut spoiler.history.records {
        if let Record::FinalState(state) = record {
            state.revision /= 2;
            let revision = state.revision;
            state.kvs.retain(|kv| kv.mod_revision <= revision);
        }
    }
    true
}

fn lost_in_final_read(spoiler: &mut Spoiler) -> bool {
    let reads = calls(spoiler, |call| call.client == 9_000);
    let acknowledged = acknowledged_puts(spoiler);
    let named = |kv: &KeyValue| acknowledged.iter().any(|op| kv.key == format!("t/w/{op}"));
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok {
            response: Response::Range { kvs, count, .. },
            ..
        } => {
            let Some(position) = kvs.iter().rposition(named) else {
                return false;
            };
            kvs.remove(position);
            *count -= 1;
            true
        }
        _ => false,
    })
}

/// etcd said that every lease lives a thousand times as long.
fn early_lease(spoiler: &mut Spoiler) -> bool {
    let mut any = false;
    for record in &mut spoiler.history.records {
        if let Record::Return(Return {
            outcome:
                Outcome::Ok {
                    response: Response::LeaseGrant { ttl, .. },
                    ..
                },
            ..
        }) = record
        {
            *ttl *= 1_000;
            any = true;
        }
    }
    // Without a key under a lease that ended no client can have seen it.
    any && spoiler
        .history
        .records
        .iter()
        .any(|record| matches!(record, Record::Watch(_)))
}

/// One of some operations is refused.
pub(super) fn refused(spoiler: &mut Spoiler, ops: Vec<u64>, class: &str) -> bool {
    pick_end(spoiler, ops, |end| {
        let (class, message) = (class.to_owned(), String::new());
        end.outcome = Outcome::Failed { class, message };
        true
    })
}

fn negative_lease(spoiler: &mut Spoiler) -> bool {
    spoiler.spoil_answer(|_, response| match response {
        Response::LeaseGrant { ttl, .. } => {
            *ttl = -*ttl;
            true
        }
        _ => false,
    })
}

/// A lease that was revoked is kept alive a second later.
fn revived_lease(spoiler: &mut Spoiler) -> bool {
    let revokes = calls(spoiler, |call| {
        matches!(call.request, Request::LeaseRevoke { .. })
    });
    let revoked = revokes.into_iter().find_map(|op| {
        let (Some(call), Some(end)) = (spoiler.call(op), spoiler.end(op)) else {
            return None;
        };
        match (
            &spoiler.history.records[call],
            &spoiler.history.records[end],
        ) {
            (
                Record::Call(Call {
                    request: Request::LeaseRevoke { id },
                    ..
                }),
                Record::Return(end),
            ) if matches!(end.outcome, Outcome::Ok { .. }) => Some((*id, end.t)),
            _ => None,
        }
    });
    let Some((id, t)) = revoked else { return false };
    let (request, answer) = (
        Request::LeaseKeepAlive { id },
        Response::LeaseKeepAlive { ttl: 1 },
    );
    add_operation(spoiler, t + 1_000_000_000, request, (1, 3, answer))
}

/// One more client does this, and is answered with a revision and a term.
pub(super) fn add_operation(
    spoiler: &mut Spoiler,
    t: Nanos,
    request: Request,
    (revision, term, response): (i64, u64, Response),
) -> bool {
    let op = 900_000;
    spoiler.add(Record::Call(Call {
        t,
        op,
        client: 8_000,
        route: Route::Member,
        scheduled: t,
        request,
    }));
    let outcome = Outcome::Ok {
        revision,
        term,
        member: "a".to_owned(),
        response,
    };
    spoiler.add(Record::Return(Return {
        t: t + 1_000,
        op,
        outcome,
    }));
    true
}
