//! Containers and networks of bare runs, by their labels: removed at the end of a run, and where the process that made
//! them has died.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use futures::future::join_all;

use crate::bare::BareError;
use crate::deploy::owner::{self, LABEL, LABEL_OWNER};
use crate::wait::{Poll, wait_until};

/// Time for Docker to remove a run's containers and network, while another process may ask for the same.
const GONE: Duration = Duration::from_secs(30);

/// Runs whose process has died and left containers or a network.
///
/// # Errors
/// When Docker does not answer.
pub(crate) async fn orphaned(docker: &Docker) -> Result<BTreeSet<String>, BareError> {
    let things = list(docker, LABEL).await?;
    Ok(things.iter().filter_map(orphan).collect())
}

/// Names of the containers and networks that this process made and that are still there.
///
/// # Errors
/// When Docker does not answer.
pub(crate) async fn own(docker: &Docker) -> Result<Vec<String>, BareError> {
    let things = list(docker, &format!("{LABEL_OWNER}={}", owner::own())).await?;
    Ok(things.into_iter().map(|thing| thing.name).collect())
}

/// Removes what runs of dead processes left; returns the runs.
///
/// # Errors
/// When Docker refuses.
pub(crate) async fn remove_orphaned(docker: &Docker) -> Result<BTreeSet<String>, BareError> {
    let runs = orphaned(docker).await?;
    for run in &runs {
        remove(docker, run).await?;
    }
    Ok(runs)
}

/// Removes everything of the runs of one process; false when nothing was there.
///
/// # Errors
/// When Docker refuses.
pub(crate) async fn remove_of(docker: &Docker, owner: &str) -> Result<bool, BareError> {
    let things = list(docker, &format!("{LABEL_OWNER}={owner}")).await?;
    let runs: BTreeSet<String> = things
        .into_iter()
        .filter_map(|mut thing| thing.labels.remove(LABEL))
        .collect();
    let removed = join_all(runs.iter().map(|run| remove(docker, run))).await;
    removed.into_iter().collect::<Result<(), _>>()?;
    Ok(!runs.is_empty())
}

/// Removes everything of a run, and looks that nothing is left. Another process may be removing the same.
///
/// # Errors
/// When Docker refuses, or something is still there after a while.
pub(crate) async fn remove(docker: &Docker, run: &str) -> Result<(), BareError> {
    let what = format!("everything of run {run} removed");
    let gone = wait_until(what, GONE, async || match remove_once(docker, run).await {
        Ok(left) if left.is_empty() => Poll::Ready(()),
        Ok(left) => Poll::NotYet::<_, BareError>(format!("{} is left", left.join(", "))),
        Err(error) => Poll::NotYet(error.to_string()),
    });
    gone.await.map_err(|error| {
        BareError::Wait(format!(
            "{error}; `harness doctor --residue --fix` removes it"
        ))
    })
}

/// Asks Docker once for all of it; returns what is still there.
async fn remove_once(docker: &Docker, run: &str) -> Result<Vec<String>, BareError> {
    let label = format!("{LABEL}={run}");
    let things = list(docker, &label).await?;
    let (networks, containers): (Vec<Thing>, Vec<Thing>) =
        things.into_iter().partition(|thing| thing.is_network);
    let removed = join_all(
        containers
            .iter()
            .map(|thing| remove_container(docker, thing)),
    )
    .await;
    removed.into_iter().collect::<Result<(), _>>()?;
    for network in networks {
        let removed = docker.remove_network(&network.name).await;
        unless_gone(removed, || format!("remove network {}", network.name))?;
    }
    let left = list(docker, &label).await?;
    Ok(left.into_iter().map(|thing| thing.name).collect())
}

/// A container or a network.
struct Thing {
    name: String,
    is_network: bool,
    is_paused: bool,
    labels: HashMap<String, String>,
}

fn orphan(thing: &Thing) -> Option<String> {
    let died = thing
        .labels
        .get(LABEL_OWNER)
        .is_some_and(|owner| owner::has_died(owner));
    thing.labels.get(LABEL).filter(|_| died).cloned()
}

async fn list(docker: &Docker, label: &str) -> Result<Vec<Thing>, BareError> {
    let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let containers = docker.list_containers(Some(options)).await;
    let containers = containers.map_err(|error| {
        BareError::docker(format!("list the containers with label {label}"), error)
    })?;
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filters)
        .build();
    let networks = docker.list_networks(Some(options)).await;
    let networks = networks.map_err(|error| {
        BareError::docker(format!("list the networks with label {label}"), error)
    })?;
    let containers = containers.into_iter().filter_map(|container| {
        let state = container.state.map(|state| state.to_string());
        Some(Thing {
            name: container.names?.first()?.trim_start_matches('/').to_owned(),
            is_network: false,
            is_paused: state.as_deref() == Some("paused"),
            labels: container.labels.unwrap_or_default(),
        })
    });
    let networks = networks.into_iter().filter_map(|network| {
        Some(Thing {
            name: network.name?,
            is_network: true,
            is_paused: false,
            labels: network.labels.unwrap_or_default(),
        })
    });
    Ok(containers.chain(networks).collect())
}

async fn remove_container(docker: &Docker, thing: &Thing) -> Result<(), BareError> {
    let name = &thing.name;
    if thing.is_paused {
        let resumed = docker.unpause_container(name).await;
        unless_gone(resumed, || format!("unpause container {name}"))?;
    }
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    let removed = docker.remove_container(name, Some(options)).await;
    unless_gone(removed, || format!("remove container {name}"))
}

/// What another process has removed meanwhile, or is removing, is no failure.
fn unless_gone(
    result: Result<(), bollard::errors::Error>,
    action: impl FnOnce() -> String,
) -> Result<(), BareError> {
    match result {
        Err(bollard::errors::Error::DockerResponseServerError {
            status_code: 404 | 409,
            ..
        })
        | Ok(()) => Ok(()),
        Err(error) => Err(BareError::docker(action(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(owner: &str) -> Thing {
        Thing {
            name: "bare-7-0".to_owned(),
            is_network: false,
            is_paused: false,
            labels: HashMap::from([
                (LABEL.to_owned(), "7".to_owned()),
                (LABEL_OWNER.to_owned(), owner.to_owned()),
            ]),
        }
    }

    #[test]
    fn only_what_a_dead_process_left_is_an_orphan() {
        let own = owner::labels("7");
        assert_eq!(own.get(LABEL).map(String::as_str), Some("7"));
        assert_eq!(orphan(&thing(&own[LABEL_OWNER])), None, "we are alive");
        let (rest, _) = own[LABEL_OWNER].rsplit_once('.').expect("a start");
        let dead = thing(&format!("{rest}.1"));
        assert_eq!(orphan(&dead), Some("7".to_owned()));
        let unknown = thing("not written by us");
        assert_eq!(orphan(&unknown), None, "it is not known who made it");
    }
}
