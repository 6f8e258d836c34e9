//! Looks at the keys of the next revisions before they are replayed: of a store that no cache holds, they come from
//! memory side by side then, and not one after the other.

use super::ring::Ring;
use crate::check::brief::Brief;
use crate::check::items::Items;
use crate::check::placement;
use crate::check::store::{Model, Value};

/// Revisions that are looked at together: what they touch fits into the nearest cache.
const REVISIONS: i64 = 32;

/// How far was looked.
#[derive(Debug, Default)]
pub(super) struct Ahead(i64);

impl Ahead {
    /// Looks at what waits behind the revision of the store, up to the settled one, unless that was done.
    pub(super) fn look<M: Items<Brief, Value<Brief>>>(
        &mut self,
        store: &Model<Brief, M>,
        ring: &Ring,
        settled: i64,
    ) {
        let revision = store.revision;
        if revision < self.0 {
            return;
        }
        let more = settled.saturating_sub(revision).min(REVISIONS);
        self.0 = revision.saturating_add(more);
        // One alone would wait here as it does there.
        if more < 2 {
            return;
        }
        let slots = ring.iter().take(usize::try_from(more).unwrap_or(0));
        let done = slots.flat_map(|slot| slot.maker.iter().chain(&slot.readers));
        let keys = done.flat_map(|done| placement::keys_of(&done.call.request));
        store.warm(keys.filter(|keys| !keys.is_range()).map(|keys| keys.key));
    }
}
