//! Whether a repository can be reached: what is tried, and what its status says.

use etcd_operator_api::backup_repo::BackupRepoPhase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::*;
use crate::backup::probe::{self, Act as Done, MADE_OF, ProbeSeen, Probed, Sight};
use crate::backup::repo::round;

const TOOL: &str = "etcd-backup:1";

fn bucket() -> BackupRepo {
    let mut repo = repo();
    repo.metadata.uid = Some("12345678-bbbb".into());
    repo.metadata.generation = Some(1);
    repo
}

fn sight(secret: &str, job: Option<ProbeSeen>) -> Sight {
    Sight::Bucket {
        secret: Ok(secret.into()),
        job: job.map(Box::new),
    }
}

fn told(repo: &BackupRepo, sight: &Sight, now: i64) -> Probed {
    probe::decide(repo, Some(sight), TOOL, &at(now))
}

/// The Job that is made for a repository and the version of its Secret.
fn tried(repo: &BackupRepo, secret: &str) -> Job {
    match told(repo, &sight(secret, None), 0).act {
        Done::Try(job) => *job,
        other => panic!("no Job: {other:?}"),
    }
}

fn ended(job: &Job, state: JobState, report: Option<BackupReport>) -> Option<ProbeSeen> {
    Some(ProbeSeen {
        made_of: job.annotations()[MADE_OF].clone(),
        made: Some(at(0)),
        seen: JobSeen {
            state,
            report,
            stuck: None,
            waits: None,
        },
    })
}

fn reachable(verdict: &Probed) -> Condition {
    let conditions = verdict.status.conditions.iter();
    let mut found = conditions.filter(|condition| condition.type_ == "Reachable");
    found.next().expect("the condition").clone()
}

#[test]
fn kubeblocks_repository_is_tried_where_its_credential_is_and_by_no_copy() {
    let repo = bucket();
    let verdict = told(&repo, &sight("v1", None), 0);
    assert_eq!(verdict.status.phase, Some(BackupRepoPhase::PreChecking));
    assert_eq!(reachable(&verdict).status, "Unknown");
    assert!(verdict.status.is_default);
    let job = tried(&repo, "v1");
    assert_eq!(job.namespace().as_deref(), Some("kb-system"));
    assert_eq!(job.owner_references()[0].kind, "BackupRepo");
    let spec = job.spec.expect("spec");
    assert!(spec.active_deadline_seconds.is_some() && spec.ttl_seconds_after_finished.is_some());
    assert_eq!(spec.backoff_limit, Some(0));
    let pod = spec.template.spec.expect("pod");
    assert_eq!(pod.automount_service_account_token, Some(false));
    let arguments = pod.containers[0].args.as_ref().expect("arguments");
    for wanted in [
        "probe",
        "--bucket=backups",
        "--path=all/probe-12345678-bbbb",
    ] {
        assert!(arguments.iter().any(|it| it == wanted), "{arguments:?}");
    }
    let mut volumes = pod.volumes.into_iter().flatten();
    let secret = volumes.find_map(|volume| volume.secret?.secret_name);
    assert_eq!(secret.as_deref(), Some("s3-credential-for-backuprepo"));
}

#[test]
fn one_that_was_reached_is_ready_and_stays_so_while_it_is_tried_again() {
    let mut repo = bucket();
    let job = tried(&repo, "v1");
    let reached = ended(&job, JobState::Succeeded, None);
    let first = told(&repo, &sight("v1", reached.clone()), 5);
    assert_eq!(first.status.phase, Some(BackupRepoPhase::Ready));
    assert_eq!((first.act, first.again), (Done::Record, Some(595)));
    repo.status = Some(first.status.clone());
    let due = told(&repo, &sight("v1", reached), 600);
    assert_eq!((due.status, due.act), (first.status.clone(), Done::Clear));
    let again = told(&repo, &sight("v1", None), 601);
    assert_eq!(again.status, first.status);
    assert!(matches!(again.act, Done::Try(_)));
    let running = ended(&job, JobState::Running, None);
    let during = told(&repo, &sight("v1", running), 602);
    assert_eq!((during.status, during.act), (first.status, Done::Record));
}

#[test]
fn one_that_was_not_reached_says_why_and_is_tried_again_soon() {
    let repo = bucket();
    let job = tried(&repo, "v1");
    let state = || JobState::Failed("its Job has failed: BackoffLimitExceeded".into());
    let report =
        BackupReport::failed("failed to write probe in the repository: connection refused");
    let verdict = told(&repo, &sight("v1", ended(&job, state(), Some(report))), 5);
    assert_eq!(verdict.status.phase, Some(BackupRepoPhase::Failed));
    let condition = reachable(&verdict);
    assert_eq!(condition.status, "False");
    assert!(
        condition.message.contains("connection refused"),
        "{condition:?}"
    );
    assert_eq!(verdict.again, Some(55));
    let bare = told(&repo, &sight("v1", ended(&job, state(), None)), 60);
    assert!(reachable(&bare).message.contains("BackoffLimitExceeded"));
    assert_eq!(bare.act, Done::Clear);
}

#[test]
fn what_was_found_with_other_settings_or_another_credential_does_not_count() {
    let mut repo = bucket();
    let reached = ended(&tried(&repo, "v1"), JobState::Succeeded, None);
    repo.status = Some(told(&repo, &sight("v1", reached.clone()), 5).status);
    let other = told(&repo, &sight("v2", reached.clone()), 6);
    assert_eq!(other.status.phase, Some(BackupRepoPhase::PreChecking));
    assert_eq!(reachable(&other).status, "Unknown");
    assert_eq!(other.act, Done::Clear);
    let endpoint = repo.spec.config.get_mut("endpoint").expect("one");
    *endpoint = "http://elsewhere:9000".into();
    repo.metadata.generation = Some(2);
    let moved = told(&repo, &sight("v1", reached), 7);
    assert_eq!(moved.status.phase, Some(BackupRepoPhase::PreChecking));
    assert_eq!(moved.act, Done::Clear);
    let unseen = told(&repo, &sight("v1", None), 7);
    assert_eq!(unseen.status.phase, Some(BackupRepoPhase::PreChecking));
}

#[test]
fn what_is_missing_is_named() {
    let repo = bucket();
    let missing = Sight::Bucket {
        secret: Err("spec.credential: Secret kb-system/s is not there: create it".into()),
        job: None,
    };
    let verdict = told(&repo, &missing, 0);
    assert_eq!(verdict.status.phase, Some(BackupRepoPhase::Failed));
    assert!(
        reachable(&verdict)
            .message
            .contains("kb-system/s is not there")
    );
    assert!(verdict.again.is_some(), "it is looked for again");
    let claim = |config: Value| -> BackupRepo {
        serde_json::from_value(
            json!({ "metadata": { "name": "r" }, "spec": { "storageProviderRef": "pvc",
            "pvReclaimPolicy": "Retain", "volumeCapacity": "1Gi", "config": config } }),
        )
        .expect("a repository")
    };
    let fine = told(&claim(json!({})), &Sight::Class(Ok(())), 0);
    assert_eq!(fine.status.phase, Some(BackupRepoPhase::Ready));
    let classless = told(&claim(json!({})), &Sight::Class(Err("no class".into())), 0);
    assert_eq!(classless.status.phase, Some(BackupRepoPhase::Failed));
    let wrong = probe::decide(&claim(json!({ "size": "1" })), None, TOOL, &at(0));
    assert_eq!(wrong.status.phase, Some(BackupRepoPhase::Failed));
    let text = &wrong.status.conditions[0].message;
    assert!(text.contains("spec.config.size"), "{text}");
}

#[tokio::test]
async fn a_round_reads_no_credential_and_makes_one_job() {
    let (context, asked) = server(|line| match line {
        _ if line.starts_with("GET") && line.contains("/secrets/") => (
            200,
            json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": { "name": "s", "uid": "su", "resourceVersion": "7" } }),
        ),
        _ if line.starts_with("GET") => failure(404, "NotFound", "none"),
        _ if line.starts_with("PUT") => (200, serde_json::to_value(bucket()).expect("json")),
        _ => (201, json!({ "metadata": { "name": "made" } })),
    });
    round(bucket(), &context).await.expect("a round");
    let asked = asked.lock().expect("no panic");
    let written: Vec<_> = asked
        .iter()
        .filter(|(line, _)| !line.starts_with("GET"))
        .collect();
    let [status, job] = written.as_slice() else {
        panic!("{written:?}");
    };
    assert_eq!(status.1["status"]["phase"], "PreChecking");
    assert!(job.0.contains("/namespaces/kb-system/jobs"), "{}", job.0);
    assert!(!job.1.to_string().contains("accessKeyId"), "{}", job.1);
}

#[tokio::test]
async fn a_job_that_was_not_made_for_a_repository_is_left_alone() {
    let (context, asked) = server(|line| match line {
        _ if line.starts_with("GET") && line.contains("/jobs/") => (
            200,
            json!({ "metadata": { "name": "probe-s3-repo-12345678", "namespace": "kb-system", "uid": "x" } }),
        ),
        _ => (200, serde_json::to_value(bucket()).expect("json")),
    });
    round(bucket(), &context).await.expect("a round");
    let asked = asked.lock().expect("no panic");
    let mut written = asked.iter().filter(|(line, _)| !line.starts_with("GET"));
    let (line, body) = written.next().expect("a status");
    assert!(
        line.starts_with("PUT") && written.next().is_none(),
        "{asked:?}"
    );
    assert_eq!(body["status"]["phase"], "Failed");
    let told = body["status"]["conditions"].to_string();
    assert!(
        told.contains("Job kb-system/probe-s3-repo-12345678 was not made"),
        "{told}"
    );
}

#[tokio::test]
async fn a_credential_where_the_operator_has_no_rights_is_named_in_the_status() {
    for (served, expected) in [
        (
            vec!["shop".to_owned(), "bank".to_owned()],
            "serves only shop, bank: put Secret",
        ),
        (
            Vec::new(),
            "no rights in namespace kb-system: jobs is forbidden",
        ),
    ] {
        let (mut context, asked) = server(|line| match line.starts_with("PUT") {
            true => (200, serde_json::to_value(bucket()).expect("json")),
            false => failure(403, "Forbidden", "jobs is forbidden"),
        });
        context.config.namespaces = served;
        round(bucket(), &context).await.expect("a round");
        let asked = asked.lock().expect("no panic");
        let mut written = asked.iter().filter(|(line, _)| !line.starts_with("GET"));
        let (_, body) = written.next().expect("a status");
        assert!(written.next().is_none(), "no Job is made: {asked:?}");
        assert_eq!(body["status"]["phase"], "Failed");
        let conditions = body["status"]["conditions"].as_array().expect("conditions");
        let reachable = conditions.iter().find(|it| it["type"] == "Reachable");
        let reachable = reachable.expect("the condition");
        assert_eq!(reachable["status"], "False");
        let text = reachable["message"].as_str().unwrap_or_default();
        assert!(
            text.contains("spec.credential.namespace") && text.contains(expected),
            "{text}"
        );
    }
}
