//! etcd's write-ahead log as bytes: frames of records, damaged as a disk and a crash would. Pure.
//!
//! A frame is a length of eight bytes and a record. The length's lower seven bytes are those of the record; when its
//! top bit is set the lowest three bits of its top byte say how many bytes fill up to a multiple of eight. A length of
//! 0 begins what is not written yet. A record ends with its data, which its checksum is of.

/// Bytes of a length.
const LENGTH: usize = 8;
/// Smallest unit that a disk writes whole.
const SECTOR: usize = 512;
/// Fewest records of a log that something is in.
const FEWEST: usize = 4;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    /// Its first byte, behind the length.
    at: usize,
    length: usize,
    padding: usize,
}

impl Frame {
    fn end(self) -> usize {
        self.at + self.length + self.padding
    }
}

/// One bit is another in the middle of what is written.
///
/// # Errors
/// Why these bytes are no such log, in words.
pub(crate) fn flip(log: &mut [u8]) -> Result<String, String> {
    let frames = frames(log)?;
    let middle = frames[frames.len() / 2];
    let at = middle.at + middle.length - 1;
    let byte = log.get_mut(at).ok_or("it is shorter than its records")?;
    *byte ^= 1;
    Ok(format!(
        "byte {at} of {}",
        frames.last().map_or(0, |last| last.end())
    ))
}

/// A record behind the last one was being written: its length and its first sector are there, what follows is not. None
/// of it was synced, so that nothing is lost.
///
/// # Errors
/// Why these bytes are no such log, in words.
pub(crate) fn tear(log: &mut [u8]) -> Result<String, String> {
    let frames = frames(log)?;
    let last = frames[frames.len() - 1];
    let from = last.end();
    let record = log[last.at..last.at + last.length].to_vec();
    // As far as the end of the first sector, and two more that never arrived.
    let begun = SECTOR - (from + LENGTH) % SECTOR;
    let length = begun + 2 * SECTOR;
    let place = log.get_mut(from..from + LENGTH + length);
    let place = place.ok_or("there is no space behind its last record")?;
    if place.iter().any(|byte| *byte != 0) {
        return Err("what is behind its last record is not empty".to_owned());
    }
    let (head, data) = place.split_at_mut(LENGTH);
    head.copy_from_slice(&(length as u64).to_le_bytes());
    for (byte, copied) in data[..begun].iter_mut().zip(record.iter().cycle()) {
        *byte = *copied;
    }
    Ok(format!(
        "{length} bytes at {from}, of which {begun} are written"
    ))
}

fn frames(log: &[u8]) -> Result<Vec<Frame>, String> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    while let Some(length) = log.get(at..at + LENGTH) {
        let mut bytes = [0; LENGTH];
        bytes.copy_from_slice(length);
        let top = bytes[LENGTH - 1];
        bytes[LENGTH - 1] = 0;
        let length =
            usize::try_from(u64::from_le_bytes(bytes)).map_err(|error| error.to_string())?;
        if length == 0 {
            break;
        }
        let padding = if top & 0x80 == 0 {
            0
        } else {
            usize::from(top & 7)
        };
        let frame = Frame {
            at: at + LENGTH,
            length,
            padding,
        };
        let fits = length.checked_add(frame.at + padding);
        if fits.is_none_or(|end| end > log.len()) {
            return Err(format!(
                "a record of {length} bytes at {at} is longer than the file"
            ));
        }
        frames.push(frame);
        at = frame.end();
    }
    if frames.len() < FEWEST {
        return Err(format!("it has {} records", frames.len()));
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of records of these lengths, and space behind them.
    fn log(lengths: &[usize]) -> Vec<u8> {
        let mut log = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let padding = (8 - length % 8) % 8;
            let mut head = (*length as u64).to_le_bytes();
            if padding > 0 {
                head[7] = 0x80 | padding as u8;
            }
            log.extend(head);
            log.extend(std::iter::repeat_n(number as u8 + 1, *length));
            log.extend(std::iter::repeat_n(0, padding));
        }
        log.extend([0; 8192]);
        log
    }

    #[test]
    fn one_bit_of_a_record_in_the_middle_is_another() {
        let before = log(&[14, 300, 27, 90, 8]);
        let mut after = before.clone();
        flip(&mut after).expect("a log");
        let differ: Vec<usize> = (0..before.len())
            .filter(|at| before[*at] != after[*at])
            .collect();
        let [at] = differ[..] else {
            panic!("{differ:?}");
        };
        assert_eq!((before[at], before[at] ^ after[at]), (3, 1));
        assert_eq!(frames(&before), frames(&after));
    }

    #[test]
    fn what_was_torn_is_behind_all_that_was_written_and_misses_a_sector() {
        for last in 1..700 {
            let before = log(&[14, 300, 27, last]);
            let mut after = before.clone();
            tear(&mut after).expect("a log");
            let end = frames(&before).expect("a log")[3].end();
            assert_eq!(
                before[..end],
                after[..end],
                "nothing that was written is lost"
            );
            let torn = *frames(&after).expect("a log").last().expect("a frame");
            assert_eq!(torn.at, end + LENGTH);
            let sector = torn.at.next_multiple_of(SECTOR);
            let first = if sector == torn.at {
                sector + SECTOR
            } else {
                sector
            };
            assert!(after[torn.at..first].iter().any(|byte| *byte != 0));
            assert!(after[first..torn.end()].iter().all(|byte| *byte == 0));
            assert!(torn.end() - first >= 2 * SECTOR);
        }
    }

    #[test]
    fn what_is_no_log_is_left_as_it_is() {
        let mut full = log(&[8, 8, 8, 8]);
        full.truncate(full.len() - 8192 + 100);
        let mut endless = log(&[8, 8, 8, 8]);
        endless[..8].copy_from_slice(&[0xff; 8]);
        for bytes in [
            Vec::new(),
            vec![0; 4096],
            b"text".to_vec(),
            log(&[8, 8]),
            endless,
            full,
        ] {
            let mut after = bytes.clone();
            let error = tear(&mut after).expect_err("nothing to tear");
            assert!(!error.is_empty());
            assert_eq!(after, bytes);
        }
    }
}
