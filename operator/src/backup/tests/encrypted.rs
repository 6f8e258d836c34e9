//! Backups that are encrypted: where the pass phrase comes from, and that none is written in plain without it.

use super::archives::{archive, decided_of, full, keeper as running, kept, report, with};
use super::jobs::context;
use super::*;
use crate::backup::credential::pass_phrase;
use crate::backup::{keeper, proven, reconcile};

fn secret(name: &str) -> Value {
    json!({ "algorithm": "AES-256-GCM", "passPhraseSecretKeyRef": { "name": name, "key": "secretKey" } })
}

/// What is seen with a policy that encrypts.
fn encrypting(seen: Seen, name: &str, there: Result<(), String>) -> Seen {
    let mut seen = seen;
    let policy = seen.policy.as_mut().expect("a policy");
    policy.spec.encryption_config = serde_json::from_value(secret(name)).expect("a config");
    seen.pass_phrase = Some(there);
    seen
}

/// Arguments of the work, and the Secret and key of a volume.
fn parts(pod: &PodSpec, volume: &str) -> (String, Option<(String, String)>) {
    let arguments = pod.containers[0].args.clone().unwrap_or_default().join(" ");
    let mut volumes = pod.volumes.iter().flatten();
    let found = volumes.find(|found| found.name == volume);
    let secret = found.and_then(|volume| volume.secret.clone());
    let mounted = secret.and_then(|secret| {
        let item = secret.items?.into_iter().next()?;
        assert_eq!(
            (item.path.as_str(), secret.default_mode),
            ("passPhrase", Some(0o440))
        );
        Some((secret.secret_name?, item.key))
    });
    (arguments, mounted)
}

fn pod(job: Job) -> PodSpec {
    let spec = job.spec.expect("a spec");
    spec.template.spec.expect("a pod")
}

#[test]
fn a_backup_is_encrypted_as_its_policy_says_and_its_status_keeps_that() {
    let decision = decided(&held(), &encrypting(seen(), "mine", Ok(())), 5);
    let Act::Begin(begun) = &decision.act else {
        panic!("{decision:?}");
    };
    let recorded = serde_json::to_value(&decision.status.encryption_config).expect("json");
    assert_eq!(recorded, secret("mine"));
    let (arguments, mounted) = parts(
        &pod(job::save(&begun.0, "j", Some("c"), &begun.1)),
        "pass-phrase",
    );
    assert!(
        arguments.contains("--pass-phrase=/etc/pass-phrase/passPhrase"),
        "{arguments}"
    );
    assert_eq!(mounted, Some(("mine".into(), "secretKey".into())));
    let plain = decided(&held(), &seen(), 5);
    let Act::Begin(begun) = &plain.act else {
        panic!("{plain:?}");
    };
    let (arguments, mounted) = parts(
        &pod(job::save(&begun.0, "j", Some("c"), &begun.1)),
        "pass-phrase",
    );
    assert!(
        !arguments.contains("pass-phrase") && mounted.is_none(),
        "{arguments}"
    );
}

#[test]
fn without_its_secret_nothing_begins_and_what_runs_runs_on() {
    let missing = || Err("Secret demo/mine is not there".to_owned());
    let waits = decided(&held(), &encrypting(seen(), "mine", missing()), 5);
    assert_eq!(
        (waits.act, waits.status.phase),
        (Act::Record, Some(BackupPhase::New))
    );
    assert!(
        waits
            .status
            .failure_reason
            .expect("a reason")
            .contains("demo/mine")
    );
    let running = with(
        vec![full("f", 7)],
        Some(running(Some(report(20, 100, 300)))),
    );
    let archived = decided_of(&archive(), &encrypting(running, "mine", missing()), 100);
    assert_eq!(
        (archived.act, archived.status.phase),
        (Act::Record, Some(BackupPhase::Running))
    );
    let why = archived.status.failure_reason.expect("a reason");
    assert!(why.contains("demo/mine"), "{why}");
}

#[test]
fn an_archive_keeps_the_pass_phrase_that_it_began_with() {
    let others = || vec![full("f", 7)];
    let first = decided_of(
        &archive(),
        &encrypting(with(others(), None), "mine", Ok(())),
        1,
    );
    let mut backup = archive();
    backup.status = Some(first.status.clone());
    for seen in [
        with(others(), None),
        encrypting(with(others(), None), "other", Ok(())),
    ] {
        let later = decided_of(&backup, &seen, 50);
        let (frame, keep) = kept(&later);
        let deployment = keeper::keep(frame, Some("copy"), keep);
        let spec = deployment.spec.expect("a spec");
        let (arguments, mounted) = parts(&spec.template.spec.expect("a pod"), "pass-phrase");
        assert!(arguments.contains("--pass-phrase="), "{arguments}");
        assert_eq!(mounted, Some(("mine".into(), "secretKey".into())));
        assert_eq!(
            later.status.encryption_config,
            first.status.encryption_config
        );
    }
    let plain = decided_of(&archive(), &with(others(), None), 1);
    backup.status = Some(plain.status);
    let later = decided_of(
        &backup,
        &encrypting(with(others(), None), "mine", Ok(())),
        50,
    );
    assert_eq!(
        kept(&later).0.pass_phrase,
        None,
        "nothing of it was encrypted"
    );
}

#[tokio::test]
async fn an_earlier_backup_that_the_changed_pass_phrase_does_not_open_says_so() {
    let first = decided(&held(), &encrypting(seen(), "mine", Ok(())), 5);
    let mut begun = held();
    begun.status = Some(first.status);
    let path = begun.status.as_ref().and_then(|status| status.path.clone());
    let path = path
        .expect("a path")
        .replace("etcd-cluster-backup", "earlier");
    for of in ["mine", "others"] {
        let mut earlier = held();
        earlier.metadata.name = Some("earlier".into());
        earlier.metadata.uid = Some("eu".into());
        let status = json!({ "phase": "Completed", "verified": true, "path": path, "backupRepoName": "s3-repo",
            "completionTimestamp": "2026-01-01T00:00:00Z", "encryptionConfig": secret(of) });
        earlier.status = serde_json::from_value(status).expect("a status");
        let report = BackupReport::of(summary()).with_locked(Some("earlier".into()));
        let seen = Seen {
            others: vec![earlier.clone()].into(),
            ..super::running(JobState::Succeeded, Some(report))
        };
        let done = decided(&begun, &seen, 9).status;
        let locked = proven::locked(&begun, &done, &seen).expect("it is locked");
        let (frame, asked) = server(move |_| (200, json!(earlier)));
        let told = reconcile::tell_locked(&context(frame), &begun, &done, locked).await;
        told.expect("it is told");
        let asked = asked.lock().expect("no panic");
        let written = asked.iter().find(|(line, _)| line.starts_with("PATCH"));
        let Some((line, body)) = written else {
            assert_eq!(of, "others", "{asked:?}");
            continue;
        };
        assert_eq!(of, "mine", "another Secret's is another");
        assert!(line.contains("/backups/earlier/status"), "{line}");
        let told = &body["status"];
        assert_eq!(told.get("verified"), None);
        let why = told["failureReason"].to_string();
        assert!(
            why.contains("mine") && why.contains("etcd-cluster-backup"),
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_secret_without_the_key_is_named() {
    let (frame, _) = server(|line| match line.split('?').next().unwrap_or_default() {
        path if path.ends_with("/secrets/mine") => (
            200,
            json!({ "metadata": { "name": "mine" }, "data": { "secretKey": "YWJj", "empty": "" } }),
        ),
        _ => failure(404, "NotFound", "none"),
    });
    let asked = async |name: &str, key: &str| {
        let of = serde_json::from_value(json!({ "name": name, "key": key })).expect("a key");
        pass_phrase(&frame.client, "demo", &of).await
    };
    assert_eq!(asked("mine", "secretKey").await, Ok(()));
    for (name, key, told) in [
        ("other", "secretKey", "demo/other is not there"),
        ("mine", "else", "no key \"else\""),
        ("mine", "empty", "no key \"empty\""),
    ] {
        let why = asked(name, key).await.expect_err("refused");
        assert!(why.contains(told) && !why.contains("abc"), "{why}");
    }
}
