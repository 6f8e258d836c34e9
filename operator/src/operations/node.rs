//! PURE: whether a node takes a pod, by the rules of the scheduler that need no more than the two.

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
    TopologySelectorTerm,
};
use kube::ResourceExt;

/// The taint of a node that is cordoned.
const CORDON: &str = "node.kubernetes.io/unschedulable";
/// Field of a node that its name stands in, and the only one that affinity knows.
const NAME: &str = "metadata.name";

/// Why a node does not take the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("is being deleted: name another one")]
    Going,
    #[error("is not ready: name another one, or wait until it is")]
    NotReady,
    #[error("is cordoned: uncordon it (kubectl uncordon), or name another one")]
    Cordoned,
    #[error(
        "has the taint {0}, which schedulingPolicy.tolerations do not tolerate: name another one, or tolerate it"
    )]
    Tainted(String),
    #[error("is not the node that schedulingPolicy.nodeName names, {0}: name that one, or none")]
    NodeName(String),
    #[error("has no label {0}, which schedulingPolicy.nodeSelector asks for: name one that has it")]
    Selector(String),
    #[error("does not meet the required nodeAffinity of schedulingPolicy: name one that does")]
    Affinity,
}

/// Whether the node takes a pod of this spec.
pub(super) fn fits(node: &Node, pod: &PodSpec) -> Result<(), Unfit> {
    if node.metadata.deletion_timestamp.is_some() {
        return Err(Unfit::Going);
    }
    if !is_ready(node) {
        return Err(Unfit::NotReady);
    }
    let spec = node.spec.clone().unwrap_or_default();
    let tolerations = pod.tolerations.as_deref().unwrap_or_default();
    let tolerated = |taint: &Taint| tolerations.iter().any(|one| tolerates(one, taint));
    // The scheduler takes it for a taint.
    let cordon = Taint {
        key: CORDON.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if spec.unschedulable == Some(true) && !tolerated(&cordon) {
        return Err(Unfit::Cordoned);
    }
    let mut taints = spec.taints.iter().flatten();
    if let Some(taint) = taints.find(|taint| repels(taint) && !tolerated(taint)) {
        return Err(Unfit::Tainted(told(taint)));
    }
    let name = node.name_any();
    if let Some(other) = pod.node_name.as_ref().filter(|other| **other != name) {
        return Err(Unfit::NodeName(other.clone()));
    }
    let labels = node.labels();
    let mut selector = pod.node_selector.iter().flatten();
    if let Some((key, value)) = selector.find(|(key, value)| labels.get(*key) != Some(value)) {
        return Err(Unfit::Selector(format!("{key}={value}")));
    }
    let affinity = pod.affinity.as_ref();
    let affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| {
        affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    match required {
        Some(required) if !meets(node, &required.node_selector_terms) => Err(Unfit::Affinity),
        _ => Ok(()),
    }
}

fn is_ready(node: &Node) -> bool {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref());
    let mut conditions = conditions.unwrap_or_default().iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether the taint keeps pods away, and not only where another node is free.
fn repels(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (key, effect) = (some(&toleration.key), some(&toleration.effect));
    let exists = toleration.operator.as_deref() == Some("Exists");
    // An empty key with Exists means every taint.
    let same_key = match key {
        Some(key) => key == taint.key,
        None => exists,
    };
    let value = |value: &Option<String>| value.clone().unwrap_or_default();
    effect.is_none_or(|effect| effect == taint.effect)
        && same_key
        && (exists || value(&toleration.value) == value(&taint.value))
}

fn told(taint: &Taint) -> String {
    let value = taint.value.as_deref().filter(|value| !value.is_empty());
    let value = value.map_or(String::new(), |value| format!("={value}"));
    format!("{}{value}:{}", taint.key, taint.effect)
}

/// Whether one of the terms is met; a term that says nothing is met by none.
pub(super) fn meets(node: &Node, terms: &[NodeSelectorTerm]) -> bool {
    let name = node.name_any();
    let met = |term: &NodeSelectorTerm| {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let labelled = |one: &NodeSelectorRequirement| {
            let value = node.labels().get(&one.key);
            requirement(one, value.map(String::as_str))
        };
        let named =
            |one: &NodeSelectorRequirement| one.key == NAME && requirement(one, Some(&name));
        !(expressions.is_empty() && fields.is_empty())
            && expressions.iter().all(labelled)
            && fields.iter().all(named)
    };
    terms.iter().any(met)
}

fn requirement(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let one_of = |value: &str| values.iter().any(|known| known == value);
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = values.first().and_then(|bound| number(bound));
    let compares = |than: fn(i64, i64) -> bool| {
        let value = value.and_then(number);
        value
            .zip(bound)
            .is_some_and(|(value, bound)| than(value, bound))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(one_of),
        "NotIn" => !value.is_some_and(one_of),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compares(|value, bound| value > bound),
        "Lt" => compares(|value, bound| value < bound),
        _ => false,
    }
}

/// Whether volumes of these topologies can be on the node; no topology means any.
pub(super) fn in_topology(node: &Node, terms: &[TopologySelectorTerm]) -> bool {
    let met = |term: &TopologySelectorTerm| {
        let mut all = term.match_label_expressions.iter().flatten();
        all.all(|label| {
            let value = node.labels().get(&label.key);
            value.is_some_and(|value| label.values.contains(value))
        })
    };
    terms.is_empty() || terms.iter().any(met)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(change: &dyn Fn(&mut Value)) -> Node {
        let mut node = json!({
            "metadata": { "name": "n7", "labels": { "zone": "a", "disks": "4" } },
            "spec": {},
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        change(&mut node);
        serde_json::from_value(node).expect("a node")
    }

    fn pod(spec: &Value) -> PodSpec {
        let mut spec = spec.clone();
        spec["containers"] = json!([]);
        serde_json::from_value(spec).expect("a pod")
    }

    fn affinity(terms: &Value) -> PodSpec {
        let required = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } });
        pod(&json!({ "affinity": { "nodeAffinity": required } }))
    }

    #[test]
    fn a_node_that_takes_no_pods_is_refused_with_what_is_wrong() {
        let plain = pod(&json!({}));
        assert_eq!(fits(&node(&|_| {}), &plain), Ok(()));
        let refused = |change: &dyn Fn(&mut Value)| fits(&node(change), &plain).unwrap_err();
        let is = |status: &'static str| {
            move |node: &mut Value| node["status"]["conditions"][0]["status"] = json!(status)
        };
        assert_eq!(refused(&is("False")), Unfit::NotReady);
        assert_eq!(refused(&is("Unknown")), Unfit::NotReady);
        assert_eq!(
            refused(&|node| node["spec"]["unschedulable"] = json!(true)),
            Unfit::Cordoned
        );
        let going = |node: &mut Value| {
            node["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
        };
        assert_eq!(refused(&going), Unfit::Going);
    }

    #[test]
    fn a_taint_is_tolerated_by_key_value_and_effect() {
        let tainted = |effect: &str| {
            let taint = json!([{ "key": "k", "value": "v", "effect": effect }]);
            node(&|node| node["spec"]["taints"] = taint.clone())
        };
        let table = [
            (json!([]), "k=v:NoSchedule", false),
            (
                json!([{ "key": "k", "value": "v", "operator": "Equal" }]),
                "",
                true,
            ),
            (
                json!([{ "key": "k", "value": "w" }]),
                "k=v:NoSchedule",
                false,
            ),
            (
                json!([{ "key": "k", "operator": "Exists", "effect": "NoSchedule" }]),
                "",
                true,
            ),
            (
                json!([{ "key": "k", "operator": "Exists", "effect": "NoExecute" }]),
                "k=v:NoSchedule",
                false,
            ),
            (
                json!([{ "key": "other", "operator": "Exists" }]),
                "k=v:NoSchedule",
                false,
            ),
            (json!([{ "operator": "Exists" }]), "", true),
        ];
        for (tolerations, taint, fit) in table {
            let pod = pod(&json!({ "tolerations": tolerations }));
            let wanted = match fit {
                true => Ok(()),
                false => Err(Unfit::Tainted(taint.to_owned())),
            };
            assert_eq!(fits(&tainted("NoSchedule"), &pod), wanted, "{tolerations}");
        }
        let plain = pod(&json!({}));
        assert_eq!(fits(&tainted("PreferNoSchedule"), &plain), Ok(()));
        assert!(fits(&tainted("NoExecute"), &plain).is_err());
    }

    #[test]
    fn the_template_s_own_choice_of_nodes_counts() {
        let node = node(&|_| {});
        let other = fits(&node, &pod(&json!({ "nodeName": "n8" })));
        assert_eq!(other, Err(Unfit::NodeName("n8".to_owned())));
        assert_eq!(fits(&node, &pod(&json!({ "nodeName": "n7" }))), Ok(()));
        let zone = |zone: &str| fits(&node, &pod(&json!({ "nodeSelector": { "zone": zone } })));
        assert_eq!(zone("a"), Ok(()));
        assert_eq!(zone("b"), Err(Unfit::Selector("zone=b".to_owned())));

        let says = |key: &str, operator: &str, values: &[&str]| json!({ "key": key, "operator": operator, "values": values });
        let labels = |all: Value| json!([{ "matchExpressions": all }]);
        let table = [
            (labels(json!([says("zone", "In", &["a", "b"])])), true),
            (labels(json!([says("zone", "In", &["b"])])), false),
            (labels(json!([says("zone", "NotIn", &["a"])])), false),
            (labels(json!([says("none", "NotIn", &["a"])])), true),
            (labels(json!([says("none", "Exists", &[])])), false),
            (labels(json!([says("none", "DoesNotExist", &[])])), true),
            (labels(json!([says("disks", "Gt", &["3"])])), true),
            (labels(json!([says("disks", "Lt", &["4"])])), false),
            (
                labels(json!([
                    says("zone", "In", &["a"]),
                    says("disks", "In", &["1"])
                ])),
                false,
            ),
            (
                json!([{ "matchFields": [says(NAME, "In", &["n7"])] }]),
                true,
            ),
            (
                json!([{ "matchFields": [says(NAME, "In", &["n8"])] }]),
                false,
            ),
            (
                json!([{ "matchFields": [says(NAME, "In", &["n8"])] }, { "matchExpressions": [says("zone", "Exists", &[])] }]),
                true,
            ),
            (json!([{}]), false),
        ];
        for (terms, met) in table {
            let wanted = if met { Ok(()) } else { Err(Unfit::Affinity) };
            assert_eq!(fits(&node, &affinity(&terms)), wanted, "{terms}");
        }
    }

    #[test]
    fn a_class_s_topologies_are_alternatives() {
        let term =
            |zone: &str| json!({ "matchLabelExpressions": [{ "key": "zone", "values": [zone] }] });
        let is_in = |terms: &Value| {
            let terms: Vec<TopologySelectorTerm> =
                serde_json::from_value(terms.clone()).expect("terms");
            in_topology(&node(&|_| {}), &terms)
        };
        assert!(is_in(&json!([])));
        assert!(is_in(&json!([term("b"), term("a")])));
        assert!(!is_in(&json!([term("b")])));
    }
}
