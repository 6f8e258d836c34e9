//! The command line: one line a command here. Commands print; the other modules do the work.

use clap::{Parser, Subcommand};

use super::{
    CommandResult, Exit, TargetArgs, addresses, bare, bench, bug, check, convert, doctor, down,
    fault, list, logs, report, run, status, up,
};

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
    /// Writes the file of a history in its other form: lines of JSON or binary.
    Convert(convert::Args),
    /// Writes the reports of saved runs again: page, text, JUnit.
    Report(report::Args),
    /// Measures failovers as a distribution.
    Bench(bench::Args),
    /// Runs scenarios with etcd members as plain containers, without Kubernetes.
    Bare(bare::Args),
    /// Gives addresses to Services of type LoadBalancer in a kind cluster, until it is interrupted.
    Addresses(addresses::Args),
    /// Looks for a known bug of etcd in a version that has it, and in one that does not.
    Bug(bug::Args),
}

/// Runs a command to its end and returns its exit.
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
    match runtime.block_on(dispatch(cli)) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("harness: {error:#}");
            Exit::Environment
        }
    }
}

async fn dispatch(cli: Cli) -> CommandResult {
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
        Command::Convert(args) => convert::run(&args),
        Command::Report(args) => Box::pin(report::run(args, &target)).await,
        Command::Bench(args) => Box::pin(bench::run(args, &target)).await,
        Command::Bare(args) => Box::pin(bare::run(args)).await,
        Command::Addresses(args) => Box::pin(addresses::run(args, &target)).await,
        Command::Bug(args) => Box::pin(bug::run(args)).await,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_command_has_two_arguments_of_one_name() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_of_a_bare_run_is_that_of_etcd() {
        let words = [
            "harness",
            "bare",
            "run",
            "bare::all_killed",
            "--version",
            "v3.6.1",
        ];
        assert!(Cli::try_parse_from(words).is_ok());
    }
}
