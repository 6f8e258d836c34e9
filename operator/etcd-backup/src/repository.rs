//! Reads and writes objects: a folder (a mounted claim) or a bucket, through one interface, streaming.

use std::iter::successors;
use std::path::Path as File;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error as Answer, GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, WriteMultipart,
};
use tokio::io::AsyncWriteExt;

use crate::digest::{Digests, Sum};
use crate::error::Error;
use crate::manifest::{self, Manifest};
use crate::pages::{Found, Pages};
use crate::path::Folder;
use crate::seal::{HEADER, Keys, Opener};

/// Bytes of a part: S3 takes 10,000 of them, so 80 GiB.
const PART: usize = 8 * 1024 * 1024;
/// Parts under way at a time; with the one that fills they are the memory of an upload.
const PARTS: usize = 2;
/// Bytes that one request reads, of those that have to come within its time: two parts, as on the way there.
const RANGE: u64 = 16 * 1024 * 1024;
/// Most objects of one backup that are looked at.
const OBJECTS: usize = 1000;
/// Most folders beside one that are looked at.
const FOLDERS: usize = 10_000;
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

    /// Begins an object.
    ///
    /// # Errors
    /// When the repository does not take it.
    pub async fn begin(&self, object: &Path) -> Result<Upload, Error> {
        let upload = self.store.put_multipart(object).await;
        let upload = upload.map_err(|source| failed("write", object, source))?;
        Ok(Upload {
            object: object.clone(),
            parts: WriteMultipart::new_with_chunk_size(upload, PART),
        })
    }

    /// Streams an object into a file, no further than `limit` bytes, decrypted by keys. The sum is that of the object.
    ///
    /// # Errors
    /// When either side fails, or the object is longer or cannot be decrypted.
    async fn fetch(
        &self,
        object: &Path,
        limit: u64,
        keys: Option<&Keys>,
        to: &File,
    ) -> Result<Sum, Error> {
        let sealed = |source| Error::Sealed {
            object: object.clone(),
            source,
        };
        let mut opener = keys.map(Opener::new);
        let meta = self.store.head(object).await;
        let meta = meta.map_err(|source| failed("read", object, source))?;
        let written = |source| Error::Disk {
            what: "write",
            path: to.display().to_string(),
            needed: "the snapshot twice and 200 MiB",
            source,
        };
        let mut file = tokio::fs::File::create(to).await.map_err(written)?;
        let mut digests = Digests::default();
        let mut stream = pin!(self.pieces(&meta));
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|source| failed("read", object, source))?;
            digests.update(&bytes);
            if digests.bytes() > limit {
                let found = format!("it is longer than the {limit} bytes that were written");
                return Err(Error::Lying {
                    object: object.clone(),
                    found,
                });
            }
            let opened: Bytes = match &mut opener {
                Some(opener) => opener.push(&bytes).map_err(sealed)?.into(),
                None => bytes,
            };
            file.write_all(&opened).await.map_err(written)?;
        }
        if let Some(opener) = opener {
            let last = opener.finish().map_err(sealed)?;
            file.write_all(&last).await.map_err(written)?;
        }
        file.sync_all().await.map_err(written)?;
        Ok(digests.sum())
    }

    /// The bytes of an object, by one request after the other: each has its own time, and is repeated by itself. An
    /// object that is exchanged meanwhile is an error.
    fn pieces<'a>(&'a self, meta: &'a ObjectMeta) -> impl Stream<Item = Result<Bytes, Answer>> {
        let begins = successors(Some(0_u64), move |begin| begin.checked_add(self.range));
        let begins = begins.take_while(move |begin| *begin < meta.size);
        let ranges = stream::iter(begins).then(move |begin| async move {
            let end = begin.saturating_add(self.range).min(meta.size);
            let options = GetOptions {
                range: Some((begin..end).into()),
                // A weak one matches nothing.
                if_match: meta.e_tag.clone().filter(|tag| !tag.starts_with("W/")),
                ..GetOptions::default()
            };
            let answer = self.store.get_opts(&meta.location, options).await;
            answer.map(GetResult::into_stream)
        });
        ranges.try_flatten()
    }

    /// Streams the snapshot of a backup into a file; it is what was written, or an error.
    ///
    /// # Errors
    /// When it is not.
    pub async fn fetch_snapshot(
        &self,
        folder: &Folder,
        expected: &Snapshot<'_>,
        to: &File,
    ) -> Result<(), Error> {
        let object = folder.path().clone().join(expected.object);
        let sum = self
            .fetch(&object, expected.bytes, expected.keys, to)
            .await?;
        let found = if sum.bytes < expected.bytes {
            format!("{} bytes of {}", sum.bytes, expected.bytes)
        } else if sum.sha256 != expected.sha256 {
            format!("SHA-256 {} instead of {}", sum.sha256, expected.sha256)
        } else {
            return Ok(());
        };
        Err(Error::Lying { object, found })
    }

    /// Whether a snapshot was encrypted with the pass phrase that is there now. Only its beginning is read.
    ///
    /// # Errors
    /// When it was not, or cannot be read.
    pub async fn check(&self, folder: &Folder, expected: &Snapshot<'_>) -> Result<(), Error> {
        let Some(keys) = expected.keys else {
            return Ok(());
        };
        let object = folder.path().clone().join(expected.object);
        let beginning = self.small(&object, HEADER as u64).await?;
        let beginning = beginning.unwrap_or_default();
        keys.check(&beginning)
            .map_err(|source| Error::Sealed { object, source })
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

    /// An object of no more than `limit` bytes.
    ///
    /// # Errors
    /// When it is not there, longer, or cannot be read.
    pub async fn whole(&self, object: &Path, limit: u64) -> Result<Bytes, Error> {
        let answer = self.store.get(object).await;
        let answer = answer.map_err(|source| failed("read", object, source))?;
        if answer.meta.size > limit {
            let found = format!("it has {} bytes, {limit} are expected", answer.meta.size);
            return Err(Error::Lying {
                object: object.clone(),
                found,
            });
        }
        let bytes = if answer.meta.size <= self.range {
            answer.bytes().await
        } else {
            let (meta, unread) = (answer.meta, answer.payload);
            drop(unread);
            self.gathered(&meta).await
        };
        bytes.map_err(|source| failed("read", object, source))
    }

    async fn gathered(&self, meta: &ObjectMeta) -> Result<Bytes, Answer> {
        let mut all = Vec::with_capacity(usize::try_from(meta.size).unwrap_or_default());
        let mut pieces = pin!(self.pieces(meta));
        while let Some(piece) = pieces.try_next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all.into())
    }

    /// Names and lengths of the objects right in a folder.
    ///
    /// # Errors
    /// When they cannot be listed, or are too many.
    pub async fn names(&self, folder: &Folder) -> Result<Vec<(String, u64)>, Error> {
        let mut all = self.store.list(Some(folder.path()));
        let mut names = Vec::new();
        while let Some(meta) = all.next().await {
            let meta = meta.map_err(|source| failed("list", folder.path(), source))?;
            if !is_right_in(folder, &meta.location) {
                continue;
            }
            if names.len() == self.names {
                let why = format!(
                    "{} holds more than {} objects: make another Backup for the archive, with a retentionPeriod",
                    folder.path(),
                    self.names
                );
                return Err(Error::Settings(why));
            }
            if let Some(name) = meta.location.filename() {
                names.push((name.to_owned(), meta.size));
            }
        }
        Ok(names)
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

    /// The first bytes of an object, `limit` at most; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn small(&self, object: &Path, limit: u64) -> Result<Option<Bytes>, Error> {
        let Some(size) = self.length(object).await? else {
            return Ok(None);
        };
        let end = size.min(limit);
        if end == 0 {
            return Ok(Some(Bytes::new()));
        }
        let bytes = self.store.get_range(object, 0..end).await;
        bytes
            .map(Some)
            .map_err(|source| failed("read", object, source))
    }

    /// The length of an object; `None` when there is none.
    ///
    /// # Errors
    /// When the repository does not answer.
    pub async fn length(&self, object: &Path) -> Result<Option<u64>, Error> {
        match self.store.head(object).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Answer::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("read", object, source)),
        }
    }

    /// The manifest of a backup; `None` when there is no backup.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn manifest(&self, folder: &Folder) -> Result<Option<Manifest>, Error> {
        let object = folder.manifest();
        let Some(bytes) = self.small(&object, manifest::LARGEST).await? else {
            return Ok(None);
        };
        let read = Manifest::read(&bytes);
        read.map(Some)
            .map_err(|source| Error::Manifest { object, source })
    }

    /// When an object was stored, by the repository's clock, in milliseconds since 1970; `None` when there is none.
    ///
    /// # Errors
    /// When the repository does not answer.
    pub async fn dated(&self, object: &Path) -> Result<Option<i64>, Error> {
        match self.store.head(object).await {
            Ok(meta) => Ok(Some(meta.last_modified.timestamp_millis())),
            Err(Answer::NotFound { .. }) => Ok(None),
            Err(source) => Err(failed("read", object, source)),
        }
    }

    /// The backups in the folders beside one; one whose manifest cannot be read by this program is none.
    ///
    /// # Errors
    /// When the repository does not answer: there may be more.
    pub async fn beside(&self, folder: &Folder) -> Result<Vec<(Folder, Manifest)>, Error> {
        let path = folder.path().to_string();
        let parent = path.rsplit_once('/').map(|(parent, _)| Path::from(parent));
        let listed = self.store.list_with_delimiter(parent.as_ref()).await;
        let listed = listed.map_err(|source| failed("list", folder.path(), source))?;
        let mut backups = Vec::new();
        for prefix in listed.common_prefixes.iter().take(FOLDERS) {
            let Ok(other) = Folder::read(prefix.as_ref()) else {
                continue;
            };
            match self.manifest(&other).await {
                Ok(manifest) => backups.extend(manifest.map(|manifest| (other, manifest))),
                Err(Error::Manifest { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(backups)
    }

    /// Whether an object right in a folder has a name that begins so and is wanted.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) async fn find(
        &self,
        folder: &Path,
        beginning: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Found, Error> {
        let found = self.pages.find(folder, beginning, wanted).await;
        found.map_err(|source| failed("list", folder, source))
    }

    /// Objects right in a folder whose names are wanted, 1000 at most.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn list(
        &self,
        folder: &Folder,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Path>, Error> {
        let all = self.store.list(Some(folder.path()));
        let all = all.try_filter(|meta| {
            let name = meta.location.filename();
            let own = is_right_in(folder, &meta.location);
            std::future::ready(own && name.is_some_and(&wanted))
        });
        let all: Vec<_> = all
            .take(OBJECTS)
            .try_collect()
            .await
            .map_err(|source| failed("list", folder.path(), source))?;
        Ok(all.into_iter().map(|meta| meta.location).collect())
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

/// What the object of a snapshot must be.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// Its name in the folder.
    pub object: &'a str,
    /// Its length.
    pub bytes: u64,
    /// Hexadecimal SHA-256 of it.
    pub sha256: &'a str,
    /// Keys of what it is encrypted with.
    pub keys: Option<&'a Keys>,
}

impl<'a> Snapshot<'a> {
    /// That of a manifest.
    ///
    /// # Errors
    /// When it is encrypted and there are no keys, or is not and there are.
    pub fn of(manifest: &'a Manifest, keys: Option<&'a Keys>) -> Result<Self, Error> {
        match (&manifest.encryption, keys) {
            (Some(_), None) => Err(Error::Settings(
                "the backup is encrypted: name its pass phrase".to_owned(),
            )),
            (None, Some(_)) => Err(Error::Settings(
                "the backup is not encrypted, although it was made with a pass phrase: it was exchanged".to_owned(),
            )),
            _ => Ok(Snapshot {
                object: &manifest.object,
                bytes: manifest.bytes,
                sha256: &manifest.sha256,
                keys,
            }),
        }
    }
}

/// An object that is being written. It is not there until `finish` has answered.
#[derive(Debug)]
pub struct Upload {
    object: Path,
    parts: WriteMultipart,
}

impl Upload {
    /// Takes the next bytes; waits while the repository is slower than the source.
    ///
    /// # Errors
    /// When a part was refused.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let ready = self.parts.wait_for_capacity(PARTS).await;
        ready.map_err(|source| failed("write", &self.object, source))?;
        self.parts.write(bytes);
        Ok(())
    }

    /// Makes the object appear.
    ///
    /// # Errors
    /// When the repository refuses.
    pub async fn finish(self) -> Result<(), Error> {
        let finished = self.parts.finish().await;
        finished
            .map(|_| ())
            .map_err(|source| failed("write", &self.object, source))
    }

    /// Takes back what was written of it. What cannot be taken back is left to the bucket's own rule for incomplete
    /// uploads.
    pub async fn abort(self) {
        let _left = self.parts.abort().await;
    }
}

/// A list has what lies in folders below, too: another backup's, where an earlier operator let it begin there.
fn is_right_in(folder: &Folder, object: &Path) -> bool {
    let mut below = object.prefix_match(folder.path()).into_iter().flatten();
    below.next().is_some() && below.next().is_none()
}

fn failed(what: &'static str, object: &Path, source: Answer) -> Error {
    Error::Store {
        what,
        object: object.clone(),
        source,
    }
}
