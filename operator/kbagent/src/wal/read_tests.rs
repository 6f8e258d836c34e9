//! Logs of several files, torn and damaged ones, and ones that grow while they are read.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::test_support::{committed, entry, new_entry, old_entry, snapshot};
use super::*;

const PREALLOCATED: usize = 4096;

fn frame(record: &[u8]) -> Vec<u8> {
    let padding = (8 - record.len() % 8) % 8;
    let mut head = (record.len() as u64).to_le_bytes();
    if padding > 0 {
        head[7] = 0x80 | u8::try_from(padding).expect("less than eight");
    }
    [&head[..], record, &vec![0; padding]].concat()
}

fn frames(records: &[Vec<u8>]) -> Vec<u8> {
    records.iter().flat_map(|record| frame(record)).collect()
}

fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for part in ["wal", "snap"] {
        fs::create_dir_all(directory.path().join("member").join(part)).expect("mkdir");
    }
    directory
}

fn write(directory: &Path, number: u64, index: u64, bytes: &[u8]) {
    let name = format!("member/wal/{number:016x}-{index:016x}.wal");
    fs::write(directory.join(name), bytes).expect("write");
}

fn snap(directory: &Path, index: u64) {
    fs::write(
        super::snapshot(&directory.join("member/snap"), index, 3),
        "",
    )
    .expect("write");
}

fn old(directory: &Path) -> Option<u64> {
    let read = Reader::default().read(directory).expect("a log");
    read.expect("there is one").old_request
}

fn preallocated(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len() + PREALLOCATED, 0);
    bytes
}

#[test]
fn without_a_log_there_is_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let read = |directory: &TempDir| Reader::default().read(directory.path());
    assert_eq!(read(&directory).expect("nothing"), None);
    assert_eq!(read(&self::directory()).expect("nothing"), None);
}

#[test]
fn a_log_of_several_files_is_read_in_their_order() {
    let directory = directory();
    let at = directory.path();
    let large = entry(
        3,
        [vec![0x08, 9, 0x22, 0xff, 0xff, 0x7f], vec![7; 2_097_151]].concat(),
    );
    write(
        at,
        0,
        0,
        &frames(&[snapshot(0), old_entry(1), new_entry(2), large]),
    );
    write(at, 1, 4, &frames(&[old_entry(4), committed(4)]));
    write(
        at,
        2,
        5,
        &preallocated(frames(&[new_entry(5), committed(5)])),
    );
    assert_eq!(old(at), Some(4));
    write(
        at,
        2,
        5,
        &preallocated(frames(&[new_entry(5), committed(5), snapshot(4)])),
    );
    assert_eq!(old(at), Some(4), "the snapshot's file is missing");
    snap(at, 4);
    assert_eq!(old(at), None);
    // etcd deletes the oldest.
    fs::remove_file(at.join("member/wal/0000000000000000-0000000000000000.wal")).expect("rm");
    assert_eq!(old(at), None);
}

#[test]
fn what_was_torn_at_the_end_is_not_there_and_a_hole_before_it_is_an_error() {
    let directory = directory();
    let at = directory.path();
    let whole = frames(&[snapshot(0), old_entry(1), new_entry(2)]);
    let last = frame(&old_entry(3));
    for torn in (1..last.len()).step_by(5) {
        let bytes = [&whole[..], &last[..torn]].concat();
        write(at, 0, 0, &bytes);
        assert_eq!(old(at), Some(1), "{torn}");
        write(at, 1, 4, &preallocated(frames(&[new_entry(4)])));
        let read = Reader::default().read(at);
        // Less than a length is no record at all.
        assert_eq!(read.is_err(), torn >= 8, "{torn}: {read:?}");
        fs::remove_file(at.join("member/wal/0000000000000001-0000000000000004.wal")).expect("rm");
    }
    let garbage = [&whole[..], &frame(&[0; 40])[..]].concat();
    write(at, 0, 0, &preallocated(garbage));
    assert_eq!(old(at), Some(1));
}

#[test]
fn a_log_that_grows_is_followed_and_one_that_was_exchanged_is_read_again() {
    let directory = directory();
    let at = directory.path();
    let mut reader = Reader::default();
    let read = |reader: &mut Reader| {
        let read = reader.read(at);
        read.map(|content| content.map(|content| (content.last, content.old_request)))
    };
    let mut all = vec![snapshot(0), new_entry(1)];
    write(at, 0, 0, &preallocated(frames(&all)));
    assert_eq!(read(&mut reader).expect("a log"), Some((1, None)));
    all.extend([old_entry(2), committed(2)]);
    write(at, 0, 0, &preallocated(frames(&all)));
    assert_eq!(read(&mut reader).expect("a log"), Some((2, Some(2))));
    write(
        at,
        1,
        3,
        &preallocated(frames(&[new_entry(3), committed(3), snapshot(3)])),
    );
    snap(at, 3);
    assert_eq!(read(&mut reader).expect("a log"), Some((3, None)));
    fs::remove_file(at.join("member/wal/0000000000000000-0000000000000000.wal")).expect("rm");
    assert_eq!(read(&mut reader).expect("a log"), Some((3, None)));
    fs::remove_file(at.join("member/wal/0000000000000001-0000000000000003.wal")).expect("rm");
    write(at, 2, 3, &preallocated(frames(&[old_entry(4)])));
    assert!(read(&mut reader).is_err(), "its file is gone");
    assert_eq!(read(&mut reader).expect("a log"), Some((4, Some(4))));
}

proptest! {
    #[test]
    fn any_file_is_an_answer(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        whole: bool,
        at in 0usize..300,
    ) {
        let directory = directory();
        let path = directory.path();
        let mut log = if whole { frames(&[snapshot(0), old_entry(1), new_entry(2)]) } else { Vec::new() };
        let place = at.min(log.len());
        drop(log.splice(place..place, bytes));
        write(path, 0, 0, &log);
        let _ = Reader::default().read(path);
    }
}
