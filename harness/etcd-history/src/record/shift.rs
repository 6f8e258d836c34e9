//! Records of a writer whose clock is another one.

use super::{Nanos, Record};

impl Record {
    /// Adds `by` nanoseconds to all times of the record: they are then those of a clock that is ahead by as much.
    pub fn shift(&mut self, by: Nanos) {
        let t = match self {
            Self::Start { t, .. } | Self::Phase { t, .. } => t,
            Self::Call(call) => {
                call.scheduled = call.scheduled.saturating_add(by);
                &mut call.t
            }
            Self::Return(end) => &mut end.t,
            Self::Watch(watch) => &mut watch.t,
            Self::Member(sample) => &mut sample.t,
            Self::Hash(sample) => &mut sample.t,
            Self::FinalState(state) => &mut state.t,
            Self::Fault(fault) => &mut fault.t,
            Self::Pod(pod) => &mut pod.t,
            Self::Endpoints(endpoints) => &mut endpoints.t,
            Self::Membership(list) => &mut list.t,
            Self::Machine(sample) => &mut sample.t,
        };
        *t = t.saturating_add(by);
    }
}
