//! The first disk of a Cluster that begins with a backup.

use std::sync::Mutex;

use etcd_operator_api::InstanceSet;
use etcd_operator_api::backup_policy::SecretKey;
use etcd_operator_api::restore::{
    FILLED, FILLED_AGAIN, NOT_FILLED, RESTORE_DONE, SEED, Seed, SeedArchive,
};

use super::jobs::context;
use super::*;
use crate::backup::seed::round;

pub(super) fn set(cluster_id: Option<&str>) -> InstanceSet {
    set_of(cluster_id, None, None)
}

pub(super) fn set_of(
    cluster_id: Option<&str>,
    encryption: Option<SecretKey>,
    archive: Option<SeedArchive>,
) -> InstanceSet {
    let seed = Seed {
        backup: "b".into(),
        backup_uid: "bu".into(),
        repo: "s3-repo".into(),
        path: "p/b".into(),
        sha256: "ab".into(),
        revision: 7,
        bytes: Some(5 << 30),
        encryption,
        archive,
    };
    let seed = serde_json::to_string(&seed).expect("json");
    serde_json::from_value(json!({
        "metadata": { "name": "new-etcd", "namespace": "demo", "uid": "iu",
            "annotations": { SEED: seed, labels::CLUSTER_UID: "cu" } },
        "spec": { "replicas": 3, "selector": {}, "template": { "spec": pod_spec() },
            "volumeClaimTemplates": [{ "name": "data", "spec": {} }] },
        "status": { "bootstrapMembers": ["new-etcd-0"], "clusterID": cluster_id } }))
    .expect("an InstanceSet")
}

/// What is written when the claim has these annotations and the Job this condition.
async fn written(
    annotations: Value,
    job: Option<&'static str>,
    set: &InstanceSet,
) -> Vec<(String, Value)> {
    let mut annotations = annotations;
    annotations[labels::CLUSTER_UID] = json!("cu");
    let claim = json!({ "metadata": { "name": "data-new-etcd-0", "uid": "pvcuid00-1", "annotations": annotations } });
    of_claim(claim, job, set).await
}

/// What is written when the claim is this one and the Job has this condition.
async fn of_claim(
    claim: Value,
    job: Option<&'static str>,
    set: &InstanceSet,
) -> Vec<(String, Value)> {
    of_pods(claim, job, &[], set).await
}

/// What is written when the Job has these pods, too.
async fn of_pods(
    claim: Value,
    job: Option<&'static str>,
    pods: &[Value],
    set: &InstanceSet,
) -> Vec<(String, Value)> {
    let pods = json!({ "metadata": {}, "items": pods });
    let made = Mutex::new(());
    let (frame, asked) = server(move |line| {
        let _one = made.lock();
        let path = line.split('?').next().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        match (line.starts_with("GET"), name, job) {
            (false, ..) => (201, json!({ "metadata": { "name": "made" } })),
            (_, "data-new-etcd-0", _) => (200, claim.clone()),
            (_, "s3-repo", _) => (200, serde_json::to_value(repo()).expect("json")),
            (_, "s3-credential-for-backuprepo", _) => (
                200,
                json!({ "metadata": { "name": "s" }, "data": { "accessKeyId": "YQ==" } }),
            ),
            (_, "phrase-a" | "phrase-b", _) => (
                200,
                json!({ "metadata": { "name": name }, "data": { "secretKey": "YWJj" } }),
            ),
            (_, "pods", _) => (200, pods.clone()),
            (_, "new-etcd", _) => (
                200,
                json!({ "metadata": { "name": "new-etcd", "uid": "cu" } }),
            ),
            (_, "restore-new-etcd-pvcuid00", Some(condition)) => (
                200,
                json!({ "metadata": { "name": name, "uid": "ju", "ownerReferences": [
                    { "apiVersion": "v1", "kind": "InstanceSet", "name": "new-etcd", "uid": "iu", "controller": true }] }, "status": { "conditions": [
                    { "type": condition, "status": "True", "reason": "Why", "message": "told" }] } }),
            ),
            _ => failure(404, "NotFound", "none"),
        }
    });
    round(set, &context(frame)).await.expect("a round");
    let asked = asked.lock().expect("no panic");
    asked
        .iter()
        .filter(|(line, _)| !line.starts_with("GET"))
        .cloned()
        .collect()
}

#[tokio::test]
async fn a_claim_that_is_there_is_filled_by_a_job_of_the_members_identity() {
    let written = written(json!({}), None, &set(None)).await;
    let (line, job) = written
        .iter()
        .find(|(line, _)| line.contains("/jobs"))
        .expect("a Job");
    assert!(line.contains("/namespaces/demo/jobs"), "{line}");
    assert_eq!(job["metadata"]["name"], "restore-new-etcd-pvcuid00");
    let pod = &job["spec"]["template"]["spec"];
    let arguments = pod["containers"][0]["args"].to_string();
    for wanted in [
        "--name=new-etcd-0",
        "--peer-url=http://new-etcd-0.new-etcd-headless.demo.svc.cluster.local:2380",
        "--token=etcd-cu",
        "--path=p/b",
        "--sha256=ab",
        "--data=etcd",
        "--identity-file=kbagent-identity.json",
    ] {
        assert!(arguments.contains(wanted), "{wanted}: {arguments}");
    }
    assert!(arguments.contains(r#"clusterUid\":\"cu"#), "{arguments}");
    let claims = pod["volumes"].as_array().expect("volumes").iter();
    let claims: Vec<_> = claims
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
        .collect();
    assert_eq!(claims, ["data-new-etcd-0"]);
}

#[tokio::test]
async fn in_a_cluster_with_users_the_members_agents_are_an_administrator_of_what_is_restored() {
    let mut set = set(None);
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::ACCOUNTS.into(), "on".into());
    let written = written(json!({}), None, &set).await;
    let mut jobs = written.iter().filter(|(line, _)| line.contains("/jobs"));
    let (_, job) = jobs.next().expect("a Job");
    let work = &job["spec"]["template"]["spec"]["containers"][0];
    let arguments = work["args"].to_string();
    assert!(arguments.contains("\"--admin=etcd-member\""), "{arguments}");
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::MEMBER_USER.into(), "ledger.example".into());
    let again = self::written(json!({}), None, &set).await;
    let again = json!(again.iter().map(|(_, body)| body).collect::<Vec<_>>()).to_string();
    assert!(again.contains("--admin=ledger.example"), "{again}");
    // An etcd runs on it.
    assert_eq!(
        work["resources"]["limits"]["memory"],
        (11_u64 << 30).to_string()
    );
}

#[tokio::test]
async fn the_job_that_fills_a_claim_has_memory_for_an_etcd_and_time_to_replay_an_archive() {
    let over = SeedArchive {
        path: "p/pitr".into(),
        revision: Some(70),
        ..SeedArchive::default()
    };
    let whole = SeedArchive {
        at_least: Some(70),
        revision: None,
        ..over.clone()
    };
    let whole = written(json!({}), None, &set_of(None, None, Some(whole))).await;
    let made = json!(whole.iter().map(|(_, body)| body).collect::<Vec<_>>()).to_string();
    assert!(made.contains("--at-least-revision=70"), "{made}");
    let with = written(json!({}), None, &set_of(None, None, Some(over))).await;
    let without = written(json!({}), None, &set(None)).await;
    let job = |written: Vec<(String, Value)>| {
        let found = written.into_iter().find(|(line, _)| line.contains("/jobs"));
        let (_, mut job) = found.expect("a Job");
        let deadline = job["spec"]["activeDeadlineSeconds"].as_i64();
        let container = job["spec"]["template"]["spec"]["containers"][0].take();
        (container, deadline)
    };
    let ((with, long), (without, short)) = (job(with), job(without));
    assert_eq!((long, short), (Some(7 * 24 * 3600), Some(7200)));
    let limit = |container: &Value| {
        let limit = container["resources"]["limits"]["memory"].as_str();
        limit.and_then(|limit| limit.parse::<u64>().ok())
    };
    // One that was never verified is looked at by an etcd.
    assert_eq!(limit(&without), Some(11 << 30));
    assert_eq!(limit(&with), Some(11 << 30));
    let arguments = with["args"].to_string();
    for wanted in ["--archive-path=p/pitr", "--to-revision=70"] {
        assert!(arguments.contains(wanted), "{wanted}: {arguments}");
    }
}

#[tokio::test]
async fn an_encrypted_backup_and_its_archive_have_a_pass_phrase_each_and_wait_for_it() {
    let key = |name: &str| SecretKey {
        name: name.into(),
        key: "secretKey".into(),
        optional: None,
    };
    let over = |name: &str| SeedArchive {
        path: "p/pitr".into(),
        encryption: Some(key(name)),
        ..SeedArchive::default()
    };
    let both = set_of(None, Some(key("phrase-a")), Some(over("phrase-b")));
    let made = written(json!({}), None, &both).await;
    let (_, job) = made
        .iter()
        .find(|(line, _)| line.contains("/jobs"))
        .expect("a Job");
    let pod = &job["spec"]["template"]["spec"];
    let arguments = pod["containers"][0]["args"].to_string();
    let volumes = pod["volumes"].as_array().expect("volumes");
    for (volume, secret, argument) in [
        (
            "pass-phrase",
            "phrase-a",
            "--pass-phrase=/etc/pass-phrase/passPhrase",
        ),
        (
            "archive-pass-phrase",
            "phrase-b",
            "--archive-pass-phrase=/etc/archive-pass-phrase/passPhrase",
        ),
    ] {
        assert!(arguments.contains(argument), "{arguments}");
        let found = volumes.iter().find(|found| found["name"] == volume);
        assert_eq!(found.expect("a volume")["secret"]["secretName"], secret);
    }
    let lost = set_of(None, Some(key("phrase-a")), Some(over("lost")));
    let told = written(json!({}), None, &lost).await;
    assert_eq!(told.len(), 1, "no Job: {told:?}");
    let why = told[0].1["metadata"]["annotations"][NOT_FILLED].to_string();
    assert!(why.contains("demo/lost is not there"), "{why}");
}

#[tokio::test]
async fn the_claim_says_when_it_is_filled_and_why_it_is_not() {
    let done = written(json!({}), Some("Complete"), &set(None)).await;
    assert_eq!(done.len(), 1, "{done:?}");
    assert_eq!(done[0].1["metadata"]["annotations"][FILLED], "bu");
    assert_eq!(done[0].1["metadata"]["uid"], "pvcuid00-1");
    let failed = written(json!({}), Some("Failed"), &set(None)).await;
    let why = failed[0].1["metadata"]["annotations"][NOT_FILLED]
        .as_str()
        .unwrap_or_default();
    assert!(why.contains("told"), "{failed:?}");
    assert!(
        written(json!({ FILLED: "bu" }), None, &set(None))
            .await
            .is_empty(),
        "nothing is left to do"
    );
}

#[tokio::test]
async fn while_the_job_tries_again_the_claim_says_what_has_failed() {
    let pod = |name: &str, state: Value| {
        let owner = json!({ "apiVersion": "batch/v1", "kind": "Job", "name": "restore-new-etcd-pvcuid00", "uid": "ju",
            "controller": true });
        let work = json!({ "name": "backup", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
            "state": state });
        json!({ "metadata": { "name": name, "ownerReferences": [owner] },
            "status": { "containerStatuses": [work] } })
    };
    let ended = json!({ "terminated": { "exitCode": 1, "message": r#"{"failure":"the disk is full"}"#,
        "finishedAt": "2026-01-01T00:00:00Z" } });
    let pods = [pod("a", ended), pod("b", json!({ "running": {} }))];
    let claim = json!({ "metadata": { "name": "data-new-etcd-0", "uid": "pvcuid00-1",
        "annotations": { labels::CLUSTER_UID: "cu" } } });
    for (condition, known, other) in [
        ("Suspended", FILLED_AGAIN, NOT_FILLED),
        ("Failed", NOT_FILLED, FILLED_AGAIN),
    ] {
        let told = of_pods(claim.clone(), Some(condition), &pods, &set(None)).await;
        assert_eq!(told.len(), 1, "{told:?}");
        let annotations = &told[0].1["metadata"]["annotations"];
        assert_eq!(annotations[known], "the disk is full", "{condition}");
        assert_eq!(annotations[other], Value::Null, "{condition}");
    }
}

#[tokio::test]
async fn a_job_that_was_not_made_for_it_fills_no_claim_and_stays() {
    let mut another = set(None);
    another.metadata.uid = Some("another".into());
    let told = written(json!({}), Some("Complete"), &another).await;
    let [(line, body)] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(line.starts_with("PATCH"), "{line}");
    let annotations = &body["metadata"]["annotations"];
    assert_eq!(annotations.get(FILLED), None);
    let why = annotations[NOT_FILLED].to_string();
    assert!(
        why.contains("restore-new-etcd-pvcuid00 was not made by the operator"),
        "{why}"
    );
}

#[tokio::test]
async fn a_claim_of_an_earlier_cluster_or_of_a_user_is_not_filled() {
    let owned = |by: &str, home: Option<&str>| {
        let owner = json!({ "apiVersion": "v1", "kind": "InstanceSet", "name": "new-etcd", "uid": by,
            "controller": true });
        let mut claim = json!({ "metadata": { "name": "data-new-etcd-0", "uid": "pvcuid00-1",
            "annotations": {}, "ownerReferences": [owner] } });
        if let Some(home) = home {
            claim["metadata"]["annotations"][labels::CLUSTER_UID] = json!(home);
        }
        claim
    };
    let free = |home: Option<&str>| {
        let mut claim = owned("", home);
        claim["metadata"]["ownerReferences"] = json!([]);
        claim
    };
    for claim in [
        owned("another", Some("cu")),
        owned("iu", Some("earlier")),
        free(Some("earlier")),
        free(None),
    ] {
        for job in [None, Some("Complete")] {
            let written = of_claim(claim.clone(), job, &set(None)).await;
            assert!(written.is_empty(), "{claim}: {written:?}");
        }
    }
    for claim in [owned("iu", Some("cu")), owned("iu", None), free(Some("cu"))] {
        let written = of_claim(claim.clone(), None, &set(None)).await;
        let made = written.iter().any(|(line, _)| line.contains("/jobs"));
        assert!(made, "{claim}");
    }
}

#[tokio::test]
async fn a_cluster_that_has_formed_is_never_touched_and_its_component_says_so() {
    let written = written(json!({}), None, &set(Some("7"))).await;
    assert_eq!(written.len(), 1, "{written:?}");
    assert!(
        written[0].0.contains("/components/new-etcd"),
        "{}",
        written[0].0
    );
    assert_eq!(
        written[0].1["metadata"]["annotations"][RESTORE_DONE],
        "true"
    );
}

#[tokio::test]
async fn the_job_goes_before_its_claim_must_and_never_earlier() {
    let filled = json!({ FILLED: "bu" });
    let leaving = json!({ "metadata": { "name": "data-new-etcd-0", "uid": "pvcuid00-1",
        "annotations": { labels::CLUSTER_UID: "cu" },
        "deletionTimestamp": "2026-11-29T00:00:00Z" } });
    let mut deleted = set(None);
    deleted.metadata.deletion_timestamp =
        serde_json::from_value(json!("2026-11-29T00:00:00Z")).expect("a time");
    let cases = [
        written(filled, Some("Complete"), &set(None)).await,
        of_claim(leaving, Some("Failed"), &set(None)).await,
        written(json!({}), Some("Suspended"), &deleted).await,
        written(json!({}), Some("Complete"), &set(Some("7"))).await,
    ];
    for case in cases {
        let (line, body) = case.last().expect("a deletion");
        assert!(line.starts_with("DELETE") && line.contains("/jobs/restore-new-etcd-pvcuid00"));
        assert_eq!(body["propagationPolicy"], "Background", "its pods go too");
        assert_eq!(body["preconditions"]["uid"], "ju");
    }
    // Its report is read before, and what has failed stays to be looked at.
    for condition in ["Complete", "Failed", "Suspended"] {
        let case = written(json!({}), Some(condition), &set(None)).await;
        assert!(
            case.iter().all(|(line, _)| !line.starts_with("DELETE")),
            "{case:?}"
        );
    }
}
