//! Pure: whether a repository can be reached: the Job that tries it, and what follows of what was seen.

use etcd_operator_api::BackupRepo;
use etcd_operator_api::backup_repo::{BackupRepoPhase, BackupRepoStatus};
use etcd_operator_api::condition::{self, ConditionType, Observation, Reason, Truth};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt};
use sha2::{Digest, Sha256};

use super::job::{self, Frame};
use super::observed::{JobSeen, JobState};
use super::part::MEBI;
use super::place::{self, Place};
use super::plan::below;

/// Annotation of the Job: of what it was made.
pub(super) const MADE_OF: &str = "dataprotection.kubeblocks.io/made-of";
/// One that could be reached is tried again after so many seconds, one that could not after so many.
const REACHED: i64 = 600;
const MISSED: i64 = 60;
/// How often a Job that runs is looked at, in seconds.
const LOOK: i64 = 1;
/// How often is looked for what is missing, in seconds.
const MISSING: i64 = 10;
/// A Job is ended after so many seconds: its image may have to be pulled.
const DEADLINE: i64 = 120;
/// And goes after so many, should the repository's settings lead to another namespace.
const LEFT: i32 = 1800;

/// What was seen of a repository, beside its own object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sight {
    /// Of a claim: whether its storage class is there.
    Class(Result<(), String>),
    /// Of a bucket: version of the credential's Secret, or why there is none, and the Job.
    Bucket {
        /// UID and resource version of the Secret.
        secret: Result<String, String>,
        /// The Job that tries it.
        job: Option<Box<ProbeSeen>>,
    },
}

/// The Job that tries a repository.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProbeSeen {
    /// Of what it was made.
    pub(super) made_of: String,
    /// When.
    pub(super) made: Option<Time>,
    /// How it stands.
    pub(super) seen: JobSeen,
}

/// What is done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Act {
    /// Nothing but the status.
    Record,
    /// The Job is made.
    Try(Box<Job>),
    /// The Job is deleted, so that another one is made.
    Clear,
}

/// A decision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Probed {
    /// The status from now on.
    pub(super) status: BackupRepoStatus,
    /// What is done.
    pub(super) act: Act,
    /// Seconds until it is looked at again; `None` until its object changes.
    pub(super) again: Option<i64>,
}

/// Name of the Job.
pub(super) fn name(repo: &BackupRepo) -> String {
    job::name("probe", &repo.name_any(), &repo.uid().unwrap_or_default())
}

/// Decides; `sight` is `None` when the settings cannot be used.
pub(super) fn decide(repo: &BackupRepo, sight: Option<&Sight>, tool: &str, now: &Time) -> Probed {
    let mut status = repo.status.clone().unwrap_or_default();
    let changed = status.observed_generation != repo.metadata.generation;
    status.is_default = place::is_default(repo);
    status.observed_generation = repo.metadata.generation;
    let place = place::read(repo);
    let validated = match &place {
        Ok(_) => (true, Reason::PreCheckSucceed, "the settings can be used"),
        Err(why) => (false, Reason::PreCheckFailed, why.as_str()),
    };
    let (holds, reason, text) = validated;
    let validated = Observation::new(ConditionType::Validated, holds, reason, text);
    let found = match (place, sight) {
        (Err(why), _) => Found::no(why, None),
        (Ok(_), Some(Sight::Class(Ok(())))) => {
            let text = "its claims are made where a Backup is; the storage class is there";
            Found::yes(text, REACHED)
        }
        (Ok(_), Some(Sight::Class(Err(why)))) => Found::no(why.clone(), Some(MISSING)),
        (Ok(place @ Place::Bucket { .. }), Some(Sight::Bucket { secret, job })) => {
            bucket(repo, &place, (secret, job.as_deref()), tool, now)
        }
        (Ok(_), _) => Found {
            phase: Some(BackupRepoPhase::PreChecking),
            text: "it was not looked at yet".to_owned(),
            act: Act::Record,
            again: Some(LOOK),
        },
    };
    // One that is tried again keeps what is known of it, unless that is of other settings.
    let known = status.phase.filter(|_| !changed);
    let phase = found
        .phase
        .or(known)
        .unwrap_or(BackupRepoPhase::PreChecking);
    let reached = match (phase, found.phase) {
        (BackupRepoPhase::Ready, Some(_)) => Some((Truth::True, Reason::PreCheckSucceed)),
        (BackupRepoPhase::Failed, Some(_)) => Some((Truth::False, Reason::PreCheckFailed)),
        (BackupRepoPhase::PreChecking, _) => Some((Truth::Unknown, Reason::PreChecking)),
        (BackupRepoPhase::Ready | BackupRepoPhase::Failed, None) => None,
    };
    status.phase = Some(phase);
    let reached = reached.map(|(truth, reason)| {
        Observation::new(ConditionType::Reachable, truth, reason, found.text.clone())
    });
    let seen: Vec<Observation> = [validated].into_iter().chain(reached).collect();
    condition::record(&mut status.conditions, &seen, repo.metadata.generation, now);
    Probed {
        status,
        act: found.act,
        again: found.again,
    }
}

/// What is known of whether it can be reached.
struct Found {
    /// `None`: what was known before still is.
    phase: Option<BackupRepoPhase>,
    text: String,
    act: Act,
    again: Option<i64>,
}

impl Found {
    fn yes(text: &str, again: i64) -> Self {
        Found {
            phase: Some(BackupRepoPhase::Ready),
            text: text.to_owned(),
            act: Act::Record,
            again: Some(again),
        }
    }

    fn no(text: String, again: Option<i64>) -> Self {
        Found {
            phase: Some(BackupRepoPhase::Failed),
            text,
            act: Act::Record,
            again,
        }
    }

    fn open(text: String, act: Act) -> Self {
        Found {
            phase: None,
            text,
            act,
            again: Some(LOOK),
        }
    }
}

fn bucket(
    repo: &BackupRepo,
    place: &Place,
    (secret, job): (&Result<String, String>, Option<&ProbeSeen>),
    tool: &str,
    now: &Time,
) -> Found {
    let secret = match secret {
        Ok(secret) => secret,
        Err(why) => return Found::no(why.clone(), Some(MISSING)),
    };
    let Some(wanted) = job_of(repo, place, secret, tool) else {
        return Found::no("a claim is not tried by a Job".to_owned(), None);
    };
    let Some(found) = job else {
        let text = "a Job writes, reads and deletes a small object in it".to_owned();
        return Found::open(text, Act::Try(Box::new(wanted)));
    };
    if wanted.annotations().get(MADE_OF) != Some(&found.made_of) {
        let text = "its settings or its credential have changed: it is tried again".to_owned();
        return Found {
            phase: Some(BackupRepoPhase::PreChecking),
            ..Found::open(text, Act::Clear)
        };
    }
    let made = found.made.as_ref().map_or(now.0, |made| made.0);
    let age = now.0.duration_since(made).as_secs();
    let told = || {
        let report = found.seen.report.as_ref();
        report.and_then(|report| report.failure.clone())
    };
    let (mut ended, period) = match &found.seen.state {
        JobState::Running => {
            let text = found.seen.stuck.clone();
            let text = text.unwrap_or_else(|| "its Job runs".to_owned());
            return Found::open(text, Act::Record);
        }
        JobState::Succeeded => {
            let text = "a small object was written, read back and deleted";
            (Found::yes(text, REACHED), REACHED)
        }
        JobState::Failed(why) => {
            let text = told().unwrap_or_else(|| why.clone());
            (Found::no(text, Some(MISSED)), MISSED)
        }
    };
    if age >= period {
        ended.act = Act::Clear;
        ended.again = Some(LOOK);
    } else {
        ended.again = Some(period - age);
    }
    ended
}

/// The Job. It mounts the credential where that is: no copy of it is made, and the operator does not read it.
fn job_of(repo: &BackupRepo, place: &Place, secret: &str, tool: &str) -> Option<Job> {
    let Place::Bucket { credential, .. } = place else {
        return None;
    };
    let uid = repo.uid().unwrap_or_default();
    let frame = Frame {
        namespace: credential.namespace.clone(),
        owner: repo.controller_owner_ref(&()).unwrap_or_default(),
        tool: tool.to_owned(),
        etcd: None,
        like: PodSpec::default(),
        // Every BackupRepo has a folder of its own there, also of another Kubernetes cluster.
        path: below(&[&repo.spec.path_prefix], &format!("probe-{uid}")),
        uid,
        retries: 0,
        pass_phrase: None,
        place: place.clone(),
    };
    let arguments = vec!["probe".to_owned()];
    let mut job = job::skeleton(
        &frame,
        &name(repo),
        Some(&credential.name),
        arguments,
        128 * MEBI,
    );
    if let Some(spec) = &mut job.spec {
        spec.active_deadline_seconds = Some(DEADLINE);
        spec.ttl_seconds_after_finished = Some(LEFT);
    }
    let text = serde_json::to_string(&job.spec).unwrap_or_default();
    let hash = Sha256::digest(format!("{secret} {text}"));
    let hash = hash.iter().take(8).map(|byte| format!("{byte:02x}"));
    let noted = [(MADE_OF.to_owned(), hash.collect())];
    job.metadata.annotations = Some(noted.into());
    Some(job)
}
