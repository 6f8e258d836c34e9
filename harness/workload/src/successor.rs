//! One process at a time prints lines that another follows, or writes the last of a history. A connection that breaks
//! ends the process at its other end neither at once nor surely, so each writes its number into a file, and the one
//! before reads there that it has a successor.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use crate::schedule::{block, pause};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// The place of one such process, until the next one takes it.
#[derive(Debug)]
pub(crate) struct Place {
    file: PathBuf,
    own: u32,
}

impl Place {
    /// Takes the place of this name from who had it.
    pub(crate) fn take(dir: &Path, name: &str) -> io::Result<Self> {
        Self::take_as(dir.join(name), process::id())
    }

    fn take_as(file: PathBuf, own: u32) -> io::Result<Self> {
        std::fs::write(&file, own.to_string())?;
        Ok(Self { file, own })
    }

    /// Returns when another process has taken it. In a thread of its own: the timers of a runtime stop when a worker
    /// waits in a write for ever.
    pub(crate) async fn taken(self) {
        let wait = move || {
            while !self.is_taken() {
                block(LOOK);
            }
        };
        // It ends no other way: it does not panic, and nothing aborts it.
        let _ended = tokio::task::spawn_blocking(wait).await;
    }

    /// As [`Self::taken`], for who waits in nothing for ever.
    pub(crate) async fn lost(&self) {
        while !self.is_taken() {
            pause(LOOK).await;
        }
    }

    /// Waits until who had the place before has ended, or has dropped what this gives.
    pub(crate) async fn alone(&self) -> io::Result<File> {
        let file = File::create(self.file.with_extension("lock"))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => pause(LOOK).await,
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// False, too, while the next one is just writing.
    fn is_taken(&self) -> bool {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.parse::<u32>().is_ok_and(|holder| holder != self.own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_belongs_to_the_last_that_took_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let take = |own| Place::take_as(dir.path().join("lists"), own).expect("taken");
        let first = take(7);
        assert!(!first.is_taken());
        let second = take(8);
        assert!(first.is_taken() && !second.is_taken());
        // Of a process of the same number, in a container that was started again.
        let third = take(7);
        assert!(second.is_taken() && !third.is_taken());
        std::fs::write(dir.path().join("lists"), "").expect("written");
        assert!(!third.is_taken(), "none has it while it is written");
    }

    #[tokio::test]
    async fn who_waits_learns_of_its_successor() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("lists");
        let first = Place::take_as(file.clone(), 7).expect("taken");
        let mut waiting = tokio::spawn(first.taken());
        let waited = tokio::time::timeout(3 * LOOK, &mut waiting).await;
        assert!(waited.is_err(), "it has none yet");
        Place::take_as(file, 8).expect("taken");
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        waited.expect("it was seen").expect("no panic");
    }

    #[tokio::test]
    async fn a_successor_is_alone_once_who_had_the_place_has_ended() {
        let dir = tempfile::tempdir().expect("a folder");
        let take = |own| Place::take_as(dir.path().join("final"), own).expect("taken");
        let first = take(7);
        let working = first.alone().await.expect("it is alone");
        let second = take(8);
        first.lost().await;
        let mut waiting = Box::pin(second.alone());
        let waited = tokio::time::timeout(3 * LOOK, &mut waiting).await;
        assert!(waited.is_err(), "the first one is at work still");
        drop(working);
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        waited.expect("it was seen").expect("it is alone");
    }
}
