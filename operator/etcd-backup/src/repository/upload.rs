//! Objects that are written in parts.

use object_store::path::Path;
use object_store::{ObjectStoreExt, WriteMultipart};

use super::{Repository, failed};
use crate::error::Error;

/// Bytes of a part: S3 takes 10,000 of them, so 80 GiB.
const PART: usize = 8 * 1024 * 1024;
/// Parts under way at a time; with the one that fills they are the memory of an upload.
const PARTS: usize = 2;

impl Repository {
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
