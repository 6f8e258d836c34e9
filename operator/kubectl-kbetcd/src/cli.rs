//! The command line.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Exit codes, as `--help` shows them.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 not done, the error says why; 2 wrong usage; \
3 the OpsRequest or Backup ended without success, or was deleted; 4 it was still under way when --timeout was over, \
or could not be followed any more.";

/// Looks at etcd clusters, operates them, and explains what they wait for.
#[derive(Parser)]
#[command(name = "kubectl-kbetcd", bin_name = "kubectl kbetcd", version, about, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Members with role, term, lag, size and alarms; the service; what is being waited for.
    Status(Look),
    /// Why the cluster waits: each reason with what it means and what to do.
    Explain(Look),
    /// What each member's database uses, and how far the member is behind.
    Top(Look),
    /// Moves leadership to another member.
    Switchover(Switchover),
    /// Recreates the pods, one at a time, the leader last.
    Restart(Restart),
    /// Replaces members by new ones of the same name, which copy all data from the others.
    Rebuild(Rebuild),
    /// Gives free pages of the members' databases back to their disks, one member at a time, the leader last.
    Defrag(Defrag),
    /// Makes a Backup of the cluster, in the repository of its BackupPolicy.
    Backup(Backup),
    /// Log lines of the members.
    Logs(Logs),
    /// Events of the cluster's objects, the newest last.
    Events(Events),
    /// Prints the completion script of a shell.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Args)]
pub(crate) struct ClusterArgs {
    /// Name of the Cluster.
    pub(crate) name: String,
    /// Its namespace; the context's when left out.
    #[arg(long, short)]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig; the current one when left out.
    #[arg(long)]
    pub(crate) context: Option<String>,
}

/// Shape of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Args)]
pub(crate) struct Look {
    #[command(flatten)]
    pub(crate) target: ClusterArgs,
    /// Shape of the output.
    #[arg(long, short, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Change {
    #[command(flatten)]
    pub(crate) target: ClusterArgs,
    /// Component of the Cluster; needed when there are several.
    #[arg(long)]
    pub(crate) component: Option<String>,
    /// Follows what was created until it ends; false only creates it.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true")]
    pub(crate) wait: bool,
    /// Seconds to follow it; the operation itself continues after that.
    #[arg(long, default_value_t = 3900, value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub(crate) timeout: u32,
    /// Shape of the output; json is the object as it was seen last, and each step goes to standard error.
    #[arg(long, short, value_enum, default_value = "text")]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Switchover {
    #[command(flatten)]
    pub(crate) change: Change,
    /// Pod that is to lead; the follower with the newest log when left out.
    #[arg(long)]
    pub(crate) to: Option<String>,
}

#[derive(Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    pub(crate) change: Change,
}

#[derive(Args)]
pub(crate) struct Rebuild {
    #[command(flatten)]
    pub(crate) change: Change,
    /// Pods of the members.
    #[arg(required = true, num_args = 1..=7)]
    pub(crate) pods: Vec<String>,
    /// Rebuilds in every phase of the Cluster; needed while all members are healthy.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args)]
pub(crate) struct Defrag {
    #[command(flatten)]
    pub(crate) change: Change,
    /// Pods of the members; all members when left out.
    #[arg(num_args = 0..=7)]
    pub(crate) pods: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    pub(crate) change: Change,
    /// BackupPolicy of the component; the one that the operator made for it when left out.
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// What is kept: a snapshot, or continuously every change from the last snapshot on.
    #[arg(long, value_enum, default_value = "datafile")]
    pub(crate) method: Method,
    /// How long the backup is kept, e.g. 7d; for ever when left out. Of an archive: how far back it reaches.
    #[arg(long)]
    pub(crate) retention_period: Option<String>,
    /// Whether deleting the Backup also deletes its data in the repository.
    #[arg(long, value_enum, ignore_case = true, default_value = "delete")]
    pub(crate) deletion_policy: Deletion,
}

/// How a backup is made. Every backup is a full one, so none has a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// A snapshot.
    Datafile,
    /// Every change, until the Backup is deleted.
    Archive,
}

/// What becomes of the data when the Backup is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deletion {
    /// It goes.
    Delete,
    /// It stays.
    Retain,
}

#[derive(Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) target: ClusterArgs,
    /// One pod; all pods of the Cluster when left out.
    #[arg(long)]
    pub(crate) pod: Option<String>,
    /// Container of the pods: etcd, kbagent or metrics-exporter.
    #[arg(long, short, default_value = "etcd")]
    pub(crate) container: String,
    /// Lines of each pod, from the end.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) tail: i64,
    /// Only lines of the last so many seconds.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) since: Option<i64>,
    /// Shows new lines as they come, of the pods that are there now.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Logs of the container before its last restart.
    #[arg(long, short, conflicts_with = "follow")]
    pub(crate) previous: bool,
}

#[derive(Args)]
pub(crate) struct Events {
    #[command(flatten)]
    pub(crate) target: ClusterArgs,
    /// How many, of the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) limit: u16,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        let words = std::iter::once("kubectl-kbetcd").chain(line.split(' '));
        let cli = Cli::try_parse_from(words);
        cli.map(|cli| cli.command)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn requests_are_followed_unless_it_is_refused() {
        for (line, expected) in [
            ("restart db", true),
            ("restart --wait db", true),
            ("restart db --wait=true", true),
            ("restart db --wait=false", false),
        ] {
            match parsed(line) {
                Ok(Command::Restart(restart)) => {
                    assert_eq!(restart.change.wait, expected, "{line}")
                }
                Ok(_) => panic!("{line}: another command"),
                Err(error) => panic!("{line}: {error}"),
            }
        }
        assert!(parsed("restart db --wait=maybe").is_err());
        assert!(parsed("restart db --timeout 0").is_err());
    }

    #[test]
    fn a_backup_is_a_kept_snapshot_unless_it_is_told_otherwise() {
        match parsed("backup db") {
            Ok(Command::Backup(backup)) => {
                assert_eq!(
                    (backup.method, backup.deletion_policy),
                    (Method::Datafile, Deletion::Delete)
                );
                assert!(
                    backup.change.wait
                        && backup.policy.is_none()
                        && backup.retention_period.is_none()
                );
            }
            Ok(_) => panic!("another command"),
            Err(error) => panic!("{error}"),
        }
        let all = "backup db --policy p --method archive --retention-period 14d --deletion-policy Retain -o json";
        match parsed(all) {
            Ok(Command::Backup(backup)) => {
                assert_eq!(
                    (backup.method, backup.deletion_policy),
                    (Method::Archive, Deletion::Retain)
                );
                assert_eq!(backup.change.output, Output::Json);
            }
            Ok(_) => panic!("another command"),
            Err(error) => panic!("{error}"),
        }
        for wrong in [
            "backup db --method volume-snapshot",
            "backup db --parent b",
            "backup",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_defragmentation_names_members_or_means_all() {
        for (line, expected) in [("defrag db", 0), ("defrag db db-etcd-1 db-etcd-2", 2)] {
            match parsed(line) {
                Ok(Command::Defrag(defrag)) => assert_eq!(defrag.pods.len(), expected, "{line}"),
                Ok(_) => panic!("{line}: another command"),
                Err(error) => panic!("{line}: {error}"),
            }
        }
    }

    #[test]
    fn a_rebuild_names_its_members() {
        assert!(parsed("rebuild db").is_err());
        match parsed("rebuild db db-etcd-1 db-etcd-2 --force") {
            Ok(Command::Rebuild(rebuild)) => {
                assert_eq!(rebuild.change.target.name, "db");
                assert_eq!(rebuild.pods, ["db-etcd-1", "db-etcd-2"]);
                assert!(rebuild.force);
            }
            Ok(_) => panic!("another command"),
            Err(error) => panic!("{error}"),
        }
    }
}
