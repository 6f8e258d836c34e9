//! A BackupRepo that names the namespaces that it serves: no other gets its credential.

use etcd_operator_api::backup_repo::NAMESPACES;
use etcd_operator_api::restore::NOT_FILLED;

use super::jobs::context;
use super::*;
use crate::backup::seed;

/// One that serves these.
fn serving(namespaces: &str) -> BackupRepo {
    let mut repo = repo();
    let named = (NAMESPACES.to_owned(), namespaces.to_owned());
    repo.metadata.annotations = Some([named].into());
    repo
}

fn seeing(namespaces: &str) -> Seen {
    Seen {
        repo: Some(Ok(serving(namespaces))),
        ..seen()
    }
}

#[test]
fn a_backup_of_another_namespace_fails_and_says_why() {
    let begins = decided(&held(), &seeing("other, demo"), 1);
    assert!(matches!(begins.act, Act::Begin(_)), "{begins:?}");
    let refused = decided(&held(), &seeing("other"), 1);
    assert_eq!(refused.act, Act::Record);
    assert_eq!(refused.status.phase, Some(BackupPhase::Failed));
    let why = refused.status.failure_reason.expect("a reason");
    assert!(
        why.contains("s3-repo") && why.contains("does not name namespace demo"),
        "{why}"
    );
}

#[test]
fn data_is_not_deleted_for_a_namespace_that_is_served_no_more() {
    let mut leaving = begun();
    leaving.metadata.deletion_timestamp = Some(at(50));
    let erased = decided(&leaving, &seeing("demo"), 51);
    assert!(matches!(erased.act, Act::Erase(_)), "{erased:?}");
    let kept = decided(&leaving, &seeing("other"), 51);
    assert_eq!(kept.act, Act::Record);
    let why = kept.status.failure_reason.expect("a reason");
    assert!(
        why.contains("does not name namespace demo") && why.contains("Retain"),
        "{why}"
    );
}

#[tokio::test]
async fn no_disk_is_filled_from_it_and_no_credential_is_copied() {
    let served = |namespaces: &'static str| async move {
        let (frame, asked) = server(move |line| {
            let path = line.split('?').next().unwrap_or_default();
            match (line.starts_with("GET"), path.rsplit('/').next()) {
                (false, _) => (201, json!({ "metadata": { "name": "made" } })),
                (_, Some("data-new-etcd-0")) => (
                    200,
                    json!({ "metadata": { "name": "data-new-etcd-0", "uid": "pvcuid00-1",
                        "annotations": { labels::CLUSTER_UID: "cu" } } }),
                ),
                (_, Some("s3-repo")) => (200, json!(serving(namespaces))),
                (_, Some("s3-credential-for-backuprepo")) => (
                    200,
                    json!({ "metadata": { "name": "s" }, "data": { "accessKeyId": "YQ==" } }),
                ),
                _ => failure(404, "NotFound", "none"),
            }
        });
        let round = seed::round(&super::seeds::set(None), &context(frame)).await;
        round.expect("a round");
        let asked = asked.lock().expect("no panic").clone();
        let written = asked
            .into_iter()
            .filter(|(line, _)| !line.starts_with("GET"));
        let (made, told): (Vec<_>, Vec<_>) =
            written.partition(|(line, _)| line.starts_with("POST"));
        (made.len(), told)
    };
    // The credential and the Job.
    assert_eq!(served("demo").await.0, 2);
    let (made, told) = served("other").await;
    assert_eq!(made, 0);
    let why = told[0].1["metadata"]["annotations"][NOT_FILLED].to_string();
    assert!(why.contains("does not name namespace demo"), "{why}");
}
