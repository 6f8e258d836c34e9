//! Backups whose time is over while a Cluster is restored from them, and archives that are pruned meanwhile.

use std::sync::Mutex;

use etcd_operator_api::InstanceSet;
use etcd_operator_api::restore::SeedArchive;

use super::archives::{begun, full};
use super::jobs::{answers, context};
use super::seeds::{set, set_of};
use super::*;
use crate::backup::readers::Readers;
use crate::backup::{observe, reconcile, seed};

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

#[tokio::test]
async fn what_is_put_over_an_older_full_backup_is_not_pruned_until_the_cluster_has_formed() {
    let archive = begun();
    let path = archive
        .status
        .as_ref()
        .and_then(|status| status.path.clone());
    let over = SeedArchive {
        path: path.expect("a path"),
        ..SeedArchive::default()
    };
    // It begins with the full backup of revision 7.
    let forming = set_of(None, None, Some(over.clone()));
    let others = [full("old", 7), full("new", 900)];
    let listed = Arc::new(Mutex::new(forming.clone()));
    let shown = Arc::clone(&listed);
    let (frame, asked) = server(move |line| match line {
        line if line.contains("/instancesets?") => (200, seeded(&shown.lock().expect("no panic"))),
        _ => failure(404, "NotFound", "none"),
    });
    let context = context(frame);
    let told = async || {
        let base = observe::base(&context, &archive, &others).await;
        let asked = asked.lock().expect("no panic");
        let lists = asked
            .iter()
            .filter(|(line, _)| line.contains("/instancesets?"));
        (base.expect("a list"), lists.count())
    };
    assert_eq!(told().await, (900, 0), "nothing is restored");
    let round = seed::round(&forming, &context).await;
    round.expect("a round");
    assert_eq!(told().await, (6, 1));
    *listed.lock().expect("no panic") = set_of(Some("7"), None, Some(over));
    assert_eq!(told().await, (900, 2));
    assert_eq!(
        told().await,
        (900, 2),
        "it has formed, and is not asked for again"
    );
}
