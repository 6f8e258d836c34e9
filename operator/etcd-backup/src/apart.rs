//! Backups do not lie in one another: a folder is listed, and emptied, as what one backup consists of.

use std::iter::successors;

use object_store::path::Path;

use crate::archive::name::Object;
use crate::error::Error;
use crate::path::Folder;
use crate::repository::Repository;

/// Refuses a folder in that of another backup or archive, before anything is written there. What may not be listed, as
/// with a credential for a part of a bucket, is not looked at.
///
/// # Errors
/// When it lies in one.
pub async fn apart(repository: &Repository, folder: &Folder) -> Result<(), Error> {
    let above = successors(folder.path().parent(), Path::parent);
    for path in above.take_while(|path| !path.is_root()) {
        if is_one(repository, &path).await {
            return Err(Error::Settings(format!(
                "{} lies in {path}, which is the folder of another backup: give the BackupRepo or the BackupPolicy another \
                 pathPrefix",
                folder.path()
            )));
        }
    }
    Ok(())
}

/// Whether a folder is a backup's or an archive's own. Others may use a bucket, too: what only has the name of a
/// manifest is none.
async fn is_one(repository: &Repository, path: &Path) -> bool {
    let Ok(folder) = Folder::read(path.as_ref()) else {
        return false;
    };
    if matches!(repository.manifest(&folder).await, Ok(Some(_))) {
        return true;
    }
    let names = repository.right_in(path).await.unwrap_or_default();
    names.iter().any(|name| Object::read(name).is_some())
}
