//! Who may do what to a cluster while others use it: two file locks per cluster name, so that two harness processes
//! neither make the same cluster at once nor delete it from under each other. The system drops them with the process.
//!
//! `use`: shared by every process that works with the cluster; exclusive for one that deletes it, or removes what
//! faults have left in it.
//! `change`: exclusive for one that creates, starts or loads something into it.
//! `volumes`: exclusive for one that empties and offers its volumes.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// A lock that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock file cannot be opened.
    #[error("failed to open lock file {path:?}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "failed to {action} cluster {cluster:?}: another harness process uses it{}; let it end, or end it, and try again",
        pids(holders)
    )]
    Held {
        /// What was wanted.
        action: &'static str,
        /// The cluster.
        cluster: String,
        /// Process numbers of the holders, where the system tells them.
        holders: Vec<u32>,
    },
}

fn pids(holders: &[u32]) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let list: Vec<String> = holders.iter().map(ToString::to_string).collect();
    format!(" (process {})", list.join(", "))
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct ClusterLock {
    _file: File,
}

impl ClusterLock {
    /// For the time that a process works with the cluster. Shared; refused only while it is being deleted.
    ///
    /// # Errors
    /// [`LockError::Held`] when the cluster is being deleted.
    pub fn using(cluster: &str) -> Result<Self, LockError> {
        let (file, path) = open(cluster, "use")?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Self { _file: file }),
            Err(error) => Err(held("use", cluster, &path, error)),
        }
    }

    /// For deleting the cluster: no other process may be using it.
    ///
    /// # Errors
    /// [`LockError::Held`] when one is.
    pub fn deleting(cluster: &str) -> Result<Self, LockError> {
        let (file, path) = open(cluster, "use")?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(error) => Err(held("delete", cluster, &path, error)),
        }
    }

    /// For removing what faults have left, whichever process they are of: none may be using the cluster. Nothing where
    /// this machine has no place for lock files.
    ///
    /// # Errors
    /// [`LockError::Held`] when one is.
    pub fn cleaning(cluster: &str) -> Result<Option<Self>, LockError> {
        let Ok((file, path)) = open(cluster, "use") else {
            return Ok(None);
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(error) => Err(held("remove what is left in", cluster, &path, error)),
        }
    }

    /// For creating or changing the cluster; waits for a process that does so already, whose result is reused.
    ///
    /// # Errors
    /// [`LockError::Held`] when it is not done after [`timeouts::LOCK`].
    pub async fn changing(cluster: &str) -> Result<Self, LockError> {
        Self::waiting(cluster, "change", timeouts::LOCK).await
    }

    /// For emptying and offering volumes; waits for a process that does so already.
    ///
    /// # Errors
    /// [`LockError::Held`] when it is not done after [`timeouts::HEAL`].
    pub async fn volumes(cluster: &str) -> Result<Self, LockError> {
        Self::waiting(cluster, "volumes", timeouts::HEAL).await
    }

    async fn waiting(
        cluster: &str,
        kind: &'static str,
        limit: Duration,
    ) -> Result<Self, LockError> {
        let (file, path) = open(cluster, kind)?;
        let waited = wait_every(timeouts::POLL, "the lock", limit, async || {
            match file.try_lock() {
                Ok(()) => Poll::Ready(()),
                Err(TryLockError::WouldBlock) => Poll::NotYet("held".to_owned()),
                Err(TryLockError::Error(error)) => Poll::Failed(error),
            }
        })
        .await;
        match waited {
            Ok(()) => Ok(Self { _file: file }),
            Err(_) => Err(held("change", cluster, &path, TryLockError::WouldBlock)),
        }
    }
}

pub(super) fn held(
    action: &'static str,
    cluster: &str,
    path: &Path,
    error: TryLockError,
) -> LockError {
    match error {
        TryLockError::WouldBlock => {
            let inode = std::fs::metadata(path)
                .map(|meta| meta.ino())
                .unwrap_or_default();
            let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
            LockError::Held {
                action,
                cluster: cluster.to_owned(),
                holders: holders(&table, inode),
            }
        }
        TryLockError::Error(source) => LockError::Open {
            path: path.to_owned(),
            source,
        },
    }
}

/// Process numbers that hold a lock on `inode`, from the text of `/proc/locks` (Linux only; elsewhere it is empty):
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF`.
fn holders(table: &str, inode: u64) -> Vec<u32> {
    let inode = inode.to_string();
    let mut pids: Vec<u32> = table
        .lines()
        .filter(|line| !line.contains("->"))
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let file = words.get(5)?;
            (file.rsplit(':').next()? == inode).then(|| words.get(4)?.parse().ok())?
        })
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// The file that stands for something about a cluster.
pub(super) fn path(cluster: &str, kind: &str) -> PathBuf {
    // The name of a context may hold anything.
    let word: String = cluster
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    state_dir().join(format!("cluster-{word}.{kind}.lock"))
}

fn open(cluster: &str, kind: &str) -> Result<(File, PathBuf), LockError> {
    let path = path(cluster, kind);
    let fail = |source| LockError::Open {
        path: path.clone(),
        source,
    };
    std::fs::create_dir_all(state_dir()).map_err(fail)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|source| LockError::Open {
            path: path.clone(),
            source,
        })?;
    Ok((file, path))
}

/// The folder of state on this machine; the scripts below `images/` use the same.
pub(crate) fn state_dir() -> PathBuf {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("ETCD_HARNESS_STATE").unwrap_or_else(|| {
        from("XDG_CACHE_HOME")
            .or_else(|| from("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
            .join("etcd-harness")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> String {
        format!(
            "unit-test-{}-{:x}",
            std::process::id(),
            rand::random::<u32>()
        )
    }

    #[test]
    fn users_share_and_a_deleter_is_refused_while_they_do() {
        let name = name();
        let first = ClusterLock::using(&name).expect("first");
        let second = ClusterLock::using(&name).expect("second");
        let refused = ClusterLock::cleaning(&name).expect_err("it is used");
        assert!(
            refused.to_string().contains("remove what is left"),
            "{refused}"
        );
        let error = ClusterLock::deleting(&name)
            .expect_err("in use")
            .to_string();
        assert!(
            error.contains(&name) && error.contains("another harness process"),
            "{error}"
        );
        drop((first, second));
        let deleter = ClusterLock::deleting(&name).expect("free");
        assert!(ClusterLock::using(&name).is_err());
        drop(deleter);
        let (_, path) = open(&name, "use").expect("path");
        std::fs::remove_file(path).expect("clean up");
    }

    #[tokio::test]
    async fn changers_wait_for_each_other() {
        let name = name();
        let first = ClusterLock::changing(&name).await.expect("first");
        let soon = Duration::from_millis(1);
        assert!(ClusterLock::waiting(&name, "change", soon).await.is_err());
        drop(first);
        assert!(ClusterLock::waiting(&name, "change", soon).await.is_ok());
        let (_, path) = open(&name, "change").expect("path");
        std::fs::remove_file(path).expect("clean up");
    }

    #[test]
    fn holders_are_found_by_inode_and_waiters_are_not_holders() {
        let table = "1: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF\n\
                     1: -> FLOCK  ADVISORY  WRITE 4712 fe:00:131 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 9 fe:00:99131 0 EOF\n";
        assert_eq!(holders(table, 131), [4711]);
    }
}
