//! Everything that a check may look at: the joined history and what was worked out of it once for all checks.

use std::collections::BTreeMap;

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
        let pods = match self.expectations.members_relay {
            true => self.index.pods_by_member(),
            false => BTreeMap::new(),
        };
        self.index.members.iter().filter_map(move |sample| {
            let sample: &'a MemberSample = sample;
            let status = sample.status.as_ref()?;
            let relayed = pods
                .get(status.member.as_str())
                .is_some_and(|pod| *pod != sample.pod);
            (!relayed).then_some((sample, status))
        })
    }
}
