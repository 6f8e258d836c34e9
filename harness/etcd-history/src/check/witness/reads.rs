//! What changes nothing: who saw the store at a revision, and who looked back at it later.

use super::{Replay, Stop};
use crate::check::placement::{Part, Past, Placed};
use crate::check::store::Mismatch;
use crate::check::words;
use crate::record::Request;

impl<'a> Replay<'_, 'a> {
    /// Places what saw the store as it is now.
    pub(super) fn observe(&mut self, placed: &[Placed], next: &mut usize) -> Result<(), Stop> {
        let revision = self.store.revision;
        while let Some(reader) = placed.get(*next).filter(|p| p.revision == revision) {
            *next += 1;
            if reader.part == Part::Changes {
                return Err(self.violation(
                    reader.op,
                    &format!("its revision {revision} was made before it"),
                ));
            }
            self.execute(reader.op)?;
            if self.store.revision != revision {
                return Err(self.violation(
                    reader.op,
                    "it should have changed something there, yet its revision is not a new one",
                ));
            }
        }
        while let Some(past) = self
            .past
            .get(self.past_next)
            .copied()
            .filter(|p| p.revision == revision)
        {
            self.past_next += 1;
            self.look_back(past)?;
        }
        Ok(())
    }

    fn look_back(&mut self, past: Past<'a>) -> Result<(), Stop> {
        let compared = match past.request {
            Request::Range { .. } => self.store.compare_range(past.request, past.response),
            request => self
                .store
                .execute(request, Some(past.response), &mut self.changes),
        };
        self.tally.serializable += usize::from(past.serializable);
        match compared {
            Err(Mismatch(why)) if past.serializable => {
                let op = self.op(past.op);
                let explanation = format!(
                    "{}: at revision {}: {why}",
                    words::op(self.index, &op),
                    past.revision
                );
                self.tally.untrue.push((explanation, op.id()));
                Ok(())
            }
            compared => compared.map_err(|m| self.mismatch(past.op, &m)),
        }
    }
}
