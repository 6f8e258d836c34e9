//! An archive that is kept under load in an S3 server, encrypted, while its pod is deleted; then restored again and
//! again beside the first cluster, to revisions and to a time. What each holds is compared with what the first one's
//! etcd says it held at that revision.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::scenario::RunError;
use crate::scenario::backup::{self, Told};
use crate::scenario::bucket;
use crate::scenario::subject::{CLUSTER, Subject};
use crate::timeouts;
use crate::wait::{Poll, wait_until};

/// Label of the archive's pods: the Cluster.
const ARCHIVE_OF: &str = "dataprotection.kubeblocks.io/archive-of";
/// Where its pod tells how it stands.
const PORT: u16 = 9188;
const PATH: &str = "v1.0/archive";
/// Secret and key with what everything is encrypted with.
const PHRASE: &str = "pass-phrase";
/// Revisions that are waited for before and after the archive's pod is deleted.
const GROWTH: i64 = 100;
/// Revisions that are drawn, beside those that are known to be delicate.
const DRAWN: usize = 2;
/// The archive tells within this time that it has what the cluster had.
const IN_STEP: Duration = Duration::from_secs(60);

/// An archive that was asked for.
pub(super) struct Archived {
    subject: Subject,
    name: String,
    seed: u64,
    /// Revision of the full backup below it.
    base: i64,
    /// Revision at which its pod was deleted.
    broken: i64,
    /// Seconds until the BackupRepo said that it can be reached.
    reached: f64,
}

/// How an archive stands, as its pod tells. Times are milliseconds of its clock.
#[derive(Clone, Debug, Deserialize)]
struct Report {
    /// Last revision in the repository.
    through: i64,
    /// Its time.
    until: i64,
    /// Milliseconds since it had all.
    lag: i64,
}

/// How far a restore reaches.
enum Until {
    Revision(i64),
    /// A time, which lies between these revisions.
    Time(String, i64, i64),
}

impl Archived {
    /// Makes the server, the repository and a full backup, and asks for the archive.
    pub(super) async fn ask(
        subject: &Subject,
        number: u32,
        image: &str,
        seed: u64,
    ) -> Result<Self, RunError> {
        bucket::serve(subject, image).await?;
        let begun = Instant::now();
        let spec = bucket::repository(&subject.namespace, bucket::CREDENTIAL);
        backup::repository(subject, &subject.namespace, &spec).await?;
        backup::reachable(subject, &subject.namespace, "Ready").await?;
        let reached = begun.elapsed().as_secs_f64();
        encrypt(subject).await?;
        let full = format!("full-{number}");
        backup::make(subject, &full, "datafile", "Delete").await?;
        let limit = timeouts::patient(timeouts::OPERATION);
        let told = backup::wait(subject, &full, "ended", limit, Told::has_ended).await?;
        told.must_be_verified(&full)?;
        let name = format!("archive-{number}");
        backup::make(subject, &name, "archive", "Delete").await?;
        Ok(Self {
            subject: subject.clone(),
            name,
            seed,
            base: told.revision,
            broken: 0,
            reached,
        })
    }

    /// Waits until it is kept and has grown; then deletes its pod by force.
    pub(super) async fn begun(&mut self) -> Result<String, RunError> {
        let running = |told: &Told| told.phase == "Running";
        let limit = timeouts::patient(timeouts::EFFECT_SLOW);
        backup::wait(&self.subject, &self.name, "begun", limit, running).await?;
        let first = self.in_step(self.base + GROWTH).await?;
        let pods: Api<Pod> = Api::namespaced(self.subject.kube.clone(), &self.subject.namespace);
        let gone = DeleteParams::default().grace_period(0);
        let params = ListParams::default().labels(ARCHIVE_OF);
        let deleted = pods.delete_collection(&gone, &params).await;
        deleted.map_err(|error| RunError::api("delete the archive's pod", &error))?;
        self.broken = first.through;
        Ok(format!(
            "reachable after {:.1} s; its pod was deleted at revision {}",
            self.reached, self.broken
        ))
    }

    /// Waits until it has caught up, restores it, and compares. Tells what was compared.
    pub(super) async fn ended(&self, limit: Duration) -> Result<String, RunError> {
        let low = self.in_step(self.broken + GROWTH).await?;
        let noon = low.until + 700;
        let past = |report: &Report| report.until > noon;
        let high = asked(&self.subject, "it is past a time", past).await?;
        let time = jiff::Timestamp::from_millisecond(noon);
        let time = time.map_err(|error| RunError::Wait(format!("a time is one: {error}")))?;
        let mut targets: Vec<Until> = revisions(self.seed, self.base, self.broken, low.through)
            .into_iter()
            .map(Until::Revision)
            .collect();
        targets.push(Until::Time(time.to_string(), low.through, high.through));
        let mut told = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            told.push(self.restore(number, target, limit).await?);
        }
        Ok(told.join("; "))
    }

    async fn restore(
        &self,
        number: usize,
        to: &Until,
        limit: Duration,
    ) -> Result<String, RunError> {
        let name = format!("restored-{number}");
        let mut restore = json!({ "source": { "kind": "Backup", "name": self.name } });
        match to {
            Until::Revision(revision) => restore["revision"] = json!(revision),
            Until::Time(time, ..) => restore["pitr"] = json!(time),
        }
        // Another number of members than the first cluster has.
        let mut cluster = self.subject.etcd(None).manifest();
        cluster["spec"]["componentSpecs"][0]["replicas"] = json!(1);
        cluster["spec"]["restore"] = restore;
        backup::begin(&self.subject, &name, cluster, limit).await?;
        let is = backup::held(&self.subject, &name, None).await?;
        let at = match to {
            Until::Revision(revision) => *revision,
            Until::Time(time, low, high) => {
                let at = is.revision - backup::BUMP;
                if !(*low..=*high).contains(&at) {
                    return Err(RunError::Wait(format!(
                        "a restore to {time} end between revisions {low} and {high}: it is at {at}"
                    )));
                }
                at
            }
        };
        let was = backup::held(&self.subject, CLUSTER, Some(at)).await?;
        if let Some(wrong) = backup::difference(&was, &is, at) {
            return Err(RunError::Wait(format!(
                "{name} hold what the first held at revision {at}: {wrong}"
            )));
        }
        self.refuses_the_past(&name, at).await?;
        let gone = self.subject.clusters();
        let gone = gone.delete(&name, &DeleteParams::background()).await;
        gone.map_err(|error| RunError::api("delete the restored Cluster", &error))?;
        Ok(format!("{} keys at revision {at}", is.entries.len()))
    }

    /// A watch or cache of the first cluster that continues here is told so, and never sees an older state.
    async fn refuses_the_past(&self, cluster: &str, at: i64) -> Result<(), RunError> {
        match backup::held(&self.subject, cluster, Some(at + 1)).await {
            Err(error) if error.to_string().contains("compacted") => Ok(()),
            other => Err(RunError::Wait(format!(
                "{cluster} refuse revision {} as compacted: {:?}",
                at + 1,
                other.map(|held| held.revision)
            ))),
        }
    }

    async fn in_step(&self, revision: i64) -> Result<Report, RunError> {
        in_step(&self.subject, revision).await
    }
}

/// Waits until the repository has all up to a revision.
pub(super) async fn through(subject: &Subject, revision: i64) -> Result<(), RunError> {
    in_step(subject, revision).await.map(drop)
}

/// The last revision in the repository, as the archive's pod tells it now.
pub(super) async fn has(subject: &Subject) -> Result<i64, RunError> {
    let told = asked(subject, "it answers", |_| true).await?;
    Ok(told.through)
}

/// The same, and is in step.
async fn in_step(subject: &Subject, revision: i64) -> Result<Report, RunError> {
    let what = format!("it has revision {revision}");
    asked(subject, &what, |report| {
        report.through >= revision && report.lag < 2000
    })
    .await
}

/// What the archive's pod says, when it fits.
async fn asked(
    subject: &Subject,
    what: &str,
    fits: impl Fn(&Report) -> bool,
) -> Result<Report, RunError> {
    let pods: Api<Pod> = Api::namespaced(subject.kube.clone(), &subject.namespace);
    let params = ListParams::default().labels(ARCHIVE_OF);
    let limit = timeouts::patient(IN_STEP);
    let found = wait_until(format!("the archive: {what}"), limit, async || {
        let listed = match pods.list(&params).await {
            Ok(listed) => listed.items,
            Err(error) => return Poll::NotYet::<_, String>(error.to_string()),
        };
        let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        let Some(pod) = listed.iter().find(stays) else {
            return Poll::NotYet("it has no pod".to_owned());
        };
        let answer = subject.http(&pod.name_any(), PORT, PATH).await;
        let report = answer.and_then(|text| {
            serde_json::from_str::<Report>(&text).map_err(|error| error.to_string())
        });
        match report {
            Ok(report) if fits(&report) => Poll::Ready(report),
            Ok(report) => Poll::NotYet(format!("{report:?}")),
            Err(error) => Poll::NotYet(error),
        }
    });
    found
        .await
        .map_err(|error| RunError::Wait(error.to_string()))
}

/// Revisions to restore: right after the full backup, around the death of the archive's pod, the last, and some drawn.
fn revisions(seed: u64, base: i64, broken: i64, last: i64) -> Vec<i64> {
    let mut random = StdRng::seed_from_u64(seed);
    let drawn = (0..DRAWN).map(|_| random.random_range(base..=last));
    let known = [base + 1, broken, broken + 1, last];
    let mut all: Vec<i64> = known.into_iter().chain(drawn).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Everything of this cluster is encrypted, with a pass phrase of the run's own.
async fn encrypt(subject: &Subject) -> Result<(), RunError> {
    let phrase = format!("{:032x}", rand::random::<u128>());
    let secret: Value = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": PHRASE },
        "stringData": { PHRASE: phrase } });
    let secret: DynamicObject = serde_json::from_value(secret)
        .map_err(|error| RunError::api("build the pass phrase's Secret", &error))?;
    crate::deploy::apply(&subject.kube, &subject.namespace, &[secret]).await?;
    backup::choose(
        subject,
        &json!({ "backupRepoName": subject.namespace, "encryptionConfig": {
            "passPhraseSecretKeyRef": { "name": PHRASE, "key": PHRASE } } }),
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delicate_revisions_are_always_restored_and_a_seed_repeats_the_others() {
        let all = revisions(7, 100, 200, 300);
        for revision in [101, 200, 201, 300] {
            assert!(all.contains(&revision), "{all:?}");
        }
        assert!(all.iter().all(|revision| (100..=300).contains(revision)));
        assert_eq!(all, revisions(7, 100, 200, 300));
    }
}
