//! Mutations of the operator's actions: labels, endpoints, disruptions, gaps.

use super::{Mutation, Spoiler};
use crate::record::{EndpointsRecord, Outcome, PodRecord, Record, Route};

pub(super) const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "forged leader label",
        check: "labels",
        apply: |s| forged(s, true),
    },
    Mutation {
        name: "label kept on the old leader",
        check: "labels",
        apply: kept,
    },
    Mutation {
        name: "label never moved",
        check: "labels",
        apply: |s| {
            s.history
                .records
                .retain(|r| !matches!(r, Record::Pod(pod) if pod.resource_version > 1_004));
            true
        },
    },
    Mutation {
        name: "label late",
        check: "labels",
        apply: late,
    },
    Mutation {
        name: "endpoints late",
        check: "labels",
        apply: endpoints_late,
    },
    Mutation {
        name: "label gone in the end",
        check: "labels",
        apply: |s| forged(s, false),
    },
    Mutation {
        name: "endpoint that never led",
        check: "labels",
        apply: |s| endpoint(s, "demo-etcd-2"),
    },
    Mutation {
        name: "endpoint of the old leader in the end",
        check: "labels",
        apply: |s| endpoint(s, "demo-etcd-0"),
    },
    Mutation {
        name: "no endpoints in the end",
        check: "labels",
        apply: |s| endpoint(s, ""),
    },
    Mutation {
        name: "two pods taken down at once",
        check: "quorum",
        apply: two_down,
    },
    Mutation {
        name: "pod that never came back under another UID",
        check: "quorum",
        apply: |s| {
            for record in &mut s.history.records {
                if let Record::Pod(pod) = record {
                    pod.uid = pod.pod.clone();
                }
            }
            true
        },
    },
    Mutation {
        name: "lists that do not know a member's name",
        check: "quorum",
        apply: unnamed,
    },
    Mutation {
        name: "quorum taken while a member is not ready",
        check: "quorum",
        apply: quorum_taken,
    },
    Mutation {
        name: "gap stretched for new connections",
        check: "continuity",
        apply: |s| stretched(s, Route::ServiceFresh, true),
    },
    Mutation {
        name: "gap stretched for held connections",
        check: "continuity",
        apply: |s| stretched(s, Route::ServiceHeld, true),
    },
    Mutation {
        name: "gap stretched for the client that dials all members",
        check: "continuity",
        apply: |s| stretched(s, Route::DialAll, true),
    },
    Mutation {
        name: "gap outside of all faults",
        check: "continuity",
        apply: |s| stretched(s, Route::ServiceFresh, false),
    },
];

fn last_pod(spoiler: &Spoiler, wanted: impl Fn(&PodRecord) -> bool) -> Option<PodRecord> {
    spoiler
        .history
        .records
        .iter()
        .rev()
        .find_map(|record| match record {
            Record::Pod(pod) if wanted(pod) => Some(pod.clone()),
            _ => None,
        })
}

/// A last write of a label: a second leader, or none.
fn forged(spoiler: &mut Spoiler, second: bool) -> bool {
    let leads = |pod: &PodRecord| pod.role.as_deref() == Some("leader");
    let Some(pod) = last_pod(spoiler, |pod| leads(pod) != second) else {
        return false;
    };
    let role = Some(if second { "leader" } else { "follower" }.to_owned());
    spoiler.add(Record::Pod(PodRecord {
        t: pod.t + 1_000_000,
        resource_version: 5_000,
        role,
        ..pod
    }));
    true
}

/// The record that takes the label off the old leader is not there.
fn kept(spoiler: &mut Spoiler) -> bool {
    let mut pods = spoiler.positions(|record| matches!(record, Record::Pod(_)));
    pods.sort_by_key(|at| spoiler.history.records[*at].time());
    let first_after = pods.into_iter().nth(3);
    first_after.is_some_and(|at| {
        spoiler.history.records.remove(at);
        true
    })
}

/// Labels come two seconds late.
fn late(spoiler: &mut Spoiler) -> bool {
    for record in &mut spoiler.history.records {
        if let Record::Pod(pod) = record
            && pod.resource_version > 1_004
        {
            pod.t += 2_000_000_000;
        }
    }
    true
}

/// Endpoints follow the label a second and a half late.
fn endpoints_late(spoiler: &mut Spoiler) -> bool {
    let mut late = false;
    for record in &mut spoiler.history.records {
        if let Record::Endpoints(slice) = record
            && slice.resource_version > 1_004
        {
            slice.t += 1_500_000_000;
            late = true;
        }
    }
    late
}

fn endpoint(spoiler: &mut Spoiler, pod: &str) -> bool {
    let last = spoiler
        .history
        .records
        .iter()
        .map(Record::time)
        .max()
        .unwrap_or(0);
    let serving: Vec<String> = [pod]
        .into_iter()
        .filter(|pod| !pod.is_empty())
        .map(str::to_owned)
        .collect();
    let service = "demo-etcd".to_owned();
    spoiler.add(Record::Endpoints(EndpointsRecord {
        t: last,
        service,
        resource_version: 9_000,
        ready: serving.clone(),
        serving,
    }));
    true
}

fn two_down(spoiler: &mut Spoiler) -> bool {
    beside_one_that_goes(spoiler, |going, other| PodRecord {
        t: going.t + 1_000_000,
        deleting: true,
        ..other
    })
}

/// While a pod is being deleted, another one is seen to be like this.
fn beside_one_that_goes(
    spoiler: &mut Spoiler,
    seen: impl Fn(&PodRecord, PodRecord) -> PodRecord,
) -> bool {
    let Some(going) = last_pod(spoiler, |pod| pod.deleting && !pod.deleted) else {
        return false;
    };
    let Some(other) = last_pod(spoiler, |pod| pod.pod != going.pod) else {
        return false;
    };
    spoiler.add(Record::Pod(PodRecord {
        resource_version: 5_000,
        ..seen(&going, other)
    }));
    true
}

/// A voter that is taken down is the last but one, because the pod of another one is not known.
fn unnamed(spoiler: &mut Spoiler) -> bool {
    let Some(going) = last_pod(spoiler, |pod| pod.deleting && !pod.deleted) else {
        return false;
    };
    for record in &mut spoiler.history.records {
        if let Record::Membership(list) = record {
            let other = list.members.iter_mut().find(|m| m.name != going.pod);
            if let Some(other) = other {
                other.name = "x".to_owned();
            }
        }
    }
    true
}

fn quorum_taken(spoiler: &mut Spoiler) -> bool {
    beside_one_that_goes(spoiler, |going, other| PodRecord {
        t: going.t - 1_000_000,
        ready: false,
        ..other
    })
}

/// Writes of three seconds have no success; in the window of the fault, or far behind it.
fn stretched(spoiler: &mut Spoiler, route: Route, inside: bool) -> bool {
    let Some(at) = spoiler.pick(|record| matches!(record, Record::Fault(_))) else {
        return false;
    };
    let from = spoiler.history.records[at].time() + if inside { 100_000_000 } else { 0 };
    if !inside {
        // As if the fault had been long before.
        for record in &mut spoiler.history.records {
            if let Record::Fault(fault) = record {
                fault.t -= 3_600_000_000_000;
            }
        }
    }
    let taken: Vec<u64> = spoiler
        .history
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Call(call)
                if call.route == route && call.t >= from && call.t < from + 3_000_000_000 =>
            {
                Some(call.op)
            }
            _ => None,
        })
        .collect();
    for record in &mut spoiler.history.records {
        if let Record::Return(end) = record
            && taken.contains(&end.op)
        {
            end.outcome = Outcome::Unknown {
                class: "deadline".to_owned(),
                message: String::new(),
            };
        }
    }
    true
}

pub(super) fn route_gone(spoiler: &mut Spoiler, route: Route) -> bool {
    for record in &mut spoiler.history.records {
        if let Record::Call(call) = record
            && call.route == route
        {
            call.route = Route::Member;
        }
    }
    true
}
