//! Whether a call needs a block that its file does not have: on a full disk such a call fails, and no other. As on ext4
//! and xfs, what was allocated in advance is there, and a file is made, or made longer as a hole, on a full disk too.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{SeekFrom, seek};

use crate::call::Call;
use crate::target::{Opened, Target};

/// Bytes of a block of the file system.
const BLOCK: u64 = 4096;
/// Bytes that a file's blocks are counted in, whatever they have.
const COUNTED: u64 = 512;

/// True for a call that needs one. Of a write with flags it is not known.
pub(crate) fn is_needed(call: Call, target: Target, opened: &Opened) -> io::Result<bool> {
    let (number, at, bytes) = match call {
        Call::Write { file, at, bytes } => (file, at, bytes),
        Call::WriteMany {
            file,
            at,
            table,
            pieces,
            flags: 0,
        } => (file, at, target.pieces(table, pieces)?),
        Call::Allocate {
            file,
            mode,
            at,
            bytes,
        } if mode & libc::FALLOC_FL_PUNCH_HOLE == 0 => (file, Some(at), bytes),
        _ => return Ok(false),
    };
    let file = File::open(&opened.way)?;
    let at = match at {
        Some(at) => at,
        None => match target.standing(number)?.at {
            Some(at) => at,
            None => file.metadata()?.len(),
        },
    };
    is_missing(&file, at, bytes)
}

/// True when a file has no block for a part of these bytes.
fn is_missing(file: &File, at: u64, bytes: u64) -> io::Result<bool> {
    if bytes == 0 {
        return Ok(false);
    }
    let about = file.metadata()?;
    let (length, end) = (about.len(), at.saturating_add(bytes));
    // Its last block may end behind the file.
    if end > length.next_multiple_of(BLOCK) {
        return Ok(true);
    }
    // What was allocated in advance and never written counts as a hole below.
    if about.blocks() * COUNTED >= length {
        return Ok(false);
    }
    let hole = seek(file, SeekFrom::Hole(at - at % BLOCK))?;
    // The end of a file counts as a hole, too.
    Ok(hole < end.min(length))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rustix::fs::{FallocateFlags, fallocate};

    use super::*;

    fn missing(file: &File, at: u64, bytes: u64) -> bool {
        is_missing(file, at, bytes).expect("looked")
    }

    #[test]
    fn what_lies_behind_the_last_block_or_in_a_hole_is_missing() {
        let mut file = tempfile::tempfile().expect("a file");
        assert!(missing(&file, 0, 1) && !missing(&file, 0, 0));
        file.write_all(&[1; 100]).expect("written");
        assert!(!missing(&file, 0, BLOCK));
        assert!(missing(&file, 100, BLOCK - 99));
        file.set_len(1 << 20).expect("longer");
        assert!(!missing(&file, 0, BLOCK));
        assert!(missing(&file, BLOCK - 1, 2));
        assert!(missing(&file, 1 << 19, 1));
        assert!(!missing(&file, 1 << 19, 0));
    }

    #[test]
    fn what_was_allocated_in_advance_is_there() {
        let file = tempfile::tempfile().expect("a file");
        fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).expect("allocated");
        assert!(!missing(&file, 0, 1 << 20));
        assert!(!missing(&file, 1 << 19, 10));
        assert!(missing(&file, 1 << 20, 1));
    }
}
