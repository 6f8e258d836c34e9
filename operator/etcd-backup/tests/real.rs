//! Backups of a real etcd: made, proven, restored; torn, truncated and falsified ones refused.
//! Needs `ETCD_BIN`, with `etcdutl` beside it; run with `-- --ignored`.

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use bench::{Etcd, restoration, save};
use etcd_backup::error::Error;
use etcd_backup::member::Member;
use etcd_backup::pace::Pace;
use etcd_backup::remove::{What, remove};
use etcd_backup::repository::Repository;
use etcd_backup::restore::{Restore, restore};
use etcd_backup::save::save as make;
use etcd_client::{GetOptions, WatchOptions};
use kbagent_protocol::BackupStage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn plan(volume: &std::path::Path, sha256: &str) -> Restore {
    Restore {
        sha256: sha256.into(),
        ..restoration(volume)
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_backup_under_load_is_proven_and_restores_to_its_revision() {
    let mut source = Etcd::start().await;
    source.fill(300).await;
    let mut writer = source.client.clone();
    let load = tokio::spawn(async move {
        for number in 0.. {
            writer.put("load", format!("{number}"), None).await.unwrap();
        }
    });
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let wanted = save(scratch.path(), "a");
    let made = make(&repository, &source.member, &wanted).await.unwrap();
    load.abort();
    let told = wanted.progress.now();
    assert_eq!(
        (told.stage, told.written),
        (BackupStage::Verifying, made.bytes)
    );
    assert_eq!(told.total, Some(made.bytes), "the member has told");
    assert!(made.verification.verified, "{:?}", made.verification);
    assert_eq!(made.authentication, Some(false));
    let revision = made.revision.unwrap();
    assert!((made.revision_before..=made.revision_after).contains(&revision));
    assert_eq!(
        std::fs::read_dir(scratch.path()).unwrap().count(),
        0,
        "the scratch folder is cleared"
    );

    // The same again is the same backup, as after a Job that was killed at its end.
    let again = make(&repository, &source.member, &save(scratch.path(), "b"))
        .await
        .unwrap();
    assert_eq!(again, made);

    let volume = tempfile::tempdir().unwrap();
    restore(&repository, &plan(volume.path(), &made.sha256))
        .await
        .unwrap();
    // A second time leaves it alone.
    restore(&repository, &plan(volume.path(), &made.sha256))
        .await
        .unwrap();
    let data = volume.path().join("data");
    let mut restored = Etcd::over(volume, &data, "seed-0").await;
    let then = GetOptions::new().with_prefix().with_revision(revision);
    let expected = source.client.get("", Some(then)).await.unwrap();
    let got = restored
        .client
        .get("", Some(GetOptions::new().with_prefix()))
        .await
        .unwrap();
    let pairs = |answer: &etcd_client::GetResponse| {
        let pair = |kv: &etcd_client::KeyValue| (kv.key().to_vec(), kv.value().to_vec());
        answer.kvs().iter().map(pair).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&got), pairs(&expected));
    assert!(got.kvs().len() > 300);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn what_no_key_was_ever_written_into_can_be_backed_up_and_restored() {
    let source = Etcd::start().await;
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let made = make(&repository, &source.member, &save(scratch.path(), "a"))
        .await
        .unwrap();
    assert!(made.verification.verified, "{:?}", made.verification);
    assert_eq!((made.revision, made.total_keys), (Some(1), Some(0)));
    let volume = tempfile::tempdir().unwrap();
    restore(&repository, &plan(volume.path(), &made.sha256))
        .await
        .unwrap();
    let data = volume.path().join("data");
    let mut restored = Etcd::over(volume, &data, "seed-0").await;
    restored.client.put("first", "1", None).await.unwrap();
    let all = GetOptions::new().with_prefix();
    let got = restored.client.get("", Some(all)).await.unwrap();
    assert_eq!(got.kvs().len(), 1);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_watcher_of_the_old_cluster_never_sees_an_older_state_after_a_restore() {
    let mut source = Etcd::start().await;
    source.fill(20).await;
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let made = make(&repository, &source.member, &save(scratch.path(), "a"))
        .await
        .unwrap();
    // What the old cluster served after the backup, and what a client remembers of it.
    source.fill(20).await;
    let seen = source.member.status().await.unwrap().revision;
    let volume = tempfile::tempdir().unwrap();
    restore(&repository, &plan(volume.path(), &made.sha256))
        .await
        .unwrap();
    let data = volume.path().join("data");
    let mut restored = Etcd::over(volume, &data, "seed-0").await;
    let now = restored.member.status().await.unwrap();
    assert!(
        now.revision > seen + 900_000_000,
        "{} after {seen}",
        now.revision
    );
    assert_ne!(now.cluster, source.member.status().await.unwrap().cluster);
    // A watch that resumes where it was is told that this is compacted, and reads everything again.
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(seen + 1);
    let mut stream = restored.client.watch("", Some(options)).await.unwrap();
    let mut compacted = 0;
    while compacted == 0 {
        let message = tokio::time::timeout(Duration::from_secs(10), stream.message());
        let message = message.await.unwrap().unwrap().unwrap();
        compacted = message.compact_revision();
        assert!(message.events().is_empty(), "events of the past");
    }
    assert!(compacted > seen);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_stream_that_is_torn_leaves_nothing_behind() {
    let mut source = Etcd::start().await;
    source.fill(3000).await;
    let target = source
        .server
        .client_url()
        .trim_start_matches("https://")
        .to_owned();
    // A wire that breaks after a megabyte.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move {
                let (mut near_in, mut near_out) = near.split();
                let (mut far_in, mut far_out) = far.split();
                let up = tokio::io::copy(&mut near_in, &mut far_out);
                let down = async {
                    let (mut left, mut piece) = (1_000_000_usize, vec![0; 4096]);
                    while let Ok(read @ 1..) = far_in.read(&mut piece).await {
                        if read >= left {
                            return;
                        }
                        left -= read;
                        near_out.write_all(&piece[..read]).await.unwrap();
                    }
                };
                tokio::select! { _ = up => {}, () = down => {} }
            });
        }
    });
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let (url, tls) = (format!("https://{address}"), source.server.certificates());
    let member = Member::connect_by(&url, Some(tls)).await;
    let member = member.unwrap();
    let plan = save(scratch.path(), "a");
    let error = make(&repository, &member, &plan).await.unwrap_err();
    assert!(matches!(error, Error::Torn { .. }), "{error}");
    assert!(error.to_string().contains("torn after"), "{error}");
    assert!(repository.manifest(&plan.folder).await.unwrap().is_none());
    assert_eq!(repository.list(&plan.folder, |_| true).await.unwrap(), []);
    // The next attempt over a sound wire succeeds.
    let made = make(&repository, &source.member, &save(scratch.path(), "b"))
        .await
        .unwrap();
    assert!(made.verification.verified);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_hash_is_asked_for_again_where_the_connection_is_lost() {
    let mut source = Etcd::start().await;
    source.fill(10).await;
    let (url, tls) = (source.server.client_url(), source.server.certificates());
    let target = url.trim_start_matches("https://").to_owned();
    // A wire that breaks with the next bytes of the client, as often as it is told to.
    let losses = Arc::new(AtomicU32::new(0));
    let lose = Arc::clone(&losses);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = tokio::net::TcpStream::connect(&target).await.unwrap();
            let lose = Arc::clone(&lose);
            tokio::spawn(async move {
                let (mut near_in, mut near_out) = near.split();
                let (mut far_in, mut far_out) = far.split();
                let down = tokio::io::copy(&mut far_in, &mut near_out);
                let up = async {
                    let mut piece = vec![0; 4096];
                    while let Ok(read @ 1..) = near_in.read(&mut piece).await {
                        let left = |left: u32| left.checked_sub(1);
                        if lose.fetch_update(SeqCst, SeqCst, left).is_ok() {
                            return;
                        }
                        far_out.write_all(&piece[..read]).await.unwrap();
                    }
                };
                tokio::select! { _ = down => {}, () = up => {} }
            });
        }
    });
    let member = Member::connect_by(&format!("https://{address}"), Some(tls)).await;
    let member = member.unwrap();
    let seen = member.hash(0).await.unwrap();
    losses.store(1, SeqCst);
    assert_eq!(member.hash(0).await.unwrap(), seen);
    assert_eq!(losses.load(SeqCst), 0, "the connection was lost");
    losses.store(1000, SeqCst);
    let error = member.hash(0).await.unwrap_err();
    assert!(error.to_string().contains("hash the key space"), "{error}");
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_member_that_dies_while_it_is_read_leaves_nothing_behind() {
    let mut source = Etcd::start().await;
    source.fill(3000).await;
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let mut plan = save(scratch.path(), "a");
    plan.pace = Pace::new(Some(512 << 10));
    let dies = async {
        while plan.progress.now().written == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        source.server.stop().await;
    };
    let (made, ()) = tokio::join!(make(&repository, &source.member, &plan), dies);
    let error = made.unwrap_err();
    assert!(matches!(error, Error::Torn { .. }), "{error}");
    assert!(repository.manifest(&plan.folder).await.unwrap().is_none());
    assert_eq!(repository.list(&plan.folder, |_| true).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_repository_that_lies_is_found_out_when_it_is_read() {
    let mut source = Etcd::start().await;
    source.fill(50).await;
    for (name, harm) in [
        ("truncated", 0_usize),
        ("changed", 1),
        ("longer", 2),
        ("gone", 3),
    ] {
        let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let repository = Repository::folder(folder.path()).unwrap();
        let plan_of = save(scratch.path(), "a");
        let made = make(&repository, &source.member, &plan_of).await.unwrap();
        let file = folder.path().join(plan_of.folder.snapshot("a").to_string());
        let mut bytes = std::fs::read(&file).unwrap();
        match harm {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes[5000] ^= 1,
            2 => bytes.extend_from_slice(&[0; 512]),
            _ => {}
        }
        if harm == 3 {
            std::fs::remove_file(&file).unwrap();
        } else {
            std::fs::write(&file, bytes).unwrap();
        }
        let volume = tempfile::tempdir().unwrap();
        let error = restore(&repository, &plan(volume.path(), &made.sha256))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("snapshot-a.db"),
            "{name}: {error}"
        );
        let left = std::fs::read_dir(volume.path()).unwrap();
        assert_eq!(left.count(), 0, "{name}");
    }
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn what_is_stored_wrongly_while_it_is_made_is_no_backup() {
    let mut source = Etcd::start().await;
    source.fill(50).await;
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let inner = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let repository = Repository::over(Arc::new(lying::Store(inner)));
    let plan = save(scratch.path(), "a");
    let error = make(&repository, &source.member, &plan).await.unwrap_err();
    assert!(matches!(error, Error::Lying { .. }), "{error}");
    assert!(repository.manifest(&plan.folder).await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn another_backups_path_is_refused_and_left_alone() {
    let mut source = Etcd::start().await;
    source.fill(10).await;
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let first = make(&repository, &source.member, &save(scratch.path(), "a"))
        .await
        .unwrap();
    let mut second = save(scratch.path(), "b");
    second.source.backup_uid = "other".into();
    let error = make(&repository, &source.member, &second)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Taken(_)), "{error}");
    remove(&repository, &second.folder, "other", What::Snapshot)
        .await
        .unwrap();
    assert_eq!(
        repository.manifest(&second.folder).await.unwrap(),
        Some(first)
    );
    remove(&repository, &second.folder, "uid", What::Snapshot)
        .await
        .unwrap();
    assert_eq!(repository.list(&second.folder, |_| true).await.unwrap(), []);
    remove(&repository, &second.folder, "uid", What::Snapshot)
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn a_member_that_is_compacted_meanwhile_is_followed_or_said_to_be_unproven() {
    let mut source = Etcd::start().await;
    source.fill(50).await;
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let mut plan = save(scratch.path(), "a");
    plan.bench = None;
    let made = make(&repository, &source.member, &plan).await.unwrap();
    assert!(!made.verification.verified && made.revision.is_none());
    let snapshot = etcd_backup::repository::Snapshot::of(&made, None).unwrap();
    let bench = save(scratch.path(), "a").bench.unwrap();
    let prove = || {
        etcd_backup::verify::verify(&repository, &plan.folder, &snapshot, &source.member, &bench)
    };
    // Half way back: the copy is compacted as far and agrees.
    source
        .member
        .compact(made.revision_before / 2)
        .await
        .unwrap();
    assert!(prove().await.unwrap().verification.verified);
    source.fill(1).await;
    source
        .member
        .compact(made.revision_after + 1)
        .await
        .unwrap();
    let proof =
        etcd_backup::verify::verify(&repository, &plan.folder, &snapshot, &source.member, &bench);
    let proof = proof.await.unwrap();
    assert!(!proof.verification.verified);
    assert!(
        proof
            .verification
            .reason
            .unwrap()
            .contains("cannot be asked")
    );
}

/// A store that loses the second half of what it is given.
mod lying {
    use futures::stream::BoxStream;
    use object_store::local::LocalFileSystem;
    use object_store::path::Path;
    use object_store::*;

    #[derive(Debug)]
    pub(crate) struct Store(pub(crate) LocalFileSystem);

    impl std::fmt::Display for Store {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("lying")
        }
    }

    /// Takes every part and keeps the first half of it.
    #[derive(Debug)]
    struct Half(Box<dyn MultipartUpload>);

    #[async_trait::async_trait]
    impl MultipartUpload for Half {
        fn put_part(&mut self, data: PutPayload) -> UploadPart {
            let bytes = bytes::Bytes::from(data);
            let half = bytes.slice(..bytes.len() / 2);
            self.0.put_part(half.into())
        }
        async fn complete(&mut self) -> Result<PutResult> {
            self.0.complete().await
        }
        async fn abort(&mut self) -> Result<()> {
            self.0.abort().await
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Store {
        async fn put_opts(
            &self,
            at: &Path,
            payload: PutPayload,
            options: PutOptions,
        ) -> Result<PutResult> {
            self.0.put_opts(at, payload, options).await
        }
        async fn put_multipart_opts(
            &self,
            at: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            Ok(Box::new(Half(
                self.0.put_multipart_opts(at, options).await?,
            )))
        }
        async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(at, options).await
        }
        fn delete_stream(
            &self,
            all: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(all)
        }
        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }
        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }
        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }
}
