//! Encrypted backups and archives: nothing of them can be read, exchanged or cut, and another pass phrase is refused
//! before anything is changed. Those of a real etcd need `ETCD_BIN`; run with `-- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bench::archives::{KEY, archive, archive_with, begin, fill_with, settings};
use bench::{Etcd, new_member, ports, programs, save};
use etcd_backup::archive::name::Object;
use etcd_backup::archive::replay::{Replay, plan};
use etcd_backup::archive::search::Target;
use etcd_backup::archive::store::{Archive, MERGED};
use etcd_backup::archive::walk::Walk;
use etcd_backup::error::Error;
use etcd_backup::repository::Repository;
use etcd_backup::restore::{Restore, restore};
use etcd_backup::save::{Save, save as make};
use etcd_backup::seal::{Keys, NotOpened};

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::new(b"correct horse battery staple").unwrap());

fn other() -> Keys {
    Keys::new(b"another pass phrase").unwrap()
}

/// All that can be read, or why not.
async fn read(archive: &Archive) -> Result<usize, String> {
    let inventory = archive.inventory().await.map_err(|e| e.to_string())?;
    let (mut walk, mut count) = (Walk::begin(archive, &inventory, (0, None)), 0);
    while walk.next().await.map_err(|e| e.to_string())?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// Whether any object shows these bytes.
fn shows(folder: &Path, wanted: &[u8]) -> bool {
    let found = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(wanted.len()).any(|window| window == wanted)
    };
    files(folder).into_iter().any(found)
}

#[tokio::test]
async fn an_encrypted_archive_is_merged_and_read_with_its_pass_phrase_alone() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let sealed = archive_with(&repository, Some(&KEYS));
    let count = MERGED + 70;
    fill_with(&sealed, count as i64, |_| 100).await;
    let mut inventory = sealed.inventory().await.unwrap();
    sealed.merge(&mut inventory).await.unwrap();
    assert_eq!(inventory.chain.len(), 71);
    assert_eq!(read(&sealed).await, Ok(count));
    assert!(!shows(folder.path(), KEY));
    let told = |keys: Option<&Keys>| {
        let archive = archive_with(&repository, keys);
        async move { read(&archive).await.unwrap_err() }
    };
    assert!(told(Some(&other())).await.contains("another pass phrase"));
    assert!(told(None).await.contains("it is encrypted"));
}

#[tokio::test]
async fn what_is_not_encrypted_does_not_continue_an_encrypted_archive() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let plain = archive(&repository);
    fill_with(&plain, 2, |_| 100).await;
    assert_eq!(read(&plain).await, Ok(2));
    assert!(shows(folder.path(), KEY), "the search finds it");
    let why = read(&archive_with(&repository, Some(&KEYS)))
        .await
        .unwrap_err();
    assert!(why.contains("is not encrypted"), "{why}");
}

#[tokio::test]
async fn an_encrypted_segment_that_is_exchanged_cut_or_changed_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let sealed = archive_with(&repository, Some(&KEYS));
    fill_with(&sealed, 4, |_| 100).await;
    let file = |number: u64| {
        let path = sealed.path(&Object::segment(number));
        folder.path().join(path.to_string())
    };
    let all: Vec<Vec<u8>> = (0..4)
        .map(|number| std::fs::read(file(number)).unwrap())
        .collect();
    let spoil = async |number: u64, bytes: &[u8]| {
        std::fs::write(file(number), bytes).unwrap();
        let told = read(&sealed).await;
        std::fs::write(file(number), &all[number as usize]).unwrap();
        told.unwrap_err()
    };
    let exchanged = spoil(1, &all[2]).await;
    assert!(exchanged.contains("it holds segment 2"), "{exchanged}");
    let cut = spoil(2, &all[2][..all[2].len() - 1]).await;
    assert!(cut.contains("cut"), "{cut}");
    let mut changed = all[3].clone();
    *changed.last_mut().unwrap() ^= 1;
    let changed = spoil(3, &changed).await;
    assert!(changed.contains("cut or changed"), "{changed}");
    assert_eq!(read(&sealed).await, Ok(4));
}

fn sealed_save(scratch: &Path) -> Save {
    Save {
        keys: Some(KEYS.clone()),
        ..save(scratch, "a")
    }
}

fn restoration(volume: &Path, keys: Option<Keys>, replay: Option<Replay>) -> Restore {
    Restore {
        keys,
        replay,
        ..bench::restoration(volume)
    }
}

/// The value of a key in what was restored.
async fn restored(volume: &Path, key: &str) -> Vec<u8> {
    let server = programs()
        .start(&volume.join("data"), &new_member().name, ports())
        .await
        .unwrap();
    let mut client = server.member().await.unwrap().client();
    let found = client.get(key, None).await.unwrap();
    let value = found.kvs()[0].value().to_vec();
    server.stop().await;
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn an_encrypted_backup_is_proven_and_restored_and_another_pass_phrase_is_refused_first() {
    let mut source = Etcd::start().await;
    source.fill(300).await;
    source
        .client
        .put("who", "a secret value", None)
        .await
        .unwrap();
    let [folder, scratch, volume] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let made = make(&repository, &source.member, &sealed_save(scratch.path()))
        .await
        .unwrap();
    assert!(made.verification.verified, "{:?}", made.verification);
    assert_eq!(
        (made.format_version, made.encryption.as_deref()),
        (2, Some("AES-256-GCM"))
    );
    assert!(!shows(folder.path(), b"a secret value"));

    for (keys, told) in [
        (None, "is encrypted"),
        (Some(other()), "another pass phrase"),
    ] {
        let error = restore(&repository, &restoration(volume.path(), keys, None))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(
            files(volume.path()),
            Vec::<PathBuf>::new(),
            "nothing is touched"
        );
        assert!(!volume.path().join(".restore").exists());
    }
    let right = restoration(volume.path(), Some(KEYS.clone()), None);
    restore(&repository, &right).await.unwrap();
    assert_eq!(
        Box::pin(restored(volume.path(), "who")).await,
        b"a secret value"
    );

    // One that is not encrypted in its place, with a manifest that says so.
    let exchanged = tempfile::tempdir().unwrap();
    let plain = Repository::folder(exchanged.path()).unwrap();
    make(&plain, &source.member, &save(scratch.path(), "a"))
        .await
        .unwrap();
    let empty = tempfile::tempdir().unwrap();
    let error = restore(&plain, &restoration(empty.path(), Some(KEYS.clone()), None))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not encrypted"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn an_encrypted_archive_is_put_over_an_encrypted_backup() {
    let mut source = Etcd::start().await;
    source.fill(20).await;
    let [folder, scratch, volume] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let made = make(&repository, &source.member, &sealed_save(scratch.path()))
        .await
        .unwrap();
    let base = made.revision.unwrap();
    let own = Keys::new(b"the archive has one of its own").unwrap();
    let answer = source
        .client
        .put("who", "a secret value", None)
        .await
        .unwrap();
    let revision = answer.header().unwrap().revision();
    let member = (source.server.client_url(), source.server.certificates());
    let sealed = archive_with(&repository, Some(&own));
    let mut writing = begin(sealed, settings(member, base, "w"));
    writing.reaches(revision).await;
    writing.kill().await;
    assert!(!shows(folder.path(), b"a secret value"));
    let replay = |keys: &Keys| Replay {
        archive: archive_with(&repository, Some(keys)),
        target: Target::Revision(revision),
    };
    let wrong = plan(&replay(&KEYS), (base, &made.cluster_id))
        .await
        .map(|plan| plan.target);
    assert!(
        wrong
            .unwrap_err()
            .to_string()
            .contains("another pass phrase")
    );
    let right = restoration(volume.path(), Some(KEYS.clone()), Some(replay(&own)));
    restore(&repository, &right).await.unwrap();
    assert_eq!(
        Box::pin(restored(volume.path(), "who")).await,
        b"a secret value"
    );
}

#[test]
fn a_wrong_pass_phrase_is_no_damage() {
    let text = NotOpened::Key.to_string();
    assert!(text.contains("status.encryptionConfig"), "{text}");
    let error = Error::Sealed {
        object: "a/b".into(),
        source: NotOpened::Key,
    };
    assert!(!error.to_string().contains("worthless"), "{error}");
}
