//! Deletes a backup: the manifest first, so that what is half deleted is no backup.

use crate::archive::name::Object;
use crate::error::Error;
use crate::path::Folder;
use crate::repository::Repository;

/// Which objects of a folder are a backup's: an archive and a snapshot of the same name have one folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Of a full backup.
    Snapshot,
    /// Of an archive.
    Archive,
}

impl What {
    fn owns(self, name: &str) -> bool {
        let archived = Object::read(name).is_some() || name.starts_with("fence-");
        archived == (self == What::Archive)
    }
}

/// Deletes all objects of a backup. A folder that is another Backup's is left alone, and nothing is left to do: this
/// one was refused there before it wrote anything that is a backup, and what a killed attempt of it may have left is
/// deleted by the other.
///
/// # Errors
/// When the repository refuses.
pub async fn remove(
    repository: &Repository,
    folder: &Folder,
    backup_uid: &str,
    what: What,
) -> Result<(), Error> {
    if what == What::Snapshot {
        match repository.manifest(folder).await {
            Ok(Some(manifest)) if manifest.source.backup_uid != backup_uid => {
                let (path, other) = (folder.manifest(), manifest.source.backup_uid);
                eprintln!("nothing is deleted: {path} belongs to the Backup with UID {other}");
                return Ok(());
            }
            // What is there and is no manifest belongs to what is in its folder: the path is this Backup's alone.
            Ok(_) | Err(Error::Manifest { .. }) => {}
            // It may be another Backup's: that must be known before anything is deleted.
            Err(error) => return Err(error),
        }
        repository.delete(&folder.manifest()).await?;
    }
    loop {
        let left = repository.list(folder, |name| what.owns(name)).await?;
        if left.is_empty() {
            return Ok(());
        }
        for object in left {
            repository.delete(&object).await?;
        }
    }
}
