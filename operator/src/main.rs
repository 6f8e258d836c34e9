//! Runs etcd clusters on Kubernetes: Cluster -> Component -> InstanceSet -> Pod.
//!
//! Modules, in the order in which a change of a spec passes through them:
//! - [`cluster`]: Cluster -> Components and its own services.
//! - [`component`]: Component -> InstanceSet, services, secret, budget.
//! - [`instanceset`]: InstanceSet -> pods, claims, membership.
//! - [`backup`]: Backup -> a Job that makes it, and what came of it; policies and repositories.
//! - [`operations`]: OpsRequest -> an edit of its Cluster, and what came of it.
//! - [`roles`]: which pod carries which role label; a data path, runs in every replica without the lease.
//! - [`page`]: one look at all clusters, for people; off by default.
//! - [`definition`]: ComponentDefinitions and ComponentVersions: matching, resolution, their status.
//! - [`agent`]: client of kbagent, the only way to etcd.
//! - [`certificates`]: names, issuing and checks of certificates: pure.
//! - [`admission`]: the policies that keep others from the operator's objects.
//! - [`token`]: what opens an agent for changes.
//! - [`controller`]: what the reconcilers share: context, backoff, events, apply.
//! - [`run`], [`config`], [`client`], [`lease`], [`server`], [`metrics`], [`namespaces`], [`watches`], [`telemetry`],
//!   [`crd`]: the frame around them.
//!
//! Rule of dependency: `plan` modules see no client and no clock; nothing depends on the reconcilers.
//!
//! This file is the command line: `run` it, or print its CustomResourceDefinitions. Wiring only.

mod admission;
#[cfg(test)]
mod admitted;
mod agent;
mod backup;
#[cfg(test)]
mod broken;
mod certificates;
mod client;
mod cluster;
mod component;
mod config;
mod controller;
mod crd;
mod definition;
#[cfg(test)]
mod fake_agent;
#[cfg(test)]
mod fake_api;
mod instanceset;
mod lease;
mod metrics;
#[cfg(test)]
mod mutation;
mod namespaces;
mod operations;
mod page;
mod roles;
mod run;
mod server;
mod shallow;
mod telemetry;
mod token;
mod watches;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::config::Config;
use crate::controller::Context;
use crate::metrics::Metrics;
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use tokio::sync::watch;

/// A reconcile makes thousands of small JSON nodes beside objects that stay: glibc's heap keeps the pages of all of
/// them.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Runs etcd clusters on Kubernetes.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconcile clusters until SIGTERM.
    Run(RunArgs),
    /// Print the CustomResourceDefinitions as one YAML stream, or write them as files.
    Crd {
        /// Directory to write one file for each definition into.
        #[arg(long)]
        directory: Option<PathBuf>,
        /// File to write the reference of all fields into, as Markdown.
        #[arg(long)]
        reference: Option<PathBuf>,
    },
    /// Print the admission policies for an operator of this account.
    Admission(Account),
}

/// The account that the operator runs as.
#[derive(Args)]
struct Account {
    /// Namespace the operator runs in; its lease lives there.
    #[arg(long, env = "POD_NAMESPACE", default_value = "kb-system")]
    namespace: String,
    /// Its service account; the admission policies let it through.
    #[arg(long, env = "POD_SERVICE_ACCOUNT", default_value = "etcd-operator")]
    service_account: String,
}

#[derive(Args)]
struct RunArgs {
    /// Address of /metrics, /healthz and /readyz; 0.0.0.0 is all, those of IPv6 too.
    #[arg(long, env = "OPERATOR_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Serve a status page of all clusters, for people. Loopback only; kubectl port-forward reaches it.
    #[arg(long, env = "PAGE_ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:8081")]
    page_address: Option<page::Address>,
    /// DNS domain of the Kubernetes cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    #[command(flatten)]
    account: Account,
    /// Namespaces whose Clusters are served, with commas between them; all when it is empty.
    #[arg(long, env = "OPERATOR_NAMESPACES", default_value = "", value_parser = namespaces::parse)]
    namespaces: namespaces::Namespaces,
    /// Days after which the token of a component's agents is replaced; 0 for never.
    #[arg(long, env = "OPERATOR_TOKEN_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(0..=3650))]
    token_days: u16,
    /// Name of this replica.
    #[arg(long, env = "POD_NAME", default_value = "local")]
    identity: String,
    /// Collector that gets a trace of each failover, as http://HOST:4318 (OTLP over HTTP); none when it is not given.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    collector: Option<String>,
    /// Image of the program that backup Jobs run.
    #[arg(
        long,
        env = "BACKUP_IMAGE",
        default_value = "etcd-harness/etcd-backup:dev"
    )]
    backup_image: String,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Crd {
            directory,
            reference,
        } => write_crds(directory.as_deref(), reference.as_deref()),
        Command::Admission(account) => {
            let policies = admission::policies(&account.namespace, &account.service_account);
            print!("{policies}");
            Ok(())
        }
        Command::Run(args) => {
            telemetry::start();
            // Two threads: the machine's cores would each cost stacks and caches that nothing here needs.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("failed to start the runtime")?;
            runtime.block_on(run_operator(args))
        }
    }
}

fn write_crds(directory: Option<&Path>, reference: Option<&Path>) -> anyhow::Result<()> {
    let write = |path: &Path, content: String| {
        std::fs::write(path, content).with_context(|| format!("failed to write {path:?}"))
    };
    if directory.is_none() && reference.is_none() {
        print!("{}", crd::stream()?);
    }
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory).context("failed to make the directory")?;
        for (name, content) in crd::files()? {
            write(&directory.join(name), content)?;
        }
    }
    reference.map_or(Ok(()), |path| {
        write(path, crd::reference::page(&crd::all()))
    })
}

async fn run_operator(args: RunArgs) -> anyhow::Result<()> {
    // The only TLS provider of the process; a second one would make rustls ask which.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("failed to install the TLS provider: there is one already");
    }
    let client = client::client()
        .await
        .context("failed to find the API server")?;
    let listener = match args.page_address {
        Some(address) => Some(page::bind(address).await?),
        None => None,
    };
    let config = Config {
        cluster_domain: args.cluster_domain,
        namespace: args.account.namespace,
        service_account: args.account.service_account,
        token_age: Duration::from_secs(u64::from(args.token_days) * 24 * 3600),
        namespaces: args.namespaces.0,
        identity: args.identity,
        collector: args.collector.filter(|collector| !collector.is_empty()),
        backup_image: args.backup_image,
    };
    let pages = server::Pages {
        metrics: Metrics::default(),
        ..server::Pages::default()
    };
    let context = Arc::new(Context::new(client, config, pages.metrics.clone()));
    let (stop, stopped) = watch::channel(false);
    let pages_end = ended(stopped.clone());
    let mut pages_task = tokio::spawn(server::run(args.listen, pages.clone(), pages_end));
    let work = run::run(
        Arc::clone(&context),
        Arc::clone(&pages.ready),
        listener,
        ended(stopped),
    );
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => result?,
        result = &mut pages_task => result.context("failed to serve pages")??,
        () = terminated() => {
            tracing::info!("stopping");
            pages.ready.store(false, Ordering::Relaxed);
            let _ = stop.send(true);
            // Ends when the lease is released; bounded there.
            work.await?;
        }
    }
    Ok(())
}

/// Ready when a stop is asked for.
async fn ended(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// Ready on SIGTERM or SIGINT.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(error) => {
            tracing::error!(%error, "cannot listen for SIGTERM");
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
