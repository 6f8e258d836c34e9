//! Spoiled reads of one member, and of a revision that is over.

use super::cluster::one;
use super::ends::{add_operation, refused};
use super::store::{calls, pick_end};
use super::{Mutation, Spoiler};
use crate::record::{Call, KeyValue, Outcome, Record, Request, Response, Return};

pub(super) const MUTATIONS: &[Mutation] = &[
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
        name: "serializable reads of one member attributed to another",
        check: "reads",
        apply: |s| {
            for op in local_reads(s) {
                pick_end(s, vec![op], |end| match &mut end.outcome {
                    Outcome::Ok { member, .. } => {
                        "8e9e05c52164694d".clone_into(member);
                        true
                    }
                    _ => false,
                });
            }
            true
        },
    },
    Mutation {
        name: "serializable read of a key without a version",
        check: "agreement",
        apply: |s| local_key(s, |kv| kv.version = 0),
    },
    Mutation {
        name: "serializable read of a key that is newer than its revision",
        check: "agreement",
        apply: |s| local_key(s, |kv| kv.mod_revision += 10_000),
    },
    Mutation {
        name: "put refused as compacted",
        check: "reads",
        apply: |s| refused_put(s, "compacted"),
    },
    Mutation {
        name: "put refused as of the future",
        check: "reads",
        apply: |s| refused_put(s, "future_revision"),
    },
    Mutation {
        name: "hash of what no client compacted",
        check: "reads",
        apply: |s| {
            one(s, |record| {
                let Record::Hash(hash) = record else {
                    return false;
                };
                hash.compact_revision = hash.revision + 1;
                true
            })
        },
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
];

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

/// Changes the first key that a serializable read shows.
fn local_key(spoiler: &mut Spoiler, change: impl Fn(&mut KeyValue)) -> bool {
    let reads = local_reads(spoiler);
    pick_end(spoiler, reads, |end| match &mut end.outcome {
        Outcome::Ok {
            response: Response::Range { kvs, .. },
            ..
        } => kvs.first_mut().map(&change).is_some(),
        _ => false,
    })
}

/// A write is refused because of a revision.
fn refused_put(spoiler: &mut Spoiler, class: &str) -> bool {
    let puts = calls(spoiler, |call| {
        matches!(call.request, Request::Put { lease: 0, .. })
    });
    refused(spoiler, puts, class)
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
    let request = Request::Compact {
        revision: revision + 1,
    };
    let answer = (header, 2, Response::Compact {});
    add_operation(spoiler, read.t - 2_000, request, answer)
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
