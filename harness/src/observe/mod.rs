//! What the API server shows during a run, as records of its history: pods with their roles, endpoints of the leader
//! service, every version that a watch delivers.
//!
//! And how busy this host was meanwhile, since a machine that is too busy makes everything late.
//!
//! Looks and writes down; judges nothing and changes nothing. A watch that breaks is taken up again from a fresh list,
//! so that an API server that was unavailable leaves a hole in the records and not an end.

mod clock;
mod machine;
mod membership;
mod objects;
mod watch;

pub(crate) use clock::{Reading, now, offsets_agree};
pub(crate) use machine::MachineLog;
pub(crate) use membership::lists as member_lists;
pub(crate) use watch::{Observer, Subject};
