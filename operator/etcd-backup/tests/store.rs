//! An archive in a folder: merged, pruned and deleted. No etcd takes part.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

use etcd_backup::archive::collect::{Collector, Tail};
use etcd_backup::archive::name::Object;
use etcd_backup::archive::segment::{Event, Segment};
use etcd_backup::archive::store::{Archive, MERGED};
use etcd_backup::path::Folder;
use etcd_backup::remove::{What, remove};
use etcd_backup::repository::Repository;
use serde_json::{Value, json};

const PATH: &str = "pre/demo/shop-u/etcd/archive";

fn archive(repository: &Repository) -> Archive {
    Archive::new(repository.clone(), Folder::read(PATH).unwrap(), None)
}

/// Segments of one revision each, as a writer stores them.
async fn fill(archive: &Archive, count: i64) {
    let tail = Tail::New {
        after: 1,
        cluster_id: "c".into(),
        since: 0,
    };
    let mut collector = Collector::new("w", tail);
    for number in 1..=count {
        let event = Event {
            revision: number + 1,
            key: b"k".to_vec(),
            version: number,
            ..Event::default()
        };
        collector.event(event, number * 1000).unwrap();
        collector.confirm(number + 1, number * 1000).unwrap();
        let (segment, bytes) = collector.close(number * 1000).unwrap();
        archive
            .append(segment.header.sequence, bytes.into())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_archive_and_a_full_backup_of_one_name_are_deleted_each_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let archive = archive(&repository);
    fill(&archive, 3).await;
    let place = Folder::read(PATH).unwrap();
    let others = [place.manifest(), place.snapshot("a")];
    for object in &others {
        repository.create(object, b"{}".to_vec()).await.unwrap();
    }
    remove(&repository, &place, "uid", What::Snapshot)
        .await
        .unwrap();
    let left = repository.list(&place, |_| true).await.unwrap();
    assert_eq!(left.len(), 3, "{left:?}");
    for object in &others {
        repository.create(object, b"{}".to_vec()).await.unwrap();
    }
    remove(&repository, &place, "uid", What::Archive)
        .await
        .unwrap();
    let mut left = repository.list(&place, |_| true).await.unwrap();
    left.sort();
    assert_eq!(left, others);
}

#[tokio::test]
async fn what_may_be_another_backups_is_not_deleted_while_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let place = Folder::read(PATH).unwrap();
    let snapshot = place.snapshot("a");
    repository.create(&snapshot, b"{}".to_vec()).await.unwrap();
    // A link to itself: any look at it fails, and deleting it does not.
    let manifest = folder.path().join(place.manifest().to_string());
    std::os::unix::fs::symlink(&manifest, &manifest).unwrap();
    let error = remove(&repository, &place, "uid", What::Snapshot)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("failed to read"), "{error}");
    assert!(std::fs::symlink_metadata(&manifest).is_ok());
    assert!(folder.path().join(snapshot.to_string()).exists());
}

#[tokio::test]
async fn a_backup_whose_path_is_another_ones_is_deleted_and_the_others_data_stays() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let place = Folder::read(PATH).unwrap();
    let manifest = json!({
        "formatVersion": 1,
        "source": { "namespace": "demo", "cluster": "shop", "component": "etcd", "backupUid": "first" },
        "object": "snapshot-a.db", "bytes": 2, "sha256": "0", "startedAt": "s", "endedAt": "e",
        "etcdVersion": "3.6.1", "clusterId": "c", "memberId": "m", "revisionBefore": 1, "revisionAfter": 1,
        "verification": { "verified": false },
    });
    let objects = [place.manifest(), place.snapshot("a")];
    let contents = [manifest.to_string().into_bytes(), b"{}".to_vec()];
    for (object, content) in objects.iter().zip(contents) {
        repository.create(object, content).await.unwrap();
    }
    let left = async || {
        let mut left = repository.list(&place, |_| true).await.unwrap();
        left.sort();
        left
    };
    remove(&repository, &place, "second", What::Snapshot)
        .await
        .unwrap();
    assert_eq!(left().await, objects);
    remove(&repository, &place, "first", What::Snapshot)
        .await
        .unwrap();
    assert_eq!(left().await, []);
}

#[tokio::test]
async fn segments_are_merged_whenever_that_is_interrupted_and_old_ones_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let archive = archive(&repository);
    let count = 3 * MERGED as i64 + 100;
    fill(&archive, count).await;
    let all = async |archive: &Archive| {
        let inventory = archive.inventory().await.unwrap();
        let (mut walk, mut all) = (archive.walk(&inventory, 0), Vec::<Segment>::new());
        while let Some(segment) = walk.next().await.unwrap() {
            all.push(segment);
        }
        (inventory.chain.len(), all)
    };
    let (objects, before) = all(&archive).await;
    assert_eq!((objects, before.len()), (count as usize, count as usize));
    // A merge that was killed after its object was written and half of the old ones were deleted.
    let mut inventory = archive.inventory().await.unwrap();
    let saved = folder
        .path()
        .join(archive.path(&Object::segment(7)).to_string());
    let kept = std::fs::read(&saved).unwrap();
    archive.merge(&mut inventory).await.unwrap();
    std::fs::write(&saved, kept).unwrap();
    assert_eq!(all(&archive).await.1, before);
    let mut inventory = archive.inventory().await.unwrap();
    assert_eq!(inventory.covered, [Object::segment(7)]);
    for _ in 0..9 {
        archive.merge(&mut inventory).await.unwrap();
    }
    assert!(!saved.exists());
    let (objects, merged) = all(&archive).await;
    assert_eq!(merged, before);
    assert_eq!(
        objects,
        count as usize - 3 * MERGED + 3,
        "three merged, the newest by themselves"
    );
    // The first merged object ended before the second began.
    let begins = archive
        .prune(&mut inventory, MERGED as i64 * 1000, i64::MAX)
        .await
        .unwrap();
    assert_eq!(begins, None);
    assert_eq!(all(&archive).await.1, before, "exactly then is not before");
    let begins = archive
        .prune(&mut inventory, MERGED as i64 * 1000 + 1, i64::MAX)
        .await
        .unwrap();
    let first = &before[MERGED].header;
    assert_eq!(begins, Some((first.after, first.since)));
    assert_eq!(all(&archive).await.1, before[MERGED..]);
    archive
        .prune(&mut inventory, i64::MAX, i64::MAX)
        .await
        .unwrap();
    let (_, left) = all(&archive).await;
    assert_eq!(left, before[2 * MERGED..], "the newest always stay");
}

/// A full backup beside the archive.
async fn back_up(repository: &Repository, name: &str, change: Value) {
    let mut manifest = json!({
        "formatVersion": 1, "object": "snapshot-a.db", "bytes": 7, "sha256": "00", "etcdVersion": "3.6.16",
        "source": { "backupUid": name, "namespace": "demo", "cluster": "shop", "component": "etcd" },
        "startedAt": "2026-01-01T00:00:00Z", "endedAt": "2026-01-01T00:00:01Z", "clusterId": "c", "memberId": "b",
        "revisionBefore": 1, "revisionAfter": 9, "verification": { "verified": true } });
    for (field, value) in change.as_object().unwrap() {
        manifest[field] = value.clone();
    }
    let place = Folder::read(&format!("pre/demo/shop-u/etcd/{name}")).unwrap();
    let bytes = manifest.to_string().into_bytes();
    repository.create(&place.manifest(), bytes).await.unwrap();
}

#[tokio::test]
async fn what_the_newest_full_backup_needs_is_never_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let archive = archive(&repository);
    fill(&archive, 3 * MERGED as i64 + 100).await;
    let mut inventory = archive.inventory().await.unwrap();
    for _ in 0..9 {
        archive.merge(&mut inventory).await.unwrap();
    }
    assert_eq!(archive.base("c").await.unwrap(), None);
    let second = 1 + MERGED as i64;
    for (name, change) in [
        ("old", json!({ "revision": second })),
        (
            "unproven",
            json!({ "revision": 9000, "verification": { "verified": false } }),
        ),
        ("another", json!({ "revision": 9000, "clusterId": "d" })),
        ("later", json!({ "revision": 9000, "formatVersion": 9 })),
    ] {
        back_up(&repository, name, change).await;
    }
    let base = archive.base("c").await.unwrap();
    assert_eq!(
        base,
        Some(second),
        "the only one that is verified, and of this cluster"
    );
    assert!(Archive::is_prunable(&inventory, i64::MAX));
    let none = archive.prune(&mut inventory, i64::MAX, second - 1).await;
    assert_eq!(none.unwrap(), None, "its changes are in the first object");
    let begins = archive
        .prune(&mut inventory, i64::MAX, second)
        .await
        .unwrap();
    assert_eq!(
        begins.map(|(after, _)| after),
        Some(second),
        "and not further"
    );
}
