//! How long a step took the last time on this machine: a file a step in the state folder, which `images/lib.sh` writes
//! too. Only ever told; nothing is decided by it, and a file that cannot be read or written is as good as none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::state_dir;

/// A step that was over at once has found its work done: that says nothing about the next time.
const WORTH: Duration = Duration::from_secs(5);

/// How long it took the last time that it had something to do; nothing when that was never.
pub(super) fn last(step: &str) -> Option<Duration> {
    read(&folder(), step)
}

/// Remembers it for the next time.
pub(super) fn remember(step: &str, took: Duration) {
    write(&folder(), step, took);
}

fn folder() -> PathBuf {
    state_dir().join("took")
}

fn read(folder: &Path, step: &str) -> Option<Duration> {
    let text = std::fs::read_to_string(folder.join(word(step))).ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn write(folder: &Path, step: &str, took: Duration) {
    if took >= WORTH && std::fs::create_dir_all(folder).is_ok() {
        let _ = std::fs::write(folder.join(word(step)), format!("{}\n", took.as_secs()));
    }
}

/// The name of a step as a file's.
fn word(step: &str) -> String {
    let letter = |c: char| match c {
        c if c.is_ascii_alphanumeric() || c == '.' => c,
        _ => '-',
    };
    step.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_claimed_of_a_step_that_never_had_anything_to_do() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let folder = scratch.path().join("took");
        assert_eq!(read(&folder, "apply deploy/"), None);
        write(&folder, "apply deploy/", Duration::from_millis(300));
        assert_eq!(read(&folder, "apply deploy/"), None);
        write(&folder, "apply deploy/", Duration::from_millis(7300));
        assert_eq!(read(&folder, "apply deploy/"), Some(Duration::from_secs(7)));
        write(&folder, "apply deploy/", Duration::from_millis(300));
        assert_eq!(read(&folder, "apply deploy/"), Some(Duration::from_secs(7)));
    }
}
