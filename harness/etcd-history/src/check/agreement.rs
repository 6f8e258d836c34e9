//! Members hold the same store: equal hashes at an equal revision and compaction, equal dumps, one cluster, no
//! revision that no one can have made, and no number that no etcd gives.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::numbers;
use super::proof;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::record::{FinalState, HashSample, Record};

/// Name of the check.
const CHECK: &str = "agreement";

/// Judges agreement between members.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    clusters(case, &mut findings);
    numbers::check(case, &mut findings);
    revisions(case, &mut findings);
    hashes(case, &mut findings);
    dumps(case, &mut findings);
    findings.verdict(CHECK)
}

fn clusters(case: &Case<'_>, findings: &mut Findings) {
    let mut clusters: BTreeMap<&str, &str> = BTreeMap::new();
    for sample in &case.index.members {
        if let Some(status) = &sample.status {
            clusters.entry(&status.cluster).or_insert(&sample.pod);
        }
    }
    for list in &case.index.lists {
        clusters.entry(&list.cluster).or_insert("a member list");
    }
    if clusters.len() > 1 {
        let told: Vec<_> = clusters
            .iter()
            .map(|(id, pod)| format!("{id} ({pod})"))
            .collect();
        findings.violation(
            format!("members are of different clusters: {}", told.join(", ")),
            Vec::new(),
        );
    }
}

/// The first revision that a member shows and that clients and faults cannot have made. What watches tell is judged
/// with them.
fn revisions(case: &Case<'_>, findings: &mut Findings) {
    let Some(most) = case.ceiling else { return };
    let records = case.index.records.iter();
    let mut told = records
        .filter(|record| !matches!(record, Record::Watch(_)))
        .filter_map(|record| Some((record, proof::told(record)?)));
    let Some((record, (t, revision))) = told.find(|(_, (_, revision))| *revision > most) else {
        return;
    };
    let mut ops = Vec::new();
    let teller = match record {
        Record::Return(end) => {
            ops.push(end.op);
            let op = case.index.ops.iter().find(|op| op.id() == end.op);
            op.map_or_else(String::new, |op| words::op(case.index, op))
        }
        record => proof::told_by(record),
    };
    let at = case.index.seconds(t);
    findings.violation(
        format!("{teller} shows revision {revision} at {at:.6} s, clients cannot have made more than {most}"),
        ops,
    );
}

/// Of another writer 0 may stand for the newest revision, which may be another one for each member.
fn hashes(case: &Case<'_>, findings: &mut Findings) {
    let mut groups: BTreeMap<(i64, i64), Vec<&HashSample>> = BTreeMap::new();
    let hashes = case.index.hashes.iter().copied();
    for sample in hashes.filter(|sample| sample.revision > 0) {
        groups
            .entry((sample.revision, sample.compact_revision))
            .or_default()
            .push(sample);
    }
    let mut most = 0;
    for ((revision, _), samples) in &groups {
        let pods: BTreeSet<_> = samples.iter().map(|sample| sample.pod.as_str()).collect();
        most = most.max(pods.len());
        if let Some(other) = samples.iter().find(|sample| sample.hash != samples[0].hash) {
            findings.violation(
                format!(
                    "the stores of {} and {} differ at revision {revision}: hashes {:08x} and {:08x}",
                    samples[0].pod, other.pod, samples[0].hash, other.hash
                ),
                Vec::new(),
            );
        }
    }
    findings.count("members_hashed_together", most);
    if case.expectations.ends_healthy && most < case.expectations.members as usize {
        findings.doubt(format!(
            "{most} of {} members have a hash at one revision",
            case.expectations.members
        ));
    }
}

fn dumps(case: &Case<'_>, findings: &mut Findings) {
    let finals = &case.index.finals;
    for (position, state) in finals.iter().enumerate() {
        // The first dump at the same revision is the one to agree with.
        let Some(first) = finals[..position]
            .iter()
            .find(|other| other.revision == state.revision)
        else {
            continue;
        };
        if let Some(why) = difference(first, state) {
            findings.violation(
                format!(
                    "{} and {} differ at revision {}: {why}",
                    first.pod, state.pod, state.revision
                ),
                Vec::new(),
            );
        }
    }
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    for state in finals {
        let revision = newest.entry(&state.pod).or_insert(state.revision);
        *revision = (*revision).max(state.revision);
    }
    let revisions: BTreeSet<_> = newest.values().collect();
    if case.expectations.ends_healthy && revisions.len() > 1 {
        findings.doubt(format!(
            "the last dumps are not of one revision: {newest:?}"
        ));
    }
}

fn difference(a: &FinalState, b: &FinalState) -> Option<String> {
    if a.kvs == b.kvs {
        return None;
    }
    let of_b: BTreeMap<_, _> = b.kvs.iter().map(|kv| (kv.key.as_str(), kv)).collect();
    for kv in &a.kvs {
        match of_b.get(kv.key.as_str()) {
            None => return Some(format!("{} is only on {}", kv.key, a.pod)),
            Some(other) if *other != kv => {
                return Some(format!(
                    "{} is {} of revision {} and {} of revision {}",
                    kv.key,
                    words::shown(&kv.value),
                    kv.mod_revision,
                    words::shown(&other.value),
                    other.mod_revision
                ));
            }
            Some(_) => {}
        }
    }
    let of_a: BTreeSet<_> = a.kvs.iter().map(|kv| kv.key.as_str()).collect();
    let only = b.kvs.iter().find(|kv| !of_a.contains(kv.key.as_str()));
    Some(only.map_or("the order of the keys".to_owned(), |kv| {
        format!("{} is only on {}", kv.key, b.pod)
    }))
}
