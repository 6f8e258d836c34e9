//! A quorum that does not come back is given up on approval (D11): one survivor becomes the only member of the cluster,
//! and the others are replaced by learners with new volumes.
//!
//! Chosen -> the other pods are gone -> Isolated -> their volumes are marked, the survivor is started alone, once ->
//! Forced -> the usual rules let others join -> Done. Each step is on record before it is taken. Up to Isolated nothing
//! is lost, and a quorum that comes back ends it; from Isolated on no other member can run, because none is started
//! without the operator, and none that may still run is passed over (P5).

use etcd_operator_api::instance_set::KnownMember;
use etcd_operator_api::names;
use etcd_operator_api::recovery::{Recovery, RecoveryStep, RecoveryWish, Standing};
use kbagent_protocol::Id;

use super::latch::Latch;
use super::next_pod::{self, PodTurn};
use super::pods::{self, Purpose};
use super::safety::{Gate, PATIENCE, Safety};
use super::{Grace, Plan, Step, Waiting};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{ClaimSeen, NodeSeen, Observed, PodSeen};

/// Starts of the survivor before it is given up.
const MOST_ATTEMPTS: i32 = 3;

/// What is to be on record, and what is not decided yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// The recovery as it is to be recorded.
    pub record: Option<Recovery>,
    /// Why a request is not decided yet.
    pub undecided: Option<String>,
}

/// Reads the next step off the world.
#[must_use]
pub(crate) fn record(desired: &Desired, seen: &Observed, latch: &Latch) -> Reading {
    let before = desired.recorded.recovery.clone();
    let known = |record| Reading {
        record,
        undecided: None,
    };
    if desired.paused || desired.stop {
        return known(before);
    }
    if let Some(recovery) = &before
        && is_under_way(recovery.step)
    {
        return known(Some(advance(recovery, desired, seen)));
    }
    let asked = desired.recovery.as_ref();
    let new = asked.filter(|wish| before.as_ref().is_none_or(|b| b.token != wish.token));
    let Some(wish) = new else {
        return known(before);
    };
    match begin(wish, desired, seen, latch) {
        Ok(recovery) => known(Some(recovery)),
        Err(Held::Never(why)) => known(Some(refused(&wish.token, why))),
        Err(Held::NotYet(why)) => Reading {
            record: before,
            undecided: Some(why),
        },
    }
}

/// True for a member that was given up and is still listed: an etcd that was started alone may list what is no longer
/// in its raft group (#20339), so the one that is left decides its removal alone.
pub(crate) fn was_given_up(desired: &Desired, safety: &Safety, member: Id) -> bool {
    let recovery = desired.recorded.recovery.as_ref();
    let forced = recovery.filter(|recovery| recovery.step == RecoveryStep::Forced);
    forced.is_some_and(|recovery| {
        let mut others = recovery
            .standings
            .iter()
            .filter(|standing| recovery.survivor.as_ref() != Some(&standing.pod_name));
        safety.leader == recovery.survivor
            && others.any(|standing| standing.member_id == member.to_string())
    })
}

fn is_under_way(step: RecoveryStep) -> bool {
    use RecoveryStep::{Chosen, Forced, Isolated};
    matches!(step, Chosen | Isolated | Forced)
}

fn refused(token: &str, message: String) -> Recovery {
    Recovery {
        token: token.to_owned(),
        step: RecoveryStep::Refused,
        message,
        ..Recovery::default()
    }
}

/// Why a recovery does not begin.
enum Held {
    Never(String),
    NotYet(String),
}

fn begin(
    wish: &RecoveryWish,
    desired: &Desired,
    seen: &Observed,
    latch: &Latch,
) -> Result<Recovery, Held> {
    let voters = desired.recorded.members.iter();
    let voters: Vec<&KnownMember> = voters.filter(|member| !member.is_learner).collect();
    refuse(desired, seen, latch)?;
    let named = |pod: &String| voters.iter().any(|member| member.pod_name == *pod);
    if let Some(pod) = wish.survivor.as_ref().filter(|pod| !named(pod)) {
        let known: Vec<&str> = voters.iter().map(|m| m.pod_name.as_str()).collect();
        let known = known.join(", ");
        return Err(Held::Never(format!("{pod} is no voter on record: {known}")));
    }
    let standings: Vec<Standing> = voters.iter().map(|m| standing(m, desired, seen)).collect();
    let fit = standings.iter().filter(|own| own.message.is_none());
    let fit = fit.filter(|own| {
        wish.survivor
            .as_ref()
            .is_none_or(|pod| *pod == own.pod_name)
    });
    // Index before term: what is committed below an index is the same for all, whereas a member that only campaigned
    // has a high term and may know less.
    let Some(best) = fit.max_by_key(|own| (own.index, own.term, own.revision)) else {
        let told = standings.iter();
        let told =
            told.filter_map(|own| Some(format!("{}: {}", own.pod_name, own.message.as_ref()?)));
        let told: Vec<String> = told.collect();
        let why = format!("no survivor can be read: {}", told.join("; "));
        return Err(Held::NotYet(why));
    };
    Ok(Recovery {
        token: wish.token.clone(),
        step: match wish.dry_run {
            true => RecoveryStep::Surveyed,
            false => RecoveryStep::Chosen,
        },
        attempt: 0,
        survivor: Some(best.pod_name.clone()),
        member_id: Some(best.member_id.clone()),
        term: best.term.unwrap_or_default(),
        index: best.index.unwrap_or_default(),
        message: told(best, &standings),
        standings,
    })
}

/// Why a quorum is not given up now: it is there, or may be.
fn refuse(desired: &Desired, seen: &Observed, latch: &Latch) -> Result<(), Held> {
    if desired.recorded.cluster_id.is_none() || !latch.bootstrapped() {
        return Err(Held::Never("the cluster has not formed yet".to_owned()));
    }
    if let Some(mismatch) = latch.mismatch() {
        return Err(Held::Never(mismatch.to_string()));
    }
    if let Some(why) = quorum_is_there(seen) {
        let why = format!("a quorum is there ({why}): nothing is done");
        return Err(Held::Never(why));
    }
    let mut pods = seen.pods.iter();
    if let Some((pod, _)) = pods.find(|(_, pod)| pod.denied().is_some()) {
        let why = "etcd refuses the agent, so that it is not known whether a quorum is there";
        let why = format!("{why} ({pod}): disable authentication first");
        return Err(Held::Never(why));
    }
    let mut pods = seen.pods.iter();
    if let Some(pod) = pods.find_map(|(name, pod)| may_answer(name, pod)) {
        let why = "is ready to run and its agent is not known to say anything: it may be part of a quorum";
        let why = format!("pod {pod} {why}; delete it if it is broken");
        return Err(Held::NotYet(why));
    }
    Ok(())
}

/// What says that there is a leader.
fn quorum_is_there(seen: &Observed) -> Option<String> {
    if seen.members.known().is_some() {
        return Some("the member list was read".to_owned());
    }
    let has_leader = |pod: &PodSeen| stand(pod).is_some_and(|own| own.follows);
    let follows = seen.pods.iter().find(|(_, pod)| has_leader(pod));
    follows.map(|(name, _)| format!("{name} has a leader"))
}

/// What can be read of a member: from its status, or from the metrics of one that was restarted without a quorum.
struct Stand {
    member: Id,
    leader: Option<Id>,
    follows: bool,
    term: Option<u64>,
    index: u64,
    revision: i64,
    /// True when its etcd has waited in vain for a leader since it was started, for long.
    waits: bool,
}

impl Stand {
    fn leads(&self) -> bool {
        self.leader == Some(self.member)
    }

    fn is(&self, recovery: &Recovery) -> bool {
        recovery.member_id.as_ref() == Some(&self.member.to_string())
    }
}

fn stand(pod: &PodSeen) -> Option<Stand> {
    let long = |seconds: u64| i64::try_from(seconds).is_ok_and(|seconds| seconds > PATIENCE);
    let running = pod.status().map(|status| Stand {
        member: status.member_id,
        leader: status.leader_id,
        follows: status.leader_id.is_some(),
        term: Some(status.term),
        index: status.raft_index,
        revision: status.revision,
        waits: false,
    });
    running.or_else(|| {
        let own = pod.standing()?;
        Some(Stand {
            member: own.member_id,
            leader: None,
            follows: own.has_leader,
            term: None,
            index: own.index,
            revision: own.revision,
            waits: !own.has_leader && long(own.leaderless_seconds),
        })
    })
}

/// The name of a pod that can run on a node that is there, and of which it is not known what it does.
fn may_answer<'a>(name: &'a String, pod: &PodSeen) -> Option<&'a String> {
    let silent = stand(pod).is_none() && pod.refused().is_none();
    let fit = pod.owned && !pod.terminating && !pod.ended && pod.broken.is_none();
    let unsure = (fit && silent && pod.node == NodeSeen::Ready) || (pod.ready && silent);
    unsure.then_some(name)
}

fn standing(member: &KnownMember, desired: &Desired, seen: &Observed) -> Standing {
    let pod = seen.pods.get(&member.pod_name);
    let own = |stand: &Stand| stand.member.to_string() == member.member_id;
    let stand = pod.and_then(stand).filter(own);
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let why = match (pod, &stand) {
        (None, _) => Some("it has no pod"),
        (Some(pod), _) if pod.terminating => Some("its pod is going"),
        (Some(_), None) => Some("neither its etcd nor its metrics say where it stands"),
        (Some(_), Some(_)) if !is_whole(desired, seen, &member.pod_name) => {
            Some("its volume is gone or going")
        }
        (Some(_), Some(_)) => None,
    };
    Standing {
        pod_name: member.pod_name.clone(),
        member_id: member.member_id.clone(),
        term: stand.as_ref().and_then(|stand| stand.term).map(number),
        index: stand.as_ref().map(|stand| number(stand.index)),
        revision: stand.as_ref().map(|stand| stand.revision),
        message: why.map(str::to_owned),
    }
}

fn is_whole(desired: &Desired, seen: &Observed, pod: &str) -> bool {
    let fit = |claim: &ClaimSeen| claim.owned && !claim.terminating && claim.lost.is_none();
    let mut claims = desired.claims.iter();
    claims.all(|template| {
        let claim = seen.claims.get(&names::claim(&template.name, pod));
        claim.is_some_and(fit)
    })
}

/// Who stays, and what would be lost.
fn told(best: &Standing, all: &[Standing]) -> String {
    let index = best.index.unwrap_or_default();
    let mut text = format!(
        "{} stays (member {}, term {}, index {index}, revision {})",
        best.pod_name,
        best.member_id,
        best.term
            .map_or_else(|| "not known".to_owned(), |term| term.to_string()),
        best.revision.unwrap_or_default(),
    );
    for other in all.iter().filter(|other| other.pod_name != best.pod_name) {
        text += &match other.index {
            Some(theirs) if theirs > index => {
                let more = theirs.saturating_sub(index);
                format!(
                    "; of {} {more} log entries are lost (index {theirs})",
                    other.pod_name
                )
            }
            Some(theirs) => format!("; {} has no more (index {theirs})", other.pod_name),
            None => format!(
                "; what only {} knows is lost, how much is not known ({})",
                other.pod_name,
                other.message.as_deref().unwrap_or("it cannot be read"),
            ),
        };
    }
    text + "; entries that the survivor does not know to be committed are lost too"
}

/// The step that a recovery is at now.
fn advance(before: &Recovery, desired: &Desired, seen: &Observed) -> Recovery {
    let next = before.clone();
    match before.step {
        RecoveryStep::Chosen => chosen(next, desired, seen),
        RecoveryStep::Isolated => isolated(next, desired, seen),
        RecoveryStep::Forced if is_regrown(before, desired, seen) => Recovery {
            step: RecoveryStep::Done,
            ..next
        },
        _ => next,
    }
}

fn chosen(recovery: Recovery, desired: &Desired, seen: &Observed) -> Recovery {
    let asked = desired.recovery.as_ref().map(|wish| wish.token.as_str());
    let survivor = recovery.survivor.clone().unwrap_or_default();
    let stand = seen.pods.get(&survivor).and_then(stand);
    let term = stand.as_ref().and_then(|stand| stand.term);
    let alone = seen.pods.keys().all(|other| *other == survivor);
    let why = if asked != Some(recovery.token.as_str()) {
        "the request was withdrawn".to_owned()
    } else if let Some(why) = quorum_is_there(seen) {
        format!("a quorum came back ({why})")
    } else if recovery.term > 0 && term.is_some_and(|term| i64::try_from(term) != Ok(recovery.term))
    {
        format!("{survivor} has seen an election since it was chosen")
    } else if !is_whole(desired, seen, &survivor) {
        format!("the volume of {survivor} is gone or going")
    } else if alone && stand.is_some_and(|stand| stand.is(&recovery)) {
        return Recovery {
            step: RecoveryStep::Isolated,
            attempt: 1,
            ..recovery
        };
    } else {
        return recovery;
    };
    let message = format!("{why}: no member was given up; {}", recovery.message);
    Recovery {
        step: RecoveryStep::Refused,
        message,
        ..recovery
    }
}

fn isolated(recovery: Recovery, desired: &Desired, seen: &Observed) -> Recovery {
    let survivor = recovery.survivor.clone().unwrap_or_default();
    if !is_whole(desired, seen, &survivor) {
        return failed(
            &recovery,
            &format!("the volume of {survivor} is gone or going"),
        );
    }
    let pod = seen.pods.get(&survivor);
    let pod = pod.filter(|pod| pod.force.as_ref() == Some(&mark(&recovery)));
    let Some(stand) = pod.and_then(stand).filter(|stand| stand.is(&recovery)) else {
        return recovery;
    };
    // No other pod is there: with others in its raft group it would not lead. Its list may still name some (#20339).
    if stand.leads() && seen.members.known().is_some() {
        return Recovery {
            step: RecoveryStep::Forced,
            ..recovery
        };
    }
    // Alone it elects itself within a second and serves. One that waits for a leader in the same process, and for long,
    // was started with the others still in its log: nothing was acknowledged by it alone.
    if !stand.waits {
        return recovery;
    }
    let attempt = recovery.attempt.saturating_add(1);
    if attempt > MOST_ATTEMPTS {
        let why = format!(
            "the survivor did not become the only member in {MOST_ATTEMPTS} starts: see the log of its etcd"
        );
        return failed(&recovery, &why);
    }
    Recovery {
        attempt,
        ..recovery
    }
}

fn failed(recovery: &Recovery, why: &str) -> Recovery {
    let mark = crate::instanceset::names::RETIRED;
    let message = format!(
        "{why}; the volumes of the others are kept: take the annotation {mark} off the claim of one that is to \
         continue, and make another OpsRequest; {}",
        recovery.message
    );
    Recovery {
        step: RecoveryStep::Failed,
        message,
        ..recovery.clone()
    }
}

fn is_regrown(recovery: &Recovery, desired: &Desired, seen: &Observed) -> bool {
    let Some(list) = seen.members.known() else {
        return false;
    };
    let votes = |pod: &String| {
        let mut members = list.members.iter();
        members.any(|member| member.name == *pod && !member.is_learner)
    };
    let given_up = |id: String| {
        let mut old = recovery.standings.iter();
        old.any(|old| old.member_id == id && recovery.member_id.as_ref() != Some(&id))
    };
    list.members.len() == desired.members.len()
        && desired.members.iter().all(votes)
        && !list.members.iter().any(|m| given_up(m.id.to_string()))
}

/// What makes one start of the survivor the forced one.
fn mark(recovery: &Recovery) -> String {
    format!("{}-{}", recovery.token, recovery.attempt)
}

/// Plans the steps of a recovery; false when the usual rules apply.
pub(crate) fn plan(desired: &Desired, seen: &Observed, reading: &Reading, plan: &mut Plan) -> bool {
    let undecided = reading.undecided.clone();
    plan.waiting.extend(undecided.map(Waiting::Recovery));
    let Some(recovery) = &reading.record else {
        return false;
    };
    let Some(survivor) = recovery.survivor.clone() else {
        return false;
    };
    match recovery.step {
        RecoveryStep::Chosen => {
            stop_others(seen, &survivor, plan);
            let stand = seen.pods.get(&survivor).and_then(stand);
            if !stand.is_some_and(|stand| stand.is(recovery)) {
                plan.waiting.push(Waiting::Recovery(format!(
                    "{survivor} does not say where it stands any more: delete the OpsRequest to choose again"
                )));
            }
        }
        RecoveryStep::Isolated => {
            retire(seen, &survivor, plan);
            stop_others(seen, &survivor, plan);
            let alone = seen.pods.keys().all(|other| *other == survivor);
            if alone {
                force(desired, seen, (recovery, &survivor), plan);
            }
        }
        _ => return false,
    }
    true
}

fn stop_others(seen: &Observed, survivor: &str, plan: &mut Plan) {
    let why = "its quorum is given up";
    let mut gate = Gate::open(seen);
    for (name, pod) in seen.pods.iter().filter(|(name, _)| *name != survivor) {
        plan.waiting
            .push(Waiting::Recovery(format!("pod {name} must be gone first")));
        if next_pod::pod_turn(seen, name, &mut gate, plan) == PodTurn::Lives {
            next_pod::remove_pod(name, pod, Grace::Template, why, &mut gate, plan);
        }
    }
}

/// Marks the volumes of the members that are given up: none of them is mounted again.
fn retire(seen: &Observed, survivor: &str, plan: &mut Plan) {
    let of = |claim: &ClaimSeen| {
        claim
            .labels
            .get(etcd_operator_api::labels::POD_NAME)
            .cloned()
    };
    let others = seen.claims.iter().filter(|(_, claim)| {
        let other = of(claim).is_some_and(|pod| pod != survivor);
        other && claim.owned && !claim.retired() && !claim.terminating
    });
    for (name, claim) in others {
        let (name, uid) = (name.clone(), claim.uid.clone());
        plan.steps.push(Step::RetireClaim { name, uid });
    }
}

/// Starts the survivor as the only member.
fn force(
    desired: &Desired,
    seen: &Observed,
    (recovery, survivor): (&Recovery, &str),
    plan: &mut Plan,
) {
    let mark = mark(recovery);
    let mut gate = Gate::open(seen);
    let there = seen.pods.get(survivor);
    match (next_pod::pod_turn(seen, survivor, &mut gate, plan), there) {
        (PodTurn::Lives, Some(pod)) if pod.force.as_ref() == Some(&mark) => {
            let text = format!("{survivor} is to lead alone (attempt {})", recovery.attempt);
            plan.waiting.push(Waiting::Recovery(text));
        }
        (PodTurn::Lives, Some(pod)) => {
            let why = "it is started as the only member of its cluster";
            next_pod::remove_pod(survivor, pod, Grace::Template, why, &mut gate, plan);
        }
        (PodTurn::Absent, _) if !is_whole(desired, seen, survivor) => {
            plan.waiting.push(Waiting::DataLost(survivor.to_owned()));
        }
        (PodTurn::Absent, _) => match &seen.no_node {
            Some(node) => plan.waiting.push(Waiting::NoNode(node.clone())),
            None => {
                let purpose = Purpose {
                    force: Some(&mark),
                    ..Purpose::default()
                };
                let pod = pods::build(desired, survivor, &purpose);
                plan.steps.push(Step::CreatePod(Box::new(pod)));
            }
        },
        _ => {}
    }
}
