//! IO: the Backups of a namespace, in short, read once for all rounds that wait for them. There may be very many, a
//! round of each that is made needs all, and the operator's memory is small.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use etcd_operator_api::backup::BackupStatus;
use etcd_operator_api::{Backup, BackupSpec, labels};
use kube::Client;
use kube::api::{Api, ListParams, ObjectMeta};
use tokio::sync::{Mutex as Turn, Semaphore};

use crate::controller::list_as;

/// Label of Backups: the schedule that made them, as `{BackupSchedule}.{schedule}`. Long names are cut, so that two
/// schedules may have the same one.
pub(super) const SCHEDULE: &str = "dataprotection.kubeblocks.io/schedule";
/// Namespaces whose Backups are read at a time.
const AT_ONCE: usize = 4;
/// Labels that say something of a Backup to another one.
const KEPT: [&str; 3] = [labels::INSTANCE, labels::COMPONENT_NAME, SCHEDULE];

/// What was read last, while a round holds it, and when that began.
#[derive(Debug, Default)]
struct Newest {
    began: Option<Instant>,
    all: Weak<Vec<Backup>>,
}

/// The Backups of all namespaces. None is held here.
#[derive(Debug)]
pub(crate) struct Others {
    namespaces: Mutex<HashMap<String, Arc<Turn<Newest>>>>,
    places: Semaphore,
}

impl Default for Others {
    fn default() -> Self {
        Self {
            namespaces: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        }
    }
}

impl Others {
    /// All Backups of a namespace that can be read, as they were after this was asked: another round's list, or one of
    /// its own.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) async fn of(
        &self,
        client: &Client,
        namespace: &str,
    ) -> kube::Result<Arc<Vec<Backup>>> {
        let asked = Instant::now();
        let turn = self.turn(namespace);
        let mut newest = turn.lock().await;
        let known = newest.all.upgrade();
        if let Some(known) = known.filter(|_| newest.began >= Some(asked)) {
            return Ok(known);
        }
        // It is never closed.
        let _place = self.places.acquire().await;
        let began = Some(Instant::now());
        let backups: Api<_> = Api::namespaced(client.clone(), namespace);
        // One that cannot be read does nothing, so nothing waits for it.
        let (all, _) = list_as(&backups, &ListParams::default(), short).await?;
        let all = Arc::new(all);
        *newest = Newest {
            began,
            all: Arc::downgrade(&all),
        };
        Ok(all)
    }

    fn turn(&self, namespace: &str) -> Arc<Turn<Newest>> {
        let all = self.namespaces.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        // Namespaces come and go: one of which no round holds or reads anything has nothing to remember.
        all.retain(|_, turn| {
            let held = |newest: &Newest| newest.all.strong_count() > 0;
            Arc::strong_count(turn) > 1 || turn.try_lock().is_ok_and(|newest| held(&newest))
        });
        Arc::clone(all.entry(namespace.to_owned()).or_default())
    }
}

/// What others must know of a Backup.
fn short(backup: Backup) -> Backup {
    let (meta, spec) = (backup.metadata, backup.spec);
    let mut labels = meta.labels.unwrap_or_default();
    labels.retain(|label, _| KEPT.contains(&label.as_str()));
    let status = |status: BackupStatus| BackupStatus {
        phase: status.phase,
        completion_timestamp: status.completion_timestamp,
        backup_repo_name: status.backup_repo_name,
        path: status.path,
        revision: status.revision,
        verified: status.verified,
        job: status.job,
        ..BackupStatus::default()
    };
    Backup {
        metadata: ObjectMeta {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            labels: Some(labels),
            creation_timestamp: meta.creation_timestamp,
            deletion_timestamp: meta.deletion_timestamp,
            ..ObjectMeta::default()
        },
        spec: BackupSpec {
            backup_method: spec.backup_method,
            ..BackupSpec::default()
        },
        status: backup.status.map(status),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fake_api::server;

    #[tokio::test]
    async fn rounds_that_wait_at_the_same_time_share_a_list_and_hold_what_they_need_of_it() {
        let (context, asked) = server(|_| {
            let backup = json!({ "metadata": { "name": "b", "namespace": "demo", "uid": "u",
                    "labels": { labels::INSTANCE: "c", "other": "x" }, "annotations": { "note": "x" } },
                "spec": { "backupPolicyName": "p", "backupMethod": "datafile" },
                "status": { "phase": "Completed", "verified": true, "revision": 7, "failureReason": "x" } });
            (200, json!({ "metadata": {}, "items": [backup] }))
        });
        let others = Others::default();
        let rounds = (0..40).map(|_| others.of(&context.client, "demo"));
        let lists = futures::future::try_join_all(rounds).await.expect("lists");
        let asked = || asked.lock().expect("no panic").len();
        // The first began before the others asked.
        assert!((1..10).contains(&asked()), "{} lists", asked());
        let held = &lists[39][0];
        assert_eq!(held.metadata.labels.as_ref().map(|all| all.len()), Some(1));
        assert_eq!(held.metadata.annotations, None);
        let status = held.status.as_ref().expect("a status");
        assert_eq!((status.revision, &status.failure_reason), (Some(7), &None));
        // Nothing is older than a list of one's own.
        let before = asked();
        others.of(&context.client, "demo").await.expect("a list");
        assert_eq!(asked(), before + 1);
    }

    #[tokio::test]
    async fn a_namespace_of_which_nothing_is_held_is_forgotten() {
        let (context, _) = server(|_| (200, json!({ "metadata": {}, "items": [] })));
        let others = Others::default();
        let known = || {
            let all = others.namespaces.lock().expect("no panic");
            let mut names: Vec<String> = all.keys().cloned().collect();
            names.sort();
            names
        };
        let held = others.of(&context.client, "a").await.expect("a list");
        others.of(&context.client, "b").await.expect("a list");
        others.of(&context.client, "c").await.expect("a list");
        assert_eq!(known(), ["a", "c"]);
        drop(held);
        others.of(&context.client, "d").await.expect("a list");
        assert_eq!(known(), ["d"]);
    }
}
