//! An archive in a folder: merged, pruned and deleted. No etcd takes part.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use bench::archives::{archive, archive_with, fill, fill_by, fill_with, new_tail, place};
use bench::troubled::{self, Trouble};
use etcd_backup::apart::apart;
use etcd_backup::archive::name::Object;
use etcd_backup::archive::owner::{Owner, keep_former};
use etcd_backup::archive::segment::Segment;
use etcd_backup::archive::store::{Archive, MERGED};
use etcd_backup::archive::walk::Walk;
use etcd_backup::path::Folder;
use etcd_backup::remove::{What, remove, remove_unowned};
use etcd_backup::repository::Repository;
use etcd_backup::seal::Keys;
use object_store::memory::InMemory;
use serde_json::{Value, json};

#[tokio::test]
async fn an_archive_and_a_full_backup_of_one_name_are_deleted_each_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let archive = archive(&repository);
    fill(&archive, 3).await;
    archive.mark("uid").await.unwrap();
    let place = place();
    let others = [place.manifest(), place.snapshot("a")];
    for object in &others {
        repository.create(object, b"{}".to_vec()).await.unwrap();
    }
    remove(&repository, &place, "uid", What::Snapshot)
        .await
        .unwrap();
    let left = repository.list(&place, |_| true).await.unwrap();
    assert_eq!(left.len(), 4, "{left:?}");
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
async fn what_lies_in_the_folder_of_another_backup_is_refused_and_stays_when_that_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let outer = archive(&repository);
    let inside = |path: &str| Folder::read(&format!("{}/{path}", place().path())).unwrap();
    let within = inside("demo/shop-u/etcd/archive");
    // Others use the repository, too.
    let foreign = Folder::read("pre").unwrap().manifest();
    repository.create(&foreign, b"{}".to_vec()).await.unwrap();
    for folder in [&place(), &within] {
        apart(&repository, folder).await.unwrap();
    }
    fill(&outer, 3).await;
    for folder in [&within, &inside("b")] {
        let error = apart(&repository, folder).await.unwrap_err().to_string();
        let told = error.contains(&format!("lies in {}", place().path()));
        assert!(told && error.contains("pathPrefix"), "{error}");
    }
    apart(&repository, &place()).await.unwrap();
    // An earlier operator let it begin there.
    let inner = Archive::new(repository.clone(), within.clone(), None);
    fill(&inner, 5).await;
    inner.mark("inner").await.unwrap();
    assert_eq!(outer.inventory().await.unwrap().chain.len(), 3);
    outer.mark("uid").await.unwrap();
    remove(&repository, &place(), "uid", What::Archive)
        .await
        .unwrap();
    assert_eq!(names(&repository).await, Vec::<String>::new());
    assert_eq!(inner.inventory().await.unwrap().chain.len(), 5);
}

#[tokio::test]
async fn what_may_be_another_backups_is_not_deleted_while_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let place = place();
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
    let place = place();
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
async fn a_backup_of_a_later_operator_is_not_deleted_with_another_one_of_its_name() {
    let later = |uid: &str| {
        let source = json!({ "backupUid": uid, "more": "x" });
        json!({ "formatVersion": 3, "source": source, "objects": ["snapshot-a.db"] })
    };
    for (manifest, left) in [
        (later("first").to_string(), Some(2)),
        (later("second").to_string(), Some(0)),
        (json!({ "formatVersion": 3 }).to_string(), None),
        ("cut".to_owned(), Some(0)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::folder(folder.path()).unwrap();
        let place = place();
        let contents = [manifest.clone().into_bytes(), b"{}".to_vec()];
        for (object, content) in [place.manifest(), place.snapshot("a")].iter().zip(contents) {
            repository.create(object, content).await.unwrap();
        }
        let removed = remove(&repository, &place, "second", What::Snapshot).await;
        assert_eq!(removed.is_ok(), left.is_some(), "{manifest}: {removed:?}");
        let there = repository.list(&place, |_| true).await.unwrap();
        assert_eq!(there.len(), left.unwrap_or(2), "{manifest}");
    }
}

#[tokio::test]
async fn a_server_that_deletes_nothing_is_found_out() {
    let (repository, _troubles) = troubled::repository(InMemory::new(), Trouble::Keeps);
    let place = place();
    let snapshot = place.snapshot("a");
    repository.create(&snapshot, b"{}".to_vec()).await.unwrap();
    let removed = remove(&repository, &place, "uid", What::Snapshot).await;
    let told = removed.unwrap_err().to_string();
    assert!(told.contains(&snapshot.to_string()), "{told}");
}

/// Appends as the writer of a Backup does that was just started.
async fn append(archive: &Archive, backup_uid: &str, sequences: std::ops::Range<u64>) {
    let mut owner = Owner::new(backup_uid);
    for sequence in sequences {
        let bytes = format!("segment {sequence}").into_bytes();
        let segment = (sequence, bytes.into());
        owner.append(archive, segment).await.unwrap();
    }
}

async fn names(repository: &Repository) -> Vec<String> {
    let place = place();
    let mut names = repository.names(&place).await.unwrap();
    names.sort();
    names.into_iter().map(|(name, _)| name).collect()
}

#[tokio::test]
async fn what_one_backup_has_archived_is_not_deleted_with_another_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let place = place();
    let archive = archive(&repository);
    append(&archive, "first", 0..3).await;
    let [a, b, c] = [0, 1, 2].map(|sequence| Object::segment(sequence).name());
    let firsts = ["owner-first".to_owned(), a, b, c];
    assert_eq!(names(&repository).await, firsts);
    assert_eq!(archive.inventory().await.unwrap().chain.len(), 3);
    // The first was deleted with Retain. The second could not continue it, and has written nothing.
    for what in [What::Archive, What::Snapshot] {
        remove(&repository, &place, "second", what).await.unwrap();
        assert_eq!(names(&repository).await, firsts);
    }
    // The third has continued it.
    append(&archive, "third", 3..5).await;
    assert_eq!(names(&repository).await.len(), 7);
    remove(&repository, &place, "third", What::Archive)
        .await
        .unwrap();
    let left = names(&repository).await;
    assert_eq!(left[..4], firsts, "nothing that the first needs is gone");
    assert!(!left.contains(&"owner-third".to_owned()), "{left:?}");
    assert_eq!(archive.inventory().await.unwrap().chain.len(), 5);
    // The only one left takes all of it along.
    remove(&repository, &place, "first", What::Archive)
        .await
        .unwrap();
    assert_eq!(names(&repository).await, Vec::<String>::new());
}

/// UIDs of two Backups of one name, and the pod that wrote for the first.
const FIRST: &str = "11111111-aaaa";
const SECOND: &str = "22222222-bbbb";
const POD: &str = "archive-log-11111111-6f9cd5b7c4-x2x4z";

/// An archive of an earlier release: nothing in it names the Backup that it is of.
async fn unmarked(archive: &Archive, count: i64) {
    fill_by(POD, archive, new_tail(1), count, |_| 0).await;
}

#[tokio::test]
async fn an_archive_that_no_object_names_the_owner_of_goes_with_the_backup_whose_pod_began_it() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    unmarked(&archive(&repository), 3).await;
    let kept = names(&repository).await;
    assert_eq!(kept.len(), 3, "{kept:?}");
    // The first was deleted with Retain. The second has its name, and has written nothing.
    remove(&repository, &place(), SECOND, What::Archive)
        .await
        .unwrap();
    assert_eq!(names(&repository).await, kept);
    remove(&repository, &place(), FIRST, What::Archive)
        .await
        .unwrap();
    assert_eq!(names(&repository).await, Vec::<String>::new());
    // Nor does one hold its Backup that has never written anything.
    remove(&repository, &place(), SECOND, What::Archive)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_archive_of_before_that_another_backup_continues_does_not_go_with_that_one() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let archive = archive(&repository);
    unmarked(&archive, 3).await;
    // Its own writer of this release names it as any other.
    keep_former(&archive, FIRST, POD).await.unwrap();
    assert_eq!(names(&repository).await.len(), 3);
    // As the writer of another does when it begins, whenever it is killed and begins again.
    for _ in 0..2 {
        keep_former(&archive, SECOND, POD).await.unwrap();
        append(&archive, SECOND, 3..5).await;
    }
    let owners = ["owner-22222222-bbbb", "owner-former"];
    assert_eq!(names(&repository).await[..2], owners);
    remove(&repository, &place(), SECOND, What::Archive)
        .await
        .unwrap();
    let left = names(&repository).await;
    assert_eq!((left[0].as_str(), left.len()), (owners[1], 6), "{left:?}");
    assert_eq!(archive.inventory().await.unwrap().chain.len(), 5);
}

#[tokio::test]
async fn an_archive_of_which_nothing_tells_whose_it_is_is_not_deleted_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    // The Job that deletes has no pass phrase.
    let keys = Keys::new(b"correct horse battery staple").unwrap();
    unmarked(&archive_with(&repository, Some(&keys)), 2).await;
    let kept = names(&repository).await;
    for uid in [FIRST, SECOND] {
        let error = remove(&repository, &place(), uid, What::Archive)
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("segment-000000000000") && text.contains("delete-unowned-archive=true"),
            "{text}"
        );
        assert_eq!(names(&repository).await, kept);
    }
    // Its owner says that it may go. What another Backup has written does not.
    let other = archive_with(&repository, Some(&keys));
    other.mark(SECOND).await.unwrap();
    remove_unowned(&repository, &place(), FIRST).await.unwrap();
    assert_eq!(names(&repository).await.len(), kept.len() + 1);
    let mark = place().path().clone().join(format!("owner-{SECOND}"));
    repository.delete(&mark).await.unwrap();
    remove_unowned(&repository, &place(), FIRST).await.unwrap();
    assert_eq!(names(&repository).await, Vec::<String>::new());
    remove(&repository, &place(), FIRST, What::Archive)
        .await
        .unwrap();
}

#[tokio::test]
async fn who_continues_an_archive_owns_it_from_its_first_segment_on() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let archive = archive(&repository);
    let mut begins = Owner::new("begins");
    for taken in [0, 1] {
        let bytes = b"of another writer".to_vec();
        archive.append(taken, bytes.into()).await.unwrap();
    }
    let refused = begins.append(&archive, (0, b"late".to_vec().into()));
    refused.await.unwrap_err();
    let with = |uid: &str| format!("owner-{uid}");
    assert!(
        names(&repository).await.contains(&with("begins")),
        "before the first segment of all, so that none is without an owner"
    );
    let mut continues = Owner::new("continues");
    let refused = continues.append(&archive, (1, b"late".to_vec().into()));
    refused.await.unwrap_err();
    assert!(!names(&repository).await.contains(&with("continues")));
    append(&archive, "continues", 2..3).await;
    assert!(names(&repository).await.contains(&with("continues")));
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
        let (mut walk, mut all) = (
            Walk::begin(archive, &inventory, (0, None)),
            Vec::<Segment>::new(),
        );
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

#[tokio::test]
async fn large_segments_end_neither_merging_nor_deleting() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let archive = archive(&repository);
    // One small one stands before the large one.
    let length = |number| if number == 2 { 33 << 20 } else { 0 };
    let count = 2 * MERGED as i64 + 64;
    fill_with(&archive, count, length).await;
    let mut inventory = archive.inventory().await.unwrap();
    for _ in 0..4 {
        archive.merge(&mut inventory).await.unwrap();
    }
    let names = |inventory: &etcd_backup::archive::store::Inventory| {
        let first = inventory.chain.iter().take(4);
        first
            .map(|(object, _)| (object.first, object.last, object.begins))
            .collect::<Vec<_>>()
    };
    let last = 1 + MERGED as u64;
    let expected = [
        (0, 0, Some((1, 0))),
        (1, 1, Some((2, 1000))),
        (2, last, Some((3, 2000))),
        (last + 1, last + 1, None),
    ];
    assert_eq!(names(&inventory), expected);
    // What was written is what is found.
    let mut inventory = archive.inventory().await.unwrap();
    assert_eq!(names(&inventory), expected);
    assert_eq!(inventory.covered, []);
    let mut walk = Walk::begin(&archive, &inventory, (0, None));
    let mut revisions = 1;
    while let Some(segment) = walk.next().await.unwrap() {
        revisions += 1;
        assert_eq!(segment.header.through, revisions);
    }
    assert_eq!(revisions, count + 1);
    let begins = archive.prune(&mut inventory, i64::MAX, i64::MAX).await;
    assert_eq!(begins.unwrap(), Some((3, 2000)));
    assert_eq!(names(&inventory)[0], expected[2]);
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
    let place = beside(name);
    let bytes = manifest.to_string().into_bytes();
    repository.create(&place.manifest(), bytes).await.unwrap();
    let snapshot = place.snapshot("a");
    repository.create(&snapshot, vec![0; 7]).await.unwrap();
}

fn beside(name: &str) -> Folder {
    Folder::read(&format!("pre/demo/shop-u/etcd/{name}")).unwrap()
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
    assert_eq!(archive.base("c", i64::MAX).await.unwrap(), None);
    let second = 1 + MERGED as i64;
    for (name, change) in [
        ("old", json!({ "revision": second })),
        (
            "unproven",
            json!({ "revision": 9000, "verification": { "verified": false } }),
        ),
        ("another", json!({ "revision": 9000, "clusterId": "d" })),
        ("later", json!({ "revision": 9000, "formatVersion": 9 })),
        ("lost", json!({ "revision": 9000 })),
        ("cut", json!({ "revision": 9000, "bytes": 8 })),
    ] {
        back_up(&repository, name, change).await;
    }
    let lost = beside("lost").snapshot("a");
    repository.delete(&lost).await.unwrap();
    let base = archive.base("c", i64::MAX).await.unwrap();
    assert_eq!(
        base,
        Some(second),
        "the only one that is verified, whole, and of this cluster"
    );
    back_up(&repository, "newer", json!({ "revision": second + 1 })).await;
    for (most, found) in [
        (i64::MAX, Some(second + 1)),
        (second, Some(second)),
        (second - 1, None),
    ] {
        assert_eq!(archive.base("c", most).await.unwrap(), found, "{most}");
    }
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
