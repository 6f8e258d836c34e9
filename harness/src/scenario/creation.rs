//! Creation measured, from the request to the whole: a Cluster, and beside it the least that Kubernetes needs for as
//! many etcd pods on the same volumes, a StatefulSet that starts all of them at once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::bench::stages::{self, Stage, Stages};
use crate::cluster::volumes::{self, Pool};
use crate::deploy::{Reach, apply, wait_quiet};
use crate::scenario::subject::{CLUSTER, Subject};
use crate::scenario::{Lab, RunError};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Name of the StatefulSet and of its headless service.
const BARE: &str = "bare";

/// On which volumes the members sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Storage {
    /// Volumes that are there before the claims.
    Ready,
    /// The default storage class, whatever its provisioner takes.
    DefaultClass,
}

impl Storage {
    /// A word for file names.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::DefaultClass => "default",
        }
    }

    /// Text of the table.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Ready => "volumes that are there already",
            Self::DefaultClass => "volumes of the default class",
        }
    }
}

/// One creation of each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Creation {
    /// Seconds until all members are ready and labelled, the leader service leads to the leader and the Cluster says
    /// that it runs.
    pub cluster_s: f64,
    /// Seconds until all pods of the StatefulSet are ready.
    pub bare_s: f64,
    /// Where the time went: of the Cluster, and of the StatefulSet.
    pub stages: [Stages; 2],
}

/// Creates both, one after the other, each alone in the cluster.
///
/// # Errors
/// When one of them does not come up or cannot be deleted.
pub(crate) async fn create(
    lab: &Lab,
    members: u32,
    storage: Storage,
) -> Result<Creation, RunError> {
    let pool = (storage == Storage::Ready).then_some(volumes::LOCAL);
    if pool.is_some() && !(lab.cluster.own && lab.cluster.has_node_shells()) {
        let why = "volumes are only made in a kind cluster of the harness's own: use --storage default-class";
        return Err(RunError::Wait(why.to_owned()));
    }
    let (cluster_s, image, of_cluster) = cluster(lab, members, pool.as_ref()).await?;
    let (bare_s, of_bare) = bare(lab, members, pool.as_ref(), &image).await?;
    Ok(Creation {
        cluster_s,
        bare_s,
        stages: [of_cluster, of_bare],
    })
}

/// Seconds of a Cluster, the image of its etcd, and where the time went.
async fn cluster(
    lab: &Lab,
    members: u32,
    pool: Option<&Pool>,
) -> Result<(f64, String, Stages), RunError> {
    let subject = ground(lab, "bench::creation_cluster", members, pool).await?;
    let begin = Instant::now();
    let made = async {
        subject.apply(pool, None, &[]).await?;
        subject.wait_whole(timeouts::CLUSTER_RUNNING).await?;
        let took = begin.elapsed();
        let pods = subject.pods().await.map_err(RunError::Wait)?;
        let image = pods.iter().find_map(etcd_image);
        let image = image.ok_or_else(|| RunError::Wait("no pod has an etcd container".into()))?;
        Ok::<_, RunError>((seconds(took), image))
    };
    let pods = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let stages = watch(pods, members, Stage::Labelled);
    let runs = running(&subject, begin);
    // The first error is reported.
    let (made, mut stages, runs) = tokio::join!(made, stages, runs);
    stages.extend(runs.map(|seconds| (Stage::Running, seconds)));
    let deleted = subject.delete().await;
    let (took, image) = made?;
    deleted.map(|()| (took, image, stages))
}

/// Seconds of a StatefulSet, and where the time went.
async fn bare(
    lab: &Lab,
    members: u32,
    pool: Option<&Pool>,
    image: &str,
) -> Result<(f64, Stages), RunError> {
    let subject = ground(lab, "bench::creation_bare", members, pool).await?;
    let begin = Instant::now();
    let made = async {
        let set = [headless(), stateful_set(&subject, pool, image)];
        let objects: Result<Vec<DynamicObject>, _> =
            set.into_iter().map(serde_json::from_value).collect();
        let objects = objects.map_err(|error| RunError::Wait(error.to_string()))?;
        apply(&subject.kube, &subject.namespace, &objects).await?;
        wait_ready(&subject).await?;
        Ok::<_, RunError>(seconds(begin.elapsed()))
    };
    let pods = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let stages = watch(pods, members, Stage::Ready);
    // The first error is reported.
    let (made, stages) = tokio::join!(made, stages);
    let deleted = subject.delete().await;
    let made = made?;
    deleted.map(|()| (made, stages))
}

/// A namespace, volumes, and no other process at work.
async fn ground(
    lab: &Lab,
    name: &str,
    members: u32,
    pool: Option<&Pool>,
) -> Result<Subject, RunError> {
    wait_quiet(&lab.cluster.kube).await?;
    if let Some(pool) = pool {
        volumes::prepare(&lab.cluster, pool).await?;
    }
    Subject::create(&lab.cluster, name, members, Reach::Usual).await
}

/// Seconds until the Cluster's phase is Running, if it comes to that.
async fn running(subject: &Subject, begin: Instant) -> Option<f64> {
    let look = async || match subject.clusters().get(CLUSTER).await {
        Ok(cluster) if cluster.data["status"]["phase"] == "Running" => Poll::Ready(begin.elapsed()),
        Ok(cluster) => Poll::NotYet::<_, String>(cluster.data["status"]["phase"].to_string()),
        Err(error) => Poll::NotYet(error.to_string()),
    };
    let words = Stage::Running.words();
    let runs = wait_until(words, timeouts::CLUSTER_RUNNING, look).await;
    // The creation itself says why not.
    runs.inspect_err(|error| tracing::debug!(%error, "a stage is missing"))
        .ok()
        .map(seconds)
}

/// Looks at the pods of a namespace until they have come as far as `last`, or for as long as a creation may take.
async fn watch(pods: Api<Pod>, members: u32, last: Stage) -> Stages {
    let begin = Instant::now();
    let seen = Mutex::new(Stages::new());
    let look = async || {
        let listed = pods.list(&ListParams::default()).await;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match listed {
            Ok(listed) => stages::note(&mut seen, &listed.items, members, begin.elapsed()),
            Err(error) => return Poll::NotYet::<(), String>(error.to_string()),
        }
        match seen.contains_key(&last) {
            true => Poll::Ready(()),
            false => Poll::NotYet(format!("{:?}", seen.keys().last())),
        }
    };
    let waited = wait_until(last.words(), timeouts::CLUSTER_RUNNING, look).await;
    if let Err(error) = waited {
        // The creation itself says why.
        tracing::debug!(%error, "stages are missing");
    }
    seen.into_inner().unwrap_or_else(PoisonError::into_inner)
}

async fn wait_ready(subject: &Subject) -> Result<(), RunError> {
    let sets: Api<StatefulSet> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let wanted = i32::try_from(subject.members).unwrap_or(i32::MAX);
    let what = format!("{wanted} pods of a StatefulSet ready");
    let ready = wait_until(what, timeouts::CLUSTER_RUNNING, async || {
        match sets.get(BARE).await {
            Ok(set) => match set.status.and_then(|status| status.ready_replicas) {
                Some(ready) if ready == wanted => Poll::Ready(()),
                ready => Poll::NotYet::<(), String>(format!("{} ready", ready.unwrap_or_default())),
            },
            Err(error) => Poll::NotYet(error.to_string()),
        }
    });
    ready
        .await
        .map_err(|error| RunError::Wait(error.to_string()))
}

fn headless() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": BARE },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": { "app": BARE },
            "ports": [{ "name": "peer", "port": 2380 }],
        },
    })
}

fn stateful_set(subject: &Subject, pool: Option<&Pool>, image: &str) -> Value {
    let etcd = subject.etcd(pool);
    let mut claim = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": etcd.storage } },
    });
    if let Some(class) = &etcd.storage_class {
        claim["storageClassName"] = json!(class);
    }
    let host = |pod: &str| {
        format!(
            "http://{pod}.{BARE}.{}.svc.cluster.local.",
            subject.namespace
        )
    };
    let peers: Vec<String> = (0..subject.members)
        .map(|ordinal| format!("{BARE}-{ordinal}"))
        .map(|pod| format!("{pod}={}:2380", host(&pod)))
        .collect();
    let own = host("$(POD)");
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": { "name": BARE },
        "spec": {
            "serviceName": BARE,
            "replicas": subject.members,
            "podManagementPolicy": "Parallel",
            "selector": { "matchLabels": { "app": BARE } },
            "template": {
                "metadata": { "labels": { "app": BARE } },
                "spec": {
                    "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000 },
                    "containers": [{
                        "name": "etcd",
                        "image": image,
                        "command": ["etcd"],
                        "args": [
                            "--name=$(POD)",
                            "--data-dir=/var/lib/etcd/data/member",
                            "--listen-peer-urls=http://0.0.0.0:2380",
                            "--listen-client-urls=http://0.0.0.0:2379",
                            "--listen-metrics-urls=http://0.0.0.0:2381",
                            format!("--initial-advertise-peer-urls={own}:2380"),
                            format!("--advertise-client-urls={own}:2379"),
                            format!("--initial-cluster={}", peers.join(",")),
                        ],
                        "env": [{ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                        "resources": { "requests": { "cpu": etcd.cpu.0, "memory": etcd.memory.0 } },
                        "readinessProbe": { "httpGet": { "path": "/health", "port": 2381 }, "periodSeconds": 1 },
                        "volumeMounts": [{ "name": "data", "mountPath": "/var/lib/etcd/data" }],
                    }],
                },
            },
            "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": claim }],
        },
    })
}

/// The image of a pod's etcd.
pub(super) fn etcd_image(pod: &Pod) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    let etcd = containers
        .iter()
        .find(|container| container.name == "etcd")?;
    etcd.image.clone()
}

fn seconds(took: Duration) -> f64 {
    took.as_secs_f64()
}
