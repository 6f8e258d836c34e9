//! The power of nodes, through Docker: frozen, off, on. One call each; who does what when is
//! [`crate::faults::node::harm`].

use bollard::Docker;
use bollard::query_parameters::{KillContainerOptionsBuilder, StartContainerOptions};
use futures::future::try_join_all;

use crate::faults::FaultError;
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Freezes a container. A busy one does not always freeze at the first attempt on cgroup v1.
pub(crate) async fn pause(docker: &Docker, name: &str) -> Result<(), FaultError> {
    let action = format!("pause node {name}");
    let paused = wait_until(action.clone(), timeouts::FREEZE, async || {
        match docker.pause_container(name).await {
            Ok(()) => Poll::Ready(()),
            Err(error) if error.to_string().contains("unable to freeze") => {
                Poll::NotYet(error.to_string())
            }
            Err(error) => Poll::Failed(error),
        }
    })
    .await;
    paused.map_err(|error| FaultError::docker(action, error))
}

/// Unpauses a frozen container.
pub(crate) async fn unpause(docker: &Docker, name: &str) -> Result<(), FaultError> {
    let thawed = docker.unpause_container(name).await;
    thawed.map_err(|error| FaultError::docker(format!("unpause node {name}"), error))
}

/// Switches containers off, all at the same moment.
pub(crate) async fn kill(docker: &Docker, names: &[String]) -> Result<(), FaultError> {
    let options = KillContainerOptionsBuilder::default()
        .signal("SIGKILL")
        .build();
    try_join_all(names.iter().map(async |name| {
        let killed = docker.kill_container(name, Some(options.clone())).await;
        killed.map_err(|error| FaultError::docker(format!("kill node {name}"), error))
    }))
    .await?;
    Ok(())
}

/// Switches containers on, one after the other.
pub(crate) async fn start(docker: &Docker, order: &[String]) -> Result<(), FaultError> {
    for name in order {
        let started = docker
            .start_container(name, None::<StartContainerOptions>)
            .await;
        started.map_err(|error| FaultError::docker(format!("start node {name}"), error))?;
    }
    Ok(())
}

/// Docker's word for a container's state, and when it was started.
pub(crate) async fn state(docker: &Docker, name: &str) -> Result<(String, String), FaultError> {
    let found = docker.inspect_container(name, None).await;
    let found = found.map_err(|error| FaultError::docker(format!("inspect node {name}"), error))?;
    let state = found.state.unwrap_or_default();
    let word = state
        .status
        .map(|status| status.to_string())
        .unwrap_or_default();
    Ok((word, state.started_at.unwrap_or_default()))
}

/// The containers by their addresses. Docker gives addresses in the order in which containers are started: in this
/// order each gets its own again.
pub(crate) async fn by_address(
    docker: &Docker,
    names: Vec<String>,
) -> Result<Vec<String>, FaultError> {
    let mut nodes = Vec::new();
    for name in names {
        let found = docker.inspect_container(&name, None).await;
        let found =
            found.map_err(|error| FaultError::docker(format!("inspect node {name}"), error))?;
        let networks = found
            .network_settings
            .and_then(|settings| settings.networks);
        let address = networks
            .unwrap_or_default()
            .into_values()
            .find_map(|network| network.ip_address);
        let address = address.and_then(|address| address.parse::<std::net::Ipv4Addr>().ok());
        nodes.push((address, name));
    }
    nodes.sort();
    Ok(nodes.into_iter().map(|(_, name)| name).collect())
}
