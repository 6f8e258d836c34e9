//! Whether earlier backups are still there: the Job that makes the next one looks.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::path::Folder;
use crate::repository::Repository;

/// Longest time that is looked: the backup that was made is complete, and a repository that has become slow must not
/// have its Job end as failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Of the backups in folders of these names beside one, those without their data: no manifest, or no snapshot of its
/// length. What cannot be read is not known to be lost.
pub async fn lost(repository: &Repository, folder: &Folder, names: &[String]) -> Vec<String> {
    let path = folder.path().to_string();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let until = Instant::now() + PATIENCE;
    let mut lost = Vec::new();
    for name in names {
        let Ok(other) = Folder::read(&format!("{parent}/{name}")) else {
            continue;
        };
        match timeout_at(until, is_whole(repository, &other)).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => lost.push(name.clone()),
            Ok(Err(error)) => eprintln!("whether {name} is still there is not known: {error}"),
            Err(_) => {
                eprintln!(
                    "whether {name} and those after it are still there is not known: the repository is slow"
                );
                break;
            }
        }
    }
    lost
}

async fn is_whole(repository: &Repository, folder: &Folder) -> Result<bool, Error> {
    let Some(manifest) = repository.manifest(folder).await? else {
        return Ok(false);
    };
    let snapshot = folder.path().clone().join(manifest.object.as_str());
    Ok(repository.length(&snapshot).await? == Some(manifest.bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};

    use super::*;
    use crate::manifest::tests::manifest;

    #[tokio::test]
    async fn a_backup_without_its_manifest_or_snapshot_is_lost_and_one_that_cannot_be_read_is_not()
    {
        let repository = Repository::over(Arc::new(InMemory::new()));
        let names = ["whole", "bare", "cut", "odd", "gone"].map(str::to_owned);
        let written = manifest().write().expect("json");
        let contents: [(Option<&[u8]>, Option<usize>); 5] = [
            (Some(&written), Some(7)),
            (Some(&written), None),
            (Some(&written), Some(6)),
            (Some(b"?"), None),
            (None, Some(7)),
        ];
        for (name, (manifest, bytes)) in names.iter().zip(contents) {
            let folder = Folder::read(&format!("demo/shop-u/etcd/{name}")).expect("a path");
            let manifest = manifest.map(|bytes| (folder.manifest(), bytes.to_vec()));
            let snapshot = bytes.map(|bytes| (folder.snapshot("a"), vec![0; bytes]));
            for (object, content) in manifest.into_iter().chain(snapshot) {
                let made = repository.create(&object, content).await;
                made.expect("written");
            }
        }
        let next = Folder::read("demo/shop-u/etcd/next").expect("a path");
        let lost = lost(&repository, &next, &names).await;
        assert_eq!(lost, ["bare", "cut", "gone"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_repository_does_not_hold_up_what_was_made() {
        let store = ThrottledStore::new(InMemory::new(), ThrottleConfig::default());
        store.config_mut(|config| config.wait_get_per_call = Duration::from_secs(140));
        let repository = Repository::over(Arc::new(store));
        let names: Vec<String> = (0..50).map(|number| format!("b-{number}")).collect();
        let next = Folder::read("demo/shop-u/etcd/next").expect("a path");
        let began = Instant::now();
        let found = lost(&repository, &next, &names).await;
        assert!(began.elapsed() <= PATIENCE + Duration::from_secs(1));
        assert_eq!(found, ["b-0", "b-1"], "what was known by then");
    }
}
