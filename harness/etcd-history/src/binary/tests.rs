//! The binary form gives back what was written, and takes no nonsense.

use std::io::Cursor;

use super::*;
use crate::history::History;
use crate::simulate::{Plan, simulate};

fn written(history: &History) -> Vec<u8> {
    let mut writer = BinaryWriter::new(Vec::new()).expect("memory takes it");
    for record in &history.records {
        writer.write(record).expect("memory takes it");
    }
    writer.finish().expect("memory takes it")
}

fn read(bytes: &[u8]) -> Result<Vec<Record>, ReadError> {
    BinaryReader::new(Cursor::new(bytes))?.collect()
}

#[test]
fn every_history_is_read_as_it_was_written() {
    for seed in 0..12 {
        let history = simulate(&Plan::varied(seed));
        let bytes = written(&history);
        assert_eq!(read(&bytes).expect("it is read"), history.records, "{seed}");
        let either = History::read(bytes.as_slice()).expect("it is read");
        assert_eq!(either, history, "by its first byte");
    }
}

#[test]
fn the_traffic_of_clients_takes_less_than_half_of_its_json() {
    let mut history = simulate(&Plan::default());
    history.records.retain(Record::of_client);
    let bytes = written(&history).len();
    let mut json = Vec::new();
    history.write(&mut json).expect("memory takes it");
    assert!(bytes * 2 < json.len(), "{bytes} of {}", json.len());
}

#[test]
fn the_ends_of_all_numbers_come_back() {
    let value = |word: &str, number: i64| crate::record::KeyValue {
        key: word.to_owned(),
        value: word.repeat(200),
        create_revision: number,
        mod_revision: number.wrapping_mul(-1),
        version: number,
        lease: number,
    };
    let end = |t, number: i64| {
        Record::Return(crate::record::Return {
            t,
            op: u64::MAX,
            outcome: crate::Outcome::Ok {
                revision: number,
                term: u64::MAX,
                member: "ä".to_owned(),
                response: crate::Response::Range {
                    kvs: vec![value("a", number), value("bb", number)],
                    count: number,
                    more: true,
                },
            },
        })
    };
    let records = vec![end(5, i64::MAX), end(3, i64::MIN), end(i64::MAX / 2, 0)];
    let bytes = written(&History {
        records: records.clone(),
    });
    assert_eq!(read(&bytes).expect("it is read"), records);
}

/// Some records from the middle of a run.
fn some() -> History {
    let mut history = simulate(&Plan::default());
    history.records.drain(..history.records.len() / 2);
    history.records.truncate(60);
    history
}

#[test]
fn a_file_that_was_cut_off_anywhere_gives_what_is_whole() {
    let history = some();
    let bytes = written(&history);
    let mut most = 0;
    for end in MAGIC.len() + 1..bytes.len() {
        let records = read(&bytes[..end]).expect("a cut is no error");
        assert!(records.len() >= most && history.records.starts_with(&records));
        most = records.len();
    }
    assert_eq!(most, history.records.len() - 1, "only the last one is cut");
    assert!(read(&bytes[..MAGIC.len()]).is_err(), "no version");
}

#[test]
fn spoiled_bytes_are_an_error_or_other_records_and_never_a_panic() {
    let history = some();
    let bytes = written(&history);
    for at in MAGIC.len()..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut spoiled = bytes.clone();
            spoiled[at] ^= flip;
            if let Ok(records) = read(&spoiled) {
                assert!(records.len() <= bytes.len(), "each takes a byte");
            }
        }
    }
}

#[test]
fn another_version_and_another_file_are_refused_by_name() {
    let mut other = MAGIC.to_vec();
    other.push(9);
    let error = read(&other).expect_err("it must be refused").to_string();
    assert!(error.contains("version 9"), "{error}");
    let error = read(b"{\"type\":\"phase\"}").expect_err("it must be refused");
    assert!(error.to_string().contains("binary history"), "{error}");
}

#[test]
fn a_transaction_in_a_transaction_is_refused_with_its_record_however_deep() {
    let txn = |part| crate::Request::Txn {
        compare: Vec::new(),
        then: vec![part],
        otherwise: Vec::new(),
    };
    let mut request = txn(crate::Request::Delete {
        key: "a".to_owned(),
        range_end: None,
    });
    let phase = Record::Phase {
        t: 1,
        name: "final".to_owned(),
    };
    for depth in 1..8 {
        let call = Record::Call(crate::record::Call {
            t: 1,
            op: 1,
            client: 1,
            route: crate::record::Route::Member,
            scheduled: 1,
            request: request.clone(),
        });
        let bytes = written(&History {
            records: vec![phase.clone(), call],
        });
        match read(&bytes) {
            Ok(_) => assert_eq!(depth, 1),
            Err(error) => {
                let told = "line 2: then[0] of a transaction is a txn; accepted";
                assert!(error.to_string().starts_with(told), "{error}");
                assert!(depth > 1);
            }
        }
        request = txn(request);
    }
}

#[test]
fn a_length_that_is_not_there_takes_no_memory() {
    let mut bytes = MAGIC.to_vec();
    bytes.push(1);
    bytes.extend([0xff, 0xff, 0xff, 0x3f]);
    assert_eq!(read(&bytes).expect("cut off").len(), 0);
    let mut bytes = MAGIC.to_vec();
    bytes.push(1);
    bytes.extend([0xff; 9]);
    bytes.push(0x01);
    let error = read(&bytes).expect_err("too long").to_string();
    assert!(error.contains("256 MiB"), "{error}");
}
