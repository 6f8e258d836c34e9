//! Reads a log's files, from where the last look ended.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::scan::{Content, LOOKED_AT, Scan};

/// Bytes of a record's length.
const HEAD: u64 = 8;
/// What is read at a time.
const BUFFER: usize = 64 * 1024;

/// Follows the log of one data directory.
#[derive(Debug, Default)]
pub struct Reader {
    scan: Scan,
    /// The file that was read last, and how far.
    at: Option<(String, u64)>,
}

impl Reader {
    /// Reads what was written since; `None` when there is no log.
    ///
    /// # Errors
    /// When the log cannot be read or understood. It is read from its beginning the next time.
    pub fn read(&mut self, data_dir: &Path) -> io::Result<Option<Content>> {
        let member = data_dir.join("member");
        let read = self.follow(&member.join("wal"));
        if !matches!(read, Ok(true)) {
            *self = Self::default();
        }
        let snap = member.join("snap");
        let is = |index: u64, term: u64| snapshot(&snap, index, term).exists();
        Ok(read?.then(|| self.scan.content(is)))
    }

    fn follow(&mut self, wal: &Path) -> io::Result<bool> {
        let mut names = match names(wal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            names => names?,
        };
        if let Some((name, _)) = &self.at {
            names.retain(|other| other >= name);
            if names.first() != Some(name) {
                // The file was deleted meanwhile, or the directory is another.
                return Err(io::Error::other(format!("{name} is gone")));
            }
        }
        let last = names.last().cloned();
        for name in names {
            let begin = match &self.at {
                Some((at, offset)) if *at == name => *offset,
                _ => 0,
            };
            let whole = self.segment(&wal.join(&name), begin);
            let (end, whole) = match whole {
                // etcd deletes the oldest files when a snapshot has all they hold.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            if !whole && last.as_ref() != Some(&name) {
                let why = format!("what is at {end} of {name} is no record of etcd's log");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            self.at = Some((name, end));
        }
        Ok(last.is_some())
    }

    /// Reads one file. How far, and whether that is its end: behind a record that is not whole there is nothing yet.
    fn segment(&mut self, path: &Path, begin: u64) -> io::Result<(u64, bool)> {
        let mut file = BufReader::with_capacity(BUFFER, File::open(path)?);
        let size = file.get_ref().metadata()?.len();
        let mut at = file.seek(SeekFrom::Start(begin))?;
        let mut record = Vec::with_capacity(LOOKED_AT);
        while at.saturating_add(HEAD) <= size {
            let mut head = [0; HEAD as usize];
            file.read_exact(&mut head)?;
            let (length, padding) = lengths(head);
            if length == 0 {
                return Ok((at, true));
            }
            let end = (at + HEAD).saturating_add(length + padding);
            if end > size {
                return Ok((at, false));
            }
            record.clear();
            let looked_at = length.min(LOOKED_AT as u64);
            (&mut file).take(looked_at).read_to_end(&mut record)?;
            if self.scan.record(&record).is_err() {
                return Ok((at, false));
            }
            let rest = i64::try_from(end - (at + HEAD) - looked_at).map_err(io::Error::other)?;
            file.seek_relative(rest)?;
            at = end;
        }
        Ok((at, true))
    }
}

/// Bytes of a record and of what fills it up: the length has 56 bits, and its top byte says how much is filled up when
/// its top bit is set.
fn lengths(head: [u8; HEAD as usize]) -> (u64, u64) {
    let word = u64::from_le_bytes(head);
    let top = word >> 56;
    let padding = if top & 0x80 == 0 { 0 } else { top & 7 };
    (word & (u64::MAX >> 8), padding)
}

/// The log's files in their order: a number of 16 digits, and the index that it begins with.
fn names(wal: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(wal)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".wal") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn snapshot(snap: &Path, index: u64, term: u64) -> PathBuf {
    snap.join(format!("{term:016x}-{index:016x}.snap"))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
