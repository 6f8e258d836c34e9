//! Spoiled answers of the store.

use super::{Mutation, Spoiler};
use crate::record::{Call, KeyValue, Outcome, Record, Request, Response, Return};

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
        name: "write that no client called",
        check: "linearizable",
        apply: |s| outcome_of_put(s, false),
    },
    Mutation {
        name: "acknowledged write that never was",
        check: "linearizable",
        apply: |s| phantom(s).is_some(),
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
    let reads = linear_reads(spoiler);
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok { response, .. } => change(response),
        _ => false,
    })
}

fn linear_read(spoiler: &mut Spoiler, change: impl Fn(&mut i64)) -> bool {
    let reads = linear_reads(spoiler);
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok { revision, .. } => {
            change(revision);
            true
        }
        _ => false,
    })
}

/// Linearizable ranges at the newest revision.
fn linear_reads(spoiler: &Spoiler) -> Vec<u64> {
    calls(spoiler, |call| {
        matches!(
            call.request,
            Request::Range {
                serializable: false,
                revision: 0,
                ..
            }
        )
    })
}

pub(super) fn calls(spoiler: &Spoiler, wanted: impl Fn(&Call) -> bool) -> Vec<u64> {
    let call = |record: &Record| match record {
        Record::Call(call) if wanted(call) => Some(call.op),
        _ => None,
    };
    spoiler.history.records.iter().filter_map(call).collect()
}

/// Changes the return of one of the operations that `change` can do something with.
pub(super) fn pick_end(
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
    let reads = linear_reads(spoiler);
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok { revision, .. } if *revision > 150 => {
            change(revision);
            true
        }
        _ => false,
    })
}

pub(super) fn acknowledged_puts(spoiler: &Spoiler) -> Vec<u64> {
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

/// A write that failed, or that is of unknown outcome and never happened, becomes an acknowledged one.
pub(super) fn phantom(spoiler: &mut Spoiler) -> Option<u64> {
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
