//! The weight of all nodes beside everything else on their machine: a build next to a run must not change its verdict.
//!
//! Docker puts containers into one control group, which counts as much as a single process beside it. A small container
//! that sees the machine's control groups raises the weight of that group. Only a group that holds nothing but
//! containers is touched: where systemd keeps them among its own services, raising the group would raise those as well.

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, Mount, MountType,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, LogsOptionsBuilder,
    StartContainerOptions, WaitContainerOptions,
};
use futures::StreamExt as _;

use crate::cluster::Progress;
use crate::cluster::beside::{remove, weight_name};

/// Which weight the nodes get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// The most that there is: everything else waits for the nodes.
    Most,
    /// What an unchanged group has.
    Usual,
}

/// Gives the control group of a cluster's nodes this weight, and says why where that cannot be done: a cluster runs
/// without it too, and times are then not judged while something else runs.
pub(super) async fn weigh(docker: &Docker, node: &str, weight: Weight, progress: &Progress) {
    match tried(docker, node, weight).await {
        Ok(told) if told.is_empty() => {}
        Ok(told) => progress.say(&told),
        Err(error) => progress.say(&format!(
            "the nodes' weight stays as it is, other work on this machine may slow them: {error}"
        )),
    }
}

async fn tried(
    docker: &Docker,
    node: &str,
    weight: Weight,
) -> Result<String, bollard::errors::Error> {
    let found = docker
        .inspect_container(node, None::<InspectContainerOptions>)
        .await?;
    let (id, image) = (
        found.id.unwrap_or_default(),
        found.image.unwrap_or_default(),
    );
    let name = weight_name(node);
    let _left_by_another = remove(docker, &name).await;
    let result = run(docker, &name, body(image, script(&id, weight))).await;
    let _gone = remove(docker, &name).await;
    result
}

async fn run(
    docker: &Docker,
    name: &str,
    body: ContainerCreateBody,
) -> Result<String, bollard::errors::Error> {
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    docker.create_container(Some(options), body).await?;
    docker
        .start_container(name, None::<StartContainerOptions>)
        .await?;
    let mut ended = docker.wait_container(name, None::<WaitContainerOptions>);
    while let Some(status) = ended.next().await {
        // A script that fails has said why.
        let _code = status;
    }
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .build();
    let mut lines = docker.logs(name, Some(options));
    let mut told = String::new();
    while let Some(line) = lines.next().await {
        told += &line?.to_string();
    }
    Ok(told.trim().to_owned())
}

fn body(image: String, script: String) -> ContainerCreateBody {
    let groups = Mount {
        typ: Some(MountType::BIND),
        source: Some("/sys/fs/cgroup".to_owned()),
        target: Some("/groups".to_owned()),
        ..Mount::default()
    };
    ContainerCreateBody {
        image: Some(image),
        entrypoint: Some(vec!["bash".into(), "-c".into(), script]),
        cmd: Some(Vec::new()),
        host_config: Some(HostConfig {
            privileged: Some(true),
            network_mode: Some("none".into()),
            cgroupns_mode: Some(HostConfigCgroupnsModeEnum::HOST),
            mounts: Some(vec![groups]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Finds the group above the node's and sets its weight, with either version of control groups. Says so when it changed
/// something, or why it did not.
fn script(id: &str, weight: Weight) -> String {
    let (v1, v2) = match weight {
        Weight::Most => (262_144, 10_000),
        Weight::Usual => (1024, 100),
    };
    format!(
        r#"if [ -e /groups/cgroup.controllers ]; then root=/groups file=cpu.weight wanted={v2}
else for root in /groups/cpu /groups/cpu,cpuacct; do [ ! -d "$root" ] || break; done; file=cpu.shares wanted={v1}; fi
own=$(find "$root" -maxdepth 6 -type d \( -name '{id}' -o -name 'docker-{id}.scope' \) 2>/dev/null | head -n1)
above=$(dirname "${{own:-/}}")
case $(basename "$above") in
docker | docker.slice) ;;
*) echo "nodes are in the control group ${{above#"$root"}}, which holds other things too: its weight stays"; exit 0 ;;
esac
was=$(cat "$above/$file")
[ "$was" != "$wanted" ] || exit 0
if echo "$wanted" 2>/dev/null >"$above/$file"; then echo "processor weight of all containers: $wanted (was $was)"
else echo "the processor weight of all containers stays $was: $above/$file cannot be written"; fi"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_group_of_containers_gets_a_weight() {
        let text = script("abc", Weight::Most);
        assert!(text.contains("docker | docker.slice)"));
        assert!(text.contains("-name 'docker-abc.scope'"));
        assert!(
            text.contains("cpu.shares wanted=262144") && text.contains("cpu.weight wanted=10000")
        );
        assert!(script("abc", Weight::Usual).contains("cpu.weight wanted=100\n"));
    }
}
