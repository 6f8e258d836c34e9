//! The taint by which an administrator declares that nothing runs on a node any more.

use k8s_openapi::api::core::v1::{Node as KubeNode, Taint};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Its key.
pub(crate) const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// Its value, as Kubernetes' documents have it.
const VALUE: &str = "nodeshutdown";
/// Its effect.
const EFFECT: &str = "NoExecute";

/// True for a node that has it.
pub(crate) fn is_on(node: &KubeNode) -> bool {
    let spec = node.spec.iter();
    let mut taints = spec.flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Puts it on a node, or takes it off.
///
/// # Errors
/// What the API server said last.
pub(crate) async fn set(kube: &kube::Client, name: &str, on: bool) -> Result<(), String> {
    let api: Api<KubeNode> = Api::all(kube.clone());
    let what = format!("taint {OUT_OF_SERVICE} of node {name}");
    let set = wait_until(what, timeouts::EFFECT, async || {
        let node = match api.get(name).await {
            Ok(node) => node,
            Err(error) => return Poll::NotYet::<(), String>(error.to_string()),
        };
        let Some(patch) = patch(&node, on) else {
            return Poll::Ready(());
        };
        let params = PatchParams::default();
        match api.patch(name, &params, &Patch::Merge(patch)).await {
            Ok(_) => Poll::Ready(()),
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    set.await.map_err(|error| error.to_string())
}

/// The edit, where there is something to edit. The list of taints is replaced as a whole, so it is refused when the
/// object has changed since.
fn patch(node: &KubeNode, on: bool) -> Option<Value> {
    if is_on(node) == on {
        return None;
    }
    let spec = node.spec.clone().unwrap_or_default();
    let mut taints = spec.taints.unwrap_or_default();
    taints.retain(|taint| taint.key != OUT_OF_SERVICE);
    if on {
        taints.push(Taint {
            key: OUT_OF_SERVICE.to_owned(),
            value: Some(VALUE.to_owned()),
            effect: EFFECT.to_owned(),
            time_added: None,
        });
    }
    let version = &node.metadata.resource_version;
    Some(json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(taints: &Value) -> KubeNode {
        let node = json!({ "metadata": { "name": "w1", "resourceVersion": "7" }, "spec": { "taints": taints } });
        serde_json::from_value(node).expect("a node")
    }

    #[test]
    fn other_taints_stay_and_an_object_that_has_changed_is_not_written() {
        let other = json!({ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" });
        let own = json!({ "key": OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute" });
        let (silent, both) = (node(&json!([other])), node(&json!([other, own])));
        assert!(is_on(&both) && !is_on(&silent) && !is_on(&KubeNode::default()));
        let on = patch(&silent, true).expect("an edit");
        assert_eq!(on["spec"]["taints"], json!([other, own]));
        let off = patch(&both, false).expect("an edit");
        assert_eq!(off["spec"]["taints"], json!([other]));
        for edit in [&on, &off] {
            assert_eq!(edit["metadata"]["resourceVersion"], "7");
        }
        let alone = patch(&node(&json!([own])), false).expect("an edit");
        assert_eq!(alone["spec"]["taints"], json!([]));
        assert_eq!((patch(&both, true), patch(&silent, false)), (None, None));
        assert_eq!(patch(&KubeNode::default(), false), None);
    }
}
