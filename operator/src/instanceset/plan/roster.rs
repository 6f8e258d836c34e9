//! Which member lives in which pod. A member is its identifier: peer URLs are how it is reached, and may be changed by
//! hand or by another cluster domain. A pod whose identifier is in the list is never absent from it (M4).

use std::collections::BTreeMap;

use etcd_operator_api::labels;
use kbagent_protocol::{Id, Member, MemberList};

use super::Waiting;
use super::latch::Latch;
use crate::instanceset::desired::Desired;
use crate::instanceset::observed::{Observed, PodSeen, Reading};

/// Seconds after which a learner that has never started is dropped and added again (M9). Longer than the startup
/// probe's budget: a large snapshot may be on its way.
const LEARNER_DEADLINE: i64 = 900;
/// How peer URLs of the members end.
const PEER_PORT: &str = ":2380";

/// The member list, with pods.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Roster {
    /// Members with their pods' names; `None` for one without a pod here.
    pub members: Reading<Vec<(Option<String>, Member)>>,
    /// Slots whose identifier is in the list as another slot's.
    pub disputed: BTreeMap<String, Id>,
    /// What is wrong with the list, for status.
    pub faults: Vec<Waiting>,
    /// Pods whose member is listed at another address than the pod's.
    pub misplaced: BTreeMap<String, Waiting>,
}

impl Roster {
    /// The pod's member.
    pub(crate) fn member(&self, pod: &str) -> Option<&Member> {
        let mut list = self.members.known().into_iter().flatten();
        list.find(|(name, _)| name.as_deref() == Some(pod))
            .map(|(_, member)| member)
    }

    /// True when members are listed under another cluster domain than the operator's.
    pub(crate) fn domain_differs(&self) -> bool {
        let differs = |fault: &Waiting| matches!(fault, Waiting::DomainChanged { .. });
        self.faults.iter().any(differs)
    }
}

/// Reads the list. One of another cluster is no list (B5), nor is one that a member which takes part contradicts.
pub(crate) fn read(desired: &Desired, seen: &Observed, latch: &Latch) -> Roster {
    let unknown = |why: String, faults: Vec<Waiting>| Roster {
        members: Reading::Unknown(why),
        disputed: BTreeMap::new(),
        faults,
        misplaced: BTreeMap::new(),
    };
    let list = match &seen.members {
        Reading::Unknown(why) => return unknown(why.clone(), Vec::new()),
        Reading::Known(list) => list,
    };
    if latch
        .cluster
        .is_some_and(|cluster| cluster != list.cluster_id)
    {
        let why = format!("the answer is of cluster {}", list.cluster_id);
        return unknown(why, Vec::new());
    }
    if let Some((pod, member)) = unlisted(seen, list) {
        let fault = Waiting::NotListed { pod, member };
        return unknown(fault.to_string(), vec![fault]);
    }
    let pods = assign(desired, seen, list);
    let named: Vec<_> = list
        .members
        .iter()
        .map(|member| (pods.get(&member.id).cloned(), member.clone()))
        .collect();
    let claims_of = evidence(desired, seen);
    let disputed = claims_of
        .iter()
        .filter(|(id, pod)| pods.get(id).is_some_and(|holder| holder != pod))
        .filter(|(_, pod)| !pods.values().any(|holder| holder == pod))
        .map(|(id, pod)| (pod.clone(), *id))
        .collect();
    let misplaced = misplaced(desired, &named);
    let faults = faults(&misplaced);
    Roster {
        members: Reading::Known(named),
        disputed,
        faults,
        misplaced,
    }
}

/// A pod that takes part as a member that the list does not hold. One that was removed stops within moments; until
/// then, and when the list is another's (a fork by `--force-new-cluster`), nothing is decided on it.
fn unlisted(seen: &Observed, list: &MemberList) -> Option<(String, Id)> {
    let part = seen.pods.iter().filter(|(_, pod)| pod.takes_part());
    let mut part = part.filter_map(|(name, pod)| Some((name, pod.status()?.member_id)));
    part.find(|(_, id)| !list.members.iter().any(|member| member.id == *id))
        .map(|(name, id)| (name.clone(), id))
}

/// Identifiers by what knows them, the surest first: the pod's own etcd, the claim made for the learner, the record.
fn evidence(desired: &Desired, seen: &Observed) -> Vec<(Id, String)> {
    let own = seen.pods.iter().filter_map(|(name, pod)| {
        let view = pod.view.as_ref()?;
        Some((view.status.as_ref()?.member_id, name.clone()))
    });
    let made_for = seen.claims.values().filter_map(|claim| {
        let pod = claim.labels.get(labels::POD_NAME)?;
        Some((claim.join()?, pod.clone()))
    });
    let recorded = desired.recorded.members.iter().filter_map(|known| {
        let id = known.member_id.parse().ok()?;
        Some((id, known.pod_name.clone()))
    });
    let all = own.chain(made_for).chain(recorded);
    all.filter(|(_, pod)| desired.name.ordinal(pod).is_some())
        .collect()
}

/// Each member's pod: by identifier, then by the name it was started under, then by its address.
fn assign(desired: &Desired, seen: &Observed, list: &MemberList) -> BTreeMap<Id, String> {
    let listed = |id: Id| list.members.iter().any(|member| member.id == id);
    let by_id = evidence(desired, seen)
        .into_iter()
        .filter(|(id, _)| listed(*id));
    // A name is evidence for what is there only: another owner's member may have any.
    let claimed = |pod: &str| {
        let mut claims = seen.claims.values();
        claims.any(|claim| claim.labels.get(labels::POD_NAME).map(String::as_str) == Some(pod))
    };
    let there = |pod: &str| seen.pods.contains_key(pod) || claimed(pod);
    let named = list.members.iter();
    let named = named.map(|member| (member.id, member.name.clone()));
    let named = named.filter(|(_, name)| there(name));
    let placed = list.members.iter().filter_map(|member| {
        let pod = member.peer_urls.iter().find_map(|url| home(desired, url))?;
        Some((member.id, pod.0.to_owned()))
    });
    let mut pods: BTreeMap<Id, String> = BTreeMap::new();
    for (id, pod) in by_id.chain(named).chain(placed) {
        let free = !pods.contains_key(&id) && !pods.values().any(|taken| *taken == pod);
        if free && desired.name.ordinal(&pod).is_some() {
            pods.insert(id, pod);
        }
    }
    pods
}

/// The pod that a peer URL names, and the domain of the Kubernetes cluster that it names it in.
fn home<'a>(desired: &Desired, url: &'a str) -> Option<(&'a str, &'a str)> {
    let (pod, rest) = host(url)?.split_once('.')?;
    let service = format!("{}.{}.svc.", desired.name.headless(), desired.namespace);
    let domain = rest.strip_prefix(service.as_str())?;
    desired.name.ordinal(pod).map(|_| (pod, domain))
}

fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1;
    Some(
        authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    )
}

/// The host by which an agent may be asked to remove the member: that of the list, which the agent compares again.
/// `None` when it is no host at the peer port, which an agent would refuse.
pub(crate) fn host_of(desired: &Desired, pod: &str, member: &Member) -> Option<String> {
    let own = format!("{pod}.{}", desired.domain());
    let urls = member.peer_urls.iter();
    let at_port = urls.filter(|url| url.ends_with(PEER_PORT));
    let mut hosts: Vec<&str> = at_port.filter_map(|url| host(url)).collect();
    hosts.sort_by_key(|host| *host != own);
    hosts.first().map(|host| (*host).to_owned())
}

fn misplaced(desired: &Desired, named: &[(Option<String>, Member)]) -> BTreeMap<String, Waiting> {
    let own = desired.domain();
    let of_ours = named
        .iter()
        .filter_map(|(pod, member)| Some((pod.as_ref()?, member)));
    of_ours
        .filter_map(|(pod, member)| {
            let wanted = format!("{pod}.{own}");
            let at_home = |url: &String| host(url) == Some(wanted.as_str());
            if member.peer_urls.iter().any(at_home) {
                return None;
            }
            let mut homes = member.peer_urls.iter().filter_map(|url| home(desired, url));
            let fault = match homes.find(|(name, _)| name == pod) {
                Some((_, listed)) => Waiting::DomainChanged {
                    listed: listed.to_owned(),
                    configured: desired.cluster_domain.clone(),
                },
                None => Waiting::PeerUrlChanged {
                    pod: pod.clone(),
                    member: member.id,
                    listed: member.peer_urls.join(","),
                    wanted: format!("{}://{wanted}{PEER_PORT}", scheme(member)),
                },
            };
            Some((pod.clone(), fault))
        })
        .collect()
}

/// The scheme that the member is reached by now: with TLS another one would not reach it.
fn scheme(member: &Member) -> &'static str {
    let mut urls = member.peer_urls.iter();
    if urls.any(|url| url.starts_with("https://")) {
        "https"
    } else {
        "http"
    }
}

/// Each fault once.
fn faults(misplaced: &BTreeMap<String, Waiting>) -> Vec<Waiting> {
    let mut all: Vec<Waiting> = Vec::new();
    for fault in misplaced.values() {
        if !all.contains(fault) {
            all.push(fault.clone());
        }
    }
    all
}

/// True for a learner that its pod has not started in time.
#[must_use]
pub(crate) fn is_late(pod: &PodSeen, member: &Member) -> bool {
    let status = pod.status();
    let started = status.is_some_and(|status| status.member_id == member.id);
    let joins = member.is_learner && member.name.is_empty();
    joins && !started && pod.age_seconds > LEARNER_DEADLINE
}
