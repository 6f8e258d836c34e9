//! An etcd cluster as a user writes it, and waiting until it serves.

use etcd_operator_api::labels;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::deploy::{DeployError, Guard, Reach, apply, own_ca};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// An etcd cluster to deploy. The defaults fit six nodes on two cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EtcdCluster {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Members: an odd number.
    pub members: u32,
    /// etcd's version, e.g. `3.6.16`; the definition's default when absent.
    pub service_version: Option<String>,
    /// ComponentDefinition to refer to.
    pub component_def: String,
    /// Request and limit of processor time of each member's etcd.
    pub cpu: (String, String),
    /// Request and limit of its memory.
    pub memory: (String, String),
    /// Storage class; the cluster's default when absent.
    pub storage_class: Option<String>,
    /// Size of each member's volume.
    pub storage: String,
    /// Settings of etcd by name.
    pub settings: Vec<(String, String)>,
    /// What it is closed with.
    pub guard: Guard,
    /// True when load balancers lead to its leader, and to each member's port for peers.
    pub balanced: bool,
    /// What stands between pods and it.
    pub reach: Reach,
    /// Minutes after which a member is replaced whose node is not ready; never when absent.
    pub replaced_after: Option<u16>,
}

/// What the API server shows of an etcd cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EtcdState {
    /// `status.phase`.
    pub phase: String,
    /// Conditions that are not true, with their messages.
    pub waiting: Vec<String>,
    /// Ready endpoints of the leader service.
    pub leader_endpoints: usize,
}

impl EtcdCluster {
    /// A cluster of so many members.
    pub(crate) fn new(namespace: &str, name: &str, members: u32) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            members,
            service_version: None,
            component_def: "etcd".into(),
            cpu: ("500m".into(), "1".into()),
            memory: ("64Mi".into(), "512Mi".into()),
            storage_class: None,
            storage: "1Gi".into(),
            settings: Vec::new(),
            guard: Guard::Open,
            balanced: false,
            reach: Reach::Usual,
            replaced_after: None,
        }
    }

    /// On volumes of this storage class and size.
    #[must_use]
    pub(crate) fn storage(mut self, class: &str, size: &str) -> Self {
        self.storage_class = Some(class.to_owned());
        size.clone_into(&mut self.storage);
        self
    }

    /// Name of the leader service.
    pub(crate) fn leader_service(&self) -> String {
        format!("{}-etcd", self.name)
    }

    /// The object.
    pub(crate) fn manifest(&self) -> Value {
        let mut claim = json!({
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": self.storage } },
        });
        if let Some(class) = &self.storage_class {
            claim["storageClassName"] = json!(class);
        }
        let mut component = json!({
            "name": "etcd",
            "componentDef": self.component_def,
            "replicas": self.members,
            "resources": {
                "requests": { "cpu": self.cpu.0, "memory": self.memory.0 },
                "limits": { "cpu": self.cpu.1, "memory": self.memory.1 },
            },
            "volumeClaimTemplates": [{ "name": "data", "spec": claim }],
        });
        if let Some(version) = &self.service_version {
            component["serviceVersion"] = json!(version);
        }
        if !self.settings.is_empty() {
            let variables: Value = self.settings.iter().cloned().collect();
            component["configs"] = json!([{ "name": "etcd", "variables": variables }]);
        }
        self.guard.write(&mut component);
        if self.balanced {
            component["services"] =
                json!([{ "name": "peer", "serviceType": "LoadBalancer", "podService": true }]);
        }
        let mut spec = json!({ "terminationPolicy": "WipeOut", "componentSpecs": [component] });
        if self.balanced {
            let ports = json!([{ "name": "client", "port": 2379, "targetPort": 2379 }]);
            spec["services"] = json!([{
                "name": "client",
                "componentSelector": "etcd",
                "roleSelector": "leader",
                "spec": {
                    "type": "LoadBalancer",
                    "publishNotReadyAddresses": true,
                    "ports": ports,
                },
            }]);
        }
        let mut annotations = json!({});
        if let Some(policy) = self.reach.chosen() {
            annotations[labels::NETWORK_POLICY] = json!(policy);
        }
        if let Some(minutes) = self.replaced_after {
            annotations[labels::REPLACE_UNREACHABLE] = json!(minutes.to_string());
        }
        json!({
            "apiVersion": "apps.kubeblocks.io/v1",
            "kind": "Cluster",
            "metadata": { "name": self.name, "namespace": self.namespace, "annotations": annotations },
            "spec": spec,
        })
    }

    /// Applies it, and what it is closed with.
    ///
    /// # Errors
    /// With the API server's words when it is refused.
    pub(crate) async fn apply(&self, kube: &Client) -> Result<(), DeployError> {
        if self.guard == Guard::OwnCa {
            own_ca::prepare(kube, &self.namespace, &self.name).await?;
        }
        let object: DynamicObject = serde_json::from_value(self.manifest())
            .map_err(|error| DeployError::call("build", format!("Cluster {}", self.name), error))?;
        apply(kube, &self.namespace, &[object]).await.map(drop)
    }

    /// Deletes it, without waiting.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(crate) async fn delete(&self, kube: &Client) -> Result<(), DeployError> {
        let api = clusters(kube, &self.namespace);
        match api.delete(&self.name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(DeployError::call(
                "delete",
                format!("Cluster {}/{}", self.namespace, self.name),
                error,
            )),
        }
    }

    /// What the API server shows of it now.
    ///
    /// # Errors
    /// When it does not answer, or there is no such cluster.
    pub(crate) async fn state(&self, kube: &Client) -> Result<EtcdState, DeployError> {
        let name = format!("Cluster {}/{}", self.namespace, self.name);
        let found = clusters(kube, &self.namespace).get(&self.name).await;
        let found = found.map_err(|error| DeployError::call("read", name.clone(), error))?;
        let slices: Api<EndpointSlice> = Api::namespaced(kube.clone(), &self.namespace);
        let params = ListParams::default().labels(&format!(
            "{}={}",
            labels::SERVICE_NAME,
            self.leader_service()
        ));
        let slices = slices
            .list(&params)
            .await
            .map_err(|error| DeployError::call("read the endpoints of", name, error))?;
        let endpoints = slices.items.into_iter().flat_map(|slice| slice.endpoints);
        let ready = endpoints
            .filter(|e| e.conditions.as_ref().and_then(|c| c.ready).unwrap_or(false))
            .count();
        Ok(EtcdState {
            leader_endpoints: ready,
            ..state_of(&found)
        })
    }

    /// Waits until its phase is Running and its leader service has an endpoint.
    ///
    /// # Errors
    /// [`DeployError::Await`] with phase and conditions.
    pub(crate) async fn wait_running(&self, kube: &Client) -> Result<(), DeployError> {
        let what = format!("etcd cluster {}/{} running", self.namespace, self.name);
        let limit = timeouts::patient(timeouts::CLUSTER_RUNNING);
        let running = wait_until(what.clone(), limit, async || match self.state(kube).await {
            Ok(state) if state.phase == "Running" && state.leader_endpoints > 0 => Poll::Ready(()),
            Ok(state) => Poll::NotYet::<(), String>(state.to_string()),
            Err(error) => Poll::NotYet(error.to_string()),
        })
        .await;
        running.map_err(|error| DeployError::Await {
            what,
            seen: error.to_string(),
        })
    }
}

impl std::fmt::Display for EtcdState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = if self.phase.is_empty() {
            "none"
        } else {
            &self.phase
        };
        write!(
            f,
            "phase {phase}, {} leader endpoints",
            self.leader_endpoints
        )?;
        for waiting in &self.waiting {
            write!(f, "; {waiting}")?;
        }
        Ok(())
    }
}

fn state_of(object: &DynamicObject) -> EtcdState {
    let status = &object.data["status"];
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let waiting = conditions
        .iter()
        .filter(|condition| condition["status"] != "True")
        .map(|c| {
            format!(
                "{}: {}",
                c["type"].as_str().unwrap_or(""),
                c["message"].as_str().unwrap_or("")
            )
        })
        .collect();
    EtcdState {
        phase: status["phase"].as_str().unwrap_or_default().to_owned(),
        waiting,
        leader_endpoints: 0,
    }
}

/// The API of Clusters in a namespace.
fn clusters(kube: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(kube.clone(), namespace, &cluster_resource())
}

/// The kind of an etcd cluster.
pub(crate) fn cluster_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("apps.kubeblocks.io", "v1", "Cluster"),
        "clusters",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_what_a_user_would_write() {
        let mut cluster = EtcdCluster::new("ns", "db", 5).storage("small", "48Mi");
        cluster.service_version = Some("3.6.1".to_owned());
        let manifest = cluster.manifest();
        let component = &manifest["spec"]["componentSpecs"][0];
        assert_eq!(component["replicas"], 5);
        assert_eq!(component["serviceVersion"], "3.6.1");
        assert_eq!(
            component["volumeClaimTemplates"][0]["spec"]["storageClassName"],
            "small"
        );
        assert_eq!(component["configs"], Value::Null, "the operator's own");
        assert_eq!(cluster.leader_service(), "db-etcd");
        let quota = ("quota-backend-bytes".to_owned(), "16777216".to_owned());
        cluster.settings.push(quota);
        let set = &cluster.manifest()["spec"]["componentSpecs"][0]["configs"][0];
        assert_eq!(set["name"], "etcd");
        assert_eq!(set["variables"]["quota-backend-bytes"], "16777216");
        let minutes =
            |of: &Value| of["metadata"]["annotations"][labels::REPLACE_UNREACHABLE].clone();
        assert_eq!(minutes(&manifest), Value::Null, "never");
        cluster.replaced_after = Some(5);
        assert_eq!(minutes(&cluster.manifest()), "5");
    }

    #[test]
    fn a_state_tells_phase_and_what_is_waited_for() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "apps.kubeblocks.io/v1", "kind": "Cluster", "metadata": {"name": "db"},
            "status": {"phase": "Creating", "conditions": [{"type": "Ready", "status": "False", "message": "2 of 3 members"}]}
        }))
        .expect("an object");
        assert_eq!(
            state_of(&object).to_string(),
            "phase Creating, 0 leader endpoints; Ready: 2 of 3 members"
        );
    }
}
