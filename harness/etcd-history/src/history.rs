//! A whole run in memory, and its file: a header that names the version of the format, then a record a line.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::binary::{BinaryReader, MAGIC};
use crate::error::believed;
pub use crate::error::{ReadError, VERSION};
use crate::record::{Nanos, Record};

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

/// The records of a file, one after the other, in memory that does not grow with it. Takes lines of JSON and the
/// [binary form](crate::binary), which its first byte tells. A last record that was cut off by a crash of its writer is
/// dropped.
#[derive(Debug)]
pub enum Records<R> {
    /// Of lines of JSON.
    Lines(Lines<R>),
    /// Of the binary form.
    Binary(BinaryReader<R>),
}

/// The records of lines of JSON.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    text: String,
    line: usize,
    ended: bool,
}

impl<R: BufRead> Records<R> {
    /// Reads as much as tells the form.
    ///
    /// # Errors
    /// The reader's, and a version of the binary form that is not known here.
    pub fn new(mut from: R) -> Result<Self, ReadError> {
        let first = from.fill_buf();
        let first = first.map_err(|source| ReadError::Read { line: 1, source })?;
        if first.first() == MAGIC.first() {
            return BinaryReader::new(from).map(Self::Binary);
        }
        Ok(Self::Lines(Lines {
            from,
            text: String::new(),
            line: 0,
            ended: false,
        }))
    }
}

impl<R: BufRead> Iterator for Records<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Lines(lines) => lines.next(),
            Self::Binary(frames) => frames.next(),
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.record().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}

impl<R: BufRead> Lines<R> {
    fn record(&mut self) -> Result<Option<Record>, ReadError> {
        loop {
            self.line += 1;
            let line = self.line;
            self.text.clear();
            let read = self.from.read_line(&mut self.text);
            if read.map_err(|source| ReadError::Read { line, source })? == 0 {
                return Ok(None);
            }
            if line == 1
                && let Ok(Header::Format { version }) = serde_json::from_str(&self.text)
            {
                if version == 0 || version > VERSION {
                    return Err(ReadError::Version { version });
                }
                continue;
            }
            return match serde_json::from_str::<Record>(&self.text) {
                Ok(record) => believed(&record, line).map(|()| Some(record)),
                Err(_) if !self.text.ends_with('\n') => Ok(None),
                Err(source) => Err(ReadError::Parse { line, source }),
            };
        }
    }
}

impl History {
    /// Reads a whole file of [either form](Records).
    ///
    /// # Errors
    /// Names the line or the record that cannot be read or parsed.
    pub fn read(reader: impl BufRead) -> Result<Self, ReadError> {
        let records = Records::new(reader)?.collect::<Result<_, _>>()?;
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

    /// Writes lines of JSON: the header and all records.
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
