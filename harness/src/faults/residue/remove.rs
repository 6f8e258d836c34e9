//! Removal of everything that [`super::find`] can see, but cordons and small volumes, which may be intended.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Namespace, Node as KubeNode};
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::{Api, Client};

use crate::cluster::beside::{self, Beside};
use crate::cluster::{addresses, kind_nodes, node_states, taint, volumes};
use crate::deploy::{cluster_resource, namespaces_orphaned};
use crate::faults::ControlPlanePart;
use crate::faults::data::full_disk::FILLER;
use crate::faults::network::iptables;
use crate::faults::network::nft;
use crate::faults::node::objects::successor;
use crate::faults::process::control_plane::move_back;
use crate::faults::residue::find::{Site, networks, strayed, unreadable};
use crate::faults::switch::deadman;

/// What became of a removal.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// A line for each thing done.
    pub done: Vec<String>,
    /// What could not be done, and why: the rest was tried nevertheless.
    pub failed: Vec<String>,
}

impl Removal {
    fn note(&mut self, what: impl Into<String>, result: Result<(), impl ToString>) {
        let what = what.into();
        match result {
            Ok(()) => self.done.push(what),
            Err(error) => self.failed.push(format!("{what}: {}", error.to_string())),
        }
    }
}

/// Removes it, as much as can be: where one place cannot be reached the others are cleared.
pub(crate) async fn remove(site: &Site) -> Removal {
    let mut removal = Removal::default();
    if let Err(error) = in_docker(site, &mut removal).await {
        removal.failed.push(format!("Docker: {error}"));
    }
    in_nodes(site, &mut removal).await;
    if let Ok(Some(kube)) = &site.kube
        && let Err(error) = in_api(kube, site, &mut removal).await
    {
        removal.failed.push(format!("API server: {error}"));
    }
    removal
}

async fn in_nodes(site: &Site, removal: &mut Removal) {
    let shells = match site.shells().await {
        Ok(shells) => shells,
        Err(error) => return removal.failed.push(format!("nodes: {error}")),
    };
    let mut script = remove_script();
    match shown(site).await {
        Ok(shown) => script += &release_script(&shown),
        Err(error) => {
            let what = "addresses of load balancers stay: it is not known which services show";
            removal.failed.push(format!("{what}: {error}"));
        }
    }
    for shell in shells {
        match shell.run(&script).await {
            Ok(output) => {
                let lines = output.stdout.lines();
                let lines = lines.map(|line| format!("{}: {line}", shell.container()));
                removal.done.extend(lines);
            }
            Err(error) => removal
                .failed
                .push(format!("{}: {error}", shell.container())),
        }
    }
}

/// The addresses that Services show, but those of runs that were killed: who gives them may be at work.
async fn shown(site: &Site) -> Result<BTreeSet<Ipv4Addr>, String> {
    let Some(kube) = site.kube.as_ref()? else {
        return Ok(BTreeSet::new());
    };
    let orphaned = namespaces_orphaned(kube).await;
    let orphaned = orphaned.map_err(|error| error.to_string())?;
    addresses::shown(kube, &orphaned).await
}

async fn in_docker(site: &Site, removal: &mut Removal) -> Result<(), String> {
    let Some(docker) = &site.docker.clone()? else {
        return Ok(());
    };
    let nodes = kind_nodes(docker, &site.name).await;
    let nodes = nodes.map_err(|error| error.to_string())?;
    for node in nodes.into_iter().filter(|node| node.state != "running") {
        let result = if node.state == "paused" {
            docker.unpause_container(&node.name).await
        } else {
            let options = None::<bollard::query_parameters::StartContainerOptions>;
            docker.start_container(&node.name, options).await
        };
        removal.note(format!("{}: unpaused or started", node.name), result);
    }
    let beside = beside::all(docker, &site.name).await;
    for Beside { name, .. } in beside.map_err(|error| error.to_string())? {
        match beside::remove(docker, &name).await {
            Ok(true) => removal.done.push(format!("container {name} removed")),
            // It has gone by itself.
            Ok(false) => {}
            Err(error) => removal.failed.push(format!("container {name}: {error}")),
        }
    }
    Ok(())
}

async fn in_api(kube: &Client, site: &Site, removal: &mut Removal) -> Result<(), String> {
    for (node, (runtime, _)) in strayed(kube, &networks(site).await).await? {
        let registered = register(kube, &node, &runtime).await;
        removal.note(
            format!("{node}: registered again for {runtime}"),
            registered,
        );
    }
    // Nodes that were off run by now, so that it is true of none.
    for state in node_states(kube).await? {
        if state.out_of_service {
            let taken = taint::set(kube, &state.name, false).await;
            let what = format!("{}: the taint out of service taken off", state.name);
            removal.note(what, taken);
        }
    }
    for (namespace, name) in unreadable(kube).await? {
        let api: Api<DynamicObject> =
            Api::namespaced_with(kube.clone(), &namespace, &cluster_resource());
        let deleted = api.delete(&name, &DeleteParams::default()).await;
        let what = format!("Cluster {name} in namespace {namespace}: deleted");
        removal.note(what, deleted.map(|_| ()));
    }
    let orphaned = namespaces_orphaned(kube).await;
    for namespace in orphaned.map_err(|error| error.to_string())? {
        let api: Api<Namespace> = Api::all(kube.clone());
        let deleted = api.delete(&namespace, &DeleteParams::background()).await;
        removal.note(
            format!("namespace {namespace}: deleted"),
            deleted.map(|_| ()),
        );
    }
    Ok(())
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

/// Takes the addresses of load balancers from a node, but those that a Service shows.
fn release_script(shown: &BTreeSet<Ipv4Addr>) -> String {
    let shown: Vec<String> = shown.iter().map(Ipv4Addr::to_string).collect();
    format!(
        "\nip -o -4 addr show label '*:{}' 2>/dev/null | while read -r n d f a r; do\n\
         case \" {} \" in *\" ${{a%/*}} \"*) ;; *) ip addr del $a dev $d && echo \"address $a deleted\" ;; esac\n\
         done\ntrue",
        addresses::LABEL,
        shown.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;
    use crate::faults::residue::test_support::{WEIGHTS, lab};

    #[test]
    fn the_script_is_valid_shell() {
        let script = remove_script();
        assert_is_shell(&script);
        assert_is_shell(&(script + &release_script(&BTreeSet::new())));
    }

    #[test]
    fn addresses_of_load_balancers_go_but_those_that_a_service_shows() {
        let ip = "ip() { case $* in *' del '*) ;; *) \
                  for n in 1 2; do echo \"9: eth0    inet 172.18.200.$n/32 scope global eth0:lb\"; done;; esac; }\n";
        let shown = [Ipv4Addr::new(172, 18, 200, 2)].into();
        let output = std::process::Command::new("sh")
            .args(["-c", &(ip.to_owned() + &release_script(&shown))])
            .output();
        let output = output.expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "address 172.18.200.1/32 deleted\n");
    }

    #[tokio::test]
    async fn what_set_the_weight_of_nodes_is_removed_and_a_refusal_is_told() {
        let name = "etcd-harness-weight-lab-worker";
        let (fake, site) = lab("[]", WEIGHTS, (204, ""));
        let mut removal = Removal::default();
        in_docker(&site, &mut removal)
            .await
            .expect("Docker answers");
        assert_eq!(removal.done, [format!("container {name} removed")]);
        assert!(removal.failed.is_empty(), "{removal:?}");
        let asked = fake.asked();
        let removed: Vec<&String> = asked
            .iter()
            .filter(|ask| ask.starts_with("DELETE"))
            .collect();
        assert_eq!(removed, [&format!("DELETE /containers/{name}")]);

        let (_fake, site) = lab("[]", WEIGHTS, (500, r#"{"message":"driver failed"}"#));
        let mut removal = Removal::default();
        in_docker(&site, &mut removal)
            .await
            .expect("Docker answers");
        assert!(removal.done.is_empty(), "{removal:?}");
        assert!(removal.failed[0].contains(name), "{removal:?}");
    }
}
