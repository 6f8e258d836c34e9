//! Rounds of a schedule as they are carried out.

use std::sync::atomic::{AtomicUsize, Ordering};

use etcd_operator_api::BackupSchedule;
use etcd_operator_api::restore::SEED;

use super::jobs::context;
use super::*;
use crate::backup::schedule;

/// An InstanceSet that is being filled with the backup in this folder.
fn filled(path: &str) -> Value {
    let seed = json!({ "backup": "b", "backupUid": "bu", "repo": "s3-repo", "path": path, "sha256": "ab", "revision": 7 });
    let annotations = json!({ SEED: seed.to_string() });
    json!({ "metadata": { "name": "new-etcd", "annotations": annotations },
        "spec": { "replicas": 3, "selector": {}, "template": {} } })
}

#[tokio::test]
async fn a_backup_that_is_refused_keeps_no_other_and_what_is_superfluous_goes() {
    let known = json!({ "lastScheduleTime": "2026-01-01T18:00:00Z", "nextScheduleTime": "2026-01-02T18:00:00Z" });
    let policy = |name: &str| {
        json!({ "name": name, "enabled": true, "backupMethod": "datafile", "cronExpression": "0 18 * * *",
            "retentionCount": 1 })
    };
    let object = json!({ "apiVersion": "dataprotection.kubeblocks.io/v1alpha1", "kind": "BackupSchedule",
        "metadata": { "name": "daily", "namespace": "demo", "uid": "su" },
        "spec": { "backupPolicyName": "p", "schedules": [policy("a"), policy("b")] },
        "status": { "phase": "Available", "schedules": { "a": known, "b": known } } });
    let made = |day: u32| {
        let mut backup = held();
        backup.metadata.name = Some(format!("daily-a-202512{day}180000"));
        let label = "dataprotection.kubeblocks.io/schedule".to_owned();
        backup.metadata.labels = Some([(label, "daily.a".to_owned())].into());
        let status = json!({ "phase": "Completed", "verified": true, "completionTimestamp": at(0),
                "backupRepoName": "s3-repo", "path": format!("demo/c-cu/etcd/{day}") });
        backup.status = serde_json::from_value(status).expect("a status");
        let mut backup = serde_json::to_value(backup).expect("json");
        backup["kind"] = "Backup".into();
        backup["apiVersion"] = "dataprotection.kubeblocks.io/v1alpha1".into();
        backup
    };
    let schedule: BackupSchedule = serde_json::from_value(object.clone()).expect("a schedule");
    let (list, posts) = ([made(30), made(31), made(29)], AtomicUsize::new(0));
    let (frame, asked) = server(move |line| match line.split(' ').next() {
        // A Cluster is restored from the oldest.
        Some("GET") if line.contains("/instancesets?") => (
            200,
            json!({ "metadata": {}, "items": [filled("demo/c-cu/etcd/29")] }),
        ),
        Some("GET") => (200, json!({ "metadata": {}, "items": list })),
        Some("POST") if posts.fetch_add(1, Ordering::Relaxed) == 0 => {
            failure(403, "Forbidden", "exceeded quota")
        }
        Some("PUT") => (200, object.clone()),
        _ => (200, list[0].clone()),
    });
    let now: Time = serde_json::from_value(json!("2026-01-02T18:00:01Z")).expect("a time");
    let round = schedule::round(&schedule, &context(frame), &now).await;
    assert!(round.is_err(), "it is tried again");
    let asked = asked.lock().expect("no panic");
    let of = |method: &str| {
        asked
            .iter()
            .filter(|(line, _)| line.starts_with(method))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("POST").len(), 2, "{asked:?}");
    let gone = of("DELETE");
    assert!(
        gone.len() == 1 && gone[0].0.contains("/backups/daily-a-20251230180000"),
        "{gone:?}"
    );
    let status = &of("PUT")[0].1["status"];
    let (refused, made) = (&status["schedules"]["a"], &status["schedules"]["b"]);
    assert_eq!((&status["phase"], refused), (&json!("Failed"), &known));
    // Its turn is over: it is not made again when it is deleted.
    assert_eq!(made["lastScheduleTime"], "2026-01-02T18:00:00Z");
    assert_eq!(made["nextScheduleTime"], "2026-01-03T18:00:00Z");
    let why = status["failureReason"].to_string();
    assert!(
        why.contains("daily-a-20260102180000") && why.contains("exceeded quota"),
        "{why}"
    );
}
