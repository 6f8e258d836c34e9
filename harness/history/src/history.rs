//! A whole run in memory, and its file: a header that names the version of the format, then a record a line.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::record::{Nanos, Record};

/// Version of the format that is written. One without a header is version 0: it was written before there was one, and
/// its records are those of version 1. Version 2 tells the revisions that a fault itself made, and calls a `road` a
/// `route`.
pub const VERSION: u64 = 2;

/// The first line of a file.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Header {
    Format { version: u64 },
}

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
    /// The file is of a version that is not known here.
    #[error(
        "line 1: the history has format version {version}, this harness reads versions 0 (without a header) to {VERSION}; \
         judge it with the harness that wrote it"
    )]
    Version {
        /// Its version.
        version: u64,
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
            if line == 1
                && let Ok(Header::Format { version }) = serde_json::from_str(&text)
            {
                if version == 0 || version > VERSION {
                    return Err(ReadError::Version { version });
                }
                continue;
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

    /// Puts what several processes wrote in the order of their times, without changing the order in which a writer
    /// wrote: where its clock went back its lines show it. The client's file is in the order of its lines, over all
    /// processes that wrote to it; of what others wrote only the order of each writer is known.
    pub fn merged(client: Self, others: impl IntoIterator<Item = Record>) -> Self {
        let mut placed = Vec::new();
        let mut last = Nanos::MIN;
        for record in client.records {
            last = last.max(record.time());
            placed.push((last, record));
        }
        let mut of_writer: BTreeMap<String, Nanos> = BTreeMap::new();
        for record in others {
            let last = of_writer.entry(format!("{:?}", record.writer()));
            let last = last.or_insert(Nanos::MIN);
            *last = record.time().max(*last);
            placed.push((*last, record));
        }
        placed.sort_by_key(|(t, _)| *t);
        let records = placed.into_iter().map(|(_, record)| record).collect();
        Self { records }
    }

    /// Writes the header and all records.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, mut writer: impl Write) -> io::Result<()> {
        write_header(&mut writer)?;
        for record in &self.records {
            serde_json::to_writer(&mut writer, record)?;
            writer.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Writes the line that every file begins with.
///
/// # Errors
/// The writer's.
pub fn write_header(mut writer: impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut writer, &Header::Format { version: VERSION })?;
    writer.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Plan, simulate};

    const PHASE: &str = r#"{"type":"phase","t":5,"name":"final"}"#;

    fn read(text: &str) -> Result<History, ReadError> {
        History::read(text.as_bytes())
    }

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let history = simulate(&Plan::default());
        let mut file = Vec::new();
        history.write(&mut file).expect("memory takes it");
        assert!(file.starts_with(br#"{"type":"format","version":2}"#));
        assert_eq!(History::read(file.as_slice()).expect("it is read"), history);
    }

    #[test]
    fn the_earlier_name_of_a_route_is_read() {
        let history = simulate(&Plan::default());
        let mut text = Vec::new();
        history.write(&mut text).expect("written");
        let text = String::from_utf8(text).expect("text");
        let earlier = text.replace("\"route\":", "\"road\":");
        assert_ne!(text, earlier);
        assert_eq!(read(&earlier).expect("it is read"), history);
    }

    #[test]
    fn a_history_without_a_header_is_version_0() {
        let history = read(&format!("{PHASE}\n")).expect("it is read");
        assert_eq!(history.records.len(), 1);
    }

    #[test]
    fn a_history_of_another_version_is_refused_by_name() {
        let header = r#"{"type":"format","version":7}"#;
        let error = read(&format!("{header}\n{PHASE}\n")).expect_err("it must be refused");
        let error = error.to_string();
        assert!(
            error.contains("version 7") && error.contains("judge it with"),
            "{error}"
        );
    }

    #[test]
    fn a_header_stands_at_the_beginning_and_says_no_more_than_its_version() {
        let late = read(&format!("{PHASE}\n{{\"type\":\"format\",\"version\":1}}\n"));
        assert!(
            matches!(late, Err(ReadError::Parse { line: 2, .. })),
            "{late:?}"
        );
        let more = read("{\"type\":\"format\",\"version\":1,\"zip\":true}\n");
        assert!(
            matches!(more, Err(ReadError::Parse { line: 1, .. })),
            "{more:?}"
        );
    }

    fn phase(t: Nanos, name: &str) -> Record {
        Record::Phase {
            t,
            name: name.to_owned(),
        }
    }

    fn list(t: Nanos) -> Record {
        Record::Membership(crate::record::MembershipRecord {
            t,
            cluster: String::new(),
            members: Vec::new(),
        })
    }

    fn order(merged: &History) -> Vec<Nanos> {
        merged.records.iter().map(Record::time).collect()
    }

    #[test]
    fn a_merge_goes_by_time_and_keeps_the_order_of_each_writer() {
        let client = |times: [Nanos; 3]| History {
            records: times.map(|t| phase(t, "a")).to_vec(),
        };
        let others = [list(2), list(4), phase(3, "b"), phase(5, "b")];
        let merged = History::merged(client([1, 3, 9]), others.clone());
        assert_eq!(order(&merged), [1, 2, 3, 3, 4, 5, 9]);
        // The client's clock was put back, and so was that of the lists: neither is put in front of what it wrote
        // before.
        let merged = History::merged(client([6, 1, 7]), others);
        assert_eq!(order(&merged), [2, 3, 4, 5, 6, 1, 7]);
        let back = [list(4), list(2), phase(3, "b"), phase(5, "b")];
        let merged = History::merged(client([1, 6, 7]), back);
        assert_eq!(order(&merged), [1, 3, 4, 2, 5, 6, 7]);
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_dropped() {
        let history = read(&format!("{PHASE}\n{}", &PHASE[..20])).expect("it is read");
        assert_eq!(history.records.len(), 1);
    }
}
