//! Merges and deletes old segments beside the writing: a bucket may take many seconds for that, and changes are
//! archived meanwhile.
//!
//! One writer stays one. What is merged and deleted here is older than what is written: 64 segments stay apart. It is
//! done after segments that this writer has stored, and ends with the writer, in the middle at any point. A writer that
//! has taken over meanwhile makes the same merged objects of the same segments, and what was deleted is in one of them,
//! or too old and below a full backup, which any writer would delete.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch::Sender;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::clock::now;
use super::name::Object;
use super::standing::Standing;
use super::store::{Archive, Inventory};
use crate::error::Error;

/// How long the revision of the newest full backup is believed.
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
    /// Is told when the archive begins later.
    pub(super) standing: Sender<Standing>,
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
        let mut base = None;
        while let Some(segment) = stored.recv().await {
            self.inventory.chain.push_back(segment);
            while let Ok(segment) = stored.try_recv() {
                self.inventory.chain.push_back(segment);
            }
            // Only space is at stake: it is tried again after the next segment.
            if let Err(error) = self.tidy(&mut base).await {
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

    async fn tidy(&mut self, base: &mut Option<(i64, Instant)>) -> Result<(), Error> {
        self.archive.merge(&mut self.inventory).await?;
        let Some(keep) = self.keep else {
            return Ok(());
        };
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let before = now().saturating_sub(keep);
        if !Archive::is_prunable(&self.inventory, before) {
            return Ok(());
        }
        let base = self.base(base).await?;
        let pruned = self.archive.prune(&mut self.inventory, before, base);
        pruned.await.map(|_begins| ())
    }

    /// Revision of the newest full backup. Without one nothing is deleted: what is there may yet be all there is.
    async fn base(&self, known: &mut Option<(i64, Instant)>) -> Result<i64, Error> {
        if let Some((base, at)) = *known
            && at.elapsed() < BELIEVED
        {
            return Ok(base);
        }
        let base = self.archive.base(&self.cluster_id).await?;
        let base = base.unwrap_or(i64::MIN);
        *known = Some((base, Instant::now()));
        Ok(base)
    }
}
