//! Removal of everything that [`super::find`] can see, but cordons and small volumes, which may be intended.

use k8s_openapi::api::core::v1::{Namespace, Node as KubeNode};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};

use crate::cluster::{kind_nodes, volumes};
use crate::deploy::namespaces_orphaned;
use crate::faults::ControlPlanePart;
use crate::faults::data::full_disk::FILLER;
use crate::faults::network::iptables;
use crate::faults::network::nft;
use crate::faults::node::objects::successor;
use crate::faults::process::control_plane::move_back;
use crate::faults::residue::find::{Site, networks, strayed};
use crate::faults::switch::container;
use crate::faults::switch::deadman;

/// Removes it; returns a line for each thing done.
///
/// # Errors
/// When a place cannot be reached, in words.
pub(crate) async fn remove(site: &Site) -> Result<Vec<String>, String> {
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
            done.push(format!("{}: unpaused or started", node.name));
        }
        let timers = container::left(docker, &site.name)
            .await
            .map_err(|error| error.to_string())?;
        for timer in timers {
            if container::remove(docker, &timer.name).await {
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
    if let Ok(Some(kube)) = &site.kube {
        for (node, (runtime, _)) in strayed(kube, &networks(site).await).await? {
            register(kube, &node, &runtime)
                .await
                .map_err(|error| format!("{node}: {error}"))?;
            done.push(format!("{node}: registered again for {runtime}"));
        }
    }
    if let Ok(Some(kube)) = &site.kube {
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
        nft::TABLE_PREFIX,
        iptables::CHAIN_PREFIX,
        iptables::remove("$t"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    #[test]
    fn the_script_is_valid_shell() {
        let script = remove_script();
        assert_is_shell(&script);
    }
}
