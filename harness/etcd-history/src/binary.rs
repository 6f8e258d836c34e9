//! The binary form of a history: less than half of the JSON of traffic, read record by record.
//!
//! Eight bytes of magic, the version, then a frame a record: its length and its body. Numbers are varints, times the
//! difference to the record before; a string that was written a short while ago is a distance back. What comes often
//! (calls, returns, watch responses, status) has a form of its own, all else is JSON in a frame. A last frame that was
//! cut off is dropped, as the last line of a JSON file is; anything else that does not fit is an error with the
//! record's number.
//!
//! [`History::read`](crate::History::read) takes either form.

mod decode;
mod encode;
mod form;
mod words;

use std::io::{self, BufRead, Read, Write};

use self::form::JSON;
use crate::error::{ReadError, believed};
use crate::record::{Nanos, Record};

/// The first eight bytes of every binary history. No JSON text begins with them.
pub const MAGIC: [u8; 8] = *b"\x89etcdh\r\n";
/// Version of the binary form that is written, and the only one that is read. It follows [`MAGIC`].
pub const VERSION: u64 = 1;
/// Longest body of a frame: the key space of a long run, as JSON.
const FRAME_MAX: u64 = 256 << 20;

/// Writes a binary history, record by record. [`Self::finish`] flushes what was written.
#[derive(Debug)]
pub struct BinaryWriter<W> {
    out: W,
    body: Vec<u8>,
    last: Nanos,
    words: words::Written,
}

impl<W: Write> BinaryWriter<W> {
    /// Writes the head.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        let mut version = Vec::new();
        encode::varint(&mut version, VERSION);
        out.write_all(&version)?;
        Ok(Self {
            out,
            body: Vec::new(),
            last: 0,
            words: words::Written::default(),
        })
    }

    /// Writes a record.
    ///
    /// # Errors
    /// The writer's, and for a record of more than 256 MiB.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        self.body.clear();
        let mut body = encode::Body {
            to: &mut self.body,
            words: &mut self.words,
        };
        if !body.record(record, &mut self.last) {
            self.body.clear();
            self.body.push(JSON);
            serde_json::to_writer(&mut self.body, record)?;
        }
        let length = self.body.len() as u64;
        if length > FRAME_MAX {
            return Err(io::Error::other("a record of more than 256 MiB"));
        }
        let mut head = Vec::with_capacity(4);
        encode::varint(&mut head, length);
        self.out.write_all(&head)?;
        self.out.write_all(&self.body)
    }

    /// Flushes the writer and returns it.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads a binary history, record by record, in memory that does not grow with it.
#[derive(Debug)]
pub struct BinaryReader<R> {
    from: R,
    body: Vec<u8>,
    last: Nanos,
    words: words::Read,
    record: usize,
    ended: bool,
    cut_off: bool,
}

impl<R: BufRead> BinaryReader<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// When it is not a binary history, or one of another version.
    pub fn new(mut from: R) -> Result<Self, ReadError> {
        let broken = |source| ReadError::Read { line: 0, source };
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(broken)?;
        if magic != MAGIC {
            return Err(misfit(0, "it does not begin as a binary history does"));
        }
        let version = length(&mut from).map_err(broken)?;
        match version {
            Length::Is(VERSION) => {}
            Length::Is(version) => return Err(ReadError::BinaryVersion { version }),
            Length::End | Length::CutOff => return Err(misfit(0, "it ends before its version")),
        }
        Ok(Self {
            from,
            body: Vec::new(),
            last: 0,
            words: words::Read::default(),
            record: 0,
            ended: false,
            cut_off: false,
        })
    }

    /// True once the end of the file was reached within a record: its writer was killed while it wrote.
    pub fn cut_off(&self) -> bool {
        self.cut_off
    }

    fn frame(&mut self) -> Result<Option<Record>, ReadError> {
        let line = self.record;
        let broken = |source| ReadError::Read { line, source };
        let length = match length(&mut self.from).map_err(broken)? {
            Length::Is(length) => length,
            Length::End => return Ok(None),
            Length::CutOff => {
                self.cut_off = true;
                return Ok(None);
            }
        };
        if length > FRAME_MAX {
            return Err(misfit(line, "it says that it has more than 256 MiB"));
        }
        let buffered = self.from.fill_buf().map_err(broken)?;
        // Most frames are in the reader's buffer as a whole: those are not copied.
        let whole = usize::try_from(length)
            .ok()
            .and_then(|length| buffered.get(..length));
        let record = if let Some(body) = whole {
            let record = body_of(body, &mut self.words, &mut self.last, line)?;
            let length = body.len();
            self.from.consume(length);
            record
        } else {
            self.body.clear();
            let mut from = (&mut self.from).take(length);
            from.read_to_end(&mut self.body).map_err(broken)?;
            if (self.body.len() as u64) < length {
                self.cut_off = true;
                return Ok(None);
            }
            body_of(&self.body, &mut self.words, &mut self.last, line)?
        };
        believed(&record, line)?;
        Ok(Some(record))
    }
}

impl<R: BufRead> Iterator for BinaryReader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        self.record += 1;
        let read = self.frame().transpose();
        // What comes after a frame that does not fit has no meaning.
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}

/// The record of a frame's body.
#[inline]
fn body_of(
    body: &[u8],
    words: &mut words::Read,
    last: &mut Nanos,
    line: usize,
) -> Result<Record, ReadError> {
    match body.split_first() {
        Some((&JSON, json)) => {
            serde_json::from_slice(json).map_err(|cause| ReadError::parse(line, &cause))
        }
        Some((&kind, rest)) => {
            let record = decode::Body { rest, words }.record(kind, last);
            record.ok_or_else(|| misfit(line, "its parts do not fit"))
        }
        None => Err(misfit(line, "it is empty")),
    }
}

fn misfit(line: usize, reason: &'static str) -> ReadError {
    ReadError::Misfit { line, reason }
}

/// A number that a reader has next.
enum Length {
    Is(u64),
    /// The reader is at its end.
    End,
    /// It ends within the number.
    CutOff,
}

fn length(from: &mut impl Read) -> io::Result<Length> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        if from.read(&mut byte)? == 0 {
            return Ok(if shift == 0 {
                Length::End
            } else {
                Length::CutOff
            });
        }
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(Length::Is(value));
        }
    }
    Err(io::Error::other("a number of more than 64 bits"))
}

#[cfg(test)]
mod tests;
