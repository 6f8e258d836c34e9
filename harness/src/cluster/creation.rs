//! A creation of our kind cluster that has begun: a file in the state folder from before kind is called until it has
//! succeeded. What an interrupted one left behind is told by it from a cluster that is only stopped.
//!
//! kind holds a lock on the file for as long as it lives, so that one which outlived its harness is not disturbed.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;
use std::process::Stdio;

use crate::cluster::lock::{self, LockError};
use crate::timeouts;
use crate::wait::{Poll, wait_every};

/// What `up` does about the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There are none.
    Create,
    /// What is there is half of a cluster that no test can have used.
    CreateAnew,
    /// They are there, running or not.
    Start,
}

/// What is to be done where `nodes` containers are there, a creation had `begun` and was not seen to succeed, and the
/// cluster is `whole`: its API server answers and knows as many nodes. Only what was begun by us is ever taken back; a
/// cluster that was once made may be stopped, and answers nothing either.
pub(super) fn step(nodes: usize, begun: bool, whole: bool) -> Step {
    match (nodes, begun, whole) {
        (0, ..) => Step::Create,
        (_, true, false) => Step::CreateAnew,
        _ => Step::Start,
    }
}

/// The creation of one cluster.
#[derive(Debug)]
pub(super) struct Creation {
    cluster: String,
    path: PathBuf,
}

impl Creation {
    pub(super) fn of(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            path: lock::path(cluster, "creating"),
        }
    }

    /// True when it has begun and was not seen to succeed. Waits for a kind that is still at it.
    ///
    /// # Errors
    /// [`LockError::Held`] when that does not end.
    pub(super) async fn has_begun(&self) -> Result<bool, LockError> {
        if !self.path.exists() {
            return Ok(false);
        }
        self.locked().await.map(|_| true)
    }

    /// Begins it: what this gives is to be kind's standard input, for the lock goes with it.
    ///
    /// # Errors
    /// [`LockError`] when the file cannot be made.
    pub(super) async fn begin(&self) -> Result<Stdio, LockError> {
        Ok(self.locked().await?.into())
    }

    /// It has succeeded, or nothing is left of it.
    pub(super) fn is_over(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    async fn locked(&self) -> Result<File, LockError> {
        let open = |source| LockError::Open {
            path: self.path.clone(),
            source,
        };
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(open)?;
        }
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).read(true).write(true);
        let file = options.open(&self.path).map_err(open)?;
        let what = "an earlier kind to end";
        wait_every(timeouts::POLL, what, timeouts::LOCK, async || {
            match file.try_lock() {
                Ok(()) => Poll::Ready(()),
                Err(TryLockError::WouldBlock) => Poll::NotYet("it creates a cluster".to_owned()),
                Err(TryLockError::Error(error)) => Poll::Failed(error),
            }
        })
        .await
        .map_err(|_| {
            lock::held(
                "create",
                &self.cluster,
                &self.path,
                TryLockError::WouldBlock,
            )
        })?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_half_of_a_cluster_that_we_began_is_taken_back() {
        for (begun, whole) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(step(0, begun, whole), Step::Create, "no nodes");
        }
        assert_eq!(step(6, true, false), Step::CreateAnew, "interrupted");
        assert_eq!(step(6, true, true), Step::Start, "interrupted just after");
        assert_eq!(step(6, false, true), Step::Start, "it is up");
        assert_eq!(step(6, false, false), Step::Start, "it is stopped");
    }

    #[tokio::test]
    async fn a_creation_has_begun_until_it_is_over() {
        let creation = Creation::of(&format!("unit-test-{:x}", rand::random::<u32>()));
        assert!(!creation.has_begun().await.expect("no lock"));
        let stdin = creation.begin().await.expect("begins");
        let spawn = |stdin| Command::new("sleep").arg("60").stdin(stdin).spawn();
        let mut kind = spawn(stdin).expect("runs");
        let probe = File::open(&creation.path).expect("there");
        assert!(probe.try_lock().is_err(), "kind holds it");
        kind.kill().expect("interrupted");
        kind.wait().expect("gone");
        assert!(creation.has_begun().await.expect("free"), "interrupted");
        creation.is_over();
        assert!(!creation.has_begun().await.expect("no lock"));
    }
}
