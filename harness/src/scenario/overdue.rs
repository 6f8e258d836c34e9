//! A member whose node is not ready for longer than its owner allows: what the operator has put on record of its
//! replacement, what etcd and Kubernetes show of it, and that the node's return changes nothing.
//!
//! The record are the events of the InstanceSet, held against the time since which the Node object says that it is not
//! ready: that is read while the node is off.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use etcd_operator_api::names;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ListParams};

use crate::cluster::Cluster;
use crate::faults::Target;
use crate::scenario::RunError;
use crate::scenario::difference::{not_scaled, other_members};
use crate::scenario::edits::DATA;
use crate::scenario::state::State;
use crate::scenario::subject::Subject;

/// The members and their volumes at one moment.
pub(super) struct Before {
    state: State,
    /// Name of the volume of each pod's claim.
    volumes: BTreeMap<String, String>,
}

impl Before {
    /// Asks for it.
    pub(super) async fn of(subject: &Subject) -> Result<Self, RunError> {
        Ok(Self {
            state: State::of(subject).await?,
            volumes: volumes(subject).await?,
        })
    }

    /// The only member that was hit, of those that were there.
    fn hit(&self, targets: &[Target]) -> Result<Old, String> {
        let hit = |name: &String, node: &str| targets.iter().any(|target| target.hits(name, node));
        let pods = self.state.pods.iter();
        let mut pods = pods.filter(|(name, pod)| hit(name, pod.node.as_str()));
        let (Some((name, pod)), None) = (pods.next(), pods.next()) else {
            return Err("one member, and no other, on the node that is off".to_owned());
        };
        let volume = self.volumes.get(name).cloned();
        Ok(Old {
            volume: volume.ok_or_else(|| format!("the volume of pod {name}"))?,
            pod: name.clone(),
            uid: pod.uid.clone(),
            member: pod.member.clone(),
            node: pod.node.clone(),
        })
    }
}

/// A member that is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Old {
    pod: String,
    uid: String,
    member: String,
    node: String,
    volume: String,
}

/// A member that was replaced.
pub(super) struct Overdue {
    old: Old,
    /// How the members were afterwards.
    after: State,
    /// From when its node was not ready until the operator has removed it.
    waited: Duration,
}

impl Overdue {
    /// Sees that the member that was hit was replaced, not before these minutes, while its node is off.
    pub(super) async fn see(
        subject: &Subject,
        before: Before,
        hit: &[Target],
        minutes: u16,
    ) -> Result<Self, RunError> {
        let old = before.hit(hit).map_err(RunError::Unready)?;
        let since = silent_since(&subject.kube, &old.node).await?;
        let after = State::of(subject).await?;
        let steps = recorded(subject).await?;
        let volumes = volumes(subject).await?;
        let wrong = not_replaced(&before.state, &after, &old)
            .or_else(|| used_again(&volumes, &old))
            .or_else(|| wrong_record(&steps, &old, &after, (since, minutes)));
        if let Some(wrong) = wrong {
            let pod = &old.pod;
            let what = format!("the replacement of {pod} after {minutes} minutes: {wrong}");
            return Err(RunError::Wait(what));
        }
        let removed = steps.iter().find(|step| step.reason == REMOVE);
        let waited = removed.map(|step| step.at.duration_since(since).unsigned_abs());
        Ok(Self {
            old,
            after,
            waited: waited.unwrap_or_default(),
        })
    }

    /// Sees that the old member's node, which is back, has changed nothing.
    pub(super) async fn stays(
        &self,
        cluster: &Cluster,
        subject: &Subject,
    ) -> Result<String, RunError> {
        let old = &self.old;
        let now = State::of(subject).await?;
        let volumes = volumes(subject).await?;
        let wrong = match changed(&self.after, &now).or_else(|| used_again(&volumes, old)) {
            None => runs(cluster, old).await?,
            wrong => wrong,
        };
        match wrong {
            None => Ok(format!(
                "node {} is back, and nothing of the old pod {} runs",
                old.node, old.pod
            )),
            Some(wrong) => {
                let node = &old.node;
                let what = format!("that the return of node {node} changes nothing: {wrong}");
                Err(RunError::Wait(what))
            }
        }
    }

    /// Seconds from when the node was not ready until the member was removed.
    pub(super) fn seconds(&self) -> f64 {
        self.waited.as_secs_f64()
    }

    /// What was seen, in a sentence.
    pub(super) fn told(&self) -> String {
        let Old { pod, node, .. } = &self.old;
        let seconds = self.seconds();
        format!("{pod} was replaced: node {node} had not been ready for {seconds:.0} s")
    }
}

/// Name of the volume of each pod's claim, where it is bound.
async fn volumes(subject: &Subject) -> Result<BTreeMap<String, String>, RunError> {
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(subject.kube.clone(), &subject.namespace);
    let listed = claims.list(&ListParams::default()).await;
    let listed = listed.map_err(|error| RunError::api("list the claims", &error))?;
    let pods = subject.pod_names().into_iter();
    let bound = pods.filter_map(|pod| {
        let name = names::claim(DATA, &pod);
        let mut claims = listed.items.iter();
        let claim = claims.find(|claim| claim.metadata.name.as_ref() == Some(&name))?;
        Some((pod, claim.spec.as_ref()?.volume_name.clone()?))
    });
    Ok(bound.collect())
}

/// Since when a node has not been ready, as its object says.
async fn silent_since(kube: &Client, node: &str) -> Result<Timestamp, RunError> {
    let nodes: Api<Node> = Api::all(kube.clone());
    let found = nodes.get(node).await;
    let found = found.map_err(|error| RunError::api("read the node", &error))?;
    not_ready(&found).ok_or_else(|| RunError::Unready(format!("that node {node} is not ready")))
}

fn not_ready(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|known| known.type_ == "Ready")?;
    let since = ready.last_transition_time.as_ref()?;
    (ready.status != "True").then_some(since.0)
}

/// A step that the operator has put on record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Recorded {
    reason: String,
    note: String,
    at: Timestamp,
    /// Steps of this kind, of which the first one is told.
    times: i32,
}

/// The operator's events about the InstanceSet.
async fn recorded(subject: &Subject) -> Result<Vec<Recorded>, RunError> {
    let events: Api<Event> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let listed = events.list(&ListParams::default()).await;
    let listed = listed.map_err(|error| RunError::api("list the events", &error))?;
    let set = Subject::leader_service();
    Ok(listed
        .items
        .iter()
        .filter_map(|event| record(event, &set))
        .collect())
}

fn record(event: &Event, set: &str) -> Option<Recorded> {
    let regarding = event.regarding.as_ref()?;
    let is = (regarding.kind.as_deref(), regarding.name.as_deref());
    if is != (Some("InstanceSet"), Some(set)) {
        return None;
    }
    Some(Recorded {
        reason: event.reason.clone()?,
        note: event.note.clone().unwrap_or_default(),
        at: event.event_time.as_ref()?.0,
        times: event.series.as_ref().map_or(1, |series| series.count),
    })
}

const DELETE: &str = "DeletePod";
const REMOVE: &str = "RemoveMember";

/// What is wrong with the operator's record: each step is there once, names this pod and its members, and was not
/// taken before the node had not been ready for the owner's minutes; the old member goes before the new one comes, as a
/// learner.
fn wrong_record(
    steps: &[Recorded],
    old: &Old,
    after: &State,
    (since, minutes): (Timestamp, u16),
) -> Option<String> {
    let (pod, was) = (&old.pod, id(&old.member));
    let new = after.pods.get(pod);
    let is = new.map(|pod| id(&pod.member)).unwrap_or_default();
    let allowed = Duration::from_secs(60 * u64::from(minutes));
    let mut last = Timestamp::MIN;
    for (reason, begins) in [
        (DELETE, format!("force-delete pod {pod}: ")),
        (REMOVE, format!("remove {pod} (member {was}): ")),
        ("AddLearner", format!("add {pod} as a learner")),
        ("Promote", format!("promote learner {pod} (member {is}) ")),
    ] {
        let found: Vec<_> = steps.iter().filter(|step| step.reason == reason).collect();
        let [step] = found.as_slice() else {
            let found = found.len();
            return Some(format!("the operator has {found} events {reason}, not one"));
        };
        let wrong = step.wrong(&begins, since, allowed);
        if wrong.is_some() {
            return wrong;
        }
        if step.at < last {
            return Some(format!("{:?} came before what it needs", step.note));
        }
        // A pod is deleted before its member is removed, or after it.
        if reason != DELETE {
            last = step.at;
        }
    }
    let why = format!("the owner allows {minutes}");
    let removal = steps.iter().find(|step| step.reason == REMOVE)?;
    (!removal.note.ends_with(&why)).then(|| format!("{:?} does not say {why:?}", removal.note))
}

impl Recorded {
    /// What is wrong with a step that is to be taken once, that its event begins so, and not before this time.
    fn wrong(&self, begins: &str, since: Timestamp, allowed: Duration) -> Option<String> {
        let Self { note, times, .. } = self;
        if *times != 1 || !note.starts_with(begins) {
            return Some(format!(
                "an event tells {times} times of {note:?}, not once of {begins:?}"
            ));
        }
        let waited = self.at.duration_since(since);
        let early = waited.is_negative() || waited.unsigned_abs() < allowed;
        early.then(|| {
            let waited = waited.as_secs_f64();
            format!("{note:?} came when the node had not been ready for {waited:.1} s")
        })
    }
}

/// An identifier of a member as the operator's events have it: in hexadecimal.
fn id(decimal: &str) -> String {
    let number = decimal.parse::<u64>();
    number.map_or_else(|_| decimal.to_owned(), |number| format!("{number:x}"))
}

/// What is wrong with the members, of which one was to be replaced on another node. As many are listed as there are
/// pods, and theirs: the old one is not.
fn not_replaced(before: &State, after: &State, old: &Old) -> Option<String> {
    let members = u32::try_from(before.pods.len()).unwrap_or(u32::MAX);
    let pod = &old.pod;
    let wrong = not_scaled(members, after).or_else(|| other_members(before, after, Some(pod)));
    if wrong.is_some() {
        return wrong;
    }
    let Some(new) = after.pods.get(pod) else {
        return Some(format!("pod {pod} is not there"));
    };
    if new.uid == old.uid || new.member == old.member {
        return Some(format!("pod {pod} is the one that was there before"));
    }
    (new.node == old.node).then(|| format!("pod {pod} is on node {} again", new.node))
}

/// The claim that has the old member's volume.
fn used_again(volumes: &BTreeMap<String, String>, old: &Old) -> Option<String> {
    let mut volumes = volumes.iter();
    let (pod, volume) = volumes.find(|(_, volume)| **volume == old.volume)?;
    Some(format!("pod {pod} has the old member's volume {volume}"))
}

/// What is another member, pod or place than it was.
fn changed(before: &State, now: &State) -> Option<String> {
    let pods = |state: &State| -> BTreeSet<[String; 4]> {
        let pods = state.pods.iter();
        pods.map(|(name, pod)| [name, &pod.uid, &pod.member, &pod.node].map(String::clone))
            .collect()
    };
    let members = |state: &State| -> BTreeSet<(String, bool)> {
        let members = state.members.iter();
        members
            .map(|member| (member.id.clone(), member.learner))
            .collect()
    };
    let same = pods(before) == pods(now) && members(before) == members(now);
    (!same).then(|| {
        let (was, is) = (pods(before), pods(now));
        let (listed, lists) = (members(before), members(now));
        format!("the pods were {was:?} and are {is:?}, the members {listed:?} and {lists:?}")
    })
}

/// What of the old pod runs on its node, which is back.
async fn runs(cluster: &Cluster, old: &Old) -> Result<Option<String>, RunError> {
    let shell = cluster.shell(&old.node)?;
    let told = shell
        .check("look for a pod's processes", &script(&old.uid))
        .await;
    let told = told.map_err(|error| RunError::Unready(error.to_string()))?;
    let told = told.trim();
    let (pod, uid) = (&old.pod, &old.uid);
    Ok((!told.is_empty()).then(|| format!("processes of the old pod {pod} ({uid}): {told}")))
}

/// Names of the processes in a pod's control groups, which have its UID in their names with dashes or underscores.
fn script(uid: &str) -> String {
    let uid = uid.replace('-', "[-_]");
    format!(
        "for p in $(grep -ls 'pod{uid}' /proc/[0-9]*/cgroup | cut -d/ -f3); do\n\
         cat /proc/$p/comm 2>/dev/null\ndone\ntrue\n"
    )
}

#[cfg(test)]
mod tests;
