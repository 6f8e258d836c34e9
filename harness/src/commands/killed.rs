//! `harness bench killed`: faults whose harness dies at a random moment after it has begun. Whatever was on must end by
//! its own timer.

mod outcome;
mod process;

use std::time::{Duration, Instant};

use anyhow::bail;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::outcome::{Kill, ended};
use self::process::{End, Ended, Harness};
use super::{CommandResult, Exit, TargetArgs};
use crate::cluster::Cluster;
use crate::cluster::volumes::{self, Pool};
use crate::deploy::{EtcdCluster, Reach, TempNamespace};
use crate::faults::residue::{self, Site};

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
    "kill-node leader --out-of-service",
];

/// Latest moment of a kill, from the line that names the fault: it is injected, looked at, healed and looked for in
/// about this time.
const LATEST: Duration = Duration::from_secs(8);
/// How often a fault is begun until its harness was killed at its work.
const DRAWS: usize = 4;
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

/// Faults whose line holds this.
///
/// # Errors
/// When there is none.
fn chosen(only: &str) -> anyhow::Result<Vec<&'static str>> {
    let mut faults = FAULTS.to_vec();
    faults.retain(|fault| fault.contains(only));
    if faults.is_empty() {
        let all = FAULTS.join(", ");
        bail!("failed to find a fault with {only:?} (--only) in its line; there are: {all}");
    }
    Ok(faults)
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    let faults = chosen(&args.only)?;
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
    let turns = vec![faults; args.times as usize].concat();
    let mut kills: Vec<Kill> = Vec::new();
    let mut victim: Option<Victim> = None;
    'turns: for (number, fault) in turns.iter().enumerate() {
        let mut within = LATEST;
        for _ in 0..DRAWS {
            let ready = Victim::ready(&cluster, victim.take(), pool_for(fault)).await?;
            let namespace = &victim.insert(ready).namespace.name;
            let harness = Harness::start(fault, target, (namespace, ETCD), args.dead_man)?;
            let after = within.mul_f64(rng.random_range(0.0..1.0));
            let kill = look(&args, &site, harness.kill(after).await?).await;
            println!("{} of {}: {kill}", number + 1, turns.len());
            let (left, end, after) = (!kill.left.is_empty(), kill.end, kill.after);
            kills.push(kill);
            match end {
                _ if left => break 'turns,
                End::Killed | End::Otherwise(_) => break,
                End::Early => {}
                // The next moment is one of those that this one had.
                End::Through => within = after,
            }
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

/// Waits until nothing is left of it.
async fn look(args: &Args, site: &Site, ended: Ended) -> Kill {
    let begun = Instant::now();
    let limit = Duration::from_secs(args.dead_man) + BACK;
    let residue = residue::settle(site, limit, |_| {}).await;
    Kill {
        fault: ended.fault,
        after: ended.after,
        end: ended.end,
        said: ended.said,
        clean: begun.elapsed(),
        left: residue.in_words(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::process::has_begun;
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
    fn a_part_of_a_line_that_none_has_is_refused() {
        assert_eq!(chosen("").ok(), Some(FAULTS.to_vec()));
        let nodes = chosen("kill-node").expect("three faults");
        let declared = ["", " --for-good", " --out-of-service"];
        assert_eq!(nodes, declared.map(|how| format!("kill-node leader{how}")));
        let error = chosen("kil-node").expect_err("nothing fits").to_string();
        let told = ["\"kil-node\"", "--only", "kill-node leader"];
        assert!(told.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn a_harness_has_begun_when_it_has_named_its_fault() {
        for line in FAULTS {
            let title = super::super::fault::parse(line)
                .expect("a fault")
                .to_string();
            assert!(!has_begun("", &title));
            assert!(!has_begun("WARN waits for the lock\n", &title));
            let text = format!("WARN waits for the lock\n{title}\ninjected in 3 ms\n");
            assert!(has_begun(&text, &title), "{line}");
        }
    }
}
