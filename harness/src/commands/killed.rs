//! `harness bench killed`: faults whose harness dies at a random moment. Whatever was on must end by its own timer.

use std::fmt::Write as _;
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{CommandResult, Exit, TargetArgs};
use crate::cluster::Cluster;
use crate::cluster::volumes::{self, Pool};
use crate::deploy::{EtcdCluster, Reach, TempNamespace};
use crate::faults::residue::{self, Site};
use crate::wait::pause;

/// Every kind of fault, as `harness fault` takes it.
pub(super) const FAULTS: &[&str] = &[
    "kill-etcd leader",
    "keep-etcd-dead follower",
    "exhaust-etcd leader",
    "freeze-etcd leader",
    "starve follower",
    "elect follower",
    "delete-pod leader",
    "isolate leader --traffic peer",
    "split minority",
    "bridge follower",
    "lose-packets leader",
    "fill-disk follower",
    "wipe-data follower",
    "delete-claim follower",
    "wrong-template",
    "flood-agents",
    "fill-quota",
    "corrupt-data follower",
    "drop-dns leader",
    "freeze-dns",
    "kill-operator --active",
    "freeze-operator --active",
    "cut-operator --active",
    "freeze controller-manager",
    "stop scheduler",
    "freeze api-server",
    "stop api-server",
    "stop-kubelet leader",
    "pause-node leader",
    "restart-node leader",
    "kill-node leader",
    "kill-node leader --for-good",
];

/// Seconds that a fault is to last: short, so that its healing is hit as often as its injection.
const LASTS_S: u64 = 2;
/// Latest moment of a kill: the harness attaches, injects, looks, heals and looks again in about this time.
const LATEST: Duration = Duration::from_secs(8);
/// A node that its timer has started is Ready again, and so is what runs there.
const BACK: Duration = Duration::from_secs(120);
/// Name of the etcd cluster.
const ETCD: &str = "quartz";

/// Arguments of `harness bench killed`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How often each kind of fault is tried.
    #[arg(long, short = 'n', default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Only faults whose line holds this.
    #[arg(long, default_value = "")]
    only: String,
    /// After how many seconds a fault ends by itself.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..))]
    dead_man: u64,
    /// Seed of the moments; random itself when not given.
    #[arg(long)]
    seed: Option<u64>,
}

/// One kill.
struct Kill {
    fault: &'static str,
    after: Duration,
    /// What the harness had said last.
    said: String,
    /// How long it took until nothing was left.
    clean: Duration,
    /// What was left at the end.
    left: String,
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    let seed = args
        .seed
        .unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let cluster = Cluster::attach(&target.choice()).await?;
    let site = Site::in_cluster(&cluster);
    let before = residue::find(&site).await;
    if !before.is_clean() {
        println!("leftovers of something else: {}", before.in_words());
        return Ok(Exit::Inconclusive);
    }
    let faults = FAULTS.iter().filter(|fault| fault.contains(&args.only));
    let turns: Vec<&'static str> = (0..args.times)
        .flat_map(|_| faults.clone().copied())
        .collect();
    let mut kills = Vec::new();
    let mut victim: Option<Victim> = None;
    for (number, fault) in turns.iter().enumerate() {
        let ready = Victim::ready(&cluster, victim.take(), pool_for(fault)).await?;
        let namespace = &victim.insert(ready).namespace.name;
        let after = LATEST.mul_f64(rng.random_range(0.0..1.0));
        let said = kill(&args, target, namespace, fault, after).await?;
        let kill = look(&args, &site, fault, after, said).await;
        println!("{} of {}: {kill}", number + 1, turns.len());
        let stays = !kill.left.is_empty();
        kills.push(kill);
        if stays {
            break;
        }
    }
    if let Some(victim) = victim {
        victim.delete(&cluster).await?;
    }
    Ok(ended(&kills))
}

/// A disk is filled only where it is a small file system of its own. The other faults get space for etcd's log beside a
/// database that has reached its quota.
fn pool_for(fault: &str) -> Pool {
    if fault.starts_with("fill-disk") {
        volumes::SMALL
    } else {
        volumes::LOCAL
    }
}

/// The etcd cluster that the faults are for.
struct Victim {
    pool: Pool,
    namespace: TempNamespace,
    etcd: EtcdCluster,
}

impl Victim {
    /// The one that is there, or another one when it has other volumes, with all members running.
    async fn ready(cluster: &Cluster, there: Option<Self>, pool: Pool) -> anyhow::Result<Self> {
        let victim = match there {
            Some(there) if there.pool == pool => there,
            there => {
                if let Some(there) = there {
                    there.delete(cluster).await?;
                }
                let namespace = TempNamespace::create(&cluster.kube, "killed").await?;
                Reach::Usual.prepare(&cluster.kube, &namespace.name).await?;
                let etcd = EtcdCluster::new(&namespace.name, ETCD, 3);
                Self {
                    pool,
                    etcd: etcd.storage(pool.class, &pool.size()),
                    namespace,
                }
            }
        };
        // A claim that was deleted needs another volume.
        volumes::prepare(cluster, &pool).await?;
        victim.etcd.apply(&cluster.kube).await?;
        victim.etcd.wait_running(&cluster.kube).await?;
        Ok(victim)
    }

    async fn delete(self, cluster: &Cluster) -> anyhow::Result<()> {
        self.etcd.delete(&cluster.kube).await?;
        self.namespace.delete().await?;
        Ok(())
    }
}

/// Starts the fault in a process of its own and kills that; gives the last line that it had printed.
async fn kill(
    args: &Args,
    target: &TargetArgs,
    namespace: &str,
    fault: &str,
    after: Duration,
) -> anyhow::Result<String> {
    let folder = tempfile::tempdir().context("failed to make a folder for its output")?;
    let path = folder.path().join("output");
    let output = File::create(&path).context("failed to make a file for its output")?;
    let own = std::env::current_exe().context("failed to find this program")?;
    let mut command = Command::new(own);
    command
        .args(["--name", &target.name])
        .args(target.kubeconfig.iter().flat_map(|path| {
            let path = path.display().to_string();
            ["--kubeconfig".to_owned(), path]
        }))
        .args(
            target
                .context
                .iter()
                .flat_map(|context| ["--context", context]),
        )
        .arg("fault")
        .args(fault.split_whitespace())
        .args(["--namespace", namespace, "--etcd", ETCD])
        .args(["--for", &LASTS_S.to_string()])
        .args(["--dead-man", &args.dead_man.to_string()])
        .stdout(Stdio::from(output.try_clone()?))
        .stderr(Stdio::from(output));
    let mut child = command.spawn().context("failed to start the fault")?;
    pause(after).await;
    // SIGKILL: nothing of it can clean up.
    child.kill().context("failed to kill the harness")?;
    child.wait().context("failed to wait for the harness")?;
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    Ok(text.lines().last().unwrap_or("nothing").trim().to_owned())
}

/// Waits until nothing is left of it.
async fn look(
    args: &Args,
    site: &Site,
    fault: &'static str,
    after: Duration,
    said: String,
) -> Kill {
    let begun = Instant::now();
    let limit = Duration::from_secs(args.dead_man) + BACK;
    let residue = residue::settle(site, limit, |_| {}).await;
    Kill {
        fault,
        after,
        said,
        clean: begun.elapsed(),
        left: residue.in_words(),
    }
}

impl std::fmt::Display for Kill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (after, clean) = (self.after.as_secs_f64(), self.clean.as_secs_f64());
        write!(
            f,
            "{:<32} killed after {after:.2} s ({}), ",
            self.fault, self.said
        )?;
        if self.left.is_empty() {
            write!(f, "clean after {clean:.1} s")
        } else {
            write!(f, "after {clean:.1} s there is still: {}", self.left)
        }
    }
}

fn ended(kills: &[Kill]) -> Exit {
    let longest = kills
        .iter()
        .map(|kill| kill.clean)
        .max()
        .unwrap_or_default();
    let mut text = format!(
        "{} kills, the longest clean after {:.1} s",
        kills.len(),
        longest.as_secs_f64()
    );
    let stays = kills.iter().find(|kill| !kill.left.is_empty());
    if let Some(kill) = stays {
        // Writing to a string cannot fail.
        let _ = write!(text, "; `{}` left something behind", kill.fault);
    }
    println!("{text}");
    match stays {
        Some(_) => Exit::Violation,
        None if kills.is_empty() => Exit::Inconclusive,
        None => Exit::Pass,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::scenario::catalog;

    #[test]
    fn every_kind_of_fault_of_the_scenarios_is_tried() {
        let tried: BTreeSet<&str> = FAULTS
            .iter()
            .map(|line| super::super::fault::parse(line).expect("a fault").name())
            .collect();
        let used: BTreeSet<&str> = catalog::all()
            .iter()
            .flat_map(|scenario| scenario.all_faults().to_vec())
            .map(|fault| fault.name())
            .collect();
        assert_eq!(tried, used);
    }

    #[test]
    fn something_that_stays_is_a_violation_and_no_kill_proves_nothing() {
        let kill = |left: &str| Kill {
            fault: "kill-etcd leader",
            after: Duration::from_secs(1),
            said: String::new(),
            clean: Duration::from_secs(2),
            left: left.to_owned(),
        };
        assert_eq!(ended(&[kill("")]), Exit::Pass);
        assert_eq!(
            ended(&[kill(""), kill("worker: packet rules")]),
            Exit::Violation
        );
        assert_eq!(ended(&[]), Exit::Inconclusive);
    }
}
