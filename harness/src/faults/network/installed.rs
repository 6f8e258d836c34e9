//! Packet rules of one fault in the nodes that hold them: put in place, pointed at addresses, counted, probed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};

use crate::cluster::{Cluster, NodeShell};
use crate::faults::network::plan::{self, Parties, Proof};
use crate::faults::network::probe::{self, Answer, Probe, Proofs};
use crate::faults::network::rules::{Addresses, Count, RuleSet};
use crate::faults::network::{iptables, nft};
use crate::faults::process::scripts::{self, Which};
use crate::faults::switch::deadman::{self, Deed};
use crate::faults::{Container, Direction, FaultError, Member};

/// Which program holds the rules in a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// nft.
    Nft,
    /// iptables, where nft cannot.
    Iptables,
}

/// Rules of one fault, in whichever nodes hold them now.
pub(crate) struct Rules {
    pub(crate) fault: String,
    pub(super) cluster: Cluster,
    pub(crate) trace: String,
    pub(super) program: Program,
    pub(super) set: RuleSet,
    pub(crate) proof: Proof,
    pub(super) parties: Parties,
    pub(super) direction: Direction,
    pub(super) deadline: Instant,
    pub(crate) installed: tokio::sync::Mutex<Installed>,
}

#[derive(Default)]
pub(crate) struct Installed {
    pub(crate) nodes: BTreeMap<String, NodeShell>,
    addresses: Addresses,
    pods: Vec<Member>,
}

impl Rules {
    /// Points the rules at where the pods are now. Gives true when anything changed.
    pub(crate) async fn point(&self, pods: &[Member]) -> Result<bool, FaultError> {
        let ips: BTreeMap<String, Ipv4Addr> = pods
            .iter()
            .filter_map(|pod| Some((pod.pod.clone(), pod.ip.as_deref()?.parse().ok()?)))
            .collect();
        let new = plan::addresses(&self.parties, self.direction, &ips);
        let near = pods
            .iter()
            .filter(|pod| self.parties.near.contains(&pod.pod));
        let mut installed = self.installed.lock().await;
        let mut fresh = BTreeMap::new();
        for node in near.filter_map(|pod| pod.node.as_deref()) {
            if !installed.nodes.contains_key(node) {
                fresh.insert(node.to_owned(), self.cluster.shell(node)?);
            }
        }
        if fresh.is_empty() && new == installed.addresses {
            // One on the far side may be another pod by now: connections are tried from where it is.
            installed.pods = pods.to_vec();
            return Ok(false);
        }
        let old = installed.addresses.clone();
        let everybody = self.everybody(pods);
        if old != new {
            let held = installed.nodes.values();
            try_join_all(held.map(|shell| self.update(shell, &old, &new, &everybody))).await?;
        }
        // Known before they have rules: healing then finds them even when this is stopped in between.
        installed.nodes.extend(fresh.clone());
        let all = join_all(
            fresh
                .values()
                .map(|shell| self.install(shell, &new, &everybody)),
        );
        all.await.into_iter().collect::<Result<(), FaultError>>()?;
        installed.addresses = new;
        installed.pods = pods.to_vec();
        Ok(true)
    }

    /// Addresses whose packets are counted apart where the program cannot tell them by itself.
    fn everybody(&self, pods: &[Member]) -> BTreeSet<Ipv4Addr> {
        let pods = pods
            .iter()
            .filter_map(|pod| pod.ip.as_deref()?.parse().ok());
        match &self.proof {
            Proof::Remote(servers, _) => pods.chain(servers.iter().copied()).collect(),
            _ => pods.collect(),
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn cut<'a>(
        &'a self,
        addresses: &'a Addresses,
        everybody: &'a BTreeSet<Ipv4Addr>,
    ) -> iptables::Cut<'a> {
        iptables::Cut {
            rules: &self.set,
            addresses,
            everybody,
        }
    }

    async fn install(
        &self,
        shell: &NodeShell,
        addresses: &Addresses,
        everybody: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), FaultError> {
        let (heal, inject) = match self.program {
            Program::Nft => (
                nft::remove(&self.trace),
                nft::install(&self.trace, &self.set, addresses, self.left()),
            ),
            Program::Iptables => (
                iptables::remove(&self.trace),
                iptables::install(&self.trace, self.cut(addresses, everybody)),
            ),
        };
        let deed = Deed {
            trace: &self.trace,
            limit: self.left(),
            heal: &heal,
            inject: &inject,
        };
        deadman::run(shell, &deed).await?;
        Ok(())
    }

    async fn update(
        &self,
        shell: &NodeShell,
        old: &Addresses,
        new: &Addresses,
        everybody: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), FaultError> {
        let script = match self.program {
            Program::Nft => nft::update(&self.trace, old, new, self.left()),
            Program::Iptables => iptables::update(&self.trace, self.cut(new, everybody)),
        };
        shell
            .check("point packet rules at new addresses", &script)
            .await?;
        Ok(())
    }

    pub(crate) async fn count(&self, shell: &NodeShell) -> Result<Option<Count>, FaultError> {
        Ok(match self.program {
            Program::Nft => nft::parse_count(&shell.run(&nft::count(&self.trace)).await?.stdout),
            Program::Iptables => {
                iptables::parse_count(&shell.run(&iptables::count(&self.trace)).await?.stdout)
            }
        })
    }

    pub(crate) async fn counts(&self) -> Result<BTreeMap<String, Option<Count>>, FaultError> {
        let nodes = self.installed.lock().await.nodes.clone();
        let counts = nodes.iter().map(async |(node, shell)| {
            Ok::<_, FaultError>((node.clone(), self.count(shell).await?))
        });
        Ok(try_join_all(counts).await?.into_iter().collect())
    }

    /// What must be seen of the cut where the pods are now.
    pub(crate) async fn proofs(&self) -> Proofs {
        let installed = self.installed.lock().await;
        let cut = (&self.set, &installed.addresses);
        probe::proofs(&self.proof, &self.parties, cut, &installed.pods)
    }

    /// Tries what must not come about, in all nodes at once. A node that cannot be asked leaves its answers out.
    pub(crate) async fn probe(&self, proofs: &Proofs) -> BTreeMap<usize, Answer> {
        let mut by_node: BTreeMap<&str, Vec<(usize, &Probe)>> = BTreeMap::new();
        for (number, probe) in proofs.probes.iter().enumerate() {
            let of_node = by_node.entry(&probe.node).or_default();
            of_node.push((number, probe));
        }
        let asked = by_node.into_iter().map(async |(node, probes)| {
            let shell = self.cluster.shell(node).ok()?;
            let output = shell.run(&probe::script(&probes)).await.ok()?;
            Some(probe::parse(&output.stdout))
        });
        join_all(asked)
            .await
            .into_iter()
            .flatten()
            .flatten()
            .collect()
    }

    /// Looks a name up in every near pod, for a fault of lookups may come at a quiet moment.
    pub(crate) async fn look_up(&self) {
        let installed = self.installed.lock().await;
        let (nodes, pods) = (installed.nodes.clone(), installed.pods.clone());
        drop(installed);
        for pod in pods
            .iter()
            .filter(|pod| self.parties.near.contains(&pod.pod))
        {
            if let Some(shell) = pod.node.as_ref().and_then(|node| nodes.get(node)) {
                let which = Which {
                    uid: &pod.uid,
                    container: Container::Etcd.name(),
                };
                // Its failure is the point.
                let _ = shell.run(&scripts::ask_dns(which)).await;
            }
        }
    }

    /// Takes the rules away again wherever they may be.
    pub(super) async fn take_back(&self) {
        for shell in self.installed.lock().await.nodes.values() {
            deadman::take_back(shell, &self.trace).await;
        }
    }
}
