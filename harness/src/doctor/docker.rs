//! Docker, the images in it, and what the kernel under it can do, tried in a scratch container.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListImagesOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions,
};

use crate::cluster::kernel::{self, Trial};
use crate::cluster::{Choice, NodeShell, kind_nodes};
use crate::doctor::{Standing, Symptom};
use crate::faults::switch::container::{Order, Switch};
use crate::faults::{Capabilities, try_kernel};
use crate::timeouts;

/// Gibibytes that six nodes, their images and a few runs need.
const DISK_NEEDED_GIB: u64 = 6;

/// What the primitives are for, and what stands in for each.
const PRIMITIVES: [(&str, &str); 8] = [
    (kernel::NFT, "iptables stands in for partitions"),
    (
        kernel::NFT_RANDOM,
        "iptables' statistic stands in for packet loss",
    ),
    (kernel::IPTABLES, "not needed where nft works"),
    (kernel::IPTABLES_RANDOM, "not needed where nft works"),
    (kernel::LOOP_MOUNT, "disk-full scenarios are skipped"),
    (kernel::SIGSTOP, "freezing of processes is skipped"),
    (
        kernel::NETEM,
        "no fault needs it yet: latency would (module sch_netem)",
    ),
    (kernel::NFQUEUE, "no fault needs it yet"),
];

/// Docker itself and its images.
pub(crate) async fn findings(docker: &Docker) -> Vec<Symptom> {
    let mut findings = Vec::new();
    match docker.info().await {
        Ok(info) => {
            let cgroup = info
                .cgroup_version
                .map(|version| version.to_string())
                .unwrap_or_default();
            let text = format!(
                "{} on {} ({}), cgroup v{cgroup}",
                info.server_version.unwrap_or_default(),
                info.operating_system.unwrap_or_default(),
                info.kernel_version.unwrap_or_default(),
            );
            findings.push(Symptom::required("docker", Standing::Available, &text));
        }
        Err(error) => findings.push(Symptom::required(
            "docker",
            Standing::Unavailable,
            &error.to_string(),
        )),
    }
    let images = images(docker).await;
    for (subject, prefix, remedy) in [
        (
            "image: node",
            &["kindest/node", "etcd-harness/node"][..],
            "`harness up` pulls or builds it",
        ),
        (
            "image: etcd",
            &["etcd-harness/etcd"][..],
            "`harness up` pulls or builds it",
        ),
        (
            "image: operator",
            &["etcd-harness/operator"][..],
            "`harness up` builds it",
        ),
        (
            "image: kbagent",
            &["etcd-harness/kbagent"][..],
            "`harness up` builds it",
        ),
        (
            "image: workload",
            &["etcd-harness/workload"][..],
            "`harness up` builds it",
        ),
    ] {
        let found: Vec<&str> = images
            .iter()
            .map(String::as_str)
            .filter(|image| prefix.iter().any(|p| image.starts_with(p)))
            .collect();
        findings.push(if found.is_empty() {
            Symptom::new(subject, Standing::Fallback, "not there yet").remedy(remedy)
        } else {
            Symptom::new(subject, Standing::Available, &found.join(" "))
        });
    }
    findings
}

async fn images(docker: &Docker) -> Vec<String> {
    let options = ListImagesOptionsBuilder::default().build();
    let listed = docker.list_images(Some(options)).await.unwrap_or_default();
    let mut names: Vec<String> = listed
        .into_iter()
        .flat_map(|image| image.repo_tags)
        .collect();
    names.sort();
    names
}

/// What the kernel can do: tried in a scratch container of the node image. With what faults can do there, where it
/// could be tried.
pub(crate) async fn kernel_findings(
    docker: &Docker,
    choice: &Choice,
) -> (Vec<Symptom>, Option<Capabilities>) {
    let mut findings = Vec::new();
    let mut capabilities = None;
    let scratch = Scratch::start(docker, choice).await;
    let trial = match &scratch {
        Ok(scratch) => try_kernel(&scratch.shell()).await,
        Err(reason) => Err(reason.clone()),
    };
    match trial {
        Err(reason) => findings.push(
            Symptom::new(
                "kernel",
                Standing::Fallback,
                &format!("not tried: {reason}"),
            )
            .remedy("`harness up` brings the node image it is tried with"),
        ),
        Ok(trial) => {
            capabilities = Some(Capabilities::read(&trial));
            findings.extend(
                PRIMITIVES
                    .iter()
                    .map(|(name, instead)| primitive(&trial, name, instead)),
            );
            if let Some(Ok(version)) = trial.result(kernel::CGROUP) {
                findings.push(Symptom::new(
                    "cgroup in nodes",
                    Standing::Available,
                    version,
                ));
            }
        }
    }
    if let Ok(scratch) = &scratch {
        findings.push(scratch.pause().await);
        let switch = scratch.switch().await;
        if let Some(capabilities) = &mut capabilities
            && switch.standing == Standing::Unavailable
        {
            capabilities.node_power = Some(switch.detail.clone());
        }
        findings.push(switch);
        findings.push(scratch.disk().await);
        scratch.remove().await;
    }
    (findings, capabilities)
}

fn primitive(trial: &Trial, name: &str, instead: &str) -> Symptom {
    match trial.result(name) {
        Some(Ok(_)) => Symptom::new(name, Standing::Available, "tried"),
        Some(Err(complaint)) => {
            Symptom::new(name, Standing::Unavailable, complaint).remedy(instead)
        }
        None => {
            Symptom::new(name, Standing::Unavailable, "the trial did not get there").remedy(instead)
        }
    }
}

/// A container for trials.
struct Scratch {
    docker: Docker,
    name: String,
    image: String,
}

impl Scratch {
    async fn start(docker: &Docker, choice: &Choice) -> Result<Self, String> {
        let image = Self::image(docker, choice)
            .await
            .ok_or("there is no node image yet")?;
        let name = format!("etcd-harness-doctor-{:08x}", rand::random::<u32>());
        let body = ContainerCreateBody {
            image: Some(image.clone()),
            entrypoint: Some(vec!["sleep".into(), "120".into()]),
            cmd: Some(Vec::new()),
            labels: Some(HashMap::from([(
                "etcd-harness.doctor".to_owned(),
                "1".to_owned(),
            )])),
            host_config: Some(HostConfig {
                privileged: Some(true),
                auto_remove: Some(true),
                network_mode: Some("none".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        docker
            .create_container(Some(options), body)
            .await
            .map_err(|error| error.to_string())?;
        let scratch = Self {
            docker: docker.clone(),
            name,
            image,
        };
        let started = docker
            .start_container(&scratch.name, None::<StartContainerOptions>)
            .await;
        if let Err(error) = started {
            scratch.remove().await;
            return Err(format!("a privileged container does not start: {error}"));
        }
        Ok(scratch)
    }

    /// The image of the cluster's nodes, else any node image that is there.
    async fn image(docker: &Docker, choice: &Choice) -> Option<String> {
        let nodes = kind_nodes(docker, &choice.name).await.unwrap_or_default();
        if let Some(node) = nodes.first()
            && let Ok(found) = docker.inspect_container(&node.name, None).await
            && found.image.is_some()
        {
            return found.image;
        }
        let images = images(docker).await;
        images.into_iter().find(|image| {
            image.starts_with("kindest/node") || image.starts_with("etcd-harness/node")
        })
    }

    fn shell(&self) -> NodeShell {
        NodeShell::new(self.docker.clone(), self.name.clone())
    }

    async fn pause(&self) -> Symptom {
        let paused = self.docker.pause_container(&self.name).await;
        let thawed = self.docker.unpause_container(&self.name).await;
        match paused.and(thawed) {
            Ok(()) => Symptom::new("docker pause", Standing::Available, "tried"),
            Err(error) => Symptom::new("docker pause", Standing::Unavailable, &error.to_string())
                .remedy("scenarios that freeze a whole node are skipped"),
        }
    }

    /// A container with Docker's socket, which undoes what is done to nodes as a whole.
    async fn switch(&self) -> Symptom {
        let order = Order {
            cluster: "doctor",
            trace: &format!("doctor-{:08x}", rand::random::<u32>()),
            image: &self.image,
            nodes: &[],
            limit: timeouts::NODE_COMMAND,
        };
        match Switch::arm(&self.docker, &order).await {
            Ok(switch) => {
                switch.disarm().await;
                Symptom::new("switch for nodes", Standing::Available, "tried")
            }
            Err(error) => Symptom::new(
                "switch for nodes",
                Standing::Unavailable,
                &error.to_string(),
            )
            .remedy("scenarios that pause or kill nodes are skipped, for nothing would undo it"),
        }
    }

    async fn disk(&self) -> Symptom {
        let free = self.shell().run("df -Pk / | awk 'END {print int($4 / 1048576)}'; sysctl -n fs.inotify.max_user_instances").await;
        let text = free.map(|output| output.stdout).unwrap_or_default();
        let mut numbers = text
            .lines()
            .filter_map(|line| line.trim().parse::<u64>().ok());
        let gib = numbers.next().unwrap_or_default();
        let watches = numbers.next().unwrap_or_default();
        let words =
            format!("{gib} GiB free where Docker keeps containers, {watches} file watchers");
        if gib >= DISK_NEEDED_GIB {
            return Symptom::new("disk of nodes", Standing::Available, &words);
        }
        Symptom::required("disk of nodes", Standing::Unavailable, &words).remedy(&format!(
            "six nodes and their images want {DISK_NEEDED_GIB} GiB: free some"
        ))
    }

    async fn remove(&self) {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(true)
            .build();
        if let Err(error) = self
            .docker
            .remove_container(&self.name, Some(options))
            .await
        {
            tracing::debug!(%error, "scratch container not removed");
        }
    }
}
