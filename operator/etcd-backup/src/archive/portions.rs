//! An archive is put over a backup portion by portion: replayed, compared change by change, compacted. So the private
//! etcd holds, and has to tell at once, no more than a portion beside the restored data.

use std::collections::VecDeque;

use super::history::Last;
use super::planned::Plan;
use super::search::Refusal;
use super::segment::{Event, Segment};
use super::walk::Walk;
use crate::error::Error;

/// What a change takes beside its key and value, in bytes.
const CHANGE: usize = 64;

/// What is filled: a private etcd.
pub(super) trait Filled {
    /// Makes the changes of one revision.
    async fn make(&mut self, revision: &[Event]) -> Result<(), Error>;
    /// Begins to tell what it has after a revision.
    async fn tell(&mut self, after: i64) -> Result<(), Error>;
    /// What it tells next.
    async fn told(&mut self) -> Result<Told, Error>;
    /// Forgets what was replaced up to a revision.
    async fn compact(&mut self, revision: i64) -> Result<(), Error>;
}

/// What is told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Changes of the revision after which it was asked, as far as they are there, once.
    pub(super) before: Vec<Event>,
    /// Changes after it, in order.
    pub(super) events: Vec<Event>,
}

/// Replays a plan, in portions of about so many bytes.
///
/// # Errors
/// When any part fails, or what comes of it is not what is archived.
pub(super) async fn portions(
    plan: &Plan<'_>,
    etcd: &mut impl Filled,
    bytes: u64,
) -> Result<(), Error> {
    let (mut filled, mut compared) = (plan.walk(), plan.walk());
    let (mut from, mut last) = (plan.base, Last::default());
    loop {
        let through = fill(plan, etcd, &mut filled, (from, bytes)).await?;
        compare(plan, etcd, &mut compared, (from, through), &mut last).await?;
        if through == plan.target {
            // The last one is compacted when the snapshot is restored.
            return Ok(());
        }
        etcd.compact(through).await?;
        from = through;
    }
}

/// Replays whole segments until there are enough bytes; the last revision.
async fn fill(
    plan: &Plan<'_>,
    etcd: &mut impl Filled,
    walk: &mut Walk<'_>,
    (from, bytes): (i64, u64),
) -> Result<i64, Error> {
    let (mut made, mut size) = (from, 0);
    while let Some(segment) = walk.next().await? {
        let begins = segment.header.after;
        if begins > made {
            // The one before it was deleted since the plan was made.
            let base = plan.base;
            return Err(Refusal::Begins { begins, base }.into());
        }
        for revision in revisions(&segment, plan.base, plan.target) {
            etcd.make(revision).await?;
            size += revision.iter().map(weight).sum::<u64>();
        }
        let through = segment.header.through.min(plan.target);
        if through == plan.target || size >= bytes && through > from {
            return Ok(through);
        }
        made = made.max(through);
    }
    Err(ended(plan))
}

/// What etcd has made of it is what is archived, versions and leases included.
async fn compare(
    plan: &Plan<'_>,
    etcd: &mut impl Filled,
    walk: &mut Walk<'_>,
    (from, through): (i64, i64),
    last: &mut Last,
) -> Result<(), Error> {
    etcd.tell(from).await?;
    let mut got = VecDeque::new();
    while let Some(segment) = walk.next().await? {
        let known = |until: i64| {
            let until = segment
                .events
                .partition_point(|event| event.revision <= until);
            &segment.events[..until]
        };
        last.remember(known(from));
        for wanted in revisions(&segment, from, through).flatten() {
            while got.is_empty() {
                let told = etcd.told().await?;
                got.extend(told.events);
                if last.contradicts(&told.before) {
                    return Err(contradiction(plan, from));
                }
            }
            same(got.pop_front(), wanted)?;
        }
        last.remember(known(through));
        if segment.header.through >= through {
            return Ok(());
        }
    }
    Err(ended(plan))
}

/// The backup has another history; or a revision was changed after it was compared.
fn contradiction(plan: &Plan<'_>, revision: i64) -> Error {
    if revision == plan.base {
        return Refusal::History(revision).into();
    }
    Error::Differs(format!(
        "revision {revision} has changed since it was compared"
    ))
}

fn same(got: Option<Event>, wanted: &Event) -> Result<(), Error> {
    let plain = Event {
        at: 0,
        lease_seconds: 0,
        ..wanted.clone()
    };
    if got.is_some_and(|got| got == plain) {
        return Ok(());
    }
    Err(Error::Differs(format!(
        "a change of revision {} is another one than archived",
        wanted.revision
    )))
}

fn ended(plan: &Plan<'_>) -> Error {
    Error::Differs(format!(
        "the archive ended before revision {}, which it had just before",
        plan.target
    ))
}

fn weight(event: &Event) -> u64 {
    (event.key.len() + event.value.len() + CHANGE) as u64
}

/// The changes of each revision after `base`, up to `target`.
fn revisions(segment: &Segment, base: i64, target: i64) -> impl Iterator<Item = &[Event]> {
    let all = segment.events.chunk_by(|a, b| a.revision == b.revision);
    all.filter(move |of| {
        of.first()
            .is_some_and(|event| event.revision > base && event.revision <= target)
    })
}

#[cfg(test)]
mod tests;
