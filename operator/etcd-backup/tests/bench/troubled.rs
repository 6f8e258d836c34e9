//! A store of objects that has one trouble.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use etcd_backup::repository::Repository;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
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
    /// The write of this number takes effect, and its answer is an error: that the object is there already, or
    /// that the connection was closed.
    Loses {
        at: usize,
        exists: bool,
    },
    /// So many looks at a manifest that is there fail.
    Unread {
        times: usize,
    },
    /// The deletion that comes after so many fails, once.
    Undeleted {
        after: usize,
    },
    /// Deletions are accepted, and nothing is deleted.
    Keeps,
    /// Each write takes so long.
    Slow(Duration),
    /// What must not be there yet is overwritten.
    Overwrites,
    /// When the manifest of attempt `a` is read, that of attempt `b` takes its place, whose snapshot is the same.
    Exchanges,
}

#[derive(Debug)]
pub(crate) struct Troubles {
    now: Mutex<(Trouble, usize)>,
    pub(crate) hangs: Notify,
    /// Whether an answer was lost, or a deletion refused.
    pub(crate) came: AtomicBool,
    flying: AtomicUsize,
    /// Most bytes of parts that were on their way at a time.
    pub(crate) most: AtomicUsize,
}

impl Troubles {
    fn new(trouble: Trouble) -> Self {
        Troubles {
            now: Mutex::new((trouble, 0)),
            hangs: Notify::new(),
            came: AtomicBool::new(false),
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
            Trouble::FullFrom(first) if number >= first => {
                Err(generic(io::ErrorKind::StorageFull, "no space"))
            }
            Trouble::Loses { at, exists } if number == at => {
                write.await?;
                self.came.store(true, Ordering::SeqCst);
                let source = generic(io::ErrorKind::ConnectionReset, "closed");
                Err(match exists {
                    false => source,
                    true => Error::AlreadyExists {
                        path: "it".to_owned(),
                        source: source.into(),
                    },
                })
            }
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

    /// A look at an object that is there.
    fn read(&self, object: &Path) -> Result<()> {
        let mut now = self.now.lock().unwrap();
        match &mut now.0 {
            Trouble::Unread { times }
                if *times > 0 && object.filename() == Some("manifest.json") =>
            {
                *times -= 1;
                Err(generic(io::ErrorKind::ConnectionReset, "closed"))
            }
            _ => Ok(()),
        }
    }

    /// The deletion of an object.
    fn delete(&self) -> Result<()> {
        let mut now = self.now.lock().unwrap();
        match &mut now.0 {
            Trouble::Undeleted { after: 0 } => {
                now.0 = Trouble::None;
                self.came.store(true, Ordering::SeqCst);
                Err(generic(io::ErrorKind::ConnectionReset, "closed"))
            }
            Trouble::Undeleted { after } => {
                *after -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether what is read is exchanged now: once.
    fn exchange(&self, object: &Path, options: &GetOptions) -> bool {
        let mut now = self.now.lock().unwrap();
        let is_read = object.filename() == Some("manifest.json") && !options.head;
        let exchanges = is_read && matches!(now.0, Trouble::Exchanges);
        if exchanges {
            now.0 = Trouble::None;
        }
        exchanges
    }

    fn keeps(&self) -> bool {
        matches!(self.now.lock().unwrap().0, Trouble::Keeps)
    }

    fn overwrite(&self) -> bool {
        matches!(self.now.lock().unwrap().0, Trouble::Overwrites)
    }
}

fn generic(kind: io::ErrorKind, text: &'static str) -> Error {
    Error::Generic {
        store: "troubled",
        source: io::Error::new(kind, text).into(),
    }
}

/// A repository over a store, and the one trouble that it has.
pub(crate) fn repository(inner: impl ObjectStore, trouble: Trouble) -> (Repository, Arc<Troubles>) {
    let troubles = Arc::new(Troubles::new(trouble));
    let store = Store {
        inner: Arc::new(inner),
        troubles: Arc::clone(&troubles),
    };
    (Repository::over(Arc::new(store)), troubles)
}

#[derive(Debug)]
struct Store {
    inner: Arc<dyn ObjectStore>,
    troubles: Arc<Troubles>,
}

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("troubled")
    }
}

impl Store {
    /// Who has opened the former manifest reads that one to its end.
    async fn exchange(&self, manifest: &Path) -> Result<()> {
        let text = self.inner.get(manifest).await?.bytes().await?;
        let text = String::from_utf8_lossy(&text).replace("snapshot-a.db", "snapshot-b.db");
        self.inner.put(manifest, text.into_bytes().into()).await?;
        let of = |name| Path::from(manifest.to_string().replace("manifest.json", name));
        let (from, to) = (of("snapshot-a.db"), of("snapshot-b.db"));
        self.inner.copy(&from, &to).await
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
        let answer = self.inner.get_opts(at, options.clone()).await?;
        self.troubles.read(at)?;
        if self.troubles.exchange(at, &options) {
            self.exchange(at).await?;
        }
        Ok(answer)
    }
    fn delete_stream(
        &self,
        all: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        if self.troubles.keeps() {
            return all;
        }
        let troubles = Arc::clone(&self.troubles);
        let taken = all.map(move |path| path.and_then(|path| troubles.delete().map(|()| path)));
        self.inner.delete_stream(taken.boxed())
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
