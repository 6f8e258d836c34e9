//! What one file had at its last sync, as far as it was written since: enough to undo all that was not synced. Pure but
//! for the file that it is given.
//!
//! A page is kept once, when it is written for the first time since the last sync; so the pages that are kept, and the
//! length, are those of the last sync, in whatever order the writes came.

use std::collections::BTreeMap;
use std::io;

use crate::chance::SECTORS;

/// Bytes of a page, which a kernel writes back as a whole.
pub(crate) const PAGE: u64 = 4096;
/// Bytes that a disk writes at once.
const SECTOR: u64 = PAGE / SECTORS;

/// A file's content.
pub(crate) trait Content {
    fn length(&self) -> io::Result<u64>;
    /// Reads until the buffer is full or the file has ended.
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    fn resize(&mut self, length: u64) -> io::Result<()>;
}

/// What one file had at its last sync. A sync leaves nothing to undo: it begins with an empty one.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    /// Its length then; absent when nothing was changed since.
    length: Option<u64>,
    /// Pages that were written since, as they were then: nothing where all was zero, or behind the end.
    pages: BTreeMap<u64, Option<Box<[u8]>>>,
    /// It was made longer by itself, not by a write.
    extended: bool,
    /// It was made shorter.
    shortened: bool,
}

/// What was undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undone {
    pub(crate) pages: u64,
    pub(crate) bytes: u64,
    pub(crate) cut: u64,
}

impl Undo {
    /// Keeps what is in the way of a write.
    pub(crate) fn before_write(
        &mut self,
        file: &impl Content,
        at: u64,
        bytes: u64,
    ) -> io::Result<()> {
        let Some(last) = bytes.checked_sub(1) else {
            return Ok(());
        };
        let length = self.begin(file)?;
        self.keep(file, length, (at / PAGE, at.saturating_add(last) / PAGE))
    }

    /// Keeps what another length takes away.
    pub(crate) fn before_resize(&mut self, file: &impl Content, to: u64) -> io::Result<()> {
        let now = file.length()?;
        if to == now {
            return Ok(());
        }
        let length = self.begin(file)?;
        if to > now {
            self.extended = true;
            return Ok(());
        }
        self.shortened = true;
        match length.checked_sub(1) {
            Some(last) if to < length => self.keep(file, length, (to / PAGE, last / PAGE)),
            _ => Ok(()),
        }
    }

    /// Pages that were written since the last sync.
    pub(crate) fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// True when nothing was changed since the last sync.
    pub(crate) fn is_empty(&self) -> bool {
        self.length.is_none()
    }

    fn begin(&mut self, file: &impl Content) -> io::Result<u64> {
        if let Some(length) = self.length {
            return Ok(length);
        }
        let length = file.length()?;
        self.length = Some(length);
        Ok(length)
    }

    fn keep(
        &mut self,
        file: &impl Content,
        length: u64,
        (first, last): (u64, u64),
    ) -> io::Result<()> {
        for page in first..=last {
            if self.pages.contains_key(&page) {
                continue;
            }
            // What was not written since has what it had at the last sync.
            let had = length.saturating_sub(page * PAGE).min(PAGE);
            let mut bytes = vec![0; size(had)];
            if file.read(page * PAGE, &mut bytes)? < bytes.len() {
                let reason = format!("page {page} ends early");
                return Err(io::Error::other(reason));
            }
            let some = bytes.iter().any(|byte| *byte != 0);
            self.pages.insert(page, some.then(|| bytes.into()));
        }
        Ok(())
    }

    /// Undoes what was not synced, but for so many sectors at the beginning of each page. A file that was made shorter
    /// goes back as a whole: that is one step of a journal, which no page takes part in by itself.
    pub(crate) fn lose(
        &self,
        file: &mut impl Content,
        sectors: impl Fn(u64) -> u64,
    ) -> io::Result<Undone> {
        let Some(former) = self.length else {
            return Ok(Undone::default());
        };
        let current = file.length()?;
        let kept = |page| {
            if self.shortened {
                0
            } else {
                sectors(page).min(SECTORS) * SECTOR
            }
        };
        let length = self.length_with(former, current, kept);
        if current < length {
            file.resize(length)?;
        }
        let mut undone = Undone {
            pages: self.pages(),
            cut: current.saturating_sub(length),
            ..Undone::default()
        };
        for (page, had) in &self.pages {
            let start = page * PAGE;
            let from = size(kept(*page));
            // What is cut off is lost as well.
            let end = size(current.max(length).saturating_sub(start).min(PAGE));
            if from >= end {
                continue;
            }
            let mut former = had.as_ref().map_or(Vec::new(), |had| had.to_vec());
            former.resize(size(PAGE), 0);
            let mut now = vec![0; end - from];
            file.read(start + from as u64, &mut now)?;
            let others = now.iter().zip(&former[from..]);
            let others = others.filter(|(now, former)| now != former).count() as u64;
            undone.bytes += others;
            let to = size(length.saturating_sub(start).min(PAGE));
            if others > 0 && from < to {
                file.write(start + from as u64, &former[from..to])?;
            }
        }
        if file.length()? != length {
            file.resize(length)?;
        }
        Ok(undone)
    }

    /// The length afterwards: the former one, unless something behind it is kept.
    fn length_with(&self, former: u64, current: u64, kept: impl Fn(u64) -> u64) -> u64 {
        let end = |page: &u64| match kept(*page) {
            0 => 0,
            bytes => (page * PAGE + bytes).min(current),
        };
        match self.pages.keys().map(end).max() {
            // What is behind was written after that.
            Some(end) if end > former && self.extended => current,
            Some(end) => end.max(former),
            None => former,
        }
    }
}

/// Bytes of a page at most.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
