//! The etcd cluster of a run: a namespace of its own and one Cluster object in it, written as a user writes it.

use std::time::Duration;

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::volumes::Pool;
use crate::cluster::{Cluster, node_states, proxy};
use crate::deploy::{EtcdCluster, Guard, Keys, Reach, TempNamespace};
use crate::scenario::RunError;
use crate::scenario::inside::Inside;
use crate::scenario::unready;
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Name of the Cluster object; not the product's, so that the two are not confused.
pub(super) const CLUSTER: &str = "quartz";
/// Name of its component.
pub(super) const COMPONENT: &str = "etcd";
/// Who applies the harness's objects.
pub(super) const MANAGER: &str = "etcd-harness";

/// The etcd cluster of a run.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) kube: Client,
    pub(super) namespace: String,
    pub(super) members: u32,
    pub(super) guard: Guard,
    /// True when it has services of type LoadBalancer.
    balanced: bool,
    reach: Reach,
    /// Minutes after which its owner has a member replaced whose node is not ready.
    replaced_after: Option<u16>,
    temporary: TempNamespace,
}

/// A member's pod, as far as a run cares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) node: String,
}

/// What a member's agent says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    pod: String,
    leads: bool,
    term: u64,
}

impl Subject {
    /// Makes the namespace, with its policies.
    pub(super) async fn create(
        cluster: &Cluster,
        trial: &str,
        members: u32,
        reach: Reach,
    ) -> Result<Self, RunError> {
        let words = trial.split("::").skip(1).collect::<Vec<_>>().join("-");
        let temporary = TempNamespace::create(&cluster.kube, &words).await?;
        if let Err(error) = reach.prepare(&cluster.kube, &temporary.name).await {
            temporary.delete().await?;
            return Err(error.into());
        }
        Ok(Self {
            kube: cluster.kube.clone(),
            namespace: temporary.name.clone(),
            members,
            guard: Guard::Open,
            balanced: false,
            reach,
            replaced_after: None,
            temporary,
        })
    }

    /// The same, closed with this.
    pub(super) fn guarded(self, guard: Guard) -> Self {
        Self { guard, ..self }
    }

    /// The same, reached by load balancers too.
    pub(super) fn balanced(self, balanced: bool) -> Self {
        Self { balanced, ..self }
    }

    /// The same, whose owner has a member replaced when its node was not ready for so many minutes.
    pub(super) fn replaced_after(self, replaced_after: Option<u16>) -> Self {
        Self {
            replaced_after,
            ..self
        }
    }

    /// What opens it; nothing where it is open.
    pub(super) fn keys(&self) -> Option<Keys> {
        self.guard.keys(&Self::leader_service())
    }

    /// The Cluster as the run writes it, on volumes of this pool or of the cluster's default class.
    pub(super) fn etcd(&self, pool: Option<&Pool>) -> EtcdCluster {
        let mut etcd = EtcdCluster::new(&self.namespace, CLUSTER, self.members);
        etcd.guard = self.guard;
        etcd.balanced = self.balanced;
        etcd.reach = self.reach;
        etcd.replaced_after = self.replaced_after;
        match pool {
            Some(pool) => etcd.storage(pool.class, &pool.size()),
            None => etcd,
        }
    }

    /// The Cluster objects of the namespace.
    pub(super) fn clusters(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.kube.clone(), &self.namespace, &cluster_resource())
    }

    /// Applies the Cluster object, of this version or the definition's own, with these settings of etcd.
    pub(super) async fn apply(
        &self,
        pool: Option<&Pool>,
        version: Option<&str>,
        settings: &[(&str, &str)],
    ) -> Result<(), RunError> {
        let mut etcd = self.etcd(pool);
        etcd.service_version = version.map(str::to_owned);
        let settings = settings.iter();
        etcd.settings = settings
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Ok(etcd.apply(&self.kube).await?)
    }

    /// The same cluster after it was made larger or smaller.
    pub(super) fn with_members(&self, members: u32) -> Self {
        Self {
            members,
            ..self.clone()
        }
    }

    /// The pod that is labelled leader.
    pub(super) async fn leader(&self) -> Result<String, String> {
        let pods = self.pods().await?;
        leaders(&pods)
            .pop()
            .ok_or_else(|| "no pod is labelled leader".to_owned())
    }

    /// Pods of the members.
    pub(super) async fn pods(&self) -> Result<Vec<Pod>, String> {
        let api: Api<Pod> = Api::namespaced(self.kube.clone(), &self.namespace);
        let params = ListParams::default().labels(&pod_selector());
        match tokio::time::timeout(timeouts::API_CALL, api.list(&params)).await {
            Ok(Ok(listed)) => Ok(listed.items),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the API server does not answer".to_owned()),
        }
    }

    /// Where every member sits now. Asked again until the API server has answered: without it a fault's own effects
    /// would be taken for the operator's.
    pub(super) async fn seats(&self) -> Result<Vec<Seat>, RunError> {
        let listed = wait_until("a list of the pods", timeouts::EFFECT, async || match self
            .pods()
            .await
        {
            Ok(pods) => Poll::Ready(pods),
            Err(error) => Poll::NotYet::<_, String>(error),
        });
        let pods = listed
            .await
            .map_err(|error| RunError::Unready(error.to_string()))?;
        let seat = |pod: &Pod| Seat {
            pod: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            node: pod
                .spec
                .as_ref()
                .and_then(|spec| spec.node_name.clone())
                .unwrap_or_default(),
        };
        Ok(pods.iter().map(seat).collect())
    }

    /// Waits until all members are ready and labelled, the one that leads as leader, no alarm stands, the service leads
    /// to the leader, and the Cluster says that it runs. Labels alone prove nothing: they are
    /// stale while no operator can write them.
    pub(super) async fn wait_whole(&self, limit: Duration) -> Result<(), RunError> {
        let what = format!(
            "{} members ready, one leader, Cluster Running",
            self.members
        );
        let whole = wait_until(what, limit, async || {
            let pods = match self.pods().await {
                Ok(pods) => pods,
                Err(error) => return Poll::NotYet::<(), String>(error),
            };
            if let Err(status) = unready::whole(&pods, self.members) {
                return Poll::NotYet(status);
            }
            let claims = match self.claims(&pods).await {
                Ok(claims) => claims,
                Err(error) => return Poll::NotYet(error),
            };
            if let Err(status) = true_label(&leaders(&pods), &claims) {
                return Poll::NotYet(status);
            }
            if let Err(alarm) = self.healthy(&pods).await {
                return Poll::NotYet(alarm);
            }
            let endpoints = match self.endpoints(&Self::leader_service()).await {
                Ok(endpoints) => endpoints,
                Err(error) => return Poll::NotYet(error),
            };
            if endpoints != leaders(&pods) {
                return Poll::NotYet(format!(
                    "all pods are well, the leader service leads to {endpoints:?}"
                ));
            }
            match self.clusters().get(CLUSTER).await {
                Ok(cluster) => match cluster.data["status"]["phase"].as_str() {
                    Some("Running") => Poll::Ready(()),
                    phase => Poll::NotYet(format!(
                        "all pods are well, the Cluster's phase is {phase:?}"
                    )),
                },
                Err(error) => Poll::NotYet(error.to_string()),
            }
        })
        .await;
        match whole {
            Ok(()) => Ok(()),
            Err(error) => Err(RunError::Wait(format!(
                "{error}{}",
                self.circumstances().await
            ))),
        }
    }

    /// What the operator says of the Cluster, and which nodes are not well; nothing of what cannot be read.
    async fn circumstances(&self) -> String {
        let (cluster, states) = tokio::join!(self.phase_and_message(), node_states(&self.kube));
        cluster + &unready::nodes(&states.unwrap_or_default())
    }

    async fn phase_and_message(&self) -> String {
        let clusters = self.clusters();
        let read = tokio::time::timeout(timeouts::API_CALL, clusters.get(CLUSTER));
        let Ok(Ok(cluster)) = read.await else {
            return String::new();
        };
        let status = &cluster.data["status"];
        let message = status["message"].as_str().unwrap_or("nothing");
        format!("; its phase is {}, it says: {message}", status["phase"])
    }

    /// Waits until it is closed with all that it is to be closed with.
    pub(super) async fn wait_closed(&self, limit: Duration) -> Result<(), RunError> {
        let wanted = self.guard.conditions();
        let what = format!("conditions {wanted:?} of the Cluster are true");
        wait_until(what, limit, async || {
            match self.clusters().get(CLUSTER).await {
                Ok(cluster) => match untrue(&cluster.data["status"], wanted) {
                    None => Poll::Ready(()),
                    Some(text) => Poll::NotYet::<(), String>(text),
                },
                Err(error) => Poll::NotYet(error.to_string()),
            }
        })
        .await
        .map_err(|error| RunError::Wait(error.to_string()))
    }

    /// What the agents of these pods say, asked side by side.
    async fn claims(&self, pods: &[Pod]) -> Result<Vec<Claim>, String> {
        let asked = pods.iter().map(|pod| async {
            let pod = pod.name_any();
            let text = self.http(&pod, 5001, "v1.0/getrole").await?;
            let told: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            let term = told["term"].as_u64().unwrap_or_default();
            Ok(Claim {
                leads: told["role"] == "leader",
                pod,
                term,
            })
        });
        futures::future::try_join_all(asked).await
    }

    /// Whether every etcd says that it is healthy: it reads through a quorum, and no alarm stands.
    async fn healthy(&self, pods: &[Pod]) -> Result<(), String> {
        let asked = pods.iter().map(|pod| async {
            let pod = pod.name_any();
            let answer = self.http(&pod, 2381, "health").await;
            answer.map_err(|error| format!("etcd of {pod} is not healthy: {error}"))
        });
        futures::future::try_join_all(asked).await.map(drop)
    }

    /// What a pod answers to `GET /{path}`, through the API server.
    pub(super) async fn http(&self, pod: &str, port: u16, path: &str) -> Result<String, String> {
        self.get("pods", pod, port, path).await
    }

    /// What a pod's etcd answers to a request of its JSON gateway, through the API server; only where it is open.
    pub(super) async fn etcd_call(
        &self,
        pod: &str,
        path: &str,
        request: &str,
    ) -> Result<String, String> {
        let target = proxy::Endpoint {
            namespace: &self.namespace,
            kind: "pods",
            name: pod,
            port: 2379,
        };
        proxy::post(&self.kube, target, path, request).await
    }

    /// The status of each of these pods' members, and the member list as a quorum has it, as etcd's JSON gateway has
    /// them. A guarded cluster is asked from the recording client's pod.
    pub(super) async fn etcd_state(&self, pods: &[String]) -> Result<Value, String> {
        if self.guard.has_tls() {
            let members = self.member_arguments(pods);
            let arguments = [&["state".to_owned()], &members[..]].concat();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let inside = Inside::of(&self.kube, &self.namespace);
            let text = inside.exec(&arguments, timeouts::NODE_COMMAND).await;
            let text = text.map_err(|error| error.to_string())?;
            return serde_json::from_slice(&text).map_err(|error| error.to_string());
        }
        let status = pods.iter().map(|pod| async {
            let text = self.etcd_call(pod, "v3/maintenance/status", "{}").await?;
            Ok::<_, String>((pod.clone(), parse(pod, &text)?))
        });
        let status = futures::future::try_join_all(status).await?;
        let list = match pods.first() {
            Some(first) => {
                let list = "v3/cluster/member/list";
                let text = self
                    .etcd_call(first, list, "{\"linearizable\":true}")
                    .await?;
                parse(first, &text)?["members"].take()
            }
            None => Value::Null,
        };
        let status: serde_json::Map<String, Value> = status.into_iter().collect();
        Ok(json!({"pods": status, "members": list}))
    }

    /// Where these pods' members are, as the recording client's commands take it.
    pub(super) fn member_arguments(&self, pods: &[String]) -> Vec<String> {
        let argument = |pod: &String| format!("--member={pod}={}", self.member_address(pod));
        pods.iter().map(argument).collect()
    }

    /// What a service answers to `GET /{path}`, through the API server.
    pub(super) async fn http_service(
        &self,
        service: &str,
        port: u16,
        path: &str,
    ) -> Result<String, String> {
        self.get("services", service, port, path).await
    }

    async fn get(&self, kind: &str, name: &str, port: u16, path: &str) -> Result<String, String> {
        let namespace = &self.namespace;
        let target = proxy::Endpoint {
            namespace,
            kind,
            name,
            port,
        };
        proxy::get(&self.kube, target, path).await
    }

    /// Names of the pods that a service leads to.
    pub(super) async fn endpoints(&self, service: &str) -> Result<Vec<String>, String> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.kube.clone(), &self.namespace);
        let selector = format!("{}={service}", labels::SERVICE_NAME);
        let params = ListParams::default().labels(&selector);
        let listed = slices.list(&params).await.map_err(|e| e.to_string())?;
        let endpoints = listed.items.into_iter().flat_map(|slice| slice.endpoints);
        Ok(endpoints
            .filter_map(|endpoint| endpoint.target_ref?.name)
            .collect())
    }

    /// Deletes the namespace and does not wait: the next run has a namespace of its own.
    pub(super) async fn delete(&self) -> Result<(), RunError> {
        // The Cluster first: its finalizer is the operator's business and the namespace's end must not race it.
        self.etcd(None).delete(&self.kube).await?;
        Ok(self.temporary.delete().await?)
    }

    /// Leaves the namespace where it is.
    pub(super) async fn keep(&self) -> Result<(), RunError> {
        Ok(self.temporary.keep().await?)
    }

    /// Names of the members' pods.
    pub(super) fn pod_names(&self) -> Vec<String> {
        (0..self.members)
            .map(|ordinal| format!("{CLUSTER}-{COMPONENT}-{ordinal}"))
            .collect()
    }

    /// Name of the leader service.
    pub(super) fn leader_service() -> String {
        format!("{CLUSTER}-{COMPONENT}")
    }

    /// `host:port` of the leader service, with the root's dot: no search list, one question a lookup.
    pub(super) fn service_address(&self) -> String {
        format!(
            "{}.{}.svc.cluster.local.:2379",
            Self::leader_service(),
            self.namespace
        )
    }

    /// `host:port` of a member.
    pub(super) fn member_address(&self, pod: &str) -> String {
        format!(
            "{pod}.{CLUSTER}-{COMPONENT}-headless.{}.svc.cluster.local.:2379",
            self.namespace
        )
    }
}

/// An answer of a pod's etcd.
fn parse(pod: &str, text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{pod}: {error}"))
}

/// The first of these conditions that a status does not have as true, and why.
fn untrue(status: &Value, wanted: &[&str]) -> Option<String> {
    let conditions = status["conditions"].as_array();
    wanted.iter().find_map(|kind| {
        let mut found = conditions.into_iter().flatten();
        match found.find(|condition| condition["type"] == *kind) {
            Some(condition) if condition["status"] == "True" => None,
            Some(condition) => Some(format!("{kind}: {}", condition["message"])),
            None => Some(format!("{kind} is not there")),
        }
    })
}

/// Label selector of the members' pods.
pub(super) fn pod_selector() -> String {
    format!(
        "{}={CLUSTER},{}={COMPONENT}",
        labels::INSTANCE,
        labels::COMPONENT_NAME
    )
}

/// The Cluster kind, as any user's client sees it.
pub(super) fn cluster_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "apps.kubeblocks.io",
        "v1",
        "Cluster",
    ))
}

/// Names of the pods labelled leader.
fn leaders(pods: &[Pod]) -> Vec<String> {
    pods.iter()
        .filter(|pod| {
            pod.labels()
                .get(labels::ROLE)
                .is_some_and(|role| role == "leader")
        })
        .map(ResourceExt::name_any)
        .collect()
}

/// Says what is wrong until the pod labelled leader is the only one that leads, in the newest term of all.
fn true_label(labelled: &[String], claims: &[Claim]) -> Result<(), String> {
    let newest = claims.iter().map(|claim| claim.term).max();
    let leading: Vec<&Claim> = claims.iter().filter(|claim| claim.leads).collect();
    let names: Vec<&String> = leading.iter().map(|claim| &claim.pod).collect();
    if names == labelled.iter().collect::<Vec<_>>()
        && leading.iter().all(|claim| Some(claim.term) == newest)
    {
        return Ok(());
    }
    Err(format!(
        "labelled leader are {labelled:?}, of themselves {names:?} say so, newest term {}",
        newest.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_true_when_its_pod_leads_in_the_newest_term() {
        let claim = |pod: &str, leads, term| Claim {
            pod: pod.to_owned(),
            leads,
            term,
        };
        let label = ["a".to_owned()];
        let well = [claim("a", true, 3), claim("b", false, 3)];
        assert_eq!(true_label(&label, &well), Ok(()));
        let old = [claim("a", false, 4), claim("b", true, 4)];
        assert!(true_label(&label, &old).is_err());
        let two = [claim("a", true, 3), claim("b", true, 4)];
        assert!(true_label(&label, &two).is_err());
        let deposed = [claim("a", true, 3), claim("b", false, 4)];
        assert!(true_label(&label, &deposed).is_err());
    }

    #[test]
    fn a_cluster_is_closed_when_every_condition_is_true() {
        let status = json!({"conditions": [
            {"type": "CertificatesValid", "status": "True"},
            {"type": "AccountsReady", "status": "Unknown", "message": "not yet"},
        ]});
        assert_eq!(untrue(&status, Guard::Open.conditions()), None);
        assert_eq!(untrue(&status, Guard::Tls.conditions()), None);
        let told = untrue(&status, Guard::TlsAndUsers.conditions()).expect("users are not there");
        assert!(told.contains("not yet"), "{told}");
        assert!(untrue(&json!({}), Guard::Tls.conditions()).is_some());
    }
}
