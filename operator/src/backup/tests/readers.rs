//! Backups whose time is over while a Cluster is restored from them.

use etcd_operator_api::InstanceSet;
use etcd_operator_api::restore::SeedArchive;

use super::jobs::{answers, context};
use super::seeds::{set, set_of};
use super::*;
use crate::backup::readers::Readers;
use crate::backup::reconcile;

fn seeded(set: &InstanceSet) -> Value {
    json!({ "metadata": {}, "items": [set] })
}

/// A Backup of this folder that has expired.
fn expired(path: &str) -> Backup {
    let mut old = held();
    old.spec.retention_period = Some("7d".into());
    let status = json!({ "phase": "Completed", "verified": true, "completionTimestamp": "2020-01-01T00:00:00Z",
        "backupRepoName": "s3-repo", "path": path });
    old.status = serde_json::from_value(status).expect("a status");
    old
}

#[tokio::test]
async fn one_that_has_expired_stays_until_the_cluster_that_is_restored_from_it_has_formed() {
    let deleted = |set: InstanceSet| async move {
        let (frame, asked) = server(move |line| match line {
            line if line.contains("/instancesets?") => (200, seeded(&set)),
            line if line.starts_with("GET /version") => (200, json!({})),
            line => answers(line),
        });
        let round = reconcile::round(&expired("p/b"), &context(frame)).await;
        round.expect("a round");
        let asked = asked.lock().expect("no panic");
        asked.iter().any(|(line, _)| line.starts_with("DELETE"))
    };
    assert!(!deleted(set(None)).await);
    assert!(deleted(set(Some("7"))).await, "it has formed");
}

#[tokio::test]
async fn an_archive_that_is_replayed_is_read_too_and_nothing_else_is() {
    let over = SeedArchive {
        path: "p/pitr".into(),
        ..SeedArchive::default()
    };
    let set = set_of(None, None, Some(over));
    let (frame, asked) = server(move |_| (200, seeded(&set)));
    let readers = Readers::of(&frame.client, "demo").await.expect("a list");
    for (path, reader) in [
        ("p/b", Some("new-etcd")),
        ("p/pitr", Some("new-etcd")),
        ("p/other", None),
    ] {
        assert_eq!(readers.reader(&expired(path)), reader, "{path}");
    }
    let mut elsewhere = expired("p/b");
    let status = elsewhere.status.as_mut().expect("a status");
    status.backup_repo_name = Some("other".into());
    assert_eq!(readers.reader(&elsewhere), None);
    let asked = asked.lock().expect("no panic");
    let line = &asked[0].0;
    assert!(line.contains("seeded%3Dtrue"), "{line}");
}
