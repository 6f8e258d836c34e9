//! `kbagent install DEST`: puts this executable at DEST, so that etcd's container can run the launcher from a shared
//! volume. Needs no shell and no `cp` in the image.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Copies the running executable to `destination`: written beside it, then renamed, so that no reader sees half a file.
///
/// # Errors
/// When the executable cannot be read or the destination cannot be written.
pub fn install(destination: &Path) -> io::Result<()> {
    copy(&std::env::current_exe()?, destination)
}

fn copy(source: &Path, destination: &Path) -> io::Result<()> {
    let mut partial = destination.as_os_str().to_owned();
    partial.push(".partial");
    fs::copy(source, &partial)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
    // Not synced, which may take a second: after a loss of power the containers start again, and with them this.
    fs::rename(&partial, destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_whole_executable_and_replaces_an_older_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (source, destination) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&source, "new").expect("write");
        fs::write(&destination, "old, longer").expect("write");
        copy(&source, &destination).expect("copy");
        assert_eq!(fs::read_to_string(&destination).expect("read"), "new");
        let mode = fs::metadata(&destination)
            .expect("metadata")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
