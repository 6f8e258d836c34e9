//! What each revision changed, as the replay has it.

use crate::check::store::Change;

/// Keys that each revision changed, as far as the replay came. Revisions are dense.
#[derive(Clone, Debug, Default)]
pub(crate) struct Made<'a> {
    /// The revision in front of the first one.
    base: i64,
    /// Where the keys of each revision end.
    ends: Vec<u32>,
    keys: Vec<&'a str>,
}

impl<'a> Made<'a> {
    /// Behind this revision, with nothing replayed yet.
    pub(super) fn from(base: i64) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, changes: &[Change<'a>]) {
        self.keys.extend(changes.iter().map(|change| change.key));
        let end = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.ends.push(end);
    }

    /// The revision with which the replay began.
    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    /// The last revision replayed.
    pub(crate) fn last(&self) -> i64 {
        let made = i64::try_from(self.ends.len()).unwrap_or(i64::MAX);
        self.base.saturating_add(made)
    }

    /// The keys of a revision; absent where the replay did not come.
    pub(crate) fn keys(&self, revision: i64) -> Option<&[&'a str]> {
        let at = usize::try_from(revision.checked_sub(self.base)?.checked_sub(1)?).ok()?;
        let end = *self.ends.get(at)? as usize;
        let start = at.checked_sub(1).map_or(0, |at| self.ends[at] as usize);
        self.keys.get(start..end)
    }
}
