//! Jobs as they are made and read, and what is written beside them.

use etcd_operator_api::InstanceSet;
use etcd_operator_api::backup::BackupStatus;
use etcd_operator_api::names::ComponentName;
use etcd_operator_api::restore::ALLOW_UNVERIFIED;

use super::*;
use crate::backup::observe::certificate;
use crate::backup::{Context, credential, plan, proven, reconcile};

fn made_job() -> Job {
    let decision = decided(&held(), &seen(), 1);
    let Act::Begin(parts) = decision.act else {
        panic!("no job");
    };
    job::save(&parts.0, "j", Some("copy"), &parts.1)
}

#[test]
fn a_member_with_tls_is_spoken_to_with_the_clusters_certificate() {
    let mut seen = seen();
    seen.cluster.as_mut().expect("a cluster").tls = Some("c-client".into());
    let Act::Begin(parts) = decided(&held(), &seen, 1).act else {
        panic!("no job");
    };
    let job = job::save(&parts.0, "j", Some("copy"), &parts.1);
    let pod = job.spec.and_then(|spec| spec.template.spec).expect("a pod");
    let arguments = pod.containers[0].args.as_ref().expect("arguments");
    for wanted in [
        "--member=https://c-1.h.demo.svc.cluster.local:2379",
        "--tls=/etc/etcd",
    ] {
        assert!(
            arguments.iter().any(|argument| argument == wanted),
            "{arguments:?}"
        );
    }
    let mut volumes = pod.volumes.into_iter().flatten();
    let secret = volumes
        .find(|volume| volume.name == "etcd")
        .and_then(|volume| volume.secret);
    assert_eq!(
        secret.and_then(|secret| secret.secret_name).as_deref(),
        Some("c-client")
    );
    let mut mounts = pod.containers[0].volume_mounts.iter().flatten();
    let mounted = mounts.find(|mount| mount.name == "etcd").expect("mounted");
    assert_eq!(
        (mounted.mount_path.as_str(), mounted.read_only),
        ("/etc/etcd", Some(true))
    );
}

#[test]
fn where_etcd_has_users_a_job_shows_a_certificate_of_its_own() {
    let name = ComponentName::existing("c-etcd");
    let shown = |annotations: Value| {
        let set = json!({ "metadata": { "name": "c-etcd", "annotations": annotations },
            "spec": { "replicas": 1, "selector": {}, "template": {} } });
        let set: InstanceSet = serde_json::from_value(set).expect("an InstanceSet");
        certificate(&set, &name)
    };
    let (issuer, users) = (labels::TLS_ISSUER, labels::ACCOUNTS);
    assert_eq!(shown(json!({})), None);
    for (annotations, secret) in [
        (json!({ issuer: "KubeBlocks" }), "c-etcd-client"),
        (
            json!({ issuer: "KubeBlocks", users: "on" }),
            "c-etcd-backup",
        ),
        (
            json!({ issuer: "UserProvided", users: "on" }),
            "c-etcd-tls-certs",
        ),
    ] {
        assert_eq!(shown(annotations).as_deref(), Some(secret));
    }
}

#[test]
fn a_job_has_no_rights_and_bounds_for_everything() {
    let job = made_job();
    let spec = job.spec.expect("spec");
    assert_eq!(
        (spec.active_deadline_seconds, spec.backoff_limit),
        (Some(job::DEADLINE), Some(2))
    );
    let pod = spec.template.spec.expect("pod");
    assert_eq!(
        (
            pod.automount_service_account_token,
            pod.service_account_name
        ),
        (Some(false), None)
    );
    assert_eq!(
        pod.security_context
            .as_ref()
            .and_then(|c| c.run_as_non_root),
        Some(true)
    );
    assert_eq!(pod.tolerations.as_ref().map(Vec::len), Some(1));
    for container in pod.init_containers.iter().flatten().chain(&pod.containers) {
        let context = container.security_context.as_ref().expect("a context");
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.allow_privilege_escalation, Some(false));
        let limits = container
            .resources
            .as_ref()
            .and_then(|r| r.limits.as_ref())
            .expect("limits");
        assert!(limits.contains_key("memory") && limits.contains_key("cpu"));
    }
    for volume in pod.volumes.iter().flatten() {
        assert!(
            volume
                .empty_dir
                .as_ref()
                .is_none_or(|dir| dir.size_limit.is_some()),
            "{volume:?}"
        );
    }
    let work = &pod.containers[0];
    assert_eq!(work.image.as_deref(), Some("etcd:v3.6.16"));
    let arguments = work.args.as_ref().expect("arguments");
    for wanted in [
        "save",
        "--bucket=backups",
        "--rate=10485760",
        "--path=all/demo/etcd-cluster-cu/etcd/etcd-cluster-backup",
    ] {
        assert!(
            arguments.iter().any(|argument| argument == wanted),
            "{arguments:?}"
        );
    }
    let labels = spec
        .template
        .metadata
        .and_then(|meta| meta.labels)
        .expect("labels");
    assert_eq!(
        labels.keys().collect::<Vec<_>>(),
        [job::BACKUP_UID],
        "no service and no budget selects the pod"
    );
}

#[test]
fn a_size_that_is_made_up_makes_a_job_and_ends_no_operator() {
    let mut lying = seen();
    for member in &mut lying.members {
        member.status.as_mut().expect("a status").db_size_bytes = u64::MAX;
    }
    let Act::Begin(parts) = decided(&held(), &lying, 1).act else {
        panic!("no job");
    };
    let (frame, save) = *parts;
    let filled = job::Fill {
        claim: "data-c-0".into(),
        member: "c-0".into(),
        peer_url: "http://c-0.h:2380".into(),
        cluster_uid: "cu".into(),
        sha256: "ab".into(),
        bytes: u64::MAX,
        admin: None,
        archive: None,
    };
    for job in [
        job::save(&frame, "j", Some("copy"), &save),
        job::fill(&frame, "j", Some("copy"), &filled),
    ] {
        let pod = job.spec.and_then(|spec| spec.template.spec).expect("a pod");
        let resources = pod.containers[0].resources.as_ref();
        let limits = resources.and_then(|resources| resources.limits.as_ref());
        let memory = limits.and_then(|limits| limits.get("memory"));
        let most = u64::MAX.to_string();
        assert_eq!(memory.map(|memory| &memory.0), Some(&most));
    }
}

#[test]
fn names_of_jobs_hold_63_characters_whatever_the_backup_is_called() {
    for name in [
        "a".repeat(253),
        format!("{}.b", "a".repeat(39)),
        format!("{}--", "x".repeat(38)),
    ] {
        let made = job::name("backup", &name, "12345678-aaaa");
        assert!(made.len() <= 63 && !made.contains('.'), "{made}");
        assert!(made.ends_with("-12345678"), "{made}");
    }
}

#[test]
fn a_job_is_read_by_its_conditions_and_its_own_pods_messages() {
    let job: Job = serde_json::from_value(json!({ "metadata": { "name": "j", "uid": "ju" }, "status": { "conditions": [
        { "type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long" }] } }))
    .expect("a job");
    assert_eq!(
        job_seen(&job, &[], at(0).0).state,
        JobState::Failed("its Job has failed: DeadlineExceeded: too long".into())
    );
    let pod = |name: &str, code: i32, message: &str, at: &str| -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": name }, "status": { "containerStatuses": [
            { "name": "backup", "image": "", "imageID": "", "ready": false, "restartCount": 0,
              "state": { "terminated": { "exitCode": code, "message": message, "finishedAt": at } } }] } }))
        .expect("a pod")
    };
    let report = |text: &str| serde_json::to_string(&BackupReport::failed(text)).expect("json");
    let pods = [
        pod("b", 1, &report("second"), "2026-01-01T00:00:09Z"),
        pod("a", 1, &report("first"), "2026-01-01T00:00:05Z"),
    ];
    let seen = job_seen(&job, &pods, at(0).0);
    assert_eq!(seen.report, Some(BackupReport::failed("second")));
    let good = serde_json::to_string(&BackupReport::of(summary())).expect("json");
    let pods = [
        pod("a", 0, &good, "2026-01-01T00:00:01Z"),
        pod("b", 1, &report("x"), "2026-01-01T00:00:09Z"),
    ];
    assert!(
        job_seen(&job, &pods, at(0).0)
            .report
            .is_some_and(|report| report.backup.is_some()),
        "success counts"
    );
    let stuck: Pod = serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": {
        "initContainerStatuses": [{ "name": "install", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } }] } }))
    .expect("a pod");
    let running: Job =
        serde_json::from_value(json!({ "metadata": { "name": "j" } })).expect("a job");
    let seen = job_seen(&running, &[stuck], at(0).0);
    assert!(
        seen.stuck
            .is_some_and(|why| why.contains("ImagePullBackOff"))
    );
}

#[test]
fn a_pod_that_does_not_start_is_told_of_after_two_minutes() {
    let job: Job = serde_json::from_value(json!({ "metadata": { "name": "j" } })).expect("a job");
    let pod = |phase: &str, containers: Value| -> Pod {
        let mut status = json!({ "phase": phase, "conditions": [
            { "type": "PodScheduled", "status": "True", "lastTransitionTime": at(0) }] });
        for (kind, state) in containers.as_object().expect("containers") {
            status[kind] = json!([{ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": state }]);
        }
        serde_json::from_value(
            json!({ "metadata": { "name": "p" }, "spec": { "nodeName": "n", "containers": [] },
            "status": status }),
        )
        .expect("a pod")
    };
    let told = |pod: Pod, seconds: i64| job_seen(&job, &[pod], at(seconds).0).stuck;
    let waits = |reason: &str| json!({ "waiting": { "reason": reason } });
    // Kubelet says the second of a pod that has something to do first, and nothing at all while it is unavailable.
    let creating = || {
        pod(
            "Pending",
            json!({ "containerStatuses": waits("ContainerCreating") }),
        )
    };
    let initializing = || {
        let waiting = waits("PodInitializing");
        pod(
            "Pending",
            json!({ "initContainerStatuses": waiting, "containerStatuses": waiting }),
        )
    };
    for late in [creating(), initializing(), pod("Pending", json!({}))] {
        assert_eq!(told(late.clone(), 119), None);
        let why = told(late, 300).expect("a reason");
        assert!(
            why.contains("node n") && why.contains("describe pod p"),
            "{why}"
        );
        assert!(
            !why.contains("300"),
            "a status is not written again and again: {why}"
        );
    }
    let installs = json!({ "initContainerStatuses": { "running": {} }, "containerStatuses": waits("PodInitializing") });
    assert_eq!(told(pod("Pending", installs), 300), None, "it has begun");
    assert_eq!(told(pod("Failed", json!({})), 300), None, "it was evicted");
}

/// An API server in which the Backup of KubeBlocks' example can begin, but for its members.
pub(super) fn answers(line: &str) -> (u16, Value) {
    let path = line.split('?').next().unwrap_or_default();
    let set = json!({ "metadata": { "name": "etcd-cluster-etcd", "annotations": { labels::CLUSTER_UID: "cu" } },
        "spec": { "replicas": 3, "selector": {}, "template": { "spec": pod_spec() } } });
    let typed = |kind: &str, mut value: Value| {
        value["kind"] = kind.into();
        value["apiVersion"] = "dataprotection.kubeblocks.io/v1alpha1".into();
        (200, value)
    };
    if line.starts_with("GET") {
        return match path.rsplit('/').next().unwrap_or_default() {
            "etcd-cluster-backup" => typed("Backup", serde_json::to_value(held()).expect("json")),
            "etcd-cluster-etcd-backup-policy" => typed(
                "BackupPolicy",
                serde_json::to_value(policy()).expect("json"),
            ),
            "backuprepos" => (200, json!({ "metadata": {}, "items": [repo()] })),
            "etcd-cluster-etcd" => (200, set),
            "s3-credential-for-backuprepo" => (
                200,
                json!({ "metadata": { "name": "s" }, "data": {
                "accessKeyId": "YQ==", "secretAccessKey": "Yg==", "other": "Yw==" } }),
            ),
            "pods" | "backups" | "instancesets" => (200, json!({ "metadata": {}, "items": [] })),
            _ => failure(404, "NotFound", "none"),
        };
    }
    if path.contains("/backups/") {
        return typed("Backup", serde_json::to_value(held()).expect("json"));
    }
    (201, json!({ "metadata": { "name": "made" } }))
}

pub(super) fn context(frame: crate::controller::Context) -> Context {
    Context {
        frame: Arc::new(frame),
        store: Arc::new(MemberStore::default()),
        image: "etcd-backup:1".into(),
        others: Arc::default(),
        restores: Arc::default(),
    }
}

#[tokio::test]
async fn without_a_fit_member_only_the_status_is_written() {
    let (frame, asked) = server(answers);
    let mut fresh = held();
    fresh.metadata.creation_timestamp = Some(Time(Timestamp::now()));
    reconcile::round(&fresh, &context(frame))
        .await
        .expect("a round");
    let asked = asked.lock().expect("no panic");
    let written: Vec<_> = asked
        .iter()
        .filter(|(line, _)| !line.starts_with("GET"))
        .collect();
    assert_eq!(written.len(), 1, "{written:?}");
    assert!(
        written[0].0.contains("/backups/etcd-cluster-backup/status"),
        "{}",
        written[0].0
    );
    assert_eq!(written[0].1["status"]["phase"], "New");
}

#[tokio::test]
async fn what_has_the_name_of_its_own_and_is_not_is_neither_believed_nor_deleted() {
    for (method, path) in [("datafile", "/jobs/"), ("archive", "/deployments/")] {
        for owner in ["12345678-aaaa", "another"] {
            let (frame, asked) = server(move |line| {
                if line.contains(path) {
                    return (
                        200,
                        json!({ "metadata": { "name": "x", "namespace": "demo", "uid": "xu", "ownerReferences": [
                            { "apiVersion": "v1", "kind": "Backup", "name": "b", "uid": owner, "controller": true }] } }),
                    );
                }
                answers(line)
            });
            let mut leaving = held();
            leaving.spec.backup_method = method.into();
            leaving.metadata.deletion_timestamp = Some(at(50));
            let round = reconcile::round(&leaving, &context(frame)).await;
            round.expect("a round");
            let asked = asked.lock().expect("no panic");
            let mut deleted = asked.iter().filter(|(line, _)| line.starts_with("DELETE"));
            let gone = deleted
                .next()
                .map(|(_, body)| &body["preconditions"]["uid"]);
            let own = (owner != "another").then(|| json!("xu"));
            assert_eq!(gone, own.as_ref(), "{method} of {owner}: {asked:?}");
        }
    }
}

#[tokio::test]
async fn earlier_backups_whose_data_the_next_ones_job_does_not_find_say_so() {
    let named = |name: &str, path: &str, verified: bool| {
        let mut other = held();
        other.metadata.name = Some(name.into());
        other.metadata.uid = Some(name.into());
        let status = json!({ "phase": "Completed", "verified": verified, "path": format!("{path}/{name}"),
            "backupRepoName": "s3-repo", "completionTimestamp": "2026-01-01T00:00:00Z" });
        other.status = serde_json::from_value(status).expect("a status");
        other
    };
    let Act::Begin(parts) = decided(&held(), &seen(), 1).act else {
        panic!("no job");
    };
    let (folder, _) = parts.0.path.rsplit_once('/').expect("a folder");
    let others = vec![
        named("a", folder, true),
        named("b", folder, true),
        named("unproven", folder, false),
        named("elsewhere", "all/demo", true),
    ];
    let Act::Begin(parts) = decided(&held(), &holding(others.clone()), 1).act else {
        panic!("no job");
    };
    assert_eq!(parts.1.earlier, ["b", "a"]);
    let pod = job::save(&parts.0, "j", Some("copy"), &parts.1).spec;
    let pod = pod.and_then(|spec| spec.template.spec).expect("a pod");
    let arguments = pod.containers[0].args.as_ref().expect("arguments");
    assert!(
        arguments.contains(&"--earlier=a".to_owned()),
        "{arguments:?}"
    );
    let mut begun = held();
    begun.status = Some(begun_status(&parts.0.path));
    let lost = ["b", "unproven", "elsewhere"].map(str::to_owned);
    let report = BackupReport::of(summary()).without(lost.into());
    let seen = Seen {
        others: others.into(),
        ..running(JobState::Succeeded, Some(report))
    };
    let done = decided(&begun, &seen, 9).status;
    let found = proven::lost(&begun, &done, &seen);
    let (frame, asked) = server(answers);
    let context = context(frame);
    let told = reconcile::tell_lost(&context, &begun, &found).await;
    told.expect("it is told");
    {
        let asked = asked.lock().expect("no panic");
        let written = asked.iter().filter(|(line, _)| line.starts_with("PATCH"));
        let written: Vec<_> = written.collect();
        let [(line, body)] = written.as_slice() else {
            panic!("{written:?}");
        };
        assert!(line.contains("/backups/b/status"), "{line}");
        assert_eq!(body["status"]["verified"], false);
        let why = body["status"]["failureReason"].to_string();
        assert!(
            why.contains("s3-repo") && why.contains("etcd-cluster-backup"),
            "{why}"
        );
        // Only the operator may write a status.
        assert!(why.contains(ALLOW_UNVERIFIED), "{why}");
    }
    // Once: not in each round after its end.
    begun.status = Some(done.clone());
    assert!(proven::lost(&begun, &done, &seen).is_empty());
}

/// Of one whose Job runs, in this folder.
fn begun_status(path: &str) -> BackupStatus {
    let status =
        json!({ "phase": "Running", "job": "j", "path": path, "backupRepoName": "s3-repo" });
    serde_json::from_value(status).expect("a status")
}

#[tokio::test]
async fn one_that_has_expired_by_the_operators_clock_alone_stays() {
    let deleted = |date: Option<&'static str>| async move {
        let (frame, asked) = server(move |line| match line.starts_with("GET /version") {
            true => (200, json!({ "date": date })),
            false => answers(line),
        });
        let mut old = held();
        old.spec.retention_period = Some("7d".into());
        let status = json!({ "phase": "Completed", "verified": true, "completionTimestamp": "2020-01-01T00:00:00Z" });
        old.status = serde_json::from_value(status).expect("a status");
        let round = reconcile::round(&old, &context(frame)).await;
        round.expect("a round");
        let asked = asked.lock().expect("no panic");
        asked.iter().any(|(line, _)| line.starts_with("DELETE"))
    };
    assert!(!deleted(Some("Tue, 07 Jan 2020 00:00:00 GMT")).await);
    assert!(deleted(Some("Thu, 09 Jan 2020 00:00:00 GMT")).await);
    assert!(deleted(None).await, "no more is known");
}

#[test]
fn one_without_its_credential_holds_the_others_back_for_an_hour_at_most() {
    let labelled = Some([(labels::INSTANCE.to_owned(), "etcd-cluster".to_owned())].into());
    let mut first = held();
    first.metadata.labels = labelled;
    let mut next = held();
    next.metadata.name = Some("next".into());
    next.metadata.uid = Some("next".into());
    next.metadata.creation_timestamp = Some(at(5));
    let why = || "Secret kb-system/s3 is not there: create it".to_owned();
    let begins = |first: &Backup| {
        let others = vec![first.clone()];
        let decision = decided(&next, &holding(others), 3700);
        matches!(decision.act, Act::Begin(_))
    };
    // Its turn came later than it would have been waited for.
    for seconds in [4000, 7600] {
        first.status = Some(plan::blocked(&first, why(), &at(seconds)));
        let status = first.status.clone().expect("a status");
        assert_eq!(status.phase, Some(BackupPhase::New));
        assert_eq!(status.failure_reason, Some(why()));
        assert!(!begins(&first));
    }
    first.status = Some(plan::blocked(&first, why(), &at(7601)));
    let status = first.status.clone().expect("a status");
    assert_eq!(status.phase, Some(BackupPhase::Failed));
    let told = status.failure_reason.expect("a reason");
    assert!(told.starts_with(&why()), "{told}");
    assert!(begins(&first));
    let patient = plan::blocked(&super::archives::archive(), why(), &at(100_000));
    assert_eq!(patient.phase, Some(BackupPhase::New));
}

#[tokio::test]
async fn a_credential_of_another_namespace_is_copied_with_its_three_keys_and_an_owner() {
    let (frame, asked) = server(answers);
    let decision = decided(&held(), &seen(), 1);
    let Act::Begin(parts) = decision.act else {
        panic!("no job");
    };
    let copy = credential::provide(&frame.client, &parts.0, "etcd-cluster-backup").await;
    let copy = copy.expect("a copy").expect("a name");
    let asked = asked.lock().expect("no panic");
    let (line, body) = asked
        .iter()
        .find(|(line, _)| line.starts_with("POST"))
        .expect("a Secret");
    assert!(line.contains("/namespaces/demo/secrets"), "{line}");
    assert_eq!(body["metadata"]["name"], copy.as_str());
    assert_eq!(body["metadata"]["ownerReferences"][0]["kind"], "Backup");
    assert_eq!(
        body["data"],
        json!({ "accessKeyId": "YQ==", "secretAccessKey": "Yg==" })
    );
}

#[test]
fn one_whose_data_cannot_be_deleted_holds_back_no_other() {
    let mut old = begun();
    old.metadata.name = Some("old".into());
    old.metadata.uid = Some("old".into());
    let label = (labels::INSTANCE.to_owned(), "etcd-cluster".to_owned());
    old.metadata.labels = Some([label].into());
    old.metadata.deletion_timestamp = Some(at(10));
    let next = |old: &Backup| {
        let others = vec![old.clone()];
        decided(
            &held(),
            &Seen {
                others: others.into(),
                ..seen()
            },
            20,
        )
        .act
    };
    old.status = Some(decided(&old, &running(JobState::Running, None), 10).status);
    assert_eq!(next(&old), Act::Record, "its Job still runs");
    let denied = Seen {
        eraser: Some(JobSeen {
            state: JobState::Failed("denied".into()),
            report: None,
            stuck: None,
            waits: None,
        }),
        ..seen()
    };
    let without = Seen {
        repo: Some(Err("BackupRepo is not there".into())),
        ..seen()
    };
    for case in [denied, without] {
        let kept = decided(&old, &case, 11);
        assert_eq!(kept.status.phase, Some(BackupPhase::Deleting));
        let mut left = old.clone();
        left.status = Some(kept.status);
        assert!(matches!(next(&left), Act::Begin(_)));
    }
}
