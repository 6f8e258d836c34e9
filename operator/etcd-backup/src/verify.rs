//! The proof of a backup: read back from the repository, restored, started, and compared with the member.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::manifest::Verification;
use crate::member::{Hash, Member};
use crate::path::Folder;
use crate::repository::{Repository, Snapshot};
use crate::utility::{FileStatus, NewMember, Ports, Programs};

/// Where and with what a backup is proven.
#[derive(Clone, Debug)]
pub struct Bench {
    /// etcd's programs.
    pub programs: Programs,
    /// An empty folder that holds the snapshot twice and 200 MiB.
    pub scratch: PathBuf,
    /// Ports on loopback.
    pub ports: Ports,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What the file says.
    pub file: FileStatus,
    /// Whether it is the member's data.
    pub verification: Verification,
    /// Whether etcd's authentication is on in it.
    pub authentication: bool,
}

/// Proves a backup. What cannot be compared is not verified, what differs is an error.
///
/// # Errors
/// When the repository, the disk or etcd fail, or the data differs.
pub async fn verify(
    repository: &Repository,
    folder: &Folder,
    snapshot: &Snapshot<'_>,
    member: &Member,
    bench: &Bench,
) -> Result<Proof, Error> {
    let (file, data) = (
        bench.scratch.join("snapshot.db"),
        bench.scratch.join("restored"),
    );
    clear(&file, &data).await?;
    let proof = prove(repository, folder, snapshot, member, bench, (&file, &data));
    let proof = Box::pin(proof).await;
    // An attempt that follows finds the space again.
    let cleared = clear(&file, &data).await;
    let proof = proof?;
    cleared?;
    Ok(proof)
}

async fn prove(
    repository: &Repository,
    folder: &Folder,
    snapshot: &Snapshot<'_>,
    member: &Member,
    bench: &Bench,
    (file, data): (&Path, &Path),
) -> Result<Proof, Error> {
    repository.fetch_snapshot(folder, snapshot, file).await?;
    let status = bench.programs.status(file).await?;
    let new = NewMember {
        name: "throw-away".to_owned(),
        peer_url: format!("http://127.0.0.1:{}", bench.ports.peer),
        token: "throw-away".to_owned(),
        bump: false,
    };
    bench.programs.restore(file, data, &new).await?;
    let server = bench.programs.start(data, &new.name, bench.ports).await?;
    let restored = server.member().await?;
    let compared = async {
        let verification = compare(&restored, member, status.revision).await?;
        Ok::<_, Error>((verification, restored.authenticates().await?))
    };
    let compared = compared.await;
    server.stop().await;
    let (verification, authentication) = compared?;
    Ok(Proof {
        file: status,
        verification,
        authentication,
    })
}

async fn compare(restored: &Member, member: &Member, revision: i64) -> Result<Verification, Error> {
    // The member's hash first: it may be compacted further at any time, and the copy can follow it.
    let theirs = match member.hash(revision).await {
        Ok(hash) => hash,
        Err(error) => {
            return Ok(unproven(format!(
                "it was restored, but the member cannot be asked for its hash: {error}"
            )));
        }
    };
    let mut ours = restored.hash(revision).await?;
    if ours.compacted < theirs.compacted {
        restored.compact(theirs.compacted).await?;
        ours = restored.hash(revision).await?;
    }
    judge(ours, theirs, revision)
}

fn judge(ours: Hash, theirs: Hash, revision: i64) -> Result<Verification, Error> {
    if ours.compacted != theirs.compacted {
        let text = format!(
            "compacted at {} here and at {} there, so hashes of revision {revision} cannot be compared",
            ours.compacted, theirs.compacted
        );
        return Ok(unproven(format!("it was restored, but {text}")));
    }
    if ours.hash != theirs.hash {
        return Err(Error::Differs(format!(
            "hash {:x} instead of {:x} at revision {revision}",
            ours.hash, theirs.hash
        )));
    }
    Ok(Verification {
        verified: true,
        hash_kv: Some(format!("{:x}", ours.hash)),
        reason: None,
    })
}

fn unproven(reason: String) -> Verification {
    Verification {
        verified: false,
        hash_kv: None,
        reason: Some(reason),
    }
}

async fn clear(file: &Path, data: &Path) -> Result<(), Error> {
    for (path, gone) in [
        (file, tokio::fs::remove_file(file).await),
        (data, tokio::fs::remove_dir_all(data).await),
    ] {
        match gone {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(Error::Disk {
                    what: "clear",
                    path: path.display().to_string(),
                    needed: "the snapshot twice and 200 MiB",
                    source,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hash: u32, compacted: i64) -> Hash {
        Hash { hash, compacted }
    }

    #[test]
    fn equal_hashes_prove_different_ones_refuse_and_others_prove_nothing() {
        assert!(judge(hash(1, 5), hash(1, 5), 9).expect("compared").verified);
        let text = judge(hash(1, 5), hash(2, 5), 9)
            .expect_err("differs")
            .to_string();
        assert!(text.contains("hash 1 instead of 2 at revision 9"), "{text}");
        let unknown = judge(hash(1, 5), hash(1, 6), 9).expect("no verdict");
        assert!(!unknown.verified && unknown.reason.is_some());
    }
}
