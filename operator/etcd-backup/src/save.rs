//! Makes a backup: streamed, proven, and only then on record.

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::apart::apart;
use crate::digest::{Digests, Sum};
use crate::error::Error;
use crate::manifest::{FORMAT, Manifest, SEALED, Source, Verification};
use crate::member::{Member, Status};
use crate::pace::Pace;
use crate::path::Folder;
use crate::progress::Progress;
use crate::repository::{Repository, Snapshot};
use crate::seal::{ALGORITHM, Keys, NotOpened, Sealer};
use crate::verify::{Bench, verify};

/// What a backup is made of and with.
#[derive(Clone, Debug)]
pub struct Save {
    /// What it is of.
    pub source: Source,
    /// Where it goes.
    pub folder: Folder,
    /// Name of this attempt: no other one has it.
    pub attempt: String,
    /// Bytes a second at most.
    pub pace: Pace,
    /// What it is encrypted with.
    pub keys: Option<Keys>,
    /// Where how far it is gets noted.
    pub progress: Progress,
    /// Where it is proven; `None` leaves it unproven, and says so.
    pub bench: Option<Bench>,
}

/// What is on record of a backup.
enum Record {
    /// No manifest.
    Nothing,
    /// Its manifest, and the object that it names with the length that it names.
    Made(Box<Manifest>),
    /// Its manifest alone: the write of it took effect when its attempt had given up.
    Lost,
}

/// Makes a backup; of one that an earlier attempt has made only the manifest.
///
/// # Errors
/// When any part fails. Nothing of this attempt is left in the repository then, as far as the repository allows.
pub async fn save(
    repository: &Repository,
    member: &Member,
    save: &Save,
) -> Result<Manifest, Error> {
    match record(repository, save).await? {
        Record::Made(manifest) => return Ok(*manifest),
        Record::Lost => repository.delete(&save.folder.manifest()).await?,
        Record::Nothing => apart(repository, &save.folder).await?,
    }
    let made = Box::pin(attempt(repository, member, save)).await;
    settle(repository, save, made).await
}

/// What is on record counts, whatever the attempt says: the answer to the write of its manifest may have been lost, or
/// another attempt of the same backup was faster.
async fn settle(
    repository: &Repository,
    save: &Save,
    made: Result<Manifest, Error>,
) -> Result<Manifest, Error> {
    let own = save.folder.snapshot(&save.attempt);
    match (made, record(repository, save).await) {
        (_, Ok(Record::Made(manifest))) => {
            // What stays only takes space, and goes with the backup.
            let _left = sweep(repository, save, &manifest).await;
            Ok(*manifest)
        }
        // It was read back just before.
        (Ok(manifest), Err(Error::Store { .. })) => Ok(manifest),
        (Ok(_), Err(error)) => Err(error),
        (Ok(_), Ok(Record::Nothing | Record::Lost)) => Err(Error::Lying {
            object: own,
            found: "it or its manifest is not there although both were accepted".to_owned(),
        }),
        (Err(error), Ok(Record::Nothing | Record::Lost) | Err(Error::Taken(_))) => {
            // The error that is told is the first one.
            let _left = repository.delete(&own).await;
            Err(error)
        }
        // A manifest may name what was written: nothing is deleted, and the next attempt looks again.
        (Err(error), Err(_)) => Err(error),
    }
}

/// What is on record.
///
/// # Errors
/// When it cannot be read, is another backup's, or its object has another length.
async fn record(repository: &Repository, save: &Save) -> Result<Record, Error> {
    let Some(manifest) = repository.manifest(&save.folder).await? else {
        return Ok(Record::Nothing);
    };
    if manifest.source.backup_uid != save.source.backup_uid {
        return Err(Error::Taken(save.folder.manifest()));
    }
    let object = save.folder.path().clone().join(manifest.object.as_str());
    match repository.length(&object).await? {
        None => Ok(Record::Lost),
        Some(bytes) if bytes == manifest.bytes => Ok(Record::Made(Box::new(manifest))),
        Some(bytes) => {
            let found = format!("{bytes} bytes of {}", manifest.bytes);
            Err(Error::Lying { object, found })
        }
    }
}

/// Deletes what other attempts have left. Only when a manifest is there: until then another attempt may yet write one
/// that names its own object.
async fn sweep(repository: &Repository, save: &Save, manifest: &Manifest) -> Result<(), Error> {
    let others = |name: &str| name.starts_with("snapshot-") && name != manifest.object;
    for object in repository.list(&save.folder, others).await? {
        repository.delete(&object).await?;
    }
    Ok(())
}

async fn attempt(repository: &Repository, member: &Member, save: &Save) -> Result<Manifest, Error> {
    let before = member.status().await?;
    if before.learner || !before.led {
        let message = if before.learner {
            "it is a learner and may be behind: take the snapshot of a voter"
        } else {
            "it knows no leader and may be behind: wait until the cluster has a quorum"
        };
        return Err(Error::Member {
            what: "begin the snapshot",
            endpoint: member.endpoint().to_owned(),
            message: message.to_owned(),
        });
    }
    let started_at = Timestamp::now();
    let sum = stream(repository, member, save).await?;
    let ended_at = Timestamp::now();
    let after = member.status().await?;
    let object = format!("snapshot-{}.db", save.attempt);
    let mut manifest = Manifest {
        format_version: save.keys.as_ref().map_or(FORMAT, |_| SEALED),
        source: save.source.clone(),
        object,
        bytes: sum.bytes,
        sha256: sum.sha256,
        encryption: save.keys.as_ref().map(|_| ALGORITHM.to_owned()),
        started_at: started_at.to_string(),
        ended_at: ended_at.to_string(),
        etcd_version: before.version.clone(),
        cluster_id: format!("{:x}", before.cluster),
        member_id: format!("{:x}", before.member),
        revision_before: before.revision,
        revision_after: after.revision,
        revision: None,
        hash: None,
        total_keys: None,
        authentication: None,
        verification: Verification {
            verified: false,
            hash_kv: None,
            reason: Some("verification was switched off".to_owned()),
        },
    };
    if let Some(bench) = &save.bench {
        save.progress.verifying();
        let snapshot = Snapshot::of(&manifest, save.keys.as_ref())?;
        let proof = Box::pin(verify(repository, &save.folder, &snapshot, member, bench)).await?;
        manifest.revision = Some(proof.file.revision);
        manifest.hash = Some(format!("{:x}", proof.file.hash));
        manifest.total_keys = Some(proof.file.total_key);
        manifest.authentication = Some(proof.authentication);
        manifest.verification = proof.verification;
        within(proof.file.revision, &before, &after)?;
    }
    let bytes = manifest
        .write()
        .map_err(|error| Error::Settings(error.to_string()))?;
    repository.create(&save.folder.manifest(), bytes).await?;
    Ok(manifest)
}

/// A snapshot of the member lies between what the member said before and after.
fn within(revision: i64, before: &Status, after: &Status) -> Result<(), Error> {
    if (before.revision..=after.revision).contains(&revision) {
        return Ok(());
    }
    Err(Error::Differs(format!(
        "its revision is {revision}, the member's was {} before and {} after",
        before.revision, after.revision
    )))
}

/// Streams the snapshot into the repository; the sum is that of the object.
async fn stream(repository: &Repository, member: &Member, save: &Save) -> Result<Sum, Error> {
    let object = save.folder.snapshot(&save.attempt);
    let sealed = |source: NotOpened| Error::Sealed {
        object: object.clone(),
        source,
    };
    let mut sealer = match &save.keys {
        Some(keys) => Some((Sealer::new(keys).map_err(sealed)?, Digests::default())),
        None => None,
    };
    let mut pieces = member.snapshot().await?;
    let mut upload = repository.begin(&object).await?;
    let mut digests = Digests::default();
    let began = Instant::now();
    let torn = |bytes, why| Error::Torn {
        endpoint: member.endpoint().to_owned(),
        bytes,
        why,
    };
    let streamed = async {
        while let Some(piece) = pieces
            .next()
            .await
            .map_err(|error| torn(digests.bytes(), error.to_string()))?
        {
            digests.update(&piece.bytes);
            match &mut sealer {
                None => upload.write(&piece.bytes).await?,
                Some((sealer, stored)) => {
                    let bytes = sealer.push(&piece.bytes).map_err(sealed)?;
                    stored.update(&bytes);
                    upload.write(&bytes).await?;
                }
            }
            save.progress.sent(digests.bytes(), piece.remaining);
            sleep(save.pace.wait(digests.bytes(), began.elapsed())).await;
        }
        let bytes = digests.bytes();
        let plain = digests.snapshot().map_err(|why| torn(bytes, why))?;
        let Some((sealer, mut stored)) = sealer else {
            return Ok(plain);
        };
        let last = sealer.finish().map_err(sealed)?;
        stored.update(&last);
        upload.write(&last).await?;
        Ok(stored.sum())
    };
    let streamed = streamed.await;
    match streamed {
        Ok(sum) => {
            upload.finish().await?;
            Ok(sum)
        }
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    }
}
