//! Has a private etcd change a snapshot before it is restored: an archive is put over it, an administrator is made.

use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::archive::lease::keep_alive;
use crate::archive::replay::Plan;
use crate::digest::Digests;
use crate::error::Error;
use crate::member::Member;
use crate::utility::{NewMember, Ports, Programs};

/// How a private etcd is started: one transaction holds what one revision held, leases last for twelve seconds at
/// least, and nothing is forced to the disk: what comes of it is a snapshot, and after a crash all is repeated. Its
/// log is cut after a thousand entries, in memory and on the disk.
const PRIVATE: [&str; 6] = [
    "--max-txn-ops=10000000",
    "--max-request-bytes=1073741824",
    "--quota-backend-bytes=107374182400",
    "--election-timeout=8000",
    "--unsafe-no-fsync",
    "--snapshot-count=1000",
];
/// How often leases are kept alive.
const KEEP: Duration = Duration::from_secs(3);

/// What is changed.
#[derive(Debug)]
pub(crate) struct Changes<'a> {
    /// The archive that is put over it.
    pub(crate) plan: Option<Plan<'a>>,
    /// The user that must be an administrator, where etcd asks who calls.
    pub(crate) admin: Option<&'a str>,
    /// True when nothing has looked yet whether it does.
    pub(crate) unlooked: bool,
}

impl Changes<'_> {
    /// Whether there is anything to do or to look at.
    fn any(&self) -> bool {
        self.unlooked || self.admin.is_some() || self.plan.as_ref().is_some_and(Plan::any)
    }

    async fn make(&self, member: &Member) -> Result<bool, Error> {
        if self.admin.is_none() && self.unlooked && member.authenticates().await? {
            return Err(Error::Users);
        }
        let mut changed = false;
        if let Some(plan) = self.plan.as_ref().filter(|plan| plan.any()) {
            plan.replay(member).await?;
            changed = true;
        }
        if let Some(admin) = self.admin {
            // With authentication off the members' agents make their user themselves.
            changed |= member.authenticates().await? && member.admit(admin).await?;
        }
        Ok(changed)
    }
}

/// Replaces a snapshot by one with the changes; `scratch` is a folder that is empty.
///
/// # Errors
/// When any part fails, or what comes of it is not what is archived.
pub(crate) async fn alter(
    changes: &Changes<'_>,
    by: (&Programs, Ports),
    snapshot: &Path,
    scratch: &Path,
) -> Result<(), Error> {
    if !changes.any() {
        return Ok(());
    }
    Box::pin(altered(changes, by, (snapshot, scratch), KEEP)).await
}

async fn altered(
    changes: &Changes<'_>,
    (programs, ports): (&Programs, Ports),
    (snapshot, scratch): (&Path, &Path),
    keep: Duration,
) -> Result<(), Error> {
    let (data, made) = (scratch.join("private"), scratch.join("altered.db"));
    let new = NewMember {
        name: "private".to_owned(),
        peer_url: format!("http://127.0.0.1:{}", ports.peer),
        token: "private".to_owned(),
        bump: false,
    };
    programs.restore(snapshot, &data, &new).await?;
    let server = programs
        .start_with(&data, &new.name, ports, &PRIVATE)
        .await?;
    let member = server.member().await?;
    let altered = async {
        let changed = changes.make(&member).await?;
        if changed {
            take(&member, &made).await?;
        }
        Ok::<_, Error>(changed)
    };
    let altered = tokio::select! {
        altered = Box::pin(altered) => altered,
        error = Box::pin(keep_alive(&member, keep)) => Err(error),
    };
    server.stop().await;
    let changed = altered?;
    if changed {
        ends(changes, programs, (snapshot, &made)).await?;
    }
    let moved = async {
        tokio::fs::remove_dir_all(&data).await?;
        if changed {
            tokio::fs::rename(&made, snapshot).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    moved.await.map_err(|source| disk(snapshot, source))
}

/// The snapshot that was made has the revision that was meant: a lease that ended after all was compared, because it
/// could not be renewed in time, has taken its keys with it.
async fn ends(
    changes: &Changes<'_>,
    programs: &Programs,
    (snapshot, made): (&Path, &Path),
) -> Result<(), Error> {
    let plan = changes.plan.as_ref().filter(|plan| plan.any());
    let wanted = match plan {
        Some(plan) => plan.target,
        None => programs.status(snapshot).await?.revision,
    };
    let found = programs.status(made).await?.revision;
    if found == wanted {
        return Ok(());
    }
    Err(Error::Differs(format!(
        "it has revision {found} instead of {wanted}: a lease ended while it was made, because the disk was too slow \
         to renew it; restore again"
    )))
}

/// The snapshot of the private etcd.
async fn take(member: &Member, to: &Path) -> Result<(), Error> {
    let mut pieces = member.snapshot().await?;
    let mut file = tokio::fs::File::create(to)
        .await
        .map_err(|source| disk(to, source))?;
    let mut digests = Digests::default();
    while let Some(piece) = pieces.next().await? {
        digests.update(&piece.bytes);
        file.write_all(&piece.bytes)
            .await
            .map_err(|source| disk(to, source))?;
    }
    file.flush().await.map_err(|source| disk(to, source))?;
    let bytes = digests.bytes();
    digests.snapshot().map(drop).map_err(|why| Error::Torn {
        endpoint: member.endpoint().to_owned(),
        bytes,
        why,
    })
}

fn disk(path: &Path, source: std::io::Error) -> Error {
    Error::Disk {
        what: "write",
        path: path.display().to_string(),
        needed: "the database three and a half times and 1 GiB",
        source,
    }
}

#[cfg(test)]
mod tests;
