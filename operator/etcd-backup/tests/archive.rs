//! The continuous archive of a real etcd: a loaded source, a writer that is killed again and again, and restores of
//! random revisions, compared with what the source served. Needs `ETCD_BIN`; run with `-- --ignored`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bench::archives::{archive, place, start};
use bench::{Etcd, save};
use etcd_backup::archive::clock::now;
use etcd_backup::archive::collect::LAPSE;
use etcd_backup::archive::name::Object;
use etcd_backup::archive::replay::{Plan, Replay};
use etcd_backup::archive::search::{Refusal, Target};
use etcd_backup::archive::walk::Walk;
use etcd_backup::error::Error;
use etcd_backup::repository::Repository;
use etcd_backup::restore::{Restore, restore};
use etcd_backup::save::save as make;
use etcd_client::{Client, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp, WatchOptions};
use proptest::test_runner::{RngAlgorithm, TestRng};
use rand_like::Dice;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// Numbers from proptest's generator: the tests have no other.
mod rand_like {
    use proptest::prelude::Rng;
    use proptest::test_runner::TestRng;

    pub(crate) struct Dice(pub(crate) TestRng);

    impl Dice {
        pub(crate) fn below(&mut self, limit: u64) -> u64 {
            self.0.next_u64() % limit
        }
    }
}

fn dice() -> Dice {
    Dice(TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// Puts, deletes, ranges, transactions and leases, at random.
async fn act(client: &mut Client, leases: &[i64], dice: &mut Dice) {
    let key = format!("key-{}", dice.below(40));
    match dice.below(10) {
        0 => drop(client.delete(key, None).await.unwrap()),
        1 => {
            let range = DeleteOptions::new().with_range("key-2");
            client.delete("key-1", Some(range)).await.unwrap();
        }
        2 => {
            let other = format!("other-{}", dice.below(20));
            let operations = [
                TxnOp::put(other, "in a transaction", None),
                TxnOp::delete(key, None),
                TxnOp::put("both", "of it", None),
            ];
            client.txn(Txn::new().and_then(operations)).await.unwrap();
        }
        3 => {
            let lease = leases[dice.below(leases.len() as u64) as usize];
            let options = PutOptions::new().with_lease(lease);
            client
                .put(format!("leased-{key}"), "x", Some(options))
                .await
                .unwrap();
        }
        _ => drop(
            client
                .put(key, "v".repeat(dice.below(3000) as usize), None)
                .await
                .unwrap(),
        ),
    }
}

type State = BTreeMap<Vec<u8>, (Vec<u8>, i64, i64, i64, i64)>;

/// Everything at a revision: value, create and mod revision, version, lease.
async fn state(client: &mut Client, revision: i64) -> State {
    let options = GetOptions::new().with_all_keys().with_revision(revision);
    let got = client.get("", Some(options)).await.unwrap();
    let entry = |kv: &etcd_client::KeyValue| {
        let facts = (
            kv.create_revision(),
            kv.mod_revision(),
            kv.version(),
            kv.lease(),
        );
        (
            kv.key().to_vec(),
            (kv.value().to_vec(), facts.0, facts.1, facts.2, facts.3),
        )
    };
    got.kvs().iter().map(entry).collect()
}

fn restoration(volume: &Path, repository: &Repository, target: Target) -> Restore {
    Restore {
        replay: Some(Replay {
            archive: archive(repository),
            target,
        }),
        ..bench::restoration(volume)
    }
}

/// Restores; what the new cluster serves.
async fn restored(repository: &Repository, target: Target) -> (Etcd, i64) {
    let volume = tempfile::tempdir().unwrap();
    let plan = restoration(volume.path(), repository, target);
    Box::pin(restore(repository, &plan)).await.unwrap();
    let data = volume.path().join("data");
    assert!(!volume.path().join(".restore").exists());
    let restored = Etcd::over(volume, &data, "seed-0").await;
    let revision = restored.member.status().await.unwrap().revision;
    (restored, revision)
}

/// As `plan`, over a backup of the archive's own cluster.
async fn plan(replay: &Replay, base: i64) -> Result<Plan<'_>, Error> {
    let inventory = replay.archive.inventory().await?;
    let first = replay.archive.read(&inventory.chain[0].0).await?;
    let cluster = &first[0].0.header.cluster_id;
    etcd_backup::archive::replay::plan(replay, (base, cluster)).await
}

/// A source with a full backup, and its repository.
async fn source() -> (Etcd, Repository, TempDir, i64) {
    let mut source = Etcd::start().await;
    source.fill(20).await;
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let made = make(&repository, &source.member, &save(scratch.path(), "a"))
        .await
        .unwrap();
    (source, repository, folder, made.revision.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn random_revisions_of_a_loaded_run_are_restored_although_the_writer_was_killed_again_and_again()
 {
    let (mut source, repository, _folder, base) = Box::pin(source()).await;
    let mut dice = dice();
    let mut leases = Vec::new();
    for seconds in [600, 3600, 1_000_000] {
        leases.push(source.client.lease_grant(seconds, None).await.unwrap().id());
    }
    for round in 0..12 {
        let running = start(&repository, &source, base, &format!("writer-{round}"));
        let end = tokio::time::Instant::now() + Duration::from_millis(100 + dice.below(1500));
        while tokio::time::Instant::now() < end {
            act(&mut source.client, &leases, &mut dice).await;
        }
        running.kill().await;
        // What happens while nothing is archived is fetched afterwards.
        for _ in 0..dice.below(30) {
            act(&mut source.client, &leases, &mut dice).await;
        }
    }
    // A lease that ends takes its keys with it, in one revision.
    source.client.lease_revoke(leases[1]).await.unwrap();
    let last = source.member.status().await.unwrap().revision;
    let mut running = start(&repository, &source, base, "the-last");
    running.reaches(last).await;
    running.kill().await;

    // `ARCHIVE_REVISIONS=98` restores a hundred.
    let more = std::env::var("ARCHIVE_REVISIONS").ok();
    let more: u64 = more.and_then(|more| more.parse().ok()).unwrap_or(18);
    let mut targets: Vec<i64> = (0..more)
        .map(|_| base + dice.below((last - base) as u64) as i64)
        .collect();
    targets.extend([base, last]);
    for target in targets {
        let (mut copy, served) = Box::pin(restored(&repository, Target::Revision(target))).await;
        assert!(served > last + 900_000_000, "{served}");
        let wanted = state(&mut source.client, target).await;
        let got = state(&mut copy.client, 0).await;
        assert_eq!(
            got.keys().collect::<Vec<_>>(),
            wanted.keys().collect::<Vec<_>>(),
            "revision {target}"
        );
        assert_eq!(got, wanted, "revision {target}");
        copy.server.stop().await;
    }
    println!("{} revisions, {} of them restored", last - base, more + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn a_time_is_restored_and_one_that_the_archive_does_not_know_is_refused() {
    let (mut source, repository, _folder, base) = Box::pin(source()).await;
    let mut running = start(&repository, &source, base, "w");
    let mut noted = Vec::new();
    for number in 0..4 {
        let answer = source
            .client
            .put("clock", format!("{number}"), None)
            .await
            .unwrap();
        let revision = answer.header().unwrap().revision();
        running.reaches(revision).await;
        sleep(Duration::from_millis(300)).await;
        noted.push((revision, now()));
        sleep(Duration::from_millis(300)).await;
    }
    // Something later, so that the archive's end is past all of them.
    let answer = source.client.put("clock", "end", None).await.unwrap();
    running.reaches(answer.header().unwrap().revision()).await;
    let lag = running.standing.borrow().lag(tokio::time::Instant::now());
    assert!(lag < 2000, "the archive is {lag} ms behind");
    running.kill().await;

    let archive = archive(&repository);
    let replay = |target| Replay {
        archive: archive.clone(),
        target,
    };
    for (revision, at) in &noted {
        assert_eq!(
            plan(&replay(Target::Time(*at)), base).await.unwrap().target,
            *revision
        );
    }
    let (mut copy, _) = Box::pin(restored(&repository, Target::Time(noted[2].1))).await;
    assert_eq!(
        copy.client.get("clock", None).await.unwrap().kvs()[0].value(),
        b"2"
    );

    let refused = |target| {
        let replay = replay(target);
        async move {
            plan(&replay, base)
                .await
                .map(|plan| plan.target)
                .unwrap_err()
        }
    };
    let early = refused(Target::Time(noted[0].1 - 3_600_000)).await;
    assert!(
        matches!(early, Error::Refused(Refusal::Earlier { .. })),
        "{early}"
    );
    let late = refused(Target::Time(now() + 60_000)).await;
    assert!(
        matches!(late, Error::Refused(Refusal::Later { .. })),
        "{late}"
    );
    let before = refused(Target::Revision(base - 1)).await;
    assert!(
        matches!(before, Error::Refused(Refusal::Before { .. })),
        "{before}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn a_time_at_which_nothing_was_archived_is_refused_and_its_revisions_are_not() {
    let (mut source, repository, _folder, base) = Box::pin(source()).await;
    let mut running = start(&repository, &source, base, "w");
    let answer = source.client.put("clock", "before", None).await.unwrap();
    running.reaches(answer.header().unwrap().revision()).await;
    running.kill().await;
    // Longer than times may be guessed.
    sleep(Duration::from_millis(LAPSE as u64 / 2)).await;
    let missed = now();
    source.client.put("clock", "missed", None).await.unwrap();
    sleep(Duration::from_millis(LAPSE as u64)).await;
    let mut running = start(&repository, &source, base, "w2");
    let last = source.member.status().await.unwrap().revision;
    running.reaches(last).await;
    running.kill().await;
    let replay = |target| Replay {
        archive: archive(&repository),
        target,
    };
    let unknown = plan(&replay(Target::Time(missed)), base)
        .await
        .map(|plan| plan.target);
    let unknown = unknown.unwrap_err();
    assert!(
        matches!(unknown, Error::Refused(Refusal::Uncertain { .. })),
        "{unknown}"
    );
    assert!(
        unknown.to_string().contains(&format!("to {last}")),
        "{unknown}"
    );
    let known = replay(Target::Revision(last));
    assert_eq!(plan(&known, base).await.unwrap().target, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn a_compaction_that_passes_the_archive_is_a_gap_until_there_is_a_newer_backup() {
    let (mut source, repository, _folder, base) = Box::pin(source()).await;
    let mut running = start(&repository, &source, base, "w");
    let answer = source.client.put("before", "1", None).await.unwrap();
    let before = answer.header().unwrap().revision();
    running.reaches(before).await;
    running.kill().await;
    source.fill(10).await;
    source.client.delete("before", None).await.unwrap();
    let compacted = source.member.status().await.unwrap().revision;
    source.member.compact(compacted).await.unwrap();
    let answer = source.client.put("after", "1", None).await.unwrap();
    let after = answer.header().unwrap().revision();
    let mut running = start(&repository, &source, base, "w2");
    running.reaches(after).await;
    let gap = running.standing.borrow().gap.clone().unwrap();
    assert_eq!((gap.after, gap.until), (before, compacted));
    running.kill().await;

    let (mut copy, _) = Box::pin(restored(&repository, Target::Revision(before))).await;
    assert_eq!(
        copy.client.get("before", None).await.unwrap().kvs().len(),
        1
    );
    let volume = tempfile::tempdir().unwrap();
    let beyond = restoration(volume.path(), &repository, Target::Revision(after));
    let error = Box::pin(restore(&repository, &beyond)).await.unwrap_err();
    assert!(matches!(error, Error::Refused(Refusal::Gap(_))), "{error}");
    assert_eq!(
        std::fs::read_dir(volume.path()).unwrap().count(),
        0,
        "nothing was begun"
    );
    let replay = Replay {
        archive: archive(&repository),
        target: Target::Latest,
    };
    assert_eq!(plan(&replay, compacted).await.unwrap().target, after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn of_two_writers_one_continues_and_the_other_ends() {
    let (mut source, repository, _folder, base) = Box::pin(source()).await;
    let mut first = start(&repository, &source, base, "first");
    let answer = source.client.put("a", "1", None).await.unwrap();
    first.reaches(answer.header().unwrap().revision()).await;
    let second = start(&repository, &source, base, "second");
    let fenced = async {
        tokio::select! { error = first.task => error.unwrap(), error = second.task => error.unwrap() }
    };
    let load = async {
        loop {
            source.client.put("a", "2", None).await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    let error = tokio::select! {
        error = timeout(Duration::from_secs(60), fenced) => error.unwrap(),
        () = load => unreachable!(),
    };
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    assert!(
        error.to_string().contains("another writer continues"),
        "{error}"
    );
    let place = place();
    let owners = repository.list(&place, |name| name == "owner-uid").await;
    assert_eq!(owners.unwrap().len(), 1, "both write for one Backup");
    // What both have written is one chain.
    let archive = archive(&repository);
    let inventory = archive.inventory().await.unwrap();
    let mut walk = Walk::begin(&archive, &inventory, (base, None));
    while walk.next().await.unwrap().is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn what_was_spoiled_in_the_repository_is_found_before_anything_is_restored() {
    let (mut source, repository, folder, base) = Box::pin(source()).await;
    let mut running = start(&repository, &source, base, "w");
    let mut last = base;
    for number in 0..4 {
        let answer = source
            .client
            .put("k", format!("{number}"), None)
            .await
            .unwrap();
        last = answer.header().unwrap().revision();
        running.reaches(last).await;
    }
    running.kill().await;
    let path = folder
        .path()
        .join(archive(&repository).path(&Object::segment(1)).to_string());
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    // An older segment under a newer name, as a repository that returns old versions has it.
    let old = std::fs::read(path.with_file_name(Object::segment(0).name())).unwrap();
    for (name, bytes) in [
        ("cut", good[..good.len() / 2].to_vec()),
        ("changed", flipped),
        ("old", old),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let volume = tempfile::tempdir().unwrap();
        let wanted = restoration(volume.path(), &repository, Target::Revision(last));
        let error = Box::pin(restore(&repository, &wanted)).await.unwrap_err();
        assert!(matches!(error, Error::Archive { .. }), "{name}: {error}");
        assert_eq!(
            std::fs::read_dir(volume.path()).unwrap().count(),
            0,
            "{name}: nothing was begun"
        );
    }
    std::fs::remove_file(&path).unwrap();
    let replay = Replay {
        archive: archive(&repository),
        target: Target::Latest,
    };
    let error = plan(&replay, base).await.unwrap_err();
    assert!(
        error.to_string().contains("segment 1 is missing"),
        "{error}"
    );
    std::fs::write(&path, good).unwrap();
    assert_eq!(plan(&replay, base).await.unwrap().target, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn a_watcher_of_the_old_cluster_never_sees_an_older_state_after_a_restore_to_a_revision() {
    let (mut source, repository, _folder, base) = Box::pin(source()).await;
    let mut running = start(&repository, &source, base, "w");
    source.fill(5).await;
    let seen = source.member.status().await.unwrap().revision;
    running.reaches(seen).await;
    running.kill().await;
    let (mut copy, now) = Box::pin(restored(&repository, Target::Revision(base + 3))).await;
    assert!(now > seen + 900_000_000);
    let options = WatchOptions::new()
        .with_all_keys()
        .with_start_revision(seen + 1);
    let mut stream = copy.client.watch("", Some(options)).await.unwrap();
    let compacted = loop {
        let message = timeout(Duration::from_secs(10), stream.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(message.events().is_empty(), "events of the past");
        if message.compact_revision() > 0 {
            break message.compact_revision();
        }
    };
    assert!(compacted > seen);
}
