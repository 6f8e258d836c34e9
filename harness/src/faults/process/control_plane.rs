//! Parts of the control plane that are unavailable: frozen by a signal (connections hang) or stopped by moving their
//! static pod's manifest aside (connections are refused). All through node shells, for the API server cannot help here.

use futures::future::{join_all, try_join_all};

use crate::cluster::{Cluster, NodeShell, node_states};
use crate::faults::process::harm::{Harm, Victim, harm_all};
use crate::faults::process::scripts::{self, Which};
use crate::faults::running::{AnyRunning, Injected, Running};
use crate::faults::switch::deadman::{self, BY_SWITCH, Deed, Healed};
use crate::faults::together::all_or_none;
use crate::faults::{
    Absence, ControlPlanePart, Evidence, Fault, FaultContext, FaultError, Healing, Target,
};
use crate::timeouts;
use crate::wait::{Poll, wait_every, wait_until};

/// Folder of the static pods' manifests.
const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Where a manifest is while its part is stopped; outlives a restart of the node, so `doctor --residue` looks here too.
pub(crate) const ASIDE: &str = "/etc/kubernetes/etcd-harness-aside";

/// Injects the absence of a part, on every control-plane node.
pub(crate) async fn inject(
    context: &FaultContext,
    fault: &Fault,
    part: ControlPlanePart,
    how: Absence,
) -> Result<Injected, FaultError> {
    // Members are listed now, because the API server may not answer later.
    context.look().await;
    let nodes: Vec<String> = context
        .cluster
        .control_planes()
        .into_iter()
        .map(str::to_owned)
        .collect();
    if how == Absence::Frozen {
        let victims = nodes
            .into_iter()
            .map(|node| Victim {
                target: process(part, &node),
                uid: String::new(),
                node,
                container: part.name().into(),
            })
            .collect();
        let injected = harm_all(context, fault, victims, Harm::Freeze).await?;
        let running = Box::new(Frozen {
            part,
            cluster: context.cluster.clone(),
            inner: injected.running,
        });
        return Ok(Injected {
            running,
            ..injected
        });
    }
    let trace = context.trace();
    let mut shells = Vec::new();
    for node in &nodes {
        shells.push(context.cluster.shell(node)?);
    }
    let (heal, inject) = (move_back(part), move_aside(part));
    let attempts = join_all(shells.iter().map(async |shell| {
        let deed = Deed {
            trace: &trace,
            limit: context.dead_man,
            heal: &heal,
            inject: &inject,
        };
        deadman::run(shell, &deed).await.map(|_| shell)
    }));
    all_or_none(attempts.await, async |shell: &NodeShell| {
        deadman::take_back(shell, &trace).await;
    })
    .await?;
    let targets = nodes.iter().map(|node| process(part, node)).collect();
    let stopped = Stopped {
        fault: fault.to_string(),
        part,
        cluster: context.cluster.clone(),
        trace,
        shells,
    };
    Ok(Injected {
        targets,
        evidence: Evidence::new(),
        running: Box::new(stopped),
    })
}

fn process(part: ControlPlanePart, node: &str) -> Target {
    Target::Process {
        name: part.name().to_owned(),
        node: node.to_owned(),
    }
}

/// Moves the manifest aside and kills the process until the kubelet has understood.
fn move_aside(part: ControlPlanePart) -> String {
    let name = part.name();
    let which = Which {
        uid: "",
        container: name,
    };
    format!(
        "mkdir -p {ASIDE}\n[ -e {MANIFESTS}/{name}.yaml ] || {{ echo 'there is no {name}.yaml in {MANIFESTS}' >&2; exit 1; }}\n\
         mv {MANIFESTS}/{name}.yaml {ASIDE}/{name}.yaml || exit 1\n({}) 2>/dev/null\ntrue",
        scripts::kill(which)
    )
}

pub(crate) fn move_back(part: ControlPlanePart) -> String {
    let name = part.name();
    format!(
        "if [ -e {ASIDE}/{name}.yaml ]; then mv {ASIDE}/{name}.yaml {MANIFESTS}/{name}.yaml || exit 1; fi\n\
         rmdir {ASIDE} 2>/dev/null\ntrue"
    )
}

/// A part whose manifest is aside.
struct Stopped {
    fault: String,
    part: ControlPlanePart,
    cluster: Cluster,
    trace: String,
    shells: Vec<NodeShell>,
}

impl Stopped {
    /// Processes of the part on all control-plane nodes.
    async fn processes(&self) -> Result<usize, FaultError> {
        let script = scripts::list(Which {
            uid: "",
            container: self.part.name(),
        });
        let lists = try_join_all(
            self.shells
                .iter()
                .map(|shell| shell.check("list processes", &script)),
        )
        .await?;
        Ok(lists.iter().map(|text| scripts::parse(text).len()).sum())
    }
}

/// The API server answers that it is ready; nothing to wait for with the other parts.
async fn wait_api(cluster: &Cluster, part: ControlPlanePart) -> Result<(), FaultError> {
    if part != ControlPlanePart::ApiServer {
        return Ok(());
    }
    let answered = wait_until(
        "the API server answers",
        timeouts::API_SERVER_BACK,
        async || {
            // A question that needs permission: a server that has just started knows no permissions yet and answers
            // 403.
            match node_states(&cluster.kube).await {
                Ok(_) => Poll::Ready(()),
                Err(error) => Poll::NotYet::<_, String>(error),
            }
        },
    )
    .await;
    answered.map_err(|error| FaultError::api("reach the API server again", error))
}

/// A part that is frozen: a frozen process, and an API server to wait for afterwards.
struct Frozen {
    part: ControlPlanePart,
    cluster: Cluster,
    inner: Box<dyn AnyRunning>,
}

impl Running for Frozen {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        self.inner.effect().await
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let healing = self.inner.heal().await?;
        wait_api(&self.cluster, self.part).await?;
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        self.inner.residue().await
    }
}

impl Running for Stopped {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let name = self.part.name();
        wait_every(
            timeouts::POLL_NODES,
            name,
            timeouts::EFFECT_SLOW,
            async || match self.processes().await {
                Ok(0) => Poll::Ready(()),
                Ok(count) => Poll::NotYet(format!("{count} processes of {name} run")),
                Err(error) => Poll::NotYet(error.to_string()),
            },
        )
        .await
        .map_err(|error| FaultError::unseen(&self.fault, error))?;
        Ok(Evidence::new().with(name, "no process of it runs"))
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let mut healing = Healing::default();
        for shell in &self.shells {
            if deadman::heal(shell, &self.trace).await? == Healed::ByTimer {
                healing.early(process(self.part, shell.container()), BY_SWITCH);
            }
        }
        let began = std::time::Instant::now();
        let name = self.part.name();
        wait_every(
            timeouts::POLL_NODES,
            name,
            timeouts::API_SERVER_BACK,
            async || match self.processes().await {
                Ok(0) => Poll::NotYet("no process of it runs".to_owned()),
                Ok(_) => Poll::Ready(()),
                Err(error) => Poll::NotYet::<_, String>(error.to_string()),
            },
        )
        .await
        .map_err(|error| FaultError::Heal {
            fault: self.fault.clone(),
            reason: error.to_string(),
        })?;
        wait_api(&self.cluster, self.part).await?;
        healing.evidence.add(
            format!("{name} back after"),
            format!("{:.1} s", began.elapsed().as_secs_f64()),
        );
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for shell in &self.shells {
            let aside = shell
                .check("look for residue", &format!("ls {ASIDE} 2>/dev/null || :"))
                .await?;
            if !aside.trim().is_empty() {
                return Ok(Some(format!(
                    "{} in {ASIDE} of node {}",
                    aside.trim(),
                    shell.container()
                )));
            }
            if let Some(left) = deadman::residue(shell, &self.trace).await? {
                return Ok(Some(left));
            }
        }
        Ok(None)
    }
}
