//! Deletes a backup: the manifest first, so that what is half deleted is no backup.

use crate::error::Error;
use crate::path::Folder;
use crate::repository::Repository;

/// Deletes all objects of a backup. What belongs to another Backup is left alone.
///
/// # Errors
/// When the repository refuses.
pub async fn remove(
    repository: &Repository,
    folder: &Folder,
    backup_uid: &str,
) -> Result<(), Error> {
    // A manifest that cannot be read belongs to what is in its folder: the path is this Backup's alone.
    if let Ok(Some(manifest)) = repository.manifest(folder).await
        && manifest.source.backup_uid != backup_uid
    {
        return Err(Error::Taken(folder.manifest()));
    }
    repository.delete(&folder.manifest()).await?;
    loop {
        let left = repository.list(folder).await?;
        if left.is_empty() {
            return Ok(());
        }
        for object in left {
            repository.delete(&object).await?;
        }
    }
}
