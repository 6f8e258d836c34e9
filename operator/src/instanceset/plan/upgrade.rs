//! An upgrade to 3.7, which does not read requests of the API v2 in a member's log (V7): members of 3.5 have written
//! such ones. They are replayed until a snapshot is behind them. The Component makes no pod of 3.7 before the log of
//! every member is known to hold none; where one does, entries without effect are appended until members make a
//! snapshot.
//!
//! A log proves nothing of entries that its member has not got yet: one that was far behind when the last member of 3.5
//! was replaced gets that one's last requests later. So an index is put on record that was committed when all had run
//! 3.6 for a while, and a log counts once its member has applied that one: nothing before it can change any more.

use kbagent_protocol::{Member, MemberStatus};

use super::downgrade::{self, own_status};
use super::latch::Latch;
use super::membership::Basis;
use super::roster::{self, Roster};
use super::{Plan, Step, Waiting};
use crate::definition::{Minor, READS_OLD};
use crate::instanceset::desired::Desired;
use crate::instanceset::names::CATCH_UP;
use crate::instanceset::observed::{Observed, PodSeen};

/// Seconds that the youngest pod is there before an index of its cluster is taken for one after 3.5: what agents report
/// is at most some seconds old, and so is then what the server before it had on its way.
const SETTLED: i64 = 10;

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// What a log holds is not known.
    Unknown(String),
    /// A log holds such requests.
    Holds(String),
    /// No log that the newer minor is to read holds any.
    Ready,
}

/// Plans what is due before it.
pub(crate) fn plan(basis: &Basis<'_>, quiet: bool, plan: &mut Plan) {
    let Some(to) = basis.desired.upgrade else {
        return;
    };
    let end = end(basis.desired, basis.seen, basis.roster);
    let why = match stage(basis.seen, basis.roster, end) {
        Stage::Ready => return,
        Stage::Unknown(why) => why,
        Stage::Holds(why) => {
            let via = basis.safety.via(None);
            let via = via.filter(|_| quiet && plan.is_idle());
            plan.steps.extend(via.map(|via| Step::AppendToLog { via }));
            why
        }
    };
    plan.waiting.push(Waiting::Upgrade { to, why });
}

/// The minor whose servers can read what every member has, for the Component, which changes the template then: the data
/// on the way back, the log on the way up.
pub(crate) fn readable_by(desired: &Desired, seen: &Observed, latch: &Latch) -> Option<String> {
    if desired.downgrade.is_some() {
        return downgrade::readable_by(desired, seen, latch);
    }
    let to = desired.upgrade?;
    let roster = roster::read(desired, seen, latch);
    let end = end(desired, seen, &roster);
    (stage(seen, &roster, end) == Stage::Ready).then(|| to.to_string())
}

/// The index on record that is behind all that servers of 3.5 wrote, or a new one. A member that runs 3.5 again may
/// write more.
pub(crate) fn old_requests_end(desired: &Desired, seen: &Observed, roster: &Roster) -> Option<i64> {
    let end = end(desired, seen, roster)?;
    i64::try_from(end).ok()
}

fn end(desired: &Desired, seen: &Observed, roster: &Roster) -> Option<u64> {
    desired.upgrade?;
    let owned = || seen.pods.values().filter(|pod| pod.owned);
    let is_old = |status: &MemberStatus| Minor::of(&status.version) < Minor::of(READS_OLD);
    if owned().filter_map(PodSeen::status).any(is_old) {
        return None;
    }
    let recorded = desired.recorded.old_requests_end;
    if let Some(end) = recorded.and_then(|end| u64::try_from(end).ok()) {
        return Some(end);
    }
    let list = roster.members.known()?;
    let status = |(pod, member): &(Option<String>, Member)| {
        let pod = seen.pods.get(pod.as_ref()?)?;
        Some(own_status(pod, member)?.raft_index)
    };
    let all: Option<Vec<u64>> = list.iter().map(status).collect();
    let settled = owned().all(|pod| pod.age_seconds >= SETTLED);
    all?.into_iter().max().filter(|_| settled)
}

fn stage(seen: &Observed, roster: &Roster, end: Option<u64>) -> Stage {
    let Some(list) = roster.members.known() else {
        return Stage::Unknown("the member list is not known".to_owned());
    };
    // What a pod's member of before wrote last is behind this entry only if its agent was late.
    let due = seen.pods.values().filter_map(made_at).max();
    let due = Due {
        read: due.unwrap_or(0),
        applied: end.unwrap_or(0),
    };
    let judge = |(pod, member): &(Option<String>, Member)| {
        let name = pod.as_deref().unwrap_or(&member.name);
        let there = pod.as_ref().and_then(|pod| seen.pods.get(pod));
        judge((name, there), member, due)
    };
    let found: Vec<Stage> = list.iter().map(judge).collect();
    let unknown = |stage: &&Stage| matches!(stage, Stage::Unknown(_));
    let not_ready = |stage: &&Stage| **stage != Stage::Ready;
    let mut all = found.iter();
    let worst = all.find(unknown).or_else(|| found.iter().find(not_ready));
    match (worst, end) {
        (Some(worst), _) => worst.clone(),
        (None, Some(_)) => Stage::Ready,
        (None, None) => Stage::Unknown(format!(
            "all members have not run {READS_OLD} for {SETTLED} s yet"
        )),
    }
}

/// How far a member must be for its log to count.
#[derive(Clone, Copy)]
struct Due {
    /// Entry that its agent has read.
    read: u64,
    /// Entry that it has applied, and its agent has read.
    applied: u64,
}

/// What the log of one member holds.
fn judge((name, pod): (&str, Option<&PodSeen>), member: &Member, due: Due) -> Stage {
    let Some(status) = pod.and_then(|pod| own_status(pod, member)) else {
        return Stage::Unknown(format!(
            "member {} ({name}) does not answer, and what its log holds is not known",
            member.id
        ));
    };
    let (runs, reads) = (Minor::of(&status.version), Minor::of(READS_OLD));
    if runs > reads {
        return Stage::Ready;
    }
    if runs < reads {
        return Stage::Unknown(format!(
            "{name} runs {}, whose servers write requests of the API v2 to the log: go to {READS_OLD} first",
            status.version
        ));
    }
    match status.format.log {
        None => Stage::Unknown(format!(
            "the agent of {name} does not say what the member's log holds: if this lasts, its own log says \
             why, or it is of an earlier release of the operator: an OpsRequest Restart makes the pod with a newer one"
        )),
        Some(log) if log.read_to < due.read.max(due.applied) => {
            let needed = due.read.max(due.applied);
            let part = part(log.read_to, needed);
            Stage::Unknown(format!(
                "the agent of {name} has read {part} of the member's log up to entry {needed}, which is needed"
            ))
        }
        // What is not applied may be replaced by other entries.
        Some(_) if status.applied_index < due.applied => Stage::Unknown(format!(
            "the member of {name} has applied {} of its log up to entry {}, which is needed",
            part(status.applied_index, due.applied),
            due.applied
        )),
        Some(log) => log.old_request.map_or(Stage::Ready, |index| {
            Stage::Holds(format!(
                "the log of {name} holds a request of the API v2 (entry {index}), at which newer servers panic: entries are \
                 appended until the member makes a snapshot (etcd's flag snapshot-count)"
            ))
        }),
    }
}

/// How much is done, in steps of ten: a status that says so is written a few times, and not in each round (C6).
fn part(done: u64, all: u64) -> String {
    let tenths = done.saturating_mul(10) / all.max(1);
    format!("about {} %", tenths * 10)
}

/// The log's end when a pod was made.
fn made_at(pod: &PodSeen) -> Option<u64> {
    pod.annotations.get(CATCH_UP)?.parse().ok()
}
