//! An archive whose repository refuses single deletions, and which is merged and pruned. No etcd takes part.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bench::archives::{archive, fill, fill_after, new_tail, place, store};
use bench::troubled::{self, Trouble};
use etcd_backup::archive::collect::{Collector, Tail};
use etcd_backup::archive::name::Object;
use etcd_backup::archive::replay::{Replay, plan};
use etcd_backup::archive::search::Target;
use etcd_backup::archive::segment::{Event, Link};
use etcd_backup::archive::store::{Archive, MERGED};
use etcd_backup::archive::walk::Walk;
use etcd_backup::repository::Repository;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

fn over(store: impl ObjectStore) -> Archive {
    archive(&Repository::over(Arc::new(store)))
}

#[tokio::test]
async fn an_archive_is_read_whichever_deletion_fails_while_it_is_merged_and_pruned() {
    let all = InMemory::new();
    // Three objects of merged segments; two of them are pruned.
    let count = 3 * MERGED as i64 + 232;
    fill(&over(all.clone()), count).await;
    let deletions = 3 * MERGED + 2;
    let edges = [1, MERGED - 1, MERGED, 2 * MERGED, deletions - 2, deletions];
    for fails in (0..deletions).step_by(13).chain(edges) {
        let trouble = Trouble::Undeleted { after: fails };
        let (repository, troubles) = troubled::repository(all.fork(), trouble);
        let archive = archive(&repository);
        let mut inventory = archive.inventory().await.unwrap();
        // As a writer does after each segment.
        for _ in 0..9 {
            if archive.merge(&mut inventory).await.is_ok() {
                let _again = archive.prune(&mut inventory, i64::MAX, i64::MAX).await;
            }
            let found = archive.inventory().await;
            let found = found.unwrap_or_else(|error| panic!("deletion {fails}: {error}"));
            assert_eq!(found.chain, inventory.chain, "deletion {fails}");
        }
        assert_eq!(troubles.came.load(Ordering::SeqCst), fails < deletions);
        let found = archive.inventory().await.unwrap();
        assert_eq!(found.covered, [], "deletion {fails}: nothing is left over");
        assert_eq!(found.chain[0].0.first, 2 * MERGED as u64);
        let mut walk = Walk::begin(&archive, &found, (i64::MAX, None));
        let mut through = 0;
        while let Some(segment) = walk.next().await.unwrap() {
            through = segment.header.through;
        }
        assert_eq!(through, count + 1, "deletion {fails}");
    }
}

#[tokio::test]
async fn what_an_earlier_operator_left_over_does_not_end_an_archive() {
    let objects = InMemory::new();
    let archive = over(objects.clone());
    fill(&archive, 3 * MERGED as i64 + 100).await;
    let left = archive.path(&Object::segment(101));
    let kept = objects.get(&left).await.unwrap().bytes().await.unwrap();
    let mut inventory = archive.inventory().await.unwrap();
    for _ in 0..9 {
        archive.merge(&mut inventory).await.unwrap();
    }
    let pruned = archive.prune(&mut inventory, i64::MAX, i64::MAX).await;
    assert!(pruned.unwrap().is_some());
    objects.put(&left, kept.into()).await.unwrap();
    let mut found = archive.inventory().await.unwrap();
    assert_eq!(found.chain, inventory.chain);
    assert_eq!(found.covered, [Object::segment(101)]);
    archive.merge(&mut found).await.unwrap();
    assert!(objects.head(&left).await.is_err(), "it is deleted");
}

/// Puts objects of merged segments into an archive's folder that nothing reads, one segment each, before segment `to`.
async fn crowd(objects: &InMemory, archive: &Archive, to: u64) {
    for number in 0..to {
        let object = Object {
            first: number,
            last: number,
            begins: Some((1, 0)),
        };
        let path = archive.path(&object);
        objects.put(&path, PutPayload::new()).await.unwrap();
    }
}

#[tokio::test]
async fn an_archive_of_more_than_300_000_objects_is_restored_and_pruned() {
    const MANY: u64 = 300_000;
    let objects = InMemory::new();
    let archive = over(objects.clone());
    crowd(&objects, &archive, MANY).await;
    let tail = Tail::Link(Link {
        sequence: MANY - 1,
        hash: "h".into(),
        through: 1,
        until: 0,
        confirmed: None,
        cluster_id: "c".into(),
    });
    fill_after(&archive, tail, MERGED as i64 + 70, |_| 0).await;
    let mut inventory = archive.inventory().await.unwrap();
    assert!(inventory.objects() > MANY as usize);
    archive.merge(&mut inventory).await.unwrap();
    let replay = Replay {
        archive: archive.clone(),
        target: Target::Latest,
    };
    let found = plan(&replay, (9, "c")).await.map(|plan| plan.target);
    assert_eq!(found.unwrap(), MERGED as i64 + 71);
    let pruned = archive.prune(&mut inventory, 1, i64::MAX).await.unwrap();
    assert_eq!(pruned, Some((1, 0)));
    assert_eq!(inventory.objects(), 71);
    let left = archive.inventory().await.unwrap();
    assert_eq!(left.chain, inventory.chain);
}

#[tokio::test]
async fn more_names_than_memory_holds_are_not_listed() {
    let repository = Repository::over(Arc::new(InMemory::new()));
    fill(&archive(&repository), 20).await;
    for (most, read) in [(19, false), (20, true)] {
        let names = repository.clone().with_names(most).names(&place()).await;
        assert_eq!(names.is_ok(), read, "{most}");
        if let Err(error) = names {
            let text = error.to_string();
            assert!(text.contains("more than 19 objects"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_time_is_found_in_the_first_of_several_objects_that_begin_after_the_same_revision() {
    let archive = over(InMemory::new());
    // Revision 7, and nothing for a long time.
    let mut collector = Collector::new("w", new_tail(6));
    let event = Event {
        revision: 7,
        key: b"k".to_vec(),
        version: 1,
        ..Event::default()
    };
    collector.event(event, 1).unwrap();
    for second in 1..=4 * MERGED as i64 + 70 {
        collector.confirm(7, second * 1000).unwrap();
        store(&archive, &mut collector, second * 1000).await;
    }
    let mut inventory = archive.inventory().await.unwrap();
    for _ in 0..9 {
        archive.merge(&mut inventory).await.unwrap();
    }
    let begins: Vec<_> = inventory
        .chain
        .iter()
        .take(4)
        .map(|(object, _)| object.begins)
        .collect();
    let idle = |number: i64| Some((7, number * MERGED as i64 * 1000));
    assert_eq!(begins, [Some((6, 0)), idle(1), idle(2), idle(3)]);
    // Also in the first segment of an object.
    for seconds in [2, 256, 300, 600, 768, 900, 1090] {
        let replay = Replay {
            archive: archive.clone(),
            target: Target::Time(seconds * 1000 + 500),
        };
        let found = plan(&replay, (7, "c")).await.map(|plan| plan.target);
        assert_eq!(found.unwrap(), 7, "{seconds}");
    }
}
