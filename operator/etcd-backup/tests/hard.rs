//! Hard days of a backup: a repository that is full, an answer that is lost, and a Job that is killed, at every single
//! write; one that is slow, and one that is full or lets everyone write under an archive.
//! Needs `ETCD_BIN`, with `etcdutl` beside it; run with `-- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bench::archives::{LONG, start};
use bench::troubled::{self, Trouble, Troubles};
use bench::{Etcd, save};
use etcd_backup::archive::standing::Standing;
use etcd_backup::error::Error;
use etcd_backup::manifest::Manifest;
use etcd_backup::path::Folder;
use etcd_backup::repository::{Repository, Snapshot};
use etcd_backup::save::save as make;
use object_store::local::LocalFileSystem;
use tempfile::TempDir;

/// A repository in a folder, and the one trouble that it has.
fn repository(trouble: Trouble) -> (Repository, Arc<Troubles>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let inner = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let (repository, troubles) = troubled::repository(inner, trouble);
    (repository, troubles, folder)
}

/// Names of the objects that are there.
async fn objects(repository: &Repository, of: &etcd_backup::save::Save) -> Vec<String> {
    let names = repository.names(&of.folder).await.unwrap();
    let mut names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_repository_that_is_full_at_any_write_has_no_backup_and_says_so() {
    let mut source = Etcd::start().await;
    source.fill(50).await;
    let mut refused = 0;
    loop {
        let scratch = tempfile::tempdir().unwrap();
        let (repository, troubles, _folder) = repository(Trouble::FullFrom(refused));
        let first = save(scratch.path(), "a");
        let Err(error) = make(&repository, &source.member, &first).await else {
            break;
        };
        let text = error.to_string();
        assert!(matches!(error, Error::Store { .. }), "{refused}: {text}");
        assert!(
            text.contains("no space") && text.contains("has free space"),
            "{refused}: {text}"
        );
        assert_eq!(objects(&repository, &first).await, [""; 0], "{refused}");
        // There is space again.
        troubles.over();
        let made = make(&repository, &source.member, &save(scratch.path(), "b")).await;
        assert!(made.unwrap().verification.verified, "{refused}");
        refused += 1;
    }
    assert!(refused >= 3, "begin, part, end and manifest: {refused}");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_job_that_is_killed_at_any_write_is_made_good_by_the_next() {
    let mut source = Etcd::start().await;
    source.fill(50).await;
    let mut killed = 0;
    for done in [false, true] {
        for at in 0.. {
            let scratch = tempfile::tempdir().unwrap();
            let (repository, troubles, _folder) = repository(Trouble::HangsAt { at, done });
            let first = save(scratch.path(), "a");
            let ended = tokio::select! {
                made = make(&repository, &source.member, &first) => Some(made.unwrap()),
                () = troubles.hangs.notified() => None,
            };
            if ended.is_some() {
                break;
            }
            killed += 1;
            troubles.over();
            let second = save(scratch.path(), "b");
            let made = make(&repository, &source.member, &second).await.unwrap();
            assert!(made.verification.verified, "write {at}, done: {done}");
            let left = objects(&repository, &second).await;
            assert_eq!(
                left,
                ["manifest.json", made.object.as_str()],
                "write {at}, done: {done}"
            );
        }
    }
    assert!(killed >= 6, "{killed}");
}

/// A backup is in the repository as it was reported, and nothing beside it.
async fn is_whole(repository: &Repository, of: &etcd_backup::save::Save, made: &Manifest) {
    let on_record = repository.manifest(&of.folder).await.unwrap();
    assert_eq!(on_record.as_ref(), Some(made));
    let names = objects(repository, of).await;
    assert_eq!(names, ["manifest.json", made.object.as_str()]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let snapshot = Snapshot::of(made, None).unwrap();
    let read = repository.fetch_snapshot(&of.folder, &snapshot, file.path());
    read.await.unwrap();
    assert!(made.verification.verified);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_write_that_took_effect_and_was_answered_by_an_error_leaves_a_whole_backup_or_none() {
    let mut source = Etcd::start().await;
    source.fill(50).await;
    let (mut made_good, mut lost) = (0, 0);
    for exists in [false, true] {
        for at in 0.. {
            let scratch = tempfile::tempdir().unwrap();
            let (repository, troubles, _folder) = repository(Trouble::Loses { at, exists });
            let first = save(scratch.path(), "a");
            let made = make(&repository, &source.member, &first).await;
            let came = troubles.came.load(Ordering::SeqCst);
            troubles.over();
            match made {
                Ok(made) => {
                    is_whole(&repository, &first, &made).await;
                    made_good += usize::from(came);
                }
                Err(error) => {
                    assert!(matches!(error, Error::Store { .. }), "{at}: {error}");
                    assert_eq!(objects(&repository, &first).await, [""; 0], "{at}");
                    lost += 1;
                }
            }
            let second = save(scratch.path(), "b");
            let made = make(&repository, &source.member, &second).await.unwrap();
            is_whole(&repository, &second, &made).await;
            if !came {
                break;
            }
        }
    }
    assert!(lost >= 4, "begin, part, end: {lost}");
    assert_eq!(made_good, 2, "the manifest, by either answer");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn what_a_manifest_may_name_is_not_deleted_while_it_cannot_be_read() {
    let mut source = Etcd::start().await;
    source.fill(50).await;
    for times in [1, 2, 3, usize::MAX] {
        let scratch = tempfile::tempdir().unwrap();
        let (repository, troubles, _folder) = repository(Trouble::Unread { times });
        let first = save(scratch.path(), "a");
        let made = make(&repository, &source.member, &first).await;
        if let Err(error) = &made {
            assert!(error.to_string().contains("failed to read"), "{error}");
        }
        // One look that fails is made good by the next.
        assert_eq!(made.is_ok(), times == 1, "{times}");
        troubles.over();
        let second = save(scratch.path(), "b");
        let made = make(&repository, &source.member, &second).await.unwrap();
        assert_eq!(made.object, "snapshot-a.db", "{times}");
        is_whole(&repository, &second, &made).await;
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_manifest_without_its_object_is_no_backup_and_another_one_is_made() {
    let mut source = Etcd::start().await;
    source.fill(50).await;
    let scratch = tempfile::tempdir().unwrap();
    let (repository, _troubles, _folder) = repository(Trouble::None);
    let first = save(scratch.path(), "a");
    let made = make(&repository, &source.member, &first).await.unwrap();
    is_whole(&repository, &first, &made).await;
    let object = first.folder.snapshot("a");
    repository.delete(&object).await.unwrap();
    let second = save(scratch.path(), "b");
    let made = make(&repository, &source.member, &second).await.unwrap();
    assert_eq!(made.object, "snapshot-b.db");
    is_whole(&repository, &second, &made).await;
    // Another length is not what was written.
    let object = first.folder.snapshot("b");
    repository.delete(&object).await.unwrap();
    repository.create(&object, b"short".to_vec()).await.unwrap();
    let third = make(&repository, &source.member, &save(scratch.path(), "c")).await;
    let text = third.unwrap_err().to_string();
    assert!(text.contains("5 bytes of"), "{text}");
    assert_eq!(objects(&repository, &first).await.len(), 2);
}

#[tokio::test]
async fn what_is_there_is_not_overwritten_where_the_server_ignores_conditions() {
    let (repository, _troubles, _folder) = repository(Trouble::Overwrites);
    let object = Folder::read("pre/demo/shop-u/etcd/b").unwrap().manifest();
    let create = async |content: &[u8]| repository.create(&object, content.to_vec()).await;
    create(b"one").await.unwrap();
    let error = create(b"two").await.unwrap_err();
    assert!(matches!(error, Error::Taken(_)), "{error}");
    create(b"one").await.unwrap();
    assert_eq!(repository.whole(&object, 9).await.unwrap(), &b"one"[..]);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_manifest_that_another_attempt_has_exchanged_keeps_its_object() {
    let mut source = Etcd::start().await;
    source.fill(50).await;
    let scratch = tempfile::tempdir().unwrap();
    let (repository, _troubles, _folder) = repository(Trouble::Exchanges);
    let first = save(scratch.path(), "a");
    let made = make(&repository, &source.member, &first).await.unwrap();
    assert_eq!(made.object, "snapshot-b.db");
    is_whole(&repository, &first, &made).await;
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_slow_repository_holds_the_stream_back_and_not_the_snapshot_in_memory() {
    let mut source = Etcd::start().await;
    for number in 0..48 {
        let value = vec![b'a' + number % 26; 1 << 20];
        let key = format!("large-{number}");
        source.client.put(key, value, None).await.unwrap();
    }
    let scratch = tempfile::tempdir().unwrap();
    let (repository, troubles, _folder) = repository(Trouble::Slow(Duration::from_millis(400)));
    let made = make(&repository, &source.member, &save(scratch.path(), "a")).await;
    let made = made.unwrap();
    assert!(made.verification.verified && made.bytes > 48 << 20);
    let most = troubles.most.load(Ordering::SeqCst);
    assert!((1..=16 << 20).contains(&most), "{most} bytes on their way");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn an_archive_waits_for_a_repository_that_is_full_and_loses_nothing() {
    let mut source = Etcd::start().await;
    let base = source.member.status().await.unwrap().revision;
    let (repository, troubles, _folder) = repository(Trouble::None);
    let mut writing = start(&repository, &source, base, "w");
    source.fill(5).await;
    let before = source.member.status().await.unwrap().revision;
    let archived = |known: &Standing| known.through == before;
    writing.is("it is archived", archived).await;
    troubles.are(Trouble::FullFrom(0));
    source.fill(5).await;
    let last = source.member.status().await.unwrap().revision;
    let says = |known: &Standing| {
        let why = known.failure.as_deref().unwrap_or_default();
        why.contains("no space") && known.lag(tokio::time::Instant::now()) > 2500
    };
    // How far it is behind is not told by itself.
    let end = tokio::time::Instant::now() + LONG;
    while !says(&writing.standing.borrow()) {
        assert!(
            tokio::time::Instant::now() < end,
            "{:?}",
            *writing.standing.borrow()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(writing.standing.borrow().through, before);
    troubles.over();
    let archived = |known: &Standing| known.through == last;
    writing.is("it is archived", archived).await;
    let known = writing.standing.borrow().clone();
    assert_eq!((known.gap, known.failure), (None, None));
    writing.kill().await;
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn an_archive_is_not_begun_where_a_second_writer_would_not_be_refused() {
    let mut source = Etcd::start().await;
    source.fill(1).await;
    let (repository, _troubles, folder) = repository(Trouble::Overwrites);
    let writing = start(&repository, &source, 1, "w");
    let ended = tokio::time::timeout(Duration::from_secs(30), writing.task).await;
    let ended = ended.expect("it ends").unwrap().to_string();
    assert!(ended.contains("use another server"), "{ended}");
    let mut left = std::fs::read_dir(folder.path().join("pre/demo/shop-u/etcd/archive")).unwrap();
    assert!(left.next().is_none(), "nothing is left");
}
