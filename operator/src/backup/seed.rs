//! The first disk of a Cluster that begins with a backup: a Job fills it, and the claim says so or why not. The Job is
//! deleted when its work is done, or the claim could not be.
//!
//! The InstanceSet's planner makes the claim, waits for its annotation, and makes the pod. Nothing here touches a claim
//! that a pod uses or a cluster that has formed (D13).

use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::account;
use etcd_operator_api::condition::{ConditionType, Reason};
use etcd_operator_api::names::{self, ComponentName, headless_domain};
use etcd_operator_api::restore::{
    FILLED, FILLED_AGAIN, NOT_FILLED, RESTORE_DONE, SEED, SEEDED_LABEL, Seed,
};
use etcd_operator_api::{BackupRepo, Component, InstanceSet, labels};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodTemplateSpec};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::controller::Action;
use kube::runtime::watcher;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::context::Context;
use super::job::{self, Fill, Frame};
use super::observe::{ObserveError, is_of, job as read_job};
use super::observed::{JobSeen, JobState};
use super::{beside, claim, credential, place};
use crate::client::message;
use crate::controller::{Blame, Driver, Late, Unread, heads, ours, touched};

/// Look again while the claim is made, or the Job runs and its pod may be stuck.
const SOON: Duration = Duration::from_secs(2);
/// Look again at what only its owner can correct.
const BLOCKED: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to {what}: {}", message(.source))]
    Api {
        what: &'static str,
        source: kube::Error,
    },
    #[error(transparent)]
    Read(#[from] Unread),
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Late(#[from] Late),
}

fn failed(what: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Api { what, source }
}

pub(super) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let seeded = watcher::Config::default().labels(&format!("{SEEDED_LABEL}=true"));
    let driver = Driver::new("Restore", &context.frame);
    let controller = heads::<InstanceSet>(&context.frame, seeded)
        .owns_stream(touched::<Job>(&context.frame, ours()));
    let blame = Blame::Condition(ConditionType::Reconciled, Reason::ReconcileFailed);
    let round = move |set: InstanceSet| {
        let context = Arc::clone(&context);
        async move { Box::pin(round(&set, &context)).await }
    };
    Box::pin(driver.run(controller, blame, |_: &Error| false, round)).await
}

/// One round of one InstanceSet, read just now.
pub(super) async fn round(set: &InstanceSet, context: &Context) -> Result<Action, Error> {
    let seed = set
        .annotations()
        .get(SEED)
        .and_then(|text| serde_json::from_str::<Seed>(text).ok());
    // One that cannot be read is reported by the InstanceSet's own controller.
    let Some(seed) = seed else {
        return Ok(Action::await_change());
    };
    let deleted = set.metadata.deletion_timestamp.is_some();
    let status = set.status.clone().unwrap_or_default();
    let formed = status.cluster_id.is_some();
    let again = if deleted || formed {
        Action::await_change()
    } else {
        Action::requeue(SOON)
    };
    if formed && !deleted {
        done(set, context).await?;
    }
    let namespace = set.namespace().unwrap_or_default();
    if !formed && !deleted && seed.archive.is_some() {
        context.restores.note(&namespace);
    }
    let Some(member) = status.bootstrap_members.first().cloned() else {
        return Ok(again);
    };
    let templates = &set.spec.volume_claim_templates;
    let template = templates
        .iter()
        .find(|template| template.name == names::DATA)
        .or(templates.first());
    let name = names::claim(
        template.map_or(names::DATA, |template| &template.name),
        &member,
    );
    let claims: Api<PersistentVolumeClaim> =
        Api::namespaced(context.frame.client.clone(), &namespace);
    let claim = claims
        .get_opt(&name)
        .await
        .map_err(failed("read the claim"))?;
    // One of an earlier Cluster of the same name, or of a user: its data is not ours to replace.
    let Some(claim) = claim.filter(|claim| is_made_for(set, claim)) else {
        return Ok(again);
    };
    let job = job::name("restore", &set.name_any(), &claim.uid().unwrap_or_default());
    let filled = claim.annotations().get(FILLED) == Some(&seed.backup_uid);
    let leaves = claim.metadata.deletion_timestamp.is_some();
    if deleted || formed || filled || leaves {
        clear(set, context, &job).await?;
        return Ok(if filled {
            Action::await_change()
        } else {
            again
        });
    }
    let own = set.uid().unwrap_or_default();
    match read_job(&context.frame.client, &namespace, &job, &own).await? {
        None => Box::pin(begin(set, context, &seed, &member, &claim, &job)).await,
        Some(seen) => {
            if let Some(label) = &seen.waits {
                beside::discount(&context.frame.client, &namespace, label).await;
            }
            follow(&claims, &claim, &seed, seen).await
        }
    }
}

/// Pure: whether the claim was made for this Cluster, as the InstanceSet's planner sees it: the InstanceSet controls
/// it, or the Cluster's UID is on it.
fn is_made_for(set: &InstanceSet, claim: &PersistentVolumeClaim) -> bool {
    let home = claim.annotations().get(labels::CLUSTER_UID);
    let at_home = home.is_some() && home == set.annotations().get(labels::CLUSTER_UID);
    let mut owners = claim.owner_references().iter();
    match owners.find(|owner| owner.controller == Some(true)) {
        Some(owner) => set.uid().as_ref() == Some(&owner.uid) && (home.is_none() || at_home),
        None => at_home,
    }
}

/// Deletes the Job that is needed no more: Kubernetes keeps a claim as long as there is a pod that names it, also one
/// that has ended.
async fn clear(set: &InstanceSet, context: &Context, job: &str) -> Result<(), Error> {
    let namespace = set.namespace().unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(context.frame.client.clone(), &namespace);
    let found = jobs.get_metadata_opt(job).await;
    let Some(found) = found.map_err(failed("read the Job"))? else {
        return Ok(());
    };
    let own = is_of(&found.metadata, &set.uid().unwrap_or_default());
    if !own || found.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let exactly = Preconditions {
        uid: found.uid(),
        resource_version: None,
    };
    let params = DeleteParams::background().preconditions(exactly);
    match jobs.delete(job, &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => Err(Error::Api {
            what: "delete the Job",
            source,
        }),
    }
}

async fn follow(
    claims: &Api<PersistentVolumeClaim>,
    claim: &PersistentVolumeClaim,
    seed: &Seed,
    seen: JobSeen,
) -> Result<Action, Error> {
    let told = seen
        .report
        .as_ref()
        .and_then(|report| report.failure.clone());
    match (seen.state, seen.stuck) {
        (JobState::Succeeded, _) => {
            tell(
                claims,
                claim,
                &json!({ FILLED: seed.backup_uid, NOT_FILLED: null, FILLED_AGAIN: null }),
            )
            .await?;
            Ok(Action::await_change())
        }
        (JobState::Failed(why), _) => {
            let why = told.unwrap_or(why);
            tell(
                claims,
                claim,
                &json!({ NOT_FILLED: why, FILLED_AGAIN: null }),
            )
            .await?;
            Ok(Action::requeue(BLOCKED))
        }
        (JobState::Running, why) => {
            tell(
                claims,
                claim,
                &json!({ NOT_FILLED: why, FILLED_AGAIN: told }),
            )
            .await?;
            Ok(Action::requeue(BLOCKED))
        }
    }
}

async fn begin(
    set: &InstanceSet,
    context: &Context,
    seed: &Seed,
    member: &str,
    claim: &PersistentVolumeClaim,
    job: &str,
) -> Result<Action, Error> {
    let client = &context.frame.client;
    let namespace = set.namespace().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    let repos: Api<BackupRepo> = Api::all(client.clone());
    let repo = repos
        .get_opt(&seed.repo)
        .await
        .map_err(failed("read the BackupRepo"))?;
    let frame = frame(set, context, seed, repo.as_ref());
    let ready = async {
        let frame = frame?;
        let found = claim::provide(client, &frame, false).await;
        let frame = found.map_err(|error| {
            format!("the repository's claim cannot be read: {}", message(&error))
        })??;
        let archive = seed.archive.as_ref();
        let keys = [
            &seed.encryption,
            &archive.and_then(|archive| archive.encryption.clone()),
        ];
        for key in keys.into_iter().flatten() {
            credential::pass_phrase(client, &namespace, key).await?;
        }
        let secret = credential::provide(client, &frame, &set.name_any()).await?;
        Ok::<_, String>((frame, secret))
    };
    let ready = ready.await;
    let (frame, secret) = match ready {
        Ok(ready) => ready,
        Err(why) => {
            tell(&claims, claim, &json!({ NOT_FILLED: why })).await?;
            return Ok(Action::requeue(BLOCKED));
        }
    };
    let domain = &context.frame.config.cluster_domain;
    let fill = fill(set, seed, (member, &claim.name_any()), domain);
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    let wanted = job::fill(&frame, job, secret.as_deref(), &fill);
    match jobs.create(&PostParams::default(), &wanted).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        Err(source) => {
            return Err(Error::Api {
                what: "create the Job",
                source,
            });
        }
    }
    tell(&claims, claim, &json!({ NOT_FILLED: null })).await?;
    Ok(Action::requeue(SOON))
}

/// Pure: what the claim is filled with.
fn fill(
    set: &InstanceSet,
    seed: &Seed,
    (member, claim): (&str, &str),
    cluster_domain: &str,
) -> Fill {
    let namespace = set.namespace().unwrap_or_default();
    let component = ComponentName::existing(&set.name_any());
    let domain = headless_domain(&component, &namespace, cluster_domain);
    let tls = set.annotations().contains_key(labels::TLS_ISSUER);
    let scheme = if tls { "https" } else { "http" };
    Fill {
        claim: claim.to_owned(),
        member: member.to_owned(),
        peer_url: format!("{scheme}://{member}.{domain}:2380"),
        cluster_uid: set
            .annotations()
            .get(labels::CLUSTER_UID)
            .cloned()
            .unwrap_or_default(),
        sha256: seed.sha256.clone(),
        bytes: seed.bytes.unwrap_or_default(),
        admin: member_user(set),
        archive: seed.archive.clone(),
    }
}

/// Pure: the user of etcd that the members are, where it has users.
fn member_user(set: &InstanceSet) -> Option<String> {
    let all = set.annotations();
    let named = all.get(labels::MEMBER_USER).map(String::as_str);
    let user = named.unwrap_or(account::MEMBER);
    all.contains_key(labels::ACCOUNTS).then(|| user.to_owned())
}

/// Pure: what the Job is made of, or why it cannot be.
fn frame(
    set: &InstanceSet,
    context: &Context,
    seed: &Seed,
    repo: Option<&BackupRepo>,
) -> Result<Frame, String> {
    let repo = repo.ok_or_else(|| format!("BackupRepo {:?} is not there", seed.repo))?;
    let template: PodTemplateSpec = set
        .spec
        .template
        .parse("spec.template")
        .map_err(|error| error.to_string())?;
    let pod = template.spec.unwrap_or_default();
    let etcd = pod
        .containers
        .iter()
        .find(|container| container.name == "etcd");
    let namespace = set.namespace().unwrap_or_default();
    Ok(Frame {
        owner: set.controller_owner_ref(&()).unwrap_or_default(),
        uid: seed.backup_uid.clone(),
        tool: context.image.clone(),
        etcd: Some(
            etcd.and_then(|container| container.image.clone())
                .ok_or("the members have no container etcd")?,
        ),
        place: place::read_for(repo, &namespace)
            .map_err(|why| format!("BackupRepo {:?}: {why}", seed.repo))?,
        path: seed.path.clone(),
        retries: 2,
        pass_phrase: seed.encryption.clone(),
        like: pod,
        namespace,
    })
}

/// Writes annotations on exactly this claim, unless they are there.
async fn tell(
    claims: &Api<PersistentVolumeClaim>,
    claim: &PersistentVolumeClaim,
    wanted: &Value,
) -> Result<(), Error> {
    let there = |(key, value): (&String, &Value)| {
        claim.annotations().get(key).map(String::as_str) == value.as_str()
    };
    if wanted.as_object().into_iter().flatten().all(there) {
        return Ok(());
    }
    let patch = Patch::Merge(json!({ "metadata": { "uid": claim.uid(), "annotations": wanted } }));
    match claims
        .patch_metadata(&claim.name_any(), &PatchParams::default(), &patch)
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => Err(Error::Api {
            what: "annotate the claim",
            source,
        }),
    }
}

/// The cluster has formed of the backup: the Component says so.
async fn done(set: &InstanceSet, context: &Context) -> Result<(), Error> {
    let namespace = set.namespace().unwrap_or_default();
    let components: Api<Component> = Api::namespaced(context.frame.client.clone(), &namespace);
    let component = components.get_metadata_opt(&set.name_any()).await;
    let Some(component) = component.map_err(failed("read the Component"))? else {
        return Ok(());
    };
    if component
        .annotations()
        .get(RESTORE_DONE)
        .map(String::as_str)
        == Some("true")
    {
        return Ok(());
    }
    let patch = Patch::Merge(
        json!({ "metadata": { "uid": component.uid(), "annotations": { RESTORE_DONE: "true" } } }),
    );
    let patched = components
        .patch_metadata(&set.name_any(), &PatchParams::default(), &patch)
        .await;
    patched.map(drop).map_err(failed("annotate the Component"))
}
