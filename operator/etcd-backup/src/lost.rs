//! Whether earlier backups are still there, and can be opened: the Job that makes the next one looks.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::path::Folder;
use crate::repository::Repository;
use crate::seal::{HEADER, Keys, NotOpened};

/// Longest time that is looked: the backup that was made is complete, and a repository that has become slow must not
/// have its Job end as failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// What was found of earlier backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// Those without their data: no manifest, or no snapshot of its length.
    pub lost: Vec<String>,
    /// The first that is encrypted, where it is with another pass phrase.
    pub locked: Option<String>,
}

/// How a backup is.
enum State {
    Whole,
    Lost,
    Locked,
}

/// Looks for the backups in folders of these names beside one, the newest first. What cannot be read is not known to be
/// lost.
pub async fn lost(
    repository: &Repository,
    folder: &Folder,
    names: &[String],
    mut keys: Option<&Keys>,
) -> Earlier {
    let path = folder.path().to_string();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let until = Instant::now() + PATIENCE;
    let mut found = Earlier::default();
    for name in names {
        let Ok(other) = Folder::read(&format!("{parent}/{name}")) else {
            continue;
        };
        match timeout_at(until, look(repository, &other, &mut keys)).await {
            Ok(Ok(State::Whole)) => {}
            Ok(Ok(State::Lost)) => found.lost.push(name.clone()),
            Ok(Ok(State::Locked)) => found.locked = Some(name.clone()),
            Ok(Err(error)) => eprintln!("whether {name} is still there is not known: {error}"),
            Err(_) => {
                eprintln!(
                    "whether {name} and those after it are still there is not known: the repository is slow"
                );
                break;
            }
        }
    }
    found
}

/// The keys are tried once, and taken: to derive one takes long.
async fn look(
    repository: &Repository,
    folder: &Folder,
    keys: &mut Option<&Keys>,
) -> Result<State, Error> {
    let Some(manifest) = repository.manifest(folder).await? else {
        return Ok(State::Lost);
    };
    let snapshot = folder.path().clone().join(manifest.object.as_str());
    if repository.length(&snapshot).await? != Some(manifest.bytes) {
        return Ok(State::Lost);
    }
    let Some(keys) = keys.take_if(|_| manifest.encryption.is_some()) else {
        return Ok(State::Whole);
    };
    let beginning = repository.small(&snapshot, HEADER as u64).await?;
    Ok(match keys.check(&beginning.unwrap_or_default()) {
        Err(NotOpened::Key) => State::Locked,
        _ => State::Whole,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};

    use super::*;
    use crate::manifest::tests::manifest;
    use crate::manifest::{Manifest, SEALED};
    use crate::seal::{ALGORITHM, seal};

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
        let found = lost(&repository, &next, &names, None).await;
        assert_eq!(found.lost, ["bare", "cut", "gone"]);
    }

    #[tokio::test]
    async fn the_newest_that_another_pass_phrase_has_encrypted_is_named() {
        let repository = Repository::over(Arc::new(InMemory::new()));
        let keys = |phrase: &str| Keys::new(phrase.as_bytes()).expect("keys");
        let (former, present) = (keys("the former one"), keys("the present one"));
        let sealed = seal(&former, b"data").expect("sealed");
        let names = ["b-2", "b-1"].map(str::to_owned);
        for name in &names {
            let folder = Folder::read(&format!("demo/shop-u/etcd/{name}")).expect("a path");
            let encrypted = Manifest {
                format_version: SEALED,
                encryption: Some(ALGORITHM.to_owned()),
                bytes: sealed.len() as u64,
                ..manifest()
            };
            let written = encrypted.write().expect("json");
            for (object, content) in [
                (folder.manifest(), written),
                (folder.snapshot("a"), sealed.clone()),
            ] {
                let made = repository.create(&object, content).await;
                made.expect("written");
            }
        }
        let next = Folder::read("demo/shop-u/etcd/next").expect("a path");
        for (keys, locked) in [
            (None, None),
            (Some(&former), None),
            (Some(&present), Some("b-2")),
        ] {
            let found = lost(&repository, &next, &names, keys).await;
            let locked = locked.map(str::to_owned);
            let expected = Earlier {
                locked,
                ..Earlier::default()
            };
            assert_eq!(found, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_repository_does_not_hold_up_what_was_made() {
        let store = ThrottledStore::new(InMemory::new(), ThrottleConfig::default());
        store.config_mut(|config| config.wait_get_per_call = Duration::from_secs(140));
        let repository = Repository::over(Arc::new(store));
        let names: Vec<String> = (0..50).map(|number| format!("b-{number}")).collect();
        let next = Folder::read("demo/shop-u/etcd/next").expect("a path");
        let began = Instant::now();
        let found = lost(&repository, &next, &names, None).await;
        assert!(began.elapsed() <= PATIENCE + Duration::from_secs(1));
        assert_eq!(found.lost, ["b-0", "b-1"], "what was known by then");
    }
}
