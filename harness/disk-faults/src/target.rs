//! What the thread behind a call has open and in its memory, by `/proc`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::undo::Content;

/// A thread that waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target(pub(crate) u32);

/// A file of the folder that is looked after.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    /// Where it is now.
    pub(crate) path: PathBuf,
    /// A way to it that stays right when it is renamed.
    pub(crate) way: PathBuf,
    /// Device and number, by which it is known.
    pub(crate) id: (u64, u64),
}

/// How a file is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Where the next write goes; absent where that is the end.
    pub(crate) at: Option<u64>,
    /// What is written is synced at once.
    pub(crate) synced: bool,
}

/// Most pieces of one write that are looked at: the kernel takes no more.
const PIECES: u64 = 1024;
/// Bytes of a path, with the zero behind it.
const PATH: usize = 4096;

impl Target {
    fn entry(self, kind: &str, file: i32) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{kind}/{file}", self.0))
    }

    /// A regular file below the folder that it has open by this number; nothing where it is another.
    pub(crate) fn opened(self, file: i32, folder: &Path) -> io::Result<Option<Opened>> {
        let way = self.entry("fd", file);
        let path = match fs::read_link(&way) {
            Ok(path) => path,
            // The call itself will say so.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !path.starts_with(folder) {
            return Ok(None);
        }
        regular(path, way)
    }

    /// The file at a path in its memory, as seen from a folder that it has open.
    pub(crate) fn at_path(
        self,
        (from, path): (i32, u64),
        folder: &Path,
    ) -> io::Result<Option<Opened>> {
        let base = if from == libc::AT_FDCWD {
            PathBuf::from(format!("/proc/{}/cwd", self.0))
        } else {
            self.entry("fd", from)
        };
        let way = fs::read_link(base)?.join(self.text(path)?);
        let path = match fs::canonicalize(&way) {
            Ok(path) => path,
            // It will be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !path.starts_with(folder) {
            return Ok(None);
        }
        regular(path.clone(), path)
    }

    /// How it has this file open.
    pub(crate) fn standing(self, file: i32) -> io::Result<Standing> {
        let text = fs::read_to_string(self.entry("fdinfo", file))?;
        standing(&text).ok_or_else(|| io::Error::other(format!("no place in {text:?}")))
    }

    /// Bytes of the pieces that a table in its memory names.
    pub(crate) fn pieces(self, table: u64, pieces: u64) -> io::Result<u64> {
        const ENTRY: u64 = 16;
        let mut bytes = vec![0; usize::try_from(pieces.min(PIECES) * ENTRY).unwrap_or_default()];
        self.memory()?.read_exact_at(&mut bytes, table)?;
        let lengths = bytes.chunks_exact(16).filter_map(|entry| {
            let length = entry.get(8..)?.try_into().ok()?;
            Some(u64::from_ne_bytes(length))
        });
        Ok(lengths.fold(0, u64::saturating_add))
    }

    fn text(self, at: u64) -> io::Result<OsString> {
        let mut bytes = vec![0; PATH];
        // It may stand at the end of what it has.
        let read = self.memory()?.read_at(&mut bytes, at)?;
        let end = bytes[..read].iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| io::Error::other("a path without an end"))?;
        bytes.truncate(end);
        Ok(OsString::from_vec(bytes))
    }

    fn memory(self) -> io::Result<File> {
        File::open(format!("/proc/{}/mem", self.0))
    }
}

fn regular(path: PathBuf, way: PathBuf) -> io::Result<Option<Opened>> {
    let about = fs::metadata(&way)?;
    Ok(about.is_file().then(|| Opened {
        path,
        way,
        id: (about.dev(), about.ino()),
    }))
}

/// From what the kernel says of an open file.
fn standing(text: &str) -> Option<Standing> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
    };
    let at = value("pos:")?.parse().ok()?;
    let flags = i32::from_str_radix(value("flags:")?, 8).ok()?;
    Some(Standing {
        at: (flags & libc::O_APPEND == 0).then_some(at),
        synced: flags & libc::O_DSYNC != 0,
    })
}

impl Content for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.read_at(&mut into[done..], at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn resize(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_file_has_its_place_and_flags() {
        let said = |flags: &str| standing(&format!("pos:\t4096\nflags:\t{flags}\nmnt_id:\t30\n"));
        let plain = Standing {
            at: Some(4096),
            synced: false,
        };
        assert_eq!(said("0100002"), Some(plain));
        let append = Standing { at: None, ..plain };
        assert_eq!(said("0102001"), Some(append));
        assert_eq!(said("04010002").map(|of| of.synced), Some(true));
        assert_eq!(said("none"), None);
        assert_eq!(standing("pos:\t0\n"), None);
    }

    #[test]
    fn only_regular_files_of_the_folder_are_looked_after() {
        use std::os::fd::AsRawFd as _;
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().canonicalize().expect("a path");
        let file = File::create(folder.join("a")).expect("a file");
        let own = Target(std::process::id());
        let found = own.opened(file.as_raw_fd(), &folder).expect("looked");
        assert_eq!(found.map(|found| found.path), Some(folder.join("a")));
        let elsewhere = own.opened(file.as_raw_fd(), Path::new("/proc"));
        assert!(elsewhere.expect("looked").is_none());
        let open = File::open(&folder).expect("a folder");
        assert!(
            own.opened(open.as_raw_fd(), &folder)
                .expect("looked")
                .is_none()
        );
        assert!(own.opened(-1, &folder).expect("looked").is_none());
    }

    #[test]
    fn memory_is_read_where_it_is() {
        let own = Target(std::process::id());
        let path = c"some/where";
        assert_eq!(
            own.text(path.as_ptr() as u64).expect("a path"),
            "some/where"
        );
        let table: [u64; 4] = [0xdead, 40, 0xbeef, 2];
        assert_eq!(own.pieces(table.as_ptr() as u64, 2).expect("pieces"), 42);
        assert!(own.pieces(8, 1).is_err());
    }
}
