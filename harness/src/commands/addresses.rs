//! `harness addresses`: gives addresses to Services of type LoadBalancer until it is interrupted.

use super::{CommandResult, Exit, TargetArgs};
use crate::cluster::Cluster;
use crate::cluster::addresses::{Addresses, Scope};

/// Arguments of `harness addresses`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) async fn run(_args: Args, target: &TargetArgs) -> CommandResult {
    let cluster = Cluster::attach(&target.choice()).await?;
    let serving = Addresses::serve(&cluster, Scope::Everywhere, |text| println!("{text}")).await?;
    println!(
        "Services of type LoadBalancer get addresses on the nodes' network; Ctrl-C takes them back"
    );
    tokio::signal::ctrl_c().await?;
    serving.end().await?;
    Ok(Exit::Pass)
}
