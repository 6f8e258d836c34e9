//! Who has written to an archive: each Backup that has leaves an object with its UID in the folder.
//!
//! A Backup of the same name finds the folder of an earlier one that was deleted with `Retain`. One that has written
//! nothing there owns nothing of it, and one that has continued it owns it together with the earlier one. Writers of
//! earlier releases left no such object: whose their archives are is told by the pod that has written the first
//! segment.

use bytes::Bytes;
use object_store::path::Path;

use super::name::{Object, is_mark, mark_name};
use super::segment::{BEGINNING, writer};
use super::store::Archive;
use crate::error::Error;
use crate::path::Folder;
use crate::repository::Repository;

/// In place of a UID: that of a Backup which left no object of its own.
const FORMER: &str = "former";
/// So many first characters of the UID are in the names of a Backup's pods, which write for it.
const SHORT: usize = 8;

/// The object that names this Backup.
#[must_use]
pub fn mark(folder: &Folder, backup_uid: &str) -> Path {
    folder.path().clone().join(mark_name(backup_uid))
}

/// Whose an archive is that a Backup would delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Its own, all of it.
    Own,
    /// Another one's, too, or alone: by what that is known.
    Anothers(String),
}

/// Whose an archive is.
///
/// # Errors
/// [`Error::Unowned`] when nothing tells, or when the repository does not answer.
pub async fn whose(
    repository: &Repository,
    folder: &Folder,
    backup_uid: &str,
) -> Result<Whose, Error> {
    let own = mark(folder, backup_uid);
    let marks = repository.list(folder, is_mark).await?;
    if let Some(other) = marks.iter().find(|mark| **mark != own) {
        return Ok(Whose::Anothers(other.to_string()));
    }
    if !marks.is_empty() {
        return Ok(Whose::Own);
    }
    let names = repository.names(folder).await?;
    let objects = names.iter().filter_map(|(name, _)| Object::read(name));
    let Some(first) = objects.min_by_key(|object| object.first) else {
        return Ok(Whose::Own);
    };
    let first = folder.path().clone().join(first.name());
    let beginning = repository.small(&first, BEGINNING).await?;
    match beginning.as_deref().and_then(writer) {
        Some(writer) if is_of(&writer, backup_uid) => Ok(Whose::Own),
        Some(writer) => Ok(Whose::Anothers(format!("{first} of the pod {writer}"))),
        None => Err(Error::Unowned(first)),
    }
}

/// Whether a pod of this name writes for this Backup: `archive-{name}-{beginning of the UID}-{number}`.
fn is_of(writer: &str, backup_uid: &str) -> bool {
    let short: String = backup_uid.chars().take(SHORT).collect();
    !short.is_empty() && writer.contains(&format!("-{short}-"))
}

/// Names the owner of an archive that another Backup has begun, as its first segment says, without an object of its
/// own: before anything is written to it, so that it does not go with the one that continues it.
///
/// # Errors
/// When the repository does not answer, or does not take that.
pub async fn keep_former(archive: &Archive, backup_uid: &str, writer: &str) -> Result<(), Error> {
    if is_of(writer, backup_uid) {
        return Ok(());
    }
    let own = mark_name(backup_uid);
    let marks = archive.marks().await?;
    if marks
        .iter()
        .any(|mark| mark.filename() != Some(own.as_str()))
    {
        return Ok(());
    }
    archive.mark(FORMER).await
}

/// The Backup that a process writes for.
#[derive(Clone, Debug)]
pub struct Owner {
    backup_uid: String,
    marked: bool,
}

impl Owner {
    /// The Backup with this UID.
    #[must_use]
    pub fn new(backup_uid: &str) -> Self {
        Owner {
            backup_uid: backup_uid.to_owned(),
            marked: false,
        }
    }

    /// Appends a segment, and names the Backup once: before the first segment of all, so that none is without an owner,
    /// and after its own first one where there were others, so that one that cannot continue them owns nothing.
    ///
    /// # Errors
    /// As [`Archive::append`]; it can be repeated with the same bytes.
    pub async fn append(
        &mut self,
        archive: &Archive,
        (sequence, bytes): (u64, Bytes),
    ) -> Result<(), Error> {
        if sequence == 0 {
            self.named(archive).await?;
        }
        archive.append(sequence, bytes).await?;
        self.named(archive).await
    }

    async fn named(&mut self, archive: &Archive) -> Result<(), Error> {
        if !self.marked {
            archive.mark(&self.backup_uid).await?;
            self.marked = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_of_the_backup_whose_uid_its_name_has() {
        let uid = "87654321-bbbb-cccc";
        // As the operator names the Deployment, and Kubernetes its pod.
        assert!(is_of("archive-pitr-87654321-6f9cd5b7c4-x2x4z", uid));
        assert!(!is_of("archive-pitr-12345678-6f9cd5b7c4-x2x4z", uid));
        assert!(!is_of("archive-87654321x-12345678-6f9cd5b7c4-x2x4z", uid));
        assert!(!is_of("writer", uid) && !is_of("a--b", ""));
    }
}
