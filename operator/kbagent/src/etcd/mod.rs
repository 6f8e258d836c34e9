//! A client of one etcd member: the few calls kbagent needs, with errors that tell a closed port from a hanging etcd.
//!
//! Messages are written by hand (no protoc, and unlike common clients a member list that is really linearizable). Must
//! not hold policy: who is asked, and what an answer means, is decided elsewhere.

mod auth;
mod client;
mod error;
mod messages;

pub use auth::{Grant, Tried};
pub use client::{Client, Downgrade};
pub use error::EtcdError;
pub use messages::{HashKv, Member, MemberList, ResponseHeader, Status};
