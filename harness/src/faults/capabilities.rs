//! What the nodes of a cluster can do: tried, not assumed. What was refused is kept apart from what could not be tried.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster::kernel::{self, Trial};
use crate::cluster::{Cluster, NodeShell};
use crate::faults::switch::container::{Order, Switch, image_of};
use crate::faults::{FaultError, Lack, Need};
use crate::timeouts;
use crate::wait::pause;

/// How often what does not work is tried: on a starved machine a process may start too late for its trial.
const ATTEMPTS: usize = 3;

/// What nodes of a cluster can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Why there are no commands in nodes, or why none could be tried; nothing where they are containers we can run
    /// commands in.
    pub node_shells: Option<Lack>,
    /// nft can drop, count and let elements expire.
    pub nft: bool,
    /// iptables can drop and count.
    pub iptables: bool,
    /// nft has random numbers.
    pub nft_random: bool,
    /// iptables has chance.
    pub iptables_random: bool,
    /// A file can be mounted as ext4.
    pub loop_mount: bool,
    /// A process can be stopped by a signal.
    pub sigstop: bool,
    /// Why nodes cannot be paused and switched off: nothing would undo it. Nothing where they can, and where it was not
    /// tried.
    pub node_power: Option<String>,
    /// Those of the kernel's trials that were not made.
    pub(crate) untried: BTreeSet<&'static str>,
}

/// The trials that faults rest on.
const NEEDED: [&str; 6] = [
    kernel::NFT,
    kernel::IPTABLES,
    kernel::NFT_RANDOM,
    kernel::IPTABLES_RANDOM,
    kernel::LOOP_MOUNT,
    kernel::SIGSTOP,
];

impl Capabilities {
    /// Tries them in one node, in namespaces of their own.
    pub async fn of(cluster: &Cluster) -> Self {
        if !cluster.has_node_shells() {
            let reason = if cluster.docker.is_none() {
                "no Docker answers here"
            } else {
                "the nodes are no containers of this Docker"
            };
            return Self::without(Lack::known(Need::NodeShells, reason));
        }
        let node = cluster
            .workers()
            .into_iter()
            .next()
            .or_else(|| cluster.control_planes().into_iter().next());
        let Some(Ok(shell)) = node.map(|node| cluster.shell(node)) else {
            return Self::without(Lack::known(Need::NodeShells, "the cluster has no node"));
        };
        Self::after(&try_kernel(&shell).await)
    }

    /// As [`Self::of`], and tries whether the switch that undoes what is done to nodes as a whole can be armed.
    pub async fn tried(cluster: &Cluster) -> Self {
        let node_power = match cluster.nodes.first() {
            Some(node) if cluster.has_node_shells() => {
                let name = node.name.as_str();
                let attempt = async || try_switch(cluster, name).await;
                repeated(timeouts::POLL_SLOW, attempt).await
            }
            _ => None,
        };
        Self {
            node_power,
            ..Self::of(cluster).await
        }
    }

    /// No command runs in a node, and so nothing works there.
    fn without(node_shells: Lack) -> Self {
        Self {
            node_shells: Some(node_shells),
            ..Self::default()
        }
    }

    fn after(trial: &Result<Trial, String>) -> Self {
        match trial {
            Ok(trial) => Self::read(trial),
            Err(error) => Self::without(Lack::untried(format!(
                "what the nodes can do could not be tried, {ATTEMPTS} times: {error}"
            ))),
        }
    }

    /// From the results of the kernel's trial.
    pub(crate) fn read(trial: &Trial) -> Self {
        let works = |name| trial.works(name);
        let untried = NEEDED.into_iter();
        Self {
            node_shells: None,
            nft: works(kernel::NFT),
            iptables: works(kernel::IPTABLES),
            nft_random: works(kernel::NFT_RANDOM),
            iptables_random: works(kernel::IPTABLES_RANDOM),
            loop_mount: works(kernel::LOOP_MOUNT),
            sigstop: works(kernel::SIGSTOP),
            node_power: None,
            untried: untried
                .filter(|name| trial.result(name).is_none())
                .collect(),
        }
    }

    /// Why there is not what a fault needs.
    pub(crate) fn lacks(&self, need: Need) -> Option<Lack> {
        match need {
            Need::Api => return None,
            Need::PeerProxy => {
                let reason = "members in a cluster have no proxy between them; `harness bare` runs members that have";
                return Some(Lack::known(need, reason));
            }
            Need::BareContainers => {
                let reason = "etcd in a pod is not frozen in turns, its disk not slowed, its log not damaged and no failpoint of it set; \
                     `harness bare` does that";
                return Some(Lack::known(need, reason));
            }
            _ => {}
        }
        if let Some(lack) = &self.node_shells {
            return Some(lack.clone());
        }
        let (works, trials, reason) = match need {
            Need::PacketRules => (
                self.nft || self.iptables,
                &[kernel::NFT, kernel::IPTABLES][..],
                "neither nft nor iptables can drop packets in the nodes",
            ),
            Need::RandomLoss => (
                if self.nft {
                    self.nft_random
                } else {
                    self.iptables_random
                },
                &[kernel::NFT_RANDOM, kernel::IPTABLES_RANDOM][..],
                "neither nft's numgen nor iptables' statistic works in the nodes",
            ),
            Need::LoopMount => (
                self.loop_mount,
                &[kernel::LOOP_MOUNT][..],
                "the nodes cannot mount a file as a file system of its own",
            ),
            Need::Freezing => (
                self.sigstop,
                &[kernel::SIGSTOP][..],
                "a process in the nodes cannot be stopped by a signal",
            ),
            Need::NodePower => {
                let reason = self.node_power.as_ref()?;
                return Some(Lack::known(need, reason));
            }
            _ => return None,
        };
        let untried = trials.iter().find(|name| self.untried.contains(*name));
        match (works, untried) {
            (true, _) => None,
            (false, Some(name)) => Some(Lack::untried(format!(
                "the nodes' trial of {name} was not made, {ATTEMPTS} times"
            ))),
            (false, None) => Some(Lack::known(need, reason)),
        }
    }

    /// True when the kernel does all that faults need.
    fn is_able(&self) -> bool {
        let needs = Need::OF_MACHINES.into_iter();
        let mut of_kernel = needs.filter(|need| *need != Need::NodePower);
        of_kernel.all(|need| self.lacks(need).is_none())
    }
}

/// Tries the kernel's primitives in a node.
///
/// # Errors
/// When no attempt came as far as one of them.
pub(crate) async fn try_kernel(shell: &NodeShell) -> Result<Trial, String> {
    let attempt = async || {
        let output = shell.run(&kernel::script()).await;
        output
            .map_err(|error| error.to_string())
            .and_then(|output| kernel::read(&output))
    };
    attempts(timeouts::POLL_SLOW, attempt).await
}

/// What attempts give together. There is another one, so much later, while something that faults need does not work.
async fn attempts<F>(spacing: Duration, mut attempt: impl FnMut() -> F) -> Result<Trial, String>
where
    F: Future<Output = Result<Trial, String>>,
{
    let mut found = attempt().await;
    for _ in 1..ATTEMPTS {
        if found
            .as_ref()
            .is_ok_and(|trial| Capabilities::read(trial).is_able())
        {
            break;
        }
        pause(spacing).await;
        found = match (found, attempt().await) {
            (Ok(before), Ok(again)) => Ok(before.with(again)),
            (Ok(before), Err(_)) => Ok(before),
            (Err(_), again) => again,
        };
    }
    found
}

/// Why something failed each time, with this between two attempts; nothing when it succeeded once.
async fn repeated<F>(spacing: Duration, mut attempt: impl FnMut() -> F) -> Option<String>
where
    F: Future<Output = Result<(), FaultError>>,
{
    let mut error = attempt().await.err()?;
    for _ in 1..ATTEMPTS {
        pause(spacing).await;
        error = attempt().await.err()?;
    }
    Some(error.to_string())
}

/// A switch for no node, armed and taken away.
async fn try_switch(cluster: &Cluster, node: &str) -> Result<(), FaultError> {
    let (docker, container) = cluster.container(node)?;
    let image = image_of(&docker, &container).await?;
    let order = Order {
        cluster: &cluster.name,
        trace: &format!("trial-{:08x}", rand::random::<u32>()),
        image: &image,
        nodes: &[],
        limit: timeouts::NODE_COMMAND,
    };
    Switch::arm(&docker, &order).await?.disarm().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A trial of a machine on which these do not work, and these were not tried.
    fn trial(refused: &[&str], untried: &[&str]) -> Trial {
        let line = |name: &&str| match refused.contains(name) {
            true => format!("no|{name}|not here\n"),
            false => format!("ok|{name}|\n"),
        };
        let tried = NEEDED.iter().filter(|name| !untried.contains(*name));
        kernel::parse(&tried.map(line).collect::<String>())
    }

    /// What attempts that end like this give together, and how many were made.
    async fn after(results: &[Result<Trial, String>]) -> (Capabilities, usize) {
        let made = Cell::new(0);
        let found = attempts(Duration::ZERO, || {
            let result = results[made.get()].clone();
            made.set(made.get() + 1);
            std::future::ready(result)
        });
        (Capabilities::after(&found.await), made.get())
    }

    fn refused() -> Result<Trial, String> {
        Err("Docker is busy".to_owned())
    }

    #[tokio::test]
    async fn a_machine_that_can_do_everything_is_tried_once() {
        let (able, made) = after(&[Ok(trial(&[], &[]))]).await;
        assert!(able.is_able());
        assert_eq!(made, 1);
        // iptables is not needed where nft works.
        let without = trial(&[kernel::IPTABLES, kernel::IPTABLES_RANDOM], &[]);
        assert_eq!(after(&[Ok(without)]).await.1, 1);
    }

    #[tokio::test]
    async fn what_works_once_works() {
        let first = Ok(trial(&[kernel::SIGSTOP], &[kernel::NFT]));
        let (able, made) = after(&[first.clone(), Ok(trial(&[], &[]))]).await;
        assert!(able.is_able());
        assert_eq!(made, 2);
        let second = Ok(trial(&[kernel::NFT], &[]));
        let (able, made) = after(&[first, second, refused()]).await;
        assert!(able.sigstop && able.iptables && !able.nft, "{able:?}");
        assert_eq!(made, 2, "iptables stands in for nft");
        let (able, made) = after(&[refused(), refused(), Ok(trial(&[], &[]))]).await;
        assert!(able.is_able());
        assert_eq!(made, 3);
    }

    #[tokio::test]
    async fn what_is_refused_each_time_is_not_there() {
        let without = || Ok(trial(&[kernel::LOOP_MOUNT], &[]));
        let (found, made) = after(&[without(), refused(), without()]).await;
        assert_eq!(made, ATTEMPTS);
        let lack = found.lacks(Need::LoopMount).expect("there is none");
        assert_eq!(lack.need, Some(Need::LoopMount));
        assert_eq!(found.lacks(Need::Freezing), None);
    }

    #[tokio::test]
    async fn what_could_not_be_tried_is_not_known_to_be_missing() {
        let (found, made) = after(&[refused(), refused(), refused()]).await;
        assert_eq!(made, ATTEMPTS);
        for need in Need::OF_MACHINES {
            let lack = found.lacks(need).expect("nothing is known");
            assert_eq!(lack.need, None, "{need:?}");
            assert!(lack.reason.contains("Docker is busy"), "{}", lack.reason);
        }
        assert_eq!(found.lacks(Need::Api), None);
        let cut_short = || Ok(trial(&[kernel::NFT], &[kernel::IPTABLES, kernel::SIGSTOP]));
        let (found, _) = after(&[cut_short(), cut_short(), cut_short()]).await;
        for need in [Need::PacketRules, Need::Freezing] {
            let lack = found.lacks(need).expect("nothing is known");
            assert_eq!(lack.need, None, "{need:?}");
        }
        assert_eq!(found.lacks(Need::LoopMount), None);
    }

    #[tokio::test]
    async fn a_switch_is_not_to_be_had_when_it_failed_each_time() {
        let made = Cell::new(0);
        let fails = |times: usize| {
            let made = &made;
            made.set(0);
            repeated(Duration::ZERO, move || {
                made.set(made.get() + 1);
                std::future::ready(match made.get() > times {
                    true => Ok(()),
                    false => Err(FaultError::find("the socket", made.get())),
                })
            })
        };
        assert_eq!(fails(0).await, None);
        assert_eq!(made.get(), 1);
        assert_eq!(fails(2).await, None);
        assert_eq!(made.get(), ATTEMPTS);
        let told = fails(3).await.expect("it fails each time");
        assert!(told.contains("the socket: 3"), "{told}");
        assert_eq!(made.get(), ATTEMPTS);
    }
}
