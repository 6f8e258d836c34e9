//! `harness bench killed`: faults whose harness dies at a random moment after it has begun. Whatever was on must end by
//! its own timer.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
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
    "kill-node leader --out-of-service",
];

/// Seconds that a fault is to last: short, so that its healing is hit as often as its injection.
const LASTS_S: u64 = 2;
/// Latest moment of a kill, from the line that names the fault: it is injected, looked at, healed and looked for in
/// about this time.
const LATEST: Duration = Duration::from_secs(8);
/// A harness has attached, tried what the nodes can do and names its fault.
const BEGINS: Duration = Duration::from_secs(60);
/// Spacing of looks at it: an injection takes tens of milliseconds, and kills are to hit it.
const LOOK: Duration = Duration::from_millis(5);
/// How often a fault is begun until its harness was killed at its work.
const DRAWS: usize = 4;
/// A node that its timer has started is Ready again, and so is what runs there.
const BACK: Duration = Duration::from_secs(120);
/// The signal of a kill.
const SIGKILL: i32 = 9;
/// File of what a harness prints.
const OUTPUT: &str = "output";
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

/// How a harness ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It was killed, and had begun with its fault.
    Killed,
    /// It was killed, and had not begun: no fault was on.
    Early,
    /// It was through with its fault before.
    Through,
    /// It ended in another way before: maybe no fault was ever on.
    Otherwise(ExitStatus),
}

impl End {
    /// Only who dies of SIGKILL was killed: to kill what has ended does not fail.
    fn of(status: ExitStatus, begun: bool) -> Self {
        match status.signal() {
            Some(SIGKILL) if begun => Self::Killed,
            Some(SIGKILL) => Self::Early,
            _ if status.success() => Self::Through,
            _ => Self::Otherwise(status),
        }
    }
}

/// One fault whose harness was to be killed.
struct Kill {
    fault: &'static str,
    /// When it was killed, or had ended; from the line that names the fault.
    after: Duration,
    end: End,
    /// What the harness had said last.
    said: String,
    /// How long it took until nothing was left.
    clean: Duration,
    /// What was left at the end.
    left: String,
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
            let harness = Harness::start(&args, target, namespace, fault)?;
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

/// A fault in a process of its own.
struct Harness {
    fault: &'static str,
    /// What it prints before it injects.
    title: String,
    child: Child,
    /// Has the file with what it prints.
    folder: tempfile::TempDir,
}

impl Harness {
    fn start(
        args: &Args,
        target: &TargetArgs,
        namespace: &str,
        fault: &'static str,
    ) -> anyhow::Result<Self> {
        let title = super::fault::parse(fault).with_context(|| format!("{fault:?} is no fault"))?;
        let folder = tempfile::tempdir().context("failed to make a folder for its output")?;
        let output = File::create(folder.path().join(OUTPUT));
        let output = output.context("failed to make a file for its output")?;
        let own = std::env::current_exe().context("failed to find this program")?;
        let mut command = Command::new(own);
        command
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
            // In the environment it may stand beside a context.
            .env("ETCD_HARNESS_CLUSTER", &target.name)
            .arg("fault")
            .args(fault.split_whitespace())
            .args(["--namespace", namespace, "--etcd", ETCD])
            .args(["--for", &LASTS_S.to_string()])
            .args(["--dead-man", &args.dead_man.to_string()])
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(output));
        Ok(Self {
            fault,
            title: title.to_string(),
            child: command.spawn().context("failed to start the fault")?,
            folder,
        })
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(OUTPUT)).unwrap_or_default()
    }

    /// Lets so much time pass unless it ends before, or `enough` is true.
    async fn let_pass(
        &mut self,
        limit: Duration,
        enough: impl Fn(&Self) -> bool,
    ) -> anyhow::Result<()> {
        let since = Instant::now();
        while !enough(self) {
            let ended = self.child.try_wait();
            let left = limit.saturating_sub(since.elapsed());
            if left.is_zero() || ended.context("failed to look at the harness")?.is_some() {
                break;
            }
            pause(left.min(LOOK)).await;
        }
        Ok(())
    }

    /// Kills it so long after it has begun.
    async fn kill(mut self, after: Duration) -> anyhow::Result<Ended> {
        let begun = |harness: &Self| has_begun(&harness.output(), &harness.title);
        self.let_pass(BEGINS, begun).await?;
        let since = Instant::now();
        if begun(&self) {
            self.let_pass(after, |_| false).await?;
        }
        let after = since.elapsed();
        // SIGKILL: nothing of it can clean up.
        self.child.kill().context("failed to kill the harness")?;
        let status = self.child.wait();
        let status = status.context("failed to wait for the harness")?;
        let text = self.output();
        let said = text.lines().last().unwrap_or("nothing").trim().to_owned();
        Ok(Ended {
            fault: self.fault,
            after,
            end: End::of(status, has_begun(&text, &self.title)),
            said,
        })
    }
}

/// Whether a harness that has printed this has named its fault: what it prints next is of the injection.
fn has_begun(text: &str, title: &str) -> bool {
    text.lines().any(|line| line == title)
}

/// A harness that is no more.
struct Ended {
    fault: &'static str,
    after: Duration,
    end: End,
    said: String,
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

impl std::fmt::Display for Kill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (after, clean) = (self.after.as_secs_f64(), self.clean.as_secs_f64());
        let how = match self.end {
            End::Killed => format!("killed after {after:.2} s"),
            End::Early => "killed before it had begun".to_owned(),
            End::Through => format!("through after {after:.2} s, not killed"),
            End::Otherwise(status) => format!("not killed at {after:.2} s, it had ended: {status}"),
        };
        write!(f, "{:<32} {how} ({}), ", self.fault, self.said)?;
        if self.left.is_empty() {
            write!(f, "clean after {clean:.1} s")
        } else {
            write!(f, "after {clean:.1} s there is still: {}", self.left)
        }
    }
}

fn ended(kills: &[Kill]) -> Exit {
    let count = |wanted: fn(End) -> bool| kills.iter().filter(|kill| wanted(kill.end)).count();
    let killed = count(|end| end == End::Killed);
    let through = count(|end| end == End::Through);
    let early = count(|end| end == End::Early);
    let otherwise = count(|end| matches!(end, End::Otherwise(_)));
    let of_kills = kills.iter().filter(|kill| kill.end == End::Killed);
    let longest = of_kills.map(|kill| kill.clean).max().unwrap_or_default();
    let mut text = format!(
        "{killed} kills, the longest clean after {:.1} s",
        longest.as_secs_f64()
    );
    // Writing to a string cannot fail.
    if through > 0 {
        let _ = write!(text, "; {through} were through before and do not count");
    }
    if early > 0 {
        let _ = write!(text, "; {early} had not begun and do not count");
    }
    if otherwise > 0 {
        let _ = write!(text, "; {otherwise} had failed before and prove nothing");
    }
    let at_work = kills.iter().filter(|kill| kill.end == End::Killed);
    let at_work: BTreeSet<&str> = at_work.map(|kill| kill.fault).collect();
    let tried: BTreeSet<&str> = kills.iter().map(|kill| kill.fault).collect();
    let spared: Vec<&str> = tried.difference(&at_work).copied().collect();
    if !spared.is_empty() {
        let _ = write!(text, "; never killed at its work: {}", spared.join(", "));
    }
    let stays = kills.iter().find(|kill| !kill.left.is_empty());
    if let Some(kill) = stays {
        let _ = write!(text, "; `{}` left something behind", kill.fault);
    }
    println!("{text}");
    match stays {
        Some(_) => Exit::Violation,
        None if killed == 0 || otherwise > 0 || !spared.is_empty() => Exit::Inconclusive,
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
    fn a_part_of_a_line_that_none_has_is_refused() {
        assert_eq!(chosen("").ok(), Some(FAULTS.to_vec()));
        let nodes = chosen("kill-node").expect("three faults");
        let declared = ["", " --for-good", " --out-of-service"];
        assert_eq!(nodes, declared.map(|how| format!("kill-node leader{how}")));
        let error = chosen("kil-node").expect_err("nothing fits").to_string();
        let told = ["\"kil-node\"", "--only", "kill-node leader"];
        assert!(told.iter().all(|word| error.contains(word)), "{error}");
    }

    fn kill(raw: i32, left: &str) -> Kill {
        Kill {
            fault: "kill-etcd leader",
            after: Duration::from_secs(1),
            end: End::of(ExitStatus::from_raw(raw), true),
            said: String::new(),
            clean: Duration::from_secs(2),
            left: left.to_owned(),
        }
    }

    /// As wait(2) gives an exit by itself.
    const fn exited(code: i32) -> i32 {
        code << 8
    }

    #[test]
    fn something_that_stays_is_a_violation_and_no_kill_proves_nothing() {
        let killed = |left| kill(SIGKILL, left);
        assert_eq!(ended(&[killed("")]), Exit::Pass);
        let stays = "worker: packet rules";
        assert_eq!(ended(&[killed(""), killed(stays)]), Exit::Violation);
        assert_eq!(
            ended(&[killed(""), kill(exited(3), stays)]),
            Exit::Violation
        );
        assert_eq!(ended(&[]), Exit::Inconclusive);
    }

    #[test]
    fn a_harness_that_ended_by_itself_is_no_kill() {
        let killed = || kill(SIGKILL, "");
        assert_eq!(ended(&[killed(), kill(exited(0), "")]), Exit::Pass);
        assert_eq!(ended(&[kill(exited(0), "")]), Exit::Inconclusive);
        for other in [exited(3), exited(2), 15] {
            let failed = kill(other, "");
            assert!(failed.to_string().contains("not killed"), "{failed}");
            assert_eq!(ended(&[killed(), failed]), Exit::Inconclusive, "{other}");
        }
        assert!(killed().to_string().contains("killed after 1.00 s"));
    }

    #[test]
    fn a_kill_before_anything_was_on_is_none_and_each_kind_needs_one() {
        let early = Kill {
            end: End::of(ExitStatus::from_raw(SIGKILL), false),
            ..kill(SIGKILL, "")
        };
        assert_eq!(early.end, End::Early);
        assert!(early.to_string().contains("before it had begun"), "{early}");
        let of = |fault, kill: Kill| Kill { fault, ..kill };
        let killed = || kill(SIGKILL, "");
        let split = || of("split minority", killed());
        assert_eq!(ended(&[split(), early]), Exit::Inconclusive);
        let through = || of("split minority", kill(exited(0), ""));
        assert_eq!(ended(&[killed(), through()]), Exit::Inconclusive);
        assert_eq!(ended(&[killed(), through(), split()]), Exit::Pass);
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

    fn running(script: &str) -> Harness {
        let folder = tempfile::tempdir().expect("a folder");
        let output = File::create(folder.path().join(OUTPUT)).expect("a file");
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::from(output));
        Harness {
            fault: "kill-etcd leader",
            title: "kill etcd of the leader".to_owned(),
            child: command.spawn().expect("a shell"),
            folder,
        }
    }

    #[tokio::test]
    async fn the_moment_counts_from_the_line_that_names_the_fault() {
        let slow = "sleep 0.5; echo kill etcd of the leader; exec sleep 60";
        let ended = running(slow).kill(Duration::from_millis(300)).await;
        let ended = ended.expect("it is killed");
        assert_eq!(ended.end, End::Killed);
        assert_eq!(ended.said, "kill etcd of the leader");
        let through = "echo kill etcd of the leader; echo nothing is left";
        let ended = running(through).kill(Duration::from_secs(60)).await;
        let ended = ended.expect("it has ended");
        assert_eq!(
            (ended.end, ended.said.as_str()),
            (End::Through, "nothing is left")
        );
        assert!(ended.after < Duration::from_secs(30), "{:?}", ended.after);
        let failed = running("echo no cluster; exit 3")
            .kill(Duration::ZERO)
            .await;
        let failed = failed.expect("it has failed").end;
        assert!(matches!(failed, End::Otherwise(_)), "{failed:?}");
    }
}
