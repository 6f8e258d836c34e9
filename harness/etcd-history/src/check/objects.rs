//! Clients that keep objects as a kube-apiserver does: whether any of them met what they are for. It judges nothing.
//!
//! Such a client is known by its lists in pages of one revision. No other one asks for a page behind the first, while
//! others too write what is as they saw it last.

use std::collections::BTreeMap;

use crate::index::{Index, Op};
use crate::record::{Compare, Request, Response};

/// What such clients met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Met {
    /// Pages behind the first of a list.
    pub(super) pages: usize,
    /// Writes that were refused because their object had changed.
    pub(super) refused: usize,
}

/// Looks at all operations.
pub(super) fn met(index: &Index<'_>) -> Met {
    let mut clients: BTreeMap<u32, Client<'_>> = BTreeMap::new();
    for op in &index.ops {
        clients.entry(op.call.client).or_default().see(op);
    }
    let mut all = Met::default();
    for client in clients.values().filter(|client| client.met.pages > 0) {
        all.pages += client.met.pages;
        all.refused += client.met.refused;
    }
    all
}

#[derive(Default)]
struct Client<'a> {
    met: Met,
    /// The last key of a page that its limit has cut, and the revision of the list.
    cut: Option<(&'a str, i64)>,
}

impl<'a> Client<'a> {
    fn see(&mut self, op: &Op<'a>) {
        let cut = self.cut.take();
        let Some(acked) = op.acked() else { return };
        match (&op.call.request, acked.response) {
            (
                Request::Range {
                    key,
                    range_end: Some(_),
                    revision,
                    ..
                },
                Response::Range { kvs, more, .. },
            ) => {
                let is_next = |(last, list): (&str, i64)| {
                    list == *revision && key.strip_suffix('\0') == Some(last)
                };
                self.met.pages += usize::from(cut.is_some_and(is_next));
                let list = match *revision {
                    0 => acked.revision,
                    list => list,
                };
                let last = kvs.last().filter(|_| *more);
                self.cut = last.map(|last| (last.key.as_str(), list));
            }
            (
                Request::Txn { compare, then, .. },
                Response::Txn {
                    succeeded: false, ..
                },
            ) => self.met.refused += usize::from(is_guarded(compare, then)),
            _ => {}
        }
    }
}

/// Whether a transaction writes a key if that is of a revision.
fn is_guarded(compare: &[Compare], then: &[Request]) -> bool {
    let [Compare::ModRevision { key: guarded, .. }] = compare else {
        return false;
    };
    then.iter().any(|request| match request {
        Request::Put { key, .. } | Request::Delete { key, .. } => key == guarded,
        _ => false,
    })
}
