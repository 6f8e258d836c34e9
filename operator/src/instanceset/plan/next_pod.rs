//! Each pod name with its claims, after bootstrap: what is made again, what goes, and whose data is lost.
//!
//! A member that has its data is simply brought back, in parallel with all others and without asking etcd. One
//! that has not is named as lost; `membership` replaces it: remove by identifier -> pod gone -> claim gone ->
//! learner added -> claim and pod for that learner -> vote (M3, M10, M11, M19). Each stage is read off the
//! world again, so a crash between any two loses nothing.

use std::collections::BTreeSet;

use etcd_operator_api::volume::VolumeClaimTemplate;
use etcd_operator_api::{labels, names};
use kbagent_protocol::{Id, Member, OLD_LOG};

use super::pods::{self, Purpose};
use super::roster::Roster;
use super::safety::{Gate, Holder};
use super::{Grace, Plan, Step, Waiting, alarms, placement, volumes};
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{ClaimSeen, NodeSeen, Observed, PodSeen, Reading};

/// What the members need, for the other modules.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MembershipView {
    /// Members whose data is gone, and why.
    pub lost: Vec<(String, Member, String)>,
    /// Members that run and whose claims are gone or going: the data lasts as long as the pod; and why.
    pub going: Vec<(String, Member, String)>,
    /// Members with data that are to be rebuilt, and why.
    pub to_rebuild: Vec<(String, Member, String)>,
    /// Wanted pods without member, pod and claim.
    pub missing: Vec<String>,
}

/// State of a pod in this plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodTurn {
    /// There is none.
    Absent,
    /// It is there to stay.
    Lives,
    /// It is going, or a step is planned that makes it go.
    Busy,
}

/// A slot's data.
enum Data<'a> {
    /// All claims are there.
    Whole(Vec<(String, &'a ClaimSeen)>),
    /// No claim is there.
    Absent,
    /// A claim is going, missing beside others, or can never be reached again; with the claims that can be deleted.
    Broken {
        why: String,
        left: Vec<(String, &'a ClaimSeen)>,
        going: Option<String>,
    },
}

/// What the member list says of a slot.
enum Place<'a> {
    Unknown(String),
    Absent,
    Member(&'a Member),
}

/// Plans pods and claims of all slots.
pub(crate) fn plan(
    desired: &Desired,
    seen: &Observed,
    roster: &Roster,
    gate: &mut Gate<'_>,
    plan: &mut Plan,
) -> MembershipView {
    let mut view = MembershipView::default();
    let corrupt = alarms::corrupt(seen, roster);
    let mut rest = Plan::default();
    rest.waiting.extend(roster.faults.iter().cloned());
    for pod in names_of(desired, seen, roster) {
        let disputed = roster.disputed.get(&pod);
        let place = match (&roster.members, disputed, roster.member(&pod)) {
            (Reading::Unknown(why), _, _) => Place::Unknown(why.clone()),
            (_, Some(member), _) => {
                let (pod, member) = (pod.clone(), *member);
                let disputed = Waiting::Disputed { pod, member };
                let why = disputed.to_string();
                rest.waiting.push(disputed);
                Place::Unknown(why)
            }
            (_, None, Some(member)) => Place::Member(member),
            (_, None, None) => Place::Absent,
        };
        let mut slot = Slot {
            desired,
            seen,
            pod: &pod,
            place,
            roster,
            corrupt: &corrupt,
            gate: &mut *gate,
            view: &mut view,
        };
        slot.plan(&mut rest);
    }
    // Claims before pods: a pod without its claim would wait, a claim without its pod does no harm.
    let (first, later): (Vec<Step>, Vec<Step>) = rest
        .steps
        .drain(..)
        .partition(|step| matches!(step, Step::CreateClaim(_)));
    plan.steps.extend(first);
    plan.steps.extend(later);
    plan.waiting.append(&mut rest.waiting);
    view
}

/// All names that anything exists for, lowest ordinal first.
fn names_of(desired: &Desired, seen: &Observed, roster: &Roster) -> Vec<String> {
    let claimed = seen
        .claims
        .values()
        .filter_map(|claim| claim.labels.get(labels::POD_NAME));
    let listed = roster.members.known();
    let listed = listed
        .into_iter()
        .flatten()
        .filter_map(|(pod, _)| pod.as_ref());
    let all: BTreeSet<(u32, &String)> = desired
        .members
        .iter()
        .chain(seen.pods.keys())
        .chain(claimed)
        .chain(listed)
        .filter_map(|pod| Some((desired.name.ordinal(pod)?, pod)))
        .collect();
    all.into_iter().map(|(_, pod)| pod.clone()).collect()
}

/// Deals with a pod that has ended or whose node is dead, and tells whose turn it is.
pub(crate) fn pod_turn(
    seen: &Observed,
    name: &str,
    gate: &mut Gate<'_>,
    plan: &mut Plan,
) -> PodTurn {
    let Some(pod) = seen.pods.get(name) else {
        return PodTurn::Absent;
    };
    if !pod.owned {
        plan.waiting.push(Waiting::NotOurs {
            kind: "pod",
            name: name.to_owned(),
        });
        return PodTurn::Busy;
    }
    if pod.node.is_dead() {
        let why = match pod.node {
            NodeSeen::Unreachable => "its node has not been ready for longer than the owner allows",
            _ => "its node is gone",
        };
        remove_pod(name, pod, Grace::Dead, why, gate, plan);
        return PodTurn::Busy;
    }
    if pod.terminating {
        plan.waiting.push(match pod.node {
            NodeSeen::NotReady => Waiting::NodeNotReady(name.to_owned()),
            _ => Waiting::PodTerminating(name.to_owned()),
        });
        return PodTurn::Busy;
    }
    if pod.ended {
        let why = "its containers have ended permanently";
        remove_pod(name, pod, Grace::Template, why, gate, plan);
        return PodTurn::Busy;
    }
    PodTurn::Lives
}

/// Deletes a pod, or says why it is not deleted.
pub(crate) fn remove_pod(
    name: &str,
    pod: &PodSeen,
    grace: Grace,
    why: &str,
    gate: &mut Gate<'_>,
    plan: &mut Plan,
) {
    if let Err(no) = gate.delete_pod(name, pod, grace, why, plan) {
        let what = format!("deletion of pod {name} ({why})");
        plan.waiting.extend(no.waiting(name, what));
    }
}

struct Slot<'a, 's> {
    desired: &'a Desired,
    seen: &'a Observed,
    pod: &'a str,
    place: Place<'a>,
    roster: &'a Roster,
    /// Members whose data etcd found to differ from a majority's.
    corrupt: &'a [Id],
    gate: &'a mut Gate<'s>,
    view: &'a mut MembershipView,
}

impl Slot<'_, '_> {
    fn plan(&mut self, plan: &mut Plan) {
        match pod_turn(self.seen, self.pod, self.gate, plan) {
            PodTurn::Busy => self.mind_data(),
            PodTurn::Lives => self.living(plan),
            PodTurn::Absent => self.absent(plan),
        }
    }

    /// A pod that is going: its member is lost already when its data is.
    fn mind_data(&mut self) {
        match self.broken() {
            Some(why) => self.lose(&why),
            None => self.condemn(),
        }
    }

    fn living(&mut self, plan: &mut Plan) {
        let Some(pod) = self.seen.pods.get(self.pod) else {
            return;
        };
        if let Some(("ForeignData", message)) = pod.refused() {
            let (pod, message) = (self.pod.to_owned(), message.to_owned());
            plan.waiting.push(Waiting::ForeignData { pod, message });
            return;
        }
        // Its member is whole, and starts with the version of before.
        if let Some((OLD_LOG, message)) = pod.refused() {
            let (pod, message) = (self.pod.to_owned(), message.to_owned());
            plan.waiting.push(Waiting::OldLog { pod, message });
            return;
        }
        match &self.place {
            Place::Unknown(_) => {
                if let Some((code, message)) = pod.refused() {
                    let (code, message) = (code.to_owned(), message.to_owned());
                    plan.waiting.push(Waiting::Refused {
                        pod: self.pod.to_owned(),
                        code,
                        message,
                    });
                }
            }
            // Removed, by us or by hand: its data must not be used again (M10).
            Place::Absent => {
                let why = "it is no member of the cluster";
                remove_pod(self.pod, pod, Grace::Moment, why, self.gate, plan);
            }
            Place::Member(member) => {
                let expected = member.name.is_empty() && pod.join == Some(member.id);
                if let Some((code, message)) = pod.refused().filter(|_| !expected) {
                    self.lose(&format!("{code}: {message}"));
                } else if let Some(why) = self.broken() {
                    let member = (self.pod.to_owned(), (*member).clone(), why);
                    // A member that runs has its data until its pod goes.
                    if pod.takes_part() || pod.ready {
                        self.view.going.push(member);
                    } else {
                        self.view.lost.push(member);
                    }
                } else {
                    self.condemn();
                }
            }
        }
    }

    fn absent(&mut self, plan: &mut Plan) {
        let wanted = self.desired.wants(self.pod);
        match (self.data(), &self.place) {
            (Data::Whole(claims), Place::Member(_)) if claims.iter().any(|(_, c)| c.retired()) => {
                // An etcd that forgot to remove it when the quorum was given up (#20339, #20896).
                self.lose("its volume is never used again: its member was given up");
            }
            (Data::Whole(claims), Place::Member(member)) => {
                let made_for = claims.iter().find_map(|(_, claim)| claim.join());
                let fresh = member.name.is_empty();
                if fresh && made_for.is_some_and(|id| id != member.id) {
                    // Data of an earlier member of this name: the new one must not find it (M10).
                    self.delete_claims(&claims, plan);
                } else {
                    self.create(made_for.filter(|id| *id == member.id), plan);
                }
            }
            (Data::Whole(claims), Place::Unknown(_)) => {
                // Its data is there: it comes back as the member it was, without asking etcd.
                if claims.iter().all(|(_, claim)| !claim.retired()) {
                    self.create(claims.iter().find_map(|(_, claim)| claim.join()), plan);
                }
            }
            (Data::Whole(claims), Place::Absent) => {
                if wanted || !self.desired.keep_when_scaled {
                    self.delete_claims(&claims, plan);
                } else {
                    self.retire(&claims, plan);
                }
            }
            (Data::Absent, Place::Member(member)) => self.no_data(member, plan),
            (Data::Absent, Place::Absent) if wanted => match self.seen.no_node.clone() {
                Some(node) => plan.waiting.push(Waiting::NoNode(node)),
                None => self.view.missing.push(self.pod.to_owned()),
            },
            (Data::Absent, Place::Absent) => {}
            (Data::Absent, Place::Unknown(why)) => {
                plan.waiting.push(Waiting::MembersUnknown(why.clone()));
            }
            (
                Data::Broken {
                    left, going: None, ..
                },
                Place::Member(member),
            ) if is_begun(member, &left) => self.no_data(member, plan),
            (Data::Broken { why, left, going }, place) => {
                if let Some(claim) = going {
                    plan.waiting.push(Waiting::ClaimTerminating(claim));
                }
                match place {
                    Place::Member(_) => self.lose(&why),
                    Place::Absent => self.delete_claims(&left, plan),
                    Place::Unknown(why) => {
                        plan.waiting.push(Waiting::MembersUnknown(why.clone()));
                    }
                }
            }
        }
    }

    /// A member without pod and claims, or some of them: a learner that was just added, or one that lost its data.
    fn no_data(&mut self, member: &Member, plan: &mut Plan) {
        if !(member.is_learner && member.name.is_empty()) {
            self.lose("its claim is gone");
            return;
        }
        if !self.desired.wants(self.pod) {
            return;
        }
        let lacks = |template: &&VolumeClaimTemplate| {
            let name = names::claim(&template.name, self.pod);
            !self.seen.claims.contains_key(&name)
        };
        for template in self.desired.claims.iter().filter(lacks) {
            let claim = volumes::build(self.desired, template, self.pod, Some(member.id));
            plan.steps.push(Step::CreateClaim(Box::new(claim)));
        }
        self.create(Some(member.id), plan);
    }

    fn create(&self, join: Option<Id>, plan: &mut Plan) {
        if let Some(node) = self.seen.no_node.clone() {
            plan.waiting.push(Waiting::NoNode(node));
            return;
        }
        let indexes = self
            .seen
            .pods
            .values()
            .filter_map(|pod| Some(pod.status()?.raft_index));
        let purpose = Purpose {
            bootstrap: None,
            force: None,
            join,
            node: placement::node_of(self.desired, self.pod, join),
            catch_up: indexes.max().unwrap_or_default(),
        };
        let pod = pods::build(self.desired, self.pod, &purpose);
        plan.steps.push(Step::CreatePod(Box::new(pod)));
    }

    fn lose(&mut self, why: &str) {
        if let Place::Member(member) = &self.place {
            let member = (*member).clone();
            let lost = (self.pod.to_owned(), member, why.to_owned());
            self.view.lost.push(lost);
        }
    }

    /// Marks a member for rebuild, because a user requests it or its data is wrong. Until it is
    /// removed its disk is as good as any: a pod that is gone comes back with it, and the last voter keeps it.
    fn condemn(&mut self) {
        let claims = self.desired.claims.iter();
        let mut claims =
            claims.filter_map(|t| self.seen.claims.get(&names::claim(&t.name, self.pod)));
        let Place::Member(member) = &self.place else {
            return;
        };
        let why = if self.corrupt.contains(&member.id) {
            "its data differs from the others' (alarm CORRUPT)"
        } else if self.has_others() && claims.any(ClaimSeen::to_rebuild) {
            "a rebuild was requested"
        } else {
            return;
        };
        let to_rebuild = (self.pod.to_owned(), (*member).clone(), why.to_owned());
        self.view.to_rebuild.push(to_rebuild);
    }

    /// True when the slot's member is not the only voter.
    fn has_others(&self) -> bool {
        let own = self.roster.member(self.pod).map(|member| member.id);
        let mut list = self.roster.members.known().into_iter().flatten();
        list.any(|(_, other)| Some(other.id) != own && !other.is_learner)
    }

    fn delete_claims(&self, claims: &[(String, &ClaimSeen)], plan: &mut Plan) {
        let member = self.roster.member(self.pod);
        let holder = Holder {
            pod: self.pod,
            started: member.is_some_and(|member| !member.name.is_empty()),
        };
        for (name, claim) in claims {
            if claim.owned {
                if !self.gate.delete_claim(&holder, name, claim, plan) {
                    plan.waiting.push(Waiting::ClaimNeeded(name.clone()));
                }
            } else {
                let why = volumes::left_alone(self.desired, name, claim);
                // A claim that was left behind blocks no member when its pod is not wanted.
                if self.desired.wants(self.pod) || !matches!(why, Waiting::LeftBehind(_)) {
                    plan.waiting.push(why);
                }
            }
        }
    }

    fn retire(&self, claims: &[(String, &ClaimSeen)], plan: &mut Plan) {
        for (name, claim) in claims.iter().filter(|(_, claim)| !claim.retired()) {
            let (name, uid) = (name.clone(), claim.uid.clone());
            plan.steps.push(Step::RetireClaim { name, uid });
        }
    }
}

/// True for a learner that was just added, when the claims that are there were made for it: others are yet to come.
fn is_begun(member: &Member, claims: &[(String, &ClaimSeen)]) -> bool {
    let made_for_it = |claim: &ClaimSeen| {
        let good = claim.owned && claim.lost.is_none() && !claim.retired();
        good && claim.join() == Some(member.id)
    };
    let is_new = member.is_learner && member.name.is_empty();
    is_new && claims.iter().all(|(_, claim)| made_for_it(claim))
}

impl<'a> Slot<'a, '_> {
    /// Why the data of a pod that is there will not outlive it.
    fn broken(&self) -> Option<String> {
        match self.data() {
            Data::Whole(_) => None,
            Data::Absent => Some("its claim is gone".to_owned()),
            Data::Broken { why, .. } => Some(why),
        }
    }

    fn data(&self) -> Data<'a> {
        let (seen, mut why, mut going) = (self.seen, None, None);
        let mut left = Vec::new();
        for template in &self.desired.claims {
            let name = names::claim(&template.name, self.pod);
            let Some(claim) = seen.claims.get(&name) else {
                why = why.or_else(|| Some(format!("claim {name} is gone")));
                continue;
            };
            if claim.terminating {
                why = Some(format!("claim {name} is being deleted"));
                going = Some(name);
                continue;
            }
            if let Some(lost) = &claim.lost {
                why = Some(lost.clone());
            }
            left.push((name, claim));
        }
        match why {
            None => Data::Whole(left),
            Some(_) if left.is_empty() && going.is_none() => Data::Absent,
            Some(why) => Data::Broken { why, left, going },
        }
    }
}
