//! Node objects that a fault deletes or taints, and how they become as before: a timer in a control-plane node sees to
//! it when the harness cannot, before the machines themselves are started. What is declared of a machine that is off is
//! taken back first: it would not be true of one that runs.
//!
//! A kubelet that registers itself is given the next free pod network, while its container runtime still holds the old
//! one, and its pods are cut off. So the object must be there first.

use base64::Engine;
use k8s_openapi::api::core::v1::{Node as KubeNode, NodeSpec};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta};

use crate::cluster::taint::{self, OUT_OF_SERVICE};
use crate::cluster::{Cluster, NodeShell};
use crate::faults::switch::deadman::{self, Deed, Healed, KUBECONFIG};
use crate::faults::{Declared, FaultContext, FaultError};
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// Node objects of machines that are off, what is declared of these, and the timer that takes that back.
pub(crate) struct Objects {
    shell: NodeShell,
    trace: String,
    names: Vec<String>,
    declared: Declared,
}

impl Objects {
    /// Arms the timer. Nothing is declared yet.
    pub(crate) async fn arm(
        context: &FaultContext,
        trace: &str,
        names: &[String],
        declared: Declared,
    ) -> Result<Self, FaultError> {
        let cluster = &context.cluster;
        let planes = cluster.control_planes();
        let plane = planes
            .into_iter()
            .find(|plane| !names.iter().any(|name| name == plane));
        let plane = plane.ok_or_else(|| {
            let reason = "each of them is to be switched off itself";
            FaultError::find("a control-plane node that brings the others back", reason)
        })?;
        let heal = match declared {
            Declared::OutOfService => untaint(names),
            Declared::Nothing | Declared::Gone => restore(cluster, names).await?,
        };
        let trace = format!("{trace}-objects");
        let shell = cluster.shell(plane)?;
        let deed = Deed {
            trace: &trace,
            limit: context.dead_man,
            heal: &heal,
            inject: "true",
        };
        deadman::run(&shell, &deed).await?;
        Ok(Self {
            shell,
            trace,
            names: names.to_vec(),
            declared,
        })
    }

    /// Declares it of all of them.
    pub(crate) async fn declare(&self, cluster: &Cluster) -> Result<(), FaultError> {
        let api: Api<KubeNode> = Api::all(cluster.kube.clone());
        for name in &self.names {
            match self.declared {
                Declared::Nothing => {}
                Declared::Gone => {
                    let deleted = api.delete(name, &DeleteParams::default()).await;
                    deleted.map_err(|error| {
                        FaultError::api(format!("delete node object {name}"), error)
                    })?;
                }
                Declared::OutOfService => taint::set(&cluster.kube, name, true)
                    .await
                    .map_err(|error| FaultError::api(format!("taint node {name}"), error))?,
            }
        }
        Ok(())
    }

    /// Of how many of them the API server knows it.
    pub(crate) async fn declared(&self, cluster: &Cluster) -> Result<usize, FaultError> {
        let api: Api<KubeNode> = Api::all(cluster.kube.clone());
        let mut done = 0;
        for name in &self.names {
            let found = api.get_opt(name).await;
            let found = found
                .map_err(|error| FaultError::api(format!("read node object {name}"), error))?;
            done += usize::from(is_so(self.declared, found.as_ref()));
        }
        Ok(done)
    }

    /// What is declared, in words.
    pub(crate) const fn what(&self) -> &'static str {
        match self.declared {
            Declared::Nothing => "node objects as before",
            Declared::Gone => "node objects deleted",
            Declared::OutOfService => "node objects tainted out of service",
        }
    }

    /// Takes it back, again and again for a while: an API server that does not answer once is no reason to leave nodes
    /// off.
    pub(crate) async fn put_back(&self) -> Result<Healed, FaultError> {
        let what = format!("node objects {}", self.names.join(" "));
        let back =
            wait_every(
                timeouts::POLL_SLOW,
                what,
                timeouts::HEAL,
                async || match deadman::heal(&self.shell, &self.trace).await {
                    Ok(healed) => Poll::Ready(healed),
                    Err(error) => Poll::NotYet::<_, String>(error.to_string()),
                },
            );
        let back = back.await;
        back.map_err(|error| FaultError::api("put node objects back", error))
    }

    /// What is left of the timer.
    pub(crate) async fn left(&self) -> Result<Option<String>, FaultError> {
        Ok(deadman::residue(&self.shell, &self.trace).await?)
    }
}

/// Whether this is declared of a node with this object.
fn is_so(declared: Declared, object: Option<&KubeNode>) -> bool {
    match declared {
        Declared::Nothing => object.is_some(),
        Declared::Gone => object.is_none(),
        Declared::OutOfService => object.is_some_and(taint::is_on),
    }
}

/// The script that puts the objects back as they are now.
async fn restore(cluster: &Cluster, names: &[String]) -> Result<String, FaultError> {
    let api: Api<KubeNode> = Api::all(cluster.kube.clone());
    let mut back = Vec::new();
    for name in names {
        let found = api.get(name).await;
        let found =
            found.map_err(|error| FaultError::api(format!("read node object {name}"), error))?;
        back.push((name.clone(), successor(found, None)));
    }
    script(&back).map_err(|error| FaultError::api("write node objects", error))
}

/// Takes the taint off where it is on. A server that does not answer is a failure.
fn untaint(names: &[String]) -> String {
    let mut script = KUBECONFIG.to_owned();
    for name in names {
        script.push_str(&format!(
            "t=$(kubectl --request-timeout=5s get node {name} --ignore-not-found \
             -o 'jsonpath={{.spec.taints[*].key}}') || exit 1\n\
             case \" $t \" in *' {OUT_OF_SERVICE} '*)\n\
             kubectl --request-timeout=5s taint node {name} {OUT_OF_SERVICE}- || exit 1;; esac\n"
        ));
    }
    script
}

/// Creates what is missing; also right where a node has registered itself. A server that does not answer is a failure.
fn script(objects: &[(String, KubeNode)]) -> Result<String, serde_json::Error> {
    let mut script = KUBECONFIG.to_owned();
    for (name, object) in objects {
        let json = serde_json::to_vec(&with_kind(object)?)?;
        let text = base64::engine::general_purpose::STANDARD.encode(json);
        script.push_str(&format!(
            "n=$(kubectl --request-timeout=5s get node {name} --ignore-not-found -o name) || exit 1\n\
             [ -n \"$n\" ] || echo {text} | base64 -d | kubectl --request-timeout=5s create -f - || exit 1\n"
        ));
    }
    Ok(script)
}

/// A Node object for the same machine: another UID, the same name, labels, provider and, unless another is given, pod
/// network.
pub(crate) fn successor(object: KubeNode, network: Option<&str>) -> KubeNode {
    let old = object.spec.unwrap_or_default();
    let network = network.map(str::to_owned);
    KubeNode {
        metadata: ObjectMeta {
            name: object.metadata.name,
            labels: object.metadata.labels,
            ..Default::default()
        },
        spec: Some(NodeSpec {
            pod_cidrs: network
                .clone()
                .map(|network| vec![network])
                .or(old.pod_cidrs),
            pod_cidr: network.or(old.pod_cidr),
            provider_id: old.provider_id,
            ..Default::default()
        }),
        status: None,
    }
}

fn with_kind(object: &KubeNode) -> Result<serde_json::Value, serde_json::Error> {
    let mut value = serde_json::to_value(object)?;
    value["apiVersion"] = "v1".into();
    value["kind"] = "Node".into();
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs the script that untaints w1 with a kubectl that says that it has these taints, or does not answer; returns
    /// what else was asked of it, or its failure.
    fn untainted(taints: Option<&str>) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().display();
        let answer = match taints {
            Some(taints) => format!(
                "case \"$*\" in *' get '*) echo '{taints}';; *) echo \"$*\" >>{path}/asked;; esac"
            ),
            None => "exit 1".to_owned(),
        };
        let kubectl = folder.path().join("kubectl");
        std::fs::write(&kubectl, format!("#!/bin/sh\n{answer}\n")).expect("write");
        let script = untaint(&["w1".to_owned()]);
        let script = format!("chmod +x {path}/kubectl; PATH={path}:$PATH\n{script}");
        let output = Command::new("sh").args(["-c", &script]).output();
        let output = output.expect("a shell");
        if output.status.success() {
            let asked = std::fs::read_to_string(folder.path().join("asked"));
            Ok(asked.unwrap_or_default())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    #[test]
    fn a_taint_is_taken_off_where_it_is_and_no_other_is() {
        let off = Ok(format!(
            "--request-timeout=5s taint node w1 {OUT_OF_SERVICE}-\n"
        ));
        assert_eq!(untainted(Some(OUT_OF_SERVICE)), off);
        let both = format!("node.kubernetes.io/unreachable {OUT_OF_SERVICE}");
        assert_eq!(untainted(Some(&both)), off);
        let longer = format!("{OUT_OF_SERVICE}-soon");
        for taints in ["", "node.kubernetes.io/unreachable", &longer] {
            assert_eq!(untainted(Some(taints)), Ok(String::new()), "{taints}");
        }
        assert!(
            untainted(None).is_err(),
            "the timer repeats it until the API server answers"
        );
    }

    #[test]
    fn what_is_declared_is_read_off_the_object() {
        let taint = serde_json::json!([{ "key": OUT_OF_SERVICE, "effect": "NoExecute" }]);
        let tainted = serde_json::json!({ "metadata": {}, "spec": { "taints": taint } });
        let tainted: KubeNode = serde_json::from_value(tainted).expect("a node");
        let plain = KubeNode::default();
        let is_so = |declared| [None, Some(&plain), Some(&tainted)].map(|o| is_so(declared, o));
        assert_eq!(is_so(Declared::Gone), [true, false, false]);
        assert_eq!(is_so(Declared::OutOfService), [false, false, true]);
    }

    /// Runs the script with a kubectl that knows these nodes, or does not answer; returns what it created, or its
    /// failure.
    fn run(known: Option<&str>) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let created = folder.path().join("created");
        let answer = match known {
            Some(known) => format!(
                "case $* in *get*) case $* in *' {known} '*) echo node/{known};; esac;; \
                 *create*) cat >>{};; esac",
                created.display()
            ),
            None => "echo 'connection refused' >&2; exit 1".to_owned(),
        };
        let kubectl = folder.path().join("kubectl");
        std::fs::write(&kubectl, format!("#!/bin/sh\n{answer}\n")).expect("write");
        let mut node = KubeNode::default();
        node.metadata.name = Some("w1".into());
        let script = script(&[("w1".into(), node)]).expect("a script");
        let path = folder.path().display();
        let output = Command::new("sh")
            .args([
                "-c",
                &format!("chmod +x {path}/kubectl; PATH={path}:$PATH\n{script}"),
            ])
            .output()
            .expect("a shell");
        if output.status.success() {
            Ok(std::fs::read_to_string(created).unwrap_or_default())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    #[test]
    fn a_missing_object_is_created_and_one_that_is_there_is_not_touched() {
        let created = run(Some("other")).expect("created");
        assert!(created.contains(r#""kind":"Node""#) && created.contains(r#""name":"w1""#));
        assert_eq!(run(Some("w1")), Ok(String::new()));
    }

    #[test]
    fn an_api_server_that_does_not_answer_is_a_failure_that_the_timer_repeats() {
        assert!(run(None).is_err());
    }

    #[test]
    fn a_nodes_successor_keeps_its_pod_network_and_nothing_that_is_over() {
        let mut old = KubeNode::default();
        old.metadata.name = Some("w1".into());
        old.metadata.uid = Some("u-1".into());
        let spec = old.spec.insert(NodeSpec::default());
        spec.pod_cidr = Some("10.244.7.0/24".into());
        spec.unschedulable = Some(true);
        let fresh = successor(old.clone(), None);
        assert_eq!(fresh.metadata.uid, None);
        let spec = fresh.spec.expect("a spec");
        assert_eq!(spec.pod_cidr.as_deref(), Some("10.244.7.0/24"));
        assert_eq!(spec.unschedulable, None);
        let moved = successor(old, Some("10.244.9.0/24")).spec.expect("a spec");
        assert_eq!(moved.pod_cidrs, Some(vec!["10.244.9.0/24".to_owned()]));
    }
}
