//! The disk as the program sees it: what it has not synced yet, and what is refused. Decides what a call is told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::call::Call;
use crate::chance::Chance;
use crate::kernel::Answer;
use crate::message::{Kept, Loss, Report};
use crate::space;
use crate::target::{Opened, Target};
use crate::undo::Undo;

/// Modes of fallocate(2): the length stays; a hole; zeros.
const KEEP_SIZE: i32 = 1;
const PUNCH_HOLE: i32 = 2;
const ZERO_RANGE: i32 = 16;

/// The files below one folder.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    /// Files with something that is not synced, by device and number.
    files: HashMap<(u64, u64), Changed>,
    /// From now on a sync of something un-synced does not return.
    pub(crate) holds: bool,
    pub(crate) syncs: Refusal,
    pub(crate) writes: Refusal,
    /// No block can be allocated.
    pub(crate) full: bool,
    /// Reads of files below this path, whose names end like this, are refused.
    unreadable: Option<(PathBuf, String)>,
    refused: u64,
    no_space: u64,
    unread: u64,
    held: u64,
    untracked: Option<String>,
}

/// What of one kind of call is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing.
    #[default]
    None,
    /// The next ones, so many.
    Next(u64),
    /// All.
    All,
}

impl Refusal {
    pub(crate) fn of(next: Option<u64>) -> Self {
        next.map_or(Refusal::All, Refusal::Next)
    }

    /// True when the next one is refused.
    fn is_on(self) -> bool {
        !matches!(self, Refusal::None | Refusal::Next(0))
    }

    /// True when this one is refused.
    fn takes(&mut self) -> bool {
        match self {
            Refusal::None | Refusal::Next(0) => false,
            Refusal::Next(left) => {
                *left -= 1;
                true
            }
            Refusal::All => true,
        }
    }
}

/// A file with something that is not synced. It stays open, so that it is found again under any name and under none.
#[derive(Debug)]
struct Changed {
    path: PathBuf,
    file: File,
    undo: Undo,
}

impl Disk {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            files: HashMap::new(),
            holds: false,
            syncs: Refusal::None,
            writes: Refusal::None,
            full: false,
            unreadable: None,
            refused: 0,
            no_space: 0,
            unread: 0,
            held: 0,
            untracked: None,
        }
    }

    /// Reads of files below this folder, as seen from its own, are refused, where their names end like this.
    pub(crate) fn refuse_reads(&mut self, below: &str, ending: String) {
        self.unreadable = Some((self.folder.join(below), ending));
    }

    fn is_refusing(&self) -> bool {
        self.full || self.unreadable.is_some() || self.syncs.is_on() || self.writes.is_on()
    }

    /// Nothing is refused any more.
    pub(crate) fn heal(&mut self) {
        self.syncs = Refusal::None;
        self.writes = Refusal::None;
        self.full = false;
        self.unreadable = None;
    }

    /// What a call is told; nothing as long as it is to wait.
    pub(crate) fn decide(&mut self, call: Call, target: Target) -> Option<Answer> {
        match self.look_at(call, target) {
            Ok(answer) => answer,
            Err(error) => {
                self.untracked.get_or_insert(format!("{call:?}: {error}"));
                Some(Answer::Continue)
            }
        }
    }

    fn look_at(&mut self, call: Call, target: Target) -> io::Result<Option<Answer>> {
        let goes_on = Ok(Some(Answer::Continue));
        let file = match call {
            Call::Write { file, .. }
            | Call::WriteMany { file, .. }
            | Call::Resize { file, .. }
            | Call::Allocate { file, .. } => file,
            Call::Sync { file } => {
                let opened = target.opened(file, &self.folder)?;
                return Ok(opened.map_or(Some(Answer::Continue), |opened| self.sync(&opened)));
            }
            Call::SyncAll => {
                self.written_back();
                return goes_on;
            }
            Call::Read { file } => return self.read(file, target).map(Some),
            Call::Empty { folder, path } => {
                return match target.at_path((folder, path), &self.folder)? {
                    Some(opened) => self.change(&opened, |undo, file| undo.before_resize(file, 0)),
                    None => goes_on,
                };
            }
            Call::Other => return goes_on,
        };
        let Some(opened) = target.opened(file, &self.folder)? else {
            return goes_on;
        };
        if self.full && space::is_needed(call, target, &opened)? {
            self.no_space += 1;
            return Ok(Some(Answer::Fail(libc::ENOSPC)));
        }
        self.write(call, target, &opened)
    }

    fn read(&mut self, file: i32, target: Target) -> io::Result<Answer> {
        let Some((below, ending)) = &self.unreadable else {
            return Ok(Answer::Continue);
        };
        let opened = target.opened(file, below)?;
        let path = opened.map(|opened| opened.path.into_os_string());
        let meant = path.is_some_and(|path| path.as_encoded_bytes().ends_with(ending.as_bytes()));
        if !meant {
            return Ok(Answer::Continue);
        }
        self.unread += 1;
        Ok(Answer::Fail(libc::EIO))
    }

    /// A write is refused, or what is in its way is kept.
    fn write(&mut self, call: Call, target: Target, opened: &Opened) -> io::Result<Option<Answer>> {
        match call {
            Call::Write { file, at, bytes } => self.write_at(target, opened, (file, at, bytes)),
            Call::WriteMany {
                file,
                at,
                table,
                pieces,
                flags,
            } => {
                // It appends, or syncs itself, or may do nothing yet: what it leaves is not known.
                if flags != 0 {
                    return Err(io::Error::other(format!("pwritev2 with flags {flags}")));
                }
                let bytes = target.pieces(table, pieces)?;
                self.write_at(target, opened, (file, at, bytes))
            }
            Call::Resize { to, .. } => {
                self.change(opened, |undo, file| undo.before_resize(file, to))
            }
            Call::Allocate {
                mode, at, bytes, ..
            } => self.change(opened, |undo, file| allocate(undo, file, (mode, at, bytes))),
            _ => Ok(Some(Answer::Continue)),
        }
    }

    fn write_at(
        &mut self,
        target: Target,
        opened: &Opened,
        (number, at, bytes): (i32, Option<u64>, u64),
    ) -> io::Result<Option<Answer>> {
        let standing = target.standing(number)?;
        if standing.synced {
            return Err(io::Error::other("it is synced as it is written"));
        }
        self.change(opened, |undo, file| {
            let at = match at.or(standing.at) {
                Some(at) => at,
                None => file.metadata()?.len(),
            };
            undo.before_write(file, at, bytes)
        })
    }

    fn change(
        &mut self,
        opened: &Opened,
        keep: impl FnOnce(&mut Undo, &File) -> io::Result<()>,
    ) -> io::Result<Option<Answer>> {
        if self.writes.takes() {
            return Ok(self.refuse());
        }
        let changed = match self.files.entry(opened.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&opened.way)?;
                place.insert(Changed {
                    path: opened.path.clone(),
                    file,
                    undo: Undo::default(),
                })
            }
        };
        // As it is called last: a new log is renamed when it is made.
        changed.path.clone_from(&opened.path);
        keep(&mut changed.undo, &changed.file)?;
        Ok(Some(Answer::Continue))
    }

    /// What was written before a sync is taken as synced when it begins: nothing promises the contrary.
    fn sync(&mut self, opened: &Opened) -> Option<Answer> {
        if self.syncs.takes() {
            return self.refuse();
        }
        let changed = self.files.get(&opened.id);
        if self.holds && changed.is_some_and(|changed| !changed.undo.is_empty()) {
            self.held += 1;
            return None;
        }
        self.files.remove(&opened.id);
        Some(Answer::Continue)
    }

    fn refuse(&mut self) -> Option<Answer> {
        self.refused += 1;
        Some(Answer::Fail(libc::EIO))
    }

    /// All that was written is on the disk: by sync(2), or because it is to count as written back.
    pub(crate) fn written_back(&mut self) {
        if !self.holds {
            self.files.clear();
        }
    }

    /// Undoes what was not synced. The program must be dead.
    pub(crate) fn lose(&mut self, kept: Kept) -> Vec<Loss> {
        let files = std::mem::take(&mut self.files);
        let mut lost = Vec::new();
        for mut changed in files.into_values() {
            let name = changed.path.strip_prefix(&self.folder);
            let name = name.unwrap_or(&changed.path).display().to_string();
            let undone = match kept {
                Kept::Nothing => changed.undo.lose(&mut changed.file, |_| 0),
                Kept::Some { seed } => {
                    let chance = Chance::new(seed, &name);
                    let sectors = |page| chance.sectors(page);
                    changed.undo.lose(&mut changed.file, sectors)
                }
            };
            match undone {
                // Opened, emptied and empty before: nothing is lost.
                Ok(undone) if undone.bytes + undone.cut == 0 => {}
                Ok(undone) => lost.push(Loss {
                    file: name,
                    pages: undone.pages,
                    bytes: undone.bytes,
                    cut: undone.cut,
                }),
                Err(error) => {
                    let why = format!("{name} was not undone: {error}");
                    self.untracked.get_or_insert(why);
                }
            }
        }
        lost.sort_by(|one, other| one.file.cmp(&other.file));
        lost
    }

    /// Syncs that do not return.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// Syncs and writes that were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// What is known now.
    pub(crate) fn report(&self) -> Report {
        let files = self.files.values();
        Report {
            lost: Vec::new(),
            unsynced_pages: files.map(|changed| changed.undo.pages()).sum(),
            refused: self.refused,
            no_space: self.no_space,
            unread: self.unread,
            refusing: self.is_refusing(),
            held: self.held,
            died_at_ms: None,
            untracked: self.untracked.clone(),
        }
    }
}

fn allocate(undo: &mut Undo, file: &File, (mode, at, bytes): (i32, u64, u64)) -> io::Result<()> {
    let end = at.saturating_add(bytes);
    let others = mode & !(KEEP_SIZE | PUNCH_HOLE | ZERO_RANGE);
    if others != 0 {
        return Err(io::Error::other(format!("fallocate with mode {mode}")));
    }
    if mode & KEEP_SIZE == 0 && end > file.metadata()?.len() {
        undo.before_resize(file, end)?;
    }
    if mode & (PUNCH_HOLE | ZERO_RANGE) != 0 {
        undo.before_write(file, at, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use super::*;

    /// This process's own files, written behind the disk's back as the kernel would after the answer.
    fn disk() -> (tempfile::TempDir, Disk, Target) {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::new(&folder.path().canonicalize().expect("a path"));
        (folder, disk, Target(std::process::id()))
    }

    fn write(disk: &mut Disk, file: &mut File, bytes: &[u8]) -> Option<Answer> {
        let call = Call::Write {
            file: file.as_raw_fd(),
            at: None,
            bytes: bytes.len() as u64,
        };
        let answer = disk.decide(call, Target(std::process::id()));
        if answer == Some(Answer::Continue) {
            file.write_all(bytes).expect("written");
        }
        answer
    }

    #[test]
    fn a_renamed_file_loses_what_came_after_its_sync() {
        let (folder, mut disk, own) = disk();
        let path = folder.path().join("0.tmp");
        let mut file = File::create(&path).expect("a file");
        let sync = Call::Sync {
            file: file.as_raw_fd(),
        };
        write(&mut disk, &mut file, b"synced");
        assert_eq!(disk.decide(sync, own), Some(Answer::Continue));
        write(&mut disk, &mut file, b" and lost");
        let renamed = folder.path().join("0.wal");
        std::fs::rename(&path, &renamed).expect("renamed");
        write(&mut disk, &mut file, b", too");
        let lost = disk.lose(Kept::Nothing);
        assert_eq!(std::fs::read(&renamed).expect("read"), b"synced");
        let expected = Loss {
            file: "0.wal".to_owned(),
            pages: 1,
            bytes: 14,
            cut: 14,
        };
        assert_eq!(lost, [expected]);
        assert!(disk.lose(Kept::Nothing).is_empty());
    }

    #[test]
    fn a_disk_that_fails_refuses_and_then_holds_what_it_is_told_to() {
        let (folder, mut disk, own) = disk();
        let mut file = File::create(folder.path().join("a")).expect("a file");
        let sync = Call::Sync {
            file: file.as_raw_fd(),
        };
        let eio = Some(Answer::Fail(libc::EIO));
        disk.writes = Refusal::of(Some(1));
        assert_eq!(write(&mut disk, &mut file, b"a"), eio);
        assert_eq!(write(&mut disk, &mut file, b"b"), Some(Answer::Continue));
        disk.syncs = Refusal::of(None);
        assert_eq!([disk.decide(sync, own), disk.decide(sync, own)], [eio, eio]);
        disk.syncs = Refusal::None;
        disk.holds = true;
        assert_eq!(disk.decide(sync, own), None);
        disk.written_back();
        let report = disk.report();
        assert_eq!(
            (report.refused, report.held, report.unsynced_pages),
            (3, 1, 1)
        );
        assert_eq!(disk.lose(Kept::Nothing)[0].cut, 1);
    }

    #[test]
    fn a_full_disk_takes_what_has_its_blocks_and_nothing_else() {
        let (folder, mut disk, own) = disk();
        let mut file = File::create(folder.path().join("a")).expect("a file");
        let goes_on = Some(Answer::Continue);
        let full = Some(Answer::Fail(libc::ENOSPC));
        assert_eq!(write(&mut disk, &mut file, &[1; 4000]), goes_on);
        disk.full = true;
        // The rest of its last block.
        assert_eq!(write(&mut disk, &mut file, &[2; 96]), goes_on);
        assert_eq!(write(&mut disk, &mut file, b"more"), full);
        let number = file.as_raw_fd();
        let allocate = Call::Allocate {
            file: number,
            mode: 0,
            at: 0,
            bytes: 4097,
        };
        assert_eq!(disk.decide(allocate, own), full);
        let longer = Call::Resize {
            file: number,
            to: 1 << 20,
        };
        assert_eq!(disk.decide(longer, own), goes_on, "a hole has no blocks");
        let sync = Call::Sync { file: number };
        assert_eq!(disk.decide(sync, own), goes_on);
        let report = disk.report();
        assert_eq!((report.no_space, report.refused), (2, 0));
        assert_eq!(report.untracked, None);
        disk.heal();
        assert_eq!(write(&mut disk, &mut file, b"more"), goes_on);
    }

    #[test]
    fn reads_below_one_folder_alone_are_refused() {
        let (folder, mut disk, own) = disk();
        std::fs::create_dir(folder.path().join("wal")).expect("a folder");
        let log = File::create(folder.path().join("wal/0.wal")).expect("a file");
        let other = File::create(folder.path().join("walter")).expect("a file");
        let read = |disk: &mut Disk, file: &File| {
            let file = file.as_raw_fd();
            disk.decide(Call::Read { file }, own)
        };
        assert_eq!(read(&mut disk, &log), Some(Answer::Continue));
        disk.refuse_reads("wal", String::new());
        let eio = Some(Answer::Fail(libc::EIO));
        assert_eq!(read(&mut disk, &log), eio);
        assert_eq!(read(&mut disk, &other), Some(Answer::Continue));
        disk.refuse_reads("wal", ".wal".to_owned());
        assert_eq!(read(&mut disk, &log), eio);
        disk.refuse_reads("wal", ".snap".to_owned());
        assert_eq!(read(&mut disk, &log), Some(Answer::Continue));
        assert_eq!(disk.report().unread, 2);
        disk.heal();
        assert_eq!(read(&mut disk, &log), Some(Answer::Continue));
    }

    #[test]
    fn a_report_says_whether_something_is_refused() {
        let (_folder, mut disk, _) = disk();
        let refuses = |disk: &mut Disk| {
            let refuses = disk.report().refusing;
            disk.heal();
            refuses && !disk.report().refusing
        };
        disk.syncs = Refusal::All;
        assert!(refuses(&mut disk));
        disk.writes = Refusal::of(Some(1));
        assert!(refuses(&mut disk));
        disk.full = true;
        assert!(refuses(&mut disk));
        disk.refuse_reads("wal", String::new());
        assert!(refuses(&mut disk));
        disk.writes = Refusal::of(Some(0));
        assert!(!disk.report().refusing);
    }

    #[test]
    fn other_files_and_other_places_are_left_alone() {
        let (_folder, mut disk, own) = disk();
        let mut file = tempfile::tempfile().expect("a file");
        disk.writes = Refusal::All;
        assert_eq!(write(&mut disk, &mut file, b"a"), Some(Answer::Continue));
        let strange = Call::Resize { file: -1, to: 0 };
        assert_eq!(disk.decide(strange, own), Some(Answer::Continue));
        let expected = Report {
            refusing: true,
            ..Report::default()
        };
        assert_eq!(disk.report(), expected);
    }

    #[test]
    fn what_cannot_be_kept_is_said() {
        let (folder, mut disk, own) = disk();
        let file = File::create(folder.path().join("a")).expect("a file");
        let collapse = Call::Allocate {
            file: file.as_raw_fd(),
            mode: 8,
            at: 0,
            bytes: 4096,
        };
        assert_eq!(disk.decide(collapse, own), Some(Answer::Continue));
        let said = disk.report().untracked.expect("a reason");
        assert!(said.contains("mode 8"), "{said}");
    }

    #[test]
    fn a_write_with_flags_is_no_plain_one() {
        let (folder, mut disk, own) = disk();
        let file = File::create(folder.path().join("a")).expect("a file");
        let many = |flags| Call::WriteMany {
            file: file.as_raw_fd(),
            at: Some(0),
            table: 0,
            pieces: 0,
            flags,
        };
        assert_eq!(disk.decide(many(0), own), Some(Answer::Continue));
        assert_eq!(disk.report().untracked, None);
        let append = many(libc::RWF_APPEND);
        assert_eq!(disk.decide(append, own), Some(Answer::Continue));
        let said = disk.report().untracked.expect("a reason");
        assert!(said.contains("flags 16"), "{said}");
    }
}
