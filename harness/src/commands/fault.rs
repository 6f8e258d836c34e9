//! `harness fault`: one fault by hand, from injection to the proof that nothing is left.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;

use super::{CommandResult, Exit, TargetArgs};
use crate::cluster::{Cluster, ClusterLock};
use crate::faults::{
    Absence, Capabilities, Container, ControlPlanePart, DataLoss, Declared, Deletion, Direction,
    Fault, FaultContext, FaultError, NodeSelector, OperatorFault, Replicas, Selector, Traffic,
    in_words, inject,
};
use crate::wait::pause;

/// Arguments of `harness fault`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Namespace of the etcd cluster.
    #[arg(long, short = 'n', default_value = "default", global = true)]
    namespace: String,
    /// Name of the etcd cluster.
    #[arg(long, default_value = "etcd-cluster", global = true)]
    etcd: String,
    /// How long it lasts before it is healed, in seconds.
    #[arg(long = "for", default_value = "5", value_parser = seconds, global = true)]
    lasts: Duration,
    /// After how long it ends by itself when this process dies; 60 s more than it lasts by default.
    #[arg(long, value_parser = seconds, global = true)]
    dead_man: Option<Duration>,
    /// Seed of random choices.
    #[arg(long, default_value_t = 0, global = true)]
    seed: u64,
    /// Do as if the nodes had no nft.
    #[arg(long, global = true)]
    no_nft: bool,
    /// Which.
    #[command(subcommand)]
    what: What,
}

/// The faults. Members: leader, follower, follower/N, minority, minority-with-leader, majority, all, learner, an
/// ordinal or a pod's name. Nodes: the same (their nodes), control-plane, operator (of its active replica), every-node
/// or node/NAME.
#[derive(Debug, Subcommand)]
enum What {
    /// SIGKILL to etcd.
    KillEtcd { of: Selector },
    /// SIGKILL to etcd whenever it is back.
    KeepEtcdDead { of: Selector },
    /// Lets the memory of etcd's container run out.
    ExhaustEtcd { of: Selector },
    /// SIGSTOP to etcd.
    FreezeEtcd { of: Selector },
    /// SIGKILL to the agent.
    KillAgent { of: Selector },
    /// SIGKILL to the agent whenever it is back.
    KeepAgentDead { of: Selector },
    /// SIGSTOP to the agent.
    FreezeAgent { of: Selector },
    /// SIGKILL to the metrics exporter.
    KillExporter { of: Selector },
    /// SIGSTOP to the metrics exporter.
    FreezeExporter { of: Selector },
    /// Leaves a part of one processor to each container.
    Starve {
        of: Selector,
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=99))]
        percent: u8,
    },
    /// Lets a follower campaign: an election, and nothing is killed.
    Elect { of: Selector },
    /// Deletes the pod.
    DeletePod {
        of: Selector,
        /// Without grace.
        #[arg(long, conflicts_with = "evict")]
        force: bool,
        /// Through the Eviction API.
        #[arg(long)]
        evict: bool,
    },
    /// Cuts members off from all peers and clients.
    Isolate {
        of: Selector,
        /// all, peer, client or agent.
        #[arg(long, default_value = "all", value_parser = traffic)]
        traffic: Traffic,
        /// both, outgoing or incoming.
        #[arg(long, default_value = "both", value_parser = direction)]
        direction: Direction,
    },
    /// Cuts members off from the other members.
    Split {
        side: Selector,
        /// both, outgoing or incoming.
        #[arg(long, default_value = "both", value_parser = direction)]
        direction: Direction,
    },
    /// Cuts two halves apart; one member reaches both.
    Bridge { through: Selector },
    /// Loses packets at random.
    LosePackets {
        of: Selector,
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(1..=99))]
        percent: u8,
        /// all, peer, client or agent.
        #[arg(long, default_value = "all", value_parser = traffic)]
        traffic: Traffic,
    },
    /// Freezes a node.
    PauseNode {
        #[arg(value_parser = node)]
        of: NodeSelector,
    },
    /// Restarts a node.
    RestartNode {
        #[arg(value_parser = node)]
        of: NodeSelector,
    },
    /// Switches a node off.
    KillNode {
        #[arg(value_parser = node)]
        of: NodeSelector,
        /// Deletes its Node object too.
        #[arg(long, conflicts_with = "out_of_service")]
        for_good: bool,
        /// Taints it out of service, as an owner does when it is surely off.
        #[arg(long)]
        out_of_service: bool,
    },
    /// Stops a kubelet.
    StopKubelet {
        #[arg(value_parser = node)]
        of: NodeSelector,
    },
    /// Kills the operator.
    KillOperator {
        /// Only the replica that holds the lease.
        #[arg(long)]
        active: bool,
    },
    /// Freezes the operator.
    FreezeOperator {
        /// Only the replica that holds the lease.
        #[arg(long)]
        active: bool,
    },
    /// Cuts the operator off from the API server.
    CutOperator {
        /// Only the replica that holds the lease.
        #[arg(long)]
        active: bool,
    },
    /// Replaces every replica of the operator by a rollout, as an upgrade does.
    ReplaceOperator,
    /// Stops a part of the control plane: api-server, controller-manager or scheduler.
    Stop {
        #[arg(value_parser = part)]
        part: ControlPlanePart,
    },
    /// Freezes a part of the control plane.
    Freeze {
        #[arg(value_parser = part)]
        part: ControlPlanePart,
    },
    /// Drops members' name lookups.
    DropDns { of: Selector },
    /// Freezes the DNS servers.
    FreezeDns,
    /// Deletes a member's files and kills its etcd.
    WipeData { of: Selector },
    /// Deletes a member's claim and pod.
    DeleteClaim { of: Selector },
    /// Deletes a member's claim under its running pod.
    DeleteClaimAlone { of: Selector },
    /// Asks for more processors than any node has.
    WrongTemplate,
    /// Floods the agents from the recording client's pod, beside Clusters that cannot be read.
    FloodAgents,
    /// Fills a member's small volume.
    FillDisk { of: Selector },
    /// Writes until etcd's quota is full; it must be a small one.
    FillQuota,
    /// Corrupts bytes of a member's database under its etcd.
    CorruptData { of: Selector },
}

impl What {
    fn fault(self) -> Fault {
        let kill = |container, of| Fault::KillProcess { container, of };
        let freeze = |container, of| Fault::FreezeProcess { container, of };
        let keep = |container, of| Fault::KeepKilling { container, of };
        let exhaust = |container, of| Fault::ExhaustMemory { container, of };
        let lose = |of, how| Fault::LoseData { of, how };
        let part = |part, how| Fault::ControlPlane { part, how };
        match self {
            What::KillEtcd { of } => kill(Container::Etcd, of),
            What::KillAgent { of } => kill(Container::Kbagent, of),
            What::KillExporter { of } => kill(Container::Exporter, of),
            What::KeepEtcdDead { of } => keep(Container::Etcd, of),
            What::KeepAgentDead { of } => keep(Container::Kbagent, of),
            What::ExhaustEtcd { of } => exhaust(Container::Etcd, of),
            What::FreezeEtcd { of } => freeze(Container::Etcd, of),
            What::FreezeAgent { of } => freeze(Container::Kbagent, of),
            What::FreezeExporter { of } => freeze(Container::Exporter, of),
            What::Starve { of, percent } => Fault::Starve { of, percent },
            What::Elect { of } => Fault::Elect { of },
            What::DeletePod { of, force, evict } => Fault::DeletePod {
                of,
                how: deletion(force, evict),
            },
            What::Isolate {
                of,
                traffic,
                direction,
            } => Fault::Isolate {
                of,
                traffic,
                direction,
            },
            What::Split { side, direction } => Fault::Split { side, direction },
            What::Bridge { through } => Fault::Bridge { through },
            What::LosePackets {
                of,
                percent,
                traffic,
            } => Fault::LosePackets {
                of,
                traffic,
                percent,
            },
            What::PauseNode { of } => Fault::PauseNode { of },
            What::RestartNode { of } => Fault::RestartNode { of },
            What::KillNode {
                of,
                for_good,
                out_of_service,
            } => switched_off(of, for_good, out_of_service),
            What::StopKubelet { of } => Fault::StopKubelet { of },
            What::KillOperator { active } => operator(OperatorFault::Killed, active),
            What::FreezeOperator { active } => operator(OperatorFault::Paused, active),
            What::CutOperator { active } => operator(OperatorFault::CutOff, active),
            What::ReplaceOperator => operator(OperatorFault::Replaced, false),
            What::Stop { part: of } => part(of, Absence::Stopped),
            What::Freeze { part: of } => part(of, Absence::Frozen),
            What::DropDns { of } => Fault::DropDns { of },
            What::FreezeDns => Fault::FreezeDns,
            What::WipeData { of } => lose(of, DataLoss::Wiped),
            What::DeleteClaim { of } => lose(of, DataLoss::ClaimDeleted),
            What::DeleteClaimAlone { of } => lose(of, DataLoss::ClaimAlone),
            What::WrongTemplate => Fault::WrongTemplate,
            What::FloodAgents => Fault::FloodAgents,
            What::FillDisk { of } => Fault::FillDisk { of },
            What::FillQuota => Fault::FillQuota,
            What::CorruptData { of } => Fault::CorruptData { of },
        }
    }
}

const fn replicas(active: bool) -> Replicas {
    if active {
        Replicas::LeaseHolder
    } else {
        Replicas::All
    }
}

const fn operator(how: OperatorFault, active: bool) -> Fault {
    Fault::Operator {
        how,
        replicas: replicas(active),
    }
}

const fn switched_off(of: NodeSelector, gone: bool, out_of_service: bool) -> Fault {
    let declared = match (gone, out_of_service) {
        (true, _) => Declared::Gone,
        (false, true) => Declared::OutOfService,
        (false, false) => Declared::Nothing,
    };
    Fault::KillNode { of, declared }
}

const fn deletion(force: bool, evict: bool) -> Deletion {
    match (force, evict) {
        (true, _) => Deletion::Forced,
        (false, true) => Deletion::Evicted,
        (false, false) => Deletion::Graceful,
    }
}

pub(super) async fn run(args: Args, target: &TargetArgs) -> CommandResult {
    let choice = target.choice();
    let _in_use = ClusterLock::using(&choice.name)?;
    let cluster = Cluster::attach(&choice).await?;
    let dead_man = args
        .dead_man
        .unwrap_or(args.lasts + Duration::from_secs(60));
    let mut context = FaultContext::new(&cluster, &args.namespace, &args.etcd)
        .await
        .with_seed(args.seed)
        .with_dead_man(dead_man);
    if args.no_nft {
        let without = Capabilities {
            nft: false,
            ..Capabilities::clone(&context.capabilities)
        };
        context.capabilities = Arc::new(without);
    }
    let fault = args.what.fault();
    println!("{fault}");
    let mut active = inject(&context, &fault).await?;
    let took = active.injected.duration_since(active.begun);
    println!(
        "injected in {:.0} ms: {}",
        took.as_secs_f64() * 1e3,
        in_words(&active.targets)
    );
    println!("  {}", active.evidence);
    let effect = active.effect().await;
    match &effect {
        Ok(evidence) => println!("effect: {evidence}"),
        Err(error) => println!("no effect: {error}"),
    }
    // Interrupted is healed too: who explores by hand presses Ctrl-C.
    tokio::select! {
        () = pause(args.lasts) => {}
        _ = tokio::signal::ctrl_c() => println!("interrupted"),
    }
    let healed = active
        .heal()
        .await
        .context("the fault is still on until its dead man's switch ends it")?;
    println!("healed: {healed}");
    if let Some(left) = active.residue().await? {
        bail!("something is left: {left}; `harness doctor --residue --fix` removes it");
    }
    println!("nothing is left");
    match effect {
        Ok(_) if !healed.doubts.is_empty() => Ok(Exit::Inconclusive),
        Ok(_) => Ok(Exit::Pass),
        Err(FaultError::NoEffect { .. }) => Ok(Exit::Inconclusive),
        Err(error) => Err(error.into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches('s');
    let value: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(value).map_err(|error| error.to_string())
}

fn traffic(text: &str) -> Result<Traffic, String> {
    Ok(match text {
        "all" => Traffic::All,
        "peer" => Traffic::Peer,
        "client" => Traffic::Client,
        "agent" => Traffic::Agent,
        _ => return Err("one of: all, peer, client, agent".into()),
    })
}

fn direction(text: &str) -> Result<Direction, String> {
    Ok(match text {
        "both" => Direction::Both,
        "outgoing" => Direction::Outgoing,
        "incoming" => Direction::Incoming,
        _ => return Err("one of: both, outgoing, incoming".into()),
    })
}

fn part(text: &str) -> Result<ControlPlanePart, String> {
    Ok(match text {
        "api-server" => ControlPlanePart::ApiServer,
        "controller-manager" => ControlPlanePart::ControllerManager,
        "scheduler" => ControlPlanePart::Scheduler,
        _ => return Err("one of: api-server, controller-manager, scheduler".into()),
    })
}

fn node(text: &str) -> Result<NodeSelector, String> {
    Ok(match text {
        "control-plane" => NodeSelector::ControlPlane,
        "every-node" => NodeSelector::All,
        "operator" => NodeSelector::Operator,
        _ => match text.strip_prefix("node/") {
            Some(name) => NodeSelector::Named(name.to_owned()),
            None => NodeSelector::Of(text.parse()?),
        },
    })
}

/// The fault of a command line. Its harness prints it, as a line, before it injects.
pub(super) fn parse(line: &str) -> Option<Fault> {
    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let words = std::iter::once("fault").chain(line.split_whitespace());
    let line = <Line as clap::Parser>::try_parse_from(words).ok()?;
    Some(line.args.what.fault())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &str) -> Fault {
        parse(line).expect("a fault")
    }

    #[test]
    fn a_line_names_a_fault() {
        assert_eq!(
            fault("kill-etcd leader --for 5s").to_string(),
            "kill etcd of the leader"
        );
        assert_eq!(
            fault("isolate follower/1 --traffic peer --direction outgoing").to_string(),
            "cut follower 1 off from its peers (what it sends)"
        );
        assert_eq!(
            fault("pause-node control-plane").to_string(),
            "pause the control plane's node"
        );
        assert_eq!(
            fault("delete-pod 2 --evict").to_string(),
            "evict the pod of member 2"
        );
        assert_eq!(
            fault("freeze api-server").to_string(),
            "freeze kube-apiserver"
        );
    }

    #[test]
    fn what_is_declared_of_a_node_is_one_thing() {
        let off = |line: &str| fault(&format!("kill-node leader{line}"));
        for (line, expected) in [
            ("", Declared::Nothing),
            (" --for-good", Declared::Gone),
            (" --out-of-service", Declared::OutOfService),
        ] {
            let fault = off(line);
            let Fault::KillNode { declared, .. } = fault else {
                panic!("{fault}");
            };
            assert_eq!(declared, expected, "{line:?}");
        }
        assert_eq!(parse("kill-node leader --for-good --out-of-service"), None);
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds("2.5s"), Ok(Duration::from_millis(2500)));
        assert!(seconds("soon").is_err() && seconds("-1").is_err());
    }
}
