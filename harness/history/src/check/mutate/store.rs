//! Spoiled answers of the store, and spoiled ends.

use super::{Mutation, Spoiler};
use crate::record::{Call, FinalState, KeyValue, Outcome, Record, Request, Response, Return, Road};

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "stale read",
        check: "linearizable",
        apply: stale_read,
    },
    Mutation {
        name: "read of a wrong value",
        check: "linearizable",
        apply: wrong_value,
    },
    Mutation {
        name: "read of a wrong lease",
        check: "linearizable",
        apply: |s| {
            linear_answer(s, |r| {
                kv_of(r).is_some_and(|kv| {
                    kv.lease += 1;
                    true
                })
            })
        },
    },
    Mutation {
        name: "read without a key",
        check: "linearizable",
        apply: lost_key_in_read,
    },
    Mutation {
        name: "read with a wrong count",
        check: "linearizable",
        apply: |s| {
            linear_answer(s, |r| {
                if let Response::Range { count, .. } = r {
                    *count += 1;
                    true
                } else {
                    false
                }
            })
        },
    },
    Mutation {
        name: "read with a wrong more",
        check: "linearizable",
        apply: |s| {
            linear_answer(s, |r| {
                if let Response::Range { more, .. } = r {
                    *more = !*more;
                    true
                } else {
                    false
                }
            })
        },
    },
    Mutation {
        name: "read of an older revision",
        check: "linearizable",
        apply: older_revision,
    },
    Mutation {
        name: "read of a future revision",
        check: "linearizable",
        apply: |s| linear_read(s, |revision| *revision += 1_000),
    },
    Mutation {
        name: "flipped branch",
        check: "linearizable",
        apply: |s| {
            s.spoil_answer(|_, r| {
                if let Response::Txn { succeeded, .. } = r {
                    *succeeded = !*succeeded;
                    true
                } else {
                    false
                }
            })
        },
    },
    Mutation {
        name: "wrong count of deletes",
        check: "linearizable",
        apply: |s| {
            s.spoil_answer(|_, r| {
                if let Response::Delete { deleted } = r {
                    *deleted += 1;
                    true
                } else {
                    false
                }
            })
        },
    },
    Mutation {
        name: "two writes at one revision",
        check: "linearizable",
        apply: |s| {
            s.spoil_answer(|revision, r| {
                matches!(r, Response::Put {}) && {
                    *revision -= 1;
                    true
                }
            })
        },
    },
    Mutation {
        name: "write shifted in time",
        check: "linearizable",
        apply: shifted_write,
    },
    Mutation {
        name: "failed write that happened",
        check: "linearizable",
        apply: |s| outcome_of_put(s, true),
    },
    Mutation {
        name: "write that nobody called",
        check: "linearizable",
        apply: |s| outcome_of_put(s, false),
    },
    Mutation {
        name: "acknowledged write that never was",
        check: "linearizable",
        apply: |s| phantom(s).is_some(),
    },
    Mutation {
        name: "untrue serializable read",
        check: "reads",
        apply: untrue_local_read,
    },
    Mutation {
        name: "serializable read of a wrong revision",
        check: "reads",
        apply: local_read_back,
    },
    Mutation {
        name: "compacted revision served",
        check: "reads",
        apply: compacted_read,
    },
    Mutation {
        name: "refused as compacted without reason",
        check: "reads",
        apply: refused_read,
    },
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
        name: "acknowledged write lost for good",
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
        name: "member not dumped",
        check: "durability",
        apply: |s| {
            let found = s.pick(|r| matches!(r, Record::FinalState(_)));
            found.is_some_and(|at| {
                s.history.records.remove(at);
                true
            })
        },
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
];

fn kv_of(response: &mut Response) -> Option<&mut KeyValue> {
    match response {
        Response::Range { kvs, .. } => kvs.first_mut(),
        _ => None,
    }
}

/// Puts a linearizable read of one key back to what was there before it.
fn stale_read(spoiler: &mut Spoiler) -> bool {
    linear_answer(spoiler, |response| {
        let Some(kv) = kv_of(response).filter(|kv| kv.version > 1) else {
            return false;
        };
        kv.version -= 1;
        kv.mod_revision -= 1;
        kv.value = "older".to_owned();
        true
    })
}

fn wrong_value(spoiler: &mut Spoiler) -> bool {
    linear_answer(spoiler, |response| {
        kv_of(response).is_some_and(|kv| {
            kv.value += "x";
            true
        })
    })
}

fn lost_key_in_read(spoiler: &mut Spoiler) -> bool {
    linear_answer(spoiler, |response| match response {
        Response::Range { kvs, .. } if !kvs.is_empty() => {
            kvs.remove(0);
            true
        }
        _ => false,
    })
}

/// Changes the answer of a linearizable range at the newest revision.
fn linear_answer(spoiler: &mut Spoiler, change: impl Fn(&mut Response) -> bool) -> bool {
    let reads = calls(spoiler, |call| {
        matches!(
            call.request,
            Request::Range {
                serializable: false,
                revision: 0,
                ..
            }
        )
    });
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok { response, .. } => change(response),
        _ => false,
    })
}

fn linear_read(spoiler: &mut Spoiler, change: impl Fn(&mut i64)) -> bool {
    let reads = calls(spoiler, |call| {
        matches!(
            call.request,
            Request::Range {
                serializable: false,
                revision: 0,
                ..
            }
        )
    });
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok { revision, .. } => {
            change(revision);
            true
        }
        _ => false,
    })
}

fn calls(spoiler: &Spoiler, wanted: impl Fn(&Call) -> bool) -> Vec<u64> {
    let call = |record: &Record| match record {
        Record::Call(call) if wanted(call) => Some(call.op),
        _ => None,
    };
    spoiler.history.records.iter().filter_map(call).collect()
}

/// Changes the return of one of the operations that `change` can do something with.
fn pick_end(
    spoiler: &mut Spoiler,
    mut ops: Vec<u64>,
    change: impl Fn(&mut Return) -> bool,
) -> bool {
    while !ops.is_empty() {
        let op = ops.swap_remove(spoiler.random.position(ops.len()));
        let Some(at) = spoiler.end(op) else { continue };
        if let Record::Return(end) = &mut spoiler.history.records[at]
            && change(end)
        {
            return true;
        }
    }
    false
}

/// A read far into the run says that it saw a revision of its beginning.
fn older_revision(spoiler: &mut Spoiler) -> bool {
    linear_late(spoiler, |revision| *revision -= 50)
}

fn linear_late(spoiler: &mut Spoiler, change: impl Fn(&mut i64)) -> bool {
    let reads = calls(spoiler, |call| {
        matches!(
            call.request,
            Request::Range {
                serializable: false,
                revision: 0,
                ..
            }
        )
    });
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok { revision, .. } if *revision > 150 => {
            change(revision);
            true
        }
        _ => false,
    })
}

fn acknowledged_puts(spoiler: &Spoiler) -> Vec<u64> {
    calls(spoiler, |call| matches!(&call.request, Request::Put { key, lease: 0, .. } if key.starts_with("t/w/")))
        .into_iter()
        .filter(|op| {
            let end = spoiler.end(*op).map(|at| &spoiler.history.records[at]);
            matches!(end, Some(Record::Return(end)) if matches!(end.outcome, Outcome::Ok { revision: 100.., .. }))
        })
        .collect()
}

/// Call and return of a write are moved far ahead of writes that its revision is behind.
fn shifted_write(spoiler: &mut Spoiler) -> bool {
    const EARLIER: i64 = 400_000_000;
    let ops = acknowledged_puts(spoiler);
    let op = ops[spoiler.random.position(ops.len())];
    let (Some(call), Some(end)) = (spoiler.call(op), spoiler.end(op)) else {
        return false;
    };
    if let Record::Call(call) = &mut spoiler.history.records[call] {
        call.t -= EARLIER;
    }
    if let Record::Return(end) = &mut spoiler.history.records[end] {
        end.t -= EARLIER;
    }
    true
}

/// An acknowledged write becomes one that failed for certain, or that was never called.
fn outcome_of_put(spoiler: &mut Spoiler, failed: bool) -> bool {
    let ops = acknowledged_puts(spoiler);
    let op = ops[spoiler.random.position(ops.len())];
    let (Some(call), Some(end)) = (spoiler.call(op), spoiler.end(op)) else {
        return false;
    };
    if failed {
        if let Record::Return(end) = &mut spoiler.history.records[end] {
            end.outcome = Outcome::Failed {
                class: "refused".to_owned(),
                message: String::new(),
            };
        }
    } else {
        spoiler.history.records.remove(end);
        spoiler.history.records.remove(call);
    }
    true
}

/// A write that failed, or that nobody knows of and that never happened, becomes an acknowledged one.
fn phantom(spoiler: &mut Spoiler) -> Option<u64> {
    let seen: Vec<String> = spoiler
        .history
        .records
        .iter()
        .filter_map(|record| match record {
            Record::FinalState(state) => Some(state.kvs.iter().map(|kv| kv.key.clone())),
            _ => None,
        })
        .flatten()
        .collect();
    let ops = calls(
        spoiler,
        |call| matches!(&call.request, Request::Put { key, lease: 0, .. } if key.starts_with("t/w/") && !seen.contains(key)),
    );
    let op = *ops.first()?;
    let at = spoiler.end(op)?;
    let Record::Return(end) = &mut spoiler.history.records[at] else {
        return None;
    };
    end.outcome = Outcome::Ok {
        revision: 200,
        term: 2,
        member: "8e9e05c52164694d".to_owned(),
        response: Response::Put {},
    };
    Some(op)
}

fn local_reads(spoiler: &Spoiler) -> Vec<u64> {
    calls(spoiler, |call| {
        matches!(
            call.request,
            Request::Range {
                serializable: true,
                ..
            }
        )
    })
}

fn untrue_local_read(spoiler: &mut Spoiler) -> bool {
    let reads = local_reads(spoiler);
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok {
            response: Response::Range { kvs, .. },
            ..
        } if !kvs.is_empty() => {
            kvs[0].value += "x";
            true
        }
        _ => false,
    })
}

fn local_read_back(spoiler: &mut Spoiler) -> bool {
    let reads = local_reads(spoiler);
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok {
            revision,
            response: Response::Range { kvs, .. },
            ..
        } if *revision > 100 && !kvs.is_empty() => {
            *revision = kvs[0].mod_revision - 1;
            true
        }
        _ => false,
    })
}

fn old_read(spoiler: &Spoiler) -> Option<(Call, i64)> {
    let reads = calls(spoiler, |call| {
        matches!(
            call.request,
            Request::Range {
                serializable: false,
                revision: 100..,
                ..
            }
        )
    });
    reads.into_iter().find_map(|op| {
        let (call, end) = (
            &spoiler.history.records[spoiler.call(op)?],
            &spoiler.history.records[spoiler.end(op)?],
        );
        match (call, end) {
            (
                Record::Call(call),
                Record::Return(Return {
                    outcome: Outcome::Ok { revision, .. },
                    ..
                }),
            ) => Some((call.clone(), *revision)),
            _ => None,
        }
    })
}

/// A compaction was acknowledged before a read of an older revision was called.
fn compacted_read(spoiler: &mut Spoiler) -> bool {
    let Some((read, header)) = old_read(spoiler) else {
        return false;
    };
    let Request::Range { revision, .. } = read.request else {
        return false;
    };
    let (op, t) = (900_000, read.t - 2_000);
    let request = Request::Compact {
        revision: revision + 1,
    };
    spoiler.add(Record::Call(Call {
        t,
        op,
        client: 8_000,
        road: Road::Member,
        scheduled: t,
        request,
    }));
    let outcome = Outcome::Ok {
        revision: header,
        term: 2,
        member: "a".to_owned(),
        response: Response::Compact {},
    };
    spoiler.add(Record::Return(Return {
        t: t + 1_000,
        op,
        outcome,
    }));
    true
}

fn refused_read(spoiler: &mut Spoiler) -> bool {
    let Some((read, _)) = old_read(spoiler) else {
        return false;
    };
    let asked = |request: &Request| matches!(request, Request::Compact { .. });
    spoiler
        .history
        .records
        .retain(|record| !matches!(record, Record::Call(call) if asked(&call.request)));
    let Some(end) = spoiler.end(read.op) else {
        return false;
    };
    if let Record::Return(end) = &mut spoiler.history.records[end] {
        end.outcome = Outcome::Failed {
            class: "compacted".to_owned(),
            message: String::new(),
        };
    }
    true
}

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

/// Every member begins anew from an older copy.
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
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok {
            response: Response::Range { kvs, count, .. },
            ..
        } => {
            let Some(position) = kvs.iter().rposition(|kv| kv.key.starts_with("t/w/")) else {
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
    // Without a key under a lease that ended nobody can have seen it.
    any && spoiler
        .history
        .records
        .iter()
        .any(|record| matches!(record, Record::Watch(_)))
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
    let (op, t) = (900_000, t + 1_000_000_000);
    spoiler.add(Record::Call(Call {
        t,
        op,
        client: 8_000,
        road: Road::Member,
        scheduled: t,
        request: Request::LeaseKeepAlive { id },
    }));
    let outcome = Outcome::Ok {
        revision: 1,
        term: 3,
        member: "a".to_owned(),
        response: Response::LeaseKeepAlive { ttl: 1 },
    };
    spoiler.add(Record::Return(Return {
        t: t + 1_000,
        op,
        outcome,
    }));
    true
}
