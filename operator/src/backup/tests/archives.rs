//! Archives: when one begins, what keeps it, and what its Backup says.

use etcd_operator_api::backup::BackupStatus;
use kbagent_protocol::ArchiveReport;

use super::*;
use crate::backup::continuous;
use crate::backup::keeper::{self, Keep};
use crate::backup::observe::{bounded, fallen};
use crate::backup::observed::KeeperSeen;
use crate::backup::part::REPOSITORY_CLAIM;

/// Where backups of the Cluster lie.
const PLACE: &str = "all/demo/etcd-cluster-cu/etcd";

pub(super) fn archive() -> Backup {
    let mut backup = held();
    backup.spec.backup_method = "archive".into();
    backup.spec.retention_period = Some("7d".into());
    backup.metadata.name = Some("pitr".into());
    backup.metadata.uid = Some("87654321-bbbb".into());
    backup
}

/// A full backup of the same Cluster, of this revision.
pub(super) fn full(name: &str, revision: i64) -> Backup {
    let mut full = backup();
    full.metadata.name = Some(name.into());
    full.metadata.uid = Some(name.into());
    full.metadata.labels = Some(
        [
            (labels::INSTANCE, "etcd-cluster"),
            (labels::COMPONENT_NAME, "etcd"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
    );
    let status = json!({ "phase": "Completed", "verified": true, "revision": revision, "backupRepoName": "s3-repo",
        "completionTimestamp": at(0), "path": format!("{PLACE}/{name}") });
    full.status = serde_json::from_value(status).expect("a status");
    full
}

/// An archive that has begun.
pub(super) fn begun() -> Backup {
    let mut archive = archive();
    archive.metadata.labels = full("f", 7).metadata.labels;
    archive.status = Some(decided_of(&archive, &with(vec![full("f", 7)], None), 1).status);
    archive
}

pub(super) fn with(others: Vec<Backup>, keeper: Option<KeeperSeen>) -> Seen {
    Seen {
        keeper,
        ..holding(others)
    }
}

pub(super) fn decided_of(backup: &Backup, seen: &Seen, now: i64) -> Decision {
    let settings = Settings {
        tool: "etcd-backup:1".into(),
    };
    continuous::decide(backup, seen, &settings, &at(now))
}

pub(super) fn kept(decision: &Decision) -> (&job::Frame, &Keep) {
    let Act::Keep(parts) = &decision.act else {
        panic!("nothing is kept: {decision:?}");
    };
    (&parts.0, &parts.1)
}

/// A Deployment as it was made, whose pod says this.
pub(super) fn keeper(report: Option<ArchiveReport>) -> KeeperSeen {
    let decision = decided_of(&archive(), &with(vec![full("f", 7)], None), 1);
    let (frame, keep) = kept(&decision);
    KeeperSeen {
        made_of: keep.made_of(frame),
        after: Some(7),
        members: keep.members.clone(),
        stuck: None,
        waits: None,
        report,
    }
}

pub(super) fn report(through: i64, until: i64, lag: i64) -> ArchiveReport {
    ArchiveReport {
        after: Some(7),
        since: Some(1_767_225_600_001),
        through,
        until: (1_767_225_600 + until) * 1000 + 999,
        lag,
        ..ArchiveReport::default()
    }
}

#[test]
fn an_archive_begins_after_the_newest_full_backup_that_is_verified() {
    let none = decided_of(&archive(), &with(Vec::new(), None), 1);
    assert_eq!(none.act, Act::Record);
    let text = none.status.failure_reason.expect("a reason");
    assert!(
        text.contains("no full backup") && text.contains("datafile"),
        "{text}"
    );
    let late = decided_of(&archive(), &with(Vec::new(), None), 100_000);
    assert_eq!(
        late.status.phase,
        Some(BackupPhase::New),
        "it waits for as long as it takes"
    );

    let mut others = vec![
        full("a", 5),
        full("b", 7),
        full("c", 9),
        full("d", 11),
        full("e", 13),
    ];
    let spoil = |backup: &mut Backup, key: &str, value: Value| {
        let mut status = serde_json::to_value(&backup.status).expect("json");
        status[key] = value;
        backup.status = serde_json::from_value(status).expect("a status");
    };
    spoil(&mut others[2], "verified", json!(false));
    spoil(&mut others[3], "backupRepoName", json!("other"));
    spoil(
        &mut others[4],
        "path",
        json!("all/demo/etcd-cluster-earlier/etcd/e"),
    );
    let begun = decided_of(&archive(), &with(others, None), 1);
    let keep = kept(&begun).1;
    assert_eq!((keep.after, keep.seconds), (7, Some(7 * 86_400)));
    assert_eq!(begun.status.job.as_deref(), Some("archive-pitr-87654321"));
    assert_eq!(
        begun.status.path.as_deref(),
        Some("all/demo/etcd-cluster-cu/etcd/pitr")
    );
}

#[test]
fn an_archive_is_kept_by_one_pod_without_rights() {
    let begun = decided_of(&archive(), &with(vec![full("f", 7)], None), 1);
    let (frame, keep) = kept(&begun);
    let deployment = keeper::keep(frame, Some("copy"), keep);
    let spec = deployment.spec.expect("a spec");
    assert_eq!(spec.replicas, Some(1));
    assert_eq!(
        spec.strategy.and_then(|strategy| strategy.type_).as_deref(),
        Some("Recreate")
    );
    let pod = spec.template.spec.expect("a pod");
    assert_eq!(
        (pod.restart_policy, pod.automount_service_account_token),
        (None, Some(false))
    );
    let work = &pod.containers[0];
    assert_eq!(work.image.as_deref(), Some("etcd-backup:1"));
    let arguments = work.args.as_ref().expect("arguments");
    for wanted in [
        "archive",
        "--backup-uid=87654321-bbbb",
        "--member=http://h.demo.svc.cluster.local:2379",
        "--after=7",
        "--keep=604800",
        "--path=all/demo/etcd-cluster-cu/etcd/pitr",
    ] {
        assert!(
            arguments.iter().any(|argument| argument == wanted),
            "{wanted}: {arguments:?}"
        );
    }
    let selected = spec.selector.match_labels.expect("labels");
    let labelled = spec
        .template
        .metadata
        .and_then(|meta| meta.labels)
        .expect("labels");
    assert_eq!(selected, labelled);
    assert!(
        !labelled.contains_key(labels::INSTANCE),
        "no service of the cluster selects the pod"
    );
}

#[test]
fn what_grows_is_written_once_a_minute_and_what_is_wrong_at_once() {
    let mut backup = begun();
    let newer = || vec![full("f", 7), full("g", 5000)];
    let first = decided_of(
        &backup,
        &with(newer(), Some(keeper(Some(report(20, 100, 300))))),
        100,
    );
    assert_eq!(
        first.act,
        Act::Record,
        "a newer full backup changes nothing"
    );
    assert_eq!(first.status.phase, Some(BackupPhase::Running));
    assert_eq!((first.status.revision, first.again), (Some(20), Some(10)));
    let range = first.status.time_range.clone().expect("a range");
    assert_eq!(
        (range.start, range.end),
        (Some(at(1)), Some(at(100))),
        "whole seconds inside of it"
    );
    backup.status = Some(first.status.clone());
    let same = decided_of(
        &backup,
        &with(newer(), Some(keeper(Some(report(30, 130, 300))))),
        130,
    );
    assert_eq!(same.status, first.status, "nothing is written");
    let minute = decided_of(
        &backup,
        &with(newer(), Some(keeper(Some(report(40, 161, 300))))),
        161,
    );
    assert_eq!(minute.status.revision, Some(40));

    let mut behind = report(40, 161, 20_000);
    behind.failure = Some("the repository is full".into());
    let told = decided_of(
        &backup,
        &with(newer(), Some(keeper(Some(behind.clone())))),
        165,
    )
    .status;
    let text = told.failure_reason.expect("a reason");
    assert!(text.contains("behind") && text.contains("full"), "{text}");
    behind.lag = 200_000;
    let renewed = decided_of(&backup, &with(newer(), Some(keeper(Some(behind)))), 165);
    assert_eq!(
        kept(&renewed).1.after,
        7,
        "with its credential as it is now"
    );

    // In step, and yet there is something to say.
    let mut many = report(40, 161, 300);
    many.warning = Some("it has 250000 objects".into());
    let warned = decided_of(&backup, &with(newer(), Some(keeper(Some(many)))), 165).status;
    assert_eq!(
        warned.failure_reason.as_deref(),
        Some("it has 250000 objects")
    );

    let silent = decided_of(&backup, &with(newer(), Some(keeper(None))), 170).status;
    assert!(
        silent
            .failure_reason
            .expect("a reason")
            .contains("does not answer")
    );
}

#[test]
fn a_gap_is_shown_until_there_is_a_newer_full_backup() {
    let mut gapped = report(40, 161, 300);
    (gapped.gap, gapped.gap_until) = (Some("revisions 21 to 29: compacted".into()), Some(29));
    let seen = |full_at: i64, report: &ArchiveReport| {
        with(vec![full("f", full_at)], Some(keeper(Some(report.clone()))))
    };
    let mut backup = begun();
    backup.status = Some(decided_of(&backup, &seen(28, &gapped), 161).status);
    let shown = |decision: Decision| decision.status.gap.map(|gap| gap.revision);
    // Its process was restarted and knows of no gap any more.
    let restarted = report(50, 200, 300);
    assert_eq!(
        shown(decided_of(&backup, &seen(28, &restarted), 200)),
        Some(29)
    );
    assert_eq!(shown(decided_of(&backup, &seen(29, &restarted), 200)), None);
    assert_eq!(shown(decided_of(&backup, &seen(29, &gapped), 200)), None);
}

#[test]
fn another_image_changes_the_deployment_and_a_lost_repository_does_not() {
    let running = with(vec![full("f", 7)], Some(keeper(Some(report(20, 100, 300)))));
    let other = Settings {
        tool: "etcd-backup:2".into(),
    };
    let upgraded = continuous::decide(&archive(), &running, &other, &at(100));
    assert_eq!(kept(&upgraded).0.tool, "etcd-backup:2");
    let mut lost = running;
    lost.repo = Some(Err("BackupRepo \"s3-repo\" is not there".into()));
    let decision = decided_of(&archive(), &lost, 100);
    assert_eq!(
        (decision.act, decision.status.phase),
        (Act::Record, Some(BackupPhase::Running))
    );
    assert!(
        decision
            .status
            .failure_reason
            .expect("a reason")
            .contains("s3-repo")
    );
}

#[test]
fn an_archive_that_runs_holds_back_no_full_backup() {
    let decision = decided(&held(), &with(vec![begun()], None), 5);
    assert!(matches!(decision.act, Act::Begin(_)), "{decision:?}");
}

#[test]
fn a_method_that_the_policy_does_not_have_is_refused() {
    let mut seen = with(vec![full("f", 7)], None);
    if let Some(policy) = &mut seen.policy {
        policy.spec.backup_methods.truncate(1);
    }
    let refused = decided_of(&archive(), &seen, 100).status;
    assert_eq!(refused.phase, Some(BackupPhase::Failed));
    assert!(
        refused
            .failure_reason
            .expect("a reason")
            .contains("backupMethods")
    );
}

#[test]
fn what_keeps_an_archive_is_gone_before_its_data() {
    let mut backup = archive();
    let begun = decided_of(&backup, &with(vec![full("f", 7)], None), 1);
    backup.status = Some(begun.status);
    backup.metadata.deletion_timestamp = Some(at(50));
    let there = decided_of(&backup, &with(Vec::new(), Some(keeper(None))), 50);
    assert_eq!((there.act, there.again), (Act::Cancel, Some(2)));
    let gone = decided_of(&backup, &with(Vec::new(), None), 60);
    assert!(matches!(gone.act, Act::Erase(_)), "{gone:?}");
    backup.spec.deletion_policy = DeletionPolicy::Retain;
    assert_eq!(
        decided_of(&backup, &with(Vec::new(), None), 60).act,
        Act::Release
    );
}

#[test]
fn only_an_archive_whose_owner_says_so_is_deleted_without_a_mark() {
    let mut backup = begun();
    backup.metadata.deletion_timestamp = Some(at(50));
    let Act::Erase(frame) = decided_of(&backup, &with(Vec::new(), None), 60).act else {
        panic!("nothing is deleted");
    };
    let told = |backup: &Backup| {
        let job = job::erase(&frame, "j", None, backup);
        let pod = job.spec.and_then(|spec| spec.template.spec).expect("a pod");
        let arguments = pod.containers[0].args.clone().unwrap_or_default();
        let has = |name: &str| arguments.iter().any(|argument| argument == name);
        (has("--archive"), has("--unowned"))
    };
    assert_eq!(told(&backup), (true, false));
    for (said, expected) in [("false", false), ("true", true)] {
        let said = (job::DELETE_UNOWNED.to_owned(), said.to_owned());
        backup.metadata.annotations = Some([said].into());
        assert_eq!(told(&backup), (true, expected));
    }
    backup.spec.backup_method = "datafile".into();
    assert_eq!(told(&backup), (false, false));
}

#[test]
fn a_deployment_of_its_name_that_is_anothers_is_waited_for() {
    let mut seen = with(vec![full("f", 7)], None);
    seen.foreign = Some("Deployment demo/archive-pitr-87654321 was not made".into());
    for backup in [archive(), begun()] {
        let told = decided_of(&backup, &seen, 2);
        assert_eq!(told.act, Act::Record);
        assert_eq!(told.status.failure_reason, seen.foreign);
    }
}

#[test]
fn what_an_archive_can_be_restored_to_depends_on_the_full_backups_that_are_there() {
    let backup = begun();
    let mut late = full("g", 5000);
    late.status.as_mut().expect("a status").completion_timestamp = Some(at(60));
    let told = |others: Vec<Backup>| {
        let running = Some(keeper(Some(report(20, 100, 300))));
        decided_of(&backup, &with(others, running), 100).status
    };
    let start = |status: &BackupStatus| status.time_range.clone().and_then(|range| range.start);
    assert_eq!(start(&told(vec![full("f", 7), late.clone()])), Some(at(1)));
    assert_eq!(
        start(&told(vec![late])),
        Some(at(60)),
        "nothing leads to what is older"
    );
    // It begins after revision 7.
    for none in [Vec::new(), vec![full("e", 6)]] {
        let status = told(none);
        assert_eq!(start(&status), None);
        let why = status.failure_reason.expect("a reason");
        assert!(why.contains("no full backup"), "{why}");
    }
}

#[test]
fn the_last_full_backup_below_an_archive_does_not_expire() {
    let expired = |name: &str, completed: i64| {
        let mut full = full(name, 7 + completed);
        full.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        full.spec.retention_period = Some("30s".into());
        let status = full.status.as_mut().expect("a status");
        status.completion_timestamp = Some(at(completed));
        full
    };
    let (old, new) = (expired("old", 10), expired("new", 20));
    let done = |backup: &Backup, others: Vec<Backup>| decided(backup, &with(others, None), 60).act;
    let all = || vec![old.clone(), new.clone(), begun()];
    assert_eq!(done(&old, all()), Act::Expire);
    assert_eq!(
        done(&new, all()),
        Act::Record,
        "the archive would lead nowhere"
    );
    assert_eq!(done(&new, vec![old.clone(), new.clone()]), Act::Expire);
    let mut elsewhere = begun();
    let status = elsewhere.status.as_mut().expect("a status");
    status.path = Some("all/demo/etcd-cluster-earlier/etcd/pitr".into());
    assert_eq!(done(&new, vec![new.clone(), elsewhere]), Act::Expire);
    let mut leaving = begun();
    leaving.metadata.deletion_timestamp = Some(at(55));
    assert_eq!(done(&new, vec![new.clone(), leaving]), Act::Expire);
}

#[test]
fn an_archive_ends_with_its_cluster_and_never_continues_as_that_of_another() {
    let (uid, other) = (
        "00000000-1111-2222-3333-444444444444",
        "00000000-1111-2222-3333-444444444445",
    );
    let mut backup = begun();
    let status = backup.status.as_mut().expect("a status");
    status.path = Some(format!("all/demo/etcd-cluster-{uid}/etcd/pitr"));
    let mut base = full("f", 7);
    base.status.as_mut().expect("a status").path =
        Some(format!("all/demo/etcd-cluster-{uid}/etcd/f"));
    let seen = |owner: Option<&str>, keeper: Option<KeeperSeen>| Seen {
        owner: Some(owner.map(str::to_owned)),
        ..with(vec![base.clone()], keeper)
    };
    let running = || Some(keeper(Some(report(20, 100, 300))));
    let there = decided_of(&backup, &seen(Some(uid), running()), 100);
    assert_eq!(there.status.phase, Some(BackupPhase::Running));
    assert_eq!(
        kept(&there).0.path,
        format!("all/demo/etcd-cluster-{uid}/etcd/pitr"),
        "it stays where it began"
    );
    for owner in [None, Some(other)] {
        let ended = decided_of(&backup, &seen(owner, running()), 100);
        assert_eq!(ended.act, Act::Cancel);
        let status = &ended.status;
        assert_eq!(
            (status.phase, status.revision),
            (Some(BackupPhase::Completed), Some(20))
        );
        assert_eq!(status.expiration, Some(at(100 + 7 * 86_400)));
        let mut after = backup.clone();
        after.status = Some(ended.status);
        let again = |owner, keeper, now| decided_of(&after, &seen(owner, keeper), now).act;
        assert_eq!(
            again(Some(uid), running(), 110),
            Act::Cancel,
            "it was killed in between"
        );
        assert_eq!(again(Some(uid), None, 120), Act::Record);
        assert_eq!(again(None, None, 200 + 7 * 86_400), Act::Expire);
        after.spec.retention_period = Some("2w".into());
        let kept = decided_of(&after, &seen(None, None), 200 + 7 * 86_400);
        let until = Some(at(100 + 14 * 86_400));
        assert_eq!((kept.act, kept.status.expiration), (Act::Record, until));
    }
}

#[test]
fn an_archive_that_failed_expires_as_one_that_has_ended() {
    let mut backup = archive();
    let mut lost = with(vec![full("f", 7)], None);
    lost.repo = Some(Err("BackupRepo \"s3-repo\" is not there".into()));
    backup.status = Some(decided_of(&backup, &lost, 100).status);
    let status = backup.status.as_ref().expect("a status");
    let week = 100 + 7 * 86_400;
    assert_eq!(
        (status.phase, &status.path, status.expiration.clone()),
        (Some(BackupPhase::Failed), &None, Some(at(week)))
    );
    let rests = decided_of(&backup, &lost, week - 60);
    assert_eq!((rests.act, rests.again), (Act::Record, Some(60)));
    assert_eq!(decided_of(&backup, &lost, week).act, Act::Expire);
    backup.spec.retention_period = None;
    let stays = decided_of(&backup, &lost, week);
    assert_eq!((stays.act, stays.status.expiration), (Act::Record, None));
}

#[test]
fn an_archive_that_has_begun_waits_for_what_is_in_its_way() {
    let mut lost = with(vec![full("f", 7)], None);
    lost.repo = Some(Err("BackupRepo \"s3-repo\" is not there".into()));
    let waits = decided_of(&begun(), &lost, 100);
    assert_eq!(waits.status.phase, Some(BackupPhase::New));
    assert!(waits.again.is_some());
    let never = decided_of(&archive(), &lost, 100);
    assert_eq!(never.status.phase, Some(BackupPhase::Failed));
}

#[test]
fn why_a_writer_has_ended_is_told_until_it_runs_again_and_texts_are_bounded() {
    let said =
        serde_json::to_string(&BackupReport::failed("another writer continues")).expect("json");
    let pod = |state: Value| -> Pod {
        let status = json!({ "name": "backup", "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": state, "lastState": { "terminated": { "exitCode": 1, "message": said } } });
        serde_json::from_value(
            json!({ "metadata": { "name": "p" }, "status": { "containerStatuses": [status] } }),
        )
        .expect("a pod")
    };
    let waits = pod(json!({ "waiting": { "reason": "CrashLoopBackOff" } }));
    assert_eq!(fallen(&waits).as_deref(), Some("another writer continues"));
    let runs = pod(json!({ "running": {} }));
    assert_eq!(fallen(&runs), None);
    let long = ArchiveReport {
        failure: Some("ü".repeat(5000)),
        gap: Some("x".repeat(5000)),
        warning: Some("x".repeat(5000)),
        ..ArchiveReport::default()
    };
    let told = bounded(long);
    for text in [told.failure, told.gap, told.warning] {
        assert_eq!(text.map(|text| text.chars().count()), Some(900));
    }
}

#[test]
fn pods_that_share_a_claim_of_one_node_are_placed_together() {
    let labelled = |mode: &str| {
        let mut seen = with(vec![full("f", 7)], None);
        let spec = json!({ "storageProviderRef": "pvc", "pvReclaimPolicy": "Retain", "volumeCapacity": "1Gi",
            "config": { "accessMode": mode } });
        let repo = json!({ "metadata": { "name": "s3-repo" }, "spec": spec });
        seen.repo = Some(Ok(serde_json::from_value(repo).expect("a repository")));
        let mut base = full("f", 7);
        base.status.as_mut().expect("a status").path = Some("demo/etcd-cluster-cu/etcd/f".into());
        seen.others = vec![base].into();
        let archive = decided_of(&archive(), &seen, 1);
        let (frame, keep) = kept(&archive);
        let deployment = keeper::keep(frame, None, keep).spec.expect("a spec");
        let decision = decided(&held(), &seen, 5);
        let Act::Begin(begun) = &decision.act else {
            panic!("{decision:?}");
        };
        let job = job::save(&begun.0, "j", None, &begun.1)
            .spec
            .expect("a spec");
        let selected = deployment.selector.match_labels.expect("labels");
        assert!(!selected.contains_key(REPOSITORY_CLAIM));
        [deployment.template, job.template].map(|template| {
            let labels = template.metadata.and_then(|meta| meta.labels);
            let affinity = template.spec.and_then(|pod| pod.affinity?.pod_affinity);
            let required = affinity?.required_during_scheduling_ignored_during_execution?;
            let [term] = required.as_slice() else {
                panic!("{required:?}");
            };
            assert_eq!(term.topology_key, "kubernetes.io/hostname");
            assert_eq!((&term.namespaces, &term.namespace_selector), (&None, &None));
            let selector = term.label_selector.as_ref().expect("a selector");
            let selected = selector.match_labels.as_ref().expect("labels");
            let own = labels.expect("labels");
            assert!(
                selected
                    .iter()
                    .all(|(key, value)| own.get(key) == Some(value)),
                "a pod that does not match its own term is never the first"
            );
            selected.get(REPOSITORY_CLAIM).cloned()
        })
    };
    let claim = Some("backup-repo-s3-repo".to_owned());
    assert_eq!(labelled("ReadWriteOnce"), [claim.clone(), claim]);
    assert_eq!(labelled("ReadWriteMany"), [None, None]);
}
