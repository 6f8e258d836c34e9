//! IO: Clusters that are being filled from a repository. What they read is not deleted by the operator itself: their
//! restore would fail in its middle.

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
