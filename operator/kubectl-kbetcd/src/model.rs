//! PURE: one look -> what there is to say about it, as data. Text and JSON are both made from this.

use etcd_operator_api::instance_set::WaitingOn;
use etcd_operator_api::{InstanceSet, OpsRequest, labels};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kbagent_protocol::{EtcdState, MemberStatus, MemberView};
use kube::ResourceExt;
use serde::Serialize;

use crate::look::Seen;

/// A Cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) cluster: String,
    /// `None` until the operator has written one.
    pub(crate) phase: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) components: Vec<ComponentReport>,
    /// Requests that have not ended.
    pub(crate) requests: Vec<RequestReport>,
}

/// A component, by its InstanceSet.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ComponentReport {
    pub(crate) name: String,
    pub(crate) ready: i32,
    pub(crate) replicas: i32,
    pub(crate) voters: usize,
    pub(crate) quorum: usize,
    pub(crate) cluster_id: Option<String>,
    pub(crate) service_leads_to: Vec<String>,
    pub(crate) members: Vec<MemberReport>,
    pub(crate) members_without_pod: Vec<WithoutPod>,
    pub(crate) waiting_on: Vec<WaitingOn>,
    pub(crate) paused: bool,
}

/// A pod and the member in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemberReport {
    pub(crate) pod: String,
    pub(crate) ready: bool,
    /// Its label `kubeblocks.io/role`, by which services find it.
    pub(crate) label: Option<String>,
    /// What etcd says of itself; `None` while it does not answer, and `silence` says why.
    pub(crate) etcd: Option<EtcdReport>,
    pub(crate) silence: Option<String>,
    pub(crate) node: Option<String>,
    pub(crate) claims: Vec<ClaimReport>,
}

/// What a running etcd says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EtcdReport {
    pub(crate) role: String,
    pub(crate) member_id: String,
    pub(crate) term: u64,
    pub(crate) applied_index: u64,
    /// Entries that the member with the newest log has and that this one has not applied.
    pub(crate) index_lag: u64,
    pub(crate) db_size_bytes: u64,
    pub(crate) db_size_in_use_bytes: u64,
    pub(crate) db_quota_bytes: Option<u64>,
    pub(crate) version: String,
    pub(crate) alarms: Vec<String>,
    /// The long action that its agent carries out now.
    pub(crate) under_way: Option<String>,
}

/// A claim of a pod; no phase where it is gone.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimReport {
    pub(crate) name: String,
    pub(crate) phase: Option<String>,
    pub(crate) size: Option<String>,
}

/// A member that the operator knows and that has no pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WithoutPod {
    pub(crate) pod: String,
    pub(crate) member_id: String,
}

/// An OpsRequest under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestReport {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// `None` until the operator has taken it up.
    pub(crate) phase: Option<String>,
    pub(crate) progress: Option<String>,
    pub(crate) message: Option<String>,
}

/// What there is to say.
pub(crate) fn report(seen: &Seen) -> Report {
    let status = seen.cluster.status.clone().unwrap_or_default();
    Report {
        cluster: seen.cluster.name_any(),
        phase: status.phase.map(|phase| format!("{phase:?}")),
        message: status.message.filter(|message| !message.is_empty()),
        components: seen.sets.iter().map(|set| component(seen, set)).collect(),
        requests: seen.requests.iter().filter_map(request).collect(),
    }
}

fn component(seen: &Seen, set: &InstanceSet) -> ComponentReport {
    let name = set.name_any();
    let status = set.status.clone().unwrap_or_default();
    let voters = status.members.iter().filter(|member| !member.is_learner);
    let voters = voters.count();
    let pods: Vec<&Pod> = pods_of(seen, &name).collect();
    let newest = pods
        .iter()
        .filter_map(|pod| Some(running(seen, pod)?.raft_index))
        .max()
        .unwrap_or_default();
    let has_pod = |name: &str| seen.pods.iter().any(|pod| pod.name_any() == name);
    let gone = status.members.iter().filter(|m| !has_pod(&m.pod_name));
    ComponentReport {
        ready: status.ready_replicas,
        replicas: set.spec.replicas,
        voters,
        quorum: voters / 2 + 1,
        cluster_id: status.cluster_id,
        service_leads_to: leads_to(seen, &name),
        members: pods.iter().map(|pod| member(seen, pod, newest)).collect(),
        members_without_pod: gone
            .map(|member| WithoutPod {
                pod: member.pod_name.clone(),
                member_id: member.member_id.clone(),
            })
            .collect(),
        waiting_on: status.waiting_on,
        paused: set.spec.paused,
        name,
    }
}

/// Pods of an InstanceSet.
pub(crate) fn pods_of<'a>(seen: &'a Seen, set: &str) -> impl Iterator<Item = &'a Pod> {
    seen.pods.iter().filter(move |pod| {
        pod.labels()
            .get(labels::WORKLOAD_INSTANCE)
            .map(String::as_str)
            == Some(set)
    })
}

fn leads_to(seen: &Seen, service: &str) -> Vec<String> {
    let named = |slice: &&_| {
        let label = ResourceExt::labels(*slice).get(labels::SERVICE_NAME);
        label.map(String::as_str) == Some(service)
    };
    let slices = seen.slices.iter().filter(named);
    let endpoints = slices.flat_map(|slice| &slice.endpoints);
    endpoints
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone())
        .collect()
}

fn said<'a>(seen: &'a Seen, pod: &Pod) -> Option<&'a MemberView> {
    seen.views.get(&pod.name_any())?.as_ref().ok()
}

/// What the member says, if etcd answers now.
pub(crate) fn running<'a>(seen: &'a Seen, pod: &Pod) -> Option<&'a MemberStatus> {
    let view = said(seen, pod)?;
    view.status
        .as_ref()
        .filter(|_| view.etcd == EtcdState::Running)
}

/// With what an API server tells that it does not reach a pod, and how that is told here.
const PROXY_FAILED: &str = "error trying to reach service";
pub(crate) const NOT_REACHED: &str = "the API server does not reach its agent";

fn silence(seen: &Seen, pod: &Pod) -> Option<String> {
    match seen.views.get(&pod.name_any())? {
        Err(error) => Some(match error.split_once(PROXY_FAILED) {
            Some((_, why)) => format!("{NOT_REACHED}{why}"),
            None => format!("its agent does not answer: {error}"),
        }),
        Ok(view) => match &view.etcd {
            EtcdState::Running => None,
            EtcdState::Starting { reason } => Some(format!("etcd is starting: {reason}")),
            EtcdState::Unreachable { reason, .. } => {
                Some(format!("etcd does not answer: {reason}"))
            }
            EtcdState::Refused { code, message } => {
                Some(format!("etcd must not start: {code}: {message}"))
            }
        },
    }
}

fn member(seen: &Seen, pod: &Pod, newest: u64) -> MemberReport {
    let conditions = pod.status.iter();
    let mut conditions = conditions.flat_map(|status| status.conditions.iter().flatten());
    let under_way = said(seen, pod).and_then(|view| view.under_way.clone());
    MemberReport {
        pod: pod.name_any(),
        ready: conditions.any(|c| c.type_ == "Ready" && c.status == "True"),
        label: pod.labels().get(labels::ROLE).cloned(),
        etcd: running(seen, pod).map(|status| etcd(status, newest, under_way)),
        silence: silence(seen, pod),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        claims: claims(seen, pod),
    }
}

fn etcd(status: &MemberStatus, newest: u64, under_way: Option<String>) -> EtcdReport {
    EtcdReport {
        role: status.role().as_str().to_owned(),
        member_id: status.member_id.to_string(),
        term: status.term,
        applied_index: status.applied_index,
        index_lag: newest.saturating_sub(status.applied_index),
        db_size_bytes: status.db_size_bytes,
        db_size_in_use_bytes: status.db_size_in_use_bytes,
        db_quota_bytes: status.db_quota_bytes,
        version: status.version.clone(),
        alarms: status.alarms.clone(),
        under_way,
    }
}

/// The pod's claims, with their state and size.
fn claims(seen: &Seen, pod: &Pod) -> Vec<ClaimReport> {
    let volumes = pod.spec.iter();
    let volumes = volumes.flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(|volume| Some(&volume.persistent_volume_claim.as_ref()?.claim_name))
        .map(|name| {
            let claim = seen.claims.iter().find(|claim| claim.name_any() == *name);
            claim.map_or_else(
                || ClaimReport {
                    name: name.clone(),
                    phase: None,
                    size: None,
                },
                claim_state,
            )
        })
        .collect()
}

fn claim_state(claim: &PersistentVolumeClaim) -> ClaimReport {
    let status = claim.status.clone().unwrap_or_default();
    let size = status
        .capacity
        .and_then(|capacity| capacity.get("storage").cloned());
    ClaimReport {
        name: claim.name_any(),
        phase: Some(status.phase.unwrap_or_else(|| "Unknown".to_owned())),
        size: size.map(|size| size.0),
    }
}

/// A request, unless it has ended.
fn request(request: &OpsRequest) -> Option<RequestReport> {
    let status = request.status.clone().unwrap_or_default();
    if status.phase.is_some_and(|phase| phase.is_ended()) {
        return None;
    }
    let last = status
        .conditions
        .iter()
        .max_by_key(|c| c.last_transition_time.0);
    Some(RequestReport {
        name: request.name_any(),
        kind: format!("{:?}", request.spec.kind),
        phase: status.phase.map(|phase| format!("{phase:?}")),
        message: last.map(|c| c.message.clone()),
        progress: status.progress,
    })
}
