//! Every object of the design, by name: pods with their containers and ports, claims, services, budget, labels.

use etcd_operator_api::labels;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::checklist::Checklist;
use crate::scenario::subject::{CLUSTER, COMPONENT, Subject};

/// Containers of a pod in their order (the agent brings etcd's launcher) and the ports that each must name.
const CONTAINERS: [(&str, &[i32]); 3] = [
    ("kbagent", &[5001]),
    ("etcd", &[2379, 2380, 2381]),
    ("metrics-exporter", &[9187]),
];

pub(super) async fn check(subject: &Subject, list: &mut Checklist) {
    let root = Subject::leader_service();
    chain(subject, &root, list).await;
    leader_service(subject, &root, list).await;
    headless_service(subject, &root, list).await;
    if let Some(budget) = get::<PodDisruptionBudget>(subject, &root, list).await {
        let least = budget.spec.and_then(|spec| spec.min_available);
        let quorum = i32::try_from(subject.members / 2 + 1).unwrap_or(i32::MAX);
        list.equals(
            "minAvailable of the disruption budget",
            &least,
            &Some(IntOrString::Int(quorum)),
        );
    }
    let pods = subject.pods().await;
    let Some(pods) = list.came_about("the pods are listed", pods) else {
        return;
    };
    let mut names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    names.sort();
    list.equals("names of the pods", &names, &subject.pod_names());
    for object in &pods {
        pod(object, list);
        claim(subject, object, list).await;
    }
    let mut nodes: Vec<_> = pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
        .collect();
    nodes.sort();
    nodes.dedup();
    list.equals(
        "number of nodes that the members are spread over",
        &nodes.len(),
        &pods.len(),
    );
}

/// Cluster, Component, InstanceSet: each says that it is healthy.
async fn chain(subject: &Subject, root: &str, list: &mut Checklist) {
    let links = [
        (
            "apps.kubeblocks.io",
            "Cluster",
            CLUSTER,
            "/status/phase",
            "Running",
        ),
        (
            "apps.kubeblocks.io",
            "Component",
            root,
            "/status/phase",
            "Running",
        ),
        (
            "workloads.kubeblocks.io",
            "InstanceSet",
            root,
            "/metadata/name",
            root,
        ),
    ];
    for (group, kind, name, pointer, wanted) in links {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let api: Api<DynamicObject> =
            Api::namespaced_with(subject.kube.clone(), &subject.namespace, &resource);
        let object = api.get(name).await.map_err(|error| error.to_string());
        let Some(object) = list.came_about(format!("{kind} {name} is there"), object) else {
            continue;
        };
        let value = serde_json::to_value(&object).unwrap_or_default();
        let is = value
            .pointer(pointer)
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned();
        list.equals(
            format!("{pointer} of {kind} {name}"),
            &is,
            &wanted.to_owned(),
        );
        let conditions = value
            .pointer("/status/conditions")
            .and_then(|value| value.as_array().cloned());
        for condition in conditions.unwrap_or_default() {
            let whole = ["type", "status", "reason", "lastTransitionTime"]
                .iter()
                .all(|key| condition[key].is_string());
            list.holds(
                format!("condition {} of {kind} {name} is whole", condition["type"]),
                whole,
            );
        }
    }
}

async fn leader_service(subject: &Subject, root: &str, list: &mut Checklist) {
    let Some(service) = get::<Service>(subject, root, list).await else {
        return;
    };
    let spec = service.spec.unwrap_or_default();
    let kind = spec.type_.clone().unwrap_or_default();
    list.equals("type of the leader service", &kind, &"ClusterIP".to_owned());
    let role = spec.selector.unwrap_or_default().get(labels::ROLE).cloned();
    list.equals(
        "role that the leader service selects",
        &role,
        &Some("leader".to_owned()),
    );
    let ports: Vec<i32> = spec
        .ports
        .unwrap_or_default()
        .iter()
        .map(|port| port.port)
        .collect();
    list.equals("ports of the leader service", &ports, &vec![2379]);
}

async fn headless_service(subject: &Subject, root: &str, list: &mut Checklist) {
    let Some(service) = get::<Service>(subject, &format!("{root}-headless"), list).await else {
        return;
    };
    let spec = service.spec.unwrap_or_default();
    list.equals(
        "address of the headless service",
        &spec.cluster_ip,
        &Some("None".to_owned()),
    );
    list.equals(
        "publishNotReadyAddresses",
        &spec.publish_not_ready_addresses,
        &Some(true),
    );
    let role = spec.selector.unwrap_or_default().contains_key(labels::ROLE);
    list.holds("the headless service selects every role", !role);
    let mut ports: Vec<i32> = spec
        .ports
        .unwrap_or_default()
        .iter()
        .map(|port| port.port)
        .collect();
    ports.sort_unstable();
    list.holds(
        format!("the headless service has ports 2379 and 2380 (it has {ports:?})"),
        ports.contains(&2379) && ports.contains(&2380),
    );
}

fn pod(pod: &Pod, list: &mut Checklist) {
    let name = pod.name_any();
    let spec = pod.spec.clone().unwrap_or_default();
    pod_metadata(pod, &name, list);
    containers(&spec, &name, list);
    etcd(&spec, &name, list);
}

fn pod_metadata(pod: &Pod, name: &str, list: &mut Checklist) {
    let has = pod.labels();
    for (label, wanted) in [
        (labels::MANAGED_BY, labels::MANAGED_BY_VALUE),
        (labels::INSTANCE, CLUSTER),
        (labels::COMPONENT_NAME, COMPONENT),
        (labels::POD_NAME, name),
    ] {
        list.equals(
            format!("label {label} of {name}"),
            &has.get(label).map(String::as_str),
            &Some(wanted),
        );
    }
    let role = has.get(labels::ROLE).map(String::as_str);
    list.holds(
        format!("{name} has a role ({role:?})"),
        matches!(role, Some("leader" | "follower")),
    );
    list.equals(
        format!("container of {name} that kubectl logs and exec mean"),
        &pod.annotations()
            .get("kubectl.kubernetes.io/default-container")
            .map(String::as_str),
        &Some("etcd"),
    );
    let term = pod
        .annotations()
        .get(labels::ROLE_TERM)
        .and_then(|term| term.parse::<u64>().ok());
    list.holds(
        format!("{name} says in which raft term it was labelled"),
        term.is_some(),
    );
}

fn containers(spec: &PodSpec, name: &str, list: &mut Checklist) {
    let first = spec.init_containers.iter().flatten();
    list.equals(
        format!("init containers of {name}"),
        &first.map(|one| one.name.as_str()).collect::<Vec<_>>(),
        &Vec::new(),
    );
    let names: Vec<&str> = spec
        .containers
        .iter()
        .map(|container| container.name.as_str())
        .collect();
    list.equals(
        format!("containers of {name}"),
        &names,
        &CONTAINERS.map(|(name, _)| name).to_vec(),
    );
    for (container, wanted) in CONTAINERS {
        let Some(found) = spec.containers.iter().find(|c| c.name == container) else {
            continue;
        };
        let ports: Vec<i32> = found
            .ports
            .iter()
            .flatten()
            .map(|port| port.container_port)
            .collect();
        let all = wanted.iter().all(|port| ports.contains(port));
        list.holds(
            format!("{container} of {name} names ports {wanted:?} (it names {ports:?})"),
            all,
        );
    }
}

fn etcd(spec: &PodSpec, name: &str, list: &mut Checklist) {
    let etcd = spec
        .containers
        .iter()
        .find(|container| container.name == "etcd");
    let mounts = etcd
        .and_then(|etcd| etcd.volume_mounts.clone())
        .unwrap_or_default();
    let data = mounts
        .iter()
        .any(|mount| mount.name == "data" && mount.mount_path == "/var/lib/etcd/data");
    list.holds(
        format!("the claim is mounted at /var/lib/etcd/data in etcd of {name}"),
        data,
    );
    let probed =
        |probe: fn(&k8s_openapi::api::core::v1::Container) -> bool| etcd.is_some_and(probe);
    list.holds(
        format!("etcd of {name} has a startup probe"),
        probed(|c| c.startup_probe.is_some()),
    );
    list.holds(
        format!("etcd of {name} has a liveness probe"),
        probed(|c| c.liveness_probe.is_some()),
    );
    list.holds(
        format!("etcd of {name} has a readiness probe"),
        probed(|c| c.readiness_probe.is_some()),
    );
}

async fn claim(subject: &Subject, pod: &Pod, list: &mut Checklist) {
    let name = format!("data-{}", pod.name_any());
    let Some(claim) = get::<PersistentVolumeClaim>(subject, &name, list).await else {
        return;
    };
    let phase = claim
        .status
        .as_ref()
        .and_then(|status| status.phase.clone());
    list.equals(
        format!("phase of claim {name}"),
        &phase,
        &Some("Bound".to_owned()),
    );
    let instance = claim.labels().get(labels::INSTANCE).map(String::as_str);
    list.equals(
        format!("label {} of claim {name}", labels::INSTANCE),
        &instance,
        &Some(CLUSTER),
    );
    let template = claim
        .labels()
        .get(labels::VOLUME_CLAIM_TEMPLATE)
        .map(String::as_str);
    list.equals(
        format!("label {} of claim {name}", labels::VOLUME_CLAIM_TEMPLATE),
        &template,
        &Some("data"),
    );
}

async fn get<K>(subject: &Subject, name: &str, list: &mut Checklist) -> Option<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let object = api.get(name).await.map_err(|error| error.to_string());
    list.came_about(format!("{} {name} is there", K::kind(&())), object)
}
