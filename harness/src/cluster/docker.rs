//! The way to Docker: its API, wherever the daemon runs. Nothing here starts or configures a daemon.

use std::collections::HashMap;
use std::process::Command;

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;

use crate::cluster::ClusterError;
use crate::timeouts;

/// Label that kind puts on the containers of a cluster.
const LABEL_CLUSTER: &str = "io.x-k8s.kind.cluster";
/// Label that kind puts on them with their role.
const LABEL_ROLE: &str = "io.x-k8s.kind.role";

/// A container that is a node of a kind cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeContainer {
    /// Its name, which is the node's.
    pub name: String,
    /// kind's word for its role: `control-plane` or `worker`.
    pub role: String,
    /// Docker's word for its state: `running`, `paused`, `exited`, ...
    pub state: String,
    /// Its image, as it was named when the container was made.
    pub image: String,
}

/// Connects to the daemon that `docker` itself would use, and asks it for a sign of life.
///
/// # Errors
/// When none answers.
pub async fn connect() -> Result<Docker, ClusterError> {
    let reach = |message: String| ClusterError::ReachDocker { message };
    let docker = match endpoint() {
        Some(host) if host.starts_with("ssh://") => {
            return Err(reach(format!(
                "{host}: ssh is not supported, forward its socket instead"
            )));
        }
        Some(host) => Docker::connect_with_host(&host),
        None => Docker::connect_with_defaults(),
    }
    .map_err(|error| reach(error.to_string()))?;
    match tokio::time::timeout(timeouts::API_CALL, docker.ping()).await {
        Ok(Ok(_)) => Ok(docker),
        Ok(Err(error)) => Err(reach(error.to_string())),
        Err(_) => Err(reach("no answer in time".to_owned())),
    }
}

/// `DOCKER_HOST`, else the endpoint of the docker client's current context (Docker in a virtual machine listens on a
/// socket of its own), else nothing, which means the default.
fn endpoint() -> Option<String> {
    if let Ok(host) = std::env::var("DOCKER_HOST")
        && !host.is_empty()
    {
        return Some(host);
    }
    if !names_a_context(&client_config()) {
        return None;
    }
    let output = Command::new("docker")
        .args([
            "context",
            "inspect",
            "--format",
            "{{.Endpoints.docker.Host}}",
        ])
        .output()
        .ok()?;
    let host = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && host.contains("://")).then_some(host)
}

/// The text of the docker client's configuration; empty when there is none.
fn client_config() -> String {
    let own = std::env::var_os("DOCKER_CONFIG").map(std::path::PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| std::path::PathBuf::from(home).join(".docker"));
    let file = own.or(home).map(|dir| dir.join("config.json"));
    file.and_then(|file| std::fs::read_to_string(file).ok())
        .unwrap_or_default()
}

/// True when it names a context other than the default one, or the environment does.
fn names_a_context(config: &str) -> bool {
    let named = std::env::var("DOCKER_CONTEXT").ok().or_else(|| {
        let config: serde_json::Value = serde_json::from_str(config).ok()?;
        config["currentContext"].as_str().map(str::to_owned)
    });
    named.is_some_and(|name| !name.is_empty() && name != "default")
}

/// The containers of the kind cluster `name`, running or not, control plane first.
///
/// # Errors
/// When Docker does not answer.
pub async fn kind_nodes(docker: &Docker, name: &str) -> Result<Vec<NodeContainer>, ClusterError> {
    let listed = labelled(docker, format!("{LABEL_CLUSTER}={name}")).await?;
    let mut nodes: Vec<NodeContainer> = listed
        .into_iter()
        .filter_map(|container| {
            let name = container.names?.first()?.trim_start_matches('/').to_owned();
            let role = container
                .labels?
                .get(LABEL_ROLE)
                .cloned()
                .unwrap_or_default();
            let state = container
                .state
                .map(|state| state.to_string())
                .unwrap_or_default();
            let image = container.image.unwrap_or_default();
            Some(NodeContainer {
                name,
                role,
                state,
                image,
            })
        })
        .collect();
    nodes.sort_by_key(|node| (node.role != "control-plane", node.name.clone()));
    Ok(nodes)
}

/// How many containers are nodes of any kind cluster.
///
/// # Errors
/// When Docker does not answer.
pub(super) async fn count_kind_nodes(docker: &Docker) -> Result<usize, ClusterError> {
    Ok(labelled(docker, LABEL_CLUSTER.to_owned()).await?.len())
}

async fn labelled(docker: &Docker, label: String) -> Result<Vec<ContainerSummary>, ClusterError> {
    let action = format!("list the containers with label {label}");
    let filters = HashMap::from([("label".to_owned(), vec![label])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    docker
        .list_containers(Some(options))
        .await
        .map_err(|source| ClusterError::CallDocker { action, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_context_than_the_default_is_asked_for() {
        assert!(!names_a_context(""));
        assert!(!names_a_context(r#"{"currentContext": "default"}"#));
        assert!(names_a_context(
            r#"{"auths": {}, "currentContext": "desktop-linux"}"#
        ));
    }
}
