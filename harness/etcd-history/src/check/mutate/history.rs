//! Spoiled recordings: what the harness itself may get wrong or leave out. Nothing is proved by them, and the check
//! says so.

use super::cluster::one;
use super::operator::route_gone;
use super::{Mutation, Spoiler};
use crate::record::{
    FaultStep, ListedMember, Outcome, PodRecord, Record, Request, Route, WatchEvent,
};

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "value written twice",
        check: "assumptions",
        apply: value_twice,
    },
    Mutation {
        name: "two operations open at one client",
        check: "assumptions",
        apply: overlap,
    },
    Mutation {
        name: "return without a call",
        check: "assumptions",
        apply: |s| {
            let at = s.pick(|r| matches!(r, Record::Call(_)));
            at.is_some_and(|at| {
                s.history.records.remove(at);
                true
            })
        },
    },
    Mutation {
        name: "return before its call",
        check: "assumptions",
        apply: |s| {
            one(s, |r| {
                if let Record::Return(end) = r {
                    end.t -= 3_600_000_000_000;
                    true
                } else {
                    false
                }
            })
        },
    },
    Mutation {
        name: "operation number used twice",
        check: "assumptions",
        apply: number_twice,
    },
    Mutation {
        name: "incarnation started twice",
        check: "assumptions",
        apply: |s| {
            let first = s.history.records[0].clone();
            s.add(first);
            true
        },
    },
    Mutation {
        name: "watch stream that was not opened",
        check: "assumptions",
        apply: not_opened,
    },
    Mutation {
        name: "pod whose version goes back",
        check: "assumptions",
        apply: |s| last_pod(s, |pod, _| pod.resource_version = 1),
    },
    Mutation {
        name: "pod whose UID comes back",
        check: "assumptions",
        apply: |s| last_pod(s, |pod, first| first.clone_into(&mut pod.uid)),
    },
    Mutation {
        name: "watcher that does not continue where it ended",
        check: "watch",
        apply: not_continued,
    },
    Mutation {
        name: "vote that no list explains",
        check: "membership",
        apply: vote_unexplained,
    },
    Mutation {
        name: "fault without effect",
        check: "assumptions",
        apply: |s| step(s, FaultStep::Effective, Some(FaultStep::Ineffective)),
    },
    Mutation {
        name: "fault whose effect was not looked for",
        check: "assumptions",
        apply: |s| step(s, FaultStep::Effective, None),
    },
    Mutation {
        name: "fault that left something behind",
        check: "assumptions",
        apply: |s| step(s, FaultStep::Healed, Some(FaultStep::Residue)),
    },
    Mutation {
        name: "fault never healed",
        check: "assumptions",
        apply: |s| step(s, FaultStep::Healed, None),
    },
    Mutation {
        name: "no fault at all",
        check: "assumptions",
        apply: |s| {
            s.history.records.retain(|r| !matches!(r, Record::Fault(_)));
            true
        },
    },
    Mutation {
        name: "no traffic after the fault",
        check: "assumptions",
        apply: quiet_after,
    },
    Mutation {
        name: "no transaction succeeded",
        check: "assumptions",
        apply: no_txn,
    },
    Mutation {
        name: "hash missing",
        check: "agreement",
        apply: |s| {
            let at = s.pick(|r| matches!(r, Record::Hash(_)));
            at.is_some_and(|at| {
                s.history.records.remove(at);
                true
            })
        },
    },
    Mutation {
        name: "no samples",
        check: "raft",
        apply: |s| {
            s.history
                .records
                .retain(|r| !matches!(r, Record::Member(_)));
            true
        },
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
        name: "no pods seen",
        check: "labels",
        apply: |s| {
            s.history.records.retain(|r| !matches!(r, Record::Pod(_)));
            true
        },
    },
    Mutation {
        name: "no writes on a route with a budget",
        check: "continuity",
        apply: |s| route_gone(s, Route::ServiceFresh),
    },
    Mutation {
        name: "no reference client",
        check: "continuity",
        apply: |s| route_gone(s, Route::DialAll),
    },
    Mutation {
        name: "dump behind",
        check: "agreement",
        apply: |s| {
            one(s, |r| {
                if let Record::FinalState(state) = r {
                    let behind = state.revision - 1;
                    state.revision = behind;
                    // One that shows what is newer than itself is no dump at all.
                    state.kvs.retain(|kv| kv.mod_revision <= behind);
                    true
                } else {
                    false
                }
            })
        },
    },
];

fn value_twice(spoiler: &mut Spoiler) -> bool {
    let mut last: Option<String> = None;
    for record in &mut spoiler.history.records {
        let Record::Call(call) = record else { continue };
        let Request::Put { value, .. } = &mut call.request else {
            continue;
        };
        match last.take() {
            Some(other) => {
                *value = other;
                return true;
            }
            None => last = Some(value.clone()),
        }
    }
    false
}

fn overlap(spoiler: &mut Spoiler) -> bool {
    let Some(at) = spoiler.pick(|record| matches!(record, Record::Call(call) if call.client == 0))
    else {
        return false;
    };
    let Record::Call(call) = &spoiler.history.records[at] else {
        return false;
    };
    let mut second = call.clone();
    second.op = 900_000;
    second.request = Request::Compact { revision: 1 };
    spoiler.history.records.insert(at + 1, Record::Call(second));
    true
}

/// That the first stream of a watcher was opened is not recorded.
fn not_opened(spoiler: &mut Spoiler) -> bool {
    let opened = |record: &Record| match record {
        Record::Watch(watch) => {
            watch.stream == 0 && matches!(watch.event, WatchEvent::Opened { .. })
        }
        _ => false,
    };
    spoiler.pick(opened).is_some_and(|at| {
        spoiler.history.records.remove(at);
        true
    })
}

/// Changes the last record of a pod that is there, beside the UID that its name had first.
fn last_pod(spoiler: &mut Spoiler, change: impl Fn(&mut PodRecord, &str)) -> bool {
    spoiler.history.records.sort_by_key(Record::time);
    let there = |record: &Record| matches!(record, Record::Pod(pod) if !pod.deleted);
    let Some(at) = spoiler.positions(there).pop() else {
        return false;
    };
    let (before, rest) = spoiler.history.records.split_at_mut(at);
    let Some(Record::Pod(pod)) = rest.first_mut() else {
        return false;
    };
    let first = before.iter().find_map(|record| match record {
        Record::Pod(other) if other.pod == pod.pod => Some(other.uid.clone()),
        _ => None,
    });
    first.is_some_and(|first| {
        change(pod, &first);
        true
    })
}

/// What a stream was told last is not recorded, and its watcher continues behind it.
fn not_continued(spoiler: &mut Spoiler) -> bool {
    let of = |record: &Record| match record {
        Record::Watch(watch) => Some((watch.watcher, watch.stream)),
        _ => None,
    };
    let records = &spoiler.history.records;
    let event = |at: usize| match &records[at] {
        Record::Watch(watch) => Some(&watch.event),
        _ => None,
    };
    let broken = |at: &usize| matches!(event(*at), Some(WatchEvent::Broken { .. }));
    let before = |at: usize| {
        (0..at)
            .rev()
            .find(|before| of(&records[*before]) == of(&records[at]))
    };
    let events = |at: &usize| matches!(event(*at), Some(WatchEvent::Events { .. }));
    let ends = (0..records.len()).filter(broken);
    let last: Vec<usize> = ends.filter_map(before).filter(events).collect();
    if last.is_empty() {
        return false;
    }
    let at = last[spoiler.random.position(last.len())];
    spoiler.history.records.remove(at);
    true
}

/// Seconds after the last list there is one with a member more, which votes.
fn vote_unexplained(spoiler: &mut Spoiler) -> bool {
    let mut records = spoiler.history.records.iter().rev();
    let last = records.find_map(|record| match record {
        Record::Membership(list) => Some(list.clone()),
        _ => None,
    });
    let Some(mut list) = last else { return false };
    list.t += 3_000_000_000;
    list.members.push(ListedMember {
        id: "beef".to_owned(),
        name: "demo-etcd-9".to_owned(),
        learner: false,
    });
    spoiler.add(Record::Membership(list));
    true
}

fn number_twice(spoiler: &mut Spoiler) -> bool {
    let Some(at) = spoiler.pick(|record| matches!(record, Record::Call(_))) else {
        return false;
    };
    let copy = spoiler.history.records[at].clone();
    spoiler.history.records.insert(at, copy);
    true
}

fn step(spoiler: &mut Spoiler, from: FaultStep, to: Option<FaultStep>) -> bool {
    let Some(at) =
        spoiler.pick(|record| matches!(record, Record::Fault(fault) if fault.step == from))
    else {
        return false;
    };
    match (&mut spoiler.history.records[at], to) {
        (Record::Fault(fault), Some(to)) => fault.step = to,
        _ => {
            spoiler.history.records.remove(at);
        }
    }
    true
}

fn quiet_after(spoiler: &mut Spoiler) -> bool {
    let healed = spoiler
        .history
        .records
        .iter()
        .find_map(|record| match record {
            Record::Fault(fault) if fault.step == FaultStep::Healed => Some(fault.t),
            _ => None,
        });
    let Some(healed) = healed else { return false };
    spoiler.history.records.retain(|record| match record {
        Record::Call(call) => call.t < healed,
        Record::Return(end) => end.t < healed,
        _ => true,
    });
    true
}

fn no_txn(spoiler: &mut Spoiler) -> bool {
    for record in &mut spoiler.history.records {
        if let Record::Return(end) = record
            && matches!(
                end.outcome,
                Outcome::Ok {
                    response: crate::Response::Txn { .. },
                    ..
                }
            )
        {
            end.outcome = Outcome::Unknown {
                class: "deadline".to_owned(),
                message: String::new(),
            };
        }
    }
    true
}
