//! Is the history fit to be judged? What is not makes the run inconclusive: it is the harness that failed, not etcd.
//!
//! One operation open per client, unique values, calls before returns, times of one writer that never go back, watch
//! streams that were opened, once, pods in the order of their versions, leases and members that are named and known,
//! enough traffic around every fault, every fault effective and healed, every kind of operation that the plan asked for
//! successful at least once.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, BuildHasherDefault};

use super::Case;
use super::expectations::OperationKind;
use super::lives;
use super::locks;
use super::objects;
use super::placement;
use super::verdict::{Findings, Verdict};
use super::witness::Ended;
use crate::hash::{FastHasher, FastMap, FastSet};
use crate::index::{FaultWindow, Index, Op};
use crate::record::{FaultStep, Nanos, OpId, Record, Request, Response, WatchEvent, Writer};

/// Name of the check.
const CHECK: &str = "assumptions";

/// Judges the history itself.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    for defect in &case.index.defects {
        findings.doubt(defect.clone());
    }
    if let Some(found) = &case.index.unmodelled {
        findings.doubt(format!("{found}, which no check models"));
    }
    starts(case.index, &mut findings);
    clocks(case.index, &mut findings);
    clients(case.index, &mut findings);
    values(case.index, &mut findings);
    streams(case.index, &mut findings);
    pods(case.index, &mut findings);
    names(case.index, &mut findings);
    kinds(case, &mut findings);
    kubernetes(case, &mut findings);
    faults(case, &mut findings);
    traffic(case, &mut findings);
    outcomes(case.index, &mut findings);
    findings.verdict(CHECK)
}

fn starts(index: &Index<'_>, findings: &mut Findings) {
    let incarnations: BTreeSet<_> = index
        .starts
        .iter()
        .map(|(_, incarnation)| incarnation)
        .collect();
    findings.count("starts", index.starts.len());
    if index.starts.is_empty() {
        findings.doubt("no recording client started".to_owned());
    } else if incarnations.len() < index.starts.len() {
        findings.doubt("one incarnation of the recording client started twice".to_owned());
    }
}

/// A writer does one thing after the other, and a recording client starts when the one before has ended.
fn clocks(index: &Index<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<Writer<'_>, Nanos> = BTreeMap::new();
    let mut callers: FastMap<OpId, u32> = FastMap::default();
    let (mut client, mut started) = (Nanos::MIN, Nanos::MIN);
    for record in index.records {
        let writer = match record {
            Record::Call(call) => {
                callers.insert(call.op, call.client);
                record.writer()
            }
            Record::Return(end) => callers.remove(&end.op).map(Writer::Client),
            _ => record.writer(),
        };
        let Some(writer) = writer else { continue };
        let t = record.time();
        let own = last.insert(writer, t).unwrap_or(Nanos::MIN);
        let before = match writer {
            Writer::Start => own.max(client),
            _ => own,
        };
        if t < before {
            findings.doubt(format!(
                "the clock of {writer:?} went back by {:.6} s, to {:.6} s",
                seconds(before.saturating_sub(t)),
                index.seconds(t)
            ));
        }
        if record.of_client() {
            client = client.max(t);
            if t < started {
                findings.doubt(format!(
                    "{writer:?} told something by {:.6} s, before the recording client started",
                    index.seconds(t)
                ));
            }
        }
        if writer == Writer::Start {
            started = t;
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is told to a microsecond")]
fn seconds(t: Nanos) -> f64 {
    t as f64 / 1e9
}

/// A client has one operation open at a time; a restart of the recording client leaves all open ones behind.
fn clients(index: &Index<'_>, findings: &mut Findings) {
    let mut free: FastMap<u32, (Nanos, Nanos)> = FastMap::default();
    for op in &index.ops {
        let until = op.end.map_or(Nanos::MAX, |end| end.t);
        let Some((called, busy)) = free.insert(op.call.client, (op.call.t, until)) else {
            continue;
        };
        let restarted = index
            .starts
            .iter()
            .any(|(t, _)| *t > called && *t <= op.call.t);
        if op.call.t < busy && !restarted {
            findings.doubt(format!(
                "client {} calls operation {} while another is open",
                op.call.client,
                op.id()
            ));
        }
    }
    findings.count("clients", free.len());
}

/// By hash, 8 bytes a value: in a run of ten million values two different ones are taken for equal once in 10^5 runs.
fn values(index: &Index<'_>, findings: &mut Findings) {
    let hasher = BuildHasherDefault::<FastHasher>::default();
    let mut hashes: Vec<u64> = Vec::with_capacity(index.ops.len());
    for op in &index.ops {
        // Both branches of a transaction may write the same value: only one of them runs.
        let first = hashes.len();
        hashes.extend(placement::values_of(&op.call.request).map(|value| hasher.hash_one(value)));
        hashes[first..].sort_unstable();
        let mut last = None;
        let mut kept = first;
        for position in first..hashes.len() {
            if last != Some(hashes[position]) {
                last = Some(hashes[position]);
                hashes[kept] = hashes[position];
                kept += 1;
            }
        }
        hashes.truncate(kept);
    }
    hashes.sort_unstable();
    let twice = hashes.windows(2).filter(|pair| pair[0] == pair[1]).count();
    if twice > 0 {
        findings.doubt(format!("{twice} values are written by two operations"));
    }
}

/// A watch stream is opened once, before anything is told by it, and tells nothing after it broke: else it is not known
/// what it was asked for.
fn streams(index: &Index<'_>, findings: &mut Findings) {
    let mut opened: FastSet<(u32, u32)> = FastSet::default();
    let mut broken: FastSet<(u32, u32)> = FastSet::default();
    let mut blamed: FastSet<(u32, u32)> = FastSet::default();
    for record in &index.watch {
        let stream = (record.watcher, record.stream);
        let opens = matches!(record.event, WatchEvent::Opened { .. });
        let known = if opens {
            !opened.insert(stream)
        } else {
            opened.contains(&stream)
        };
        let what = match (opens, known) {
            (true, true) => "was opened twice",
            (false, false) => "told something without having been opened",
            _ if broken.contains(&stream) => "told something after it broke",
            _ => "",
        };
        if !what.is_empty() && blamed.insert(stream) {
            findings.doubt(format!(
                "watcher {} on {} (stream {}) {what}, by {:.6} s",
                record.watcher,
                record.target,
                record.stream,
                index.seconds(record.t)
            ));
        }
        if matches!(record.event, WatchEvent::Broken { .. }) {
            broken.insert(stream);
        }
    }
}

/// A pod as it was shown last, and the UIDs that its name had before.
#[derive(Default)]
struct Shown<'a> {
    uid: &'a str,
    version: u64,
    former: Vec<&'a str>,
}

/// Each change of an object has a higher version, and a name that belongs to another pod never belongs to a former one
/// again. Only the end of a pod is told late, by its last version.
fn pods(index: &Index<'_>, findings: &mut Findings) {
    let mut shown: BTreeMap<&str, Shown<'_>> = BTreeMap::new();
    for record in index.pods.iter().filter(|record| !record.deleted) {
        let pod = shown.entry(&record.pod).or_default();
        let (uid, version) = (record.uid.as_str(), record.resource_version);
        let at = index.seconds(record.t);
        if pod.former.contains(&uid) {
            findings.doubt(format!(
                "pod {} has UID {uid} again at {at:.6} s, after another one had taken its place",
                record.pod
            ));
            continue;
        }
        // 0 is no version.
        if pod.uid == uid && version > 0 && version < pod.version {
            findings.doubt(format!(
                "pod {} went back from version {} to {version} at {at:.6} s",
                record.pod, pod.version
            ));
            continue;
        }
        if pod.uid != uid && !pod.uid.is_empty() {
            pod.former.push(pod.uid);
        }
        (pod.uid, pod.version) = (uid, version);
    }
}

/// What a record names is there: a lease that some client asked for, a member that was seen.
fn names(index: &Index<'_>, findings: &mut Findings) {
    let mut leases: BTreeSet<i64> = BTreeSet::from([0]);
    for op in &index.ops {
        if let Request::LeaseGrant { id, .. } = op.call.request {
            leases.insert(id);
        }
        if let Some(Response::LeaseGrant { id, .. }) = op.acked().map(|acked| acked.response) {
            leases.insert(*id);
        }
    }
    for op in &index.ops {
        if let Some(lease) = leases_of(&op.call.request).find(|lease| !leases.contains(lease)) {
            findings.doubt(format!(
                "operation {} names lease {lease:x}, which no client asked for",
                op.id()
            ));
        }
    }
    let sampled = index.members.iter().map(|sample| sample.pod.as_str());
    let seen = index.pods.iter().map(|record| record.pod.as_str());
    let pods: BTreeSet<&str> = sampled.chain(seen).collect();
    let dumped = index.finals.iter().map(|dump| dump.pod.as_str());
    let hashed = index.hashes.iter().map(|hash| hash.pod.as_str());
    for pod in dumped.chain(hashed) {
        if !pods.is_empty() && !pods.contains(pod) {
            findings.doubt(format!("{pod} was read at the end and never seen before"));
        }
    }
}

/// Leases that a request names, whichever branch runs.
fn leases_of(request: &Request) -> impl Iterator<Item = i64> {
    request.parts().filter_map(|request| match request {
        Request::Put { lease, .. } => Some(*lease),
        Request::LeaseKeepAlive { id } | Request::LeaseRevoke { id } => Some(*id),
        _ => None,
    })
}

/// A plan that says "without Kubernetes" has the judge look at no label: the recording must say the same.
fn kubernetes(case: &Case<'_>, findings: &mut Findings) {
    let count = case.index.pods.len() + case.index.endpoints.len();
    if count > 0 && !case.expectations.kubernetes {
        findings.doubt(format!(
            "{count} records of pods and endpoints, which a run without Kubernetes does not have"
        ));
    }
}

fn kinds(case: &Case<'_>, findings: &mut Findings) {
    let mut succeeded: BTreeMap<OperationKind, usize> = BTreeMap::new();
    for op in case.index.ops.iter().filter(|op| op.acked().is_some()) {
        *succeeded
            .entry(OperationKind::of(&op.call.request))
            .or_default() += 1;
    }
    let delivered = case
        .index
        .watch
        .iter()
        .filter(|record| matches!(record.event, WatchEvent::Events { .. }))
        .count();
    succeeded.insert(OperationKind::Watch, delivered);
    if case
        .expectations
        .operations
        .contains(&OperationKind::LeaseEnd)
    {
        let leases = lives::collect(case);
        let ends = leases.values().map(|lease| {
            let ended = lease.ended.iter();
            let by_itself = |end: &&Ended| !end.doubtful && !lease.revoked_before(end.seen);
            ended.filter(by_itself).count()
        });
        succeeded.insert(OperationKind::LeaseEnd, ends.sum());
    }
    let (guarded, refused) = locks::guarded_writes(case.index);
    succeeded.insert(OperationKind::GuardedWrite, guarded);
    succeeded.insert(OperationKind::RefusedHolder, refused);
    let of_objects = [OperationKind::FurtherPage, OperationKind::OutdatedWrite];
    if of_objects
        .iter()
        .any(|kind| case.expectations.operations.contains(kind))
    {
        let met = objects::met(case.index);
        succeeded.insert(OperationKind::FurtherPage, met.pages);
        succeeded.insert(OperationKind::OutdatedWrite, met.refused);
    }
    for kind in &case.expectations.operations {
        if succeeded.get(kind).is_none_or(|count| *count == 0) {
            findings.doubt(format!("no {kind:?} succeeded"));
        }
    }
}

fn faults(case: &Case<'_>, findings: &mut Findings) {
    let mut effective = 0;
    for fault in &case.index.faults {
        let told = format!("fault {} ({} on {})", fault.fault, fault.name, fault.target);
        if fault.has(FaultStep::Ineffective) || !fault.has(FaultStep::Effective) {
            findings.doubt(format!("{told} had no effect"));
        } else {
            effective += 1;
        }
        if fault.has(FaultStep::Residue) {
            findings.doubt(format!("{told} left something behind"));
        } else if fault.healed.is_none() {
            findings.doubt(format!("{told} was never healed"));
        }
    }
    findings.count("faults_effective", effective);
    if effective < case.expectations.faults as usize {
        findings.doubt(format!(
            "{effective} of {} faults took effect",
            case.expectations.faults
        ));
    }
}

fn traffic(case: &Case<'_>, findings: &mut Findings) {
    let wanted = case.expectations.traffic;
    let faults = &case.index.faults;
    for (position, fault) in faults.iter().enumerate() {
        let healed = fault.healed.unwrap_or(case.index.end);
        let earlier = faults[..position]
            .iter()
            .filter_map(|f| f.healed)
            .filter(|t| *t <= fault.from)
            .max();
        let next = faults.iter().map(|f| f.from).filter(|t| *t > healed).min();
        let acked = |op: &&Op<'_>| op.acked().is_some();
        let spans = [
            (
                "before",
                wanted.before,
                earlier.unwrap_or(case.index.start),
                fault.from,
            ),
            (
                "after",
                wanted.after,
                healed,
                next.unwrap_or(case.index.end),
            ),
        ];
        for (when, least, from, to) in spans {
            let count = calls(case.index, from, to)
                .filter(acked)
                .take(least as usize)
                .count();
            if count < least as usize {
                findings.doubt(few(fault, when, count, least));
            }
        }
        let count = calls(case.index, fault.from, healed)
            .take(wanted.during as usize)
            .count();
        if count < wanted.during as usize {
            findings.doubt(few(fault, "during", count, wanted.during));
        }
    }
}

/// Operations called in a time; calls are in order.
fn calls<'i, 'a>(index: &'i Index<'a>, from: Nanos, to: Nanos) -> impl Iterator<Item = &'i Op<'a>> {
    let first = index.ops.partition_point(|op| op.call.t < from);
    index.ops[first..]
        .iter()
        .take_while(move |op| op.call.t <= to)
}

fn few(fault: &FaultWindow<'_>, when: &str, count: usize, least: u32) -> String {
    format!(
        "only {count} of {least} operations {when} fault {} ({})",
        fault.fault, fault.name
    )
}

fn outcomes(index: &Index<'_>, findings: &mut Findings) {
    findings.count("operations", index.ops.len());
    findings.count(
        "acknowledged",
        index.ops.iter().filter(|op| op.acked().is_some()).count(),
    );
    findings.count("failed", index.ops.iter().filter(|op| op.failed()).count());
    findings.count(
        "unknown",
        index.ops.iter().filter(|op| op.unknown()).count(),
    );
}
