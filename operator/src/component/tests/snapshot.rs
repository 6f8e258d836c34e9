//! The backup before a change of etcd's minor.

use etcd_operator_api::Backup;
use etcd_operator_api::backup::BackupPhase;

use super::super::change::Wait;
use super::super::snapshot::BackupSeen;
use super::running::running;
use super::*;

/// A component of 3.6.16 that is asked to go to `version`, and its world; `backup` is what there is of one.
fn asked(version: &str, backup: BackupSeen) -> (Component, Observed) {
    let mut wish = component();
    wish.spec.service_version = Some(version.into());
    let mut observed = running("3.6.16", &[Some("3.6.16"); 3]);
    observed.backup = Some(backup);
    (wish, observed)
}

/// Every agent has read its member's log, and 3.7 reads it.
fn logs_are_read(observed: &mut Observed) {
    let live = observed.instance_set.as_mut().expect("an InstanceSet");
    live.status.get_or_insert_default().readable_by = Some("3.7".into());
}

fn planned_from((wish, observed): &(Component, Observed)) -> Plan {
    plan(wish, observed, "cluster.local").expect("plan")
}

fn made_for(plan: &Plan) -> &str {
    &plan.instance_set.annotations()[labels::SERVICE_VERSION]
}

fn with(phase: BackupPhase, verified: bool) -> BackupSeen {
    let mut backup = Backup::default();
    let status = backup.status.get_or_insert_default();
    (status.phase, status.verified) = (Some(phase), Some(verified));
    status.failure_reason = Some("the bucket is full".into());
    BackupSeen {
        backup: Some(backup),
        obstacle: None,
    }
}

#[test]
fn a_verified_backup_comes_before_another_minor_either_way() {
    for (version, minor) in [("3.7.3", "3.7"), ("3.5.35", "3.5")] {
        let plan = planned_from(&asked(version, BackupSeen::default()));
        assert_eq!(made_for(&plan), "3.6.16");
        assert!(
            !plan
                .instance_set
                .annotations()
                .contains_key(labels::DOWNGRADE)
        );
        let backup = plan.backup.expect("a backup");
        assert_eq!(backup.labels()[labels::BEFORE_UPGRADE], minor);
        assert_eq!(backup.spec.backup_policy_name, "ledger-store-backup-policy");
        assert!(backup.name_any().starts_with("ledger-store-u-1-to-3-"));
        assert!(plan.waits.expect("told").text.contains(&backup.name_any()));
        for (phase, verified, told) in [
            (BackupPhase::New, false, "is New"),
            (BackupPhase::Running, false, "is Running"),
            (BackupPhase::Failed, false, "the bucket is full"),
            // Not proven, not good enough.
            (BackupPhase::Completed, false, "has failed"),
        ] {
            let plan = planned_from(&asked(version, with(phase, verified)));
            let waits = plan.waits.as_ref().map(|wait| wait.text.as_str());
            let waits = waits.expect("told");
            assert!(waits.contains(told), "{waits}");
            assert_eq!((made_for(&plan), plan.backup.as_ref()), ("3.6.16", None));
        }
    }
    let done = with(BackupPhase::Completed, true);
    let mut up = asked("3.7.3", done.clone());
    assert_eq!(made_for(&planned_from(&up)), "3.6.16");
    logs_are_read(&mut up.1);
    let plan = planned_from(&up);
    assert_eq!((made_for(&plan), plan.waits.as_ref()), ("3.7.3", None));
    let plan = planned_from(&asked("3.5.35", done));
    assert_eq!((made_for(&plan), plan.waits.as_ref()), ("3.6.16", None));
    assert_eq!(plan.instance_set.annotations()[labels::DOWNGRADE], "3.5");
}

#[test]
fn members_are_told_to_stay_until_what_comes_before_another_minor_is_done() {
    let stays = |of: &(Component, Observed)| {
        let plan = planned_from(of);
        let desired = Desired::read(&plan.instance_set, "cluster.local").expect("it is read");
        desired.minor_awaited
    };
    let until = || Some("3.6.16".to_owned());
    let same = asked("3.6.16", BackupSeen::default());
    assert_eq!(stays(&same), None);
    for backup in [
        BackupSeen::default(),
        with(BackupPhase::Running, false),
        with(BackupPhase::Failed, false),
    ] {
        assert_eq!(stays(&asked("3.7.3", backup)), until());
    }
    // Its logs are not read yet.
    let mut up = asked("3.7.3", with(BackupPhase::Completed, true));
    assert_eq!(stays(&up), until());
    logs_are_read(&mut up.1);
    assert_eq!(stays(&up), None);
}

#[test]
fn without_a_place_for_it_the_change_is_refused_unless_the_owner_wants_none() {
    let nowhere = BackupSeen {
        backup: None,
        obstacle: Some("no BackupRepo is there".into()),
    };
    let (mut wish, mut observed) = asked("3.7.3", nowhere);
    logs_are_read(&mut observed);
    let told = refused(&wish, &observed);
    for part in ["3.7.3", "no BackupRepo is there", labels::WITHOUT_BACKUP] {
        assert!(told.contains(part), "{told}");
    }
    let mut say = |text: &str| {
        let without = (labels::WITHOUT_BACKUP.to_owned(), text.to_owned());
        wish.annotations_mut().extend([without]);
        plan(&wish, &observed, "cluster.local").map_err(|error| error.to_string())
    };
    assert!(say("false").is_err());
    let told = say("yes").expect_err("neither true nor false");
    assert!(told.contains("\"yes\" is neither true"), "{told}");
    let plan = say("true").expect("plan");
    assert_eq!((made_for(&plan), plan.backup.as_ref()), ("3.7.3", None));
}

#[test]
fn none_is_due_within_a_minor_nor_on_the_way_back_of_a_change_that_is_not_complete() {
    let patch = planned_from(&asked("3.6.1", BackupSeen::default()));
    assert_eq!((made_for(&patch), patch.backup.as_ref()), ("3.6.1", None));
    let mut wish = component();
    wish.spec.service_version = Some("3.6.16".into());
    let mixed = running("3.7.3", &[Some("3.7.3"), Some("3.6.16"), Some("3.6.16")]);
    let plan = plan(&wish, &mixed, "cluster.local").expect("plan");
    assert_eq!((made_for(&plan), plan.backup.as_ref()), ("3.6.16", None));
    assert_eq!(plan.waits, None);
}

#[test]
fn an_update_that_waits_for_its_backup_is_told() {
    let now = at(1_000);
    let waits = Outcome::Waits(Wait {
        reason: condition::Reason::BackupFirst,
        text: "Backup b is Running".into(),
    });
    let told = status(&component(), None, &waits, &Secured::default(), &now);
    let known = condition::find(&told.conditions, ConditionType::UpdateHeld).expect("told");
    assert_eq!(known.reason, "BackupFirst");
    let held = condition::held_of(&told.conditions).expect("told on");
    assert_eq!(held.reason.as_str(), "BackupFirst");
    assert_eq!(
        told.message["Component/ledger-store"],
        "Backup b is Running"
    );
}
