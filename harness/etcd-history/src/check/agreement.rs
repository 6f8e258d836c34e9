//! Members hold the same store: equal hashes at an equal revision and compaction, equal dumps, one cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::record::{FinalState, HashSample};

/// Name of the check.
const CHECK: &str = "agreement";

/// Judges agreement between members.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    clusters(case, &mut findings);
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

fn hashes(case: &Case<'_>, findings: &mut Findings) {
    let mut groups: BTreeMap<(i64, i64), Vec<&HashSample>> = BTreeMap::new();
    for sample in &case.index.hashes {
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
