//! What can be wrong with the file of a history, in either form.

use crate::record::{Nanos, Record};

/// Version of the JSON form that is written; all versions from 0 to this one are read. Version 0 has no header line,
/// and otherwise the records of version 1. Version 2 adds `writes` to the records of faults, and calls the field `road`
/// of a call `route`.
pub const VERSION: u64 = 2;

/// What can be wrong with a history file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be read.
    #[error("failed to read line {line}: {source}")]
    Read {
        /// Line, from 1.
        line: usize,
        /// Cause.
        source: std::io::Error,
    },
    /// A line is not a record.
    #[error("failed to parse line {line}: {reason}")]
    Parse {
        /// Line, from 1.
        line: usize,
        /// Why, and in which column.
        reason: String,
    },
    /// The file is of a version that is not known here.
    #[error(
        "line 1: the history has format version {version}, this harness reads versions 0 (without a header) to {VERSION}; \
         judge it with the harness that wrote it"
    )]
    Version {
        /// Its version.
        version: u64,
    },
    /// A binary file is of a version that is not known here.
    #[error(
        "the binary history has version {version}, this harness reads version 1; \
         judge it with the harness that wrote it"
    )]
    BinaryVersion {
        /// Its version.
        version: u64,
    },
    /// The bytes of a binary file do not fit together.
    #[error("failed to read record {line} of the binary history: {reason}")]
    Misfit {
        /// Record, from 1; 0 for the head.
        line: usize,
        /// Why.
        reason: &'static str,
    },
    /// A transaction has a part that no check models.
    #[error("line {line}: {found}; accepted in a transaction are put, range and delete")]
    Part {
        /// Line, from 1.
        line: usize,
        /// Where it stands and what it is.
        found: String,
    },
    /// The time of a record is before 1970, or so late that sums with it would overflow.
    #[error("line {line}: {t} ns is no time since 1970")]
    Time {
        /// Line, from 1.
        line: usize,
        /// The time, in nanoseconds since 1970.
        t: Nanos,
    },
}

impl ReadError {
    /// What JSON says of a line. It counts lines itself, of a text that is this one line.
    pub(crate) fn parse(line: usize, cause: &serde_json::Error) -> Self {
        let (told, column) = (cause.to_string(), cause.column());
        let place = format!(" at line {} column {column}", cause.line());
        let reason = match told.strip_suffix(&place) {
            Some(what) if column > 0 => format!("{what}, in column {column}"),
            Some(what) => what.to_owned(),
            None => told,
        };
        Self::Parse { line, reason }
    }
}

/// Latest time that is believed: the sum of two still fits.
const TIME_MAX: Nanos = Nanos::MAX / 2;

/// Refuses a record whose time is not one of this world, or that has what no check models.
pub(crate) fn believed(record: &Record, line: usize) -> Result<(), ReadError> {
    let times = [record.time(), record.scheduled()];
    let mut wrong = times.into_iter().filter(|t| !(0..=TIME_MAX).contains(t));
    if let Some(t) = wrong.next() {
        return Err(ReadError::Time { line, t });
    }
    record
        .unmodelled()
        .map_or(Ok(()), |found| Err(ReadError::Part { line, found }))
}
