//! Who wrote a record.

use super::Record;

/// Who wrote a record. A writer does one thing after the other, so that its records are in the order of their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Writer<'a> {
    /// The start of a recording client.
    Start,
    /// A client.
    Client(u32),
    /// A watcher.
    Watcher(u32),
    /// The sampler of one member.
    Member(&'a str),
    /// The reader of one member's hash.
    Hash(&'a str),
    /// The reader of one member's key space.
    Dump(&'a str),
    /// A fault.
    Fault(u32),
    /// The watch of the pods.
    Pods,
    /// The watch of the endpoints of a service.
    Endpoints(&'a str),
    /// The reader of member lists.
    Lists,
    /// The sampler of a machine, in a process.
    Machine(&'a str),
    /// The scenario.
    Phases,
}

impl Record {
    /// Who wrote it; absent for a return, whose client only its call names.
    pub fn writer(&self) -> Option<Writer<'_>> {
        Some(match self {
            Self::Start { .. } => Writer::Start,
            Self::Call(call) => Writer::Client(call.client),
            Self::Return(_) => return None,
            Self::Watch(watch) => Writer::Watcher(watch.watcher),
            Self::Member(sample) => Writer::Member(&sample.pod),
            Self::Hash(sample) => Writer::Hash(&sample.pod),
            Self::FinalState(state) => Writer::Dump(&state.pod),
            Self::Fault(fault) => Writer::Fault(fault.fault),
            Self::Pod(_) => Writer::Pods,
            Self::Endpoints(endpoints) => Writer::Endpoints(&endpoints.service),
            Self::Membership(_) => Writer::Lists,
            Self::Machine(sample) => Writer::Machine(&sample.source),
            Self::Phase { .. } => Writer::Phases,
        })
    }

    /// True for records that the recording client writes; those are in a file of their own.
    pub fn of_client(&self) -> bool {
        matches!(
            self,
            Self::Call(_)
                | Self::Return(_)
                | Self::Watch(_)
                | Self::Member(_)
                | Self::Hash(_)
                | Self::FinalState(_)
        )
    }
}
