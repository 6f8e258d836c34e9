//! `harness up`: the cluster, its images, CRDs and the operator; only what is missing.

use super::{CommandResult, Exit, TargetArgs};
use crate::cluster::{ClusterLock, Progress, Repository, kind, volumes};
use crate::deploy::{operator, policies};

/// Arguments of `harness up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave the operator out.
    #[arg(long)]
    no_operator: bool,
    /// Make small volumes too, of the storage class that it names: those may be filled.
    #[arg(long)]
    small_volumes: bool,
    /// Load this version of etcd too, e.g. 3.6.12; its image is pulled or built where it is missing. May be repeated.
    #[arg(long = "etcd", value_name = "VERSION")]
    etcd: Vec<kind::EtcdVersion>,
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    let choice = target.choice();
    anyhow::ensure!(
        choice.is_own() || args.etcd.is_empty(),
        "--etcd loads images into a cluster of the harness's own; this one must be able to pull them"
    );
    let _in_use = ClusterLock::using(&choice.name)?;
    let mut progress = Progress::new();
    let cluster = kind::up(&choice, &args.etcd, &mut progress).await?;
    if choice.is_own() {
        let repository = Repository::find()?;
        let image = policies::client_image();
        let ensure = Box::pin(policies::ensure(&cluster, &repository, &image));
        let enforcement = progress.phase("network policies", ensure).await?;
        progress.say(&enforcement.to_string());
    }
    if !args.no_operator {
        let repository = Repository::find()?;
        let install = operator::install(&cluster, &repository);
        let objects = progress.phase("apply deploy/", install).await?;
        progress.say(&format!("{objects} objects applied"));
        progress
            .phase(
                "operator available",
                operator::wait_available(&cluster.kube),
            )
            .await?;
    }
    if args.small_volumes {
        let small = volumes::prepare(&cluster, &volumes::SMALL);
        progress.phase("small volumes", small).await?;
        progress.say(&format!("storage class {}", volumes::SMALL.class));
    }
    progress.say(&format!(
        "cluster is up: {} nodes, context {}",
        cluster.nodes.len(),
        cluster.context
    ));
    Ok(Exit::Pass)
}
