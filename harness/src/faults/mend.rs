//! Removal of everything that [`super::residue`] can see, but cordons and small volumes, which may be intended.

use k8s_openapi::api::core::v1::{Namespace, Node as KubeNode, NodeSpec};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};

use super::control_plane::move_back;
use super::disk::FILLER;
use super::residue::{Site, networks, strayed};
use super::{deadman, iptables, rules, thaw};
use crate::cluster::{kind_nodes, volumes};
use crate::deploy::namespaces_orphaned;
use crate::faults::ControlPlanePart;

/// Removes it; gives a line for each thing done.
///
/// # Errors
/// When a place cannot be reached, in words.
pub async fn remove(site: &Site) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    if let Some(docker) = &site.docker.clone()? {
        let nodes = kind_nodes(docker, &site.name)
            .await
            .map_err(|error| error.to_string())?;
        for node in nodes.into_iter().filter(|node| node.state != "running") {
            let result = if node.state == "paused" {
                docker.unpause_container(&node.name).await
            } else {
                let options = None::<bollard::query_parameters::StartContainerOptions>;
                docker.start_container(&node.name, options).await
            };
            result.map_err(|error| format!("{}: {error}", node.name))?;
            done.push(format!("{}: thawed or started", node.name));
        }
        let timers = thaw::left(docker, &site.name)
            .await
            .map_err(|error| error.to_string())?;
        for timer in timers {
            if thaw::remove(docker, &timer.name).await {
                done.push(format!("container {} removed", timer.name));
            }
        }
    }
    for shell in site.shells().await? {
        let output = shell
            .run(&remove_script())
            .await
            .map_err(|error| error.to_string())?;
        done.extend(
            output
                .stdout
                .lines()
                .map(|line| format!("{}: {line}", shell.container())),
        );
    }
    if let Ok(kube) = &site.kube {
        for (node, (runtime, _)) in strayed(kube, &networks(site).await).await? {
            register(kube, &node, &runtime)
                .await
                .map_err(|error| format!("{node}: {error}"))?;
            done.push(format!("{node}: registered again for {runtime}"));
        }
    }
    if let Ok(kube) = &site.kube {
        let orphaned = namespaces_orphaned(kube).await;
        for namespace in orphaned.map_err(|error| error.to_string())? {
            let api: Api<Namespace> = Api::all(kube.clone());
            let deleted = api.delete(&namespace, &DeleteParams::background()).await;
            deleted.map_err(|error| format!("namespace {namespace}: {error}"))?;
            done.push(format!("namespace {namespace}: deleted"));
        }
    }
    Ok(done)
}

/// Replaces a Node object by one for the pod network that the node's runtime gives out.
async fn register(kube: &Client, name: &str, network: &str) -> Result<(), kube::Error> {
    let api: Api<KubeNode> = Api::all(kube.clone());
    let old = api.get(name).await?;
    api.delete(name, &DeleteParams::default()).await?;
    let fresh = successor(old, Some(network));
    api.create(&PostParams::default(), &fresh).await.map(drop)
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

fn remove_script() -> String {
    let parts = [
        ControlPlanePart::ApiServer,
        ControlPlanePart::ControllerManager,
        ControlPlanePart::Scheduler,
    ];
    let back: Vec<String> = parts
        .into_iter()
        .map(|part| format!("({})\n", move_back(part)))
        .collect();
    let (volumes, back) = (volumes::DIR, back.concat());
    format!(
        "{}\n\
         nft list tables 2>/dev/null | grep -F {} | while read -r w f t; do nft delete table $f $t && echo \"table $t deleted\"; done\n\
         iptables -w -S 2>/dev/null | sed -n 's/^-N {}//p' | while read -r t; do ({}) && echo \"chain $t deleted\"; done\n\
         for s in /proc/[0-9]*/status; do if grep -qs '^State:.T ' $s; then p=${{s%/status}}; kill -CONT ${{p#/proc/}} && echo \"process ${{p#/proc/}} continues\"; fi; done\n\
         rm -f {volumes}/*/*/volume/{FILLER}\n\
         for i in {volumes}/*/*/image; do [ -e $i ] && ! mountpoint -q ${{i%image}}volume && debugfs -w -R 'rm /{FILLER}' $i 2>/dev/null; done\n\
         rm -rf /var/tmp/etcd-harness-trial.*\n\
         {back}systemctl is-active -q kubelet || {{ systemctl start kubelet; echo 'kubelet started'; }}\ntrue",
        deadman::heal_all_script(),
        rules::TABLE_PREFIX,
        iptables::CHAIN_PREFIX,
        iptables::remove("$t"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_valid_shell() {
        let script = remove_script();
        let status = std::process::Command::new("sh")
            .args(["-n", "-c", &script])
            .status();
        assert!(status.expect("a shell").success(), "{script}");
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
