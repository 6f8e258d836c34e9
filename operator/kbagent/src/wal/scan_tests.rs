//! Tables for what a log holds, and that no request of API v3 is taken for one of API v2.

use proptest::prelude::*;
use prost::Message;

use super::super::test_support::{
    Entry, committed, entry, new_entry, old, old_entry, record, snapshot,
};
use super::*;

fn scanned(records: &[Vec<u8>]) -> Scan {
    let mut scan = Scan::default();
    for record in records {
        let looked_at = record.len().min(LOOKED_AT);
        scan.record(&record[..looked_at]).expect("a record");
    }
    scan
}

fn found(records: &[Vec<u8>]) -> Option<u64> {
    scanned(records).content(|_, _| true).old_request
}

#[test]
fn requests_of_the_old_form_count_from_the_newest_snapshot_that_holds() {
    let log = [snapshot(0), old_entry(4), new_entry(5), committed(5)];
    assert_eq!(found(&log), Some(4));
    let with = |more: &[Vec<u8>]| found(&[&log[..], more].concat());
    assert_eq!(with(&[snapshot(4)]), None);
    assert_eq!(with(&[snapshot(3)]), Some(4));
    assert_eq!(with(&[snapshot(6)]), Some(4), "it is not committed");
    assert_eq!(with(&[snapshot(6), committed(6)]), None);
    assert_eq!(with(&[snapshot(4), old_entry(6)]), Some(6));
    let scan = scanned(&[&log[..], &[snapshot(4)]].concat());
    assert_eq!(
        scan.content(|_, _| false).old_request,
        Some(4),
        "no file of that snapshot"
    );
    let told = scan.content(|index, term| (index, term) == (4, 3));
    assert_eq!((told.snapshot, told.last, told.old_request), (4, 5, None));
}

#[test]
fn what_is_written_over_is_not_there() {
    let log = [snapshot(0), old_entry(4), old_entry(6), committed(4)];
    let with = |more: &[Vec<u8>]| found(&[&log[..], more].concat());
    assert_eq!(with(&[new_entry(6)]), Some(4));
    assert_eq!(with(&[new_entry(5)]), Some(4));
    assert_eq!(with(&[new_entry(7)]), Some(6));
    assert_eq!(with(&[new_entry(4)]), None);
    assert_eq!(with(&[old_entry(5)]), Some(5));
    // More than are told apart: those that were forgotten are not taken for absent.
    let many: Vec<_> = (1..=400).map(old_entry).collect();
    assert_eq!(found(&many), Some(400));
    let more = |entry: Vec<u8>| found(&[&many[..], &[entry]].concat());
    assert_eq!(more(new_entry(300)), Some(299));
    assert_eq!(more(new_entry(100)), Some(99));
}

#[test]
fn methods_of_the_old_form_are_known_and_other_types_of_entries_are_not_read() {
    for (method, path) in [
        ("PUT", "/0/version"),
        ("POST", "/1/k"),
        ("DELETE", "/1/k"),
        ("QGET", "/1/k"),
        ("SYNC", ""),
    ] {
        assert!(is_old(&old(method, path)), "{method}");
    }
    let change = Entry {
        kind: 1,
        term: 3,
        index: 2,
        data: Some(old("PUT", "/")),
    };
    assert_eq!(found(&[record(ENTRY, change.encode_to_vec())]), None);
    assert_eq!(found(&[entry(2, Vec::new())]), None);
}

/// Fields of the requests of API v3 of 3.4 to 3.7, but for the identifier: all are messages.
const FIELDS: [u32; 31] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 100, 1000, 1011, 1012, 1013, 1100, 1101, 1102, 1103, 1104, 1105,
    1106, 1107, 1200, 1201, 1202, 1203, 1204, 1300, 1301, 1302, 9900,
];

fn message(field: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [(field as usize) << 3 | 2, content.len()] {
        prost::encode_length_delimiter(number, &mut bytes).expect("space");
    }
    bytes.extend(content);
    bytes
}

proptest! {
    #[test]
    fn a_request_of_api_v3_is_never_taken_for_an_old_one(
        id: u32,
        fields in proptest::collection::vec((0..FIELDS.len(), proptest::collection::vec(any::<u8>(), 0..60)), 0..4),
        wrapped: bool,
        method in "PUT|POST|DELETE|QGET|SYNC",
    ) {
        let mut request = Vec::new();
        if id != 0 {
            request.push(8);
            prost::encode_length_delimiter(id as usize, &mut request).expect("space");
        }
        if wrapped {
            request.extend(message(2, &old(&method, "/0/version")));
        }
        for (field, content) in &fields {
            // Values that look like a method and a path are as good as any.
            let content = if content.len() == 7 { method.as_bytes() } else { &content[..] };
            request.extend(message(FIELDS[*field], content));
        }
        prop_assert!(!is_old(&request));
        prop_assert_eq!(found(&[entry(7, request)]), None);
    }

    #[test]
    fn any_bytes_are_an_answer(records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20)) {
        let mut scan = Scan::default();
        for record in &records {
            let _ = scan.record(record);
        }
        scan.content(|_, _| true);
    }

    #[test]
    fn a_damaged_record_is_an_answer(at in 0usize..400, to: u8, cut in 0usize..512) {
        let mut bytes = old_entry(9);
        bytes[at] = to;
        bytes.truncate(cut);
        let mut scan = Scan::default();
        let _ = scan.record(&bytes);
        scan.content(|_, _| true);
    }

    #[test]
    fn memory_is_bounded(indexes in proptest::collection::vec(1u64..2000, 0..1200)) {
        let mut scan = Scan::default();
        for index in indexes {
            scan.record(&old_entry(index)[..LOOKED_AT]).expect("a record");
            scan.record(&snapshot(index)).expect("a record");
        }
        prop_assert!(scan.old.len() <= KEPT && scan.snapshots.len() <= KEPT);
        prop_assert!(scan.old.iter().is_sorted());
    }
}
