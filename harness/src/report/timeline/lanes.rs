//! Everything on the page that is not a client operation: faults, members, pods, endpoints, watchers, hashes.
//!
//! What is sampled often is folded into segments during which nothing changed.

use std::collections::BTreeMap;

use etcd_history::History;
use etcd_history::record::{FaultStep, RaftStatus, Record, WatchEvent};
use serde::Serialize;

use super::Span;

/// A fault and its steps.
#[derive(Debug, Serialize)]
pub(crate) struct FaultLane {
    id: u32,
    name: String,
    target: String,
    /// Time, step, evidence.
    steps: Vec<(i64, FaultStep, BTreeMap<String, String>)>,
}

pub(super) fn faults(history: &History, span: Span) -> Vec<FaultLane> {
    let mut lanes: Vec<FaultLane> = Vec::new();
    for record in &history.records {
        let Record::Fault(fault) = record else {
            continue;
        };
        let at = lanes
            .iter()
            .position(|lane| lane.id == fault.fault)
            .unwrap_or_else(|| {
                lanes.push(FaultLane {
                    id: fault.fault,
                    name: fault.name.clone(),
                    target: fault.target.clone(),
                    steps: Vec::new(),
                });
                lanes.len() - 1
            });
        lanes[at]
            .steps
            .push((span.micros(fault.t), fault.step, fault.evidence.clone()));
        // The target may be known only once the fault is injected.
        if !fault.target.is_empty() {
            lanes[at].target.clone_from(&fault.target);
        }
    }
    for lane in &mut lanes {
        lane.steps.sort_by_key(|step| step.0);
    }
    lanes.sort_by_key(|lane| (lane.steps.first().map(|step| step.0), lane.id));
    lanes
}

/// What a member said of itself during a stretch of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MemberSegment {
    from: i64,
    to: i64,
    /// `leader`, `follower`, `learner`, `no_leader` or `silent`.
    state: &'static str,
    term: u64,
    /// Its identifier; empty while silent.
    member: String,
    /// Identifier of the leader it follows.
    leader: String,
}

/// A member and how far it was behind.
#[derive(Debug, Serialize)]
pub(crate) struct MemberLane {
    pod: String,
    segments: Vec<MemberSegment>,
    /// Times of the samples with an answer, as differences.
    t_delta: Vec<i64>,
    /// Entries behind the highest index any member had told.
    lag: Vec<u64>,
    /// Store revisions, as differences.
    revision_delta: Vec<i64>,
}

fn member_state(status: Option<&RaftStatus>) -> (&'static str, u64, String, String) {
    let Some(status) = status else {
        return ("silent", 0, String::new(), String::new());
    };
    let state = match &status.leader {
        _ if status.learner => "learner",
        Some(leader) if *leader == status.member => "leader",
        Some(_) => "follower",
        None => "no_leader",
    };
    (
        state,
        status.term,
        status.member.clone(),
        status.leader.clone().unwrap_or_default(),
    )
}

pub(super) fn members(history: &History, span: Span) -> Vec<MemberLane> {
    let mut samples: Vec<_> = history
        .records
        .iter()
        .filter_map(|record| {
            if let Record::Member(sample) = record {
                Some(sample)
            } else {
                None
            }
        })
        .collect();
    samples.sort_by_key(|sample| sample.t);
    let mut lanes: BTreeMap<&str, (MemberLane, i64, i64)> = BTreeMap::new();
    let mut highest = 0;
    for sample in samples {
        let t = span.micros(sample.t);
        let (lane, last_t, last_revision) = lanes.entry(&sample.pod).or_insert_with(|| {
            let lane = MemberLane {
                pod: sample.pod.clone(),
                segments: Vec::new(),
                t_delta: Vec::new(),
                lag: Vec::new(),
                revision_delta: Vec::new(),
            };
            (lane, 0, 0)
        });
        if let Some(status) = &sample.status {
            highest = highest.max(status.raft_index);
            lane.t_delta.push(t - *last_t);
            lane.lag.push(highest - status.raft_index);
            lane.revision_delta.push(status.revision - *last_revision);
            (*last_t, *last_revision) = (t, status.revision);
        }
        let (state, term, member, leader) = member_state(sample.status.as_ref());
        extend(
            &mut lane.segments,
            MemberSegment {
                from: t,
                to: t,
                state,
                term,
                member,
                leader,
            },
        );
    }
    lanes.into_values().map(|(lane, ..)| lane).collect()
}

/// Lengthens the last segment up to the new one and begins the new one if it says something else.
fn extend(segments: &mut Vec<MemberSegment>, next: MemberSegment) {
    if let Some(last) = segments.last_mut() {
        last.to = next.from;
        let same = MemberSegment {
            from: last.from,
            to: last.to,
            ..next.clone()
        };
        if *last == same {
            return;
        }
    }
    segments.push(next);
}

/// A pod as it was from one version to the next.
#[derive(Debug, Serialize)]
pub(crate) struct PodSegment {
    from: i64,
    to: i64,
    /// `gone`, `deleting`, `ready` or the phase.
    state: String,
    role: String,
    node: String,
    uid: String,
    resource_version: u64,
}

/// A pod's name and what was seen under it.
#[derive(Debug, Serialize)]
pub(crate) struct PodLane {
    pod: String,
    segments: Vec<PodSegment>,
}

pub(super) fn pods(history: &History, span: Span) -> Vec<PodLane> {
    let mut lanes: BTreeMap<&str, Vec<PodSegment>> = BTreeMap::new();
    for record in &history.records {
        let Record::Pod(pod) = record else { continue };
        let state = match (pod.deleted, pod.deleting, pod.ready) {
            (true, ..) => "gone",
            (_, true, _) => "deleting",
            (.., true) => "ready",
            _ => pod.phase.as_str(),
        };
        lanes.entry(&pod.pod).or_default().push(PodSegment {
            from: span.micros(pod.t),
            to: span.micros(span.to),
            state: state.to_owned(),
            role: pod.role.clone().unwrap_or_default(),
            node: pod.node.clone().unwrap_or_default(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version,
        });
    }
    let finish = |(pod, mut segments): (&str, Vec<PodSegment>)| {
        segments.sort_by_key(|segment| segment.from);
        for at in 1..segments.len() {
            segments[at - 1].to = segments[at].from;
        }
        PodLane {
            pod: pod.to_owned(),
            segments,
        }
    };
    lanes.into_iter().map(finish).collect()
}

/// The endpoints of a service from one version to the next.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceSegment {
    from: i64,
    to: i64,
    serving: Vec<String>,
    ready: Vec<String>,
    resource_version: u64,
}

/// A service and its endpoints.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceLane {
    service: String,
    segments: Vec<ServiceSegment>,
}

pub(super) fn services(history: &History, span: Span) -> Vec<ServiceLane> {
    let mut lanes: BTreeMap<&str, Vec<ServiceSegment>> = BTreeMap::new();
    for record in &history.records {
        let Record::Endpoints(slice) = record else {
            continue;
        };
        lanes
            .entry(&slice.service)
            .or_default()
            .push(ServiceSegment {
                from: span.micros(slice.t),
                to: span.micros(span.to),
                serving: slice.serving.clone(),
                ready: slice.ready.clone(),
                resource_version: slice.resource_version,
            });
    }
    let finish = |(service, mut segments): (&str, Vec<ServiceSegment>)| {
        segments.sort_by_key(|segment| segment.from);
        for at in 1..segments.len() {
            segments[at - 1].to = segments[at].from;
        }
        ServiceLane {
            service: service.to_owned(),
            segments,
        }
    };
    lanes.into_iter().map(finish).collect()
}

/// What a watcher's streams said, as columns.
#[derive(Debug, Default, Serialize)]
pub(crate) struct WatcherLane {
    watcher: u32,
    t_delta: Vec<i64>,
    /// `o` opened, `e` events, `p` progress, `c` cancelled, `b` broken.
    what: String,
    revision_delta: Vec<i64>,
    stream: Vec<u32>,
    /// Events in the response.
    events: Vec<usize>,
    /// Row, target and words for the rows that are neither events nor progress.
    notes: Vec<(usize, String)>,
}

pub(super) fn watchers(history: &History, span: Span) -> Vec<WatcherLane> {
    let mut lanes: BTreeMap<u32, (WatcherLane, i64, i64)> = BTreeMap::new();
    for record in &history.records {
        let Record::Watch(watch) = record else {
            continue;
        };
        let (lane, last_t, last_revision) = lanes.entry(watch.watcher).or_default();
        lane.watcher = watch.watcher;
        let (what, revision, events, note) = match &watch.event {
            WatchEvent::Opened {
                key,
                range_end,
                start_revision,
            } => {
                let note = format!(
                    "asks {} for [{key}, {range_end}) from {start_revision}",
                    watch.target
                );
                ('o', (*start_revision - 1).max(*last_revision), 0, note)
            }
            WatchEvent::Events {
                revision, events, ..
            } => ('e', *revision, events.len(), String::new()),
            WatchEvent::Progress { revision } => ('p', *revision, 0, String::new()),
            WatchEvent::Cancelled {
                compact_revision,
                reason,
            } => {
                let note = format!("cancelled: {reason} (compacted at {compact_revision})");
                ('c', *last_revision, 0, note)
            }
            WatchEvent::Broken { message } => ('b', *last_revision, 0, format!("broke: {message}")),
        };
        if !note.is_empty() {
            lane.notes.push((lane.t_delta.len(), note));
        }
        let t = span.micros(watch.t);
        lane.t_delta.push(t - *last_t);
        lane.what.push(what);
        lane.revision_delta.push(revision - *last_revision);
        lane.stream.push(watch.stream);
        lane.events.push(events);
        (*last_t, *last_revision) = (t, revision);
    }
    lanes.into_values().map(|(lane, ..)| lane).collect()
}

/// A hash of a member's store.
#[derive(Debug, Serialize)]
pub(crate) struct HashMark {
    t: i64,
    pod: String,
    revision: i64,
    hash: u32,
    compact_revision: i64,
}

pub(super) fn hashes(history: &History, span: Span) -> Vec<HashMark> {
    let mark = |record: &Record| match record {
        Record::Hash(sample) => Some(HashMark {
            t: span.micros(sample.t),
            pod: sample.pod.clone(),
            revision: sample.revision,
            hash: sample.hash,
            compact_revision: sample.compact_revision,
        }),
        _ => None,
    };
    history.records.iter().filter_map(mark).collect()
}

#[cfg(test)]
mod tests {
    use etcd_history::record::{MemberSample, PodRecord};

    use super::*;

    const SPAN: Span = Span { from: 0, to: 9_000 };

    fn sample(t: i64, leader: Option<&str>, index: u64) -> Record {
        let status = leader.map(|leader| RaftStatus {
            cluster: "c".into(),
            member: "a".into(),
            leader: Some(leader.to_owned()),
            term: 2,
            raft_index: index,
            applied_index: index,
            revision: 1,
            learner: false,
        });
        Record::Member(MemberSample {
            t,
            pod: "e-0".into(),
            status,
        })
    }

    #[test]
    fn equal_samples_become_one_segment() {
        let records = vec![
            sample(1_000, Some("a"), 5),
            sample(2_000, Some("a"), 6),
            sample(3_000, None, 0),
            sample(4_000, Some("b"), 4),
        ];
        let lanes = members(&History { records }, SPAN);
        let states: Vec<_> = lanes[0]
            .segments
            .iter()
            .map(|s| (s.from, s.to, s.state))
            .collect();
        assert_eq!(
            states,
            [(1, 3, "leader"), (3, 4, "silent"), (4, 4, "follower")]
        );
        assert_eq!(lanes[0].lag, [0, 0, 2]);
    }

    #[test]
    fn a_pod_stays_as_it_was_until_its_next_version() {
        let pod = |t, ready, deleted| {
            Record::Pod(PodRecord {
                t,
                pod: "e-0".into(),
                uid: "u".into(),
                resource_version: 1,
                node: None,
                role: None,
                phase: "Pending".into(),
                ready,
                deleting: false,
                deleted,
            })
        };
        let records = vec![
            pod(1_000, false, false),
            pod(3_000, true, false),
            pod(5_000, true, true),
        ];
        let lanes = pods(&History { records }, SPAN);
        let states: Vec<_> = lanes[0]
            .segments
            .iter()
            .map(|s| (s.from, s.to, s.state.as_str()))
            .collect();
        assert_eq!(states, [(1, 3, "Pending"), (3, 5, "ready"), (5, 9, "gone")]);
    }
}
