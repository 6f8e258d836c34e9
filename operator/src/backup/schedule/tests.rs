//! When Backups are due, and which are superfluous.

use serde_json::json;

use super::*;

fn schedule(deadline: Option<i64>, enabled: bool) -> BackupSchedule {
    serde_json::from_value(json!({
        "metadata": { "name": "daily", "namespace": "demo", "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "backupPolicyName": "p", "startingDeadlineMinutes": deadline, "schedules": [
            { "name": "full", "enabled": enabled, "backupMethod": "datafile", "cronExpression": "0 18 * * *",
              "retentionPeriod": "7d" }] } }))
    .expect("a schedule")
}

fn at(text: &str) -> Time {
    Time(text.parse().expect("a time"))
}

fn after(mut schedule: BackupSchedule, decision: &Decision) -> BackupSchedule {
    schedule.status = Some(decision.status.clone());
    schedule
}

#[test]
fn older_backups_go_when_enough_newer_ones_are_verified_and_never_before() {
    let of = |day: u32, phase: &str, verified: bool, mark: &str| -> Backup {
        serde_json::from_value(json!({
            "metadata": { "name": format!("daily-full-202601{day:02}180000"), "labels": { SCHEDULE: mark } },
            "spec": { "backupPolicyName": "p", "backupMethod": "datafile" },
            "status": { "phase": phase, "verified": verified, "completionTimestamp": "2026-01-01T00:00:00Z" } }))
        .expect("a Backup")
    };
    let mut made = vec![
        of(1, "Completed", true, "daily.full"),
        of(2, "Failed", false, "daily.full"),
        of(3, "Completed", true, "daily.full"),
        of(4, "Completed", false, "daily.full"),
        of(5, "Running", false, "daily.full"),
        of(6, "Completed", true, "daily.other"),
    ];
    let surplus = |count: Option<u32>, made: &[Backup]| {
        let mut schedule = schedule(None, true);
        schedule.spec.schedules[0].retention_count = count;
        decide(&schedule, made, &at("2026-01-06T19:00:00Z")).surplus
    };
    let day = |day: u32| format!("daily-full-202601{day:02}180000");
    assert_eq!(surplus(None, &made), Vec::<String>::new());
    assert_eq!(
        surplus(Some(3), &made),
        Vec::<String>::new(),
        "there are two"
    );
    assert_eq!(surplus(Some(2), &made), Vec::<String>::new());
    assert_eq!(surplus(Some(1), &made), [day(1), day(2)]);
    // What is not verified makes none superfluous, and what runs stays.
    made[2].status.as_mut().expect("a status").verified = Some(false);
    assert_eq!(surplus(Some(1), &made), Vec::<String>::new());
    made.push(of(7, "Completed", true, "daily.full"));
    assert_eq!(surplus(Some(1), &made), [day(1), day(2), day(3), day(4)]);
}

/// A Backup that a schedule made on a day of January.
fn made_by(schedule: &BackupSchedule, day: u32, phase: &str) -> Backup {
    let due = format!("2026-01-{day:02}T18:00:00Z");
    let mut backup = backup(schedule, &schedule.spec.schedules[0], at(&due).0);
    let status =
        json!({ "phase": phase, "verified": phase == "Completed", "completionTimestamp": due });
    backup.status = serde_json::from_value(status).expect("a status");
    backup
}

#[test]
fn newer_backups_of_another_cluster_replace_none() {
    let mut schedule = schedule(None, true);
    schedule.spec.schedules[0].retention_count = Some(1);
    let of = |day: u32, cluster: u32| {
        let mut backup = made_by(&schedule, day, "Completed");
        let uid = format!("00000000-0000-0000-0000-{cluster:012}");
        let path = format!("all/demo/db-{uid}/etcd/{}", backup.name_any());
        backup.status.get_or_insert_default().path = Some(path);
        backup
    };
    let mut made = vec![of(1, 1), of(2, 1), of(3, 2)];
    let surplus = |made: &[Backup]| decide(&schedule, made, &at("2026-01-09T19:00:00Z")).surplus;
    assert_eq!(surplus(&made), [made[0].name_any()]);
    made.push(of(4, 2));
    assert_eq!(surplus(&made), [made[0].name_any(), made[2].name_any()]);
    // One that failed before it had a place is of none of them.
    made.push(made_by(&schedule, 3, "Failed"));
    made[4].metadata.name = Some("daily-full-20260103190000".to_owned());
    assert!(surplus(&made).contains(&made[4].name_any()));
}

#[test]
fn schedules_whose_names_begin_alike_leave_each_others_backups_alone() {
    let named = |name: &str| {
        let mut schedule = schedule(None, true);
        schedule.metadata.name = Some(name.to_owned());
        schedule.spec.schedules[0].retention_count = Some(1);
        schedule
    };
    let long = "the-nightly-backups-of-the-orders-database";
    let pairs = [
        (format!("{long}-east"), format!("{long}-west")),
        // Cut after the hyphen, which goes too.
        (long[..41].to_owned(), format!("{}-east", &long[..41])),
    ];
    for (one, other) in pairs {
        let (one, other) = (named(&one), named(&other));
        let policy = |schedule: &BackupSchedule| schedule.spec.schedules[0].clone();
        let marks = [&one, &other].map(|schedule| mark(schedule, &policy(schedule)));
        assert_eq!(marks[0], marks[1], "the label does not tell them apart");
        let now = at("2026-01-04T19:00:00Z");
        let mut made = vec![
            made_by(&one, 1, "Completed"),
            made_by(&other, 2, "Completed"),
        ];
        let surplus = |schedule, made: &[Backup]| decide(schedule, made, &now).surplus;
        assert_eq!(surplus(&one, &made), Vec::<String>::new());
        assert_eq!(surplus(&other, &made), Vec::<String>::new());
        made.push(made_by(&one, 3, "Completed"));
        assert_eq!(surplus(&one, &made), [made[0].name_any()]);
        assert_eq!(surplus(&other, &made), Vec::<String>::new());
        // One that runs holds up its own schedule alone.
        made.push(made_by(&one, 4, "Running"));
        assert!(decide(&one, &made, &now).backups.is_empty());
        assert_eq!(decide(&other, &made, &now).backups.len(), 1);
    }
}

#[test]
fn schedules_whose_joined_names_are_one_have_no_backup_in_common() {
    let named = |name: &str, entry: &str| {
        let mut schedule = schedule(None, true);
        schedule.metadata.name = Some(name.to_owned());
        schedule.spec.schedules[0].name = entry.to_owned();
        schedule
    };
    let all = [
        named("a", "b-c"),
        named("a-b", "c"),
        named("a", "b--c"),
        named("a--b", "c"),
    ];
    let now = at("2026-01-01T18:00:01Z");
    let made = |schedule| decide(schedule, &[], &now).backups.remove(0);
    let mut names: Vec<String> = all.iter().map(|one| made(one).name_any()).collect();
    assert_eq!(names[0], "a-b--c-20260101180000");
    assert_eq!(names[1], "a-b-c-20260101180000");
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all.len(), "{names:?}");
}

#[test]
fn a_backup_of_a_former_name_is_still_its_schedules() {
    let mut schedule = schedule(None, true);
    schedule.spec.schedules[0].name = "every-day".to_owned();
    schedule.spec.schedules[0].retention_count = Some(1);
    let former = |day: u32, phase: &str| {
        let mut backup = made_by(&schedule, day, phase);
        backup.metadata.name = Some(format!("daily-every-day-202601{day:02}180000"));
        backup
    };
    let mut made = vec![
        former(1, "Completed"),
        former(2, "Completed"),
        made_by(&schedule, 3, "Completed"),
    ];
    let now = at("2026-01-04T18:00:01Z");
    let next = decide(&schedule, &made, &now);
    let names = made.iter().map(ResourceExt::name_any);
    assert_eq!(next.surplus, names.take(2).collect::<Vec<_>>());
    assert_eq!(
        next.backups[0].name_any(),
        "daily-every--day-20260104180000"
    );
    // The operator was replaced before the status was written.
    made.push(former(4, "Completed"));
    let next = decide(&schedule, &made, &now);
    assert!(next.backups.is_empty(), "{next:?}");
    made[3].status.get_or_insert_default().phase = Some(BackupPhase::Running);
    let later = decide(&schedule, &made, &at("2026-01-05T18:00:01Z"));
    assert!(later.backups.is_empty(), "{later:?}");
}

#[test]
fn the_last_full_backup_below_an_archive_stays_whatever_the_count() {
    let mut schedule = schedule(None, true);
    schedule.spec.schedules[0].retention_count = Some(1);
    let stored = |mut backup: Backup, repo: &str| {
        let path = format!("demo/db-u/etcd/{}", backup.name_any());
        let status = backup.status.get_or_insert_default();
        status.backup_repo_name = Some(repo.to_owned());
        status.path = Some(path);
        backup
    };
    let made_in = |day: u32, repo: &str| stored(made_by(&schedule, day, "Completed"), repo);
    let mut made = vec![made_in(1, "a"), made_in(2, "a"), made_in(3, "b")];
    made.push(made_in(4, "b"));
    let surplus = |made: &[Backup]| decide(&schedule, made, &at("2026-01-05T17:00:00Z")).surplus;
    assert_eq!(surplus(&made).len(), 3);
    // The policy was given another repository, and the archive stays where it began.
    let archive: Backup = serde_json::from_value(json!({
        "metadata": { "name": "archive" }, "status": { "phase": "Running" },
        "spec": { "backupPolicyName": "p", "backupMethod": "archive" } }))
    .expect("an archive");
    made.push(stored(archive, "a"));
    let left = surplus(&made);
    assert_eq!(left, [made[0].name_any(), made[2].name_any()]);
    made[4].metadata.deletion_timestamp = Some(at("2026-01-05T17:00:00Z"));
    assert_eq!(surplus(&made).len(), 3);
}

#[test]
fn a_backup_is_made_when_it_is_due_and_once() {
    let schedule = schedule(None, true);
    let early = decide(&schedule, &[], &at("2026-01-01T17:59:00Z"));
    assert!(early.backups.is_empty() && early.again == 60, "{early:?}");
    let schedule = after(schedule, &early);
    let due = decide(&schedule, &[], &at("2026-01-01T18:00:01Z"));
    assert_eq!(due.backups[0].name_any(), "daily-full-20260101180000");
    assert_eq!(due.backups[0].spec.retention_period.as_deref(), Some("7d"));
    let schedule = after(schedule, &due);
    assert!(
        decide(&schedule, &[], &at("2026-01-01T18:00:02Z"))
            .backups
            .is_empty()
    );
}

#[test]
fn after_a_long_silence_one_is_made_up_for_or_none_when_that_is_too_late() {
    let now = at("2026-03-01T20:00:00Z");
    assert_eq!(decide(&schedule(None, true), &[], &now).backups.len(), 1);
    assert_eq!(
        decide(&schedule(Some(180), true), &[], &now).backups.len(),
        1
    );
    let late = decide(&schedule(Some(60), true), &[], &now);
    assert!(late.backups.is_empty());
    assert!(
        decide(&after(schedule(None, true), &late), &[], &now)
            .backups
            .is_empty(),
        "it was given up"
    );
    let off = decide(&schedule(None, false), &[], &now);
    assert!(off.backups.is_empty());
    let on = after(schedule(None, true), &off);
    assert!(
        decide(&on, &[], &at("2026-04-01T20:01:00Z"))
            .backups
            .is_empty(),
        "nothing of the time it was off"
    );
}

#[test]
fn another_expression_and_an_added_one_count_from_then_on() {
    let mut first = schedule(None, true);
    first.metadata.generation = Some(1);
    let known = after(
        first.clone(),
        &decide(&first, &[], &at("2026-01-01T12:00:00Z")),
    );
    let edit = |expression: &str| {
        let mut edited = known.clone();
        edited.metadata.generation = Some(2);
        edited.spec.schedules[0].cron_expression = expression.into();
        edited
    };
    let made = |schedule: &BackupSchedule, now: &str| {
        let decision = decide(schedule, &[], &at(now));
        let names = decision.backups.iter().map(ResourceExt::name_any);
        (
            names.collect::<Vec<_>>(),
            after(schedule.clone(), &decision),
        )
    };
    // Its hour has passed today.
    let (none, earlier) = made(&edit("0 13 * * *"), "2026-01-01T14:00:00Z");
    assert!(none.is_empty(), "{none:?}");
    let (next, _) = made(&earlier, "2026-01-02T13:00:01Z");
    assert_eq!(next, ["daily-full-20260102130000"]);
    // What was missed by the former expression, or by the same one, is made up for.
    let late = "2026-01-01T19:00:00Z";
    assert_eq!(made(&edit("0 17 * * *"), late).0.len(), 1);
    assert_eq!(made(&edit("0 18 * * *"), late).0.len(), 1);
    let mut added = known.clone();
    let mut other = added.spec.schedules[0].clone();
    other.name = "other".to_owned();
    other.cron_expression = "0 11 * * *".to_owned();
    added.spec.schedules.push(other);
    added.metadata.generation = Some(2);
    let (none, added) = made(&added, "2026-01-01T14:00:00Z");
    assert!(none.is_empty(), "{none:?}");
    let (next, _) = made(&added, "2026-01-02T11:00:01Z");
    assert!(
        next.contains(&"daily-other-20260102110000".to_owned()),
        "{next:?}"
    );
}

#[test]
fn while_one_is_under_way_no_other_is_made() {
    let now = at("2026-01-02T18:00:01Z");
    let first = decide(&schedule(None, true), &[], &at("2026-01-01T18:00:01Z"));
    let next = after(schedule(None, true), &first);
    assert!(decide(&next, &first.backups, &now).backups.is_empty());
    let mut ended = first.backups;
    ended[0].status = serde_json::from_value(json!({ "phase": "Failed" })).expect("a status");
    assert_eq!(decide(&next, &ended, &now).backups.len(), 1);
}

#[test]
fn one_that_is_being_deleted_holds_up_no_other() {
    let schedule = schedule(None, true);
    let mut made = vec![made_by(&schedule, 1, "Running")];
    let now = at("2026-01-04T19:00:00Z");
    let count = |made: &[Backup]| decide(&schedule, made, &now).backups.len();
    assert_eq!(count(&made), 0);
    // Its data cannot be deleted, for days.
    made[0].metadata.deletion_timestamp = Some(at("2026-01-02T18:00:00Z"));
    made[0].status.get_or_insert_default().phase = Some(BackupPhase::Deleting);
    assert_eq!(count(&made), 1);
}

#[test]
fn a_schedule_that_cannot_be_read_says_which() {
    for (expression, why) in [("daily", "has 1 fields"), ("0 0 30 2 *", "never due")] {
        let mut bad = schedule(None, true);
        bad.spec.schedules[0].cron_expression = expression.into();
        let told = decide(&bad, &[], &at("2026-01-01T18:00:01Z")).status;
        assert_eq!(told.phase, Some(BackupSchedulePhase::Failed));
        let told = told.failure_reason.expect("a reason");
        assert!(
            told.contains("spec.schedules[full]") && told.contains(why),
            "{told}"
        );
    }
}
