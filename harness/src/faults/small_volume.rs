//! Small volumes that may be filled: on each worker an ext4 file system in a file, mounted through a loop device, offered
//! by a storage class of their own. Part of a deployment, not of a fault: made ready before the etcd cluster. A node that
//! restarts loses its mount (not the file).

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume,
    PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};

use crate::cluster::Cluster;
use crate::faults::FaultError;
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Folder of the file systems in a node.
pub(crate) const DIR: &str = "/var/etcd-harness";
/// Label of the volumes and classes; its value is their name.
pub(crate) const LABEL: &str = "etcd-harness/small-volumes";

/// Name of their storage class.
pub const STORAGE_CLASS: &str = "etcd-harness-small";
/// Size of each. etcd wants room for two segments of its log, 64 MB each, before it starts at all.
pub const MEBIBYTES: u32 = 256;

/// Makes one small volume ready on every worker, empty, and gives the name of their storage class. May be called before
/// every deployment: volumes that a claim holds are left alone, those that a claim has let go are emptied and offered
/// anew, missing mounts are made again.
///
/// # Errors
/// When a node cannot mount a file (doctor's line `loop mount` says so) or the API server refuses.
pub async fn prepare(cluster: &Cluster) -> Result<String, FaultError> {
    let name = STORAGE_CLASS;
    let classes: Api<StorageClass> = Api::all(cluster.kube.clone());
    let class = classes
        .patch(
            name,
            &PatchParams::apply("etcd-harness"),
            &Patch::Apply(storage_class(name)),
        )
        .await;
    class.map_err(|error| FaultError::api(format!("apply storage class {name}"), error))?;
    let volumes: Api<PersistentVolume> = Api::all(cluster.kube.clone());
    let workers = cluster.workers();
    try_join_all(workers.iter().map(|node| offer(cluster, &volumes, node))).await?;
    Ok(name.to_owned())
}

/// One volume, offered.
async fn offer(
    cluster: &Cluster,
    volumes: &Api<PersistentVolume>,
    node: &str,
) -> Result<(), FaultError> {
    let volume = volume(STORAGE_CLASS, node, MEBIBYTES);
    let name = volume.metadata.name.clone().unwrap_or_default();
    let fail = |error: kube::Error| FaultError::api(format!("offer small volume {name}"), error);
    let phase = volumes
        .get_opt(&name)
        .await
        .map_err(fail)?
        .and_then(|found| found.status?.phase);
    let script = mount(STORAGE_CLASS, MEBIBYTES);
    let shell = cluster.shell(node)?;
    match phase.as_deref() {
        Some("Bound" | "Available" | "Pending") => {
            shell.check("mount a small file system", &script).await?;
            return Ok(());
        }
        Some(_) => {
            volumes
                .delete(&name, &DeleteParams::default())
                .await
                .map_err(fail)?;
            let gone = wait_until(name.clone(), timeouts::HEAL, async || {
                match volumes.get_opt(&name).await {
                    Ok(None) => Poll::Ready(()),
                    Ok(Some(_)) => Poll::NotYet("it is still there".to_owned()),
                    Err(error) => Poll::NotYet::<_, String>(error.to_string()),
                }
            })
            .await;
            gone.map_err(|error| FaultError::api("delete a small volume", error))?;
        }
        None => {}
    }
    let emptied = format!("{script}\nfind $d/volume -mindepth 1 -delete");
    shell.check("make a small file system", &emptied).await?;
    volumes
        .create(&PostParams::default(), &volume)
        .await
        .map(drop)
        .map_err(fail)
}

/// True while the storage class is there.
pub(crate) async fn offered(kube: &kube::Client) -> bool {
    let classes: Api<StorageClass> = Api::all(kube.clone());
    matches!(classes.get_opt(STORAGE_CLASS).await, Ok(Some(_)))
}

/// Removes volumes, class, mounts and files. The claims must be gone.
///
/// # Errors
/// When something still uses them.
pub async fn remove(cluster: &Cluster) -> Result<(), FaultError> {
    let ours = ListParams::default().labels(&format!("{LABEL}={STORAGE_CLASS}"));
    let volumes: Api<PersistentVolume> = Api::all(cluster.kube.clone());
    let deleted = volumes
        .delete_collection(&DeleteParams::default(), &ours)
        .await;
    deleted.map_err(|error| FaultError::api("delete the small volumes", error))?;
    let classes: Api<StorageClass> = Api::all(cluster.kube.clone());
    let deleted = classes
        .delete_collection(&DeleteParams::default(), &ours)
        .await;
    deleted.map_err(|error| FaultError::api("delete the storage class of small volumes", error))?;
    let script = unmount(STORAGE_CLASS);
    for node in cluster.workers() {
        cluster
            .shell(node)?
            .check("remove a small file system", &script)
            .await?;
    }
    Ok(())
}

/// `/dev` of a node shows the loop devices there were when it was started: a newer one needs its file made.
fn mount(name: &str, mebibytes: u32) -> String {
    format!(
        "set -e\nd={DIR}/{name}; mkdir -p $d/volume\nif ! mountpoint -q $d/volume; then\n\
         [ -e $d/image ] || {{ truncate -s {mebibytes}M $d/image.new; mkfs.ext4 -q -m 0 -F $d/image.new; mv $d/image.new $d/image; }}\n\
         l=$(losetup -f); [ -e $l ] || mknod $l b 7 ${{l#/dev/loop}}\nmount -o loop $d/image $d/volume\n\
         rm -rf $d/volume/lost+found; chmod 777 $d/volume\nfi"
    )
}

fn unmount(name: &str) -> String {
    format!(
        "d={DIR}/{name}; mountpoint -q $d/volume && {{ umount $d/volume || exit 1; }}; rm -rf $d; rmdir {DIR} 2>/dev/null; true"
    )
}

fn labels(name: &str) -> Option<BTreeMap<String, String>> {
    Some(BTreeMap::from([(LABEL.to_owned(), name.to_owned())]))
}

fn storage_class(name: &str) -> StorageClass {
    StorageClass {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: labels(name),
            ..Default::default()
        },
        provisioner: "kubernetes.io/no-provisioner".into(),
        volume_binding_mode: Some("WaitForFirstConsumer".into()),
        reclaim_policy: Some("Delete".into()),
        ..Default::default()
    }
}

fn volume(name: &str, node: &str, mebibytes: u32) -> PersistentVolume {
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
            name: Some(format!("{name}-{node}")),
            labels: labels(name),
            ..Default::default()
        },
        spec: Some(PersistentVolumeSpec {
            capacity: Some(BTreeMap::from([(
                "storage".to_owned(),
                Quantity(format!("{mebibytes}Mi")),
            )])),
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: Some(name.to_owned()),
            persistent_volume_reclaim_policy: Some("Retain".into()),
            local: Some(LocalVolumeSource {
                path: format!("{DIR}/{name}/volume"),
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

    #[test]
    fn a_volume_stays_on_its_node_and_in_our_folder() {
        let spec = volume("small-x", "worker2", 64).spec.expect("a spec");
        assert_eq!(
            spec.local.expect("local").path,
            "/var/etcd-harness/small-x/volume"
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
}
