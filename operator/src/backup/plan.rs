//! PURE: the Backup of a snapshot and what was seen -> its next status, and one act.

use std::cmp::Ordering;

use etcd_operator_api::backup::{
    BackupPhase, BackupProgress, BackupStage, BackupStatus, BackupStatusTarget,
};
use etcd_operator_api::backup_policy::{ARCHIVE, EncryptionConfig, RetentionPolicy};
use etcd_operator_api::quantity::amount;
use etcd_operator_api::{Backup, BackupPolicy, BackupRepo, labels};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::BackupSummary;
use kube::{Resource, ResourceExt};

use super::choose::choose;
use super::decision::{
    Act, Decision, FINALIZER, FORMAT, Obstacle, Settings, act, fail, hindered, wait,
};
use super::job::{self, Frame, Save};
use super::leave::leave;
use super::observed::{JobSeen, JobState, Seen};
use super::{period, place, proven};

/// How long it waits for what it needs to begin: others of the Cluster wait for it.
const WAIT: i64 = 3600;

/// How often the Job of a backup is looked at, in seconds.
const FOLLOW: i64 = 5;
/// How often a backup is looked at that stays as the newest, in seconds.
const RETAINED: i64 = 300;

/// Decides.
pub(super) fn decide(backup: &Backup, seen: &Seen, settings: &Settings, now: &Time) -> Decision {
    let status = backup.status.clone().unwrap_or_default();
    if backup.metadata.deletion_timestamp.is_some() {
        return leave(backup, seen, settings, status);
    }
    match status.phase {
        Some(BackupPhase::Completed | BackupPhase::Failed | BackupPhase::Deleting) => {
            keep(backup, seen, status, now)
        }
        _ if !backup
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == FINALIZER) =>
        {
            act(status, Act::Hold)
        }
        _ if status.job.is_some() => follow(backup, seen, settings, status, now),
        _ => begin(backup, seen, settings, status, now),
    }
}

/// Whether what is decided of it depends on the other Backups: while it is made, and when its time is over.
pub(super) fn depends_on_others(backup: &Backup, now: &Time) -> bool {
    let status = backup.status.clone().unwrap_or_default();
    if backup.metadata.deletion_timestamp.is_some() {
        return false;
    }
    match status.phase {
        Some(BackupPhase::Completed | BackupPhase::Failed | BackupPhase::Deleting) => {
            expiration(backup, &status).is_some_and(|at| at.0 <= now.0)
        }
        _ => true,
    }
}

/// A backup that has ended: nothing, until it expires.
pub(super) fn keep(backup: &Backup, seen: &Seen, mut status: BackupStatus, now: &Time) -> Decision {
    status.expiration = expiration(backup, &status);
    let retained = || {
        if proven::carried(backup, &seen.others).is_some() {
            return true;
        }
        // The policy goes with its component, and what it said of this backup stays.
        let policy = match &seen.policy {
            Some(policy) => policy.spec.retention_policy,
            None => status.retention_policy,
        };
        policy == Some(RetentionPolicy::RetainLatestBackup)
            && proven::is_newest(backup, &seen.others)
    };
    match &status.expiration {
        Some(at) if at.0 <= now.0 && retained() => Decision {
            status,
            act: Act::Record,
            again: Some(RETAINED),
        },
        Some(at) if at.0 <= now.0 => act(status, Act::Expire),
        Some(at) => {
            let again = Some(at.0.duration_since(now.0).as_secs().max(1));
            Decision {
                status,
                act: Act::Record,
                again,
            }
        }
        None => act(status, Act::Record),
    }
}

/// When it expires: its period may have been changed since it ended. One that cannot be read changes nothing.
fn expiration(backup: &Backup, status: &BackupStatus) -> Option<Time> {
    let period = backup.spec.retention_period.as_deref();
    let unread = period.is_some_and(|period| period::seconds(period).is_err());
    match &status.completion_timestamp {
        Some(ended) if !unread => period::end(period, ended),
        _ => status.expiration.clone(),
    }
}

fn begin(
    backup: &Backup,
    seen: &Seen,
    settings: &Settings,
    mut status: BackupStatus,
    now: &Time,
) -> Decision {
    let ready = match prepare(backup, seen, settings) {
        Ok(ready) => ready,
        Err(Obstacle::Later(why)) => return later(backup, status, why, now),
        Err(obstacle) => {
            if matches!(obstacle, Obstacle::Turn(_)) {
                // An hour is counted from its turn on, not from what it waited for before.
                status.start_timestamp = None;
            }
            return hindered(backup, status, obstacle, now);
        }
    };
    let (frame, save, pod, repo) = ready;
    status.phase = Some(BackupPhase::New);
    status.failure_reason = None;
    status.format_version = Some(FORMAT.to_owned());
    // It begins now, however long it has waited; with a Job that is made once more it began before.
    let known = backup.status.as_ref();
    let tried = known.is_some_and(|status| status.job.is_some());
    let since = status.start_timestamp.take().filter(|_| tried);
    status.start_timestamp = since.or_else(|| Some(now.clone()));
    let policy = seen.policy.as_ref();
    status.retention_policy = policy.and_then(|policy| policy.spec.retention_policy);
    status.backup_repo_name = Some(repo);
    status.encryption_config = seen
        .policy
        .as_ref()
        .and_then(|policy| encryption(backup, policy).cloned());
    status.path = Some(frame.path.clone());
    status.target = Some(BackupStatusTarget { name: pod });
    status.job = Some(job_name(backup));
    act(status, Act::Begin(Box::new((frame, save))))
}

type Ready = (Frame, Save, String, String);

fn prepare(backup: &Backup, seen: &Seen, settings: &Settings) -> Result<Ready, Obstacle> {
    let ground = ground(backup, seen, settings)?;
    if let Some(first) = before(backup, &ground.cluster, &seen.others) {
        return Err(Obstacle::Turn(format!(
            "backup {first:?} of this Cluster is first: one is made at a time"
        )));
    }
    let (member, status) = choose(&seen.members).map_err(Obstacle::Later)?;
    let folder = ground.frame.path.rsplit_once('/');
    let earlier = folder.map_or_else(Vec::new, |(folder, _)| {
        proven::earlier((&ground.repo, folder), &seen.others)
    });
    let save = Save {
        earlier,
        member: format!(
            "{}://{}.{}:2379",
            scheme(&ground.tls),
            member.pod,
            ground.domain
        ),
        tls: ground.tls,
        database: status.db_size_bytes,
        rate: ground.rate,
        cluster: ground.cluster,
        component: ground.component,
    };
    Ok((ground.frame, save, member.pod.clone(), ground.repo))
}

/// How members are spoken to.
pub(super) fn scheme(tls: &Option<String>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

/// What backups of any method are made of.
pub(super) struct Ground {
    pub(super) frame: Frame,
    pub(super) cluster: String,
    pub(super) component: String,
    /// Domain of the members.
    pub(super) domain: String,
    /// Names of the members.
    pub(super) pods: Vec<String>,
    /// True when a user's CA signs their certificates.
    pub(super) own_ca: bool,
    /// Secret with the certificate that members want of clients.
    pub(super) tls: Option<String>,
    /// The BackupRepo.
    pub(super) repo: String,
    rate: Option<u64>,
}

pub(super) fn ground(
    backup: &Backup,
    seen: &Seen,
    settings: &Settings,
) -> Result<Ground, Obstacle> {
    let policy = policy(backup, seen)?;
    if let Some(period) = &backup.spec.retention_period {
        period::seconds(period)
            .map_err(|why| Obstacle::Refused(format!("spec.retentionPeriod {why}")))?;
    }
    let (cluster, component) = target(policy).map_err(Obstacle::Refused)?;
    let repo = repository(seen)?;
    let namespace = backup.namespace().unwrap_or_default();
    let found = place::read_for(repo, &namespace);
    let place = found
        .map_err(|why| Obstacle::Refused(format!("BackupRepo {:?}: {why}", repo.name_any())))?;
    let of = seen.cluster.as_ref().ok_or_else(|| {
        Obstacle::Soon(format!(
            "Cluster {cluster:?} has no component {component:?} in this namespace"
        ))
    })?;
    let etcd = image(&of.pod)?;
    if let Some(Err(why)) = &seen.pass_phrase {
        return Err(Obstacle::Later(why.clone()));
    }
    let encryption = encryption(backup, policy);
    let folder = format!(
        "{namespace}/{cluster}-{}/{component}/{}",
        of.uid,
        backup.name_any()
    );
    let frame = Frame {
        owner: backup.controller_owner_ref(&()).unwrap_or_default(),
        uid: backup.uid().unwrap_or_default(),
        tool: settings.tool.clone(),
        etcd: Some(etcd),
        like: of.pod.clone(),
        path: below(&[&repo.spec.path_prefix, &policy.spec.path_prefix], &folder),
        retries: policy.spec.backoff_limit.unwrap_or(2),
        pass_phrase: encryption.map(|config| config.pass_phrase_secret_key_ref.clone()),
        place,
        namespace,
    };
    Ok(Ground {
        frame,
        cluster,
        component,
        domain: of.domain.clone(),
        pods: of.pods.clone(),
        own_ca: of.own_ca,
        tls: of.tls.clone(),
        repo: repo.name_any(),
        rate: rate(policy).map_err(Obstacle::Refused)?,
    })
}

/// The policy of a Backup, with the method that it asks for.
fn policy<'a>(backup: &Backup, seen: &'a Seen) -> Result<&'a BackupPolicy, Obstacle> {
    let name = &backup.spec.backup_policy_name;
    let policy = seen.policy.as_ref().ok_or_else(|| {
        Obstacle::Soon(format!("BackupPolicy {name:?} is not there: it is named {{cluster}}-{{component}}-backup-policy"))
    })?;
    let method = &backup.spec.backup_method;
    if !policy
        .spec
        .backup_methods
        .iter()
        .any(|known| known.name == *method)
    {
        return Err(Obstacle::Soon(format!(
            "spec.backupMethods of BackupPolicy {name:?} has no {method:?}: add it there"
        )));
    }
    Ok(policy)
}

/// The image that members run etcd from.
fn image(pod: &PodSpec) -> Result<String, Obstacle> {
    let mut containers = pod.containers.iter();
    let etcd = containers.find(|container| container.name == "etcd");
    etcd.and_then(|container| container.image.clone())
        .ok_or_else(|| Obstacle::Refused("the members have no container etcd".to_owned()))
}

/// How a backup is encrypted: an archive as it began.
pub(super) fn encryption<'a>(
    backup: &'a Backup,
    policy: &'a BackupPolicy,
) -> Option<&'a EncryptionConfig> {
    let begun = backup
        .status
        .as_ref()
        .filter(|status| backup.spec.backup_method == ARCHIVE && status.path.is_some());
    let config = match begun {
        Some(status) => &status.encryption_config,
        None => &policy.spec.encryption_config,
    };
    config.as_ref()
}

/// Bytes a second, where the policy limits them.
fn rate(policy: &BackupPolicy) -> Result<Option<u64>, String> {
    let Some(limit) = &policy.spec.rate_limit else {
        return Ok(None);
    };
    match amount(limit) {
        Some(bytes) if bytes >= 1.0 => Ok(Some(bytes as u64)),
        _ => Err(format!(
            "spec.rateLimit {:?} of BackupPolicy {:?} must be bytes a second, e.g. 50Mi",
            limit.0,
            policy.name_any()
        )),
    }
}

/// The Cluster and the component that a policy is about.
pub(super) fn target(policy: &BackupPolicy) -> Result<(String, String), String> {
    let labelled = &policy.spec.target.pod_selector.match_labels;
    match (
        labelled.get(labels::INSTANCE),
        labelled.get(labels::COMPONENT_NAME),
    ) {
        (Some(cluster), Some(component)) => Ok((cluster.clone(), component.clone())),
        _ => Err(format!(
            "spec.target.podSelector.matchLabels of BackupPolicy {:?} must name {} and {}",
            policy.name_any(),
            labels::INSTANCE,
            labels::COMPONENT_NAME
        )),
    }
}

fn repository(seen: &Seen) -> Result<&BackupRepo, Obstacle> {
    match &seen.repo {
        Some(Ok(repo)) => Ok(repo),
        Some(Err(why)) => Err(Obstacle::Refused(why.clone())),
        None => Err(Obstacle::Refused("there is no BackupRepo".to_owned())),
    }
}

/// A folder below prefixes that may be empty.
pub(super) fn below(prefixes: &[&Option<String>], folder: &str) -> String {
    let prefixes = prefixes.iter().filter_map(|prefix| prefix.as_deref());
    let parts = prefixes
        .map(|prefix| prefix.trim_matches('/'))
        .filter(|prefix| !prefix.is_empty());
    parts.chain([folder]).collect::<Vec<_>>().join("/")
}

/// The Backup of the same Cluster that is first: one that has begun, else the older one.
fn before(backup: &Backup, cluster: &str, others: &[Backup]) -> Option<String> {
    let open = |other: &&Backup| {
        let phase = other.status.as_ref().and_then(|status| status.phase);
        let same = other.labels().get(labels::INSTANCE).map(String::as_str) == Some(cluster);
        let once = other.spec.backup_method != ARCHIVE;
        once && same && other.uid() != backup.uid() && !phase.is_some_and(BackupPhase::is_ended)
    };
    let begun = |other: &Backup| {
        other
            .status
            .as_ref()
            .is_some_and(|status| status.job.is_some())
    };
    let leaving = |other: &Backup| other.metadata.deletion_timestamp.is_some();
    let first = others.iter().filter(open).find(|other| {
        begun(other) || (!leaving(other) && order(other).cmp(&order(backup)) == Ordering::Less)
    });
    first.map(ResourceExt::name_any)
}

fn order(backup: &Backup) -> (Option<Timestamp>, String) {
    let made = backup
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|made| made.0);
    (made, backup.name_any())
}

/// Name of the Job that makes a backup.
pub(super) fn job_name(backup: &Backup) -> String {
    job::name(
        "backup",
        &backup.name_any(),
        &backup.uid().unwrap_or_default(),
    )
}

/// Name of the Deployment that keeps an archive.
pub(super) fn keeper_name(backup: &Backup) -> String {
    job::name(
        "archive",
        &backup.name_any(),
        &backup.uid().unwrap_or_default(),
    )
}

/// Name of the Job that deletes it.
pub(super) fn eraser_name(backup: &Backup) -> String {
    job::name(
        "erase",
        &backup.name_any(),
        &backup.uid().unwrap_or_default(),
    )
}

fn follow(
    backup: &Backup,
    seen: &Seen,
    settings: &Settings,
    mut status: BackupStatus,
    now: &Time,
) -> Decision {
    let Some(job) = &seen.job else {
        if status.phase == Some(BackupPhase::Running) {
            return fail(
                backup,
                status,
                now,
                "its Job was deleted before its end: make another Backup".to_owned(),
            );
        }
        // The status was written and the Job was not: it is made now, of what is there now.
        let since = status.start_timestamp;
        let tried = since.as_ref().map_or(0, |since| seconds(&since.0, now));
        let status = BackupStatus {
            start_timestamp: since,
            ..BackupStatus::default()
        };
        if tried > WAIT {
            let why = format!(
                "its Job could not be created, for {WAIT} s: the operator's log says why; make another Backup"
            );
            return fail(backup, status, now, why);
        }
        return begin(backup, seen, settings, status, now);
    };
    match &job.state {
        JobState::Running => {
            status.phase = Some(BackupPhase::Running);
            status.failure_reason = job.stuck.clone();
            status.duration = Some(took(&status, now));
            status.progress = seen.progress.map(shown).or(status.progress);
            Decision {
                status,
                act: Act::Record,
                again: Some(FOLLOW),
            }
        }
        JobState::Succeeded => complete(backup, job, status, now),
        JobState::Failed(why) => {
            let told = job
                .report
                .as_ref()
                .and_then(|report| report.failure.clone());
            fail(
                backup,
                status,
                now,
                told.or_else(|| job.stuck.clone())
                    .unwrap_or_else(|| why.clone()),
            )
        }
    }
}

/// The status of one whose credential cannot be had. One that is made once holds back the others of its Cluster, and is
/// given up after a while; an archive waits for as long as it takes.
pub(super) fn blocked(backup: &Backup, why: String, now: &Time) -> BackupStatus {
    let status = backup.status.clone().unwrap_or_default();
    if backup.spec.backup_method == ARCHIVE {
        return wait(status, why, FOLLOW).status;
    }
    later(backup, status, why, now).status
}

/// It waits for what it needs to begin, and is given up when that takes too long. Its turn may have come long after it
/// was made.
fn later(backup: &Backup, mut status: BackupStatus, why: String, now: &Time) -> Decision {
    let since = status.start_timestamp.get_or_insert_with(|| now.clone()).0;
    if seconds(&since, now) > WAIT {
        let why = format!("{why}; it was waited for {WAIT} s");
        return fail(backup, status, now, why);
    }
    wait(status, why, FOLLOW)
}

fn seconds(since: &Timestamp, now: &Time) -> i64 {
    now.0.duration_since(*since).as_secs()
}

/// How long it takes, or took.
fn took(status: &BackupStatus, now: &Time) -> String {
    let began = status.start_timestamp.as_ref();
    let began = began.map_or(now.0, |began| began.0);
    period::shown(seconds(&began, now).max(0))
}

/// As the status has it.
fn shown(told: kbagent_protocol::BackupProgress) -> BackupProgress {
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    BackupProgress {
        stage: match told.stage {
            kbagent_protocol::BackupStage::Writing => BackupStage::Writing,
            kbagent_protocol::BackupStage::Verifying => BackupStage::Verifying,
        },
        written_bytes: number(told.written),
        total_bytes: told.total.map(number),
    }
}

fn complete(backup: &Backup, job: &JobSeen, mut status: BackupStatus, now: &Time) -> Decision {
    let Some(summary) = job
        .report
        .as_ref()
        .and_then(|report| report.backup.as_ref())
    else {
        let why = "its Job has succeeded, but its report is gone: make another Backup";
        return fail(backup, status, now, why.to_owned());
    };
    record(&mut status, summary);
    status.phase = Some(BackupPhase::Completed);
    status.completion_timestamp = Some(now.clone());
    status.duration = Some(took(&status, now));
    status.progress = None;
    status.expiration = period::end(backup.spec.retention_period.as_deref(), now);
    act(status, Act::Record)
}

fn record(status: &mut BackupStatus, summary: &BackupSummary) {
    status.total_size = Some(summary.bytes.to_string());
    status.revision = Some(summary.revision);
    status.sha256 = Some(summary.sha256.clone());
    status.hash = (!summary.hash_kv.is_empty()).then(|| summary.hash_kv.clone());
    status.etcd_version = Some(summary.etcd_version.clone());
    status.authentication = summary.authentication.then_some(true);
    status.verified = Some(summary.verified);
    status.failure_reason = summary.reason.clone();
}
