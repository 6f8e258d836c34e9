//! An archive in a folder: merged, pruned and deleted. No etcd takes part.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

use etcd_backup::archive::collect::{Collector, Tail};
use etcd_backup::archive::name::Object;
use etcd_backup::archive::segment::{Event, Segment};
use etcd_backup::archive::store::{Archive, MERGED};
use etcd_backup::path::Folder;
use etcd_backup::remove::{What, remove};
use etcd_backup::repository::Repository;

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
        .prune(&mut inventory, MERGED as i64 * 1000)
        .await
        .unwrap();
    assert_eq!(begins, None);
    assert_eq!(all(&archive).await.1, before, "exactly then is not before");
    let begins = archive
        .prune(&mut inventory, MERGED as i64 * 1000 + 1)
        .await
        .unwrap();
    let first = &before[MERGED].header;
    assert_eq!(begins, Some((first.after, first.since)));
    assert_eq!(all(&archive).await.1, before[MERGED..]);
    archive.prune(&mut inventory, i64::MAX).await.unwrap();
    let (_, left) = all(&archive).await;
    assert_eq!(left, before[2 * MERGED..], "the newest always stay");
}
