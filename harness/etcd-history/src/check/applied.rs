//! The store is a function of the applied log: the same revision at the same applied index on every member, and never
//! less at a higher one. And the log is one: its entries have the same terms on every member, which never fall.
//!
//! A status is not one look: etcd reads the revision first and the applied index after it, and an entry changes the
//! store a moment before the index says so. So the revision in one status is a lower bound of the store at
//! the index behind its own, and members are compared where several statuses in a row say the same.
//!
//! A snapshot is in the store as soon as it is loaded, and in the index with the first entry behind it. While it is
//! loaded, etcd says that its store is at revision 1. In both times more is known to be committed than is applied.

use std::collections::BTreeMap;

use super::Case;
use super::verdict::Findings;
use crate::record::RaftStatus;

/// Statuses in a row that say the same, or are all behind, before they are believed.
const CONFIRMED_SAMPLES: u32 = 3;

/// What a member has said last, and how often.
#[derive(Default)]
struct Run {
    /// Applied index and revision.
    said: (u64, i64),
    samples: u32,
    /// Statuses in a row that were behind what their index must have.
    behind: u32,
    /// The highest revision since its index fell.
    highest: i64,
}

impl Run {
    /// What a status that comes next says of the store at some indices: the revision that it has there at least.
    fn bounds(&self, status: &RaftStatus) -> [Option<(u64, i64)>; 2] {
        let index = status.applied_index;
        let grown = index > self.said.0 && self.highest > 0;
        let all = index == status.raft_index;
        [
            grown.then_some((index, self.highest)),
            all.then_some((index, status.revision)),
        ]
    }
}

/// A revision that a member reported, beside an index.
struct Told<'a> {
    index: u64,
    revision: i64,
    pod: &'a str,
}

/// Judges the revisions of all members of a cluster by their applied indices.
pub(super) fn check(case: &Case<'_>, findings: &mut Findings) {
    let mut runs: BTreeMap<(&str, &str), Run> = BTreeMap::new();
    let mut settled: BTreeMap<(&str, u64), (i64, &str)> = BTreeMap::new();
    // Growing in both: the highest revision told beside each index or a lower one.
    let mut bounds: BTreeMap<&str, Vec<Told<'_>>> = BTreeMap::new();
    for (sample, status) in case.statuses() {
        let at = case.index.seconds(sample.t);
        let cluster = status.cluster.as_str();
        let run = runs.entry((cluster, &status.member)).or_default();
        let said = (status.applied_index, status.revision);
        let tells = run.bounds(status);
        run.samples = if run.said == said { run.samples + 1 } else { 1 };
        run.highest = match said.0 < run.said.0 {
            true => said.1,
            false => said.1.max(run.highest),
        };
        run.said = said;
        let told = bounds.entry(cluster).or_default();
        let loads = said.1 == 1 && status.applied_index < status.raft_index;
        let bound = bound(told, status).filter(|_| !loads);
        run.behind = if bound.is_some() { run.behind + 1 } else { 0 };
        if let Some(bound) = bound.filter(|_| run.behind == CONFIRMED_SAMPLES) {
            findings.violation(
                format!(
                    "{} has revision {} at applied index {} at {at:.6} s, {} had {} at index {}",
                    sample.pod, said.1, said.0, bound.pod, bound.revision, bound.index
                ),
                Vec::new(),
            );
        }
        for tells in tells.into_iter().flatten() {
            remember(told, tells, &sample.pod);
        }
        // Without a leader a member that has just started may not have applied what its store already has.
        let still = status.leader.is_some() && status.applied_index == status.raft_index;
        if !still || run.samples < CONFIRMED_SAMPLES {
            continue;
        }
        let first = settled
            .entry((cluster, said.0))
            .or_insert((said.1, &sample.pod));
        if first.0 != said.1 && run.samples == CONFIRMED_SAMPLES {
            findings.violation(
                format!(
                    "members differ at applied index {}: {} has revision {}, {} has {} at {at:.6} s",
                    said.0, first.1, first.0, sample.pod, said.1
                ),
                Vec::new(),
            );
        }
    }
}

/// A log, as far as a member told it: the term of the entry at an index, and the member's pod.
type Entries<'a> = BTreeMap<u64, (u64, &'a str)>;

/// The applied index and the term that a member has said last, and how often in a row.
#[derive(Default)]
struct Repeated {
    said: (u64, u64),
    samples: u32,
}

/// Judges the terms of the entries that members have applied, which etcd reads one after the other as well. Members are
/// compared that both still answer: where one was given up with all it had, as those that a forced new cluster leaves
/// behind, others may have made another entry.
pub(super) fn terms(case: &Case<'_>, findings: &mut Findings) {
    let mut last: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (at, (_, status)) in case.statuses().enumerate() {
        last.insert((&status.cluster, &status.member), at);
    }
    let mut runs: BTreeMap<(&str, &str), Repeated> = BTreeMap::new();
    let mut logs: BTreeMap<(&str, &str), Entries<'_>> = BTreeMap::new();
    for (at, (sample, status)) in case.statuses().enumerate() {
        let member = (status.cluster.as_str(), status.member.as_str());
        let (index, term) = (status.applied_index, status.term);
        let run = runs.entry(member).or_default();
        let same = run.said == (index, term);
        run.samples = if same { run.samples + 1 } else { 1 };
        run.said = (index, term);
        // One that has applied nothing since it started has no term yet.
        let still = status.leader.is_some() && index == status.raft_index && term > 0;
        if !still || run.samples < CONFIRMED_SAMPLES {
            continue;
        }
        let others = logs.iter().filter(|(other, _)| {
            other.0 == member.0 && other.1 != member.1 && last.get(*other) > Some(&at)
        });
        let mut others = others.filter_map(|(_, entries)| otherwise(entries, index, term));
        if let Some((other, (of, pod))) = others.next() {
            findings.violation(
                format!(
                    "members differ in their logs: {} has applied index {index} in term {term} at {:.6} s, {pod} had \
                     index {other} in term {of}",
                    sample.pod,
                    case.index.seconds(sample.t)
                ),
                Vec::new(),
            );
            return;
        }
        let entries = logs.entry(member).or_default();
        entries.insert(index, (term, &sample.pod));
    }
}

/// An entry of a log in which one of this index and term has no place.
fn otherwise<'a>(entries: &Entries<'a>, index: u64, term: u64) -> Option<(u64, (u64, &'a str))> {
    let below = entries.range(..index).next_back();
    let below = below.filter(|(_, (of, _))| *of > term);
    let here = entries.get_key_value(&index);
    let here = here.filter(|(_, (of, _))| *of != term);
    let above = entries.range(index..).find(|(at, _)| **at > index);
    let above = above.filter(|(_, (of, _))| *of < term);
    let found = below.or(here).or(above);
    found.map(|(at, entry)| (*at, *entry))
}

/// What was told beside a lower index and is above this revision.
fn bound<'t, 'a>(told: &'t [Told<'a>], status: &RaftStatus) -> Option<&'t Told<'a>> {
    let lower = told.partition_point(|told| told.index < status.applied_index);
    let highest = told[..lower].last()?;
    (highest.revision > status.revision).then_some(highest)
}

fn remember<'a>(told: &mut Vec<Told<'a>>, (index, revision): (u64, i64), pod: &'a str) {
    let at = told.partition_point(|told| told.index <= index);
    let below = at.checked_sub(1).map(|below| &told[below]);
    if below.is_some_and(|below| below.revision >= revision) {
        return;
    }
    let above = told[at..]
        .iter()
        .take_while(|above| above.revision <= revision)
        .count();
    told.splice(
        at..at + above,
        [Told {
            index,
            revision,
            pod,
        }],
    );
}
