//! IO: Clusters that are being filled from a repository. What they read is not deleted by the operator itself: their
//! restore would fail in its middle.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use etcd_operator_api::restore::{SEED, SEEDED_LABEL, Seed};
use etcd_operator_api::{Backup, InstanceSet};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use crate::controller::list_as;

/// What InstanceSets of a namespace begin with that have not formed yet, by their names.
#[derive(Debug)]
pub(super) struct Readers(Vec<(String, Seed)>);

impl Readers {
    /// Those of a namespace, as they are now.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) async fn of(client: &Client, namespace: &str) -> kube::Result<Self> {
        let sets: Api<_> = Api::namespaced(client.clone(), namespace);
        let seeded = ListParams::default().labels(&format!("{SEEDED_LABEL}=true"));
        let (all, _) = list_as(&sets, &seeded, |set: InstanceSet| reading(&set)).await?;
        Ok(Self(all.into_iter().flatten().collect()))
    }

    /// Name of one that reads the data of this Backup, be it a snapshot or an archive.
    pub(super) fn reader(&self, backup: &Backup) -> Option<&str> {
        let status = backup.status.as_ref()?;
        let (repo, path) = (status.backup_repo_name.as_ref()?, status.path.as_ref()?);
        let reads = |seed: &Seed| {
            let archive = seed.archive.as_ref().map(|archive| &archive.path);
            seed.repo == *repo && (seed.path == *path || archive == Some(path))
        };
        let mut found = self.0.iter().filter(|(_, seed)| reads(seed));
        found.next().map(|(name, _)| name.as_str())
    }

    /// Revision of the oldest full backup that this archive is being put over.
    fn over(&self, archive: &Backup) -> Option<i64> {
        let status = archive.status.as_ref()?;
        let (repo, path) = (status.backup_repo_name.as_ref()?, status.path.as_ref()?);
        let over = |(_, seed): &(String, Seed)| {
            let read = seed.archive.as_ref().map(|archive| &archive.path) == Some(path);
            (read && seed.repo == *repo).then_some(seed.revision)
        };
        self.0.iter().filter_map(over).min()
    }
}

/// Namespaces in which a Cluster may be filled from an archive, and when that was noted last: a round of an archive,
/// every ten seconds, lists InstanceSets there alone.
#[derive(Debug, Default)]
pub(crate) struct Restores(Mutex<HashMap<String, Instant>>);

impl Restores {
    /// A Cluster of this namespace is being filled from an archive.
    pub(super) fn note(&self, namespace: &str) {
        self.noted().insert(namespace.to_owned(), Instant::now());
    }

    /// Revision of the oldest full backup that this archive is being put over.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) async fn over(
        &self,
        client: &Client,
        archive: &Backup,
    ) -> kube::Result<Option<i64>> {
        let namespace = archive.namespace().unwrap_or_default();
        let noted = self.noted().get(&namespace).copied();
        let Some(noted) = noted else {
            return Ok(None);
        };
        let readers = Readers::of(client, &namespace).await?;
        if !readers.0.iter().any(|(_, seed)| seed.archive.is_some()) {
            // Unless one has begun since.
            self.noted()
                .retain(|known, at| *known != namespace || *at != noted);
        }
        Ok(readers.over(archive))
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pure: what an InstanceSet is being filled with.
fn reading(set: &InstanceSet) -> Option<(String, Seed)> {
    let status = set.status.as_ref();
    let formed = status.is_some_and(|status| status.cluster_id.is_some());
    if formed || set.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let seed = serde_json::from_str(set.annotations().get(SEED)?).ok()?;
    Some((set.name_any(), seed))
}
