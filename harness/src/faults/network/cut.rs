//! Faults of the network: packet rules in the nodes of the near party, pointed at addresses that follow their pods.

use std::sync::Arc;
use std::time::Instant;

use crate::faults::members::{pod_labels, roster};
use crate::faults::network::cutoff::Cutoff;
use crate::faults::network::follow::{Repoint, Subject};
use crate::faults::network::installed::{Program, Rules};
use crate::faults::network::plan::{self, Cut, Parties, Plan, Proof};
use crate::faults::network::rules::RuleSet;
use crate::faults::running::Injected;
use crate::faults::{Direction, Evidence, Fault, FaultContext, FaultError, Member, Target};

/// Injects a network fault of members.
pub(crate) async fn inject(
    context: &FaultContext,
    fault: &Fault,
    plan: Option<Plan>,
) -> Result<Injected, FaultError> {
    let plan = plan.ok_or_else(|| FaultError::Unavailable {
        fault: fault.to_string(),
        reason: "it is no fault of the network".into(),
    })?;
    let roster = roster(context).await?;
    let (Cut::Members(selector) | Cut::Side(selector) | Cut::Around(selector)) = &plan.cut;
    let chosen = selector.select(&roster.members, context.seed)?;
    let parties = plan::parties(&plan.cut, &chosen, &roster.members);
    if !matches!(plan.cut, Cut::Members(_)) && (parties.near.is_empty() || parties.far.is_empty()) {
        let reason = format!(
            "with {} members there are no two sides",
            roster.members.len()
        );
        return Err(FaultError::Unavailable {
            fault: fault.to_string(),
            reason,
        });
    }
    let subject = Subject {
        namespace: context.namespace.clone(),
        labels: pod_labels(&context.etcd, &context.component),
    };
    let targets = targets(&parties);
    let cutting = Cutting {
        set: plan.rules,
        proof: plan.proof,
        parties,
        direction: plan.direction,
        subject,
    };
    let mut injected = cut(context, fault, cutting, &roster.members).await?;
    injected.targets = targets;
    injected.evidence.add("pods from", roster.pods_from);
    injected.evidence.add("roles from", roster.roles_from);
    Ok(injected)
}

fn targets(parties: &Parties) -> Vec<Target> {
    if parties.far.is_empty() {
        return parties.near.iter().map(|pod| Target::member(pod)).collect();
    }
    vec![Target::Side {
        near: parties.near.clone(),
        far: parties.far.clone(),
    }]
}

/// Everything that decides which packets are dropped.
pub(crate) struct Cutting {
    /// Which packets.
    pub set: RuleSet,
    /// What must be seen of it.
    pub proof: Proof,
    /// Whose.
    pub parties: Parties,
    /// Which way.
    pub direction: Direction,
    /// Which pods to follow.
    pub subject: Subject,
}

/// Puts the rules in place and begins to follow the pods.
pub(crate) async fn cut(
    context: &FaultContext,
    fault: &Fault,
    cutting: Cutting,
    pods: &[Member],
) -> Result<Injected, FaultError> {
    let program = if context.capabilities.nft {
        Program::Nft
    } else {
        Program::Iptables
    };
    let rules = Arc::new(Rules {
        fault: fault.to_string(),
        cluster: context.cluster.clone(),
        trace: context.trace(),
        program,
        set: cutting.set,
        proof: cutting.proof,
        parties: cutting.parties,
        direction: cutting.direction,
        deadline: Instant::now() + context.dead_man,
        installed: tokio::sync::Mutex::default(),
    });
    if let Err(error) = rules.point(pods).await {
        rules.take_back().await;
        return Err(error);
    }
    let nodes: Vec<String> = rules.installed.lock().await.nodes.keys().cloned().collect();
    if nodes.is_empty() {
        return Err(FaultError::find(
            format!("a node to {fault} in"),
            "none of the pods is scheduled",
        ));
    }
    let follow = Repoint::start(rules.clone(), cutting.subject, context.cluster.kube.clone());
    let evidence = Evidence::new()
        .with("rules in", nodes.join(" "))
        .with("program", format!("{program:?}"));
    Ok(Injected {
        targets: Vec::new(),
        evidence,
        running: Box::new(Cutoff::new(rules, follow)),
    })
}
