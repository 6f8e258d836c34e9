//! Hard days of a backup: a repository that is full, and a Job that is killed, at every single write; one that is slow,
//! and one that is full or lets everyone write under an archive.
//! Needs `ETCD_BIN`, with `etcdutl` beside it; run with `-- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bench::{Etcd, save};
use etcd_backup::archive::standing::Standing;
use etcd_backup::archive::store::Archive;
use etcd_backup::archive::write::{Write, now, write};
use etcd_backup::error::Error;
use etcd_backup::path::Folder;
use etcd_backup::repository::Repository;
use etcd_backup::save::save as make;
use object_store::local::LocalFileSystem;
use tempfile::TempDir;
use troubled::{Trouble, Troubles};

/// A repository in a folder, and the one trouble that it has.
fn repository(trouble: Trouble) -> (Repository, Arc<Troubles>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let inner = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    let troubles = Arc::new(Troubles::new(trouble));
    let store = troubled::Store {
        inner,
        troubles: Arc::clone(&troubles),
    };
    (Repository::over(Arc::new(store)), troubles, folder)
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

/// The archive of a source in a repository.
fn archive(
    repository: &Repository,
    source: &Etcd,
    after: i64,
) -> (
    tokio::task::JoinHandle<Error>,
    tokio::sync::watch::Receiver<Standing>,
) {
    let (sender, standing) = tokio::sync::watch::channel(Standing::default());
    let folder = Folder::read("pre/demo/shop-u/etcd/archive").unwrap();
    let archive = Archive::new(repository.clone(), folder, None);
    let settings = Write {
        members: vec![source.server.client_url().to_owned()],
        tls: Some(source.server.certificates().to_owned()),
        after,
        writer: "w".into(),
        keep: None,
    };
    let task = tokio::spawn(async move {
        let Err(error) = write(&archive, &settings, &sender).await;
        error
    });
    (task, standing)
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn an_archive_waits_for_a_repository_that_is_full_and_loses_nothing() {
    let mut source = Etcd::start().await;
    let base = source.member.status().await.unwrap().revision;
    let (repository, troubles, _folder) = repository(Trouble::None);
    let (task, mut standing) = archive(&repository, &source, base);
    source.fill(5).await;
    let before = source.member.status().await.unwrap().revision;
    let long = Duration::from_secs(30);
    let reaches = |known: &Standing| known.through == before;
    let reached = tokio::time::timeout(long, standing.wait_for(reaches)).await;
    drop(reached.expect("it is archived").unwrap());
    troubles.are(Trouble::FullFrom(0));
    let full = now();
    source.fill(5).await;
    let last = source.member.status().await.unwrap().revision;
    let says = |known: &Standing| {
        let why = known.failure.as_deref().unwrap_or_default();
        why.contains("no space") && known.lag(now()) > 2500
    };
    // How far it is behind is not told by itself.
    let end = tokio::time::Instant::now() + long;
    while !says(&standing.borrow()) {
        assert!(
            tokio::time::Instant::now() < end,
            "{:?}",
            *standing.borrow()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(now() - full > 2500);
    assert_eq!(standing.borrow().through, before);
    troubles.over();
    let reaches = |known: &Standing| known.through == last;
    let reached = tokio::time::timeout(long, standing.wait_for(reaches)).await;
    let known = reached.expect("it is archived").unwrap().clone();
    assert_eq!((known.gap, known.failure), (None, None));
    task.abort();
}

#[tokio::test]
#[ignore = "needs ETCD_BIN"]
async fn an_archive_is_not_begun_where_a_second_writer_would_not_be_refused() {
    let mut source = Etcd::start().await;
    source.fill(1).await;
    let (repository, _troubles, folder) = repository(Trouble::Overwrites);
    let (task, _standing) = archive(&repository, &source, 1);
    let ended = tokio::time::timeout(Duration::from_secs(30), task).await;
    let ended = ended.expect("it ends").unwrap().to_string();
    assert!(ended.contains("use another server"), "{ended}");
    let mut left = std::fs::read_dir(folder.path().join("pre/demo/shop-u/etcd/archive")).unwrap();
    assert!(left.next().is_none(), "nothing is left");
}

/// A store in which one write is trouble.
mod troubled {
    use std::io;
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::FutureExt;
    use futures::stream::BoxStream;
    use object_store::local::LocalFileSystem;
    use object_store::path::Path;
    use object_store::*;
    use tokio::sync::Notify;

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Trouble {
        None,
        /// It takes so many writes, and no more.
        FullFrom(usize),
        /// The write of this number does not come back; `done` says whether it took place.
        HangsAt {
            at: usize,
            done: bool,
        },
        /// Each write takes so long.
        Slow(Duration),
        /// What must not be there yet is overwritten.
        Overwrites,
    }

    #[derive(Debug)]
    pub(crate) struct Troubles {
        now: Mutex<(Trouble, usize)>,
        pub(crate) hangs: Notify,
        flying: AtomicUsize,
        /// Most bytes of parts that were on their way at a time.
        pub(crate) most: AtomicUsize,
    }

    impl Troubles {
        pub(crate) fn new(trouble: Trouble) -> Self {
            Troubles {
                now: Mutex::new((trouble, 0)),
                hangs: Notify::new(),
                flying: AtomicUsize::new(0),
                most: AtomicUsize::new(0),
            }
        }

        pub(crate) fn over(&self) {
            self.are(Trouble::None);
        }

        /// Other ones from now on, whose writes are counted from 0.
        pub(crate) fn are(&self, trouble: Trouble) {
            *self.now.lock().unwrap() = (trouble, 0);
        }

        /// A write, if it takes place.
        async fn write<T>(&self, write: impl Future<Output = Result<T>>) -> Result<T> {
            let (trouble, number) = {
                let mut now = self.now.lock().unwrap();
                now.1 += 1;
                (now.0, now.1 - 1)
            };
            match trouble {
                Trouble::FullFrom(first) if number >= first => Err(Error::Generic {
                    store: "troubled",
                    source: io::Error::new(io::ErrorKind::StorageFull, "no space").into(),
                }),
                Trouble::HangsAt { at, done } if number == at => {
                    if done {
                        write.await?;
                    }
                    self.hangs.notify_one();
                    std::future::pending().await
                }
                Trouble::Slow(time) => {
                    tokio::time::sleep(time).await;
                    write.await
                }
                _ => write.await,
            }
        }

        fn overwrite(&self) -> bool {
            matches!(self.now.lock().unwrap().0, Trouble::Overwrites)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Store {
        pub(crate) inner: LocalFileSystem,
        pub(crate) troubles: Arc<Troubles>,
    }

    impl std::fmt::Display for Store {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("troubled")
        }
    }

    #[derive(Debug)]
    struct Parts(Box<dyn MultipartUpload>, Arc<Troubles>);

    #[async_trait::async_trait]
    impl MultipartUpload for Parts {
        fn put_part(&mut self, data: PutPayload) -> UploadPart {
            let bytes = data.content_length();
            let (part, troubles) = (self.0.put_part(data), Arc::clone(&self.1));
            let flying = troubles.flying.fetch_add(bytes, Ordering::SeqCst) + bytes;
            troubles.most.fetch_max(flying, Ordering::SeqCst);
            async move {
                let written = troubles.write(part).await;
                troubles.flying.fetch_sub(bytes, Ordering::SeqCst);
                written
            }
            .boxed()
        }
        async fn complete(&mut self) -> Result<PutResult> {
            let troubles = Arc::clone(&self.1);
            troubles.write(self.0.complete()).await
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
            data: PutPayload,
            mut how: PutOptions,
        ) -> Result<PutResult> {
            if self.troubles.overwrite() {
                how.mode = PutMode::Overwrite;
            }
            self.troubles
                .write(self.inner.put_opts(at, data, how))
                .await
        }
        async fn put_multipart_opts(
            &self,
            at: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            let begun = self.inner.put_multipart_opts(at, options);
            let begun = self.troubles.write(begun).await?;
            Ok(Box::new(Parts(begun, Arc::clone(&self.troubles))))
        }
        async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(at, options).await
        }
        fn delete_stream(
            &self,
            all: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(all)
        }
        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(prefix)
        }
        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }
        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }
}
