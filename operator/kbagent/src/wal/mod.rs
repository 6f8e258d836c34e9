//! etcd's write-ahead log: does a start replay requests of the API v2? Servers of 3.5 write such ones for their
//! members' addresses and the cluster's version, 3.6 still reads them, and 3.7 panics at each start (V7).
//!
//! `wire` and `scan` are pure; `read` follows the files and keeps no more than a part of one record. A log that cannot
//! be understood is an error, never one that holds nothing.

mod read;
mod scan;
#[cfg(test)]
mod test_support;
mod wire;

pub use read::Reader;
pub use scan::{Content, Scan, Unreadable};
