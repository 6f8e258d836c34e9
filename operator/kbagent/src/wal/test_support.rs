//! Records as etcd writes them: fields by number.

use prost::Message;

use super::scan::{ENTRY, SNAPSHOT, STATE};

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(uint32, tag = "2")]
    crc: u32,
    #[prost(bytes = "vec", optional, tag = "3")]
    data: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(uint64, tag = "1")]
    pub(super) kind: u64,
    #[prost(uint64, tag = "2")]
    pub(super) term: u64,
    #[prost(uint64, tag = "3")]
    pub(super) index: u64,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(super) data: Option<Vec<u8>>,
}

/// A state, or a snapshot.
#[derive(Clone, PartialEq, Message)]
struct Numbers {
    #[prost(uint64, optional, tag = "1")]
    first: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    second: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    third: Option<u64>,
}

/// The first fields of a request of the API v2, all of which etcd writes.
#[derive(Clone, PartialEq, Message)]
struct Old {
    #[prost(uint64, required, tag = "1")]
    id: u64,
    #[prost(string, required, tag = "2")]
    method: String,
    #[prost(string, required, tag = "3")]
    path: String,
    #[prost(string, required, tag = "4")]
    value: String,
    #[prost(bool, required, tag = "5")]
    dir: bool,
}

pub(super) fn old(method: &str, path: &str) -> Vec<u8> {
    let value = "{\"name\":\"a\",\"clientURLs\":[\"http://a:2379\"]}".repeat(40);
    Old {
        id: 0x7000_0000_0000_0001,
        method: method.into(),
        path: path.into(),
        value,
        dir: false,
    }
    .encode_to_vec()
}

pub(super) fn record(kind: u64, data: Vec<u8>) -> Vec<u8> {
    Record {
        kind: i64::try_from(kind).expect("a type"),
        crc: 0xfeed_beef,
        data: Some(data),
    }
    .encode_to_vec()
}

pub(super) fn entry(index: u64, data: Vec<u8>) -> Vec<u8> {
    let entry = Entry {
        kind: 0,
        term: 3,
        index,
        data: Some(data),
    };
    record(ENTRY, entry.encode_to_vec())
}

pub(super) fn old_entry(index: u64) -> Vec<u8> {
    entry(index, old("PUT", "/0/members/8e9e05c52164694d/attributes"))
}

pub(super) fn new_entry(index: u64) -> Vec<u8> {
    // A put: field 4 of the request, with a key and a value.
    entry(index, vec![0x08, 9, 0x22, 6, 0x0a, 1, b'k', 0x12, 1, b'v'])
}

pub(super) fn committed(index: u64) -> Vec<u8> {
    let state = Numbers {
        first: Some(3),
        second: Some(1),
        third: Some(index),
    };
    record(STATE, state.encode_to_vec())
}

pub(super) fn snapshot(index: u64) -> Vec<u8> {
    let mark = Numbers {
        first: Some(index),
        second: Some(3),
        third: None,
    };
    record(SNAPSHOT, mark.encode_to_vec())
}
