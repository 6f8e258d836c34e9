//! Encrypted backups and archives: nothing of them can be read, exchanged or cut, and another pass phrase is refused
//! before anything is changed. Those of a real etcd need `ETCD_BIN`; run with `-- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod bench;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use bench::{Etcd, new_member, ports, programs, save};
use etcd_backup::archive::collect::{Collector, Tail};
use etcd_backup::archive::name::Object;
use etcd_backup::archive::replay::{Replay, plan};
use etcd_backup::archive::search::Target;
use etcd_backup::archive::segment::Event;
use etcd_backup::archive::standing::Standing;
use etcd_backup::archive::store::{Archive, MERGED};
use etcd_backup::archive::write::{Write, write};
use etcd_backup::error::Error;
use etcd_backup::path::Folder;
use etcd_backup::repository::Repository;
use etcd_backup::restore::{Restore, restore};
use etcd_backup::save::{Save, save as make};
use etcd_backup::seal::{Keys, NotOpened};
use tokio::time::timeout;

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::new(b"correct horse battery staple").unwrap());

fn other() -> Keys {
    Keys::new(b"another pass phrase").unwrap()
}

const PATH: &str = "pre/demo/shop-u/etcd/archive";

fn archive(repository: &Repository, keys: Option<&Keys>) -> Archive {
    Archive::new(
        repository.clone(),
        Folder::read(PATH).unwrap(),
        keys.cloned(),
    )
}

/// Segments of one revision each.
async fn fill(archive: &Archive, count: i64) {
    let tail = Tail::New {
        after: 1,
        cluster_id: "c".into(),
        since: 0,
    };
    let mut collector = Collector::new("w", tail);
    for number in 1..=count {
        let event = Event {
            key: b"a secret key".to_vec(),
            value: vec![7; 100],
            create_revision: 2,
            revision: number + 1,
            version: number,
            ..Event::default()
        };
        collector.event(event, number * 1000).unwrap();
        collector.confirm(number + 1, number * 1000).unwrap();
        let (segment, bytes) = collector.close(number * 1000).unwrap();
        let sequence = segment.header.sequence;
        let bytes = archive.sealed(sequence, bytes).unwrap();
        archive.append(sequence, bytes.clone()).await.unwrap();
        archive.append(sequence, bytes).await.unwrap();
    }
}

/// All that can be read, or why not.
async fn read(archive: &Archive) -> Result<usize, String> {
    let inventory = archive.inventory().await.map_err(|e| e.to_string())?;
    let (mut walk, mut count) = (archive.walk(&inventory, 0), 0);
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
    let sealed = archive(&repository, Some(&KEYS));
    let count = MERGED + 70;
    fill(&sealed, count as i64).await;
    let mut inventory = sealed.inventory().await.unwrap();
    sealed.merge(&mut inventory).await.unwrap();
    assert_eq!(inventory.chain.len(), 71);
    assert_eq!(read(&sealed).await, Ok(count));
    assert!(!shows(folder.path(), b"a secret key"));
    let told = |keys: Option<&Keys>| {
        let archive = archive(&repository, keys);
        async move { read(&archive).await.unwrap_err() }
    };
    assert!(told(Some(&other())).await.contains("another pass phrase"));
    assert!(told(None).await.contains("it is encrypted"));
}

#[tokio::test]
async fn what_is_not_encrypted_does_not_continue_an_encrypted_archive() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let plain = archive(&repository, None);
    fill(&plain, 2).await;
    assert_eq!(read(&plain).await, Ok(2));
    assert!(shows(folder.path(), b"a secret key"), "the search finds it");
    let why = read(&archive(&repository, Some(&KEYS))).await.unwrap_err();
    assert!(why.contains("is not encrypted"), "{why}");
}

#[tokio::test]
async fn an_encrypted_segment_that_is_exchanged_cut_or_changed_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let sealed = archive(&repository, Some(&KEYS));
    fill(&sealed, 4).await;
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
        folder: save(volume, "a").folder,
        volume: volume.to_owned(),
        data: "data".into(),
        member: new_member(),
        identity: ("identity.json".into(), "{\"cluster\":\"new\"}".into()),
        programs: programs(),
        keys,
        sha256: String::new(),
        replay,
        admin: None,
        ports: ports(),
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
    let sealed = archive(&repository, Some(&own));
    let (sender, mut standing) = tokio::sync::watch::channel(Standing::default());
    let settings = Write {
        members: vec![source.server.client_url().to_owned()],
        tls: Some(source.server.certificates().to_owned()),
        after: base,
        writer: "w".into(),
        keep: None,
    };
    let answer = source
        .client
        .put("who", "a secret value", None)
        .await
        .unwrap();
    let revision = answer.header().unwrap().revision();
    let archived = timeout(
        Duration::from_secs(30),
        standing.wait_for(|now| now.through >= revision),
    );
    tokio::select! {
        archived = archived => drop(archived.unwrap().unwrap()),
        ended = write(&sealed, &settings, &sender) => panic!("{}", ended.unwrap_err()),
    }
    assert!(!shows(folder.path(), b"a secret value"));
    let replay = |keys: &Keys| Replay {
        archive: archive(&repository, Some(keys)),
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
