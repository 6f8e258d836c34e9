//! The driver of Backups: observe, decide, act, record. Decides nothing itself.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::backup::{BackupPhase, BackupStatus};
use etcd_operator_api::backup_policy::ARCHIVE;
use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::restore::ALLOW_UNVERIFIED;
use etcd_operator_api::{Backup, labels};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::EventType;
use kube::runtime::watcher;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::context::Context;
use super::credential;
use super::decision::{Act, Decision, FINALIZER, Settings};
use super::job::{self, Frame, Save};
use super::keeper::{self, Keep};
use super::observe::{ObserveError, is_of, observe};
use super::readers::Readers;
use super::{beside, claim, continuous, plan, proven};
use crate::client::{message, server_time};
use crate::controller::{
    ApplyError, Blame, Driver, Late, Unread, apply_if_different, delete, finalize, heads, key,
    ours, release, touched, write_status,
};
use crate::metrics::ArchiveFaults;

/// Rounds at a time: each of a Backup that is made needs all others.
const ROUNDS: u16 = 16;
/// Look again although nothing has told to.
const BACKSTOP: Duration = Duration::from_secs(300);
/// Retry after another client wrote first, and after the object's own change.
const CONFLICT: Duration = Duration::from_millis(50);
/// Retry after something outside the cluster's objects is in the way.
const BLOCKED: Duration = Duration::from_secs(10);
/// What is done when a finalizer or label is written.
const METADATA: &str = "write the Backup's metadata";

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Read(#[from] Unread),
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Late(#[from] Late),
    #[error("failed to {what}: {}", message(.source))]
    Api {
        what: &'static str,
        source: kube::Error,
    },
}

fn failed(what: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Api { what, source }
}

pub(super) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let driver = Driver::new("Backup", &context.frame);
    let controller = heads::<Backup>(&context.frame, watcher::Config::default())
        .owns_stream(touched::<Job>(&context.frame, ours()))
        .with_config(Config::default().concurrency(ROUNDS));
    let blame = Blame::Condition(ConditionType::Validated, Reason::ValidateFailed);
    let expected = |error: &Error| matches!(error, Error::Apply(error) if error.is_conflict());
    let round = move |backup: Backup| {
        let context = Arc::clone(&context);
        async move { Box::pin(round(&backup, &context)).await }
    };
    Box::pin(driver.run(controller, blame, expected, round)).await
}

/// One round of one Backup, read just now.
pub(super) async fn round(backup: &Backup, context: &Context) -> Result<Action, Error> {
    let now = Time(Timestamp::now());
    let seen = Box::pin(observe(context, backup, &now)).await?;
    let figures = &context.frame.metrics.backups;
    if let Some(cluster) = proven::cluster(backup) {
        figures.backup(cluster, key(backup), proven::told(backup, &seen));
    }
    if !seen.others.is_empty() {
        let namespace = backup.namespace().unwrap_or_default();
        figures.are(&namespace, &seen.others.iter().map(key).collect());
    }
    if let Some(claim) = seen.waits() {
        let namespace = backup.namespace().unwrap_or_default();
        beside::discount(&context.frame.client, &namespace, claim).await;
    }
    let settings = Settings {
        tool: context.image.clone(),
    };
    let decision = if backup.spec.backup_method == ARCHIVE {
        continuous::decide(backup, &seen, &settings, &now)
    } else {
        plan::decide(backup, &seen, &settings, &now)
    };
    let Decision { status, act, again } = decision;
    if backup.spec.backup_method == ARCHIVE {
        let faults = match act {
            Act::Release => ArchiveFaults::default(),
            _ => continuous::faults(&status, &seen),
        };
        figures.archive(&key(backup), faults);
    }
    let client = &context.frame.client;
    let again = again.map_or(BACKSTOP, |seconds| {
        Duration::from_secs(u64::try_from(seconds).unwrap_or(1)).min(BACKSTOP)
    });
    match act {
        Act::Hold => {
            let held = finalize(client, backup, FINALIZER).await;
            held.map_err(failed(METADATA))?;
            return Ok(Action::requeue(CONFLICT));
        }
        Act::Release => {
            let released = release(client, backup, FINALIZER).await;
            released.map_err(failed(METADATA))?;
            figures.gone(&key(backup));
            return Ok(Action::await_change());
        }
        Act::Expire => return expire(context, backup, &status).await,
        Act::Begin(parts) => {
            return Box::pin(begin(context, backup, status, &parts.0, &parts.1)).await;
        }
        Act::Keep(parts) => {
            return Box::pin(keep(context, backup, status, &parts.0, &parts.1)).await;
        }
        Act::Erase(frame) => return Box::pin(erase(context, backup, status, &frame)).await,
        Act::Cancel => cancel(context, backup).await?,
        Act::Record => {}
    }
    tell_lost(context, backup, &proven::lost(backup, &status, &seen)).await?;
    if let Some(locked) = proven::locked(backup, &status, &seen) {
        tell_locked(context, backup, &status, locked).await?;
    }
    record(context, backup, status).await?;
    Ok(Action::requeue(again))
}

/// Writes into earlier Backups that the Job of this one has not found their data.
pub(super) async fn tell_lost(
    context: &Context,
    backup: &Backup,
    lost: &[&Backup],
) -> Result<(), Error> {
    for lost in lost {
        let status = lost.status.as_ref();
        let repo = status.and_then(|status| status.backup_repo_name.as_deref());
        let text = format!(
            "its data is not in BackupRepo {:?} any more, as Backup {:?} has found: it cannot be restored. Where that leads \
             elsewhere now, set it back, and restore it into a Cluster with the annotation {ALLOW_UNVERIFIED}: \"true\"",
            repo.unwrap_or_default(),
            backup.name_any()
        );
        let told = json!({ "verified": false, "failureReason": text });
        warn(context, lost, &told, ("DataLost", text)).await?;
    }
    Ok(())
}

/// Writes into an earlier Backup that the pass phrase of this one does not open it, where both have it from one Secret.
pub(super) async fn tell_locked(
    context: &Context,
    backup: &Backup,
    status: &BackupStatus,
    locked: &Backup,
) -> Result<(), Error> {
    let Some(config) = &status.encryption_config else {
        return Ok(());
    };
    let namespace = locked.namespace().unwrap_or_default();
    let api: Api<Backup> = Api::namespaced(context.frame.client.clone(), &namespace);
    let live = api.get_opt(&locked.name_any()).await;
    let live = live.map_err(failed("read an earlier Backup"))?;
    let is_same = |live: &Backup| {
        let of = live.status.as_ref();
        let of = of.and_then(|status| status.encryption_config.as_ref());
        live.uid() == locked.uid() && of == Some(config)
    };
    if live.filter(is_same).is_none() {
        return Ok(());
    }
    let text = format!(
        "Secret {:?} has another pass phrase than it was encrypted with, as Backup {:?} has found: neither it nor those \
         before it can be restored. Put the former one back, name another Secret in the BackupPolicy for a new one, and \
         make another Backup",
        config.pass_phrase_secret_key_ref.name,
        backup.name_any()
    );
    let told = json!({ "failureReason": text });
    warn(context, locked, &told, ("PassPhraseChanged", text)).await
}

/// Writes into the status of another Backup, with an event.
async fn warn(
    context: &Context,
    other: &Backup,
    told: &serde_json::Value,
    (reason, text): (&str, String),
) -> Result<(), Error> {
    tracing::warn!(backup = key(other), reason, "a backup cannot be restored");
    let body = json!({ "metadata": { "uid": other.uid() }, "status": told });
    let namespace = other.namespace().unwrap_or_default();
    let api: Api<Backup> = Api::namespaced(context.frame.client.clone(), &namespace);
    let (name, params) = (other.name_any(), PatchParams::default());
    match api.patch_status(&name, &params, &Patch::Merge(body)).await {
        Ok(_) => {
            let frame = &context.frame;
            frame.event(other, EventType::Warning, reason, text).await;
            Ok(())
        }
        // It is gone, or another one has its name.
        Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => Ok(()),
        Err(error) => Err(failed("write the status of a Backup that is lost")(error)),
    }
}

/// Deletes one whose time is over by the API server's clock, too: by one of a node that is months ahead all would go.
/// Not while a Cluster is restored from it.
async fn expire(
    context: &Context,
    backup: &Backup,
    status: &BackupStatus,
) -> Result<Action, Error> {
    let client = &context.frame.client;
    let told = server_time(client).await;
    let told = told.map_err(failed("read the API server's time"))?;
    let backup_key = key(backup);
    if let Some((told, at)) = told.zip(status.expiration.as_ref())
        && told < at.0
    {
        tracing::warn!(
            backup = backup_key,
            "it has not expired by the API server's clock, which is behind the operator's: set the clocks of the nodes"
        );
        return Ok(Action::requeue(BACKSTOP));
    }
    let namespace = backup.namespace().unwrap_or_default();
    let readers = Readers::of(client, &namespace).await;
    let readers = readers.map_err(failed("read the InstanceSets"))?;
    if let Some(reader) = readers.reader(backup) {
        tracing::info!(
            backup = backup_key,
            reader,
            "it has expired, and stays until the Cluster that is restored from it has formed"
        );
        return Ok(Action::requeue(BACKSTOP));
    }
    tracing::info!(backup = backup_key, "the backup has expired");
    delete(client, backup).await?;
    Ok(Action::await_change())
}

/// Labels, credential and claim of what is to be made, and what is to be made on record before it is: a crash between
/// the two is repaired by the next round. The credential and the parts as the claim is, unless the round ends here.
async fn prepare(
    context: &Context,
    backup: &Backup,
    status: BackupStatus,
    frame: &Frame,
    of: (&String, &String),
) -> Result<ControlFlow<Action, (Option<String>, Frame)>, Error> {
    label(context, backup, of).await?;
    let client = &context.frame.client;
    let credential = match credential::provide(client, frame, &backup.name_any()).await {
        Ok(credential) => credential,
        Err(why) => return blocked(context, backup, why).await.map(ControlFlow::Break),
    };
    let found = claim::provide(client, frame, true).await;
    let frame = match found.map_err(failed("make the repository's claim"))? {
        Ok(frame) => frame,
        Err(why) => return blocked(context, backup, why).await.map(ControlFlow::Break),
    };
    let Some(newest) = newest(context, backup).await? else {
        return Ok(ControlFlow::Break(Action::requeue(CONFLICT)));
    };
    record(context, &newest, status).await?;
    Ok(ControlFlow::Continue((credential, frame)))
}

/// Makes the Job of a full backup.
async fn begin(
    context: &Context,
    backup: &Backup,
    mut status: BackupStatus,
    frame: &Frame,
    save: &Save,
) -> Result<Action, Error> {
    let name = plan::job_name(backup);
    status.job = Some(name.clone());
    let of = (&save.cluster, &save.component);
    let (credential, frame) = match Box::pin(prepare(context, backup, status, frame, of)).await? {
        ControlFlow::Continue(ready) => ready,
        ControlFlow::Break(action) => return Ok(action),
    };
    let jobs: Api<Job> = Api::namespaced(context.frame.client.clone(), &frame.namespace);
    let wanted = job::save(&frame, &name, credential.as_deref(), save);
    created(
        "create the Job",
        jobs.create(&PostParams::default(), &wanted).await,
    )?;
    Ok(Action::requeue(BLOCKED))
}

/// Makes the Deployment of an archive, or changes it.
async fn keep(
    context: &Context,
    backup: &Backup,
    status: BackupStatus,
    frame: &Frame,
    keep: &Keep,
) -> Result<Action, Error> {
    let of = (&keep.cluster, &keep.component);
    let (credential, found) = match Box::pin(prepare(context, backup, status, frame, of)).await? {
        ControlFlow::Continue(ready) => ready,
        ControlFlow::Break(action) => return Ok(action),
    };
    let mut wanted = keeper::keep(&found, credential.as_deref(), keep);
    // By the repository's own settings, as the next rounds have them.
    let made_of = (keeper::MADE_OF.to_owned(), keep.made_of(frame));
    wanted.annotations_mut().extend([made_of]);
    apply_if_different(&context.frame.client, &wanted).await?;
    Ok(Action::requeue(BLOCKED))
}

/// The labels have changed the object: only the status of the newest is replaced, when nothing else has changed it.
async fn newest(context: &Context, backup: &Backup) -> Result<Option<Backup>, Error> {
    let namespace = backup.namespace().unwrap_or_default();
    let api: Api<Backup> = Api::namespaced(context.frame.client.clone(), &namespace);
    let newest = api.get_opt(&backup.name_any()).await;
    let newest = newest.map_err(failed("read the Backup"))?;
    Ok(newest.filter(|newest| newest.uid() == backup.uid() && newest.status == backup.status))
}

async fn erase(
    context: &Context,
    backup: &Backup,
    status: BackupStatus,
    frame: &Frame,
) -> Result<Action, Error> {
    let client = &context.frame.client;
    let ready = async {
        let found = claim::provide(client, frame, false).await;
        let found = found.map_err(|error| format!("the repository's claim: {}", message(&error)));
        let credential = credential::provide(client, frame, &backup.name_any()).await;
        Ok::<_, String>((found??, credential?))
    };
    let (frame, credential) = match ready.await {
        Ok(ready) => ready,
        Err(why) => {
            let keep = "correct that, or set spec.deletionPolicy to Retain to keep the data";
            let status = BackupStatus {
                failure_reason: Some(format!("its data cannot be deleted: {why}; {keep}")),
                ..status
            };
            record(context, backup, status).await?;
            return Ok(Action::requeue(BLOCKED));
        }
    };
    let jobs: Api<Job> = Api::namespaced(client.clone(), &frame.namespace);
    let name = plan::eraser_name(backup);
    let wanted = job::erase(&frame, &name, credential.as_deref(), backup);
    match jobs.create(&PostParams::default(), &wanted).await {
        // No Job can run in a namespace that ends: its data stays, and nothing holds the namespace back.
        Err(kube::Error::Api(answer)) if credential::ends(&answer) => {
            let text = "the namespace is being deleted: the backup's data stays in the repository"
                .to_owned();
            context
                .frame
                .event(backup, EventType::Warning, "DataKept", text)
                .await;
            let released = release(client, backup, FINALIZER).await;
            released.map_err(failed(METADATA))?;
            return Ok(Action::await_change());
        }
        made => created("create the Job", made)?,
    }
    record(context, backup, status).await?;
    Ok(Action::requeue(BLOCKED))
}

async fn cancel(context: &Context, backup: &Backup) -> Result<(), Error> {
    let client = &context.frame.client;
    let namespace = backup.namespace().unwrap_or_default();
    let stopped = if backup.spec.backup_method == ARCHIVE {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        stop(&deployments, &plan::keeper_name(backup), backup).await
    } else {
        let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
        stop(&jobs, &plan::job_name(backup), backup).await
    };
    stopped.map_err(failed("delete what makes the backup"))
}

/// Deletes what makes a backup, and nothing else that has its name.
async fn stop<K>(api: &Api<K>, name: &str, backup: &Backup) -> kube::Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    let own = backup.uid().unwrap_or_default();
    let found = api.get_metadata_opt(name).await?;
    let Some(found) = found.filter(|found| is_of(&found.metadata, &own)) else {
        return Ok(());
    };
    // Foreground: it is gone when its pods are, so that nothing writes any more when the data is deleted.
    let gently = DeleteParams::foreground().preconditions(Preconditions {
        uid: found.metadata.uid,
        resource_version: None,
    });
    match api.delete(name, &gently).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

async fn blocked(context: &Context, backup: &Backup, why: String) -> Result<Action, Error> {
    let status = plan::blocked(backup, why, &Time(Timestamp::now()));
    record(context, backup, status).await?;
    Ok(Action::requeue(BLOCKED))
}

fn created<K>(what: &'static str, answer: kube::Result<K>) -> Result<(), Error> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(failed(what)(error)),
    }
}

/// The Cluster's labels: by them Backups of one Cluster know each other.
async fn label(
    context: &Context,
    backup: &Backup,
    (cluster, component): (&String, &String),
) -> Result<(), Error> {
    let wanted = [
        (labels::INSTANCE, cluster),
        (labels::COMPONENT_NAME, component),
    ];
    if wanted
        .iter()
        .all(|(label, value)| backup.labels().get(*label) == Some(value))
    {
        return Ok(());
    }
    let labelled: std::collections::BTreeMap<_, _> = wanted.into_iter().collect();
    metadata(context, backup, json!({ "labels": labelled })).await
}

async fn metadata(
    context: &Context,
    backup: &Backup,
    mut metadata: serde_json::Value,
) -> Result<(), Error> {
    metadata["uid"] = backup.uid().into();
    let api: Api<Backup> = Api::namespaced(
        context.frame.client.clone(),
        &backup.namespace().unwrap_or_default(),
    );
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    match api
        .patch_metadata(&backup.name_any(), &PatchParams::default(), &patch)
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(failed(METADATA)(error)),
    }
}

async fn record(context: &Context, backup: &Backup, status: BackupStatus) -> Result<(), Error> {
    let before = backup.status.as_ref().and_then(|status| status.phase);
    let (phase, why, verified) = (status.phase, status.failure_reason.clone(), status.verified);
    if write_status(&context.frame.client, backup, status).await? && phase != before {
        let why = why.unwrap_or_default();
        tracing::info!(backup = key(backup), ?phase, ?verified, why, "backup");
        let (kind, reason, text) = match (phase, verified) {
            (Some(BackupPhase::Failed), _) => (EventType::Warning, "Failed", why),
            (Some(BackupPhase::Completed), Some(true)) => (
                EventType::Normal,
                "Completed",
                "restored and compared with the member".to_owned(),
            ),
            (Some(BackupPhase::Completed), None) => (EventType::Normal, "Ended", why),
            (Some(BackupPhase::Completed), _) => (EventType::Warning, "NotVerified", why),
            _ => return Ok(()),
        };
        context.frame.event(backup, kind, reason, text).await;
    }
    Ok(())
}
