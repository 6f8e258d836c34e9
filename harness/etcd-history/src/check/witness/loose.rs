//! Deletes of unknown outcome: where they stand alone no mark tells which revision they made, if any.

use crate::check::keyspace::Keys;
use crate::check::log::Log;
use crate::check::placement::{self, Part};
use crate::check::rival;
use crate::hash::{FastMap, FastSet};
use crate::index::Index;
use crate::record::{KeyEvent, Request};

/// Those that stand alone, so that those that may delete a key are found without a look at the others. Operations are
/// numbered in the order of their calls.
#[derive(Debug, Default)]
pub(super) struct Loose<'a> {
    /// Deletes of one key.
    keys: FastMap<&'a str, Vec<u32>>,
    ranges: Vec<(Keys<'a>, u32)>,
}

impl<'a> Loose<'a> {
    pub(super) fn of(index: &Index<'a>) -> Self {
        let mut loose = Self::default();
        for op in placement::loose(index) {
            let Request::Delete { key, range_end } = &index.ops[op as usize].call.request else {
                continue;
            };
            let keys = Keys::new(key, range_end.as_deref());
            match keys.is_range() {
                true => loose.ranges.push((keys, op)),
                false => loose.keys.entry(key).or_default().push(op),
            }
        }
        loose
    }

    /// Those that may delete all of these keys, in the order of their calls.
    pub(super) fn holding(&self, gone: &[&str]) -> Vec<u32> {
        let one = match gone {
            [key] => self.keys.get(*key).map_or(&[][..], Vec::as_slice),
            _ => &[],
        };
        let all = |keys: &Keys<'_>| gone.iter().all(|key| keys.hold(key));
        let ranges = self.ranges.iter().filter(|(keys, _)| all(keys));
        let ranges = ranges.map(|(_, op)| *op);
        let mut holding: Vec<u32> = one.iter().copied().chain(ranges).collect();
        holding.sort_unstable();
        holding
    }
}

/// Transactions of unknown outcome that may delete, and of which no one saw a value that is theirs alone: they may have
/// happened anywhere. What was acknowledged shows no other write.
pub(super) fn deleters<'a>(
    index: &Index<'a>,
    log: &Log<'a>,
    (doubtful, sighted, alike): (&FastMap<&'a str, u32>, &FastMap<i64, u32>, &FastSet<u32>),
) -> Vec<u32> {
    let mut deleters = placement::unknown(index, |request| {
        matches!(request, Request::Txn { .. }) && rival::deletes(request)
    });
    if deleters.is_empty() {
        return deleters;
    }
    let acked = index.ops.iter().filter_map(|op| {
        let acked = op.acked()?;
        let part = placement::part(&op.call.request, acked.response)?;
        (part == Part::Changes).then_some(acked.revision)
    });
    let claimed: FastSet<i64> = acked.collect();
    let read = sighted.iter();
    let read = read.filter(|(revision, _)| !claimed.contains(*revision));
    let mut seen: FastSet<u32> = read.map(|(_, op)| *op).collect();
    let entries = log.entries();
    for (_, entry) in entries.filter(|(revision, _)| !claimed.contains(revision)) {
        seen.extend(entry.events.iter().filter_map(|event| match event {
            KeyEvent::Put { kv, .. } => doubtful.get(kv.value.as_str()),
            KeyEvent::Delete { .. } => None,
        }));
    }
    deleters.retain(|op| !seen.contains(op) || alike.contains(op));
    deleters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::test_support::{Story, delete};

    #[test]
    fn those_of_a_key_are_told_in_the_order_of_their_calls() {
        let range = |key: &str, end: &str| Request::Delete {
            key: key.to_owned(),
            range_end: Some(end.to_owned()),
        };
        let history = Story::new()
            .unknown(1, (1, 90), delete("b"))
            .unknown(2, (2, 90), range("a", "c"))
            .unknown(3, (3, 90), delete("a"))
            .unknown(4, (4, 90), delete("b"))
            .unknown(5, (5, 90), range("a", "b"))
            .failed(6, (6, 7), delete("b"))
            .history();
        let index = Index::new(&history);
        let loose = Loose::of(&index);
        assert_eq!(loose.holding(&["b"]), [0, 1, 3]);
        assert_eq!(loose.holding(&["a"]), [1, 2, 4]);
        assert_eq!(loose.holding(&["a", "b"]), [1]);
        assert!(loose.holding(&["c"]).is_empty());
    }
}
