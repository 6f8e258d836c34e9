//! Care of a database that is too large or wrong: alarms answered, free pages given back, also because an owner asked
//! for it (D7, D8, D15). Changes no membership: a member whose data differs is marked for rebuild by `next_pod` and
//! replaced by `membership`.

use std::collections::BTreeMap;

use etcd_operator_api::defragmentation::Defragmentation;
use kbagent_protocol::{Alarm, AlarmKind, Care as Cared, Id, Member, MemberStatus};

use super::alarms::{alarms, corrupt, quota_of};
use super::membership::Basis;
use super::safety::{Gate, Unsafe};
use super::{Plan, Step, Via, Waiting, defragmentation, rollout};

/// Smallest database, in bytes, and share of free pages in it, in hundredths, that are worth a defragmentation while
/// nothing is wrong.
const WORTH_BYTES: u64 = 100 * 1000 * 1000;
const WORTH_PERCENT: u64 = 45;
/// Share of the quota, in hundredths, below which an alarm is disarmed.
const ROOM_PERCENT: u64 = 90;
/// Share of the quota, in hundredths, that may be in use for a defragmentation to bring the database below that.
const USED_PERCENT: u64 = 80;

/// Plans what is due; `quiet` is true when no change of membership is due.
pub(crate) fn plan(basis: &Basis<'_>, quiet: bool, gate: &mut Gate<'_>, plan: &mut Plan) {
    let alarms = alarms(basis.seen);
    let defragments = basis.seen.pods.iter().find(|(_, pod)| pod.defragments());
    if let Some((pod, _)) = defragments {
        plan.waiting.push(Waiting::Defragmenting(pod.clone()));
    }
    let Some(list) = basis.roster.members.known() else {
        return;
    };
    let safety = basis.safety;
    let mut members: Vec<(&String, &MemberStatus)> = safety
        .healthy
        .keys()
        .filter_map(|pod| Some((pod, basis.seen.pods.get(pod)?.status()?)))
        .collect();
    // The leader comes last, and by then leadership has moved.
    members.sort_by_key(|(pod, _)| {
        let leads = safety.leader.as_ref() == Some(*pod);
        (leads, basis.desired.name.ordinal(pod))
    });
    let updates = |reason: &Waiting| matches!(reason, Waiting::Update { .. });
    let idle = plan.is_idle() && defragments.is_none();
    let mut care = Care {
        basis: *basis,
        list,
        members,
        asked: defragmentation::record(basis.desired, basis.seen),
        under_way: defragments.is_some(),
        quiet: quiet && idle && !plan.waiting.iter().any(updates),
        gate,
    };
    // While data differs etcd does not even compact.
    match alarms.first().map(|worst| worst.kind) {
        Some(AlarmKind::Corrupt) => care.corrupt(&alarms, plan),
        Some(AlarmKind::NoSpace) => care.no_space(&alarms, plan),
        None if care.is_asked_for(plan) => {}
        None if care.quiet => care.fragmented(plan),
        None => {}
    }
}

struct Care<'a, 's> {
    basis: Basis<'a>,
    list: &'a [(Option<String>, Member)],
    /// Voters that take part.
    members: Vec<(&'a String, &'a MemberStatus)>,
    /// What the owner has asked for.
    asked: Option<Defragmentation>,
    /// A member is being defragmented.
    under_way: bool,
    quiet: bool,
    gate: &'a mut Gate<'s>,
}

impl Care<'_, '_> {
    /// A member whose data differs is replaced; when all such have left, their alarms go, and etcd serves again.
    fn corrupt(&self, alarms: &[Alarm], plan: &mut Plan) {
        let wrong = alarms
            .iter()
            .filter(|alarm| alarm.kind == AlarmKind::Corrupt);
        let is_member = |alarm: &&Alarm| {
            let mut list = self.list.iter();
            alarm.member == Id(0) || list.any(|(_, member)| member.id == alarm.member)
        };
        if let Some(alarm) = wrong.clone().find(is_member) {
            let replaced = corrupt(self.basis.seen, self.basis.roster).contains(&alarm.member);
            plan.waiting.push(if replaced {
                Waiting::Corrupt(alarm.member)
            } else {
                Waiting::NoMajority(alarm.member)
            });
        } else if let Some(alarm) = wrong.clone().next() {
            self.disarm(*alarm, plan);
        }
    }

    /// Frees space in every database, then disarms: one compaction frees pages in all of them, a defragmentation gives
    /// them back. Each is done once for a revision: what does not help is not repeated.
    fn no_space(&mut self, alarms: &[Alarm], plan: &mut Plan) {
        let desired = self.basis.desired;
        let tight = |(_, status): &&(&String, &MemberStatus)| {
            status.db_size_bytes >= percent(quota_of(status, desired), ROOM_PERCENT)
        };
        let full: Vec<_> = self.members.iter().filter(tight).copied().collect();
        let Some((first, _)) = full.first() else {
            let mut alarms = alarms.iter();
            let alarm = alarms.find(|alarm| alarm.kind == AlarmKind::NoSpace);
            // One that is unavailable may be full.
            let Some(alarm) = alarm.filter(|_| self.are_all_there()) else {
                let what = "disarming NOSPACE".to_owned();
                return plan.waiting.push(Waiting::NotAlone { what });
            };
            return self.disarm(*alarm, plan);
        };
        plan.waiting.push(Waiting::NoSpace((*first).clone()));
        let views = self.basis.seen.pods.iter();
        let cared: BTreeMap<&String, &Cared> = views
            .filter_map(|(pod, there)| Some((pod, &there.view.as_ref()?.care)))
            .collect();
        let compacted = cared.values().map(|care| care.compacted).max();
        let compacted = compacted.unwrap_or_default();
        let is_worth = |(pod, status): &&(&String, &MemberStatus)| {
            let quota = quota_of(status, desired);
            let since = cared.get(pod).map(|care| care.defragmented);
            status.db_size_in_use_bytes < percent(quota, USED_PERCENT)
                || since.is_some_and(|since| since < compacted)
        };
        if let Some((pod, _)) = full.iter().find(is_worth) {
            self.defragment(pod, plan);
        } else if full.iter().any(|(_, status)| status.revision > compacted)
            && let Some(via) = self.basis.safety.via(None)
        {
            plan.steps.push(Step::Compact { via });
        }
    }

    /// True while members are to be defragmented because their owner asked for it, whatever that frees. They are done
    /// before those that are worth it.
    fn is_asked_for(&mut self, plan: &mut Plan) -> bool {
        let asked = |pod: &str| defragmentation::asked(self.asked.as_ref(), pod).is_some();
        let ready = self.members.iter().map(|(pod, _)| pod.as_str());
        let all = self.asked.iter().flat_map(|asked| &asked.members);
        let all = all.map(|member| member.pod_name.as_str());
        let next = ready.chain(all).find(|pod| asked(pod)).map(str::to_owned);
        let Some(pod) = next else {
            return false;
        };
        if !self.under_way {
            self.defragment(&pod, plan);
        }
        true
    }

    fn fragmented(&mut self, plan: &mut Plan) {
        let worth = |(_, status): &&(&String, &MemberStatus)| {
            let size = status.db_size_bytes;
            let free = size.saturating_sub(status.db_size_in_use_bytes);
            size >= WORTH_BYTES && free >= percent(size, WORTH_PERCENT)
        };
        if let Some((pod, _)) = self.members.iter().find(worth).copied() {
            self.defragment(pod, plan);
        }
    }

    /// One at a time, while all are there, none learns and nothing else is in progress; a leader transfers leadership
    /// first (D8). Whether members keep up is the agent's to ask at that moment.
    fn defragment(&mut self, pod: &str, plan: &mut Plan) {
        let safety = self.basis.safety;
        let all = self.are_all_there();
        let what = format!("the defragmentation of {pod}");
        let there = self.basis.seen.pods.get(pod);
        let ip = safety.healthy.get(pod).and_then(|voter| voter.ip);
        let (Some(there), Some(ip), true) = (there, ip, all && self.quiet) else {
            return plan.waiting.push(Waiting::NotAlone { what });
        };
        let pod = pod.to_owned();
        let via = Via { pod, ip };
        let request = defragmentation::asked(self.asked.as_ref(), &via.pod);
        match self.gate.defragment(&via, there, request, plan) {
            Ok(()) => {}
            Err(Unsafe::Leads) => rollout::hand_over(&via.pod, &what, safety, plan),
            Err(no) => plan.waiting.extend(no.waiting(&via.pod, what)),
        }
    }

    /// True when all members are voters that take part.
    fn are_all_there(&self) -> bool {
        let voters = self.basis.safety.voters;
        self.list.len() == voters && self.members.len() == voters
    }

    fn disarm(&self, alarm: Alarm, plan: &mut Plan) {
        if let Some(via) = self.basis.safety.via(None) {
            plan.steps.push(Step::Disarm { via, alarm });
        }
    }
}

fn percent(of: u64, percent: u64) -> u64 {
    of / 100 * percent + of % 100 * percent / 100
}
