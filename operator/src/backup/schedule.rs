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
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};

use super::calendar::Calendar;
use super::context::Context;
use super::others::SCHEDULE;
use super::readers::Readers;
use super::{period, proven};
use crate::client::message;
use crate::controller::{
    ApplyError, Blame, Driver, Late, Unread, delete, heads, is_lasting, write_status,
};

/// Digits of the time in a Backup's name: year, month, day, hour, minute and second.
const TIME: usize = 14;
/// Longest sleep: clocks step, and a sleep does not.
const LONGEST: i64 = 300;

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Read(#[from] Unread),
    #[error("failed to list Backups or InstanceSets, or to create Backups: {}", message(.0))]
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
        mut status,
        backups,
        surplus,
        again,
    } = decide(schedule, &made, now);
    let api: Api<Backup> = Api::namespaced(client.clone(), &namespace);
    let mut refused = None;
    for backup in &backups {
        match api.create(&PostParams::default(), backup).await {
            Ok(_) => tracing::info!(backup = backup.name_any(), "a backup is due"),
            // Its name is its time: it was made before the status was written.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            // A quota may be used up by what is superfluous, and other schedules have a turn of their own.
            Err(error) => {
                still_due(schedule, backup, &mut status);
                refused = refused.or(Some((backup.name_any(), error)));
            }
        }
    }
    let superfluous = made
        .iter()
        .filter(|backup| surplus.contains(&backup.name_any()));
    Box::pin(thin_out(client, &namespace, superfluous.collect())).await?;
    if let Some((name, error)) = refused {
        // Without any status, what is due is counted from when the schedule was made.
        if schedule.status.is_some() && is_lasting(&error) {
            let why = format!("Backup {name} cannot be created: {}", message(&error));
            status.phase = Some(BackupSchedulePhase::Failed);
            status.failure_reason = Some(why);
            write_status(client, schedule, status).await?;
        }
        return Err(error.into());
    }
    write_status(client, schedule, status).await?;
    Ok(Action::requeue(Duration::from_secs(
        u64::try_from(again.clamp(1, LONGEST)).unwrap_or(1),
    )))
}

/// Deletes what is superfluous, except what a Cluster is restored from: its turn comes in a later round.
async fn thin_out(
    client: &Client,
    namespace: &str,
    superfluous: Vec<&Backup>,
) -> Result<(), Error> {
    if superfluous.is_empty() {
        return Ok(());
    }
    let readers = Readers::of(client, namespace).await?;
    for backup in superfluous {
        let name = backup.name_any();
        if let Some(reader) = readers.reader(backup) {
            tracing::info!(
                backup = name,
                reader,
                "it stays while a Cluster is restored from it"
            );
            continue;
        }
        tracing::info!(backup = name, "newer verified backups are enough");
        delete(client, backup).await?;
    }
    Ok(())
}

/// Pure: a Backup that could not be created is due as before. The turns of others are over: one that was made and is
/// deleted meanwhile is not made again.
fn still_due(schedule: &BackupSchedule, backup: &Backup, status: &mut BackupScheduleStatus) {
    let of_it =
        |policy: &&SchedulePolicy| backup.labels().get(SCHEDULE) == Some(&mark(schedule, policy));
    let before = schedule.status.as_ref();
    for SchedulePolicy { name, .. } in schedule.spec.schedules.iter().filter(of_it) {
        match before.and_then(|status| status.schedules.get(name)) {
            Some(known) => status.schedules.insert(name.clone(), known.clone()),
            None => status.schedules.remove(name),
        };
    }
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
    let at = digits(due);
    // It may have been made under its former name, just before this operator took over.
    let is_done = own(schedule, policy, made).any(|(of, backup)| is_made(backup) || of == at);
    let too_late = allowed.is_some_and(|allowed| late > allowed.max(60));
    let backup = (!too_late && !is_done).then(|| backup(schedule, policy, due));
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
    let mark = mark(schedule, policy);
    let prefixes = [prefix(schedule, policy), former_prefix(schedule, policy)];
    made.iter().filter_map(move |backup| {
        let name = backup.name_any();
        let is_time = |due: &&str| due.len() == TIME && due.bytes().all(|b| b.is_ascii_digit());
        let due = |prefix: &String| name.strip_prefix(prefix.as_str()).filter(is_time);
        let due = prefixes.iter().find_map(due)?;
        let own = backup.labels().get(SCHEDULE) == Some(&mark);
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

/// What the names of a schedule's Backups begin with; the time that each was due at follows. Hyphens of the entry are
/// doubled, so that the last single one divides the two: `b-c` of `a` and `c` of `a-b` have no Backup in common.
fn prefix(schedule: &BackupSchedule, policy: &SchedulePolicy) -> String {
    let entry = policy.name.replace('-', "--");
    format!("{}-{entry}-", schedule.name_any())
}

/// As earlier operators named them; the label tells those of `b-c` of `a` and `c` of `a-b` apart.
fn former_prefix(schedule: &BackupSchedule, policy: &SchedulePolicy) -> String {
    format!("{}-{}-", schedule.name_any(), policy.name)
}

/// A time as it stands in a Backup's name.
fn digits(due: Timestamp) -> String {
    due.strftime("%Y%m%d%H%M%S").to_string()
}

fn backup(schedule: &BackupSchedule, policy: &SchedulePolicy, due: Timestamp) -> Backup {
    let (prefix, time) = (prefix(schedule, policy), digits(due));
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
mod tests;
