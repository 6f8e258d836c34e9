//! Reads and writes objects: a folder (a mounted claim) or a bucket, through one interface, streaming.
//!
//! `read` and `list` have what is read, `upload` objects that are written in parts; small objects are written here.

mod list;
mod read;
mod snapshot;
mod upload;

pub use snapshot::Snapshot;
pub use upload::Upload;

use std::path::Path as File;
use std::sync::Arc;

use bytes::Bytes;
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error as Answer, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::error::Error;
use crate::manifest;
use crate::pages::Pages;
use crate::path::Folder;

/// Bytes that one request reads, of those that have to come within its time: two parts, as on the way there.
const RANGE: u64 = 16 * 1024 * 1024;
/// Most objects of one archive that are listed: no memory holds more. Its writer warns long before.
const NAMES: usize = 10_000_000;

/// Where backups lie.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Arc<dyn ObjectStore>,
    pages: Pages,
    range: u64,
    names: usize,
}

impl Repository {
    /// A repository over a store.
    #[must_use]
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Repository {
            pages: Pages::Folder(Arc::clone(&store)),
            store,
            range: RANGE,
            names: NAMES,
        }
    }

    /// One in a bucket.
    #[must_use]
    pub fn bucket<S: ObjectStore + PaginatedListStore>(store: S) -> Self {
        let store = Arc::new(store);
        Repository {
            pages: Pages::Bucket(Arc::clone(&store) as Arc<dyn PaginatedListStore>),
            ..Self::over(store)
        }
    }

    /// The same one, of which so many names are listed at most.
    #[must_use]
    pub fn with_names(self, names: usize) -> Self {
        Repository { names, ..self }
    }

    /// The same one, of which a request reads so many bytes at most.
    #[must_use]
    pub fn in_ranges_of(self, bytes: u64) -> Self {
        Repository {
            range: bytes.max(1),
            ..self
        }
    }

    /// A folder, which is there already: a claim that is mounted.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn folder(folder: &File) -> Result<Self, Error> {
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| {
            let folder = folder.display();
            let why =
                format!("{folder} cannot be used ({error}): mount the repository's claim there");
            Error::Settings(why)
        })?;
        // A backup that is reported as done must survive the node.
        Ok(Self::over(Arc::new(store.with_fsync(true))))
    }

    /// Writes a small object that must not be there yet, and reads it back: of two writers one wins. Where the server
    /// ignores the condition, or looks and writes in two steps, the one that comes second within that moment. One with
    /// the very same content is as good: the answer to an earlier write of it was lost, and the write was repeated.
    ///
    /// # Errors
    /// [`Error::Taken`] when it is there with another content.
    pub async fn create(&self, object: &Path, bytes: Vec<u8>) -> Result<(), Error> {
        let refused = match self.put_new(object, bytes.clone()).await {
            Ok(()) => None,
            Err(error @ Error::Taken(_)) => Some(error),
            Err(error) => return Err(error),
        };
        match self.small(object, manifest::LARGEST).await? {
            Some(read) if read == bytes => Ok(()),
            Some(_) => Err(Error::Taken(object.clone())),
            None => Err(refused.unwrap_or_else(|| Error::Lying {
                object: object.clone(),
                found: "it is not there although it was accepted".to_owned(),
            })),
        }
    }

    /// Looks first, because there are servers that take the condition and ignore it, or know none: what is there is not
    /// overwritten, but by one of two writers that look at the very same moment.
    async fn put_new(&self, object: &Path, bytes: Vec<u8>) -> Result<(), Error> {
        if self.length(object).await?.is_some() {
            return Err(Error::Taken(object.clone()));
        }
        let payload = PutPayload::from(bytes);
        let options = PutOptions::from(PutMode::Create);
        let written = self.store.put_opts(object, payload.clone(), options).await;
        let written = match written {
            Err(Answer::AlreadyExists { .. } | Answer::Precondition { .. }) => {
                return Err(Error::Taken(object.clone()));
            }
            Err(Answer::NotImplemented { .. } | Answer::NotSupported { .. }) => {
                self.store.put(object, payload).await
            }
            other => other,
        };
        written
            .map(|_| ())
            .map_err(|source| failed("write", object, source))
    }

    /// Writes an object that must not be there yet, and reads it back. One with the very same content is as good: the
    /// answer to an earlier write of it was lost.
    ///
    /// # Errors
    /// [`Error::Taken`] when it is there with another content.
    pub async fn append(&self, object: &Path, bytes: Bytes) -> Result<(), Error> {
        let options = PutOptions::from(PutMode::Create);
        let payload = PutPayload::from(bytes.clone());
        match self.store.put_opts(object, payload, options).await {
            Ok(_) | Err(Answer::AlreadyExists { .. } | Answer::Precondition { .. }) => {}
            Err(source) => return Err(failed("write", object, source)),
        }
        match self.whole(object, bytes.len() as u64).await {
            Ok(read) if read == bytes => Ok(()),
            Ok(_) | Err(Error::Lying { .. }) => Err(Error::Taken(object.clone())),
            Err(error) => Err(error),
        }
    }

    /// Whether of two writers of an object the second is refused, which a continuous archive relies on.
    ///
    /// # Errors
    /// When it is not, or the repository does not answer.
    pub async fn fences(&self, folder: &Folder, attempt: &str) -> Result<(), Error> {
        let object = folder.path().clone().join(format!("fence-{attempt}"));
        self.delete(&object).await?;
        self.append(&object, Bytes::from_static(b"first")).await?;
        let second = self.append(&object, Bytes::from_static(b"second")).await;
        self.delete(&object).await?;
        match second {
            Err(Error::Taken(_)) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(Error::Settings(
                "it lets a second writer overwrite what the first has created (no conditional writes, If-None-Match), so \
                 an archive could not be kept to one writer: use another server"
                    .to_owned(),
            )),
        }
    }

    /// Deletes an object. Gone is success.
    ///
    /// # Errors
    /// When the repository refuses.
    pub async fn delete(&self, object: &Path) -> Result<(), Error> {
        match self.store.delete(object).await {
            Ok(()) | Err(Answer::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed("delete", object, source)),
        }
    }

    /// Writes, reads and deletes an object of its own: whether the repository can be used.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn probe(&self, folder: &Folder) -> Result<(), Error> {
        let object = folder.path().clone().join("probe");
        let content = folder.path().to_string().into_bytes();
        self.delete(&object).await?;
        self.create(&object, content.clone()).await?;
        let read = self.small(&object, manifest::LARGEST).await?;
        self.delete(&object).await?;
        if read.as_deref() != Some(content.as_slice()) {
            let found = "a probe of some bytes came back changed".to_owned();
            return Err(Error::Lying { object, found });
        }
        Ok(())
    }
}

fn failed(what: &'static str, object: &Path, source: Answer) -> Error {
    Error::Store {
        what,
        object: object.clone(),
        source,
    }
}
