//! Faults of the operator: killed, frozen, cut off from the API server; all replicas or the active one.

use std::net::Ipv4Addr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;

use crate::deploy::operator;
use crate::faults::network::cut::{Cutting, cut};
use crate::faults::network::follow::Subject;
use crate::faults::network::plan::{Parties, Proof};
use crate::faults::network::rules::{Address, Port, RuleSet};
use crate::faults::process::harm::{Harm, Victim, harm_all};
use crate::faults::process::replicas::pods;
use crate::faults::process::rollout;
use crate::faults::running::Injected;
use crate::faults::{
    Direction, Fault, FaultContext, FaultError, Member, OperatorFault, Replicas, Target,
};

/// Injects a fault of the operator.
pub(crate) async fn inject(
    context: &FaultContext,
    fault: &Fault,
    how: OperatorFault,
    replicas: Replicas,
) -> Result<Injected, FaultError> {
    let pods = pods(context, replicas).await?;
    let harm = match how {
        OperatorFault::Killed => Harm::Kill,
        OperatorFault::Paused => Harm::Freeze,
        OperatorFault::CutOff => return cut_off(context, fault, pods).await,
        OperatorFault::Replaced => return rollout::inject(context, fault, replicas).await,
    };
    let victims = pods
        .into_iter()
        .map(|(member, container)| Victim::of_pod(member, container))
        .collect::<Result<_, _>>()?;
    harm_all(context, fault, victims, harm).await
}

/// Drops what goes between these pods and the API server, wherever that runs: beside them too.
async fn cut_off(
    context: &FaultContext,
    fault: &Fault,
    pods: Vec<(Member, String)>,
) -> Result<Injected, FaultError> {
    let (servers, port) = api_servers(context).await?;
    let members: Vec<Member> = pods.into_iter().map(|(member, _)| member).collect();
    let cutting = Cutting {
        set: RuleSet {
            rules: vec![
                (Address::From, Port::To("tcp", port)),
                (Address::To, Port::From("tcp", port)),
            ],
            loss_percent: None,
            local: true,
        },
        proof: Proof::Remote(servers, port),
        parties: Parties {
            near: members.iter().map(|m| m.pod.clone()).collect(),
            far: Vec::new(),
        },
        direction: Direction::Both,
        subject: Subject {
            namespace: operator::NAMESPACE.into(),
            labels: operator::POD_LABELS.into(),
        },
    };
    let targets = members
        .iter()
        .map(|member| Target::Pod {
            pod: member.pod.clone(),
            node: member.node.clone().unwrap_or_default(),
            part: format!("from port {port} of the API server"),
        })
        .collect();
    let injected = cut(context, fault, cutting, &members).await?;
    Ok(Injected {
        targets,
        ..injected
    })
}

/// The API servers' own addresses and port, behind their service.
async fn api_servers(context: &FaultContext) -> Result<(Vec<Ipv4Addr>, u16), FaultError> {
    let api: Api<EndpointSlice> = Api::namespaced(context.cluster.kube.clone(), "default");
    let slice = api.get("kubernetes").await;
    let slice = slice.map_err(|error| FaultError::api("read the API server's endpoints", error))?;
    let addresses = slice.endpoints.into_iter().flat_map(|one| one.addresses);
    let addresses: Vec<Ipv4Addr> = addresses.filter_map(|text| text.parse().ok()).collect();
    let ports = slice.ports.unwrap_or_default();
    let port = ports.into_iter().find_map(|port| port.port);
    let port = port.and_then(|port| u16::try_from(port).ok());
    match port {
        Some(port) if !addresses.is_empty() => Ok((addresses, port)),
        _ => Err(FaultError::find(
            "the API server's address and port",
            "its endpoints name none",
        )),
    }
}
