//! `kubectl etcd status NAME`: members, what they say of themselves, and what the operator waits for. Changes nothing.
//!
//! `look` reads, `view` (pure) draws. Members are asked through the API server, so any user who may `get pods/proxy`
//! sees them, and nothing of the cluster need be reachable.

mod look;
mod view;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

/// Shows etcd clusters.
#[derive(Parser)]
#[command(name = "kubectl-etcd", bin_name = "kubectl etcd", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Members with role, term, lag, size and alarms; the service; what is being waited for.
    Status(Target),
}

#[derive(Args)]
struct Target {
    /// Name of the Cluster.
    name: String,
    /// Its namespace; the context's when left out.
    #[arg(long, short)]
    namespace: Option<String>,
    /// Context of the kubeconfig; the current one when left out.
    #[arg(long)]
    context: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let Command::Status(target) = Cli::parse().command;
    // The one TLS provider of the workspace; another call would only have chosen the same.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    print!("{}", runtime.block_on(status(target))?);
    Ok(())
}

async fn status(target: Target) -> anyhow::Result<String> {
    let options = KubeConfigOptions {
        context: target.context,
        ..KubeConfigOptions::default()
    };
    let config = Config::from_kubeconfig(&options)
        .await
        .context("failed to read the kubeconfig")?;
    let namespace = target
        .namespace
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("failed to make a client")?;
    let seen = look::look(&client, &namespace, &target.name).await?;
    Ok(view::view(&seen))
}
