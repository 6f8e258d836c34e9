//! IO in: what a decision about a Backup depends on, read from the API server (C2: not from a cache).

use std::net::IpAddr;

use etcd_operator_api::backup::BackupPhase;
use etcd_operator_api::backup_policy::ARCHIVE;
use etcd_operator_api::names::{ComponentName, headless_domain};
use etcd_operator_api::tls::IssuerName;
use etcd_operator_api::{Backup, BackupPolicy, BackupRepo, Cluster, InstanceSet, labels};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kbagent_protocol::{ARCHIVE_PORT, ArchiveReport, BackupProgress, BackupReport, EtcdState};
use kube::api::{Api, ListParams, ObjectMeta};
use kube::{Client, ResourceExt};

use super::context::Context;
use super::job::{BACKUP_UID, WORK};
use super::keeper::{AFTER, ARCHIVE_OF, MADE_OF, MEMBERS};
use super::observed::{ClusterSeen, JobSeen, JobState, KeeperSeen, MemberSeen, Seen};
use super::stuck::stuck;
use super::{beside, credential, place, plan, proven};
use crate::agent::Peer;
use crate::client::message;
use crate::controller::{is_lasting, list};
use crate::roles::facts::PodKey;

/// A view older than this tells nothing about now: agents repeat theirs every second.
const FRESH: std::time::Duration = std::time::Duration::from_secs(3);
/// Label of a Job's pods.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Longest text of an archive, in characters.
const TEXT: usize = 900;
/// Most BackupRepos that are searched for the default one.
const REPOS: u32 = 200;

/// Something could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {what}: {}", message(.source))]
pub(super) struct ObserveError {
    what: &'static str,
    source: kube::Error,
}

impl ObserveError {
    /// Whether it would fail again.
    fn is_lasting(&self) -> bool {
        is_lasting(&self.source)
    }
}

fn failed(what: &'static str) -> impl FnOnce(kube::Error) -> ObserveError {
    move |source| ObserveError { what, source }
}

/// Sees what a Backup depends on at this time.
pub(super) async fn observe(
    context: &Context,
    backup: &Backup,
    now: &Time,
) -> Result<Seen, ObserveError> {
    let client = &context.frame.client;
    let namespace = backup.namespace().unwrap_or_default();
    let policies: Api<BackupPolicy> = Api::namespaced(client.clone(), &namespace);
    let leaves = backup.metadata.deletion_timestamp.is_some();
    let policy = policies.get_opt(&backup.spec.backup_policy_name).await;
    let policy = spared(leaves, policy.map_err(failed("the BackupPolicy")))?.flatten();
    let recorded = backup
        .status
        .as_ref()
        .and_then(|status| status.backup_repo_name.clone());
    let named = recorded.or_else(|| {
        policy
            .as_ref()
            .and_then(|policy| policy.spec.backup_repo_name.clone())
    });
    let repo = repository(client, named).await;
    let mut seen = Seen {
        repo: Some(match repo {
            Err(error) if leaves && error.is_lasting() => Err(error.to_string()),
            repo => repo?,
        }),
        ..Seen::default()
    };
    let own = backup.uid().unwrap_or_default();
    let made = job_and_pods(client, &namespace, &plan::job_name(backup), &own).await?;
    if let Some((job, pods)) = made {
        if job.state == JobState::Running {
            seen.progress = progress(context, &pods).await;
        }
        seen.job = Some(job);
    }
    if plan::depends_on_others(backup, now) {
        let others = context.others.of(client, &namespace).await;
        seen.others = others.map_err(failed("the Backups"))?;
    }
    if backup.spec.backup_method == ARCHIVE {
        archive(context, backup, &mut seen).await?;
    }
    if leaves {
        seen.eraser = job(client, &namespace, &plan::eraser_name(backup), &own).await?;
    }
    let ended = backup.status.as_ref().and_then(|status| status.phase);
    if let Some(policy) = &policy
        && !ended.is_some_and(BackupPhase::is_ended)
        && let Some(config) = plan::encryption(backup, policy)
    {
        let key = &config.pass_phrase_secret_key_ref;
        seen.pass_phrase = Some(credential::pass_phrase(client, &namespace, key).await);
    }
    let target = policy.as_ref().and_then(|policy| plan::target(policy).ok());
    seen.policy = policy;
    if let Some((cluster, component)) = target {
        let name = ComponentName::existing(&format!("{cluster}-{component}"));
        let cluster = cluster_of(context, &namespace, &name).await;
        seen.cluster = spared(leaves, cluster)?.flatten();
        if !leaves {
            seen.members = members(context, &namespace, &name).await?;
        }
    }
    Ok(seen)
}

/// What keeps an archive, and whose it is.
async fn archive(context: &Context, backup: &Backup, seen: &mut Seen) -> Result<(), ObserveError> {
    let base = base(context, backup, &seen.others).await?;
    match keeper(context, backup, base).await? {
        Some(Ok(keeper)) => seen.keeper = Some(keeper),
        Some(Err(why)) => seen.foreign = Some(why),
        None => {}
    }
    let status = backup.status.as_ref();
    if let Some((cluster, _)) = status.and_then(|status| status.cluster()) {
        let namespace = backup.namespace().unwrap_or_default();
        let clusters: Api<Cluster> = Api::namespaced(context.frame.client.clone(), &namespace);
        let found = clusters.get_metadata_opt(cluster).await;
        seen.owner = Some(found.map_err(failed("the Cluster"))?.and_then(|c| c.uid()));
    }
    Ok(())
}

/// Revision up to which full backups count for an archive: its pod is told, and deletes what the last of them makes
/// superfluous. One that a Cluster is being restored from does not count, nor any that is newer.
pub(super) async fn base(
    context: &Context,
    archive: &Backup,
    others: &[Backup],
) -> Result<i64, ObserveError> {
    let newest = proven::newest_base(archive, others);
    let leaves = archive.metadata.deletion_timestamp.is_some();
    let over = context.restores.over(&context.frame.client, archive).await;
    let over = spared(leaves, over.map_err(failed("the InstanceSets")))?.flatten();
    Ok(over.map_or(newest, |over| newest.min(over.saturating_sub(1))))
}

/// `None` for what would not be read the next time either, when a Backup `leaves`: it does not keep that.
fn spared<T>(leaves: bool, read: Result<T, ObserveError>) -> Result<Option<T>, ObserveError> {
    match read {
        Err(error) if leaves && error.is_lasting() => Ok(None),
        read => read.map(Some),
    }
}

/// The repository of a name, or the default one; why there is none.
pub(super) async fn repository(
    client: &Client,
    name: Option<String>,
) -> Result<Result<BackupRepo, String>, ObserveError> {
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        let repos: Api<BackupRepo> = Api::all(client.clone());
        let repo = repos
            .get_opt(&name)
            .await
            .map_err(failed("the BackupRepo"))?;
        return Ok(repo.ok_or_else(|| format!("BackupRepo {name:?} is not there")));
    }
    let repos: Api<_> = Api::all(client.clone());
    let all = list(&repos, &ListParams::default().limit(REPOS)).await;
    let all: Vec<BackupRepo> = all.map_err(failed("the BackupRepos"))?.0;
    let mut defaults: Vec<_> = all.into_iter().filter(place::is_default).collect();
    Ok(match (defaults.pop(), defaults.len()) {
        (Some(repo), 0) => Ok(repo),
        (None, _) => Err(format!(
            "the BackupPolicy names no backupRepoName, and no BackupRepo has the annotation {}: true",
            place::DEFAULT
        )),
        (Some(_), more) => Err(format!(
            "{} BackupRepos have the annotation {}: true: leave it to one, or name one in the BackupPolicy",
            more + 1,
            place::DEFAULT
        )),
    })
}

async fn cluster_of(
    context: &Context,
    namespace: &str,
    name: &ComponentName,
) -> Result<Option<ClusterSeen>, ObserveError> {
    let sets: Api<InstanceSet> = Api::namespaced(context.frame.client.clone(), namespace);
    let set = sets
        .get_opt(name.as_str())
        .await
        .map_err(failed("the InstanceSet"))?;
    Ok(set.and_then(|set| {
        let template: PodTemplateSpec = set.spec.template.parse("spec.template").ok()?;
        let replicas = u32::try_from(set.spec.replicas).unwrap_or(0);
        Some(ClusterSeen {
            uid: set.annotations().get(labels::CLUSTER_UID)?.clone(),
            pod: template.spec?,
            tls: certificate(&set, name),
            own_ca: has_own_ca(&set),
            domain: headless_domain(name, namespace, &context.frame.config.cluster_domain),
            pods: name.pods(replicas, &set.spec.offline_instances),
        })
    }))
}

/// Pure: whether a user's own authority signs the members' certificates.
pub(super) fn has_own_ca(set: &InstanceSet) -> bool {
    let issuer = set.annotations().get(labels::TLS_ISSUER);
    issuer.is_some_and(|issuer| issuer != IssuerName::KubeBlocks.as_str())
}

/// Pure: the Secret with the certificate that a Job shows to members.
pub(super) fn certificate(set: &InstanceSet, name: &ComponentName) -> Option<String> {
    set.annotations().get(labels::TLS_ISSUER)?;
    Some(if has_own_ca(set) {
        // A user's own authority has signed no certificate for applications that the operator would know of.
        name.tls_secret()
    } else if set.annotations().contains_key(labels::ACCOUNTS) {
        name.backup_secret()
    } else {
        name.client_secret()
    })
}

async fn members(
    context: &Context,
    namespace: &str,
    name: &ComponentName,
) -> Result<Vec<MemberSeen>, ObserveError> {
    let pods: Api<Pod> = Api::namespaced(context.frame.client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{}={name}", labels::WORKLOAD_INSTANCE));
    let pods = pods
        .list(&params)
        .await
        .map_err(failed("the members' pods"))?;
    Ok(pods
        .items
        .iter()
        .map(|pod| member(context, namespace, pod))
        .collect())
}

fn member(context: &Context, namespace: &str, pod: &Pod) -> MemberSeen {
    let key = PodKey {
        namespace: namespace.to_owned(),
        name: pod.name_any(),
    };
    let seen = context.store.of(&key, &pod.uid().unwrap_or_default());
    let seen = seen.filter(|seen| !seen.silent && seen.age() < FRESH);
    let view = seen.map(|seen| seen.view);
    let view = view.filter(|view| view.etcd == EtcdState::Running && view.under_way.is_none());
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    MemberSeen {
        pod: pod.name_any(),
        ready: pod.metadata.deletion_timestamp.is_none()
            && ready.any(|condition| condition.status == "True"),
        status: view.and_then(|view| view.status),
    }
}

/// Pure: whether an object was made for the owner with this UID. Its name alone says nothing: it is anyone's to take.
pub(super) fn is_of(meta: &ObjectMeta, owner: &str) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    owners.any(|known| known.uid == owner && known.controller == Some(true))
}

/// Pure: why an object that has the name of the operator's own is of no use.
pub(super) fn foreign(kind: &str, meta: &ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    format!(
        "{kind} {namespace}/{name} was not made by the operator and has the name that it needs: it is left alone, so \
         delete it"
    )
}

/// A Job of this name, and what its pods say. One that was not made for the owner has failed.
pub(super) async fn job(
    client: &Client,
    namespace: &str,
    name: &str,
    owner: &str,
) -> Result<Option<JobSeen>, ObserveError> {
    let found = job_and_pods(client, namespace, name, owner).await?;
    Ok(found.map(|(job, _)| job))
}

/// A Job as it stands, and its pods.
async fn job_and_pods(
    client: &Client,
    namespace: &str,
    name: &str,
    owner: &str,
) -> Result<Option<(JobSeen, Vec<Pod>)>, ObserveError> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let Some(job) = jobs.get_opt(name).await.map_err(failed("the Job"))? else {
        return Ok(None);
    };
    if !is_of(&job.metadata, owner) {
        let seen = JobSeen {
            state: JobState::Failed(foreign("Job", &job.metadata)),
            report: None,
            stuck: None,
            waits: None,
        };
        return Ok(Some((seen, Vec::new())));
    }
    let pods = pods_of(client, &job).await?;
    Ok(Some((job_seen(&job, &pods, Timestamp::now()), pods)))
}

/// The pods that a Job controls.
pub(super) async fn pods_of(client: &Client, job: &Job) -> Result<Vec<Pod>, ObserveError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &job.namespace().unwrap_or_default());
    let name = job.name_any();
    let params = ListParams::default().labels(&format!("{JOB_NAME}={name}"));
    let pods = pods
        .list(&params)
        .await
        .map_err(failed("the Job's pods"))?
        .items;
    let uid = job.uid().unwrap_or_default();
    // Labels are anyone's to write: a report counts from a pod that the Job controls.
    let own = |pod: &Pod| {
        let mut owners = pod.owner_references().iter();
        owners.any(|owner| owner.uid == uid && owner.controller == Some(true))
    };
    Ok(pods.into_iter().filter(own).collect())
}

/// How far a backup is, as the pod says that makes it.
async fn progress(context: &Context, pods: &[Pod]) -> Option<BackupProgress> {
    let running = |pod: &&Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
    };
    let pod = pods.iter().find(running)?;
    let asked = context.frame.agents.progress(&served(pod)?).await;
    asked.ok()
}

/// What a pod of ours serves beside its work.
fn served(pod: &Pod) -> Option<Peer> {
    let address = pod.status.as_ref()?.pod_ip.as_deref()?;
    let address: IpAddr = address.parse().ok()?;
    Some(Peer {
        address: (address, ARCHIVE_PORT).into(),
        ..Peer::at(pod, address)
    })
}

/// The Deployment that keeps an archive, and what its pod says, which is told the newest full backup; why it is of no
/// use when it is another's.
async fn keeper(
    context: &Context,
    backup: &Backup,
    base: i64,
) -> Result<Option<Result<KeeperSeen, String>>, ObserveError> {
    let client = &context.frame.client;
    let namespace = backup.namespace().unwrap_or_default();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let found = deployments
        .get_metadata_opt(&plan::keeper_name(backup))
        .await;
    let Some(deployment) = found.map_err(failed("the Deployment"))? else {
        return Ok(None);
    };
    let uid = backup.uid().unwrap_or_default();
    if !is_of(&deployment.metadata, &uid) {
        return Ok(Some(Err(foreign("Deployment", &deployment.metadata))));
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let params = ListParams::default().labels(&format!("{ARCHIVE_OF},{BACKUP_UID}={uid}"));
    let pods = pods
        .list(&params)
        .await
        .map_err(failed("the archive's pods"))?;
    let name = deployment.name_any();
    let pods: Vec<Pod> = pods
        .items
        .into_iter()
        .filter(|pod| is_kept_by(pod, &name))
        .collect();
    let mut report = None;
    for pod in &pods {
        let stays = pod.metadata.deletion_timestamp.is_none();
        if let Some(writer) = served(pod).filter(|_| stays) {
            let asked = context.frame.agents.archive(&writer, &uid, base).await;
            report = report.or(asked.ok());
        }
    }
    let noted = |key: &str| deployment.annotations().get(key);
    Ok(Some(Ok(KeeperSeen {
        made_of: noted(MADE_OF).cloned().unwrap_or_default(),
        members: noted(MEMBERS).map_or_else(Vec::new, |all| {
            all.split_whitespace().map(str::to_owned).collect()
        }),
        after: noted(AFTER).and_then(|after| after.parse().ok()),
        stuck: pods
            .iter()
            .find_map(|pod| fallen(pod).or_else(|| stuck(pod, Timestamp::now()))),
        waits: beside::waits(&pods),
        report: report.map(bounded),
    })))
}

/// Pure: whether a ReplicaSet of this Deployment controls the pod, by its name, which Kubernetes makes of that of the
/// Deployment: labels are anyone's to write, and the operator reads no ReplicaSets.
pub(super) fn is_kept_by(pod: &Pod, deployment: &str) -> bool {
    let mut owners = pod.owner_references().iter();
    owners.any(|owner| {
        let hash = owner.name.strip_prefix(deployment);
        let hash = hash.and_then(|rest| rest.strip_prefix('-'));
        let of_it = hash.is_some_and(|hash| !hash.is_empty() && !hash.contains('-'));
        of_it && owner.kind == "ReplicaSet" && owner.controller == Some(true)
    })
}

/// Pure: whatever answered there, its texts fit into a status.
pub(super) fn bounded(mut report: ArchiveReport) -> ArchiveReport {
    for text in [&mut report.failure, &mut report.gap, &mut report.warning] {
        *text = text.take().map(|text| text.chars().take(TEXT).collect());
    }
    report
}

/// Pure: what a pod's work has said before it ended, while it does not run again.
pub(super) fn fallen(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let work = statuses.iter().find(|container| container.name == WORK)?;
    let state = work.state.as_ref()?;
    if state.running.is_some() {
        return None;
    }
    let last = || work.last_state.as_ref()?.terminated.as_ref();
    let ended = state.terminated.as_ref().or_else(last)?;
    BackupReport::read(ended.message.as_deref()?)?.failure
}

/// Pure: a Job as it stands.
pub(super) fn job_seen(job: &Job, pods: &[Pod], now: Timestamp) -> JobSeen {
    let status = job.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    let held: Vec<_> = conditions
        .filter(|condition| condition.status == "True")
        .collect();
    let of = |kind: &str| held.iter().find(|condition| condition.type_ == kind);
    let state = if of("Complete").is_some() {
        JobState::Succeeded
    } else if let Some(failed) = of("Failed") {
        let text = [failed.reason.as_deref(), failed.message.as_deref()];
        let text: Vec<_> = text.into_iter().flatten().collect();
        JobState::Failed(format!("its Job has failed: {}", text.join(": ")))
    } else {
        JobState::Running
    };
    let mut ended: Vec<_> = pods.iter().filter_map(ended).collect();
    ended.sort_by_key(|(code, at, _)| (*code == 0, *at));
    JobSeen {
        report: ended.pop().and_then(|(_, _, report)| report),
        stuck: if state == JobState::Running {
            pods.iter().find_map(|pod| stuck(pod, now))
        } else {
            None
        },
        waits: beside::waits(pods),
        state,
    }
}

type Ended = (i32, Option<Timestamp>, Option<BackupReport>);

/// Exit code, time and report of a pod whose work has ended.
fn ended(pod: &Pod) -> Option<Ended> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let work = statuses.iter().find(|container| container.name == WORK)?;
    let ended = work.state.as_ref()?.terminated.as_ref()?;
    let report = ended.message.as_deref().and_then(BackupReport::read);
    Some((
        ended.exit_code,
        ended.finished_at.as_ref().map(|at| at.0),
        report,
    ))
}
