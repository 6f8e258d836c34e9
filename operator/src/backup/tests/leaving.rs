//! Backups that are being deleted while what they were made by cannot be read.

use super::jobs::{answers, context};
use super::*;
use crate::backup::reconcile;

/// What a round of such a Backup writes: a BackupPolicy, an InstanceSet and a BackupRepo that are not understood.
async fn written(policy: DeletionPolicy) -> Vec<(String, Value)> {
    let mut leaving = begun();
    leaving.spec.deletion_policy = policy;
    leaving.metadata.deletion_timestamp = Some(at(50));
    let live = serde_json::to_value(&leaving).expect("json");
    let (frame, asked) = server(move |line| {
        let path = line.split('?').next().unwrap_or_default();
        let odd = json!({ "metadata": { "name": "odd" }, "spec": 5 });
        match path.rsplit('/').next() {
            Some("etcd-cluster-etcd-backup-policy" | "etcd-cluster-etcd" | "s3-repo") => (200, odd),
            Some("etcd-cluster-backup" | "status") => {
                let mut live = live.clone();
                live["kind"] = "Backup".into();
                live["apiVersion"] = "dataprotection.kubeblocks.io/v1alpha1".into();
                (200, live)
            }
            _ => answers(line),
        }
    });
    let round = Box::pin(reconcile::round(&leaving, &context(frame))).await;
    round.expect("a round");
    let asked = asked.lock().expect("no panic");
    let written = asked.iter().filter(|(line, _)| !line.starts_with("GET"));
    written.cloned().collect()
}

#[tokio::test]
async fn one_that_keeps_its_data_goes_and_one_that_deletes_it_says_what_is_in_the_way() {
    let kept = written(DeletionPolicy::Retain).await;
    let released = |(_, body): &(String, Value)| body["metadata"]["finalizers"] == json!([]);
    assert!(kept.iter().any(released), "{kept:?}");
    let waits = written(DeletionPolicy::Delete).await;
    assert!(!waits.iter().any(released), "{waits:?}");
    let told = waits.iter().find(|(line, _)| line.contains("/status"));
    let why = told.expect("a status").1["status"]["failureReason"].to_string();
    assert!(
        why.contains("its data cannot be deleted") && why.contains("the BackupRepo"),
        "{why}"
    );
}
