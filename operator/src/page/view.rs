//! PURE: facts of caches -> what the page shows. The shape of `/page.json`.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::{EtcdState, MemberStatus, MemberView};
use serde::Serialize;

use super::text::cut;

/// Version of the shape. A field that is added leaves it, one that is removed or changes its meaning raises it.
const FORMAT: u32 = 1;
/// Clusters of one page.
pub(super) const PAGE: usize = 25;
/// Members and components that are shown of one; a cluster has seven members at most, and one more while it changes.
pub(super) const SHOWN: usize = 16;

/// What is known of a Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterFacts {
    pub(super) phase: Option<String>,
    pub(super) message: Option<String>,
}

/// What is known of an InstanceSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SetFacts {
    pub(super) cluster: String,
    pub(super) wanted: i32,
    pub(super) ready: i32,
    pub(super) paused: bool,
    pub(super) stopped: bool,
    /// Reason and message.
    pub(super) waiting: Vec<(String, String)>,
    pub(super) message: Option<String>,
}

/// What is known of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PodFacts {
    pub(super) set: String,
    pub(super) label: Option<String>,
    /// The agent's newest view, and whether it has become silent.
    pub(super) view: Option<(MemberView, bool)>,
}

/// A failover; times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FailoverView {
    pub(super) at: Timestamp,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) term: u64,
    pub(super) seen_first: &'static str,
    /// Since `at`: the old label is gone.
    pub(super) unlabelled_ms: Option<u64>,
    /// Since `at`: the new leader is labelled.
    pub(super) labelled_ms: u64,
    /// Since `at`: the service lists the new leader.
    pub(super) endpoints_ms: Option<u64>,
}

/// Namespace and name.
pub(super) type Key = (String, String);

/// All that the caches hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) clusters: BTreeMap<Key, ClusterFacts>,
    pub(super) sets: BTreeMap<Key, SetFacts>,
    pub(super) pods: BTreeMap<Key, PodFacts>,
    pub(super) failovers: BTreeMap<Key, Vec<FailoverView>>,
    /// Kinds of which there is no list yet.
    pub(super) unread: Vec<&'static str>,
}

/// How a cluster is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum State {
    /// Something is wrong.
    NeedsAttention,
    /// It is being changed.
    Changing,
    /// It is as it was asked for.
    Ok,
}

/// The whole page.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    pub(super) format: u32,
    pub(super) replica: String,
    pub(super) at: Timestamp,
    /// Kinds of which this replica has no list yet: what depends on them is missing.
    pub(super) unread: Vec<&'static str>,
    pub(super) total: usize,
    pub(super) needs_attention: usize,
    pub(super) changing: usize,
    pub(super) page: usize,
    pub(super) pages: usize,
    pub(super) clusters: Vec<ClusterView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterView {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) state: State,
    pub(super) phase: Option<String>,
    pub(super) message: Option<String>,
    pub(super) components: Vec<ComponentView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ComponentView {
    pub(super) name: String,
    pub(super) wanted: i32,
    pub(super) ready: i32,
    pub(super) paused: bool,
    /// Pods with the label that the leader's service selects.
    pub(super) service_leads_to: Vec<String>,
    pub(super) waiting_on: Vec<WaitingView>,
    pub(super) message: Option<String>,
    pub(super) members: Vec<MemberRow>,
    /// Members that are not shown.
    pub(super) more_members: usize,
    pub(super) failovers: Vec<FailoverView>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WaitingView {
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberRow {
    pub(super) pod: String,
    /// As the member says; the label's when it says none.
    pub(super) role: Option<String>,
    pub(super) term: Option<u64>,
    /// Entries that the leader has applied and the member has not, by reports up to a second old.
    pub(super) lag: Option<u64>,
    pub(super) db_bytes: Option<u64>,
    pub(super) quota_bytes: Option<u64>,
    pub(super) version: Option<String>,
    pub(super) alarms: Vec<String>,
    /// Why the member does not answer.
    pub(super) trouble: Option<String>,
}

/// Everything that is known, in order: what needs attention first. [`page`] cuts a page out of it.
pub(super) fn clusters(facts: &Facts) -> Vec<ClusterView> {
    let mut components: BTreeMap<Key, Vec<ComponentView>> = BTreeMap::new();
    let mut pods: BTreeMap<Key, Vec<(&str, &PodFacts)>> = BTreeMap::new();
    for ((namespace, name), pod) in &facts.pods {
        let set = (namespace.clone(), pod.set.clone());
        pods.entry(set).or_default().push((name, pod));
    }
    let mut named: BTreeMap<Key, Option<&ClusterFacts>> = facts
        .clusters
        .iter()
        .map(|(key, cluster)| (key.clone(), Some(cluster)))
        .collect();
    for (key, set) in &facts.sets {
        let cluster = (key.0.clone(), set.cluster.clone());
        named.entry(cluster.clone()).or_insert(None);
        let members = pods.get(key).map_or(&[][..], Vec::as_slice);
        let failovers = facts.failovers.get(key).cloned().unwrap_or_default();
        let component = component(&key.1, set, members, failovers);
        components.entry(cluster).or_default().push(component);
    }
    let mut all: Vec<ClusterView> = named
        .into_iter()
        .map(|(key, cluster)| {
            let components = components.remove(&key).unwrap_or_default();
            one(key, cluster, components)
        })
        .collect();
    // Stable: within a state they keep the order of their names.
    all.sort_by_key(|cluster| cluster.state);
    all
}

/// One page of all clusters; the last one for a number that is too high.
pub(super) fn page(
    all: &[ClusterView],
    number: usize,
    replica: &str,
    at: Timestamp,
    unread: &[&'static str],
) -> View {
    let pages = all.len().div_ceil(PAGE).max(1);
    let page = number.clamp(1, pages);
    let of = |state| all.iter().filter(|cluster| cluster.state == state).count();
    View {
        format: FORMAT,
        replica: replica.to_owned(),
        at,
        unread: unread.to_vec(),
        total: all.len(),
        needs_attention: of(State::NeedsAttention),
        changing: of(State::Changing),
        page,
        pages,
        clusters: all
            .iter()
            .skip((page - 1) * PAGE)
            .take(PAGE)
            .cloned()
            .collect(),
    }
}

fn one(
    key: Key,
    cluster: Option<&ClusterFacts>,
    mut components: Vec<ComponentView>,
) -> ClusterView {
    components.truncate(SHOWN);
    let phase = cluster.and_then(|cluster| cluster.phase.clone());
    let message = match cluster {
        None => Some("there is no such Cluster; its members are still there".to_owned()),
        Some(cluster) => cluster.message.as_deref().map(cut),
    };
    ClusterView {
        state: state(cluster.is_some(), phase.as_deref(), &components),
        namespace: key.0,
        name: key.1,
        phase,
        message,
        components,
    }
}

fn state(there: bool, phase: Option<&str>, components: &[ComponentView]) -> State {
    let any = |test: fn(&ComponentView) -> bool| components.iter().any(test);
    let in_change = matches!(phase, None | Some("Creating" | "Stopping" | "Deleting"));
    let settled = matches!(phase, Some("Running" | "Stopped"));
    let failed = matches!(phase, Some("Failed" | "Abnormal"));
    let ambiguous = any(|one| one.service_leads_to.len() > 1);
    let leaderless = any(|one| one.service_leads_to.is_empty() && !one.members.is_empty());
    let alarmed = any(|one| one.members.iter().any(|row| !row.alarms.is_empty()));
    // While members are changed some of them do not answer.
    let silent = any(|one| one.members.iter().any(|row| row.trouble.is_some()));
    let wrong = ambiguous || alarmed || (leaderless && !in_change) || (silent && settled);
    if !there || failed || wrong {
        State::NeedsAttention
    } else if !settled || any(|one| !one.waiting_on.is_empty()) {
        State::Changing
    } else {
        State::Ok
    }
}

fn component(
    name: &str,
    set: &SetFacts,
    pods: &[(&str, &PodFacts)],
    failovers: Vec<FailoverView>,
) -> ComponentView {
    let applied = pods
        .iter()
        .filter_map(|(_, pod)| running(pod))
        .filter(|status| status.leader_id == Some(status.member_id))
        .max_by_key(|status| status.term)
        .map(|leader| leader.applied_index);
    let labelled = |pod: &&(&str, &PodFacts)| pod.1.label.as_deref() == Some("leader");
    let waiting = set.waiting.iter().take(SHOWN);
    ComponentView {
        name: name.to_owned(),
        wanted: if set.stopped { 0 } else { set.wanted },
        ready: set.ready,
        paused: set.paused,
        service_leads_to: pods
            .iter()
            .filter(labelled)
            .take(SHOWN)
            .map(|(name, _)| (*name).to_owned())
            .collect(),
        waiting_on: waiting
            .map(|(reason, message)| WaitingView {
                reason: cut(reason),
                message: cut(message),
            })
            .collect(),
        message: set.message.as_deref().map(cut),
        members: pods
            .iter()
            .take(SHOWN)
            .map(|(name, pod)| member(name, pod, applied))
            .collect(),
        more_members: pods.len().saturating_sub(SHOWN),
        failovers,
    }
}

fn running(pod: &PodFacts) -> Option<&MemberStatus> {
    let (view, silent) = pod.view.as_ref()?;
    let answers = view.etcd == EtcdState::Running && !silent;
    view.status.as_ref().filter(|_| answers)
}

fn member(name: &str, pod: &PodFacts, applied: Option<u64>) -> MemberRow {
    let status = running(pod);
    MemberRow {
        pod: name.to_owned(),
        role: match status {
            Some(status) => Some(status.role().as_str().to_owned()),
            None => pod.label.as_deref().map(cut),
        },
        term: status.map(|status| status.term),
        lag: status.and_then(|status| Some(applied?.saturating_sub(status.applied_index))),
        db_bytes: status.map(|status| status.db_size_bytes),
        quota_bytes: status.and_then(|status| status.db_quota_bytes),
        version: status.map(|status| cut(&status.version)),
        alarms: status.map_or_else(Vec::new, |status| {
            status
                .alarms
                .iter()
                .take(SHOWN)
                .map(|alarm| cut(alarm))
                .collect()
        }),
        trouble: trouble(pod),
    }
}

fn trouble(pod: &PodFacts) -> Option<String> {
    let Some((view, silent)) = &pod.view else {
        return Some("its agent has not reported yet".to_owned());
    };
    if *silent {
        return Some("its agent does not answer".to_owned());
    }
    match &view.etcd {
        EtcdState::Running => None,
        EtcdState::Starting { reason } => Some(cut(&format!("etcd is starting: {reason}"))),
        EtcdState::Unreachable { reason, .. } => {
            Some(cut(&format!("etcd does not answer: {reason}")))
        }
        EtcdState::Refused { code, message } => {
            Some(cut(&format!("etcd must not start: {code}: {message}")))
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
