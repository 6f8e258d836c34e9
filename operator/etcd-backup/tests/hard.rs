//! Hard days of a backup: a repository that is full, and a Job that is killed, at every single write.
//! Needs `ETCD_BIN`, with `etcdutl` beside it; run with `-- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use std::sync::Arc;

use bench::{Etcd, save};
use etcd_backup::error::Error;
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

/// A store in which one write is trouble.
mod troubled {
    use std::io;
    use std::sync::Arc;
    use std::sync::Mutex;

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
    }

    #[derive(Debug)]
    pub(crate) struct Troubles {
        now: Mutex<(Trouble, usize)>,
        pub(crate) hangs: Notify,
    }

    impl Troubles {
        pub(crate) fn new(trouble: Trouble) -> Self {
            Troubles {
                now: Mutex::new((trouble, 0)),
                hangs: Notify::new(),
            }
        }

        pub(crate) fn over(&self) {
            self.now.lock().unwrap().0 = Trouble::None;
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
                _ => write.await,
            }
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
            let (part, troubles) = (self.0.put_part(data), Arc::clone(&self.1));
            async move { troubles.write(part).await }.boxed()
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
            how: PutOptions,
        ) -> Result<PutResult> {
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
