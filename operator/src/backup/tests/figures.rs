//! Figures of Backups, and when the others are asked for.

use etcd_operator_api::backup::BackupStatus;

use super::archives::{archive, begun, decided_of, full, keeper, report, with};
use super::*;
use crate::backup::observed::KeeperSeen;
use crate::backup::{continuous, plan, proven};

#[test]
fn an_archive_that_nothing_writes_is_silent_whatever_its_writer_fails_at() {
    let silent = |status: &BackupStatus, seen: &Seen| continuous::faults(status, seen).silent;
    let after = |seen: Seen| {
        let status = decided_of(&begun(), &seen, 70).status;
        silent(&status, &seen)
    };
    let full = || vec![full("f", 7)];
    assert!(!after(with(full(), Some(keeper(Some(report(9, 60, 300)))))));
    let behind = keeper(Some(report(9, 0, 90_000)));
    assert!(!after(with(full(), Some(behind))), "it tells that itself");
    let stuck = KeeperSeen {
        stuck: Some("ImagePullBackOff".into()),
        ..keeper(None)
    };
    assert!(after(with(full(), Some(stuck))));
    // The Deployment is gone, and so is the BackupPolicy that would make it again.
    let mut none = with(full(), None);
    assert!(after(none.clone()));
    none.policy = None;
    assert!(after(none.clone()));
    let mut status = begun().status.expect("a status");
    for (phase, expected) in [
        (BackupPhase::New, true),
        (BackupPhase::Running, true),
        (BackupPhase::Completed, false),
        (BackupPhase::Failed, false),
        (BackupPhase::Deleting, false),
    ] {
        status.phase = Some(phase);
        assert_eq!(silent(&status, &none), expected, "{phase:?}");
    }
    status.phase = Some(BackupPhase::New);
    none.cluster = Some(ClusterSeen::default());
    assert!(!silent(&status, &none), "a Cluster without members");
}

#[test]
fn an_archive_without_a_first_full_backup_waits_and_is_not_silent() {
    let faults = |backup: &Backup, seen: &Seen| {
        let faults = continuous::faults(&decided_of(backup, seen, 70).status, seen);
        (faults.silent, faults.waits)
    };
    let mut none = with(Vec::new(), None);
    assert_eq!(faults(&archive(), &none), (false, true));
    // That of another Cluster of the same name, and one that is not verified, are no base either.
    let mut foreign = full("f", 7);
    foreign.status.as_mut().expect("a status").path = Some("all/demo/etcd-cluster-x/etcd/f".into());
    let mut unproven = full("g", 8);
    unproven.status.as_mut().expect("a status").verified = Some(false);
    let neither = with(vec![foreign, unproven], None);
    assert_eq!(faults(&archive(), &neither), (false, true));
    let based = with(vec![full("f", 7)], None);
    assert_eq!(faults(&archive(), &based), (true, false), "it should begin");
    // It has begun once: what was written since is not in it.
    assert_eq!(faults(&begun(), &none), (true, false));
    // Something else is in its way.
    none.pass_phrase = Some(Err("Secret \"s\" is not there".into()));
    assert_eq!(faults(&archive(), &none), (true, false));
    none.pass_phrase = None;
    if let Some(cluster) = &mut none.cluster {
        cluster.pods.clear();
    }
    assert_eq!(faults(&archive(), &none), (false, false), "no members");
}

#[test]
fn a_backup_tells_its_times_while_its_cluster_is_there() {
    let mut seen = with(Vec::new(), None);
    let mut backup = full("a", 7);
    let told = |backup: &Backup, seen: &Seen| {
        let times = proven::told(backup, seen);
        (times.asked, times.proven)
    };
    let since = Some(super::at(0).0.as_second());
    assert_eq!(
        proven::cluster(&backup).as_deref(),
        Some("demo/etcd-cluster-etcd")
    );
    assert_eq!(told(&backup, &seen), (since, since));
    backup.status.as_mut().expect("a status").verified = Some(false);
    assert_eq!(told(&backup, &seen), (since, None));
    let archive = begun();
    assert_eq!(told(&archive, &seen), (None, None), "it is no full backup");
    seen.cluster = None;
    assert_eq!(told(&full("a", 7), &seen), (None, None));
    assert_eq!(proven::cluster(&held()), None, "of no cluster yet");
}

#[test]
fn a_backup_that_has_ended_asks_for_no_others_until_its_time_is_over() {
    let mut ended = full("f", 7);
    ended.spec.retention_period = Some("1h".into());
    let depends = |backup: &Backup, now| plan::depends_on_others(backup, &super::at(now));
    assert!(!depends(&ended, 3599));
    assert!(depends(&ended, 3600), "whether it is the newest");
    // What is decided without them is what is decided with them.
    let decided = |others| decided_of(&ended, &with(others, None), 3599);
    assert_eq!(decided(Vec::new()), decided(vec![full("g", 9), begun()]));
    ended.spec.retention_period = None;
    assert!(!depends(&ended, 1_000_000));
    assert!(depends(&held(), 1) && depends(&begun(), 1));
    let mut leaving = begun();
    leaving.metadata.deletion_timestamp = Some(super::at(2));
    assert!(!depends(&leaving, 3));
}
