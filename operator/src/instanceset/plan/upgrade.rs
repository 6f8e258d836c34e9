//! An upgrade to 3.7, which does not read requests of the API v2 in a member's log (V7): members of 3.5 have written
//! such ones. They are replayed until a snapshot is behind them. The Component makes no pod of 3.7 before the log of
//! every member is known to hold none; where one does, entries without effect are appended until members make a
//! snapshot.

use kbagent_protocol::Member;

use super::downgrade::{self, own_status};
use super::latch::Latch;
use super::membership::Basis;
use super::roster::{self, Roster};
use super::{Plan, Step, Waiting};
use crate::definition::{Minor, READS_OLD};
use crate::instanceset::desired::Desired;
use crate::instanceset::names::CATCH_UP;
use crate::instanceset::observed::{Observed, PodSeen};

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
    let why = match stage(basis.seen, basis.roster) {
        Stage::Ready => return,
        Stage::Unknown(why) => why,
        Stage::Holds(why) => {
            let via = basis.safety.via(None);
            let via = via.filter(|_| quiet && plan.steps.is_empty());
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
    (stage(seen, &roster) == Stage::Ready).then(|| to.to_string())
}

fn stage(seen: &Observed, roster: &Roster) -> Stage {
    let Some(list) = roster.members.known() else {
        return Stage::Unknown("the member list is not known".to_owned());
    };
    // What a pod's member of before wrote last is behind this entry only if its agent was late.
    let due = seen.pods.values().filter_map(made_at).max();
    let judge = |(pod, member): &(Option<String>, Member)| {
        let name = pod.as_deref().unwrap_or(&member.name);
        let there = pod.as_ref().and_then(|pod| seen.pods.get(pod));
        judge((name, there), member, due.unwrap_or(0))
    };
    let found: Vec<Stage> = list.iter().map(judge).collect();
    let unknown = |stage: &&Stage| matches!(stage, Stage::Unknown(_));
    let not_ready = |stage: &&Stage| **stage != Stage::Ready;
    let mut all = found.iter();
    let worst = all.find(unknown).or_else(|| found.iter().find(not_ready));
    worst.cloned().unwrap_or(Stage::Ready)
}

/// What the log of one member holds.
fn judge((name, pod): (&str, Option<&PodSeen>), member: &Member, due: u64) -> Stage {
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
        Some(log) if log.read_to < due => Stage::Unknown(format!(
            "the agent of {name} has read the member's log up to entry {}, and {due} is needed",
            log.read_to
        )),
        Some(log) => log.old_request.map_or(Stage::Ready, |index| {
            Stage::Holds(format!(
                "the log of {name} holds a request of the API v2 (entry {index}), at which newer servers panic: entries are \
                 appended until the member makes a snapshot (etcd's flag snapshot-count)"
            ))
        }),
    }
}

/// The log's end when a pod was made.
fn made_at(pod: &PodSeen) -> Option<u64> {
    pod.annotations.get(CATCH_UP)?.parse().ok()
}
