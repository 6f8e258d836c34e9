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

/// An iterator over the records of a file, in memory that does not grow with it. It reads lines of JSON and the [binary
/// form](crate::binary); the first byte tells which. A last record that is incomplete, because its writer was killed,
/// is dropped.
#[derive(Debug)]
#[non_exhaustive]
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
    /// Bytes: a line may be cut off within a character.
    text: Vec<u8>,
    line: usize,
    ended: bool,
    cut_off: bool,
}

impl<R: BufRead> Records<R> {
    /// Reads as much of the file as tells its form.
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
            text: Vec::new(),
            line: 0,
            ended: false,
            cut_off: false,
        }))
    }

    /// True once the last record was found to be incomplete. What it said, and whether others followed it, is not
    /// known.
    pub fn cut_off(&self) -> bool {
        match self {
            Self::Lines(lines) => lines.cut_off,
            Self::Binary(frames) => frames.cut_off(),
        }
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
            let read = self.from.read_until(b'\n', &mut self.text);
            if read.map_err(|source| ReadError::Read { line, source })? == 0 {
                return Ok(None);
            }
            if line == 1
                && let Ok(Header::Format { version }) = serde_json::from_slice(&self.text)
            {
                if version == 0 || version > VERSION {
                    return Err(ReadError::Version { version });
                }
                continue;
            }
            return match serde_json::from_slice::<Record>(&self.text) {
                Ok(record) => believed(&record, line).map(|()| Some(record)),
                Err(_) if !self.text.ends_with(b"\n") => {
                    self.cut_off = true;
                    Ok(None)
                }
                Err(cause) => Err(ReadError::parse(line, &cause)),
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

    /// Merges the records of several processes by their times. The records of one [`Writer`](crate::record::Writer)
    /// keep their order, also where its clock was set back. The file of the recording client keeps the order of its
    /// lines as a whole; of `others` only the order within each writer counts.
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

/// Writes the header, the first line of every file in JSON.
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
        // The line is that of the file, and is named once.
        let told = |text: &str| read(text).expect_err("it must be refused").to_string();
        let expected = "failed to parse line 2: expected value, in column 1";
        assert_eq!(told(&format!("{PHASE}\nwords\n{PHASE}\n")), expected);
        let expected = "failed to parse line 2: EOF while parsing an object";
        assert_eq!(told(&format!("{PHASE}\n{{\n{PHASE}\n")), expected);
    }

    /// A transaction whose second branch is this request, on line 2.
    fn transaction(part: &str) -> String {
        let then = r#"{"kind":"delete","key":"a"}"#;
        let txn = format!(r#"{{"kind":"txn","compare":[],"then":[{then}],"else":[{part}]}}"#);
        let call = r#""type":"call","t":6,"op":1,"client":1,"route":"member","scheduled":6"#;
        format!("{PHASE}\n{{{call},\"request\":{txn}}}\n")
    }

    #[test]
    fn what_no_check_models_in_a_transaction_is_refused_with_its_line() {
        let put = r#"{"kind":"put","key":"a","value":"1"}"#;
        assert!(read(&transaction(put)).is_ok());
        let inner = format!(r#"{{"kind":"txn","compare":[],"then":[{put}]}}"#);
        let revoke = r#"{"kind":"lease_revoke","id":7}"#;
        for (part, kind) in [(inner.as_str(), "txn"), (revoke, "lease_revoke")] {
            let error = read(&transaction(part)).expect_err("it must be refused");
            assert_eq!(
                error.to_string(),
                format!(
                    "line 2: else[0] of a transaction is a {kind}; accepted in a transaction are put, range and delete"
                )
            );
        }
        let inner = r#"{"kind":"txn","succeeded":true,"responses":[]}"#;
        let txn = inner.replace("[]", &format!(r#"[{{"kind":"put"}},{inner}]"#));
        let ok = r#""result":"ok","revision":2,"term":2,"member":"a""#;
        let answer =
            format!(r#"{{"type":"return","t":7,"op":1,"outcome":{{{ok},"response":{txn}}}}}"#);
        let error = read(&format!("{answer}\n")).expect_err("it must be refused");
        let told = "line 1: responses[1] of a transaction is one to a txn; accepted";
        assert!(error.to_string().starts_with(told), "{error}");
    }

    #[test]
    fn a_request_that_asks_for_more_than_is_modelled_is_refused_with_its_line_and_field() {
        let put = r#"{"kind":"put","key":"a","value":"1"}"#;
        let more = put.replace("\"key\"", "\"ignore_lease\":true,\"key\"");
        let greater = r#"[{"target":"version","key":"a","version":1,"result":"greater"}]"#;
        let compared =
            transaction(put).replace("\"compare\":[]", &format!("\"compare\":{greater}"));
        for (text, field) in [
            (transaction(&more), "`ignore_lease`"),
            (compared, "`result`"),
        ] {
            let error = read(&text).expect_err("it must be refused").to_string();
            assert!(error.contains("line 2") && error.contains(field), "{error}");
        }
    }

    #[test]
    fn a_watch_or_an_answer_that_says_more_than_is_modelled_is_refused_with_its_line_and_field() {
        let record = |rest: &str| format!("{PHASE}\n{{{rest}}}\n");
        let watch = |event: &str| {
            let watch = r#""type":"watch","t":6,"watcher":1,"stream":0,"target":"a""#;
            record(&format!(r#"{watch},"event":{event}"#))
        };
        let told = |event: &str| {
            watch(&format!(
                r#"{{"what":"events","revision":2,"events":[{event}]}}"#
            ))
        };
        let put = |kv: &str| format!(r#"{{"op":"put","kv":{kv}}}"#);
        let answer = |response: &str| {
            let ok = r#""result":"ok","revision":2,"term":2,"member":"a""#;
            let outcome = format!(r#"{{{ok},"response":{response}}}"#);
            record(&format!(
                r#""type":"return","t":7,"op":1,"outcome":{outcome}"#
            ))
        };
        let opened = r#"{"what":"opened","key":"a","range_end":"b","start_revision":1}"#;
        let kv = r#"{"key":"a","value":"1","create_revision":2,"mod_revision":2,"version":1}"#;
        let done = r#"{"kind":"put"}"#;
        for line in [watch(opened), told(&put(kv)), answer(done)] {
            assert!(read(&line).is_ok(), "{line}");
        }
        let more = |text: &str, field: &str| text.replacen('{', &format!("{{\"{field}\":1,"), 1);
        for (text, field) in [
            (watch(&more(opened, "filters")), "filters"),
            (told(&more(&put(kv), "ignored")), "ignored"),
            (told(&put(&more(kv, "ttl"))), "ttl"),
            (answer(&more(done, "prev_kv")), "prev_kv"),
        ] {
            let error = read(&text).expect_err("it must be refused").to_string();
            let field = format!("unknown field `{field}`, ");
            assert!(
                error.contains("line 2") && error.contains(&field),
                "{error}"
            );
        }
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
        // Within a character of two bytes; one that is no text in the middle is an error.
        let named = PHASE.replace("final", "\u{e9}");
        let cut = named.find('\u{e9}').expect("it is there") + 1;
        let mut file = format!("{PHASE}\n").into_bytes();
        file.extend(&named.as_bytes()[..cut]);
        let history = History::read(file.as_slice()).expect("it is read");
        assert_eq!(history.records.len(), 1);
        file.extend(b"\"}\n");
        let error = History::read(file.as_slice());
        assert!(
            matches!(error, Err(ReadError::Parse { line: 2, .. })),
            "{error:?}"
        );
    }
}
