//! IO: writes into BackupRepos whether they can be used, and has a Job try it. What opens a bucket stays in that Job.

use std::sync::Arc;
use std::time::Duration;

use etcd_operator_api::BackupRepo;
use etcd_operator_api::backup_repo::SecretReference;
use etcd_operator_api::condition::{ConditionType, Reason};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::watcher;

use super::observe::{ObserveError, foreign, is_of, job_seen, pods_of};
use super::place::{self, Place};
use super::probe::{self, Act, MADE_OF, ProbeSeen, Probed, Sight};
use crate::client::message;
use crate::controller::{ApplyError, Blame, Context, Driver, Late, Unread, delete, heads};

/// Annotation of the class of claims that name none.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Read(#[from] Unread),
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error("failed to {what}: {}", message(.source))]
    Api {
        what: &'static str,
        source: kube::Error,
    },
    #[error(transparent)]
    Delete(#[from] ApplyError),
    #[error(transparent)]
    Late(#[from] Late),
}

fn failed(what: &'static str) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Api { what, source }
}

/// Reconciles BackupRepos, which belong to no namespace.
///
/// # Errors
/// Never: it runs until it is dropped.
pub(crate) async fn run(context: Arc<Context>) -> anyhow::Result<()> {
    let driver = Driver::new("BackupRepo", &context);
    let controller = heads::<BackupRepo>(&context, watcher::Config::default());
    let blame = Blame::Condition(ConditionType::Validated, Reason::ValidateFailed);
    let round = move |repo| {
        let context = Arc::clone(&context);
        async move { Box::pin(round(repo, &context)).await }
    };
    Box::pin(driver.run(controller, blame, |_: &Error| false, round)).await
}

/// One round of one BackupRepo, read just now.
pub(super) async fn round(mut repo: BackupRepo, context: &Context) -> Result<Action, Error> {
    if repo.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let (sight, job) = match place::read(&repo) {
        Err(_) => (None, None),
        Ok(Place::Claim { class, .. }) => {
            (Some(Sight::Class(classed(context, class).await?)), None)
        }
        Ok(Place::Bucket { credential, .. }) => bucket(&repo, context, &credential).await?,
    };
    let tool = &context.config.backup_image;
    let verdict = probe::decide(&repo, sight.as_ref(), tool, &Time(Timestamp::now()));
    let Probed { status, act, again } = verdict;
    if repo.status.as_ref() != Some(&status) {
        let api: Api<BackupRepo> = Api::all(context.client.clone());
        let name = repo.name_any();
        repo.status = Some(status);
        // Over the version that it was computed from: a conflict is tried again.
        let params = PostParams::default();
        let written = api.replace_status(&name, &params, &repo).await;
        written.map_err(failed("write the status of a BackupRepo"))?;
    }
    match (act, job) {
        (Act::Record, _) | (Act::Clear, None) => {}
        (Act::Clear, Some(job)) => delete(&context.client, &job).await?,
        (Act::Try(job), _) => create(context, &job).await?,
    }
    Ok(again.map_or_else(Action::await_change, |seconds| {
        Action::requeue(Duration::from_secs(u64::try_from(seconds).unwrap_or(1)))
    }))
}

/// What is seen of a bucket, and the Job that tries it.
async fn bucket(
    repo: &BackupRepo,
    context: &Context,
    credential: &SecretReference,
) -> Result<(Option<Sight>, Option<Job>), Error> {
    let job = match found(repo, context, credential).await {
        Err(Error::Api { source, .. }) if is_forbidden(&source) => {
            let secret = Err(no_rights(&context.config.namespaces, credential, &source));
            return Ok((Some(Sight::Bucket { secret, job: None }), None));
        }
        found => found?,
    };
    let own = repo.uid().unwrap_or_default();
    if let Some(other) = job.as_ref().filter(|job| !is_of(&job.metadata, &own)) {
        let secret = Err(foreign("Job", &other.metadata));
        return Ok((Some(Sight::Bucket { secret, job: None }), None));
    }
    let secret = secret(context, credential).await;
    let seen = match &job {
        Some(job) => Some(Box::new(seen(context, job).await?)),
        None => None,
    };
    Ok((Some(Sight::Bucket { secret, job: seen }), job))
}

fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Why a credential's namespace is of no use, and what would be.
fn no_rights(served: &[String], credential: &SecretReference, error: &kube::Error) -> String {
    let SecretReference { name, namespace } = credential;
    if served.is_empty() || served.contains(namespace) {
        let why = message(error);
        return format!("spec.credential.namespace: no rights in namespace {namespace}: {why}");
    }
    format!(
        "spec.credential.namespace: the operator has no rights in namespace {namespace}, for it serves only {}: put \
         Secret {name} into one of them and name that one here",
        served.join(", ")
    )
}

async fn create(context: &Context, job: &Job) -> Result<(), Error> {
    let namespace = job.namespace().unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &namespace);
    match jobs.create(&PostParams::default(), job).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(failed("create the Job that tries the repository")(error)),
    }
}

/// The Job that tries it, of this very BackupRepo.
async fn found(
    repo: &BackupRepo,
    context: &Context,
    credential: &SecretReference,
) -> Result<Option<Job>, Error> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), &credential.namespace);
    let found = jobs.get_opt(&probe::name(repo)).await;
    found.map_err(failed("read the Job that tries the repository"))
}

async fn seen(context: &Context, job: &Job) -> Result<ProbeSeen, Error> {
    let pods = pods_of(&context.client, job).await?;
    Ok(ProbeSeen {
        made_of: job.annotations().get(MADE_OF).cloned().unwrap_or_default(),
        made: job.metadata.creation_timestamp.clone(),
        seen: job_seen(job, &pods, Timestamp::now()),
    })
}

/// The version of the credential's Secret, of which only the metadata is read.
async fn secret(context: &Context, credential: &SecretReference) -> Result<String, String> {
    let SecretReference { name, namespace } = credential;
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let found = secrets.get_metadata_opt(name).await.map_err(|error| {
        let why = message(&error);
        format!("spec.credential: Secret {namespace}/{name} cannot be read: {why}")
    })?;
    let found = found.ok_or_else(|| {
        format!("spec.credential: Secret {namespace}/{name} is not there: create it")
    })?;
    let version = found.resource_version().unwrap_or_default();
    Ok(format!("{} {version}", found.uid().unwrap_or_default()))
}

/// Whether the storage class of a claim is there.
async fn classed(context: &Context, class: Option<String>) -> Result<Result<(), String>, Error> {
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    let all = classes.list(&ListParams::default()).await;
    let all = all.map_err(failed("read the StorageClasses"))?.items;
    let is_default = |class: &StorageClass| {
        class.annotations().get(DEFAULT_CLASS).map(String::as_str) == Some("true")
    };
    Ok(match class {
        Some(name) if all.iter().any(|class| class.name_any() == name) => Ok(()),
        Some(name) => Err(format!(
            "spec.config.storageClassName: there is no StorageClass {name:?}"
        )),
        None if all.iter().any(is_default) => Ok(()),
        None => Err(
            "spec.config.storageClassName is missing, and no StorageClass is the default one: name one"
                .to_owned(),
        ),
    })
}
