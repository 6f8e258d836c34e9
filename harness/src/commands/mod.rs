//! The command line: one file a command, one line a command here. Commands print; the other modules do the work.
//!
//! Exit codes: 0 pass, 1 violation, 2 inconclusive, 3 usage or environment, 130 interrupted.

mod bench;
mod check;
mod doctor;
mod down;
mod fault;
mod killed;
mod list;
mod logs;
mod report;
mod run;
mod status;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cluster::Choice;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything as promised.
    Pass = 0,
    /// A promise was broken.
    Violation = 1,
    /// The run proves nothing (a fault without effect, too little traffic).
    Inconclusive = 2,
    /// Wrong usage, or something is missing on this machine.
    Environment = 3,
    /// The run was interrupted; it was healed and saved.
    Interrupted = crate::scenario::interrupt::EXIT_CODE as isize,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// What a command gives back: its exit, or an error, which is an environment problem (3).
pub type CommandResult = anyhow::Result<Exit>;

/// Real kind clusters, etcd in them, faults, and verdicts with evidence.
#[derive(Debug, Parser)]
#[command(name = "harness", version, propagate_version = true)]
pub struct Cli {
    /// Which cluster.
    #[command(flatten)]
    pub target: TargetArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster a command works on.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// Name of the kind cluster; its context is `kind-NAME`.
    #[arg(
        long,
        global = true,
        default_value = "etcd-harness",
        env = "ETCD_HARNESS_CLUSTER"
    )]
    pub name: String,
    /// Use an existing cluster of this kubeconfig; it is never created, stopped or deleted.
    #[arg(long, global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Use an existing cluster by its context; it is never created, stopped or deleted.
    #[arg(long, global = true)]
    pub context: Option<String>,
}

impl TargetArgs {
    /// The cluster that was chosen.
    #[must_use]
    pub fn choice(&self) -> Choice {
        Choice {
            name: self.name.clone(),
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Says what this machine can do: Docker, kind, images, each fault.
    Doctor(doctor::Args),
    /// Makes the cluster and puts the operator in it; does only what is missing.
    Up(up::Args),
    /// Deletes the cluster that `up` made.
    Down(down::Args),
    /// Shows nodes, operator and etcd clusters.
    Status(status::Args),
    /// Collects everything for a bug report into a directory.
    Logs(logs::Args),
    /// Runs one scenario against the cluster that is up, with live progress.
    Run(run::Args),
    /// Lists all scenarios.
    List(list::Args),
    /// Injects one fault by hand, shows its effect, heals it, shows that nothing is left.
    Fault(fault::Args),
    /// Judges saved runs again with today's checks.
    Check(check::Args),
    /// Writes the reports of saved runs again: page, text, JUnit.
    Report(report::Args),
    /// Measures failovers as a distribution.
    Bench(bench::Args),
}

/// Runs a command to its end and gives its exit.
#[must_use]
pub fn start(cli: Cli) -> Exit {
    init_tracing();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("harness: failed to start the runtime: {error}");
            return Exit::Environment;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("harness: {error:#}");
            Exit::Environment
        }
    }
}

async fn run(cli: Cli) -> CommandResult {
    let target = cli.target;
    // Boxed: the futures of commands are large, and one of them runs at a time.
    match cli.command {
        Command::Doctor(args) => Box::pin(doctor::run(args, &target)).await,
        Command::Up(args) => Box::pin(up::run(args, &target)).await,
        Command::Down(args) => Box::pin(down::run(args, &target)).await,
        Command::Status(args) => Box::pin(status::run(args, &target)).await,
        Command::Logs(args) => Box::pin(logs::run(args, &target)).await,
        Command::Run(args) => Box::pin(run::run(args, &target)).await,
        Command::List(args) => Box::pin(list::run(args, &target)).await,
        Command::Fault(args) => Box::pin(fault::run(args, &target)).await,
        Command::Check(args) => Box::pin(check::run(args, &target)).await,
        Command::Report(args) => Box::pin(report::run(args, &target)).await,
        Command::Bench(args) => Box::pin(bench::run(args, &target)).await,
    }
}

fn init_tracing() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("HARNESS_LOG")
        .unwrap_or_else(|_| EnvFilter::new("warn,harness=info,kube_client=off"));
    // A second call (tests) leaves the first subscriber in place.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
}
