//! Goes through an archive in order, also while its writer merges and deletes what was listed.

use std::collections::VecDeque;
use std::time::Duration;

use object_store::Error as Answer;
use tokio::time::sleep;

use super::name::Object;
use super::search::Refusal;
use super::segment::{Link, Segment};
use super::store::{Archive, Inventory};
use crate::error::Error;

/// So often in a row an object may be gone that was listed just before.
const GONE: u32 = 5;
/// Time before it is listed again.
const AGAIN: Duration = Duration::from_millis(200);

/// Goes through an archive.
#[derive(Debug)]
pub struct Walk<'a> {
    archive: &'a Archive,
    /// The revision and the time that it begins no later than.
    from: (i64, Option<i64>),
    objects: VecDeque<Object>,
    ready: VecDeque<(Segment, String)>,
    link: Option<Link>,
    gone: u32,
}

impl<'a> Walk<'a> {
    /// All segments in order, from one that begins no later than after a revision, and than at a time (milliseconds
    /// since 1970) when there is one.
    #[must_use]
    pub fn begin(archive: &'a Archive, inventory: &Inventory, from: (i64, Option<i64>)) -> Self {
        Walk {
            archive,
            from,
            objects: objects(inventory, from),
            ready: VecDeque::new(),
            link: None,
            gone: 0,
        }
    }

    /// The next segment, which follows the one before; `None` at the end.
    ///
    /// # Errors
    /// When it cannot be read, or does not follow.
    pub async fn next(&mut self) -> Result<Option<Segment>, Error> {
        loop {
            while let Some((segment, hash)) = self.ready.pop_front() {
                let object = || self.archive.path(&Object::segment(segment.header.sequence));
                if let Some(link) = &self.link {
                    // Merged objects may overlap.
                    if segment.header.sequence <= link.sequence {
                        continue;
                    }
                    let follows = segment.follows(link);
                    follows.map_err(|why| Error::Archive {
                        object: object(),
                        why,
                    })?;
                }
                self.link = Some(segment.link(hash));
                return Ok(Some(segment));
            }
            let Some(object) = self.objects.pop_front() else {
                return Ok(None);
            };
            match self.archive.read(&object).await {
                Ok(segments) => (self.ready, self.gone) = (segments.into(), 0),
                Err(error) if is_gone(&error) && self.gone < GONE => {
                    Box::pin(self.again(error)).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What was listed is gone: another object has it, or it was deleted because it is too old.
    async fn again(&mut self, gone: Error) -> Result<(), Error> {
        self.gone += 1;
        sleep(AGAIN * (self.gone - 1)).await;
        let inventory = self.archive.inventory().await?;
        self.objects = match &self.link {
            None => objects(&inventory, self.from),
            Some(link) => {
                let chain = inventory.chain.iter().map(|(object, _)| object);
                let read = |object: &&Object| object.last <= link.sequence;
                chain.skip_while(read).cloned().collect()
            }
        };
        let next = self.link.as_ref().map(|link| link.sequence + 1);
        match (self.objects.front(), next) {
            (None, _) => Err(gone),
            (Some(front), Some(next)) if front.first > next => Err(Error::Archive {
                object: self.archive.path(&Object::segment(next)),
                why: "it was pruned while the archive was read, because it was older than the retentionPeriod: restore \
                      again, over a newer backup"
                    .to_owned(),
            }),
            (Some(front), None) => match front.begins {
                Some((begins, _)) if begins > self.from.0 => {
                    let base = self.from.0;
                    Err(Refusal::Begins { begins, base }.into())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// Those from the last one that begins no later. Of an idle time several begin after the same revision. Where a time is
/// looked for, those from the one before it: whether the first times of an object are known is told by what was before.
fn objects(inventory: &Inventory, (revision, time): (i64, Option<i64>)) -> VecDeque<Object> {
    let early = |(object, _): &(Object, u64)| {
        object.begins.is_some_and(|(after, since)| {
            after <= revision && time.is_none_or(|time| since <= time)
        })
    };
    let begin = inventory.chain.iter().rposition(early).unwrap_or_default();
    let begin = begin.saturating_sub(usize::from(time.is_some()));
    let objects = inventory.chain.iter().skip(begin);
    objects.map(|(object, _)| object.clone()).collect()
}

fn is_gone(error: &Error) -> bool {
    let Error::Store { source, .. } = error else {
        return false;
    };
    matches!(source, Answer::NotFound { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_idle_time_the_object_is_read_that_has_the_moment_and_the_one_before_it() {
        let merged = |first: u64, since: i64| Object {
            first,
            last: first + 9,
            begins: Some((7, since)),
        };
        let mut chain: VecDeque<_> = [merged(0, 1000), merged(10, 2000), merged(20, 3000)]
            .into_iter()
            .map(|object| (object, 1))
            .collect();
        chain.push_back((Object::segment(30), 1));
        let inventory = Inventory {
            chain,
            covered: Vec::new(),
        };
        let first = |revision, time| objects(&inventory, (revision, time))[0].first;
        for (time, expected) in [
            (Some(999), 0),
            (Some(1000), 0),
            (Some(1999), 0),
            (Some(2000), 0),
            (Some(3000), 10),
            (Some(9000), 10),
            (None, 20),
        ] {
            assert_eq!(first(7, time), expected, "{time:?}");
        }
        assert_eq!(first(6, None), 0, "and not what begins after the revision");
    }
}
