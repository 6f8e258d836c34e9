//! Faults of a node as a whole: paused, restarted, switched off (permanently), its kubelet stopped.

use std::collections::BTreeMap;

use bollard::Docker;
use futures::future::try_join_all;

use crate::cluster::{Cluster, KUBELET_ANSWERS, node_states, wait_nodes_back};
use crate::faults::members::roster;
use crate::faults::node::objects::Objects;
use crate::faults::node::power;
use crate::faults::process::replicas;
use crate::faults::running::{Injected, Running};
use crate::faults::seen::{Look, until_seen};
use crate::faults::switch::container::{Order, Switch, image_of};
use crate::faults::switch::deadman::{self, BY_SWITCH, Deed, Healed};
use crate::faults::{
    Declared, Evidence, Fault, FaultContext, FaultError, Healing, NodeSelector, Replicas, Target,
};
use crate::timeouts;

/// What is done to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Pause,
    Restart,
    Kill(Declared),
    StopKubelet,
}

/// What a fault of nodes does, and to which; `None` for any other.
const fn harm(fault: &Fault) -> Option<(&NodeSelector, Harm)> {
    Some(match fault {
        Fault::PauseNode { of } => (of, Harm::Pause),
        Fault::RestartNode { of } => (of, Harm::Restart),
        Fault::KillNode { of, declared } => (of, Harm::Kill(*declared)),
        Fault::StopKubelet { of } => (of, Harm::StopKubelet),
        _ => return None,
    })
}

/// Injects a fault of nodes.
pub(crate) async fn inject(context: &FaultContext, fault: &Fault) -> Result<Injected, FaultError> {
    let Some((of, harm)) = harm(fault) else {
        return Err(FaultError::Unavailable {
            fault: fault.to_string(),
            reason: "it is no fault of a node".into(),
        });
    };
    let (names, mut evidence) = resolve(context, of).await?;
    let uids = uids(&context.cluster).await;
    let (docker, _) = context.cluster.container(&names[0])?;
    let names = power::by_address(&docker, names).await?;
    let mut harmed = Harmed {
        fault: fault.to_string(),
        harm,
        cluster: context.cluster.clone(),
        docker,
        trace: context.trace(),
        switch: None,
        started: BTreeMap::new(),
        objects: None,
        uids,
        names,
    };
    let done = match harmed.arm(context).await {
        Ok(()) => harmed.act(context).await,
        Err(error) => Err(error),
    };
    if let Err(error) = done {
        if let Err(second) = harmed.heal().await {
            tracing::warn!(%second, "a failed injection was not healed at once; its timer will");
        }
        return Err(error);
    }
    evidence.add(
        "dead man's switch",
        if harmed.switch.is_some() {
            "container"
        } else {
            "timer in the node"
        },
    );
    let targets = harmed
        .names
        .iter()
        .map(|name| Target::Node(name.clone()))
        .collect();
    Ok(Injected {
        targets,
        evidence,
        running: Box::new(harmed),
    })
}

/// The nodes that are meant, now.
async fn resolve(
    context: &FaultContext,
    of: &NodeSelector,
) -> Result<(Vec<String>, Evidence), FaultError> {
    let mut evidence = Evidence::new();
    let mut names: Vec<String> = match of {
        NodeSelector::Named(name) => vec![name.clone()],
        NodeSelector::Operator => {
            let active = replicas::pods(context, Replicas::LeaseHolder).await?;
            let nodes = active.iter().map(|(pod, _)| pod.node().map(str::to_owned));
            nodes.collect::<Result<_, FaultError>>()?
        }
        NodeSelector::ControlPlane => context
            .cluster
            .control_planes()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        NodeSelector::All => context
            .cluster
            .nodes
            .iter()
            .map(|node| node.name.clone())
            .collect(),
        NodeSelector::Of(selector) => {
            let roster = roster(context).await?;
            evidence.add("roles from", roster.roles_from);
            let chosen = selector.select(&roster.members, context.seed)?;
            let pods: Vec<&str> = chosen.iter().map(|member| member.pod.as_str()).collect();
            evidence.add("members", pods.join(" "));
            let nodes: Result<Vec<String>, FaultError> = chosen
                .iter()
                .map(|member| member.node().map(str::to_owned))
                .collect();
            nodes?
        }
    };
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Err(FaultError::find(of.to_string(), "the cluster has none"));
    }
    Ok((names, evidence))
}

async fn uids(cluster: &Cluster) -> BTreeMap<String, String> {
    let states = node_states(&cluster.kube).await.unwrap_or_default();
    states
        .into_iter()
        .map(|state| (state.name, state.uid))
        .collect()
}

/// Nodes that were harmed.
struct Harmed {
    fault: String,
    harm: Harm,
    cluster: Cluster,
    docker: Docker,
    trace: String,
    switch: Option<Switch>,
    /// When each container had been started, before.
    started: BTreeMap<String, String>,
    /// Node objects that are deleted or tainted, and what takes that back.
    objects: Option<Objects>,
    /// UIDs of the Node objects, before.
    uids: BTreeMap<String, String>,
    /// In the order in which they are started.
    names: Vec<String>,
}

impl Harmed {
    /// Arms what undoes it when the harness cannot.
    async fn arm(&mut self, context: &FaultContext) -> Result<(), FaultError> {
        if self.harm == Harm::StopKubelet {
            return Ok(());
        }
        if let Harm::Kill(declared @ (Declared::Gone | Declared::OutOfService)) = self.harm {
            // First, so that they are as before when the nodes are started.
            let objects = Objects::arm(context, &self.trace, &self.names, declared).await?;
            self.objects = Some(objects);
        }
        let order = Order {
            cluster: &self.cluster.name,
            trace: &self.trace,
            image: &image_of(&self.docker, &self.names[0]).await?,
            nodes: &self.names,
            limit: context.dead_man,
        };
        self.switch = Some(Switch::arm(&self.docker, &order).await?);
        Ok(())
    }

    async fn act(&mut self, context: &FaultContext) -> Result<(), FaultError> {
        for name in &self.names {
            self.started
                .insert(name.clone(), power::state(&self.docker, name).await?.1);
        }
        match self.harm {
            Harm::Pause => {
                try_join_all(
                    self.names
                        .iter()
                        .map(|name| power::pause(&self.docker, name)),
                )
                .await?;
            }
            Harm::StopKubelet => {
                try_join_all(
                    self.names
                        .iter()
                        .map(|name| self.stop_kubelet(context, name)),
                )
                .await?;
            }
            Harm::Kill(_) => power::kill(&self.docker, &self.names).await?,
            Harm::Restart => {
                power::kill(&self.docker, &self.names).await?;
                power::start(&self.docker, &self.names).await?;
            }
        }
        if let Some(objects) = &self.objects {
            objects.declare(&self.cluster).await?;
        }
        Ok(())
    }

    async fn stop_kubelet(&self, context: &FaultContext, name: &str) -> Result<(), FaultError> {
        let shell = self.cluster.shell(name)?;
        let deed = Deed {
            trace: &self.trace,
            limit: context.dead_man,
            heal: "systemctl start kubelet",
            inject: "systemctl stop kubelet",
        };
        deadman::run(&shell, &deed).await?;
        Ok(())
    }

    async fn seen(&self, name: &str) -> Look<String> {
        let (state, started) = power::state(&self.docker, name).await?;
        Ok(match self.harm {
            Harm::Pause if state == "paused" => Ok("paused".into()),
            Harm::Kill(_) if state == "exited" => Ok("off".into()),
            Harm::Restart if state == "running" && self.started.get(name) != Some(&started) => {
                Ok(format!("started again at {started}"))
            }
            Harm::StopKubelet => {
                let shell = self.cluster.shell(name)?;
                let answers = shell.run(KUBELET_ANSWERS).await?.success();
                if answers {
                    Err("the kubelet still answers".into())
                } else {
                    Ok("the kubelet does not answer".into())
                }
            }
            _ => Err(format!("its container is {state}")),
        })
    }

    async fn undo_one(&self, name: &String, healing: &mut Healing) -> Result<(), FaultError> {
        if self.harm == Harm::StopKubelet {
            let shell = self.cluster.shell(name)?;
            if deadman::heal(&shell, &self.trace).await? == Healed::ByTimer {
                healing.early(format!("the kubelet of {name}"), BY_SWITCH);
            }
            return Ok(());
        }
        match power::state(&self.docker, name).await?.0.as_str() {
            "paused" => power::unpause(&self.docker, name).await?,
            "running" if self.harm != Harm::Restart => {
                healing.early(format!("node {name}"), BY_SWITCH);
            }
            "running" => {}
            _ => power::start(&self.docker, std::slice::from_ref(name)).await?,
        }
        Ok(())
    }
}

impl Running for Harmed {
    async fn effect(&mut self) -> Result<Evidence, FaultError> {
        let mut evidence = Evidence::new();
        for name in &self.names {
            let seen = until_seen(&self.fault, name.clone(), || self.seen(name));
            evidence.add(format!("node {name}"), seen.await?);
        }
        if let Some(objects) = &self.objects {
            let (done, what) = (objects.declared(&self.cluster).await?, objects.what());
            if done < self.names.len() {
                let seen = format!("{done} of {} {what}", self.names.len());
                return Err(FaultError::NoEffect {
                    fault: self.fault.clone(),
                    waited_s: timeouts::EFFECT.as_secs_f64(),
                    seen,
                });
            }
            evidence.add(what, done);
        }
        Ok(evidence)
    }

    async fn heal(&mut self) -> Result<Healing, FaultError> {
        let mut healing = Healing::default();
        let objects = match &self.objects {
            Some(objects) => Some(objects.put_back().await),
            None => None,
        };
        // Nodes are started whatever came of the objects.
        let mut failed = Vec::new();
        for name in &self.names {
            if let Err(error) = self.undo_one(name, &mut healing).await {
                failed.push(error);
            }
        }
        if let Some(error) = failed.into_iter().next() {
            return Err(error);
        }
        if let Some(healed) = objects
            && healed? == Healed::ByTimer
        {
            healing.early("the node objects", BY_SWITCH);
        }
        // Only now: what failed above is tried again by the timer.
        if let Some(switch) = &self.switch {
            switch.disarm().await;
        }
        let began = std::time::Instant::now();
        wait_nodes_back(&self.cluster, &self.names, timeouts::NODE_READY)
            .await
            .map_err(|error| FaultError::Heal {
                fault: self.fault.clone(),
                reason: error.to_string(),
            })?;
        healing.evidence.add(
            "all nodes ready after",
            format!("{:.1} s", began.elapsed().as_secs_f64()),
        );
        Ok(healing)
    }

    async fn residue(&self) -> Result<Option<String>, FaultError> {
        for name in &self.names {
            let (state, _) = power::state(&self.docker, name).await?;
            if state != "running" {
                return Ok(Some(format!("node {name} is {state}")));
            }
            if let Some(left) = deadman::residue(&self.cluster.shell(name)?, &self.trace).await? {
                return Ok(Some(left));
            }
        }
        if let Some(objects) = &self.objects
            && let Some(left) = objects.left().await?
        {
            return Ok(Some(left));
        }
        if let Some(switch) = &self.switch
            && switch.is_left().await?
        {
            return Ok(Some(
                "the container that holds the dead man's switch".into(),
            ));
        }
        let states = node_states(&self.cluster.kube)
            .await
            .map_err(|e| FaultError::api("list nodes", e))?;
        let tainted = states
            .iter()
            .find(|state| state.out_of_service && self.names.contains(&state.name));
        if let Some(state) = tainted {
            return Ok(Some(format!(
                "node {} is tainted out of service",
                state.name
            )));
        }
        let missing = self
            .uids
            .keys()
            .find(|name| !states.iter().any(|state| &state.name == *name));
        Ok(missing.map(|name| format!("node {name} is not registered")))
    }
}
