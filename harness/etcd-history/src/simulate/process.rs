//! The processes that record, one after the other: each has numbers of its own.

use crate::record::OpId;

/// Numbers of clients and watchers that one process has for itself.
const NUMBERS: u32 = 10_000;
/// Numbers of operations that one process has for itself.
const OPERATIONS: OpId = 1_000_000_000;

/// The process that records.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// How many there were before it.
    generation: u32,
    /// True while none runs.
    pub(crate) away: bool,
    /// Operations below this are those of former ones.
    first_op: OpId,
    /// Position of its first watcher.
    pub(crate) first_watcher: usize,
}

impl Process {
    /// The number of one of its clients or watchers.
    pub(crate) fn number(&self, local: u32) -> u32 {
        self.generation * NUMBERS + local
    }

    /// True for a client that runs.
    pub(crate) fn has(&self, client: u32) -> bool {
        !self.away && client / NUMBERS == self.generation
    }

    /// True for an operation of a process that was killed.
    pub(crate) fn left_behind(&self, op: OpId) -> bool {
        op < self.first_op
    }

    /// It is killed: these are the next operation and the position of the next watcher.
    pub(crate) fn die(&mut self, next_op: OpId, next_watcher: usize) {
        self.away = true;
        self.first_op = next_op;
        self.first_watcher = next_watcher;
    }

    /// Another one takes its place. Gives its first operation.
    pub(crate) fn start_again(&mut self) -> OpId {
        self.generation += 1;
        self.away = false;
        OpId::from(self.generation) * OPERATIONS + 1
    }

    /// The random number of the process, as a seed makes it.
    pub(crate) fn incarnation(&self, seed: u64) -> u64 {
        seed ^ (u64::from(self.generation) << 32)
    }
}
