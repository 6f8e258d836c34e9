//! PURE: the nodes that a volume can be mounted on, and whether its data can still be reached there (D14).

use k8s_openapi::api::core::v1::{Node, PersistentVolume};

use super::unreachable::HOSTNAME;

/// Taint by which an administrator declares that nothing runs on a node any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What the nodes of one host name are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A node is there; it may not report just now.
    Serves,
    /// An administrator has declared it out of service: no pod is started there.
    OutOfService,
    /// There is none.
    Gone,
}

/// True for a node that an administrator has declared out of service, and that is not ready. Of one that is ready it is
/// not true, or not any more: Kubernetes itself forces no pod away from there (P5).
pub(super) fn is_out_of_service(node: &Node) -> bool {
    is_tainted(node) && !is_ready(node)
}

/// True for a node that is ready and was declared out of service before: its administrator has to take the taint off.
pub(super) fn is_left_tainted(node: &Node) -> bool {
    is_tainted(node) && is_ready(node)
}

fn is_tainted(node: &Node) -> bool {
    let spec = node.spec.iter();
    let mut taints = spec.flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

/// True for a node whose kubelet reports that it is ready.
pub(super) fn is_ready(node: &Node) -> bool {
    let status = node.status.iter();
    let mut conditions = status.flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What nodes are good for that have one host name.
pub(super) fn state<'a>(nodes: impl Iterator<Item = &'a Node>) -> Host {
    nodes.fold(Host::Gone, |state, node| {
        match (state, is_out_of_service(node)) {
            (Host::Gone | Host::OutOfService, true) => Host::OutOfService,
            _ => Host::Serves,
        }
    })
}

/// Host names that a volume is bound to; `None` when it can be mounted elsewhere too. Terms are alternatives: one that
/// names no host may be met anywhere.
pub(super) fn hosts(volume: &PersistentVolume) -> Option<Vec<String>> {
    let affinity = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.node_affinity.as_ref());
    let terms = affinity.and_then(|affinity| affinity.required.as_ref())?;
    let mut hosts = Vec::new();
    for term in &terms.node_selector_terms {
        let mut expressions = term.match_expressions.iter().flatten();
        let named = expressions.find(|term| term.key == HOSTNAME && term.operator == "In")?;
        hosts.extend(named.values.clone().unwrap_or_default());
    }
    Some(hosts).filter(|hosts| !hosts.is_empty())
}

/// Why the volume of a claim is not mounted again, if none of the hosts that it is bound to serves.
pub(super) fn lost(claim: &str, hosts: &[(String, Host)]) -> Option<String> {
    let mut told = Vec::new();
    for (host, state) in hosts {
        let what = match state {
            Host::Serves => return None,
            Host::OutOfService => "was declared out of service",
            Host::Gone => "is gone",
        };
        told.push(format!("{host}, which {what}"));
    }
    let told = told.join(", or ");
    (!told.is_empty()).then(|| format!("the volume of claim {claim} is on node {told}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volume(terms: &serde_json::Value) -> PersistentVolume {
        let affinity = json!({ "required": { "nodeSelectorTerms": terms } });
        let volume = json!({ "metadata": {}, "spec": { "nodeAffinity": affinity } });
        serde_json::from_value(volume).expect("a volume")
    }

    #[test]
    fn a_volume_is_bound_to_hosts_only_when_no_term_is_met_elsewhere() {
        let host = |name: &str| json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [name] });
        let zone =
            json!({ "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["z"] });
        let of = |terms: serde_json::Value| hosts(&volume(&terms));
        let local = of(json!([{ "matchExpressions": [host("a")] }]));
        assert_eq!(local, Some(vec!["a".to_owned()]));
        let both = of(
            json!([{ "matchExpressions": [host("a")] }, { "matchExpressions": [zone, host("b")] }]),
        );
        assert_eq!(both, Some(vec!["a".to_owned(), "b".to_owned()]));
        let either =
            of(json!([{ "matchExpressions": [host("a")] }, { "matchExpressions": [zone] }]));
        assert_eq!(either, None);
        assert_eq!(hosts(&PersistentVolume::default()), None);
    }

    #[test]
    fn a_node_serves_unless_it_was_declared_out_of_service_and_is_not_ready() {
        let node = |ready: &str, taints: &[&str]| -> Node {
            let taint = |key: &&str| json!({ "key": key, "effect": "NoExecute" });
            let taints: Vec<_> = taints.iter().map(taint).collect();
            let conditions = json!([{ "type": "MemoryPressure", "status": "True" },
                { "type": "Ready", "status": ready }]);
            let node = json!({ "metadata": {}, "spec": { "taints": taints },
                "status": { "conditions": conditions } });
            serde_json::from_value(node).expect("a node")
        };
        let silent = node("Unknown", &["node.kubernetes.io/unreachable"]);
        let off = node(
            "Unknown",
            &["node.kubernetes.io/unreachable", OUT_OF_SERVICE],
        );
        let stopped = node("False", &[OUT_OF_SERVICE]);
        // The node is back, and the taint was forgotten.
        let back = node("True", &[OUT_OF_SERVICE]);
        for (nodes, expected) in [
            (vec![], Host::Gone),
            (vec![&off], Host::OutOfService),
            (vec![&stopped], Host::OutOfService),
            (vec![&back], Host::Serves),
            (vec![&off, &back], Host::Serves),
            (vec![&silent], Host::Serves),
            (vec![&off, &silent], Host::Serves),
            (vec![&silent, &off], Host::Serves),
        ] {
            assert_eq!(state(nodes.into_iter()), expected);
        }
    }

    #[test]
    fn a_volume_is_lost_when_none_of_its_hosts_serves() {
        use Host::{Gone, OutOfService, Serves};
        let of = |states: &[Host]| {
            let hosts = states.iter().zip(["n1", "n2"]);
            let hosts: Vec<_> = hosts.map(|(host, name)| (name.to_owned(), *host)).collect();
            lost("c", &hosts)
        };
        let told = |text: &str| Some(format!("the volume of claim c is on node {text}"));
        assert_eq!(of(&[Gone]), told("n1, which is gone"));
        let off = "n1, which was declared out of service";
        assert_eq!(of(&[OutOfService]), told(off));
        let both = "n1, which was declared out of service, or n2, which is gone";
        assert_eq!(of(&[OutOfService, Gone]), told(both));
        for serves in [&[Serves][..], &[OutOfService, Serves], &[Gone, Serves], &[]] {
            assert_eq!(of(serves), None);
        }
    }
}
