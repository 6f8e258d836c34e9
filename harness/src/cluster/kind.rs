//! The harness's own kind cluster: made, started again after a stop, filled with images, deleted. Every step does only
//! what is missing, so `up` may be called at any time.

use std::process::Stdio;

use tokio::process::Command;

use crate::cluster::creation::{self, Creation, Step};
use crate::cluster::weight::{Weight, weigh};
use crate::cluster::{
    Choice, Cluster, ClusterError, ClusterLock, Progress, Repository, beside, docker, tuning,
    wait_nodes_back,
};
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// Variable that names a node image, which kind pulls, instead of the one of `images/versions.env`.
const NODE_IMAGE: &str = "ETCD_HARNESS_NODE_IMAGE";

/// Makes the cluster if it is not there, starts nodes that are stopped, loads images that are missing or different.
/// For an existing cluster (`--kubeconfig`, `--context`) it only attaches. `etcd`: further versions of etcd to load.
///
/// # Errors
/// Says which step failed and what to do.
pub(crate) async fn up(
    choice: &Choice,
    etcd: &[EtcdVersion],
    progress: &mut Progress,
) -> Result<Cluster, ClusterError> {
    let node_image = std::env::var(NODE_IMAGE).ok();
    let node_image = node_image.filter(|image| !image.is_empty());
    if !choice.is_own() {
        if let Some(asked) = node_image {
            return Err(ClusterError::NoNodesToMake { asked });
        }
        return Cluster::attach(choice).await;
    }
    let repository = Repository::find()?;
    let lock = ClusterLock::changing(&choice.name);
    let _lock = progress.wait("another process changes it", lock).await?;
    progress
        .script("docker", repository.script("docker.sh", &[]))
        .await?;
    let kind = progress
        .script("kind", repository.script("tools.sh", &[]))
        .await?;
    let kind = kind.last().cloned().unwrap_or_else(|| "kind".to_owned());
    let docker = docker::connect().await?;
    let tools = (kind.as_str(), &docker);
    make_or_start(choice, &repository, tools, node_image, progress).await?;
    let cluster = progress.wait("API server", attach_patiently(choice));
    let cluster = cluster.await?;
    if let Some(node) = cluster.nodes.first() {
        weigh(&docker, &node.name, Weight::Most, progress).await;
    }
    tuning::raise_watch_limit(&cluster, progress).await?;
    tuning::favour_control_plane(&cluster).await?;
    tuning::give_proxies_a_share(&cluster).await?;
    let names: Vec<String> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let ready = wait_nodes_back(&cluster, &names, timeouts::NODE_READY);
    progress.phase("nodes ready", ready).await?;
    load_images(choice, &repository, etcd, progress).await?;
    let proxies = tuning::wait_proxies(&cluster.kube);
    progress.wait("proxies", proxies).await?;
    Ok(cluster)
}

/// Makes the images that are missing, and puts them into the nodes.
async fn load_images(
    choice: &Choice,
    repository: &Repository,
    etcd: &[EtcdVersion],
    progress: &mut Progress,
) -> Result<(), ClusterError> {
    let versions = etcd_versions(&repository.read("images/versions.env")?, etcd);
    let args: Vec<&str> = versions.iter().map(String::as_str).collect();
    progress
        .script("etcd images", repository.script("etcd.sh", &args))
        .await?;
    progress
        .script("our images", repository.script("rust.sh", &[]))
        .await?;
    let images = images(&versions);
    let args: Vec<&str> = std::iter::once(choice.name.as_str())
        .chain(images.iter().map(String::as_str))
        .collect();
    progress
        .script("load images", repository.script("load.sh", &args))
        .await?;
    Ok(())
}

/// Makes the nodes, or starts those that are there.
async fn make_or_start(
    choice: &Choice,
    repository: &Repository,
    (kind, docker): (&str, &bollard::Docker),
    node_image: Option<String>,
    progress: &mut Progress,
) -> Result<(), ClusterError> {
    let creation = Creation::of(&choice.name);
    let begun = progress.wait("an earlier kind", creation.has_begun());
    let begun = begun.await?;
    let nodes = docker::kind_nodes(docker, &choice.name).await?;
    let whole = begun && !nodes.is_empty() && is_whole(choice).await;
    match creation::step(nodes.len(), begun, whole) {
        Step::Start => {
            let image = nodes.first().map(|node| node.image.as_str());
            fits(&choice.name, image.unwrap_or_default(), node_image)?;
            creation.is_over();
            progress.phase("nodes", start(docker, &choice.name)).await?;
            export_kubeconfig(kind, &choice.name).await?;
        }
        step => {
            if step == Step::CreateAnew {
                let args = ["delete", "cluster", "--name", &choice.name];
                let delete = run_kind(kind, &args, Stdio::null());
                let name = "delete what an interrupted creation left";
                progress.phase(name, delete).await?;
            }
            let image = match node_image {
                Some(image) => image,
                None => {
                    let made = repository.script("node.sh", &[]);
                    let made = progress.script("node image", made).await?;
                    made.last().cloned().unwrap_or_default()
                }
            };
            let create = create(kind, repository, &creation, (&choice.name, &image));
            progress.phase("create cluster", create).await?;
            creation.is_over();
        }
    }
    Ok(())
}

/// Whether nodes of this image are what was asked for: by digest where it has one, for then a tag says nothing.
fn fits(cluster: &str, image: &str, asked: Option<String>) -> Result<(), ClusterError> {
    let is_same = |asked: &String| match asked.split_once('@') {
        Some((_, digest)) => image.ends_with(&format!("@{digest}")),
        None => asked == image,
    };
    match asked.filter(|asked| !is_same(asked)) {
        None => Ok(()),
        Some(asked) => Err(ClusterError::OtherNodeImage {
            cluster: cluster.to_owned(),
            image: image.to_owned(),
            asked,
        }),
    }
}

/// A patch release of etcd, as images are tagged with it: `v3.6.12`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EtcdVersion(String);

impl std::str::FromStr for EtcdVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.strip_prefix('v').unwrap_or(text);
        let mut parts = plain.split('.');
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let minor = (parts.next(), parts.next().filter(|minor| is_number(minor)));
        let patch = parts.next().filter(|patch| is_number(patch));
        match (minor, patch, parts.next()) {
            ((Some("3"), Some(_)), Some(_), None) => Ok(Self(format!("v{plain}"))),
            _ => Err(format!("{text:?} is no version of etcd such as 3.6.12")),
        }
    }
}

/// The versions of etcd that are tested (from `images/versions.env`), and those that were asked for.
fn etcd_versions(text: &str, asked: &[EtcdVersion]) -> Vec<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ETCD_E2E_VERSIONS="));
    let line = line.unwrap_or_default().trim_matches('"');
    let mut all: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    for EtcdVersion(version) in asked {
        if !all.contains(version) {
            all.push(version.clone());
        }
    }
    all
}

/// The images that a node must have: our own, and etcd.
fn images(etcd: &[String]) -> Vec<String> {
    let own = [
        "operator",
        "kbagent",
        "metrics-exporter",
        "etcd-backup",
        "workload",
        "pod-policies",
    ];
    let own = own
        .into_iter()
        .map(|name| format!("etcd-harness/{name}:dev"));
    let etcd = etcd
        .iter()
        .map(|version| format!("etcd-harness/etcd:{version}"));
    own.chain(etcd).collect()
}

/// Deletes the cluster. Nothing is left of it but images and caches.
///
/// # Errors
/// [`ClusterError::Lock`] while another process uses it, [`ClusterError::NotOurs`] for an existing cluster.
pub(crate) async fn down(choice: &Choice, progress: &mut Progress) -> Result<(), ClusterError> {
    if !choice.is_own() {
        let context = choice
            .context_name()
            .unwrap_or_else(|| "the current one".into());
        return Err(ClusterError::NotOurs {
            action: "delete a cluster",
            context,
            done: "deletes",
        });
    }
    let _nobody_uses_it = ClusterLock::deleting(&choice.name)?;
    let _nobody_makes_it = ClusterLock::changing(&choice.name).await?;
    let repository = Repository::find()?;
    // Without Docker there is no cluster, and `down` is no reason to install one.
    let Ok(docker) = docker::connect().await else {
        progress.say("Docker is not running: nothing to delete");
        return Ok(());
    };
    // First, and where no node is left too: a timer would continue to ask for its nodes.
    for name in beside::remove_all(&docker, &choice.name).await? {
        progress.say(&format!("container {name} of a killed process removed"));
    }
    let nodes = docker::kind_nodes(&docker, &choice.name).await?;
    if nodes.is_empty() {
        progress.say(&format!("cluster {:?} is not there", choice.name));
        Creation::of(&choice.name).is_over();
        return Ok(());
    }
    if docker::count_kind_nodes(&docker).await? == nodes.len()
        && let Some(node) = nodes.first()
    {
        weigh(&docker, &node.name, Weight::Usual, progress).await;
    }
    let kind = repository.script("tools.sh", &[]).await?;
    let kind = kind.last().cloned().unwrap_or_else(|| "kind".to_owned());
    let args = ["delete", "cluster", "--name", &choice.name];
    progress
        .phase("delete cluster", run_kind(&kind, &args, Stdio::null()))
        .await?;
    Creation::of(&choice.name).is_over();
    Ok(())
}

/// True when all of its nodes have joined it. kind names a cluster in the kubeconfig only when it is complete.
async fn is_whole(choice: &Choice) -> bool {
    let Ok(cluster) = Cluster::attach(choice).await else {
        return false;
    };
    let Some(docker) = &cluster.docker else {
        return false;
    };
    let containers = docker::kind_nodes(docker, &choice.name).await;
    containers.is_ok_and(|containers| containers.len() <= cluster.nodes.len())
}

/// Makes it. A creation that fails midway is taken back by kind itself, one that was interrupted by the next `up`.
async fn create(
    kind: &str,
    repository: &Repository,
    creation: &Creation,
    (name, image): (&str, &str),
) -> Result<(), ClusterError> {
    let config = repository.path("kind-config.yaml").display().to_string();
    let args = [
        "create", "cluster", "--name", name, "--config", &config, "--image", image,
    ];
    run_kind(kind, &args, creation.begin().await?).await
}

async fn export_kubeconfig(kind: &str, name: &str) -> Result<(), ClusterError> {
    let args = ["export", "kubeconfig", "--name", name];
    run_kind(kind, &args, Stdio::null()).await
}

/// Runs kind; its output goes to stderr.
async fn run_kind(kind: &str, args: &[&str], stdin: Stdio) -> Result<(), ClusterError> {
    let script = std::path::PathBuf::from(kind);
    let fail = |status: String| {
        ClusterError::Repository(crate::cluster::RepositoryError::Script {
            script: script.join(args.join(" ")),
            status,
        })
    };
    let status = Command::new(kind)
        .args(args)
        .stdin(stdin)
        .stdout(Stdio::null())
        .status()
        .await
        .map_err(|error| fail(error.to_string()))?;
    if status.success() {
        Ok(())
    } else {
        Err(fail(status.to_string()))
    }
}

/// Starts nodes that are stopped and thaws those that are paused (a daemon that was killed, a harness that was).
async fn start(docker: &bollard::Docker, name: &str) -> Result<(), ClusterError> {
    for node in docker::kind_nodes(docker, name).await? {
        let action = format!("start node {:?}", node.name);
        let call = |source| ClusterError::CallDocker { action, source };
        match node.state.as_str() {
            "running" => {}
            "paused" => docker.unpause_container(&node.name).await.map_err(call)?,
            _ => docker
                .start_container(
                    &node.name,
                    None::<bollard::query_parameters::StartContainerOptions>,
                )
                .await
                .map_err(call)?,
        }
    }
    Ok(())
}

/// The API server of a cluster that has just been started takes a while to answer.
async fn attach_patiently(choice: &Choice) -> Result<Cluster, ClusterError> {
    let what = "the API server answers";
    wait_every(
        timeouts::POLL_SLOW,
        what,
        timeouts::API_SERVER_BACK,
        async || match Cluster::attach(choice).await {
            Ok(cluster) => Poll::Ready(cluster),
            Err(error @ ClusterError::CallApi { .. }) => Poll::NotYet(error.to_string()),
            Err(error) => Poll::Failed(error),
        },
    )
    .await
    .map_err(|error| ClusterError::AwaitNodes {
        message: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_our_images_and_etcd_in_the_tested_versions_and_those_asked_for() {
        let asked = ["3.6.12", "v3.6.1"].map(|text| text.parse().expect("a version"));
        let versions = etcd_versions("A=1\nETCD_E2E_VERSIONS=\"v3.6.16 v3.6.1\"\n", &asked);
        assert_eq!(versions, ["v3.6.16", "v3.6.1", "v3.6.12"]);
        let images = images(&versions);
        assert_eq!(images.len(), 9);
        assert!(images.contains(&"etcd-harness/etcd:v3.6.12".to_owned()));
        assert!(images.contains(&"etcd-harness/operator:dev".to_owned()));
    }

    #[test]
    fn nodes_of_another_image_than_the_one_that_is_named_are_refused() {
        let named = "kindest/node:v1.36.4@sha256:09";
        let check = |asked: &str, image: &str| fits("c", image, Some(asked.to_owned()));
        for image in [named, "kindest/node@sha256:09"] {
            assert!(check(named, image).is_ok(), "{image}");
        }
        for image in ["kindest/node:v1.36.4", "kindest/node@sha256:109", ""] {
            let refused = check(named, image).expect_err(image).to_string();
            let parts = [named, "cluster \"c\"", "harness down"];
            assert!(parts.iter().all(|part| refused.contains(part)), "{refused}");
        }
        assert!(check("node:a", "node:a").is_ok());
        assert!(check("node:a", "node:b").is_err());
        assert!(fits("c", "node:a", None).is_ok());
    }

    #[test]
    fn what_is_no_version_of_etcd_is_refused_before_anything_is_built() {
        for text in [
            "", "3.6", "3.6.x", "2.3.8", "3.6.1-rc", "3.6.1.2", "v3..1", "3.6.1;rm",
        ] {
            assert!(text.parse::<EtcdVersion>().is_err(), "{text}");
        }
    }
}
