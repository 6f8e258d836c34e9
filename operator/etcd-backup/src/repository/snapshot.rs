//! What a snapshot in a repository must be.

use crate::error::Error;
use crate::manifest::Manifest;
use crate::seal::Keys;

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
