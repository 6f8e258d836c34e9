//! Where the replay begins: with what a read of a range shows, or with a new etcd.

use super::{Replay, Store};
use crate::check::log;
use crate::check::placement::Part;
use crate::check::stream::done::{Done, Stop};
use crate::check::used;
use crate::record::{Request, Response};

impl Replay {
    /// The store at the beginning, where a read of a range before the first write tells it.
    pub(super) fn beginning(&self, done: &Done, revision: i64) -> Option<Store> {
        let whole = matches!(
            done.call.request,
            Request::Range {
                range_end: Some(_),
                limit: 0,
                revision: 0,
                serializable: false,
                ..
            }
        );
        match done.op().acked()?.response {
            Response::Range { kvs, .. } if whole && self.writers == 0 => {
                Some(Store::at(revision, kvs))
            }
            _ => None,
        }
    }

    pub(super) fn begin(&mut self, store: Store) -> Result<(), Stop> {
        self.store = store;
        self.begun = true;
        let early = self.early.take().unwrap_or_default();
        for (done, part, revision) in early.placed {
            self.tally.placed -= 1;
            self.place(done, part, revision)?;
        }
        self.see_all(early.seen)
    }

    /// Without such a read: a new etcd, unless its first revisions are more than unseen writes can have made.
    pub(super) fn begin_without(&mut self, settled: i64) -> Result<(), Stop> {
        let Some(early) = &self.early else {
            return Ok(());
        };
        let before = |part: Part| i64::from(part == Part::Changes);
        let placed = early.placed.iter();
        let placed = placed.map(|(_, part, revision)| revision.saturating_sub(before(*part)));
        let seen = early.seen.iter();
        let seen = seen.map(|event| log::revision(event).saturating_sub(1));
        let Some(lowest) = placed.chain(seen).min().filter(|lowest| *lowest < settled) else {
            return Ok(());
        };
        let made = self.fault_writes.range(..=lowest).count();
        match used::unread(lowest, self.losses.unseen() + made) {
            Some(reason) => Err(Stop::Unsure(reason)),
            None => self.begin(Store::at(1, &[])),
        }
    }
}
