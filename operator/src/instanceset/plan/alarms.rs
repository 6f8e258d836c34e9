//! What etcd's alarms say: which stand, whose data is wrong, and the figures behind them.

use etcd_operator_api::settings::QUOTA;
use kbagent_protocol::{Alarm, AlarmKind, Id, Member, MemberStatus, flags};

use super::roster::Roster;
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::Observed;

/// etcd's own quota in bytes, when none is set.
const DEFAULT_QUOTA: u64 = 2 * 1024 * 1024 * 1024;

/// The alarms that stand, the gravest first, as the member says that has applied most.
pub(crate) fn alarms(seen: &Observed) -> Vec<Alarm> {
    let statuses = seen.pods.values().filter(|pod| pod.takes_part());
    let statuses = statuses.filter_map(|pod| pod.status());
    let newest = statuses.max_by_key(|status| status.applied_index);
    let mut all: Vec<Alarm> = newest.map_or_else(Vec::new, |status| status.raised().collect());
    all.sort_by_key(|alarm| (std::cmp::Reverse(alarm.kind), alarm.member));
    all
}

/// Members whose data etcd found to differ from the others', if the others are a majority: else it cannot be decided
/// who is right, and none is named.
pub(crate) fn corrupt(seen: &Observed, roster: &Roster) -> Vec<Id> {
    let alarms = alarms(seen);
    let named = |id: Id| {
        let mut all = alarms.iter();
        all.any(|alarm| alarm.kind == AlarmKind::Corrupt && alarm.member == id)
    };
    let list = roster.members.known().into_iter().flatten();
    let list: Vec<&Member> = list.map(|(_, member)| member).collect();
    let voters = list.iter().filter(|member| !member.is_learner);
    let wrong_voters = voters.clone().filter(|member| named(member.id)).count();
    if named(Id(0)) || wrong_voters * 2 >= voters.count() {
        return Vec::new();
    }
    let wrong = list.iter().filter(|member| named(member.id));
    wrong.map(|member| member.id).collect()
}

/// What the alarms are about, with figures, for an owner.
pub(crate) fn told(desired: &Desired, seen: &Observed) -> Vec<String> {
    let own = |id: Id| {
        let mut pods = seen.pods.iter();
        pods.find_map(|(pod, there)| {
            let status = there.status().filter(|status| status.member_id == id)?;
            Some((pod, status))
        })
    };
    let tell = |alarm: &Alarm| {
        let (id, kind) = (alarm.member, alarm.kind.as_str());
        match (alarm.kind, own(id)) {
            (AlarmKind::NoSpace, Some((pod, status))) => {
                let size = mib(status.db_size_bytes);
                let quota = mib(quota_of(status, desired));
                let volume = volume(desired);
                format!(
                    "{kind}: etcd accepts no writes, the database of {pod} has {size} of its quota \
                     (quota-backend-bytes) of {quota}, on a volume of {volume}"
                )
            }
            (AlarmKind::NoSpace, None) => {
                format!("{kind}: etcd accepts no writes, member {id} is out of space")
            }
            (AlarmKind::Corrupt, own) => {
                let of = own.map_or_else(|| "no pod".to_owned(), |(pod, _)| pod.clone());
                format!(
                    "{kind}: etcd does not serve, the data of member {id} ({of}) differs from the others'"
                )
            }
        }
    };
    alarms(seen).iter().map(tell).collect()
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / (1024 * 1024))
}

/// The member's quota; releases before 3.6 do not tell it themselves.
pub(crate) fn quota_of(status: &MemberStatus, desired: &Desired) -> u64 {
    status.db_quota_bytes.unwrap_or_else(|| quota(desired))
}

/// The quota that the template's flags set.
fn quota(desired: &Desired) -> u64 {
    let spec = desired.template.spec.iter();
    let containers = spec.flat_map(|spec| &spec.containers);
    let words = containers.flat_map(|one| one.command.iter().chain(&one.args).flatten());
    let words: Vec<String> = words.cloned().collect();
    let set = flags::last(&flags::joined(&words), QUOTA).and_then(|quota| quota.parse().ok());
    let quota: Option<u64> = set.filter(|quota| *quota > 0);
    quota.unwrap_or(DEFAULT_QUOTA)
}

/// What a member's claims ask for.
fn volume(desired: &Desired) -> String {
    let sizes = desired.claims.iter().filter_map(|template| {
        let size = template.spec.resources.requests.get("storage")?;
        Some(size.0.clone())
    });
    let sizes: Vec<String> = sizes.collect();
    if sizes.is_empty() {
        return "unknown size".to_owned();
    }
    sizes.join(" and ")
}
