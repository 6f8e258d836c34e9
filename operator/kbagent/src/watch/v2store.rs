//! What the launcher's check of the store of API v2 has left in the run directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kbagent_protocol::V2Store;
use tokio::sync::watch;

use crate::launch::V2STORE_FILE;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// Largest file that is read, in bytes.
const LARGEST: u64 = 4096;

/// Looks at the file and publishes what it says.
pub(super) async fn look(run_dir: PathBuf, store: watch::Sender<Option<V2Store>>) {
    let path = run_dir.join(V2STORE_FILE);
    loop {
        let found = read(&path);
        store.send_if_modified(|known| {
            let changed = *known != found;
            *known = found;
            changed
        });
        tokio::time::sleep(EVERY).await;
    }
}

/// What a file says; nothing where it is not there, too long, or of another shape.
fn read(path: &Path) -> Option<V2Store> {
    if std::fs::metadata(path).ok()?.len() > LARGEST {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_read_and_anything_else_says_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(V2STORE_FILE);
        assert_eq!(read(&path), None);
        for (text, clean) in [
            (r#"{"clean":true}"#.to_owned(), Some(Some(true))),
            (r#"{"message":"later"}"#.to_owned(), Some(None)),
            ("half of {".to_owned(), None),
            (format!("{{\"message\":\"{}\"}}", "x".repeat(5000)), None),
        ] {
            std::fs::write(&path, &text).expect("write");
            assert_eq!(read(&path).map(|store| store.clean), clean, "{text}");
        }
    }
}
