//! A whole run in memory, read from its lines.

use std::io::BufRead;

use crate::record::{Nanos, Record};

/// All records of one run, in the order of their lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The records.
    pub records: Vec<Record>,
}

/// What can be wrong with a history file.
#[derive(Debug, thiserror::Error)]
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
    #[error("failed to parse line {line}: {source}")]
    Parse {
        /// Line, from 1.
        line: usize,
        /// Cause.
        source: serde_json::Error,
    },
    /// A time is not one of this world, so that nothing can be said about it.
    #[error("line {line}: {t} ns is no time since 1970")]
    Time {
        /// Line, from 1.
        line: usize,
        /// The time.
        t: Nanos,
    },
}

/// Latest time that is believed: the sum of two still fits.
const TIME_MAX: Nanos = Nanos::MAX / 2;

impl History {
    /// Reads lines of JSON. A last line that was cut off by a crash of its writer (no newline at its end) is dropped.
    ///
    /// # Errors
    /// Names the line that cannot be read or parsed.
    pub fn read(mut reader: impl BufRead) -> Result<Self, ReadError> {
        let mut records = Vec::new();
        let mut text = String::new();
        for line in 1.. {
            text.clear();
            let read = reader
                .read_line(&mut text)
                .map_err(|source| ReadError::Read { line, source })?;
            if read == 0 {
                break;
            }
            match serde_json::from_str::<Record>(&text) {
                Ok(record) => {
                    let times = [record.time(), record.scheduled()];
                    if let Some(t) = times.into_iter().find(|t| !(0..=TIME_MAX).contains(t)) {
                        return Err(ReadError::Time { line, t });
                    }
                    records.push(record);
                }
                Err(_) if !text.ends_with('\n') => break,
                Err(source) => return Err(ReadError::Parse { line, source }),
            }
        }
        Ok(Self { records })
    }
}
