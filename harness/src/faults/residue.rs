//! Proof that no fault left anything behind, on the whole cluster, whoever injected it: packet rules, stopped processes,
//! nodes that are paused, off or not registered, timers, manifests aside, small volumes. Looks through Docker first, for
//! the API server may be what a fault took away.

use std::collections::BTreeMap;

use bollard::Docker;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::{Api, Client, ResourceExt};

use super::control_plane::ASIDE;
use super::disk::FILLER;
use super::{deadman, iptables, rules, thaw};
use crate::cluster::{
    Choice, Cluster, NodeShell, ShellError, connect_docker, kind_nodes, node_states, volumes,
};
use crate::timeouts;

/// One thing that was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The node, or where else it is.
    pub place: String,
    /// What it is.
    pub what: String,
}

impl Leftover {
    pub(crate) fn new(place: &str, what: impl Into<String>) -> Self {
        Self {
            place: place.to_owned(),
            what: what.into(),
        }
    }
}

/// Where to look: whatever of a cluster can still be reached.
pub struct Site {
    /// Name of the kind cluster.
    pub(crate) name: String,
    pub(crate) docker: Option<Docker>,
    pub(crate) kube: Result<Client, String>,
}

impl Site {
    /// The site of a cluster, whether it answers or not.
    pub async fn of(choice: &Choice) -> Self {
        let attached = Cluster::attach(choice).await;
        let context = choice.context_name().unwrap_or_default();
        let named = context.strip_prefix("kind-").unwrap_or(&context).to_owned();
        let name = attached
            .as_ref()
            .map_or(named, |cluster| cluster.name.clone());
        let kube = attached
            .map(|cluster| cluster.kube)
            .map_err(|error| error.to_string());
        Self {
            name,
            docker: connect_docker().await.ok(),
            kube,
        }
    }

    /// Shells in the nodes that run.
    pub(crate) async fn shells(&self) -> Result<Vec<NodeShell>, String> {
        let Some(docker) = &self.docker else {
            return Ok(Vec::new());
        };
        let nodes = kind_nodes(docker, &self.name)
            .await
            .map_err(|error| error.to_string())?;
        let running = nodes.into_iter().filter(|node| node.state == "running");
        Ok(running
            .map(|node| NodeShell::new(docker.clone(), node.name))
            .collect())
    }
}

/// Everything that is left of faults.
///
/// # Errors
/// When a place cannot be looked at, in words.
pub async fn find(site: &Site) -> Result<Vec<Leftover>, String> {
    let mut left = in_docker(site).await?;
    for found in join_all(site.shells().await?.iter().map(in_node)).await {
        left.extend(found?);
    }
    match &site.kube {
        Ok(kube) => {
            if volumes::offered(kube, &volumes::SMALL).await {
                // They are there on purpose, for whoever deploys next.
                left.retain(|leftover| !leftover.what.starts_with(SMALL_VOLUME));
            }
            left.extend(in_api(site, kube).await?);
        }
        Err(error) => left.push(Leftover::new("API server", error.as_str())),
    }
    Ok(left)
}

async fn in_docker(site: &Site) -> Result<Vec<Leftover>, String> {
    let Some(docker) = &site.docker else {
        return Ok(Vec::new());
    };
    let text = |error: bollard::errors::Error| error.to_string();
    let nodes = kind_nodes(docker, &site.name)
        .await
        .map_err(|error| error.to_string())?;
    let still = nodes.into_iter().filter(|node| node.state != "running");
    let mut left: Vec<Leftover> = still
        .map(|node| Leftover::new(&node.name, format!("node container is {}", node.state)))
        .collect();
    let timers = thaw::left(docker, &site.name).await.map_err(text)?;
    left.extend(
        timers
            .into_iter()
            .map(|timer| Leftover::new("Docker", format!("container {timer}"))),
    );
    Ok(left)
}

async fn in_node(shell: &NodeShell) -> Result<Vec<Leftover>, String> {
    match shell.run(&look_script()).await {
        Ok(output) => Ok(parse(shell.container(), &output.stdout)),
        // A node that was paused or stopped a moment ago is reported by its state.
        Err(ShellError::Exec { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

async fn in_api(site: &Site, kube: &Client) -> Result<Vec<Leftover>, String> {
    let mut left = Vec::new();
    let states = node_states(kube).await?;
    for state in &states {
        if state.cordoned {
            left.push(Leftover::new(&state.name, "node is cordoned"));
        } else if state.ready != "True" {
            left.push(Leftover::new(
                &state.name,
                format!("node is not ready (Ready={})", state.ready),
            ));
        }
    }
    for shell in site.shells().await? {
        if !states.iter().any(|state| state.name == shell.container()) {
            left.push(Leftover::new(shell.container(), "node is not registered"));
        }
    }
    for (node, (runtime, registered)) in strayed(site, kube).await? {
        let what =
            format!("its container runtime gives out {runtime}, it is registered for {registered}");
        left.push(Leftover::new(&node, what));
    }
    Ok(left)
}

/// Nodes that registered themselves anew after their object was deleted: they were given another pod network than their
/// runtime's configuration still says, and their pods are cut off. Gives that configuration's network and the other.
pub(crate) async fn strayed(
    site: &Site,
    kube: &Client,
) -> Result<BTreeMap<String, (String, String)>, String> {
    let api: Api<KubeNode> = Api::all(kube.clone());
    let mut found = BTreeMap::new();
    for shell in site.shells().await? {
        let Ok(output) = shell.run(RUNTIME_NETWORK).await else {
            continue;
        };
        let runtime = output.stdout.trim().to_owned();
        let node = tokio::time::timeout(timeouts::API_CALL, api.get_opt(shell.container())).await;
        let node = node.map_err(|_| "the API server gives no answer in time".to_owned())?;
        let node = node.map_err(|error| error.to_string())?;
        let registered = node
            .as_ref()
            .and_then(|node| node.spec.as_ref()?.pod_cidr.clone());
        if let (Some(node), Some(registered)) = (node, registered)
            && !runtime.is_empty()
            && runtime != registered
        {
            found.insert(node.name_any(), (runtime, registered));
        }
    }
    Ok(found)
}

/// The first pod network in the configuration that a node's runtime rendered for itself; nothing where a network plugin
/// writes its own.
const RUNTIME_NETWORK: &str = r#"sed -n 's/.*"subnet": *"\([^"]*\)".*/\1/p' /etc/cni/net.d/10-containerd-net.conflist 2>/dev/null | head -n 1"#;

/// Kind of a leftover that is none while the storage class of small volumes is there.
const SMALL_VOLUME: &str = "small volume";

/// One line a thing: what kind, then its name.
fn look_script() -> String {
    format!(
        "nft list tables 2>/dev/null | grep -F {0} | sed 's/^/packet rules: /'\n\
         iptables -w -S 2>/dev/null | grep -e '-N {1}' | sed 's/^-N /packet rules: iptables chain /'\n\
         ls {2} 2>/dev/null | sed 's/^/switch of a fault: /'\n\
         ls {ASIDE} 2>/dev/null | sed 's/^/static pod moved aside: /'\n\
         findmnt -rn -o TARGET 2>/dev/null | grep -F {3}/ | sed 's/^/{SMALL_VOLUME}: /'\n\
         ls {3}/*/*/volume/{FILLER} 2>/dev/null | sed 's/^/full volume: /'\n\
         for s in /proc/[0-9]*/status; do awk -v p=\"${{s%/status}}\" '/^Name:/{{n=$2}} /^State:\\tT/{{print \"stopped process: \" n \" \" substr(p,7)}}' $s 2>/dev/null; done\n\
         systemctl is-active -q kubelet 2>/dev/null || echo 'kubelet: not running'\ntrue",
        rules::TABLE_PREFIX,
        iptables::CHAIN_PREFIX,
        deadman::DIR,
        volumes::DIR,
    )
}

fn parse(node: &str, text: &str) -> Vec<Leftover> {
    let lines = text.lines().filter(|line| line.contains(": "));
    lines
        .map(|line| Leftover {
            place: node.to_owned(),
            what: line.trim().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_valid_shell() {
        let script = look_script();
        let status = std::process::Command::new("sh")
            .args(["-n", "-c", &script])
            .status();
        assert!(status.expect("a shell").success(), "{script}");
    }

    #[test]
    fn each_line_is_one_leftover() {
        let found = parse(
            "worker",
            "packet rules: table inet etcd_harness_f1\nnoise\nstopped process: etcd 77\n",
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].what, "stopped process: etcd 77");
    }

    #[test]
    fn the_networks_of_a_rendered_configuration_are_read() {
        let line = r#""ranges": [[{"subnet": "10.244.7.0/24"}]],"#;
        let script =
            RUNTIME_NETWORK.replace("/etc/cni/net.d/10-containerd-net.conflist 2>/dev/null", "");
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("echo '{line}' | {script}")])
            .output();
        assert_eq!(output.expect("a shell").stdout, b"10.244.7.0/24\n");
    }
}
