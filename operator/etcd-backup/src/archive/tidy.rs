//! Merges and deletes old segments beside the writing: a bucket may take many seconds for that, and changes are
//! archived meanwhile.
//!
//! One writer stays one. What is merged and deleted here is older than what is written: 64 segments stay apart. It is
//! done after segments that this writer has stored, and ends with the writer, in the middle at any point. A writer that
//! has taken over meanwhile makes the same merged objects of the same segments, and what was deleted is in one of them,
//! or too old and below a full backup, which any writer would delete.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch::{Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::name::Object;
use super::standing::Standing;
use super::store::{Archive, Inventory};
use crate::error::Error;

/// How long what the repository says of the newest full backup and of the time is believed.
const BELIEVED: Duration = Duration::from_secs(600);

/// The work beside a writer; it ends when this is dropped.
pub(super) struct Tidy {
    stored: UnboundedSender<(Object, u64)>,
    _task: JoinSet<()>,
}

/// What is tidied.
pub(super) struct Shelf {
    /// The archive.
    pub(super) archive: Archive,
    /// What it consists of.
    pub(super) inventory: Inventory,
    /// Identifier of the etcd cluster, hexadecimal.
    pub(super) cluster_id: String,
    /// What is older is deleted.
    pub(super) keep: Option<Duration>,
    /// Revision of the newest full backup that counts, where another process tells it.
    pub(super) told: Option<Receiver<Option<i64>>>,
    /// Milliseconds since 1970.
    pub(super) clock: fn() -> i64,
    /// Is told when the archive begins later.
    pub(super) standing: Sender<Standing>,
}

/// What the repository says.
#[derive(Clone, Copy)]
struct Said {
    at: Instant,
    /// Revision of the newest full backup. Without one nothing is deleted: what is there may yet be all there is.
    base: i64,
    /// By how many milliseconds the clock is ahead of the repository's: nothing is as old as it seems. A clock that is
    /// months ahead would have all but the end deleted.
    ahead: i64,
}

impl Tidy {
    /// Begins with the next segment that is stored.
    pub(super) fn start(shelf: Shelf) -> Self {
        let (stored, receiver) = unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(shelf.work(receiver));
        Tidy {
            stored,
            _task: task,
        }
    }

    /// A segment was stored.
    pub(super) fn stored(&self, segment: (Object, u64)) {
        if self.stored.send(segment).is_err() {
            eprintln!("old segments are not merged or deleted any more: restart the archive's pod");
        }
    }
}

impl Shelf {
    async fn work(mut self, mut stored: UnboundedReceiver<(Object, u64)>) {
        let mut said = None;
        while let Some(segment) = stored.recv().await {
            self.inventory.chain.push_back(segment);
            while let Ok(segment) = stored.try_recv() {
                self.inventory.chain.push_back(segment);
            }
            // Only space is at stake: it is tried again after the next segment.
            if let Err(error) = self.tidy(&mut said).await {
                eprintln!("old segments are not merged or deleted yet: {error}");
            }
            self.tell();
        }
    }

    /// Some may have been deleted before a failure.
    fn tell(&self) {
        let first = self.inventory.chain.front();
        let pruned = first.filter(|(object, _)| object.first > 0);
        let begins = pruned.and_then(|(object, _)| object.begins);
        let objects = self.inventory.objects();
        self.standing.send_modify(|standing| {
            standing.objects = objects;
            standing.begins = begins.or(standing.begins);
        });
    }

    async fn tidy(&mut self, said: &mut Option<Said>) -> Result<(), Error> {
        self.archive.merge(&mut self.inventory).await?;
        let Some(keep) = self.keep else {
            return Ok(());
        };
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let before = (self.clock)().saturating_sub(keep);
        if !Archive::is_prunable(&self.inventory, before) {
            return Ok(());
        }
        let Said { base, ahead, .. } = self.said(said).await?;
        let (before, base) = (before.saturating_sub(ahead), base.min(self.most()));
        let pruned = self.archive.prune(&mut self.inventory, before, base);
        pruned.await.map(|_begins| ())
    }

    /// No full backup above this revision counts: it may be of a Backup that is gone, or has failed.
    fn most(&self) -> i64 {
        let told = self.told.as_ref().map(|told| *told.borrow());
        told.map_or(i64::MAX, |told| told.unwrap_or(i64::MIN))
    }

    async fn said(&self, known: &mut Option<Said>) -> Result<Said, Error> {
        if let Some(said) = *known
            && said.at.elapsed() < BELIEVED
        {
            return Ok(said);
        }
        let base = self.archive.base(&self.cluster_id, self.most()).await?;
        // It has just been stored.
        let dated = self.archive.dated(&self.inventory).await?;
        let ahead = dated.map_or(i64::MAX, |dated| {
            (self.clock)().saturating_sub(dated).max(0)
        });
        let said = Said {
            at: Instant::now(),
            base: base.unwrap_or(i64::MIN),
            ahead,
        };
        *known = Some(said);
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::archive::clock::now;
    use crate::archive::collect::{Collector, Tail};
    use crate::archive::segment::Event;
    use crate::archive::store::MERGED;
    use crate::manifest::tests::manifest;
    use crate::path::Folder;
    use crate::repository::Repository;

    const HOUR: i64 = 3_600_000;

    /// Revision of the full backup: all of the first merged object's changes are in it.
    const FULL: i64 = 1 + MERGED as i64;

    /// An archive of some segments, all of which have come at a time, beside a full backup.
    async fn shelf(store: Arc<dyn ObjectStore>, at: i64, clock: fn() -> i64) -> Shelf {
        let repository = Repository::over(store);
        let full = Folder::read("demo/shop-u/etcd/full").expect("a path");
        let mut made = manifest();
        made.revision = Some(FULL);
        let snapshot = full.path().clone().join(made.object.as_str());
        for (object, content) in [
            (snapshot, vec![0; 7]),
            (full.manifest(), made.write().expect("json")),
        ] {
            let written = repository.create(&object, content).await;
            written.expect("it is written");
        }
        let place = Folder::read("demo/shop-u/etcd/log").expect("a path");
        let archive = Archive::new(repository, place, None);
        let (after, cluster_id) = (1, made.cluster_id);
        let tail = Tail::New {
            after,
            cluster_id: cluster_id.clone(),
            since: at,
        };
        let mut collector = Collector::new("w", tail);
        for revision in 2..(2 * MERGED + 80) as i64 {
            let event = Event {
                key: b"k".to_vec(),
                revision,
                ..Event::default()
            };
            collector.event(event, at).expect("no hole");
            collector.confirm(revision, at).expect("no hole");
            let (segment, bytes) = collector.close(at).expect("a segment");
            let stored = archive.append(segment.header.sequence, bytes.into());
            stored.await.expect("it is stored");
        }
        let inventory = archive.inventory().await.expect("a list");
        Shelf {
            archive,
            inventory,
            cluster_id,
            keep: Some(Duration::from_secs(3600)),
            told: None,
            clock,
            standing: Sender::new(Standing::default()),
        }
    }

    /// Number of the first segment that is left.
    async fn first(mut shelf: Shelf) -> u64 {
        let mut said = None;
        for _ in 0..3 {
            shelf.tidy(&mut said).await.expect("it is tidied");
        }
        shelf.inventory.chain[0].0.first
    }

    #[tokio::test]
    async fn a_clock_that_is_months_ahead_makes_nothing_old() {
        let ahead: fn() -> i64 = || now() + 90 * 24 * HOUR;
        let store = || Arc::new(InMemory::new());
        // Whether or not the archive was written by it.
        for at in [now(), ahead()] {
            assert_eq!(first(shelf(store(), at, ahead).await).await, 0, "{at}");
        }
        let old = first(shelf(store(), now() - 2 * HOUR, now).await).await;
        assert_eq!(old, MERGED as u64);
    }

    #[tokio::test]
    async fn a_full_backup_that_the_operator_does_not_count_makes_nothing_superfluous() {
        for (told, left) in [
            (None, 0),
            (Some(-1), 0),
            (Some(FULL - 1), 0),
            (Some(FULL), MERGED as u64),
        ] {
            let mut shelf = shelf(Arc::new(InMemory::new()), now() - 2 * HOUR, now).await;
            let (_tells, receiver) = tokio::sync::watch::channel(told);
            shelf.told = Some(receiver);
            assert_eq!(first(shelf).await, left, "{told:?}");
        }
    }

    #[tokio::test]
    async fn a_full_backup_whose_snapshot_is_lost_makes_nothing_superfluous() {
        let store = Arc::new(InMemory::new());
        let shelf = shelf(Arc::<InMemory>::clone(&store), now() - 2 * HOUR, now).await;
        let snapshot = format!("demo/shop-u/etcd/full/{}", manifest().object);
        store.delete(&snapshot.into()).await.expect("it is deleted");
        assert_eq!(first(shelf).await, 0);
    }
}
