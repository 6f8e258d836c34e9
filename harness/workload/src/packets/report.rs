//! What was done so far, as it is printed.

use serde::Serialize;

use crate::packets::kernel::Kernel;

/// What was done to packets of one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Passed as they were.
    pub(super) passed: u64,
    /// Lost.
    pub(super) lost: u64,
    /// Passed, and a copy after them.
    pub(super) duplicated: u64,
    /// Passed with one bit that is another and a checksum that shows it.
    pub(super) corrupted: u64,
    /// Passed after later ones of their connection.
    pub(super) reordered: u64,
    /// Held back, and no later one came meanwhile.
    pub(super) delayed: u64,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// It was told to.
    Asked,
    /// Its time was over.
    Limit,
}

/// All of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// What the member sends.
    pub(super) sent: Counts,
    /// What it is sent.
    pub(super) received: Counts,
    /// What the kernel has counted meanwhile.
    pub(super) kernel: Kernel,
    /// How it ended, if it has: then the rule is gone.
    pub(super) ended: Option<End>,
}
