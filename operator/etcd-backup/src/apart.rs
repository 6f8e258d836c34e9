//! Backups do not lie in one another: a folder is listed, and emptied, as what one backup consists of.

use std::iter::successors;

use object_store::path::Path;

use crate::archive::name::Object;
use crate::error::Error;
use crate::pages::Found;
use crate::path::Folder;
use crate::repository::Repository;

/// Refuses a folder in that of another backup or archive, before anything is written there. What may not be listed, as
/// with a credential for a part of a bucket, is not looked at.
///
/// # Errors
/// When it lies in one, or in one that has too many objects to tell.
pub async fn apart(repository: &Repository, folder: &Folder) -> Result<(), Error> {
    let above = successors(folder.path().parent(), Path::parent);
    for path in above.take_while(|path| !path.is_root()) {
        let why = match is_one(repository, &path).await {
            Found::None => continue,
            Found::One => "which is the folder of another backup".to_owned(),
            Found::Many => format!(
                "which holds thousands of objects whose names begin with {}, so that it was not found out whether it is \
                 the folder of another backup",
                Object::BEGINNINGS.join(" or ")
            ),
        };
        return Err(Error::Settings(format!(
            "{} lies in {path}, {why}: give the BackupRepo or the BackupPolicy another pathPrefix",
            folder.path()
        )));
    }
    Ok(())
}

/// Whether a folder is a backup's or an archive's own. Others may use a bucket, too: what only has the name of a
/// manifest is none.
async fn is_one(repository: &Repository, path: &Path) -> Found {
    let Ok(folder) = Folder::read(path.as_ref()) else {
        return Found::None;
    };
    if matches!(repository.manifest(&folder).await, Ok(Some(_))) {
        return Found::One;
    }
    for beginning in Object::BEGINNINGS {
        let wanted = |name: &str| Object::read(name).is_some();
        let found = repository.find(path, beginning, wanted).await;
        if let Ok(found @ (Found::One | Found::Many)) = found {
            return found;
        }
    }
    Found::None
}
