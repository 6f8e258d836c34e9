//! PURE: one look -> text.

use std::fmt::Write as _;

use etcd_operator_api::{Cluster, InstanceSet, OpsPhase, labels};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kbagent_protocol::{EtcdState, MemberStatus, MemberView};
use kube::ResourceExt;

use crate::look::Seen;

const HEAD: [&str; 12] = [
    "POD", "READY", "ROLE", "MEMBER", "TERM", "LAG", "DB", "QUOTA", "VERSION", "ALARMS", "NODE",
    "CLAIM",
];
/// Nothing to say.
const NONE: &str = "-";

/// Everything, as the owner reads it from top to bottom: how it is, who serves, each member, what is in progress.
pub(crate) fn view(seen: &Seen) -> String {
    let mut text = head(&seen.cluster);
    for set in &seen.sets {
        component(seen, set, &mut text);
    }
    requests(seen, &mut text);
    text
}

fn head(cluster: &Cluster) -> String {
    let status = cluster.status.clone().unwrap_or_default();
    let phase = status
        .phase
        .map_or("not known".to_owned(), |phase| format!("{phase:?}"));
    let mut text = format!("cluster {}: {phase}\n", cluster.name_any());
    if let Some(message) = status.message.filter(|message| !message.is_empty()) {
        let _infallible = writeln!(text, "  {message}");
    }
    text
}

fn component(seen: &Seen, set: &InstanceSet, text: &mut String) {
    let name = set.name_any();
    let status = set.status.clone().unwrap_or_default();
    let voters = status
        .members
        .iter()
        .filter(|member| !member.is_learner)
        .count();
    let wanted = set.spec.replicas;
    let id = status
        .cluster_id
        .as_deref()
        .unwrap_or("not bootstrapped yet");
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    say(format!(
        "\n{name}: {} of {wanted} ready, {voters} voters (quorum {}), etcd cluster {id}",
        status.ready_replicas,
        voters / 2 + 1
    ));
    say(format!("service {name} leads to {}", leads_to(seen, &name)));
    let pods: Vec<&Pod> = seen
        .pods
        .iter()
        .filter(|pod| pod.labels().get(labels::WORKLOAD_INSTANCE) == Some(&name))
        .collect();
    let newest = pods
        .iter()
        .filter_map(|pod| Some(running(seen, pod)?.raft_index))
        .max();
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(
        pods.iter()
            .map(|pod| row(seen, pod, newest.unwrap_or_default())),
    );
    say(table(&rows));
    for pod in pods {
        if let Some(why) = silence(seen, pod) {
            say(format!("  {}: {why}", pod.name_any()));
        }
    }
    for member in &status.members {
        if !seen
            .pods
            .iter()
            .any(|pod| pod.name_any() == member.pod_name)
        {
            say(format!(
                "  member {} ({}) has no pod",
                member.member_id, member.pod_name
            ));
        }
    }
    if status.waiting_on.is_empty() {
        say("waiting on: none".to_owned());
    }
    for waits in &status.waiting_on {
        say(format!("waiting on: {}: {}", waits.reason, waits.message));
    }
    if set.spec.paused {
        say("paused: no changes until spec.paused is unset".to_owned());
    }
}

fn leads_to(seen: &Seen, service: &str) -> String {
    let named = |slice: &&_| {
        ResourceExt::labels(*slice)
            .get("kubernetes.io/service-name")
            .map(String::as_str)
            == Some(service)
    };
    let endpoints = seen
        .slices
        .iter()
        .filter(named)
        .flat_map(|slice| &slice.endpoints);
    let names: Vec<String> = endpoints
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone())
        .collect();
    if names.is_empty() {
        return "<none>".to_owned();
    }
    names.join(", ")
}

fn said<'a>(seen: &'a Seen, pod: &Pod) -> Option<&'a MemberView> {
    seen.views.get(&pod.name_any())?.as_ref().ok()
}

/// What the member says, if etcd answers now.
fn running<'a>(seen: &'a Seen, pod: &Pod) -> Option<&'a MemberStatus> {
    let view = said(seen, pod)?;
    view.status
        .as_ref()
        .filter(|_| view.etcd == EtcdState::Running)
}

fn silence(seen: &Seen, pod: &Pod) -> Option<String> {
    match seen.views.get(&pod.name_any())? {
        Err(error) => Some(format!("its agent does not answer: {error}")),
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

fn row(seen: &Seen, pod: &Pod, newest: u64) -> [String; 12] {
    let none = || NONE.to_owned();
    let status = running(seen, pod);
    let of = |tell: &dyn Fn(&MemberStatus) -> String| status.map_or_else(none, tell);
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True");
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    [
        pod.name_any(),
        if ready { "yes" } else { "no" }.to_owned(),
        of(&|s| s.role().as_str().to_owned()),
        of(&|s| s.member_id.to_string()),
        of(&|s| s.term.to_string()),
        of(&|s| newest.saturating_sub(s.applied_index).to_string()),
        of(&|s| bytes(s.db_size_bytes)),
        of(&|s| s.db_quota_bytes.map_or_else(none, bytes)),
        of(&|s| s.version.clone()),
        of(&|s| match s.alarms.is_empty() {
            true => none(),
            false => s.alarms.join(","),
        }),
        node.unwrap_or_else(none),
        claims(seen, pod),
    ]
}

/// The pod's claims, with their state and size.
fn claims(seen: &Seen, pod: &Pod) -> String {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let told: Vec<String> = volumes
        .filter_map(|volume| Some(&volume.persistent_volume_claim.as_ref()?.claim_name))
        .map(|name| {
            let claim = seen.claims.iter().find(|claim| claim.name_any() == *name);
            claim.map_or_else(|| format!("{name} (gone)"), claim_state)
        })
        .collect();
    if told.is_empty() {
        NONE.to_owned()
    } else {
        told.join(",")
    }
}

fn claim_state(claim: &PersistentVolumeClaim) -> String {
    let status = claim.status.clone().unwrap_or_default();
    let phase = status.phase.unwrap_or_else(|| "Unknown".to_owned());
    let size = status
        .capacity
        .and_then(|capacity| capacity.get("storage").cloned());
    let size = size.map(|size| format!(" {}", size.0)).unwrap_or_default();
    format!("{} {phase}{size}", claim.name_any())
}

fn requests(seen: &Seen, text: &mut String) {
    for request in &seen.requests {
        let status = request.status.clone().unwrap_or_default();
        if status.phase.is_some_and(OpsPhase::is_ended) {
            continue;
        }
        let phase = status
            .phase
            .map_or("new".to_owned(), |phase| format!("{phase:?}"));
        let last = status
            .conditions
            .iter()
            .max_by_key(|c| c.last_transition_time.0);
        let _infallible = writeln!(
            text,
            "\nrequest {} ({:?}): {phase} {}: {}",
            request.name_any(),
            request.spec.kind,
            status.progress.unwrap_or_default(),
            last.map(|c| c.message.clone()).unwrap_or_default()
        );
    }
}

/// Bytes in the largest unit that leaves a whole part.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    let mut scaled = count;
    while scaled >= 1024 && unit + 1 < UNITS.len() {
        scaled /= 1024;
        unit += 1;
    }
    format!("{scaled} {}", UNITS[unit])
}

/// Columns as wide as their widest cell, two spaces apart.
fn table(rows: &[[String; 12]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].len())
            .max()
            .unwrap_or_default()
    };
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().enumerate();
            let padded = cells.map(|(at, cell)| format!("{cell:<width$}", width = width(at)));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use kbagent_protocol::Id;
    use serde_json::json;

    use super::*;

    fn seen() -> Seen {
        let pod = |n: u32| -> Pod {
            serde_json::from_value(json!({
                "metadata": { "name": format!("db-etcd-{n}"), "labels": { labels::WORKLOAD_INSTANCE: "db-etcd" } },
                "spec": { "nodeName": format!("n{n}"), "containers": [],
                    "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": format!("data-db-etcd-{n}") } }] },
                "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
            }))
            .expect("a pod")
        };
        let status = |n: u64, applied| MemberStatus {
            member_id: Id(0x10 + n),
            cluster_id: Id(7),
            leader_id: Some(Id(0x10)),
            leader: Some("db-etcd-0".into()),
            term: 3,
            revision: 0,
            raft_index: 120,
            applied_index: applied,
            is_learner: false,
            version: "3.6.16".into(),
            db_size_bytes: 25_000,
            db_size_in_use_bytes: 9_000,
            db_quota_bytes: Some(2 << 30),
            alarms: if n == 1 {
                vec!["NOSPACE".into()]
            } else {
                Vec::new()
            },
        };
        let view = |n: u64, applied| MemberView {
            instance: format!("db-etcd-{n}"),
            pod_uid: "u".into(),
            agent_incarnation: 1,
            sequence: 1,
            etcd: EtcdState::Running,
            status: Some(status(n, applied)),
            status_age_ms: Some(1),
            under_way: None,
            care: Default::default(),
            campaign: None,
        };
        let claim = json!({ "metadata": { "name": "data-db-etcd-0" },
            "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } } });
        let slice = json!({ "metadata": { "name": "s", "labels": { "kubernetes.io/service-name": "db-etcd" } },
            "addressType": "IPv4", "endpoints": [{ "addresses": ["1"], "targetRef": { "name": "db-etcd-0" } }] });
        let set = json!({ "metadata": { "name": "db-etcd" }, "spec": { "replicas": 3, "selector": {}, "template": {} },
            "status": { "readyReplicas": 3, "clusterID": "7",
                "members": [{ "podName": "db-etcd-0", "memberID": "10" }, { "podName": "db-etcd-1", "memberID": "11" },
                    { "podName": "db-etcd-2", "memberID": "12" }],
                "waitingOn": [{ "reason": "CatchingUp", "message": "db-etcd-1 has applied 100 of 120" }] } });
        let cluster = json!({ "metadata": { "name": "db" }, "spec": { "terminationPolicy": "Delete", "componentSpecs": [] },
            "status": { "phase": "Updating" } });
        Seen {
            cluster: serde_json::from_value(cluster).expect("a cluster"),
            sets: vec![serde_json::from_value(set).expect("a set")],
            pods: vec![pod(0), pod(1)],
            claims: vec![serde_json::from_value(claim).expect("a claim")],
            slices: vec![serde_json::from_value(slice).expect("a slice")],
            requests: Vec::new(),
            views: [
                ("db-etcd-0".to_owned(), Ok(view(0, 120))),
                ("db-etcd-1".to_owned(), Ok(view(1, 100))),
            ]
            .into(),
        }
    }

    #[test]
    fn a_look_tells_members_service_and_what_is_waited_for() {
        let text = view(&seen());
        let expected = "\
cluster db: Updating

db-etcd: 3 of 3 ready, 3 voters (quorum 2), etcd cluster 7
service db-etcd leads to db-etcd-0
POD        READY  ROLE      MEMBER  TERM  LAG  DB      QUOTA  VERSION  ALARMS   NODE  CLAIM
db-etcd-0  yes    leader    10      3     0    24 KiB  2 GiB  3.6.16   -        n0    data-db-etcd-0 Bound 1Gi
db-etcd-1  yes    follower  11      3     20   24 KiB  2 GiB  3.6.16   NOSPACE  n1    data-db-etcd-1 (gone)
  member 12 (db-etcd-2) has no pod
waiting on: CatchingUp: db-etcd-1 has applied 100 of 120
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_silent_member_says_why() {
        let mut seen = seen();
        seen.views
            .insert("db-etcd-1".into(), Err("no route to host".into()));
        let text = view(&seen);
        assert!(text.contains("db-etcd-1  yes    -"), "{text}");
        assert!(
            text.contains("db-etcd-1: its agent does not answer: no route to host"),
            "{text}"
        );
    }

    #[test]
    fn bytes_are_short() {
        assert_eq!(
            [bytes(999), bytes(2048), bytes(2 << 30), bytes(1 << 42)],
            ["999 B", "2 KiB", "2 GiB", "4096 GiB"]
        );
    }
}
