//! The Cluster's owner asks for more than any node has: a pod of that template finds no node. Healed by correcting the
//! Cluster, as its owner would; no pod is touched by hand.

use base64::Engine;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::cluster::NodeShell;
use crate::deploy::cluster_resource;
use crate::faults::members::pod_labels;
use crate::faults::running::{Injected, Running};
use crate::faults::switch::deadman::{self, BY_SWITCH, Deed, Healed, KUBECONFIG};
use crate::faults::{Evidence, Fault, FaultContext, FaultError, Healing, Target};
use crate::timeouts;
use crate::wait::{Poll, wait_every, wait_until};

/// Processors that no node has.
const TOO_MANY: &str = "4096";

/// Writes it into the Cluster, from a control-plane node, where a timer corrects it when the harness cannot.
pub(crate) async fn inject(context: &FaultContext, fault: &Fault) -> Result<Injected, FaultError> {
    let planes = context.cluster.control_planes();
    let plane = planes.into_iter().next().ok_or_else(|| {
        let what = "a control-plane node that corrects the Cluster";
        FaultError::find(what, "the cluster has none")
    })?;
    let edit = Edit {
        fault: fault.to_string(),
        context: context.clone(),
        shell: context.cluster.shell(plane)?,
        trace: context.trace(),
    };
    let (inject, heal) = edit.scripts().await?;
    let deed = Deed {
        trace: &edit.trace,
        limit: context.dead_man,
        heal: &heal,
        inject: &inject,
    };
    deadman::run(&edit.shell, &deed).await?;
    Ok(Injected {
        targets: vec![Target::Object {
            what: format!("Cluster {}", context.etcd),
        }],
        evidence: Evidence::new().with("requests.cpu", TOO_MANY),
        running: Box::new(edit),
    })
}

struct Edit {
    fault: String,
    context: FaultContext,
    /// Where the timer is.
    shell: NodeShell,
    trace: String,
}

impl Edit {
    /// What writes the wrong resources into the Cluster, and what puts the former ones back.
    async fn scripts(&self) -> Result<(String, String), FaultError> {
        let (name, component) = (&self.context.etcd, &self.context.component);
        let kube = self.context.cluster.kube.clone();
        let clusters: Api<DynamicObject> =
            Api::namespaced_with(kube, &self.context.namespace, &cluster_resource());
        let cluster = clusters.get(name).await;
        let cluster =
            cluster.map_err(|error| FaultError::api(format!("read Cluster {name}"), error))?;
        let (at, former) = place(&cluster.data, component).ok_or_else(|| {
            let what = format!("component {component} of Cluster {name}");
            FaultError::find(what, "its spec has no such component")
        })?;
        let wrong = patch(at, component, &too_much(&former));
        let right = patch(at, component, &former);
        let cluster = format!(
            "-n {} cluster.apps.kubeblocks.io {name}",
            self.context.namespace
        );
        let inject = format!("{KUBECONFIG}{}", patched(&cluster, &wrong));
        let path = format!(".spec.componentSpecs[{at}].resources.requests.cpu");
        // A Cluster that is gone, or was corrected, is right.
        let heal = format!(
            "{KUBECONFIG}n=$(kubectl --request-timeout=5s get {cluster} --ignore-not-found -o jsonpath='{{{path}}}') || exit 1\n\
             [ \"$n\" = {TOO_MANY} ] || exit 0\n{} || exit 1",
            patched(&cluster, &right)
        );
        Ok((inject, heal))
    }

    /// What the scheduler says of each pod without a node.
    async fn unschedulable(&self) -> Result<Vec<String>, FaultError> {
        let context = &self.context;
        let pods: Api<Pod> = Api::namespaced(context.cluster.kube.clone(), &context.namespace);
        let params = ListParams::default().labels(&pod_labels(&context.etcd, &context.component));
        let listed = pods.list(&params).await;
        let listed = listed.map_err(|error| FaultError::api("list the members' pods", error))?;
        Ok(listed.items.iter().filter_map(said).collect())
    }
}

/// A command that patches the Cluster.
fn patched(cluster: &str, patch: &Value) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    format!(
        "echo {text} | base64 -d | kubectl --request-timeout=5s patch {cluster} --type json --patch-file /dev/stdin >/dev/null"
    )
}

/// Sets a component's resources, if it is still the one of this name.
fn patch(at: usize, component: &str, resources: &Value) -> Value {
    let path = format!("/spec/componentSpecs/{at}");
    json!([
        { "op": "test", "path": format!("{path}/name"), "value": component },
        { "op": "add", "path": format!("{path}/resources"), "value": resources },
    ])
}

/// Where a component stands in the Cluster, and its resources.
fn place(cluster: &Value, component: &str) -> Option<(usize, Value)> {
    let components = cluster["spec"]["componentSpecs"].as_array()?;
    let at = components.iter().position(|one| one["name"] == component)?;
    let resources = components[at].get("resources").cloned();
    Some((at, resources.unwrap_or_else(|| json!({}))))
}

/// More processors than there are, and no limit that they would exceed.
fn too_much(former: &Value) -> Value {
    let mut resources = former.clone();
    resources["requests"]["cpu"] = TOO_MANY.into();
    if let Some(limits) = resources.get_mut("limits").and_then(Value::as_object_mut) {
        limits.remove("cpu");
    }
    resources
}

fn said(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let scheduled = conditions.find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let why = scheduled.message.clone().unwrap_or_default();
    Some(format!("{name}: {why}"))
}

impl Running for Edit {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let what = "a pod of the new template without a node";
        let seen = wait_until(what, timeouts::EFFECT_SLOW, async || {
            match self.unschedulable().await {
                Ok(all) if all.is_empty() => Poll::NotYet("every pod has one".to_owned()),
                Ok(all) => Poll::Ready(all.join("; ")),
                Err(error) => Poll::NotYet(error.to_string()),
            }
        });
        let seen = seen.await;
        let why = seen.map_err(|error| FaultError::unseen(&self.fault, error))?;
        Ok(Evidence::new().with("pod", why))
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let what = "the Cluster corrected";
        let (every, limit) = (timeouts::POLL_SLOW, timeouts::HEAL);
        let stopped = self.unschedulable().await;
        let healed = wait_every(every, what, limit, async || {
            match deadman::heal(&self.shell, &self.trace).await {
                Ok(healed) => Poll::Ready(healed),
                Err(error) => Poll::NotYet::<_, String>(error.to_string()),
            }
        });
        let healed = healed.await.map_err(|error| FaultError::api(what, error))?;
        let mut healing = Healing::default();
        match stopped {
            Ok(all) if all.len() > 1 => {
                let all = all.join("; ");
                healing.doubt(format!("the update did not stop at its first pod: {all}"));
            }
            Ok(all) => healing.evidence.add("pods without a node", all.len()),
            Err(error) => healing.doubt(format!("pods without a node are not known: {error}")),
        }
        if healed == Healed::ByTimer {
            healing.early(format!("Cluster {}", self.context.etcd), BY_SWITCH);
        }
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        Ok(deadman::residue(&self.shell, &self.trace).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_component_gets_more_processors_and_keeps_the_rest() {
        let memory =
            json!({ "limits": { "memory": "1Gi", "cpu": "1" }, "requests": { "memory": "1Mi" } });
        let all = json!([{ "name": "other" }, { "name": "etcd", "resources": memory }]);
        let cluster = json!({ "spec": { "componentSpecs": all } });
        let (at, former) = place(&cluster, "etcd").expect("there");
        assert_eq!((at, &former), (1, &memory));
        let wanted = json!({ "limits": { "memory": "1Gi" }, "requests": { "memory": "1Mi", "cpu": TOO_MANY } });
        assert_eq!(too_much(&former), wanted);
        assert_eq!(
            too_much(&json!({})),
            json!({ "requests": { "cpu": TOO_MANY } })
        );
        assert_eq!(place(&cluster, "other"), Some((0, json!({}))));
        assert_eq!(place(&cluster, "none"), None);
        let patch = patch(1, "etcd", &former);
        assert_eq!(patch[0]["value"], "etcd");
        assert_eq!(patch[1]["path"], "/spec/componentSpecs/1/resources");
    }

    #[test]
    fn a_pod_that_waits_for_a_node_is_told_with_the_schedulers_reason() {
        let pod = |status: &str| -> Pod {
            serde_json::from_value(
                json!({ "metadata": { "name": "db-0" }, "status": { "conditions":
                [{ "type": "PodScheduled", "status": status, "message": "Insufficient cpu" }] } }),
            )
            .expect("a pod")
        };
        assert_eq!(
            said(&pod("False")).as_deref(),
            Some("db-0: Insufficient cpu")
        );
        assert_eq!(said(&pod("True")), None);
    }
}
