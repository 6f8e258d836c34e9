//! PURE: certificates of a component: which names they hold, how they are issued, what is wrong with one, and what must
//! be issued when. Keys, serial numbers and the time are given by the caller.

mod believed;
mod decide;
mod fault;
mod issue;
mod names;
mod read;
pub(crate) mod rotate;
mod subject;

#[cfg(test)]
mod tests;

pub(crate) use believed::Believed;
pub(crate) use decide::{Authority, Leaf, Wanted, authority, leaf, may_sign, renewal, urgent};
pub(crate) use fault::{Fault, Place};
pub(crate) use issue::{Ca, IssueError, Made, Material, new_ca, sign};
pub(crate) use names::{Names, member_names, needed, operator_names};
pub(crate) use read::{Certificate, Data, Read, authorities, read, read_ca};
pub(crate) use subject::Subject;
