//! Proof that no fault left anything behind, on the whole cluster, whoever injected it: packet rules, stopped processes,
//! nodes that are paused or off, timers, manifests aside, full or mounted volumes. And the removal of all of it.

use futures::future::join_all;

use super::control_plane::{ASIDE, move_back};
use super::{deadman, iptables, rules, small_volume, thaw};
use crate::cluster::{Cluster, kind_nodes, node_states};
use crate::faults::ControlPlanePart;

/// One thing that was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The node, or where else it is.
    pub place: String,
    /// What it is.
    pub what: String,
}

/// Everything that is left of faults.
///
/// # Errors
/// When a place cannot be looked at, in words.
pub async fn find(cluster: &Cluster) -> Result<Vec<Leftover>, String> {
    let mut left = Vec::new();
    if let Some(docker) = &cluster.docker {
        let name = &cluster.name;
        for node in kind_nodes(docker, name)
            .await
            .map_err(|error| error.to_string())?
        {
            if node.state != "running" {
                left.push(Leftover {
                    place: node.name,
                    what: format!("node container is {}", node.state),
                });
            }
        }
        for timer in thaw::left(docker, name)
            .await
            .map_err(|error| error.to_string())?
        {
            left.push(Leftover {
                place: "Docker".into(),
                what: format!("container {timer}"),
            });
        }
    }
    for found in join_all(
        cluster
            .nodes
            .iter()
            .map(|node| in_node(cluster, &node.name)),
    )
    .await
    {
        left.extend(found?);
    }
    for state in node_states(&cluster.kube).await? {
        if state.cordoned {
            left.push(Leftover {
                place: state.name,
                what: "node is cordoned".into(),
            });
        } else if state.ready != "True" {
            left.push(Leftover {
                place: state.name,
                what: format!("node is not ready (Ready={})", state.ready),
            });
        }
    }
    Ok(left)
}

async fn in_node(cluster: &Cluster, node: &str) -> Result<Vec<Leftover>, String> {
    let Ok(shell) = cluster.shell(node) else {
        return Ok(Vec::new());
    };
    match shell.run(&look_script()).await {
        Ok(output) => Ok(parse(node, &output.stdout)),
        // A node that is paused or off is reported by its state.
        Err(crate::cluster::ShellError::Exec { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// One line a thing: what kind, then its name.
fn look_script() -> String {
    format!(
        "nft list tables 2>/dev/null | grep -F {} | sed 's/^/packet rules: /'\n\
         iptables -w -S 2>/dev/null | grep -e '-N {}' | sed 's/^-N /packet rules: iptables chain /'\n\
         ls {} 2>/dev/null | sed 's/^/switch of a fault: /'\n\
         ls {ASIDE} 2>/dev/null | sed 's/^/static pod moved aside: /'\n\
         findmnt -rn -o TARGET 2>/dev/null | grep -F {}/ | sed 's/^/small volume: /'\n\
         for s in /proc/[0-9]*/status; do awk -v p=\"${{s%/status}}\" '/^Name:/{{n=$2}} /^State:\\tT/{{print \"stopped process: \" n \" \" substr(p,7)}}' $s 2>/dev/null; done\n\
         systemctl is-active -q kubelet 2>/dev/null || echo 'kubelet: not running'\ntrue",
        rules::TABLE_PREFIX,
        iptables::CHAIN_PREFIX,
        deadman::DIR,
        small_volume::DIR,
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

/// Removes everything that [`find`] can see, but cordons and small volumes (somebody may want them).
///
/// # Errors
/// When a place cannot be reached, in words.
pub async fn remove(cluster: &Cluster) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    if let Some(docker) = &cluster.docker {
        for node in kind_nodes(docker, &cluster.name)
            .await
            .map_err(|error| error.to_string())?
        {
            let result = match node.state.as_str() {
                "running" => continue,
                "paused" => docker.unpause_container(&node.name).await,
                _ => {
                    docker
                        .start_container(
                            &node.name,
                            None::<bollard::query_parameters::StartContainerOptions>,
                        )
                        .await
                }
            };
            result.map_err(|error| format!("{}: {error}", node.name))?;
            done.push(format!("{}: thawed or started", node.name));
        }
        for timer in thaw::left(docker, &cluster.name)
            .await
            .map_err(|error| error.to_string())?
        {
            if thaw::remove(docker, &timer).await {
                done.push(format!("container {timer} removed"));
            }
        }
    }
    for node in &cluster.nodes {
        let Ok(shell) = cluster.shell(&node.name) else {
            continue;
        };
        let output = shell
            .run(&remove_script())
            .await
            .map_err(|error| error.to_string())?;
        done.extend(
            output
                .stdout
                .lines()
                .map(|line| format!("{}: {line}", node.name)),
        );
    }
    Ok(done)
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
    format!(
        "{}\n\
         nft list tables 2>/dev/null | grep -F {} | while read -r w f t; do nft delete table $f $t && echo \"table $t deleted\"; done\n\
         iptables -w -S 2>/dev/null | sed -n 's/^-N {}//p' | while read -r t; do ({}) && echo \"chain $t deleted\"; done\n\
         for s in /proc/[0-9]*/status; do if grep -qs '^State:.T ' $s; then p=${{s%/status}}; kill -CONT ${{p#/proc/}} && echo \"process ${{p#/proc/}} goes on\"; fi; done\n\
         {}systemctl is-active -q kubelet || {{ systemctl start kubelet; echo 'kubelet started'; }}\ntrue",
        deadman::heal_all_script(),
        rules::TABLE_PREFIX,
        iptables::CHAIN_PREFIX,
        iptables::remove("$t"),
        back.concat(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_scripts_are_valid_shell() {
        for script in [look_script(), remove_script()] {
            let status = std::process::Command::new("sh")
                .args(["-n", "-c", &script])
                .status();
            assert!(status.expect("a shell").success(), "{script}");
        }
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
}
