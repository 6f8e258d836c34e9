//! A recording client outside of the Kubernetes cluster: a container on the nodes' network, which reaches the leader
//! and each member by addresses of load balancers alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::Service;
use kube::api::{Api, DynamicObject};
use serde_json::{Value, json};

use crate::cluster::addresses::Network;
use crate::cluster::{Cluster, exec};
use crate::deploy::{apply, owner};
use crate::scenario::RunError;
use crate::scenario::subject::{CLUSTER, COMPONENT, Subject};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Ports of etcd for clients and for peers.
const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
/// Where the client keeps its history.
const DIR: &str = "/history";
/// Last part of the name of the Cluster's service for clients.
const CLIENT_SERVICE: &str = "client";
/// Name in the ComponentDefinition of the service of each pod for peers.
const POD_SERVICE: &str = "peer";

/// Addresses by which a cluster is reached from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Routes {
    /// `host:port` that leads to the leader.
    pub(super) leader: String,
    /// `host:port` of each member for clients, by pod.
    pub(super) members: BTreeMap<String, String>,
    /// The same for peers: the services of each pod that the Cluster asks for.
    peers: BTreeMap<String, String>,
}

impl Routes {
    /// Makes a service for each member's clients, and waits until all services have addresses.
    pub(super) async fn open(subject: &Subject) -> Result<Self, RunError> {
        let pods = subject.pod_names();
        let objects: Result<Vec<DynamicObject>, _> = pods
            .iter()
            .map(|pod| serde_json::from_value(to_one(pod)))
            .collect();
        let objects = objects.map_err(|error| RunError::api("build a Service", &error))?;
        apply(&subject.kube, &subject.namespace, &objects).await?;
        let what = "every service of type LoadBalancer has an address";
        let found = wait_until(what, timeouts::EFFECT_SLOW, async || {
            match Self::look(subject, &pods).await {
                Ok(routes) => Poll::Ready(routes),
                Err(status) => Poll::NotYet::<_, String>(status),
            }
        });
        found
            .await
            .map_err(|error| RunError::Unready(error.to_string()))
    }

    async fn look(subject: &Subject, pods: &[String]) -> Result<Self, String> {
        let services: Api<Service> = Api::namespaced(subject.kube.clone(), &subject.namespace);
        let address = async |name: String| address(&services, &name).await;
        let mut routes = Self {
            leader: format!("{}:{CLIENTS}", address(leader_service()).await?),
            members: BTreeMap::new(),
            peers: BTreeMap::new(),
        };
        for (ordinal, pod) in pods.iter().enumerate() {
            let clients = address(own_service(pod)).await?;
            let peers = address(peer_service(ordinal)).await?;
            let at = |host: String, port| (pod.clone(), format!("{host}:{port}"));
            routes.members.extend([at(clients, CLIENTS)]);
            routes.peers.extend([at(peers, PEERS)]);
        }
        Ok(routes)
    }

    /// Where these members are, as the recording client's commands take it.
    pub(super) fn arguments(&self) -> Vec<String> {
        let argument = |(pod, at): (&String, &String)| format!("--member={pod}={at}");
        self.members.iter().map(argument).collect()
    }
}

/// Name of the Cluster's service for clients.
fn leader_service() -> String {
    format!("{CLUSTER}-{CLIENT_SERVICE}")
}

/// Name of the service of a pod that the Cluster asks for.
fn peer_service(ordinal: usize) -> String {
    format!("{CLUSTER}-{COMPONENT}-{POD_SERVICE}-{ordinal}")
}

/// Name of the service of a pod that is made here.
fn own_service(pod: &str) -> String {
    format!("outside-{pod}")
}

/// A service as a user makes it who wants to reach one member: the definition's own is for peers.
fn to_one(pod: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": own_service(pod) },
        "spec": {
            "type": "LoadBalancer",
            "publishNotReadyAddresses": true,
            "selector": { labels::POD_NAME: pod },
            "ports": [{ "name": "client", "port": CLIENTS, "targetPort": CLIENTS }],
        },
    })
}

/// The address of a service.
async fn address(services: &Api<Service>, name: &str) -> Result<String, String> {
    let found = services.get(name).await;
    let found = found.map_err(|error| format!("service {name}: {error}"))?;
    let balancer = found.status.and_then(|status| status.load_balancer);
    let ingress = balancer.and_then(|balancer| balancer.ingress);
    let first = ingress.into_iter().flatten().find_map(|at| at.ip);
    first.ok_or_else(|| format!("service {name} has no address"))
}

/// The container; it is removed with the last copy of this.
#[derive(Clone)]
pub(super) struct Outside {
    docker: Docker,
    name: String,
    _removal: Arc<Removal>,
}

struct Removal {
    docker: Docker,
    name: String,
}

impl Drop for Removal {
    fn drop(&mut self) {
        // Without a runtime the process ends, and `harness doctor --residue` finds the container by its labels.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (docker, name) = (self.docker.clone(), self.name.clone());
        runtime.spawn(async move {
            let options = RemoveContainerOptionsBuilder::default().force(true).build();
            let _ = docker.remove_container(&name, Some(options)).await;
        });
    }
}

impl Outside {
    /// Makes the container and starts it; its client waits to be started.
    pub(super) async fn create(
        cluster: &Cluster,
        namespace: &str,
        image: &str,
        config: &Value,
    ) -> Result<Self, RunError> {
        let network = Network::of(cluster).await?;
        let plane = cluster
            .control_planes()
            .first()
            .copied()
            .unwrap_or_default();
        let (docker, _) = cluster.container(plane)?;
        let name = format!("{namespace}-outside");
        let failed = |action: &str, error: bollard::errors::Error| {
            RunError::api(format!("{action} container {name}"), &error)
        };
        let body = body(&network.name, namespace, image, config);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let made = docker.create_container(Some(options), body).await;
        made.map_err(|error| failed("make", error))?;
        let removal = Removal {
            docker: docker.clone(),
            name: name.clone(),
        };
        let outside = Self {
            docker: docker.clone(),
            name: name.clone(),
            _removal: Arc::new(removal),
        };
        let started = docker.start_container(&name, None::<StartContainerOptions>);
        started.await.map_err(|error| failed("start", error))?;
        Ok(outside)
    }

    /// Runs a command of the client's program in the container.
    pub(super) async fn exec(
        &self,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Vec<u8>, RunError> {
        let command = [&["/workload"], arguments].concat();
        let ran = tokio::time::timeout(limit, exec(&self.docker, &self.name, &command)).await;
        let message = match ran {
            Ok(Ok(output)) if output.success() => return Ok(output.stdout.into_bytes()),
            Ok(Ok(output)) => output.stderr.trim().to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no end in time".to_owned(),
        };
        Err(RunError::Client {
            command: arguments.join(" "),
            message,
        })
    }

    /// Whether each address leads where it is to lead: those of members to the member of their pods, and those of the
    /// services of each pod to that pod alone.
    pub(super) async fn prove(&self, subject: &Subject, routes: &Routes) -> Result<(), RunError> {
        let members = routes.arguments();
        let arguments: Vec<&str> = std::iter::once("state")
            .chain(members.iter().map(String::as_str))
            .collect();
        let seen = self.exec(&arguments, timeouts::NODE_COMMAND).await?;
        let seen: Value = serde_json::from_slice(&seen).unwrap_or_default();
        let known = subject.etcd_state(&subject.pod_names()).await;
        let known = known.map_err(RunError::Wait)?;
        for (ordinal, (pod, peers)) in routes.peers.iter().enumerate() {
            let member = |state: &Value| state["pods"][pod]["header"]["member_id"].clone();
            let (is, wanted) = (member(&seen), member(&known));
            if is.is_null() || is != wanted {
                let what = format!("member {wanted} of pod {pod} at its address: it is {is}");
                return Err(RunError::Wait(what));
            }
            let service = peer_service(ordinal);
            let leads = subject.endpoints(&service).await.map_err(RunError::Wait)?;
            if leads != [pod.as_str()] {
                let what = format!("service {service} lead to {pod} alone: it leads to {leads:?}");
                return Err(RunError::Wait(what));
            }
            self.answers(peers, "/version").await?;
        }
        Ok(())
    }

    /// Whether the address of this service leads to a member that is healthy.
    pub(super) async fn reach(&self, subject: &Subject, service: &str) -> Result<(), RunError> {
        let services: Api<Service> = Api::namespaced(subject.kube.clone(), &subject.namespace);
        let host = address(&services, service).await.map_err(RunError::Wait)?;
        self.answers(&format!("{host}:{CLIENTS}"), "/health").await
    }

    /// Whether a plain request to this address is answered.
    async fn answers(&self, address: &str, path: &str) -> Result<(), RunError> {
        let arguments = ["break-in", "--address", address, "--asks", path];
        let told = self
            .exec(
                &[&arguments[..], &["--method", "GET"]].concat(),
                timeouts::NODE_COMMAND,
            )
            .await?;
        let told: Value = serde_json::from_slice(&told).unwrap_or_default();
        if told["let_in"] == true {
            return Ok(());
        }
        let what = format!("an answer of {address} to GET {path}: {}", told["told"]);
        Err(RunError::Wait(what))
    }
}

fn body(network: &str, namespace: &str, image: &str, config: &Value) -> ContainerCreateBody {
    let memory = (DIR.to_owned(), "size=512m,mode=1777".to_owned());
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(["/workload", "run"].map(str::to_owned).to_vec()),
        cmd: Some(Vec::new()),
        env: Some(vec![
            format!("WORKLOAD_CONFIG={config}"),
            format!("WORKLOAD_DIR={DIR}"),
        ]),
        labels: Some(owner::labels(namespace)),
        host_config: Some(HostConfig {
            network_mode: Some(network.to_owned()),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            tmpfs: Some(HashMap::from([memory])),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_operator_gives() {
        assert_eq!(leader_service(), "quartz-client");
        assert_eq!(peer_service(2), "quartz-etcd-peer-2");
    }

    #[test]
    fn the_service_of_a_member_selects_its_pod_alone() {
        let service = to_one("quartz-etcd-1");
        assert_eq!(
            service["spec"]["selector"],
            json!({ labels::POD_NAME: "quartz-etcd-1" })
        );
        assert_eq!(service["metadata"]["name"], "outside-quartz-etcd-1");
    }

    #[test]
    fn the_clients_commands_are_given_every_member() {
        let members = ["a", "b"].map(|pod| (pod.to_owned(), format!("10.0.0.1:{CLIENTS}")));
        let routes = Routes {
            leader: "10.0.0.9:2379".to_owned(),
            members: BTreeMap::from(members),
            peers: BTreeMap::new(),
        };
        let expected = ["--member=a=10.0.0.1:2379", "--member=b=10.0.0.1:2379"];
        assert_eq!(routes.arguments(), expected);
    }
}
