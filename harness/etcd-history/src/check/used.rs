//! Whether it is known what was there before the run.

use super::log::Log;
use super::placement;
use super::store::Store;
use crate::index::Index;
use crate::record::Request;

/// Where the replay starts. An etcd that was used before shows itself in reads before the first write, of which one at
/// least is of a range. Else it is a new one, which starts at its first revision and is empty, or nothing is known of
/// it in front of the lowest revision that was ever seen.
pub(crate) fn base<'a>(index: &Index<'a>, log: &Log<'a>) -> Store<'a> {
    if let Some(store) = placement::read(index) {
        return store;
    }
    let used = unknown_base(index, log).and_then(|_| placement::lowest(index, log));
    Store::at(used.map_or(1, |(lowest, _)| lowest.max(1)), &[])
}

/// Why it is not known. Where no range was read, more revisions were there than writes that no one saw can have made.
pub(crate) fn unknown_base(index: &Index<'_>, log: &Log<'_>) -> Option<String> {
    if placement::read_early(index) {
        return placement::unread(index);
    }
    let (lowest, by) = placement::lowest(index, log)?;
    let made = index.fault_writes.range(..=lowest).count();
    let asked = index.ops.iter().take_while(|op| op.call.t <= by);
    let lost = asked.filter(|op| op.unknown());
    let lost: usize = lost.map(|op| unseen(&op.call.request)).sum();
    unread(lowest, lost + made)
}

/// Why nothing is known of an etcd that was at this revision when the run began, unless so many revisions may have been
/// made unseen.
pub(crate) fn unread(revision: i64, unseen: usize) -> Option<String> {
    let most = i64::try_from(unseen).unwrap_or(i64::MAX);
    (revision.saturating_sub(1) > most).then(|| {
        format!("the store was at revision {revision} when the run began, and no range was read before the first write")
    })
}

/// Revisions that a request may have made without an acknowledgement: its own, and the ends of its leases.
pub(crate) fn unseen(request: &Request) -> usize {
    let changes = |part: &Request| {
        matches!(
            part,
            Request::Put { .. } | Request::Delete { .. } | Request::LeaseRevoke { .. }
        )
    };
    usize::from(request.parts().any(changes)) + placement::leases_of(request)
}
