//! etcd's downgrade by a minor (V1). Members of the older minor start when etcd has led the data of all back to its
//! format: the first of them is made after that, and none before. How far it is, is read from members each time.

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use kbagent_protocol::{Member, MemberStatus};

use super::latch::Latch;
use super::membership::Basis;
use super::roster::{self, Roster};
use super::{Plan, Step, Waiting};
use crate::definition::Minor;
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{Observed, PodSeen};

/// How far the downgrade is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Something is not known, or the data of a member is not of the older minor yet.
    Waits(String),
    /// etcd knows nothing of it.
    Due,
    /// etcd goes elsewhere.
    Astray,
    /// Servers of the older minor read the data of every member.
    Ready,
}

/// Plans what is due of it; false while no pod may be made of the older minor.
pub(crate) fn plan(basis: &Basis<'_>, quiet: bool, plan: &mut Plan) -> bool {
    let Some(to) = basis.desired.downgrade else {
        // What nothing asks for any more would hold the cluster at the older minor.
        if job(basis.seen).is_some()
            && plan.is_idle()
            && let Some(via) = basis.safety.via(None)
        {
            plan.steps.push(Step::CancelDowngrade { via });
        }
        return true;
    };
    let stage = stage(to, basis.seen, basis.roster);
    if stage == Stage::Ready {
        return true;
    }
    let mut wait = |why: String| plan.waiting.push(Waiting::Downgrade { to, why });
    match &stage {
        Stage::Waits(why) => wait(why.clone()),
        Stage::Due | Stage::Astray => wait("etcd has not begun it".to_owned()),
        Stage::Ready => {}
    }
    let via = basis.safety.via(None).filter(|_| quiet && plan.is_idle());
    match (stage, via) {
        (Stage::Due, Some(via)) => plan.steps.push(Step::Downgrade { via, to }),
        (Stage::Astray, Some(via)) => plan.steps.push(Step::CancelDowngrade { via }),
        _ => {}
    }
    // A template of the newer minor may be rolled out: what is broken must not stand in the way.
    made_for(basis.desired) != Some(to)
}

/// The minor whose servers can read the data of every member, for the Component, which changes the template then.
pub(crate) fn readable_by(desired: &Desired, seen: &Observed, latch: &Latch) -> Option<String> {
    let to = desired.downgrade?;
    let roster = roster::read(desired, seen, latch);
    (stage(to, seen, &roster) == Stage::Ready).then(|| to.to_string())
}

fn stage(to: Minor, seen: &Observed, roster: &Roster) -> Stage {
    let owned = || seen.pods.values().filter(|pod| pod.owned);
    let told: Vec<&MemberStatus> = owned().filter_map(PodSeen::status).collect();
    if told.iter().any(|status| begun(status, to) == Some(false)) {
        return Stage::Astray;
    }
    // The first of the older minor was made when the data of all had its format, or has held the cluster at it ever
    // since: one that does not answer does not read less.
    if owned().any(|pod| is_of(pod, to)) {
        let newer = told.iter().find(|status| is_newer(status, to));
        return newer.map_or(Stage::Ready, |status| waits_for(status, to));
    }
    let Some(list) = roster.members.known() else {
        return Stage::Waits("the member list is not known".to_owned());
    };
    let mut all = Vec::new();
    for (pod, member) in list {
        let there = pod.as_ref().and_then(|pod| seen.pods.get(pod));
        match there.and_then(|there| own_status(there, member)) {
            Some(status) => all.push(status),
            None => {
                let name = pod.as_deref().unwrap_or(&member.name);
                return Stage::Waits(format!("member {} ({name}) does not answer", member.id));
            }
        }
    }
    if all.iter().all(|status| begun(status, to).is_none()) {
        return Stage::Due;
    }
    let late = |status: &&&MemberStatus| is_newer(status, to) || begun(status, to).is_none();
    all.iter()
        .find(late)
        .map_or(Stage::Ready, |status| waits_for(status, to))
}

/// Whether a pod's member runs the older minor, or its pod was made for it.
fn is_of(pod: &PodSeen, to: Minor) -> bool {
    match pod.status() {
        Some(status) => Minor::of(&status.version).is_some_and(|runs| runs <= to),
        None => of_template(&pod.labels) == Some(to),
    }
}

/// Whether a member's data is not known to be read by servers of the older minor.
fn is_newer(status: &MemberStatus, to: Minor) -> bool {
    let runs_older = Minor::of(&status.version).is_some_and(|runs| runs <= to);
    let format = status.format.storage_version.as_deref();
    !runs_older && format.and_then(Minor::of).is_none_or(|format| format > to)
}

/// Whether a downgrade is in progress, and leads there.
fn begun(status: &MemberStatus, to: Minor) -> Option<bool> {
    let target = status.format.downgrade_to.as_deref()?;
    Some(Minor::of(target) == Some(to))
}

fn waits_for(status: &MemberStatus, to: Minor) -> Stage {
    Stage::Waits(format!(
        "the data of member {} is not of {to} yet",
        status.member_id
    ))
}

/// What a member says of itself now.
pub(super) fn own_status<'a>(pod: &'a PodSeen, member: &Member) -> Option<&'a MemberStatus> {
    let status = pod
        .status()
        .filter(|status| status.member_id == member.id)?;
    (!pod.terminating).then_some(status)
}

/// The minor of the version that labels name.
fn of_template(given: &BTreeMap<String, String>) -> Option<Minor> {
    Minor::of(given.get(labels::SERVICE_VERSION)?)
}

/// The minor that pods are made for now.
fn made_for(desired: &Desired) -> Option<Minor> {
    let meta = desired.template.metadata.as_ref()?;
    of_template(meta.labels.as_ref()?)
}

/// The downgrade that a member reports.
fn job(seen: &Observed) -> Option<&str> {
    let mut told = seen.pods.values().filter_map(PodSeen::status);
    told.find_map(|status| status.format.downgrade_to.as_deref())
}
