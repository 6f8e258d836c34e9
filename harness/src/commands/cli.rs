//! The command line: one line a command here. Commands print; the other modules do the work.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::exit::told;
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

impl Cli {
    /// Reads a command line.
    ///
    /// # Errors
    /// What it has is not known, or would have no effect.
    pub fn read<T: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        Self::read_by(Self::command(), words)
    }

    fn read_by<T: Into<OsString> + Clone>(
        mut command: clap::Command,
        words: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let given = command.try_get_matches_from_mut(words)?;
        let cli = Self::from_arg_matches(&given).map_err(|error| error.format(&mut command))?;
        match TargetArgs::refuse(&given, cli.command.works_on_a_cluster()) {
            Some(wrong) => Err(command.error(ErrorKind::ArgumentConflict, wrong)),
            None => Ok(cli),
        }
    }
}

impl Command {
    /// False for what reads saved runs, makes members without Kubernetes, or prints what is built in.
    fn works_on_a_cluster(&self) -> bool {
        match self {
            Command::List(_)
            | Command::Check(_)
            | Command::Convert(_)
            | Command::Report(_)
            | Command::Bare(_)
            | Command::Bug(_) => false,
            Command::Bench(args) => !args.is_offline(),
            Command::Run(args) => !args.is_bare(),
            Command::Doctor(_)
            | Command::Up(_)
            | Command::Down(_)
            | Command::Status(_)
            | Command::Logs(_)
            | Command::Fault(_)
            | Command::Addresses(_) => true,
        }
    }
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
            eprintln!("harness: {}", told(&error));
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
    use super::*;

    fn read(line: &str) -> Result<Cli, String> {
        read_by(Cli::command(), line)
    }

    fn read_by(command: clap::Command, line: &str) -> Result<Cli, String> {
        let words = std::iter::once("harness").chain(line.split_whitespace());
        Cli::read_by(command, words).map_err(|error| error.to_string())
    }

    /// Commands that work on no cluster.
    const WITHOUT: [&str; 10] = [
        "list",
        "check runs/a",
        "convert a.jsonl b.bin",
        "report runs/a",
        "bare list",
        "bare run bare::all_killed",
        "run failover::leader_frozen --tier bare",
        "bug 18667",
        "bench power runs/a",
        "bench failover --from runs/a",
    ];
    const WITH: [&str; 9] = [
        "doctor",
        "doctor --residue",
        "up",
        "down",
        "status",
        "logs",
        "run failover::leader_frozen",
        "fault kill-etcd leader",
        "bench failover --kills 1",
    ];

    #[test]
    fn no_command_has_two_arguments_of_one_name() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_version_of_a_bare_run_is_that_of_etcd() {
        assert!(read("bare run bare::all_killed --version v3.6.1").is_ok());
    }

    #[test]
    fn what_removes_what_is_left_is_a_command_that_is_not_shown() {
        let line = crate::bare::remover::arguments("a.b.1.2.3").join(" ");
        assert!(read(&line).is_ok(), "{line}");
        let help = read("bare --help").expect_err("help");
        assert!(help.contains("list") && !help.contains("remove-left"));
    }

    #[test]
    fn a_cluster_is_named_only_to_what_works_on_one_and_once() {
        for cluster in ["--name n", "--kubeconfig f", "--context c"] {
            for command in WITHOUT {
                for line in [
                    format!("{cluster} {command}"),
                    format!("{command} {cluster}"),
                ] {
                    let error = read(&line).expect_err(&line);
                    assert!(error.contains("no cluster"), "{line}: {error}");
                }
                assert!(read(command).is_ok(), "{command}");
            }
            for command in WITH {
                let cli = read(&format!("{command} {cluster}")).expect(command);
                let choice = cli.target.choice();
                let own = cluster.starts_with("--name");
                assert_eq!(choice.is_own(), own, "{command} {cluster}");
                assert_eq!(choice.name == "n", own, "{command} {cluster}");
            }
        }
        assert!(read("status --kubeconfig f --context c").is_ok());
        for two in ["--kubeconfig f --name n", "--name n --context c"] {
            let error = read(&format!("status {two}")).expect_err(two);
            assert!(error.contains("two clusters"), "{error}");
        }
    }

    #[test]
    fn a_cluster_that_the_environment_names_is_refused_to_nothing() {
        // A variable that every process has.
        let by_environment = || Cli::command().mut_arg("name", |name| name.env("PATH"));
        for command in WITHOUT {
            assert!(read_by(by_environment(), command).is_ok(), "{command}");
        }
        let cli = read_by(by_environment(), "status").expect("a cluster's name");
        assert_eq!(cli.target.name, std::env::var("PATH").expect("a PATH"));
        assert!(read_by(by_environment(), "status --context c").is_ok());
    }

    /// What would have no effect beside another thing, and that thing.
    const IGNORED: &[(&str, &str)] = &[
        ("check --stream a.bin", "--auto-compaction periodic=1h"),
        ("bench failover --from runs/a", "--kills 3"),
        ("bench failover --from runs/a", "--members 3"),
        ("bench failover --from runs/a", "--seed 3"),
        ("bench failover --from runs/a", "--fast-election on"),
        ("bug 18667 --version v3.6.1", "--clean 3"),
        ("bug 18667 --version v3.6.1", "--record f.md"),
        ("bug", "--seeds 3"),
        ("bug", "--clean 3"),
        ("bug", "--version v3.6.1"),
        ("bug", "--seed 3"),
        ("bug", "--record f.md"),
        ("doctor", "--fix"),
        ("doctor", "--wait 3"),
        ("check --stream runs/a", "--save"),
        ("fault delete-pod leader --force", "--evict"),
        ("bench suspicion", "--fast-election tls"),
        ("bench suspicion", "--fast-election relay"),
        // The picture would overwrite it.
        ("bench failover --kills 1", "--json f.svg"),
        ("bench failover --from runs/a", "--json d/f.SVG"),
        // Nothing would be run.
        ("bench failover", "--kills 0"),
        ("bench suspicion", "--freezes 0"),
        ("bench power runs/a", "--suites 0"),
        ("bare run bare::all_killed", "--times 0"),
    ];

    #[test]
    fn what_would_have_no_effect_is_refused() {
        for (line, ignored) in IGNORED {
            assert!(read(line).is_ok(), "{line}");
            let error = read(&format!("{line} {ignored}")).expect_err(ignored);
            let option = ignored.split(' ').next().unwrap_or(ignored);
            assert!(error.contains(option), "{line} {ignored}: {error}");
        }
        let together = [
            "bench failover --from runs/a --kind freeze --client go --json f.json",
            "bench suspicion --fast-election shipped,on,suspicion,off",
            "bug 18667 --seeds 3 --clean 0 --seed 3 --record f.md --runs d",
            "bug 18667 --version v3.6.1 --seeds 3 --seed 3 --runs d",
            "doctor --residue --fix --wait 3 --json",
        ];
        for line in together {
            assert!(read(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn every_folder_of_runs_is_that_of_the_environment() {
        let command = Cli::command();
        let mut all: Vec<&clap::Command> = vec![&command];
        let mut found = Vec::new();
        while let Some(command) = all.pop() {
            all.extend(command.get_subcommands());
            let mut options = command.get_arguments();
            if let Some(runs) = options.find(|option| option.get_id() == "runs") {
                let variable = runs.get_env().and_then(|name| name.to_str());
                found.push((command.get_name(), variable));
            }
        }
        found.sort_unstable();
        let expected = ["all", "bug", "run", "run"];
        assert_eq!(
            found,
            expected.map(|name| (name, Some("ETCD_HARNESS_RUNS")))
        );
    }
}
