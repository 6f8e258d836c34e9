//! Portions against a pretended etcd, and archives that are merged and pruned under them.

use std::sync::Arc;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::*;
use crate::archive::collect::{Collector, Tail};
use crate::archive::name::Object;
use crate::archive::replay::{Replay, plan};
use crate::archive::search::Target;
use crate::archive::store::{Archive, Inventory, MERGED};
use crate::path::Folder;
use crate::repository::Repository;

/// Bytes of a value.
const VALUE: usize = 1000;

/// The changes of a revision, as etcd has them.
fn changes(revision: i64) -> Vec<Event> {
    let change = |number: u8| Event {
        key: vec![b'k', number],
        value: vec![number; VALUE],
        revision,
        version: revision,
        ..Event::default()
    };
    (0..=(revision % 2) as u8).map(change).collect()
}

/// An archive that begins after revision 1, with a segment for each that follows.
async fn archive(count: i64) -> Archive {
    archive_in(InMemory::new(), count).await
}

async fn archive_in(store: InMemory, count: i64) -> Archive {
    let repository = Repository::over(Arc::new(store));
    let folder = Folder::read("pre/demo/shop-u/etcd/archive").expect("a folder");
    let archive = Archive::new(repository, folder, None);
    let tail = Tail::New {
        after: 1,
        cluster_id: "c".into(),
        since: 0,
    };
    let mut collector = Collector::new("w", tail);
    for revision in 2..2 + count {
        let now = revision * 1000;
        for change in changes(revision) {
            collector.event(change, now).expect("no hole");
        }
        collector.confirm(revision, now).expect("no hole");
        let (segment, bytes) = collector.close(now).expect("a segment");
        let sequence = segment.header.sequence;
        let written = archive.append(sequence, bytes.into()).await;
        written.expect("written");
    }
    archive
}

/// The writer of an archive, which merges all it can and deletes what is old when a revision is replayed.
struct Busy {
    archive: Archive,
    inventory: Inventory,
    at: i64,
}

impl Busy {
    async fn on(archive: &Archive, at: i64) -> Self {
        let inventory = archive.inventory().await.expect("an archive");
        Busy {
            archive: archive.clone(),
            inventory,
            at,
        }
    }

    async fn tidy(&mut self) {
        for _ in 0..4 {
            let merged = self.archive.merge(&mut self.inventory).await;
            merged.expect("merged");
        }
        let all = (i64::MAX, i64::MAX);
        let pruned = self.archive.prune(&mut self.inventory, all.0, all.1).await;
        pruned.expect("pruned");
    }
}

/// An etcd that has a backup.
#[derive(Default)]
struct Etcd {
    events: Vec<Event>,
    told: usize,
    after: i64,
    compacted: Vec<i64>,
    /// Most bytes that it had at a time.
    most: u64,
    /// A revision that it makes something else of.
    spoils: Option<i64>,
    meanwhile: Option<Busy>,
}

impl Filled for Etcd {
    async fn make(&mut self, revision: &[Event]) -> Result<(), Error> {
        let number = revision[0].revision;
        for event in revision {
            let mut made = Event {
                at: 0,
                ..event.clone()
            };
            if self.spoils == Some(number) {
                made.version += 1;
            }
            self.events.push(made);
        }
        let bytes = self.events.iter().map(weight).sum();
        self.most = self.most.max(bytes);
        if let Some(busy) = self.meanwhile.as_mut().filter(|busy| busy.at == number) {
            Box::pin(busy.tidy()).await;
        }
        Ok(())
    }

    async fn tell(&mut self, after: i64) -> Result<(), Error> {
        (self.told, self.after) = (0, after);
        Ok(())
    }

    async fn told(&mut self) -> Result<Told, Error> {
        let events = self.events.iter().skip(self.told).take(5).cloned();
        let events: Vec<_> = events.collect();
        self.told += events.len();
        assert!(!events.is_empty(), "more is asked for than there is");
        let (events, before) = events
            .into_iter()
            .filter(|event| event.revision >= self.after)
            .partition(|event| event.revision > self.after);
        Ok(Told { before, events })
    }

    async fn compact(&mut self, revision: i64) -> Result<(), Error> {
        self.compacted.push(revision);
        self.events.retain(|event| event.revision > revision);
        Ok(())
    }
}

fn latest(archive: &Archive) -> Replay {
    Replay {
        archive: archive.clone(),
        target: Target::Latest,
    }
}

#[tokio::test]
async fn a_portion_is_compared_and_compacted_before_the_next_one_is_replayed() {
    let archive = archive(60).await;
    let replay = latest(&archive);
    let plan = plan(&replay, (5, "c")).await.expect("a plan");
    assert_eq!(plan.target, 61);
    let portion = 10 * VALUE as u64;
    let mut etcd = Etcd::default();
    let done = portions(&plan, &mut etcd, portion).await;
    done.expect("it is what is archived");
    let compacted = &etcd.compacted;
    assert!(compacted.len() >= 6, "{compacted:?}");
    assert!(compacted.is_sorted() && compacted.iter().all(|at| *at < 61));
    assert!(etcd.most < 2 * portion, "{} bytes at a time", etcd.most);
    let last = compacted.last().expect("one");
    let left: Vec<_> = (last + 1..=61).flat_map(changes).collect();
    assert_eq!(etcd.events, left);
}

#[tokio::test]
async fn a_difference_in_any_portion_is_found() {
    let archive = archive(60).await;
    let replay = latest(&archive);
    let plan = plan(&replay, (5, "c")).await.expect("a plan");
    for (spoils, before) in [(6, 0), (20, 1), (61, 5)] {
        let mut etcd = Etcd {
            spoils: Some(spoils),
            ..Etcd::default()
        };
        let found = portions(&plan, &mut etcd, 10 * VALUE as u64).await;
        let found = found.expect_err("it differs").to_string();
        let text = format!("a change of revision {spoils} is another one than archived");
        assert!(found.contains(&text), "{found}");
        assert!(etcd.compacted.len() >= before, "{spoils}");
        assert!(etcd.compacted.iter().all(|at| *at < spoils), "{spoils}");
    }
}

#[tokio::test]
async fn a_backup_of_another_history_is_told_by_its_last_revision() {
    let archive = archive(20).await;
    let replay = latest(&archive);
    let plan = plan(&replay, (5, "c")).await.expect("a plan");
    let over = async |events: Vec<Event>| {
        let mut etcd = Etcd {
            events,
            ..Etcd::default()
        };
        portions(&plan, &mut etcd, VALUE as u64).await
    };
    over(changes(5)).await.expect("its own");
    let mut other = changes(5);
    other[0].value = b"another".to_vec();
    let found = over(other).await.expect_err("another");
    let history = matches!(found, Error::Refused(Refusal::History(5)));
    assert!(history, "{found}");
}

#[tokio::test]
async fn an_archive_is_replayed_although_its_writer_merges_and_deletes_meanwhile() {
    let count = 2 * MERGED as i64 + 80;
    let target = count + 1;
    // The first of two merged objects is deleted; the backup's revision is in the second.
    let base = MERGED as i64 + 20;
    for at in [0, base + 1, base + 150, target] {
        let archive = archive(count).await;
        let replay = latest(&archive);
        let plan = plan(&replay, (base, "c")).await.expect("a plan");
        let mut busy = Busy::on(&archive, at).await;
        if at == 0 {
            busy.tidy().await;
        }
        let mut etcd = Etcd {
            meanwhile: Some(busy),
            ..Etcd::default()
        };
        let done = portions(&plan, &mut etcd, u64::MAX).await;
        done.unwrap_or_else(|error| panic!("at {at}: {error}"));
        let all: Vec<_> = (base + 1..=target).flat_map(changes).collect();
        assert_eq!(etcd.events, all, "at {at}");
        let left = archive.inventory().await.expect("an archive");
        assert_eq!(
            left.chain[0].0.first, MERGED as u64,
            "at {at}: it is tidied"
        );
    }
}

#[tokio::test]
async fn what_is_deleted_before_it_is_replayed_is_named() {
    let archive = archive(2 * MERGED as i64 + 80).await;
    let replay = latest(&archive);
    let plan = plan(&replay, (5, "c")).await.expect("a plan");
    Busy::on(&archive, 0).await.tidy().await;
    let found = portions(&plan, &mut Etcd::default(), u64::MAX).await;
    let found = found.expect_err("it is gone");
    let begins = matches!(
        found,
        Error::Refused(Refusal::Begins {
            begins: 257,
            base: 5
        })
    );
    assert!(begins, "{found}");
    let told = found.to_string();
    let pruned = told.contains("pruned by the archive's retentionPeriod");
    assert!(pruned && told.contains("Use a newer backup"), "{told}");
}

#[tokio::test]
async fn a_hole_that_appears_meanwhile_is_not_passed_over() {
    for (gone, text) in [(7, "segment 7 is missing"), (19, "failed to read")] {
        let store = InMemory::new();
        let archive = archive_in(store.clone(), 20).await;
        let replay = latest(&archive);
        let plan = plan(&replay, (5, "c")).await.expect("a plan");
        let object = archive.path(&Object::segment(gone));
        store.delete(&object).await.expect("deleted");
        let found = portions(&plan, &mut Etcd::default(), u64::MAX).await;
        let found = found.expect_err("it is gone").to_string();
        assert!(found.contains(text), "{found}");
    }
}
