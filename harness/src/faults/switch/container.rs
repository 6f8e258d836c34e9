//! The dead man's switch for a node as a whole: nothing runs inside a node that is paused or off, and the harness may
//! be dead, so a small container beside the nodes holds the timer and asks Docker to unpause and start them. It is
//! created from the node's own image (which has curl) and given Docker's socket; where that cannot be had, pausing and
//! killing of nodes is refused rather than left without a switch.

use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
use futures::future::try_join_all;

use crate::cluster::NodeShell;
use crate::cluster::beside::{self, timer_labels};
use crate::faults::FaultError;

/// A timer that unpauses and starts nodes.
#[derive(Debug)]
pub(crate) struct Switch {
    docker: Docker,
    name: String,
}

/// For which nodes, and when.
pub(crate) struct Order<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// Name of the fault's traces.
    pub trace: &'a str,
    /// Image with a shell and curl: the nodes' own.
    pub image: &'a str,
    /// Containers of the nodes.
    pub nodes: &'a [String],
    /// After how long.
    pub limit: Duration,
}

impl Switch {
    /// Starts the timer and waits until it says that it can reach Docker.
    pub(crate) async fn arm(docker: &Docker, order: &Order<'_>) -> Result<Self, FaultError> {
        let name = format!("etcd-harness-switch-{}", order.trace);
        let nodes = ids(docker, order.nodes).await?;
        let mut last = String::new();
        for socket in sockets() {
            match start(docker, (order, &nodes), &name, &socket).await {
                Ok(()) => {
                    return Ok(Self {
                        docker: docker.clone(),
                        name,
                    });
                }
                Err(error) => last = format!("{socket}: {error}"),
            }
            remove(docker, &name).await;
        }
        Err(FaultError::docker(
            "arm the dead man's switch of a node (a container with Docker's socket)",
            last,
        ))
    }

    /// Takes the timer away. False when it had gone off before.
    pub(crate) async fn disarm(&self) -> bool {
        remove(&self.docker, &self.name).await
    }

    /// True while the timer is there.
    pub(crate) async fn is_left(&self) -> Result<bool, FaultError> {
        match self.docker.inspect_container(&self.name, None).await {
            Ok(_) => Ok(true),
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(false),
            Err(error) => Err(FaultError::docker(format!("inspect {}", self.name), error)),
        }
    }
}

/// Removes a timer. False when it was not there.
pub(crate) async fn remove(docker: &Docker, name: &str) -> bool {
    beside::remove(docker, name).await.unwrap_or_default()
}

/// The containers of these nodes, as no later one is called: a cluster that is made again has nodes of the same names.
async fn ids(docker: &Docker, nodes: &[String]) -> Result<Vec<String>, FaultError> {
    let ids = nodes.iter().map(async |node| {
        let found = docker.inspect_container(node, None).await;
        let found =
            found.map_err(|error| FaultError::docker(format!("inspect node {node}"), error))?;
        let id = found.id.filter(|id| !id.is_empty());
        id.ok_or_else(|| FaultError::find(format!("the container of node {node}"), "it has no ID"))
    });
    try_join_all(ids).await
}

/// Where Docker's socket is for a container on Docker's own machine: the usual place, which is also right inside the
/// virtual machine of a desktop, else where we reach it ourselves (rootless).
fn sockets() -> Vec<String> {
    let mut places = vec!["/var/run/docker.sock".to_owned()];
    let own = std::env::var("DOCKER_HOST").ok();
    if let Some(path) = own.as_deref().and_then(|host| host.strip_prefix("unix://")) {
        places.push(path.to_owned());
    }
    if let Ok(dir) = std::env::var("XDG_RUNTIME_DIR") {
        places.push(format!("{dir}/docker.sock"));
    }
    places.dedup();
    places
}

pub(crate) async fn image_of(docker: &Docker, container: &str) -> Result<String, FaultError> {
    let found = docker
        .inspect_container(container, None)
        .await
        .map_err(|error| FaultError::docker(format!("inspect node {container}"), error))?;
    found.image.ok_or_else(|| {
        FaultError::find(
            format!("the image of node {container}"),
            "Docker names none",
        )
    })
}

async fn start(
    docker: &Docker,
    (order, nodes): (&Order<'_>, &[String]),
    name: &str,
    socket: &str,
) -> Result<(), String> {
    let mount = Mount {
        typ: Some(MountType::BIND),
        source: Some(socket.to_owned()),
        target: Some("/docker.sock".to_owned()),
        ..Default::default()
    };
    let body = ContainerCreateBody {
        image: Some(order.image.to_owned()),
        entrypoint: Some(vec!["sh".into(), "-c".into(), script(nodes, order.limit)]),
        cmd: Some(Vec::new()),
        labels: Some(timer_labels(order.cluster)),
        host_config: Some(HostConfig {
            auto_remove: Some(true),
            network_mode: Some("none".into()),
            mounts: Some(vec![mount]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    docker
        .create_container(Some(options), body)
        .await
        .map_err(|error| error.to_string())?;
    docker
        .start_container(name, None::<StartContainerOptions>)
        .await
        .map_err(|error| error.to_string())?;
    let armed =
        "for i in 1 2 3 4 5 6 7 8 9 10; do [ -e /armed ] && exit 0; sleep 0.2; done; exit 1";
    let shell = NodeShell::new(docker.clone(), name.to_owned());
    let output = shell.run(armed).await.map_err(|error| error.to_string())?;
    if output.success() {
        Ok(())
    } else {
        Err("Docker does not answer there".to_owned())
    }
}

/// Asks until every node runs that is still there: Docker may be as busy as everything else, and one that was deleted
/// with its cluster never runs again.
fn script(nodes: &[String], limit: Duration) -> String {
    format!(
        "ask() {{ curl -s -m 30 -f --unix-socket /docker.sock -X $1 http://docker$2; }}\n\
         gone() {{ [ \"$(curl -s -m 30 -o /dev/null -w '%{{http_code}}' --unix-socket /docker.sock http://docker/containers/$1/json)\" = 404 ]; }}\n\
         ask GET /_ping >/dev/null || exit 9\n: >/armed\nsleep {} & wait\n\
         until all=1\n for node in {}; do\n  gone $node && continue\n  ask POST /containers/$node/unpause\n  ask POST /containers/$node/start\n\
           ask GET /containers/$node/json | grep -q '\"Status\":\"running\"' || all=0\n done\n [ $all = 1 ]\n\
         do sleep 2; done\n",
        limit.as_secs().max(1),
        nodes.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;
    use crate::cluster::fake_docker::FakeDocker;

    #[test]
    fn the_timer_thaws_and_starts_every_node_after_the_limit() {
        let text = script(&["w1".into(), "w2".into()], Duration::from_secs(90));
        let (before, after) = text.split_once("sleep 90").expect("a limit");
        assert!(before.contains("_ping") && before.contains("/armed"));
        for call in ["in w1 w2;", "$node/unpause", "$node/start", "until"] {
            assert!(after.contains(call), "{call}");
        }
    }

    /// One node was deleted, with its cluster or without.
    #[test]
    fn the_timer_ends_when_its_nodes_are_gone() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let calls = dir.path().join("calls").display().to_string();
        let curl = format!(
            "curl() {{ for url; do :; done\necho \"$*\" >>{calls}\ncase \"$* \" in \
             *http_code*w1*) printf 404;; *http_code*) printf 200;; *w1/*) return 22;; \
             *w2/json*) echo '{{\"Status\":\"running\"}}';; esac; }}\n"
        );
        let text = script(&["w1".into(), "w2".into()], Duration::from_secs(1))
            .replace("/armed", &dir.path().join("armed").display().to_string());
        let ended = std::process::Command::new("timeout")
            .args(["20", "sh", "-c", &(curl + &text)])
            .status();
        assert!(ended.expect("a shell").success(), "it asks for ever");
        let calls = std::fs::read_to_string(calls).expect("calls");
        let posts: Vec<&str> = calls.lines().filter(|call| call.contains("POST")).collect();
        assert!(!posts.iter().any(|call| call.contains("w1")), "{posts:?}");
        assert_eq!(posts.len(), 2, "{posts:?}");
    }

    #[tokio::test]
    async fn a_timer_knows_its_nodes_by_what_no_later_one_has() {
        let fake = FakeDocker::new(|_| (200, br#"{"Id":"c0ffee"}"#.to_vec()));
        let found = ids(&fake.docker, &["w1".to_owned()]).await;
        assert_eq!(found.expect("an ID"), ["c0ffee"]);
        let fake = FakeDocker::new(|_| (200, b"{}".to_vec()));
        assert!(ids(&fake.docker, &["w1".to_owned()]).await.is_err());
    }

    #[test]
    fn the_script_is_valid_shell() {
        assert_is_shell(&script(&["w1".into()], Duration::from_secs(9)));
    }

    /// Docker is a script here: it refuses the first start and takes the second.
    #[test]
    fn a_start_that_docker_refused_is_asked_for_again() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let calls = dir.path().join("calls").display().to_string();
        let curl = format!(
            "curl() {{ for url; do :; done\ncase $url in */start) echo x >>{calls};; \
             */json) [ $(wc -l <{calls}) -ge 2 ] && echo '{{\"Status\":\"running\"}}';; esac; }}\n"
        );
        let text = script(&["w1".into()], Duration::from_secs(1))
            .replace("/armed", &dir.path().join("armed").display().to_string());
        let status = std::process::Command::new("sh")
            .args(["-c", &(curl + &text)])
            .status();
        assert!(status.expect("a shell").success());
        let calls = std::fs::read_to_string(calls).expect("calls");
        assert_eq!(calls.lines().count(), 2);
    }
}
