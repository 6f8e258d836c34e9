//! Faults of a member's data: lost, its disk full, its database full or corrupted.

pub(super) mod database;
pub(super) mod full_disk;
pub(super) mod loss;
