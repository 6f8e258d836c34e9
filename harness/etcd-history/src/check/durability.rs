//! Nothing acknowledged is lost: the last acknowledged write of every key is there at the end, or something that may
//! have come after it is, in every member's own dump and in the final reads. A key of a lease counts as long as that
//! cannot have ended.
//!
//! Works without the replay: from acknowledgements alone, so that a fault of the replay cannot hide a loss.

mod ledger;
mod spans;

use std::collections::BTreeSet;

use self::ledger::Ledger;
use super::Case;
use super::keyspace::Keys;
use super::leases::EARLY_SLACK_NS;
use super::lives;
use super::store::Item;
use super::verdict::{Findings, Verdict};
use super::words;
use crate::hash::{FastMap, FastSet};
use crate::index::Op;
use crate::record::{KeyValue, Nanos, OpId, Record, Request, Response};

/// Name of the check.
const CHECK: &str = "durability";

/// A look at the keys after the writes.
struct Look<'a> {
    who: String,
    t: Nanos,
    /// The latest time at which it can have been made: when its answer was there, or what the recording client told in
    /// front of it, where a clock went back.
    by: Nanos,
    revision: i64,
    keys: Option<Keys<'a>>,
    kvs: &'a [KeyValue],
}

/// Judges durability.
pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    judge(case, &mut findings);
    findings.verdict(CHECK)
}

/// Judges all looks. Gives how often an entry of the ledger was looked at.
fn judge(case: &Case<'_>, findings: &mut Findings) -> usize {
    let mut ledger = Ledger::of(case);
    findings.count("acknowledged_writes", ledger.acked_values);
    let finals = case.index.finals.iter();
    let dumps: BTreeSet<_> = finals.map(|state| state.pod.as_str()).collect();
    findings.count("members_dumped", dumps.len());
    let members = case.expectations.members as usize;
    let wanted = if case.expectations.ends_healthy {
        members
    } else {
        1
    };
    if dumps.len() < wanted {
        findings.doubt(format!(
            "{} of {wanted} members were dumped at the end",
            dumps.len()
        ));
    }
    if ledger.acked_values == 0 {
        findings.doubt("no write was acknowledged".to_owned());
    }
    let mut looks = looks(case);
    looks.sort_by_key(|look| look.revision);
    let lives = lives_until(case);
    for look in &looks {
        // A look shows everything up to its revision, and nothing of what came after.
        ledger.forward(look.revision);
        compare((case, &lives), look, &mut ledger, findings);
        written(case, look, &ledger, findings);
    }
    ledger.forward(i64::MAX);
    findings.count("keys", ledger.keys());
    lag(&ledger, &looks, dumps.len() >= members, findings);
    ledger.steps
}

/// Until when leases cannot have ended, where that is known.
fn lives_until(case: &Case<'_>) -> FastMap<i64, Nanos> {
    let leases = lives::collect(case).into_iter();
    let until = leases.filter_map(|(id, lease)| Some((id, lease.lives_until()?)));
    until
        .map(|(id, until)| (id, until.saturating_sub(EARLY_SLACK_NS)))
        .collect()
}

fn looks<'a>(case: &Case<'a>) -> Vec<Look<'a>> {
    let last_phase = case.index.phase("final").unwrap_or(Nanos::MAX);
    let last = case.index.ops.iter().filter(|op| op.call.t >= last_phase);
    let mut reads: Vec<Look<'a>> = Vec::new();
    let mut of_op: FastMap<OpId, usize> = FastMap::default();
    for (op, look) in last.filter_map(|op| Some((op, read(op)?))) {
        of_op.insert(op.id(), reads.len());
        reads.push(look);
    }
    let (mut looks, mut latest) = (Vec::new(), Nanos::MIN);
    for record in case.index.records {
        if record.of_client() {
            latest = latest.max(record.time());
        }
        match record {
            Record::FinalState(state) => looks.push(Look {
                who: format!("member {}", state.pod),
                t: state.t,
                by: latest.max(state.t),
                revision: state.revision,
                keys: None,
                kvs: &state.kvs,
            }),
            Record::Return(end) => {
                if let Some(at) = of_op.get(&end.op) {
                    reads[*at].by = latest.max(end.t);
                }
            }
            _ => {}
        }
    }
    looks.extend(reads);
    looks
}

/// A read of how everything is in the end.
fn read<'a>(op: &Op<'a>) -> Option<Look<'a>> {
    let acked = op.acked()?;
    match (&op.call.request, acked.response) {
        (
            Request::Range {
                key,
                range_end,
                limit: 0,
                serializable: false,
                revision: 0,
            },
            Response::Range { kvs, .. },
        ) => Some(Look {
            who: format!("final read {}", op.id()),
            t: op.call.t,
            by: op.certain_by(),
            revision: acked.revision,
            keys: Some(Keys::new(key, range_end.as_deref())),
            kvs,
        }),
        _ => None,
    }
}

/// A member that is behind is only late, unless no member has what was acknowledged.
fn lag(ledger: &Ledger<'_>, looks: &[Look<'_>], all: bool, findings: &mut Findings) {
    let Some(newest) = ledger.newest() else {
        return;
    };
    let behind: Vec<_> = looks
        .iter()
        .filter(|l| l.revision < newest.revision && newest.op.certain_by() < l.t)
        .collect();
    if looks.is_empty() || behind.is_empty() {
        return;
    }
    let asked = |look: &Look<'_>| look.keys.is_some();
    if behind.len() == looks.len() && (all || looks.iter().any(asked)) {
        findings.violation(
            format!(
                "every look at the end is below revision {}, which was acknowledged (op {})",
                newest.revision,
                newest.op.id()
            ),
            vec![newest.op.id()],
        );
    } else {
        let who: Vec<_> = behind
            .iter()
            .map(|l| format!("{} at {}", l.who, l.revision))
            .collect();
        findings.doubt(format!(
            "not yet at revision {}: {}",
            newest.revision,
            who.join(", ")
        ));
    }
}

/// What was acknowledged is there, or something that may have come after it is.
fn compare<'a>(
    (case, lives): (&Case<'a>, &FastMap<i64, Nanos>),
    look: &Look<'a>,
    ledger: &mut Ledger<'a>,
    findings: &mut Findings,
) {
    let alive = |lease: i64| lives.get(&lease).is_some_and(|until| look.by < *until);
    for (key, last, why) in ledger.lost(look.keys, look.kvs, alive) {
        findings.violation(
            format!(
                "{} at revision {} has lost {key}: last acknowledged was {}, but {why}",
                look.who,
                look.revision,
                words::op(case.index, last.op)
            ),
            vec![last.op.id()],
        );
    }
}

/// What is there was written by a client, as the replay has it, and nothing is missing of what the replay has. A lease
/// that ended would have made a revision. A look that is behind shows as it is now what was not written since.
fn written(case: &Case<'_>, look: &Look<'_>, ledger: &Ledger<'_>, findings: &mut Findings) {
    let before = case.replayed.made.base();
    let store = &case.replayed.reached.store;
    let replayed = case.replayed.stop.is_none();
    let whole = replayed && store.revision == look.revision;
    let mut shown = FastSet::default();
    for kv in look.kvs {
        let key = kv.key.as_str();
        let of_run = kv.mod_revision > before;
        let known = ledger.knows(key) || !of_run;
        let why = match store.get(key) {
            _ if kv.mod_revision > look.revision => "which is after the look",
            _ if !shown.insert(key) => "which it shows twice",
            Some(item)
                if (whole || replayed && item.modified == kv.mod_revision)
                    && *item != Item::of(kv) =>
            {
                "which is not how it was left"
            }
            None if whole && of_run => "which is not there at that revision",
            _ if !known && !ledger.may_write(&kv.value) => "which no client may have written",
            _ => continue,
        };
        findings.violation(
            format!(
                "{} at revision {} has {key} = {} of revision {}, {why}",
                look.who,
                look.revision,
                words::shown(&kv.value),
                kv.mod_revision,
            ),
            Vec::new(),
        );
    }
    if whole {
        missing(case, look, before, findings);
    }
}

/// The first key of the run that the store of the replay has at the revision of the look, and the look has not.
fn missing(case: &Case<'_>, look: &Look<'_>, before: i64, findings: &mut Findings) {
    let there: FastSet<&str> = look.kvs.iter().map(|kv| kv.key.as_str()).collect();
    let mut left = case.replayed.reached.store.among(look.keys);
    let gone = left.find(|(key, item)| item.modified > before && !there.contains(key));
    if let Some((key, item)) = gone {
        findings.violation(
            format!(
                "{} at revision {} is without {key} = {} of revision {}, which nothing deleted",
                look.who,
                look.revision,
                words::shown(item.value),
                item.modified,
            ),
            Vec::new(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Finding;
    use crate::check::all::with_case;
    use crate::check::test_support::{Story, found, get, kv, put, small};

    fn range(key: &str) -> Request {
        Request::Delete {
            key: key.to_owned(),
            range_end: Some(format!("{key}~")),
        }
    }

    /// So many times in the last phase: a put and a read of its key, the delete of a range, and one that is not
    /// answered. Every read is of another revision.
    fn story(times: i64) -> Story {
        let mut story = Story::new().phase(1, "final");
        let mut kept = Vec::new();
        for round in 0..times {
            let (t, revision) = (10 + 10 * round, 2 + 3 * round);
            let [a, b, c] = ["a", "b", "c"].map(|kind| format!("{kind}{round:05}"));
            kept.push(kv(&a, &a, revision));
            story = story
                .put(1, (t, t + 1), (&a, &a), revision)
                .ok(
                    2,
                    (t + 2, t + 3),
                    get(&a),
                    (revision, found(&[kv(&a, &a, revision)])),
                )
                .put(1, (t + 4, t + 5), (&b, &b), revision + 1)
                .ok(
                    1,
                    (t + 6, t + 7),
                    range(&b),
                    (revision + 2, Response::Delete { deleted: 1 }),
                )
                .unknown(3, (t + 8, t + 9), range(&c));
        }
        let end = 20 + 10 * times;
        story.dump(end, "etcd-0", (1 + 3 * times, &kept))
    }

    #[test]
    fn each_write_is_looked_at_so_often_as_there_are_writes_and_not_for_each_read_again() {
        let steps = |times| {
            let history = story(times).history();
            with_case(&history, &small(), |case| {
                let mut findings = Findings::default();
                let steps = judge(case, &mut findings);
                assert_eq!(findings.verdict(CHECK).finding, Finding::Pass);
                steps
            })
        };
        let (half, whole) = (steps(300), steps(600));
        assert!(half >= 5 * 300, "{half}: every entry is looked at");
        assert!(whole < half * 5 / 2, "{half} for 300, {whole} for 600");
        assert!(whole < 20 * 600, "{whole}");
    }

    #[test]
    fn what_later_looks_show_is_held_against_what_was_there_by_then() {
        let read = |value: &str, revision| {
            let kvs = [kv("x", value, revision)];
            story(3).put(1, (61, 62), ("x", "first"), 11).ok(
                2,
                (63, 64),
                get("x"),
                (11, found(&kvs)),
            )
        };
        read("first", 11).passes(CHECK);
        read("other", 11).violates(CHECK, "has lost x: last acknowledged was");
        // The dump of revision 10 need not have it, a read at 12 must.
        let gone = || read("first", 11).put(1, (65, 66), ("y", "1"), 12);
        let lost = gone().ok(2, (67, 68), get("x"), (12, found(&[])));
        lost.violates(CHECK, "it is not there and nothing deleted it");
        let deleted = |to: &str| {
            let request = Request::Delete {
                key: "w".to_owned(),
                range_end: Some(to.to_owned()),
            };
            let deleted = Response::Delete { deleted: 1 };
            let story = gone().ok(1, (67, 68), request, (13, deleted));
            story.ok(2, (69, 70), get("x"), (13, found(&[])))
        };
        let verdict = |to| with_case(&deleted(to).history(), &small(), check).finding;
        assert_eq!(verdict("y"), Finding::Pass);
        assert!(
            matches!(verdict("x"), Finding::Violation { .. }),
            "x is not among them"
        );
        // One of unknown outcome may have taken it at any time.
        let doubtful = gone().unknown(3, (67, 68), range("x"));
        let doubtful = doubtful.ok(2, (69, 70), get("x"), (12, found(&[])));
        let doubtful = with_case(&doubtful.history(), &small(), check).finding;
        assert_eq!(doubtful, Finding::Pass);
        let again = gone().unknown(3, (67, 68), put("x", "again"));
        let again = again.ok(2, (69, 70), get("x"), (12, found(&[])));
        again.violates(CHECK, "it is not there and nothing deleted it");
    }
}
