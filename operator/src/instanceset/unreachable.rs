//! Pure: whose node has not been ready for as long as the owner allows, so that its member is replaced.
//!
//! One at a time, only while there is a quorum without it, and only where its data is on that node's own disk: a member
//! that returns from there has been removed by its identifier, and its pod is not asked for any more. A volume that
//! could be mounted elsewhere is left to Kubernetes.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

/// Label of a node that volumes name it by; not always the node's name.
pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";

/// A pod that may be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its name.
    pub(super) pod: String,
    /// Its claims, each with the host names of the nodes that its volume can be mounted on; `None` for any node.
    pub(super) claims: Vec<(String, Option<Vec<String>>)>,
    /// True when its agent answers, or its pod is on a node that is ready.
    pub(super) alive: bool,
}

/// A pod that is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GivenUp {
    /// Its name.
    pub(super) pod: String,
    /// Its claims.
    pub(super) claims: Vec<String>,
    /// Why.
    pub(super) why: String,
}

/// The first of them that is to be given up; `late` are the nodes that have not been ready for so many seconds, by
/// host name.
pub(super) fn choose(
    candidates: &[Candidate],
    late: &BTreeMap<String, i64>,
    after: i64,
) -> Option<GivenUp> {
    let find = |candidate: &Candidate| {
        if candidate.alive || candidate.claims.is_empty() {
            return None;
        }
        let mut hosts: Vec<&String> = Vec::new();
        for (_, on) in &candidate.claims {
            hosts.extend(on.as_ref()?);
        }
        let silent = |host: &&String| late.get(*host).is_some_and(|seconds| *seconds >= after);
        if hosts.is_empty() || !hosts.iter().all(silent) {
            return None;
        }
        let seconds = hosts.iter().filter_map(|host| late.get(*host)).min()?;
        Some(GivenUp {
            pod: candidate.pod.clone(),
            claims: candidate
                .claims
                .iter()
                .map(|(claim, _)| claim.clone())
                .collect(),
            why: format!(
                "node {} has not been ready for {} minutes, and the owner allows {}",
                hosts[0],
                seconds / 60,
                after / 60
            ),
        })
    };
    candidates.iter().find_map(find)
}

/// The nodes that have not been ready for `after` seconds or more, by host name.
pub(super) fn late(nodes: &[Arc<Node>], after: i64, now: Timestamp) -> BTreeMap<String, i64> {
    let late = nodes.iter().filter_map(|node| not_ready(node, now));
    late.filter(|(_, seconds)| *seconds >= after).collect()
}

/// The host name of a node that is not ready, and for how many seconds.
fn not_ready(node: &Node, now: Timestamp) -> Option<(String, i64)> {
    let host = node.labels().get(HOSTNAME)?.clone();
    let mut conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.find(|condition| condition.type_ == "Ready")?;
    let since = ready.last_transition_time.as_ref()?;
    (ready.status != "True").then(|| (host, now.as_second() - since.0.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(pod: &str, on: &[Option<&[&str]>]) -> Candidate {
        let hosts = |on: &[&str]| on.iter().map(|host| (*host).to_owned()).collect();
        let claims = on.iter().enumerate();
        Candidate {
            pod: pod.to_owned(),
            claims: claims
                .map(|(n, on)| (format!("{n}-{pod}"), on.map(hosts)))
                .collect(),
            alive: false,
        }
    }

    #[test]
    fn a_pod_is_given_up_with_all_its_data_or_not_at_all() {
        let late = BTreeMap::from([("n1".to_owned(), 1_800), ("n2".to_owned(), 1_799)]);
        let of = |candidate: Candidate| choose(&[candidate], &late, 1_800);
        let one = of(candidate("a-0", &[Some(&["n1"])])).expect("given up");
        assert_eq!((one.pod.as_str(), one.claims.len()), ("a-0", 1));
        assert!(
            one.why.contains("node n1") && one.why.contains("30 minutes"),
            "{}",
            one.why
        );
        for kept in [
            candidate("too soon", &[Some(&["n2"])]),
            candidate("its node is ready", &[Some(&["n3"])]),
            candidate("another node has its volume, too", &[Some(&["n1", "n3"])]),
            candidate("one claim is elsewhere", &[Some(&["n1"]), Some(&["n3"])]),
            candidate("mounted anywhere", &[Some(&["n1"]), None]),
            candidate("no claim", &[]),
            candidate("a volume on no node", &[Some(&[])]),
            Candidate {
                alive: true,
                ..candidate("its agent answers", &[Some(&["n1"])])
            },
        ] {
            assert_eq!(of(kept.clone()), None, "{}", kept.pod);
        }
    }

    #[test]
    fn a_node_that_is_not_ready_says_since_when() {
        let of = |status: &str| {
            let node = serde_json::json!({
                "metadata": { "name": "n", "labels": { HOSTNAME: "h" } },
                "status": { "conditions": [
                    { "type": "MemoryPressure", "status": "Unknown" },
                    { "type": "Ready", "status": status, "lastTransitionTime": "1970-01-01T00:01:00Z" },
                ] },
            });
            let node = serde_json::from_value(node).expect("a node");
            not_ready(&node, Timestamp::from_second(90).expect("a time"))
        };
        assert_eq!(of("True"), None);
        for status in ["False", "Unknown"] {
            assert_eq!(of(status), Some(("h".to_owned(), 30)));
        }
        assert_eq!(not_ready(&Node::default(), Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn one_is_given_up_at_a_time() {
        let late = BTreeMap::from([("n1".to_owned(), 60), ("n2".to_owned(), 90)]);
        let both = [
            candidate("a-1", &[Some(&["n1"])]),
            candidate("a-2", &[Some(&["n2"])]),
        ];
        assert_eq!(
            choose(&both, &late, 60).map(|one| one.pod),
            Some("a-1".to_owned())
        );
        assert_eq!(
            choose(&both[1..], &late, 60).map(|one| one.pod),
            Some("a-2".to_owned())
        );
    }
}
