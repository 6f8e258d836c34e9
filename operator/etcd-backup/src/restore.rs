//! Fills an empty volume with the data of a backup, as the only member of a new cluster.

use std::path::{Path, PathBuf};

use crate::alter::{Changes, alter};
use crate::archive::replay::{Plan, Replay, plan};
use crate::error::Error;
use crate::manifest::Manifest;
use crate::path::Folder;
use crate::repository::{Repository, Snapshot};
use crate::seal::Keys;
use crate::utility::{NewMember, Ports, Programs};

/// Folder of the volume in which the data is made.
const SCRATCH: &str = ".restore";

/// What is restored where.
#[derive(Clone, Debug)]
pub struct Restore {
    /// The backup.
    pub folder: Folder,
    /// The member's volume.
    pub volume: PathBuf,
    /// Name of the data directory in it.
    pub data: String,
    /// The member.
    pub member: NewMember,
    /// Name and content of a file that says whose data it is, written before the data appears.
    pub identity: (String, String),
    /// etcd's programs.
    pub programs: Programs,
    /// Keys of what it is encrypted with.
    pub keys: Option<Keys>,
    /// SHA-256 that the backup must have; empty when it is not known.
    pub sha256: String,
    /// What is put over it.
    pub replay: Option<Replay>,
    /// The user that the new members' agents are: made an administrator where the backup's authentication is on, or
    /// they would be refused.
    pub admin: Option<String>,
    /// Ports of a private etcd, on loopback.
    pub ports: Ports,
}

/// Restores; repeatable: what an attempt left that was killed is cleared, and what is done is left alone.
///
/// # Errors
/// When any part fails; there is no data directory then, nor anything else that takes space.
pub async fn restore(repository: &Repository, restore: &Restore) -> Result<Manifest, Error> {
    let manifest = repository.manifest(&restore.folder).await?;
    let manifest = manifest.ok_or_else(|| Error::NoBackup(restore.folder.path().clone()))?;
    if !restore.sha256.is_empty() && manifest.sha256 != restore.sha256 {
        let object = restore.folder.manifest();
        let found = format!(
            "it names SHA-256 {} instead of {}",
            manifest.sha256, restore.sha256
        );
        return Err(Error::Lying { object, found });
    }
    let data = restore.volume.join(&restore.data);
    let identity = restore.volume.join(&restore.identity.0);
    if exists(&data).await? {
        let own = tokio::fs::read_to_string(&identity)
            .await
            .unwrap_or_default();
        // The data directory appears by one rename, so it is complete.
        if own != restore.identity.1 {
            return Err(Error::NotEmpty(data.display().to_string()));
        }
        clear(&restore.volume.join(SCRATCH)).await?;
        // It may have been killed between the rename and this.
        synced(&restore.volume).await?;
        return Ok(manifest);
    }
    let snapshot = Snapshot::of(&manifest, restore.keys.as_ref())?;
    repository.check(&restore.folder, &snapshot).await?;
    let plan = replayed(restore, &manifest).await?;
    let scratch = restore.volume.join(SCRATCH);
    clear(&scratch).await?;
    let changes = Changes {
        plan,
        admin: restore.admin.as_deref(),
        unlooked: manifest.is_unlooked(),
    };
    let made = Box::pin(make(repository, restore, &snapshot, &changes, &scratch)).await;
    let cleared = clear(&scratch).await;
    made.and(cleared)?;
    synced(&restore.volume).await?;
    Ok(manifest)
}

/// Makes the data directory in `scratch`, and gives it its name.
async fn make(
    repository: &Repository,
    restore: &Restore,
    snapshot: &Snapshot<'_>,
    changes: &Changes<'_>,
    scratch: &Path,
) -> Result<(), Error> {
    let data = restore.volume.join(&restore.data);
    let identity = restore.volume.join(&restore.identity.0);
    private(scratch).await?;
    let (file, made) = (scratch.join("snapshot.db"), scratch.join("restored"));
    repository
        .fetch_snapshot(&restore.folder, snapshot, &file)
        .await?;
    let by = (&restore.programs, restore.ports);
    Box::pin(alter(changes, by, &file, scratch)).await?;
    restore
        .programs
        .restore(&file, &made, &restore.member)
        .await?;
    tokio::fs::remove_file(&file)
        .await
        .map_err(|source| disk("delete", &file, source))?;
    let own = (identity.as_path(), restore.identity.1.as_str());
    appear((&made, &data), own, synced(&made)).await
}

/// Gives data its name, when it outlives a loss of power, and the file that says whose it is does: with that file empty
/// it would be left alone as another's.
async fn appear(
    (made, data): (&Path, &Path),
    (identity, content): (&Path, &str),
    synced: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    tokio::fs::write(identity, content)
        .await
        .map_err(|source| disk("write", identity, source))?;
    synced.await?;
    tokio::fs::rename(made, data)
        .await
        .map_err(|source| disk("rename", made, source))
}

/// Makes a folder for its user alone: what was encrypted in the repository lies in it as it is.
async fn private(folder: &Path) -> Result<(), Error> {
    let made = tokio::fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .await;
    made.map_err(|source| disk("make", folder, source))
}

/// What is put over the backup.
async fn replayed<'a>(
    restore: &'a Restore,
    manifest: &Manifest,
) -> Result<Option<Plan<'a>>, Error> {
    let Some(replay) = &restore.replay else {
        return Ok(None);
    };
    let base = manifest.revision.ok_or_else(|| {
        Error::Settings(
            "its revision is not known, because it was never verified: use another backup"
                .to_owned(),
        )
    })?;
    plan(replay, (base, &manifest.cluster_id)).await.map(Some)
}

async fn exists(path: &Path) -> Result<bool, Error> {
    tokio::fs::try_exists(path)
        .await
        .map_err(|source| disk("look for", path, source))
}

async fn clear(folder: &Path) -> Result<(), Error> {
    match tokio::fs::remove_dir_all(folder).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(disk("clear", folder, source)),
    }
}

/// Waits until the file system of a folder has all that was written on its disk.
async fn synced(folder: &Path) -> Result<(), Error> {
    let path = folder.to_owned();
    let done = tokio::task::spawn_blocking(move || {
        let file = std::fs::File::open(&path)?;
        rustix::fs::syncfs(&file).map_err(std::io::Error::from)
    });
    let done = done
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)));
    done.map_err(|source| disk("sync", folder, source))
}

fn disk(what: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Disk {
        what,
        path: path.display().to_string(),
        needed: "the snapshot twice and 200 MiB",
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn whose_the_data_is_outlives_a_loss_of_power_before_the_data_has_its_name() {
        let volume = tempfile::tempdir().expect("a folder");
        let [made, identity, data] = ["made", "identity", "etcd"].map(|at| volume.path().join(at));
        std::fs::create_dir(&made).expect("a folder");
        let synced = async {
            let written = std::fs::read_to_string(&identity);
            assert_eq!(written.expect("it is there"), "mine");
            assert!(!data.exists());
            Ok::<_, Error>(())
        };
        let appears = appear((&made, &data), (&identity, "mine"), synced);
        appears.await.expect("it appears");
        assert!(data.is_dir());
    }

    #[tokio::test]
    async fn what_is_restored_is_read_by_its_user_alone_while_it_is_made() {
        let volume = tempfile::tempdir().expect("a folder");
        let scratch = volume.path().join(SCRATCH);
        private(&scratch).await.expect("made");
        let made = std::fs::metadata(&scratch).expect("it is there");
        assert_eq!(made.permissions().mode() & 0o777, 0o700);
    }
}
