//! Revisions of which only deletes were seen: a lease has ended, or a delete of unknown outcome has happened.

use super::{Ended, Replay, Stop};
use crate::check::agree::agree;
use crate::check::log::{self, Entry};
use crate::check::rival::{self, Fit, Rival, fit, rival};

impl<'a> Replay<'_, 'a> {
    /// Only deletes: the keys of a lease went together, or a delete of unknown outcome that cannot be recognised.
    pub(super) fn ended_lease(&mut self, revision: i64, entry: Entry<'_, 'a>) -> Result<(), Stop> {
        let lease = self
            .store
            .get(log::key(entry.events[0]))
            .map_or(0, |item| item.lease);
        let txns = self.rival(self.deleters.clone(), (revision, entry), lease);
        self.changes.clear();
        self.changes.extend(self.store.leased(lease));
        if lease == 0 || agree(&self.changes, entry.events, revision, self.log.scope).is_err() {
            return match txns {
                Rival::No => self.loose_delete(revision, entry),
                _ => Err(Stop::Hole { revision }),
            };
        }
        let loose = self.loose.holding(&gone(entry));
        let rival = txns.max(self.rival(loose, (revision, entry), lease));
        if rival == Rival::Other {
            return Err(Stop::Hole { revision });
        }
        // Either leaves the same keys. Which of the two it was decides what is left to others.
        let doubtful = rival == Rival::Same;
        self.guessed |= doubtful;
        self.store.drop_lease(lease, &mut self.changes);
        self.tally.ended.push(Ended {
            lease,
            seen: entry.seen,
            revision,
            doubtful,
        });
        Ok(())
    }

    /// What was seen of a revision of which only deletes were seen.
    fn seen<'e>(&self, entry: Entry<'e, 'a>, lease: i64) -> rival::Deletes<'e>
    where
        'a: 'e,
    {
        rival::Deletes {
            gone: gone(entry),
            watched: self.log.scope,
            lease,
        }
    }

    /// How some requests of unknown outcome stand to a revision of which only deletes were seen: the worst of them.
    fn rival(
        &mut self,
        ops: Vec<u32>,
        (revision, entry): (i64, Entry<'_, 'a>),
        lease: i64,
    ) -> Rival {
        let known = self.known.since(revision);
        let seen = self.seen(entry, lease);
        let mut most = Rival::No;
        for op in ops {
            let call = self.op(op).call;
            let free = !self.used.contains_key(&op) || self.guesses.contains(&op);
            if call.t <= known && free {
                most = most.max(rival(&mut self.store, &call.request, &seen));
            }
        }
        most
    }

    /// Deletes of unknown outcome that may have made a revision and were not taken for another one, in the order of
    /// their calls. A hole where one of them may have taken keys along that no one watches: only what is read later
    /// tells.
    fn fitting_deletes(&mut self, revision: i64, entry: Entry<'_, 'a>) -> Result<Vec<u32>, Stop> {
        let known = self.known.since(revision);
        let seen = self.seen(entry, 0);
        let mut fitting = Vec::new();
        for op in self.loose.holding(&seen.gone) {
            let call = self.op(op).call;
            if self.used.contains_key(&op) || call.t > known {
                continue;
            }
            match fit(&mut self.store, &call.request, &seen) {
                Fit::No => {}
                Fit::Exactly => fitting.push(op),
                Fit::More => return Err(Stop::Hole { revision }),
            }
        }
        Ok(fitting)
    }

    /// A delete of unknown outcome that stands alone leaves no mark: the earliest called that deletes just this is
    /// taken, since it leaves most to the others.
    fn loose_delete(&mut self, revision: i64, entry: Entry<'_, 'a>) -> Result<(), Stop> {
        let fitting = self.fitting_deletes(revision, entry)?;
        let Some(owner) = fitting.first().copied() else {
            return Err(Stop::Hole { revision });
        };
        if fitting.len() > 1 {
            self.guessed = true;
            self.guesses.insert(owner);
        }
        self.used.insert(owner, revision);
        self.execute(owner)?;
        self.tally.found += 1;
        Ok(())
    }
}

/// The keys that the watches saw go.
fn gone<'e>(entry: Entry<'e, '_>) -> Vec<&'e str> {
    entry.events.iter().map(|event| log::key(event)).collect()
}
