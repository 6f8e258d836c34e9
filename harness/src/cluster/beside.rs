//! Containers that the harness makes beside the nodes of a cluster: timers that hold Docker's socket, and what sets the
//! nodes' weight. They outlive a harness that is killed, and must not outlive their cluster.

use std::collections::HashMap;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use crate::cluster::ClusterError;

/// Label of the timers; its value is the cluster's name.
const TIMER: &str = "etcd-harness.switch";
/// Begins the name of a container that sets the weight of nodes; the node's name follows.
const WEIGHT: &str = "etcd-harness-weight-";

/// Labels of a timer of this cluster.
pub(crate) fn timer_labels(cluster: &str) -> HashMap<String, String> {
    HashMap::from([(TIMER.to_owned(), cluster.to_owned())])
}

/// Name of the container that sets the weight, where this is one of the nodes.
pub(super) fn weight_name(node: &str) -> String {
    format!("{WEIGHT}{node}")
}

/// A container beside the nodes, whichever process made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Its name.
    pub name: String,
    /// Why it holds nothing. A timer that was made and not started never will be when its maker was killed in between;
    /// faults are injected when their timer runs. What set the weight has done so when it does not run.
    pub idle: Option<&'static str>,
}

/// All of a cluster.
///
/// # Errors
/// When Docker does not answer.
pub(crate) async fn all(docker: &Docker, cluster: &str) -> Result<Vec<Beside>, Error> {
    let label = ("label".to_owned(), vec![format!("{TIMER}={cluster}")]);
    let timers = list(docker, HashMap::from([label])).await?;
    let timers = timers.iter().filter_map(|container| {
        let idle = (state(container) == "created").then_some("never started");
        let name = name(container)?;
        Some(Beside { name, idle })
    });
    let named = ("name".to_owned(), vec![WEIGHT.to_owned()]);
    let weights = list(docker, HashMap::from([named])).await?;
    let weights = weights.iter().filter_map(|container| {
        let idle = (state(container) != "running").then_some("not running");
        let name = name(container).filter(|name| is_weight(name, cluster))?;
        Some(Beside { name, idle })
    });
    Ok(timers.chain(weights).collect())
}

/// True for the name of one whose node is a node of this cluster, and not of one whose name begins as this one's.
fn is_weight(name: &str, cluster: &str) -> bool {
    let node = name.strip_prefix(WEIGHT);
    let node = node.and_then(|node| node.strip_prefix(cluster)?.strip_prefix('-'));
    let kinds = ["control-plane", "worker"];
    node.is_some_and(|node| {
        let numbers = kinds.iter().find_map(|kind| node.strip_prefix(kind));
        numbers.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

async fn list(
    docker: &Docker,
    filters: HashMap<String, Vec<String>>,
) -> Result<Vec<ContainerSummary>, Error> {
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    docker.list_containers(Some(options)).await
}

fn name(container: &ContainerSummary) -> Option<String> {
    let name = container.names.as_ref()?.first()?;
    Some(name.trim_start_matches('/').to_owned())
}

/// Docker's word for its state.
fn state(container: &ContainerSummary) -> String {
    let state = container.state.as_ref();
    state.map(ToString::to_string).unwrap_or_default()
}

/// Removes a container with all that runs in it. False when it was not there, or was about to go by itself.
///
/// # Errors
/// When Docker refuses.
pub(crate) async fn remove(docker: &Docker, name: &str) -> Result<bool, Error> {
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    match docker.remove_container(name, Some(options)).await {
        Ok(()) => Ok(true),
        Err(Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn failed(action: String) -> impl FnOnce(Error) -> ClusterError {
    move |source| ClusterError::CallDocker { action, source }
}

/// Removes all of a cluster; returns their names.
///
/// # Errors
/// When Docker does not answer or refuses.
pub(super) async fn remove_all(
    docker: &Docker,
    cluster: &str,
) -> Result<Vec<String>, ClusterError> {
    let action = format!("list the containers beside cluster {cluster:?}");
    let all = all(docker, cluster).await.map_err(failed(action))?;
    let mut removed = Vec::new();
    for Beside { name, .. } in all {
        let gone = remove(docker, &name).await;
        if gone.map_err(failed(format!("remove container {name}")))? {
            removed.push(name);
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake_docker::FakeDocker;

    #[test]
    fn the_weight_of_another_cluster_stays() {
        for node in ["lab-control-plane", "lab-control-plane2", "lab-worker3"] {
            assert!(is_weight(&weight_name(node), "lab"), "{node}");
        }
        for node in [
            "lab-2-control-plane",
            "lab-worker-control-plane",
            "lab",
            "labs-worker",
            "lab-workers",
        ] {
            assert!(!is_weight(&weight_name(node), "lab"), "{node}");
        }
        assert!(!is_weight("lab-worker", "lab"));
    }

    /// One timer is gone before it can be removed.
    #[tokio::test]
    async fn whatever_is_beside_a_cluster_is_removed() {
        let all = r#"[{"Names":["/etcd-harness-switch-a"],"State":"running"},
            {"Names":["/etcd-harness-switch-b"],"State":"created"},
            {"Names":["/etcd-harness-weight-lab-control-plane"],"State":"exited"},
            {"Names":["/etcd-harness-weight-lab2-control-plane"],"State":"exited"}]"#;
        // The filter is Docker's: timers are found by their label, the others by their names.
        let timers = serde_json::from_str::<Vec<serde_json::Value>>(all).expect("a list");
        let lists = std::cell::Cell::new(0);
        let fake = FakeDocker::new(move |request| match request {
            "GET /containers/json" => {
                lists.set(lists.get() + 1);
                let shown = if lists.get() == 1 {
                    &timers[..2]
                } else {
                    &timers[2..]
                };
                (200, serde_json::to_vec(shown).expect("a list"))
            }
            "DELETE /containers/etcd-harness-switch-b" => {
                (404, br#"{"message":"no such container"}"#.to_vec())
            }
            _ => (204, Vec::new()),
        });
        let removed = remove_all(&fake.docker, "lab").await.expect("removed");
        let names = [
            "etcd-harness-switch-a",
            "etcd-harness-weight-lab-control-plane",
        ];
        assert_eq!(removed, names);
        let asked = fake.asked();
        let stays = "DELETE /containers/etcd-harness-weight-lab2-control-plane";
        assert!(!asked.contains(&stays.to_owned()), "{asked:?}");
    }

    #[tokio::test]
    async fn a_docker_that_does_not_remove_is_an_error() {
        let fake = FakeDocker::new(|request| match request {
            "GET /containers/json" => (
                200,
                br#"[{"Names":["/etcd-harness-switch-a"],"State":"running"}]"#.to_vec(),
            ),
            _ => (500, br#"{"message":"driver failed"}"#.to_vec()),
        });
        let error = remove_all(&fake.docker, "lab").await.expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("etcd-harness-switch-a"), "{text}");
    }
}
