//! BackupSchedule -> Backups when they are due. At most one of those that were missed is made up for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::backup_schedule::{
    BackupSchedulePhase, BackupScheduleStatus, SchedulePolicy, ScheduleStatus,
};
use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::{Backup, BackupPhase, BackupSchedule, BackupSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::watcher;

use super::calendar::Calendar;
use super::context::Context;
use super::others::SCHEDULE;
use super::{period, proven};
use crate::client::message;
use crate::controller::{ApplyError, Blame, Driver, Late, Unread, delete, heads, write_status};

/// Digits of the time in a Backup's name: year, month, day, hour, minute and second.
const TIME: usize = 14;
/// Longest sleep: clocks step, and a sleep does not.
const LONGEST: i64 = 300;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Read(#[from] Unread),
    #[error("failed to list or create Backups: {}", message(.0))]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Late(#[from] Late),
}

pub(super) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let driver = Driver::new("BackupSchedule", &context.frame);
    let controller = heads::<BackupSchedule>(&context.frame, watcher::Config::default());
    let blame = Blame::Condition(ConditionType::Validated, Reason::ValidateFailed);
    let round = move |schedule: BackupSchedule| {
        let context = Arc::clone(&context);
        async move { Box::pin(round(&schedule, &context, &Time(Timestamp::now()))).await }
    };
    Box::pin(driver.run(controller, blame, |_: &Error| false, round)).await
}

/// One round of one schedule, read just now.
pub(super) async fn round(
    schedule: &BackupSchedule,
    context: &Context,
    now: &Time,
) -> Result<Action, Error> {
    if schedule.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let client = &context.frame.client;
    let namespace = schedule.namespace().unwrap_or_default();
    // Archives too, which no schedule makes: they need what a schedule has made.
    let made = context.others.of(client, &namespace).await?;
    let Decision {
        status,
        backups,
        surplus,
        again,
    } = decide(schedule, &made, now);
    let api: Api<Backup> = Api::namespaced(client.clone(), &namespace);
    for backup in &backups {
        match api.create(&PostParams::default(), backup).await {
            Ok(_) => tracing::info!(backup = backup.name_any(), "a backup is due"),
            // Its name is its time: it was made before the status was written.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
    for backup in made
        .iter()
        .filter(|backup| surplus.contains(&backup.name_any()))
    {
        tracing::info!(
            backup = backup.name_any(),
            "newer verified backups are enough"
        );
        delete(client, backup).await?;
    }
    write_status(client, schedule, status).await?;
    Ok(Action::requeue(Duration::from_secs(
        u64::try_from(again.clamp(1, LONGEST)).unwrap_or(1),
    )))
}

/// What is made, and what is recorded.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    status: BackupScheduleStatus,
    pub(super) backups: Vec<Backup>,
    /// Names of those that go, because enough newer ones are verified.
    surplus: Vec<String>,
    /// Seconds until it is looked at again.
    again: i64,
}

/// Pure: what is due. `made` are all Backups of the namespace.
pub(super) fn decide(schedule: &BackupSchedule, made: &[Backup], now: &Time) -> Decision {
    let before = schedule.status.clone().unwrap_or_default();
    let mut decision = Decision {
        status: BackupScheduleStatus {
            phase: Some(BackupSchedulePhase::Available),
            observed_generation: schedule.metadata.generation,
            ..BackupScheduleStatus::default()
        },
        backups: Vec::new(),
        surplus: Vec::new(),
        again: LONGEST,
    };
    for policy in &schedule.spec.schedules {
        let known = before.schedules.get(&policy.name);
        decision.surplus.extend(surplus(schedule, policy, made));
        if policy.enabled == Some(false) {
            let last_schedule_time = known.and_then(|known| known.last_schedule_time.clone());
            let off = ScheduleStatus {
                last_schedule_time,
                next_schedule_time: None,
            };
            decision.status.schedules.insert(policy.name.clone(), off);
            continue;
        }
        match turn(schedule, policy, &before, made, now) {
            Ok((next, backup)) => {
                decision.backups.extend(backup);
                if let Some(at) = &next.next_schedule_time {
                    decision.again = decision.again.min(at.0.duration_since(now.0).as_secs());
                }
                decision.status.schedules.insert(policy.name.clone(), next);
            }
            Err(why) => {
                decision.status.phase = Some(BackupSchedulePhase::Failed);
                decision.status.failure_reason =
                    Some(format!("spec.schedules[{}]: {why}", policy.name));
                let known = known.cloned().unwrap_or_default();
                decision.status.schedules.insert(policy.name.clone(), known);
            }
        }
    }
    decision
}

fn turn(
    schedule: &BackupSchedule,
    policy: &SchedulePolicy,
    before: &BackupScheduleStatus,
    made: &[Backup],
    now: &Time,
) -> Result<(ScheduleStatus, Option<Backup>), String> {
    let calendar = Calendar::read(&policy.cron_expression, policy.time_zone.as_deref())?;
    if let Some(period) = &policy.retention_period {
        period::seconds(period).map_err(|why| format!("retentionPeriod {why}"))?;
    }
    let edited = before.observed_generation != schedule.metadata.generation;
    let begin = match before.schedules.get(&policy.name) {
        None if schedule.status.is_none() => schedule.metadata.creation_timestamp.clone(),
        // It was added later.
        None => None,
        Some(ScheduleStatus {
            last_schedule_time: Some(last),
            next_schedule_time: Some(next),
        }) => {
            let same = !edited || calendar.turn(last.0, last.0)?.next == next.0;
            // The times of another expression count from now on, unless one of the former was missed.
            (same || next.0 <= now.0).then(|| last.clone())
        }
        // It was off, or could not be read: what was due meanwhile is not made up for.
        Some(_) => None,
    };
    let begin = begin.map_or(now.0, |begin| begin.0);
    let turn = calendar.turn(begin, now.0)?;
    let mut next = ScheduleStatus {
        last_schedule_time: Some(Time(begin)),
        next_schedule_time: Some(Time(turn.next)),
    };
    let Some(due) = turn.due else {
        return Ok((next, None));
    };
    next.last_schedule_time = Some(Time(due));
    let late = now.0.duration_since(due).as_secs();
    let allowed = schedule
        .spec
        .starting_deadline_minutes
        .map(|minutes| minutes.saturating_mul(60));
    // One that is being deleted is made no more, however long its data stays.
    let is_made = |backup: &Backup| !is_ended(backup) && stays(backup);
    let under_way = own(schedule, policy, made).any(|(_, backup)| is_made(backup));
    let too_late = allowed.is_some_and(|allowed| late > allowed.max(60));
    let backup = (!too_late && !under_way).then(|| backup(schedule, policy, due));
    Ok((next, backup))
}

/// What ended before the last of the verified backups that are kept was made; not what an archive still needs. Those of
/// an earlier Cluster of the same name, or of another one, are not what newer ones replace.
fn surplus(schedule: &BackupSchedule, policy: &SchedulePolicy, made: &[Backup]) -> Vec<String> {
    let own: Vec<(String, &Backup)> = own(schedule, policy, made)
        .filter(|(_, backup)| stays(backup))
        .collect();
    let count = policy
        .retention_count
        .and_then(|count| usize::try_from(count).ok());
    let Some(count) = count else {
        return Vec::new();
    };
    let proven = own
        .iter()
        .filter(|(_, backup)| proven::proven(backup).is_some());
    let proven: Vec<_> = proven.map(|(due, backup)| (due, source(backup))).collect();
    let is_older = |due: &String, backup: &Backup| {
        let of = source(backup);
        let newer = proven
            .iter()
            .filter(|(other, kept)| *other > due && (of.is_none() || *kept == of));
        newer.count() >= count.max(1)
    };
    let older = own
        .iter()
        .filter(|(due, backup)| is_ended(backup) && is_older(due, backup));
    let surplus = older.filter(|(_, backup)| proven::carried(backup, made).is_none());
    surplus.map(|(_, backup)| backup.name_any()).collect()
}

/// What a Backup is of: name and UID of its Cluster, and its component. `None` for one that has failed before it had a
/// path.
fn source(backup: &Backup) -> Option<(Option<(&str, &str)>, &str)> {
    let path = backup.status.as_ref()?.path.as_deref()?;
    Some((proven::whose(backup), path.rsplit('/').nth(1)?))
}

/// The Backups that a schedule has made, each with the time that it was due at: digits that sort as times do.
fn own<'a>(
    schedule: &BackupSchedule,
    policy: &SchedulePolicy,
    made: &'a [Backup],
) -> impl Iterator<Item = (String, &'a Backup)> {
    let (mark, prefix) = (mark(schedule, policy), prefix(schedule, policy));
    made.iter().filter_map(move |backup| {
        let name = backup.name_any();
        let due = name.strip_prefix(&prefix)?;
        let is_time = due.len() == TIME && due.bytes().all(|byte| byte.is_ascii_digit());
        let own = is_time && backup.labels().get(SCHEDULE) == Some(&mark);
        own.then(|| (due.to_owned(), backup))
    })
}

fn is_ended(backup: &Backup) -> bool {
    let phase = backup.status.as_ref().and_then(|status| status.phase);
    phase.is_some_and(BackupPhase::is_ended)
}

fn stays(backup: &Backup) -> bool {
    backup.metadata.deletion_timestamp.is_none()
}

fn mark(schedule: &BackupSchedule, policy: &SchedulePolicy) -> String {
    let name: String = schedule.name_any().chars().take(42).collect();
    format!("{}.{}", name.trim_end_matches(['-', '.']), policy.name)
}

/// What the names of a schedule's Backups begin with; the time that each was due at follows.
fn prefix(schedule: &BackupSchedule, policy: &SchedulePolicy) -> String {
    format!("{}-{}-", schedule.name_any(), policy.name)
}

fn backup(schedule: &BackupSchedule, policy: &SchedulePolicy, due: Timestamp) -> Backup {
    let (prefix, time) = (prefix(schedule, policy), due.strftime("%Y%m%d%H%M%S"));
    let mark = mark(schedule, policy);
    Backup {
        metadata: ObjectMeta {
            name: Some(format!("{prefix}{time}")),
            namespace: schedule.namespace(),
            labels: Some(BTreeMap::from([(SCHEDULE.to_owned(), mark)])),
            ..ObjectMeta::default()
        },
        spec: BackupSpec {
            backup_policy_name: schedule.spec.backup_policy_name.clone(),
            backup_method: policy.backup_method.clone(),
            retention_period: policy.retention_period.clone(),
            ..BackupSpec::default()
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
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
        let surplus =
            |made: &[Backup]| decide(&schedule, made, &at("2026-01-09T19:00:00Z")).surplus;
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
        let surplus =
            |made: &[Backup]| decide(&schedule, made, &at("2026-01-05T17:00:00Z")).surplus;
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
}
