//! From KubeBlocks' manifests to Jobs, and from what Jobs say to a status.

use std::sync::Arc;

use etcd_operator_api::backup::{BackupPhase, DeletionPolicy};
use etcd_operator_api::backup_policy::RetentionPolicy;
use etcd_operator_api::{Backup, BackupPolicy, BackupRepo, labels};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::{BackupProgress, BackupReport, BackupStage, BackupSummary};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::choose::tests::member;
use super::decision::{Act, Decision, FINALIZER, Settings};
use super::job;
use super::observe::job_seen;
use super::observed::{ClusterSeen, JobSeen, JobState, Seen};
use super::plan::decide;
use crate::fake_api::{failure, server};
use crate::roles::MemberStore;

mod archives;
mod claims;
mod encrypted;
mod figures;
mod flows;
mod jobs;
mod leaving;
mod members;
mod probes;
mod readers;
mod schedules;
mod seeds;
mod served;
mod told;
mod turns;

/// The shapes of KubeBlocks' backuprepo.yaml and backup.yaml.
const REPO: &str = r"
apiVersion: dataprotection.kubeblocks.io/v1alpha1
kind: BackupRepo
metadata:
  name: s3-repo
  annotations: {dataprotection.kubeblocks.io/is-default-repo: 'true'}
spec:
  storageProviderRef: minio
  accessMethod: Tool
  pvReclaimPolicy: Retain
  volumeCapacity: 100Gi
  config:
    bucket: backups
    endpoint: http://minio.demo.svc:9000
    mountOptions: --memory-limit 1000 --dir-mode 0777 --file-mode 0666
    region: cn-northwest-1
  credential:
    name: s3-credential-for-backuprepo
    namespace: kb-system
  pathPrefix: /all
";
const BACKUP: &str = r"
apiVersion: dataprotection.kubeblocks.io/v1alpha1
kind: Backup
metadata: {name: etcd-cluster-backup, namespace: demo, uid: 12345678-aaaa, resourceVersion: '5',
  creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  backupMethod: datafile
  backupPolicyName: etcd-cluster-etcd-backup-policy
  deletionPolicy: Delete
";

fn backup() -> Backup {
    serde_saphyr::from_str(BACKUP).expect("a backup")
}

fn repo() -> BackupRepo {
    serde_saphyr::from_str(REPO).expect("a repository")
}

fn policy() -> BackupPolicy {
    let labelled = json!({ labels::INSTANCE: "etcd-cluster", labels::COMPONENT_NAME: "etcd" });
    serde_json::from_value(json!({
        "metadata": { "name": "etcd-cluster-etcd-backup-policy", "namespace": "demo" },
        "spec": { "target": { "podSelector": { "matchLabels": labelled } }, "backupMethods": [{ "name": "datafile" }, { "name": "archive" }],
            "rateLimit": "10Mi" } }))
    .expect("a policy")
}

fn held() -> Backup {
    let mut backup = backup();
    backup.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    backup
}

fn pod_spec() -> PodSpec {
    serde_json::from_value(
        json!({ "containers": [{ "name": "etcd", "image": "etcd:v3.6.16" }],
        "tolerations": [{ "key": "db", "operator": "Exists" }] }),
    )
    .expect("a pod spec")
}

fn seen() -> Seen {
    Seen {
        policy: Some(policy()),
        repo: Some(Ok(repo())),
        members: vec![
            member("c-0", 1, 1, 100),
            member("c-1", 2, 1, 100),
            member("c-2", 3, 1, 99),
        ],
        cluster: Some(ClusterSeen {
            uid: "cu".into(),
            pod: pod_spec(),
            tls: None,
            own_ca: false,
            domain: "h.demo.svc.cluster.local".into(),
            pods: ["c-0", "c-1", "c-2"].map(str::to_owned).to_vec(),
        }),
        ..Seen::default()
    }
}

/// With these other Backups.
fn holding(others: Vec<Backup>) -> Seen {
    Seen {
        others: others.into(),
        ..seen()
    }
}

fn at(seconds: i64) -> Time {
    Time(Timestamp::from_second(1_767_225_600 + seconds).expect("in range"))
}

fn decided(backup: &Backup, seen: &Seen, now: i64) -> Decision {
    decide(
        backup,
        seen,
        &Settings {
            tool: "etcd-backup:1".into(),
        },
        &at(now),
    )
}

fn begun() -> Backup {
    let mut backup = held();
    backup.status = Some(decided(&backup, &seen(), 1).status);
    backup
}

fn running(state: JobState, report: Option<BackupReport>) -> Seen {
    Seen {
        job: Some(JobSeen {
            state,
            report,
            stuck: None,
            waits: None,
        }),
        ..seen()
    }
}

fn summary() -> BackupSummary {
    BackupSummary {
        bytes: 4096,
        revision: 77,
        sha256: "ab".into(),
        hash_kv: "cd".into(),
        etcd_version: "3.6.16".into(),
        authentication: true,
        verified: true,
        reason: None,
    }
}

#[test]
fn a_backup_is_held_then_begun_on_a_follower_then_followed() {
    assert_eq!(decided(&backup(), &seen(), 0).act, Act::Hold);
    let decision = decided(&held(), &seen(), 1);
    let Act::Begin(parts) = &decision.act else {
        panic!("{decision:?}");
    };
    let (frame, save) = parts.as_ref();
    assert_eq!(
        frame.path,
        "all/demo/etcd-cluster-cu/etcd/etcd-cluster-backup"
    );
    assert_eq!(save.member, "http://c-1.h.demo.svc.cluster.local:2379");
    assert_eq!(save.rate, Some(10 << 20));
    assert_eq!(
        decision.status.job.as_deref(),
        Some("backup-etcd-cluster-backup-12345678")
    );
    assert_eq!(
        decision.status.target.as_ref().map(|t| t.name.as_str()),
        Some("c-1")
    );
    let mut backup = begun();
    let running = decided(&backup, &running(JobState::Running, None), 3);
    assert_eq!(
        (running.status.phase, &running.act),
        (Some(BackupPhase::Running), &Act::Record)
    );
    backup.status = Some(running.status);
    let lost = decided(&backup, &seen(), 4);
    assert_eq!(lost.status.phase, Some(BackupPhase::Failed));
    assert!(
        lost.status
            .failure_reason
            .is_some_and(|why| why.contains("Job was deleted"))
    );
}

#[test]
fn a_status_without_its_job_makes_the_job_again() {
    let again = decided(&begun(), &seen(), 2);
    assert!(matches!(again.act, Act::Begin(_)), "{again:?}");
    // The API server refuses the Job: the others of the Cluster do not wait for ever.
    let mut backup = begun();
    backup.status = Some(again.status);
    let before = decided(&backup, &seen(), 3601);
    assert!(matches!(before.act, Act::Begin(_)), "{before:?}");
    backup.status = Some(before.status);
    let refused = decided(&backup, &seen(), 3602).status;
    assert_eq!(refused.phase, Some(BackupPhase::Failed));
    assert!(
        refused
            .failure_reason
            .is_some_and(|why| why.contains("could not be created"))
    );
}

#[test]
fn what_the_job_says_becomes_the_status() {
    let mut backup = begun();
    backup.spec.retention_period = Some("7d".into());
    let done = decided(
        &backup,
        &running(JobState::Succeeded, Some(BackupReport::of(summary()))),
        66,
    );
    let status = &done.status;
    assert_eq!(status.phase, Some(BackupPhase::Completed));
    assert_eq!((status.revision, status.verified), (Some(77), Some(true)));
    assert_eq!(status.authentication, Some(true));
    assert_eq!(status.total_size.as_deref(), Some("4096"));
    assert_eq!(status.duration.as_deref(), Some("1m5s"));
    assert_eq!(status.expiration, Some(at(66 + 7 * 86400)));
    backup.status = Some(done.status);
    assert_eq!(decided(&backup, &seen(), 67).act, Act::Record);
    assert_eq!(decided(&backup, &seen(), 66 + 7 * 86400).act, Act::Expire);

    let unproven = BackupSummary {
        verified: false,
        reason: Some("compacted".into()),
        ..summary()
    };
    let done = decided(
        &begun(),
        &running(JobState::Succeeded, Some(BackupReport::of(unproven))),
        9,
    );
    assert_eq!(
        (done.status.verified, done.status.failure_reason),
        (Some(false), Some("compacted".into()))
    );

    let torn = running(
        JobState::Failed("BackoffLimitExceeded".into()),
        Some(BackupReport::failed("torn after 5")),
    );
    let failed = decided(&begun(), &torn, 9).status;
    assert_eq!(
        (failed.phase, failed.failure_reason),
        (Some(BackupPhase::Failed), Some("torn after 5".into()))
    );
    // A schedule whose backups fail does not make objects for ever.
    backup.status = begun().status;
    let failed = decided(&backup, &torn, 9).status;
    assert_eq!(failed.expiration, Some(at(9 + 7 * 86400)));
    backup.status = Some(failed);
    assert_eq!(decided(&backup, &seen(), 9 + 7 * 86400).act, Act::Expire);
}

#[test]
fn a_period_that_is_changed_after_the_end_counts_from_the_end() {
    const DAY: i64 = 86400;
    let mut backup = begun();
    backup.spec.retention_period = Some("7d".into());
    let report = Some(BackupReport::of(summary()));
    let done = decided(&backup, &running(JobState::Succeeded, report), 66).status;
    let failed = decided(&backup, &running(JobState::Failed("x".into()), None), 66).status;
    for ended in [done, failed] {
        backup.status = Some(ended);
        let mut told = |period: Option<&str>, now: i64| {
            backup.spec.retention_period = period.map(str::to_owned);
            let decision = decided(&backup, &seen(), now);
            (decision.act, decision.status.expiration)
        };
        let (week, month) = (66 + 7 * DAY, 66 + 30 * DAY);
        assert_eq!(told(Some("1m"), week), (Act::Record, Some(at(month))));
        assert_eq!(told(Some("1m"), month), (Act::Expire, Some(at(month))));
        assert_eq!(told(None, month), (Act::Record, None));
        let day = 66 + DAY;
        assert_eq!(told(Some("1d"), day), (Act::Expire, Some(at(day))));
        // As the API server refuses it.
        assert_eq!(told(Some("0d"), day), (Act::Record, Some(at(week))));
    }
}

#[test]
fn how_far_it_is_and_how_long_it_takes_is_told_until_it_is_done() {
    let mut backup = begun();
    let mut working = running(JobState::Running, None);
    working.progress = Some(BackupProgress {
        stage: BackupStage::Writing,
        written: 1024,
        total: Some(u64::MAX),
    });
    let decision = decided(&backup, &working, 31);
    let told = decision.status.progress.expect("progress");
    assert_eq!(
        (told.written_bytes, told.total_bytes),
        (1024, Some(i64::MAX))
    );
    assert_eq!(decision.status.duration.as_deref(), Some("30s"));
    assert!(decision.again.is_some_and(|again| again <= 5));
    backup.status = Some(decision.status);
    // A pod that does not answer takes nothing back.
    let silent = decided(&backup, &running(JobState::Running, None), 32);
    assert_eq!(silent.status.progress, Some(told));
    let failed = running(JobState::Failed("x".into()), None);
    assert_eq!(decided(&backup, &failed, 33).status.progress, Some(told));
    let report = Some(BackupReport::of(summary()));
    let done = decided(&backup, &running(JobState::Succeeded, report), 41).status;
    assert_eq!(
        (done.progress, done.duration.as_deref()),
        (None, Some("40s"))
    );
}

#[test]
fn one_backup_of_a_cluster_is_made_at_a_time() {
    let other = |name: &str, made: i64, job: Option<&str>| {
        let mut other = held();
        other.metadata.name = Some(name.into());
        other.metadata.uid = Some(name.into());
        other.metadata.creation_timestamp = Some(at(made));
        other.metadata.labels =
            Some([(labels::INSTANCE.to_owned(), "etcd-cluster".to_owned())].into());
        other.status = job.map(|job| {
            serde_json::from_value(json!({ "phase": "Running", "job": job })).expect("status")
        });
        other
    };
    let act = |others: Vec<Backup>| decided(&held(), &holding(others), 1).act;
    assert_eq!(
        act(vec![other("later", 50, Some("j"))]),
        Act::Record,
        "one that has begun is first"
    );
    assert_eq!(act(vec![other("older", -50, None)]), Act::Record);
    assert!(matches!(
        act(vec![other("younger", 50, None)]),
        Act::Begin(_)
    ));
    let mut ended = other("older", -50, Some("j"));
    ended.status.as_mut().expect("status").phase = Some(BackupPhase::Completed);
    assert!(matches!(act(vec![ended]), Act::Begin(_)));
    let mut foreign = other("older", -50, Some("j"));
    foreign.metadata.labels = None;
    assert!(
        matches!(act(vec![foreign]), Act::Begin(_)),
        "of another Cluster"
    );
    let waits = decided(&held(), &holding(vec![other("older", -50, None)]), 1).status;
    assert!(
        waits
            .failure_reason
            .is_some_and(|why| why.contains("\"older\""))
    );
}

#[test]
fn what_cannot_be_says_so_and_what_may_come_is_waited_for() {
    let told = |seen: Seen, now: i64| {
        let status = decided(&held(), &seen, now).status;
        (status.phase, status.failure_reason.unwrap_or_default())
    };
    let none = Seen {
        policy: None,
        ..seen()
    };
    assert_eq!(told(none.clone(), 5).0, Some(BackupPhase::New));
    let (phase, why) = told(none, 100);
    assert!(
        phase == Some(BackupPhase::Failed) && why.contains("etcd-cluster-etcd-backup-policy"),
        "{why}"
    );
    let (phase, why) = told(
        Seen {
            repo: Some(Err("BackupRepo \"x\" is not there".into())),
            ..seen()
        },
        1,
    );
    assert!(
        phase == Some(BackupPhase::Failed) && why.contains("BackupRepo"),
        "{why}"
    );
    let mut bad = repo();
    bad.spec.config.clear();
    let (phase, why) = told(
        Seen {
            repo: Some(Ok(bad)),
            ..seen()
        },
        1,
    );
    assert!(
        phase == Some(BackupPhase::Failed) && why.contains("spec.config.bucket"),
        "{why}"
    );
    let unfit = Seen {
        members: Vec::new(),
        ..seen()
    };
    assert_eq!(told(unfit, 100).0, Some(BackupPhase::New));
    let mut slow = policy();
    slow.spec.rate_limit = Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity(
        "0".into(),
    ));
    assert!(
        told(
            Seen {
                policy: Some(slow),
                ..seen()
            },
            1
        )
        .1
        .contains("spec.rateLimit")
    );
}

#[test]
fn deletion_ends_the_job_then_the_data_then_the_object() {
    let mut leaving = begun();
    leaving.metadata.deletion_timestamp = Some(at(10));
    let cancel = decided(&leaving, &running(JobState::Running, None), 10);
    assert_eq!(
        (cancel.status.phase, &cancel.act),
        (Some(BackupPhase::Deleting), &Act::Cancel)
    );
    let told = cancel.status.failure_reason.as_deref().unwrap_or_default();
    assert!(told.contains("waits until its pod has ended"), "{told}");
    let erase = decided(&leaving, &seen(), 11);
    let Act::Erase(frame) = &erase.act else {
        panic!("{erase:?}");
    };
    assert_eq!(
        frame.path,
        "all/demo/etcd-cluster-cu/etcd/etcd-cluster-backup"
    );
    let eraser = |state| Seen {
        eraser: Some(JobSeen {
            state,
            report: None,
            stuck: None,
            waits: None,
        }),
        ..seen()
    };
    assert_eq!(
        decided(&leaving, &eraser(JobState::Running), 12).act,
        Act::Record
    );
    assert_eq!(
        decided(&leaving, &eraser(JobState::Succeeded), 13).act,
        Act::Release
    );
    let stays = decided(&leaving, &eraser(JobState::Failed("no".into())), 13);
    assert!(
        stays.act == Act::Record
            && stays
                .status
                .failure_reason
                .is_some_and(|why| why.contains("Retain"))
    );
    let gone = decided(
        &leaving,
        &Seen {
            repo: Some(Err("BackupRepo is not there".into())),
            ..seen()
        },
        13,
    );
    assert!(
        gone.act == Act::Record
            && gone
                .status
                .failure_reason
                .is_some_and(|why| why.contains("Retain"))
    );
    leaving.spec.deletion_policy = DeletionPolicy::Retain;
    assert_eq!(decided(&leaving, &seen(), 14).act, Act::Release);
    let mut never = held();
    never.metadata.deletion_timestamp = Some(at(10));
    assert_eq!(
        decided(&never, &seen(), 14).act,
        Act::Release,
        "nothing was written"
    );
}

#[test]
fn the_examples_are_read_with_nothing_left_over() {
    assert_eq!(repo().spec.path_prefix.as_deref(), Some("/all"));
    assert_eq!(backup().spec.deletion_policy, DeletionPolicy::Delete);
    assert_eq!(backup().name_any(), "etcd-cluster-backup");
}

#[test]
fn the_newest_verified_backup_stays_where_the_policy_says_so() {
    let done = |name: &str, at_: i64| {
        let mut backup = held();
        backup.spec.retention_period = Some("30s".into());
        backup.metadata.uid = Some(name.into());
        backup.metadata.labels = Some(
            [
                (labels::INSTANCE, "etcd-cluster"),
                (labels::COMPONENT_NAME, "etcd"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        );
        let status =
            json!({ "phase": "Completed", "verified": true, "completionTimestamp": at(at_) });
        backup.status = serde_json::from_value(status).expect("a status");
        backup
    };
    let mut retaining = seen();
    let policy = retaining.policy.as_mut().expect("a policy");
    policy.spec.retention_policy =
        serde_json::from_value(json!("retainLatestBackup")).expect("one");
    let (old, new) = (done("old", 10), done("new", 20));
    retaining.others = vec![old.clone(), new.clone()].into();
    assert_eq!(decided(&new, &retaining, 60).act, Act::Record);
    assert_eq!(decided(&old, &retaining, 60).act, Act::Expire);
    assert_eq!(
        decided(&new, &seen(), 60).act,
        Act::Expire,
        "without that it goes"
    );
    // A Cluster that was made again under the same name is another one.
    let of = |mut backup: Backup, cluster: u32| {
        let path = format!("all/demo/etcd-cluster-00000000-1111-2222-3333-{cluster:012}/etcd/b");
        backup.status.as_mut().expect("a status").path = Some(path);
        backup
    };
    for (next, act) in [(7, Act::Expire), (8, Act::Record)] {
        let former = of(old.clone(), 7);
        let mut retaining = retaining.clone();
        retaining.others = vec![former.clone(), of(new.clone(), next)].into();
        assert_eq!(decided(&former, &retaining, 60).act, act, "{next}");
    }
    // The policy goes with the Cluster.
    retaining.policy = None;
    assert_eq!(decided(&new, &retaining, 60).act, Act::Expire);
    let recorded = |mut backup: Backup| {
        let status = backup.status.as_mut().expect("a status");
        status.retention_policy = Some(RetentionPolicy::RetainLatestBackup);
        backup
    };
    assert_eq!(decided(&recorded(new), &retaining, 60).act, Act::Record);
    assert_eq!(decided(&recorded(old), &retaining, 60).act, Act::Expire);
}
