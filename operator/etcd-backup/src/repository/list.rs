//! What is listed of a repository: objects right in a folder, and the backups beside one.

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;

use super::{Repository, failed};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::pages::Found;
use crate::path::Folder;

/// Most objects of one backup that are looked at.
const OBJECTS: usize = 1000;
/// Most folders beside one that are looked at.
const FOLDERS: usize = 10_000;

impl Repository {
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
}

/// A list has what lies in folders below, too: another backup's, where an earlier operator let it begin there.
fn is_right_in(folder: &Folder, object: &Path) -> bool {
    let mut below = object.prefix_match(folder.path()).into_iter().flatten();
    below.next().is_some() && below.next().is_none()
}
