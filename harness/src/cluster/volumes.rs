//! Volumes of the nodes themselves, offered by storage classes of the harness: no provisioner, so a claim is bound at
//! once. [`LOCAL`] are folders, as bare metal gives them to etcd; each of [`SMALL`] is a file system of its own in a
//! file behind a loop device, so that it may be filled.
//!
//! The volumes belong to a cluster, not to a test. Code that deploys calls [`prepare`] first, which empties
//! and offers again what claims have released.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
    PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt};

use crate::cluster::{Cluster, ClusterError, ClusterLock};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Folder of all volumes in a node.
pub(crate) const DIR: &str = "/var/etcd-harness";
/// Label of volumes and classes; its value is the class's name.
const LABEL: &str = "etcd-harness/volumes";

/// A storage class and its volumes on every worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Name of the storage class.
    pub class: &'static str,
    /// Volumes on each worker.
    per_node: u32,
    /// Size of each.
    mebibytes: u32,
    backing: Backing,
}

impl Pool {
    /// What a claim may ask of a volume, as Kubernetes writes it.
    pub(crate) fn size(&self) -> String {
        format!("{}Mi", self.mebibytes)
    }
}

/// What a volume is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backing {
    /// A folder of the node's disk: it ends where the disk ends, whatever was asked for.
    Folder,
    /// Whatever a provisioner makes.
    Provisioned,
    /// An ext4 file system of the size that was asked for. A node that restarts loses its mount, not its file.
    FileSystem,
}

/// Folders. Enough on each worker for a member, the members of a lost node, and those of a test that is still being
/// deleted.
pub(crate) const LOCAL: Pool = Pool {
    class: "etcd-harness-local",
    per_node: 4,
    mebibytes: 1024,
    backing: Backing::Folder,
};

/// Small file systems. etcd wants space for two segments of its log, 64 MB each, before it starts at all.
pub(crate) const SMALL: Pool = Pool {
    class: "etcd-harness-small",
    // The next trial is set up while the last one still holds its volumes.
    per_node: 2,
    mebibytes: 256,
    backing: Backing::FileSystem,
};

/// Small volumes of a class that lets them grow, made by its own provisioner.
pub(crate) const GROWING: Pool = Pool {
    class: "etcd-harness-growing",
    per_node: 0,
    mebibytes: 256,
    backing: Backing::Provisioned,
};

/// Offers all volumes of a pool: creates those that are missing, empties those that a claim has released, and mounts
/// file systems again whose nodes were restarted. Volumes that a claim holds keep what they have.
///
/// # Errors
/// When a node cannot make one (for file systems doctor's line `loop mount` says so) or the API server refuses.
pub(crate) async fn prepare(cluster: &Cluster, pool: &Pool) -> Result<(), ClusterError> {
    if pool.backing == Backing::Provisioned {
        return Ok(());
    }
    // Between listing and emptying no other process may offer.
    let _lock = ClusterLock::volumes(&cluster.name).await?;
    let api = Offers::of(cluster);
    api.create_class(pool).await?;
    let found = api.phases(pool).await?;
    let workers = cluster.workers();
    let offered = workers.iter().map(|node| offer(&api, pool, node, &found));
    try_join_all(offered).await.map(drop)
}

/// True while the pool's storage class is there.
pub(crate) async fn offered(kube: &kube::Client, pool: &Pool) -> bool {
    let classes: Api<StorageClass> = Api::all(kube.clone());
    matches!(classes.get_opt(pool.class).await, Ok(Some(_)))
}

/// Names of a class's volumes that are in use, or are being deleted: the driver deletes each before its object goes.
/// Not those whose deletion has failed.
///
/// # Errors
/// When the API server cannot be asked.
pub(crate) async fn provisioned(kube: &kube::Client, pool: &Pool) -> kube::Result<Vec<String>> {
    let volumes: Api<PersistentVolume> = Api::all(kube.clone());
    let all = volumes.list(&ListParams::default()).await?;
    let held = all.into_iter().filter(|volume| is_held(volume, pool));
    Ok(held.map(|volume| volume.name_any()).collect())
}

fn is_held(volume: &PersistentVolume, pool: &Pool) -> bool {
    let spec = volume.spec.as_ref();
    let class = spec.and_then(|spec| spec.storage_class_name.as_deref());
    let status = volume.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    class == Some(pool.class) && phase != Some("Failed")
}

/// The volumes of one worker.
async fn offer(
    api: &Offers<'_>,
    pool: &Pool,
    node: &str,
    found: &BTreeMap<String, String>,
) -> Result<(), ClusterError> {
    let names: Vec<String> = (0..pool.per_node).map(|n| name(pool, node, n)).collect();
    let task = |n: u32| todo(found.get(&names[n as usize]).map(String::as_str));
    let of = |wanted: Todo| (0..pool.per_node).filter(move |n| task(*n) == wanted);
    for let_go in of(Todo::Renew) {
        api.delete(&names[let_go as usize]).await?;
    }
    let fresh: BTreeSet<u32> = of(Todo::Create).chain(of(Todo::Renew)).collect();
    let script: String = (0..pool.per_node)
        .filter(|n| fresh.contains(n) || pool.backing == Backing::FileSystem)
        .map(|n| make(pool, n, fresh.contains(&n)))
        .collect();
    if !script.is_empty() {
        let shell = api.cluster.shell(node)?;
        shell.check("make volumes", &script).await?;
    }
    try_join_all(fresh.iter().map(|n| api.create(volume(pool, node, *n))))
        .await
        .map(drop)
}

/// What becomes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    Keep,
    Create,
    Renew,
}

/// From its phase; there is none where there is no volume.
fn todo(phase: Option<&str>) -> Todo {
    match phase {
        None => Todo::Create,
        Some("Released" | "Failed") => Todo::Renew,
        Some(_) => Todo::Keep,
    }
}

/// The objects of the pools.
struct Offers<'a> {
    cluster: &'a Cluster,
    volumes: Api<PersistentVolume>,
}

impl<'a> Offers<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            volumes: Api::all(cluster.kube.clone()),
        }
    }

    /// Makes the class unless it is there: most of it could not be changed anyway.
    async fn create_class(&self, pool: &Pool) -> Result<(), ClusterError> {
        let classes: Api<StorageClass> = Api::all(self.cluster.kube.clone());
        let created = classes
            .create(&PostParams::default(), &storage_class(pool))
            .await;
        match created {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(self.failed("create a storage class", &error)),
        }
    }

    /// Phase of each volume by name.
    async fn phases(&self, pool: &Pool) -> Result<BTreeMap<String, String>, ClusterError> {
        let ours = ListParams::default().labels(&format!("{LABEL}={}", pool.class));
        let listed = self.volumes.list(&ours).await;
        let listed = listed.map_err(|error| self.failed("list volumes", &error))?;
        let phase = |volume: PersistentVolume| {
            let phase = volume.status.as_ref().and_then(|s| s.phase.clone());
            (volume.name_any(), phase.unwrap_or_default())
        };
        Ok(listed.items.into_iter().map(phase).collect())
    }

    async fn create(&self, volume: PersistentVolume) -> Result<(), ClusterError> {
        let created = self.volumes.create(&PostParams::default(), &volume).await;
        created
            .map(drop)
            .map_err(|error| self.failed("create a volume", &error))
    }

    /// Deletes the object and waits until it is gone.
    async fn delete(&self, name: &str) -> Result<(), ClusterError> {
        let deleted = self.volumes.delete(name, &DeleteParams::default()).await;
        deleted.map_err(|error| self.failed("delete a volume", &error))?;
        let gone = wait_until(name, timeouts::HEAL, async || {
            match self.volumes.get_opt(name).await {
                Ok(None) => Poll::Ready(()),
                Ok(Some(_)) => Poll::NotYet("it is still there".to_owned()),
                Err(error) => Poll::NotYet::<_, String>(error.to_string()),
            }
        })
        .await;
        gone.map_err(|error| self.failed("delete a volume", &error))
    }

    fn failed(&self, action: &'static str, error: &dyn std::fmt::Display) -> ClusterError {
        ClusterError::CallApi {
            action,
            context: self.cluster.context.clone(),
            message: error.to_string(),
        }
    }
}

/// Makes what a volume is backed by, and empties it if it is to be fresh. Once mounted, a file system's folder is as a
/// plain one. `/dev` of a node shows the loop devices there were when it was started: a newer one needs its file made.
/// Another node may take the free one first: then the next is tried.
fn make(pool: &Pool, number: u32, fresh: bool) -> String {
    let mebibytes = pool.mebibytes;
    let dir = dir(pool, number);
    let mut script = format!("set -e\nd={dir}; mkdir -p $d/volume\n");
    if pool.backing == Backing::FileSystem {
        script.push_str(&format!(
            "if ! mountpoint -q $d/volume; then\n\
             [ -e $d/image ] || {{ truncate -s {mebibytes}M $d/image.new; mkfs.ext4 -q -m 0 -F $d/image.new; mv $d/image.new $d/image; }}\n\
             n=0; until l=$(losetup -f); [ -e $l ] || mknod $l b 7 ${{l#/dev/loop}}; mount -o loop $d/image $d/volume; do\n\
             n=$((n+1)); [ $n -lt 10 ]\ndone\n\
             rm -rf $d/volume/lost+found; chmod 777 $d/volume\nfi\n"
        ));
    }
    if fresh {
        script.push_str("find $d/volume -mindepth 1 -delete; chmod 777 $d/volume\n");
    }
    script
}

fn dir(pool: &Pool, number: u32) -> String {
    format!("{DIR}/{}/{number}", pool.class)
}

fn name(pool: &Pool, node: &str, number: u32) -> String {
    format!("{}-{node}-{number}", pool.class)
}

fn labels(pool: &Pool) -> Option<BTreeMap<String, String>> {
    Some(BTreeMap::from([(LABEL.to_owned(), pool.class.to_owned())]))
}

fn storage_class(pool: &Pool) -> StorageClass {
    StorageClass {
        metadata: ObjectMeta {
            name: Some(pool.class.to_owned()),
            labels: labels(pool),
            ..Default::default()
        },
        provisioner: "kubernetes.io/no-provisioner".into(),
        volume_binding_mode: Some("WaitForFirstConsumer".into()),
        reclaim_policy: Some("Retain".into()),
        ..Default::default()
    }
}

fn volume(pool: &Pool, node: &str, number: u32) -> PersistentVolume {
    let here = NodeSelectorRequirement {
        key: "kubernetes.io/hostname".into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm {
        match_expressions: Some(vec![here]),
        ..Default::default()
    };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name(pool, node, number)),
            labels: labels(pool),
            ..Default::default()
        },
        spec: Some(PersistentVolumeSpec {
            capacity: Some(BTreeMap::from([(
                "storage".to_owned(),
                Quantity(pool.size()),
            )])),
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: Some(pool.class.to_owned()),
            persistent_volume_reclaim_policy: Some("Retain".into()),
            local: Some(LocalVolumeSource {
                path: format!("{}/volume", dir(pool, number)),
                ..Default::default()
            }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![term],
                }),
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    #[test]
    fn a_volume_is_held_until_its_deletion_has_failed() {
        let held = |class: &str, phase: &str| {
            let volume = serde_json::json!({ "metadata": { "name": "pvc-1" },
                "spec": { "storageClassName": class }, "status": { "phase": phase } });
            let volume = serde_json::from_value(volume).expect("a volume");
            is_held(&volume, &GROWING)
        };
        for phase in ["Pending", "Bound", "Released"] {
            assert!(held(GROWING.class, phase), "{phase}");
        }
        assert!(!held(GROWING.class, "Failed") && !held("another", "Bound"));
    }

    #[test]
    fn a_volume_stays_on_its_node_and_in_our_folder() {
        let spec = volume(&SMALL, "worker2", 0).spec.expect("a spec");
        assert_eq!(
            spec.local.expect("local").path,
            "/var/etcd-harness/etcd-harness-small/0/volume"
        );
        let terms = spec
            .node_affinity
            .and_then(|a| a.required)
            .expect("required")
            .node_selector_terms;
        let values = terms[0].match_expressions.as_ref().expect("expressions")[0]
            .values
            .clone();
        assert_eq!(values, Some(vec!["worker2".to_owned()]));
    }

    #[test]
    fn what_a_claim_holds_is_kept_and_what_it_let_go_is_renewed() {
        assert_eq!(todo(None), Todo::Create);
        for phase in ["Released", "Failed"] {
            assert_eq!(todo(Some(phase)), Todo::Renew);
        }
        for phase in ["Bound", "Available", "Pending", ""] {
            assert_eq!(todo(Some(phase)), Todo::Keep);
        }
    }

    #[test]
    fn only_a_fresh_volume_is_emptied() {
        for pool in [LOCAL, SMALL] {
            assert!(make(&pool, 0, true).contains("-delete"));
            assert!(!make(&pool, 0, false).contains("-delete"));
        }
    }

    #[test]
    fn the_script_is_valid_shell() {
        let script = make(&SMALL, 0, true) + &make(&LOCAL, 3, true);
        assert_is_shell(&script);
    }
}
