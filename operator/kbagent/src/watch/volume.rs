//! How large the file system of etcd's data is, as this pod sees it: a volume that grew has grown when it says so.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Looks at the file system of `directory`, or of the one that it will be in, and publishes its size in bytes.
pub(super) async fn look(directory: PathBuf, size: watch::Sender<Option<u64>>) {
    loop {
        let directory = directory.clone();
        // A volume that hangs holds this thread and nothing else.
        let found = tokio::task::spawn_blocking(move || bytes(&directory)).await;
        size.send_if_modified(|known| {
            let found = found.ok().flatten();
            let changed = *known != found;
            *known = found;
            changed
        });
        tokio::time::sleep(EVERY).await;
    }
}

fn bytes(directory: &std::path::Path) -> Option<u64> {
    let there = directory.ancestors().find(|path| path.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(found.f_blocks.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_its_size_before_etcd_has_made_its_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let there = bytes(directory.path());
        assert!(there.is_some_and(|bytes| bytes > 0));
        assert_eq!(bytes(&directory.path().join("etcd/member")), there);
    }
}
