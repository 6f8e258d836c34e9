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
    /// The pod of each member, by its identifier.
    pub(crate) pods: BTreeMap<&'a str, &'a str>,
    pub(crate) log: &'a Log<'a>,
    pub(crate) replayed: &'a Replayed<'a>,
    pub(crate) known: &'a Known,
    /// The highest revision that can have been made; absent when nothing was acknowledged.
    pub(crate) ceiling: Option<i64>,
    pub(crate) machine: &'a Machine<'a>,
    pub(crate) expectations: &'a Expectations,
}

impl<'a> Case<'a> {
    /// The samples in which a pod's own member answered, in order of time.
    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&'a MemberSample, &'a RaftStatus)> {
        let samples = self.samples();
        samples.filter_map(|(sample, own)| Some((sample, own?)))
    }

    /// All samples in order of time, each with what the pod's own member answered: nothing where it was silent, or
    /// where another member answered for it.
    pub(crate) fn samples(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&'a MemberSample, Option<&'a RaftStatus>)> {
        self.index.members.iter().map(move |sample| {
            let sample: &'a MemberSample = sample;
            let status = sample.status.as_ref();
            (
                sample,
                status.filter(|status| !self.relayed(sample, status)),
            )
        })
    }

    fn relayed(&self, sample: &MemberSample, status: &RaftStatus) -> bool {
        let pod = self.pods.get(status.member.as_str());
        self.expectations.members_relay && pod.is_some_and(|pod| *pod != sample.pod)
    }
}
