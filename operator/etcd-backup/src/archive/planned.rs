//! What of an archive is put over which backup: found before anything is changed.

use super::store::{Archive, Inventory};
use super::walk::Walk;

/// What is replayed over which backup.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) archive: &'a Archive,
    pub(super) inventory: Inventory,
    /// The backup's revision.
    pub(super) base: i64,
    /// The revision that is restored.
    pub target: i64,
}

impl Plan<'_> {
    /// Whether the archive has anything that the backup has not.
    pub(crate) fn any(&self) -> bool {
        self.target != self.base
    }

    /// All of the archive that is needed.
    pub(super) fn walk(&self) -> Walk<'_> {
        Walk::begin(self.archive, &self.inventory, (self.base, None))
    }
}
