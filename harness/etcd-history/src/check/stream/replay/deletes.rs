//! Revisions of which only deletes were seen: a lease has ended, or a delete of unknown outcome has happened.

use std::collections::BTreeSet;

use super::{Replay, Store};
use crate::check::agree::agree;
use crate::check::keyspace::Keys;
use crate::check::log;
use crate::check::rival::{Deletes, Fit, Rival, fit, rival};
use crate::check::stream::done::Stop;
use crate::check::stream::lost::Losses;
use crate::record::KeyEvent;

impl Replay {
    /// The keys of a lease went together, or a delete of unknown outcome that cannot be recognised.
    pub(super) fn only_deletes(
        &mut self,
        revision: i64,
        events: &[KeyEvent],
    ) -> Result<bool, Stop> {
        // Of a transaction that deletes and puts, a watcher of few keys may have seen the delete alone.
        if self.losses.may_delete(self.scopes.len() > 1) {
            return Ok(false);
        }
        let held = events
            .first()
            .and_then(|event| self.store.get(log::key(event)));
        let lease = held.map_or(0, |item| item.lease);
        let seen = seen(&self.scopes, events, lease);
        let (store, losses) = (&mut self.store, &self.losses);
        if worst(store, losses, losses.deleters(), (revision, &seen)) != Rival::No {
            return Ok(false);
        }
        self.changes.clear();
        self.changes.extend(store.leased(lease));
        if lease == 0 || agree(&self.changes, events, revision, None).is_err() {
            return self.loose_delete(revision, events);
        }
        if worst(store, losses, &losses.loose(), (revision, &seen)) == Rival::Other {
            return Err(Stop::Unsure(format!(
                "the end of a lease or a delete of unknown outcome may have made revision {revision}"
            )));
        }
        self.store.drop_lease(lease, &mut self.changes);
        self.tally.ended += 1;
        Ok(true)
    }

    /// A delete of unknown outcome that stands alone leaves no mark.
    fn loose_delete(&mut self, revision: i64, events: &[KeyEvent]) -> Result<bool, Stop> {
        let seen = seen(&self.scopes, events, 0);
        let mut fitting = Vec::new();
        for at in self.losses.loose() {
            let done = &self.losses.get(at).done;
            if done.floor >= revision {
                continue;
            }
            match fit(&mut self.store, &done.call.request, &seen) {
                Fit::No => {}
                Fit::Exactly => fitting.push(at),
                Fit::More => {
                    return Err(Stop::Unsure(format!(
                        "what made revision {revision} may have deleted keys that no one watches"
                    )));
                }
            }
        }
        match fitting.as_slice() {
            [] => Ok(false),
            [owner] => self.found(*owner, revision, events),
            [..] => Err(Stop::Unsure(format!(
                "several deletes of unknown outcome may have made revision {revision}"
            ))),
        }
    }
}

/// What was seen of a revision of which only deletes were seen.
fn seen<'e>(
    scopes: &'e BTreeSet<(String, String)>,
    events: &'e [KeyEvent],
    lease: i64,
) -> Deletes<'e> {
    let one = scopes.first().filter(|_| scopes.len() == 1);
    Deletes {
        gone: events.iter().map(log::key).collect(),
        watched: one.map(|(key, end)| Keys::new(key, Some(end))),
        lease,
    }
}

/// How some lost requests stand to a revision of which only deletes were seen: the worst of them.
fn worst(
    store: &mut Store,
    losses: &Losses,
    of: &[usize],
    (revision, seen): (i64, &Deletes<'_>),
) -> Rival {
    let done = of.iter().map(|at| &losses.get(*at).done);
    let done = done.filter(|done| done.floor < revision);
    let each = done.map(|done| rival(store, &done.call.request, seen));
    each.max().unwrap_or(Rival::No)
}
