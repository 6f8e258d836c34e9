//! Everything that a check may look at: the joined history and what was worked out of it once for all checks.

use super::expectations::Expectations;
use super::log::Log;
use super::machine::Machine;
use super::proof::Known;
use super::witness::Replayed;
use crate::index::Index;
use crate::record::{MemberSample, RaftStatus};

/// Everything that a check may look at.
pub(crate) struct Case<'a> {
    pub(crate) index: &'a Index<'a>,
    pub(crate) log: &'a Log<'a>,
    pub(crate) replayed: &'a Replayed<'a>,
    pub(crate) known: &'a Known,
    /// The highest revision that can have been made; absent when nothing was acknowledged.
    pub(crate) ceiling: Option<i64>,
    pub(crate) machine: &'a Machine<'a>,
    pub(crate) expectations: &'a Expectations,
}

impl<'a> Case<'a> {
    /// The samples in which a member answered, in order of time.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&'a MemberSample, &'a RaftStatus)> {
        self.index.members.iter().filter_map(|sample| {
            let sample: &'a MemberSample = sample;
            Some((sample, sample.status.as_ref()?))
        })
    }
}
