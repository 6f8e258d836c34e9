//! What is read of a repository: objects whole, in pieces and by their beginning, and snapshots that are what was
//! written.

use std::iter::successors;
use std::path::Path as File;
use std::pin::pin;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    Error as Answer, GetOptions, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt,
};
use tokio::io::AsyncWriteExt;

use super::snapshot::Snapshot;
use super::{Repository, failed};
use crate::digest::{Digests, Sum};
use crate::error::Error;
use crate::manifest::{self, Manifest};
use crate::path::Folder;
use crate::seal::{HEADER, Keys, Opener};

impl Repository {
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
}
