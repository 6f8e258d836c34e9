//! Deletes a backup: the manifest first, so that what is half deleted is no backup.

use crate::archive::name::{Object, is_mark};
use crate::archive::owner::{self, Whose};
use crate::error::Error;
use crate::manifest::{LARGEST, Manifest, NotAManifest};
use crate::path::Folder;
use crate::repository::Repository;

/// So many times what is listed after it was deleted is deleted again: a list may be late.
const IN_VAIN: usize = 30;

/// Which objects of a folder are a backup's: an archive and a snapshot of the same name have one folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Of a full backup.
    Snapshot,
    /// Of an archive.
    Archive,
}

impl What {
    /// Who has written to an archive is deleted by itself.
    fn owns(self, name: &str) -> bool {
        let archived = Object::read(name).is_some() || name.starts_with("fence-");
        !is_mark(name) && archived == (self == What::Archive)
    }
}

/// Deletes all objects of a backup. What is another Backup's is left alone, and nothing is left to do: this one was
/// refused there before it wrote anything that is a backup, or has continued the other's archive, and what a killed
/// attempt of it may have left is deleted by the other.
///
/// # Errors
/// When the repository refuses.
pub async fn remove(
    repository: &Repository,
    folder: &Folder,
    backup_uid: &str,
    what: What,
) -> Result<(), Error> {
    match what {
        What::Snapshot => {
            if let Some(other) = another(repository, folder, backup_uid).await? {
                let path = folder.manifest();
                eprintln!("nothing is deleted: {path} belongs to the Backup with UID {other}");
                return Ok(());
            }
            repository.delete(&folder.manifest()).await?;
            objects(repository, folder, what).await
        }
        What::Archive => {
            let own = owner::mark(folder, backup_uid);
            match owner::whose(repository, folder, backup_uid).await? {
                Whose::Own => objects(repository, folder, what).await?,
                Whose::Anothers(by) => {
                    eprintln!("nothing is deleted: by {by} another Backup has written the archive");
                }
            }
            // Last: what is interrupted is repeated, and it is still known whose it is.
            repository.delete(&own).await
        }
    }
}

/// As [`remove`], of an archive of which the Backup's owner has said that it may go where nothing says whose it is.
/// What is known to be another Backup's stays.
///
/// # Errors
/// When the repository refuses.
pub async fn remove_unowned(
    repository: &Repository,
    folder: &Folder,
    backup_uid: &str,
) -> Result<(), Error> {
    match remove(repository, folder, backup_uid, What::Archive).await {
        Err(Error::Unowned(first)) => {
            eprintln!(
                "nothing says whose the archive at {first} is: it is deleted, as its Backup is annotated"
            );
            objects(repository, folder, What::Archive).await
        }
        ended => ended,
    }
}

/// UID of another Backup whose folder it is.
async fn another(
    repository: &Repository,
    folder: &Folder,
    backup_uid: &str,
) -> Result<Option<String>, Error> {
    let by = match repository.manifest(folder).await {
        Ok(manifest) => manifest.map(|manifest| manifest.source.backup_uid),
        Err(Error::Manifest { object, source }) => {
            let bytes = repository.small(&object, LARGEST).await?;
            let by = bytes.as_deref().and_then(Manifest::owner);
            // Of a later operator, which may have made it for another Backup of this name.
            if by.is_none() && matches!(source, NotAManifest::Version(1..)) {
                return Err(Error::Manifest { object, source });
            }
            // What is there and is no manifest belongs to what is in its folder: the path is this Backup's alone.
            by
        }
        // It may be another Backup's: that must be known before anything is deleted.
        Err(error) => return Err(error),
    };
    Ok(by.filter(|by| by != backup_uid))
}

async fn objects(repository: &Repository, folder: &Folder, what: What) -> Result<(), Error> {
    let (mut deleted, mut in_vain) = (Vec::new(), 0);
    loop {
        let left = repository.list(folder, |name| what.owns(name)).await?;
        let Some(first) = left.first() else {
            return Ok(());
        };
        in_vain = if left == deleted { in_vain + 1 } else { 0 };
        if in_vain == IN_VAIN {
            return Err(Error::Settings(format!(
                "it accepts that {first} is deleted, and lists it still: look at the server, or delete the folder by hand"
            )));
        }
        for object in &left {
            repository.delete(object).await?;
        }
        deleted = left;
    }
}
