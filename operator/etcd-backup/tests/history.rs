//! An archive and an etcd, or a backup, of other histories: a cluster that was set back, and another cluster.
//! Needs `ETCD_BIN`, with `etcdutl` beside it; run with `-- --ignored`.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench::archives::{self, LONG, Writing, archive};
use bench::{Etcd, save};
use etcd_backup::archive::clock::now;
use etcd_backup::archive::replay::Replay;
use etcd_backup::archive::search::{Refusal, Target};
use etcd_backup::archive::standing::Standing;
use etcd_backup::error::Error;
use etcd_backup::path::Folder;
use etcd_backup::repository::Repository;
use etcd_backup::restore::{Restore, restore};
use etcd_backup::save::save as make;
use tempfile::TempDir;
use tokio::time::timeout;

fn start(repository: &Repository, source: &Etcd, after: i64) -> Writing {
    let name = format!("after-{after}-{}", now());
    archives::start(repository, source, after, &name)
}

async fn revision(source: &Etcd) -> i64 {
    source.member.status().await.unwrap().revision
}

fn copied(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(done.unwrap().success());
}

fn restoration(volume: &Path, attempt: &str, repository: &Repository, target: Target) -> Restore {
    let mut wanted = bench::restoration(volume);
    if attempt != "a" {
        wanted.folder = Folder::read(&format!("pre/demo/shop-u/etcd/{attempt}")).unwrap();
    }
    wanted.replay = Some(Replay {
        archive: archive(repository),
        target,
    });
    wanted
}

/// An etcd over a copy of `data`.
async fn over(data: &Path) -> Etcd {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("data");
    copied(data, &own);
    Etcd::over(dir, &own, "source").await
}

/// A repository with a backup, and an archive of five writes after it; `data` is that of the backup's moment.
struct Lost {
    repository: Repository,
    base: i64,
    data: PathBuf,
    dirs: [TempDir; 3],
}

impl Lost {
    async fn after_five_writes() -> Self {
        let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let [folder, scratch, kept] = &dirs;
        let repository = Repository::folder(folder.path()).unwrap();
        let data = kept.path().join("kept");
        let mut source = Etcd::start().await;
        source.fill(10).await;
        let made = make(&repository, &source.member, &save(scratch.path(), "a")).await;
        let base = made.unwrap().revision.unwrap();
        let directory = source.server.certificates().parent().unwrap().to_owned();
        source.server.stop().await;
        copied(&directory, &data);
        let mut source = over(&data).await;
        let mut writer = start(&repository, &source, base);
        for number in 0..5 {
            let value = format!("lost-{number}");
            source.client.put("k", value, None).await.unwrap();
        }
        let archived = revision(&source).await;
        writer
            .is("all is archived", |known| known.through == archived)
            .await;
        writer.kill().await;
        source.server.stop().await;
        Lost {
            repository,
            base,
            data,
            dirs,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn an_archive_ends_over_a_cluster_that_was_set_back_and_is_never_said_to_be_in_step() {
    let lost = Box::pin(Lost::after_five_writes()).await;
    // The same cluster without them.
    let mut source = over(&lost.data).await;
    source.client.put("k", "new-0", None).await.unwrap();
    let mut writer = start(&lost.repository, &source, lost.base);
    let told = |known: &Standing| {
        let why = known.failure.as_deref().unwrap_or_default();
        why.starts_with("the member has revision")
    };
    writer.is("it says that it is ahead", told).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let lag = writer.standing.borrow().lag(tokio::time::Instant::now());
    assert!(lag >= 2000, "it claims to be in step: {lag} ms behind");
    for number in 1..8 {
        let value = format!("new-{number}");
        source.client.put("k", value, None).await.unwrap();
    }
    let ended = timeout(LONG, writer.task).await.expect("it ends").unwrap();
    let ended = ended.to_string();
    assert!(ended.contains("another one than the archive's"), "{ended}");
    // One that begins now finds out, too; and what was before is restored.
    let writer = start(&lost.repository, &source, lost.base);
    let ended = timeout(LONG, writer.task).await.expect("it ends").unwrap();
    let ended = ended.to_string();
    assert!(ended.contains("Make another full Backup"), "{ended}");
    let volume = tempfile::tempdir().unwrap();
    let plan = restoration(volume.path(), "a", &lost.repository, Target::Latest);
    Box::pin(restore(&lost.repository, &plan)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn an_archive_is_not_put_over_a_backup_of_another_history() {
    let lost = Box::pin(Lost::after_five_writes()).await;
    let mut source = over(&lost.data).await;
    source.client.put("k", "another", None).await.unwrap();
    let mut second = save(lost.dirs[1].path(), "b");
    second.folder = Folder::read("pre/demo/shop-u/etcd/second").unwrap();
    second.source.backup_uid = "second".into();
    let made = make(&lost.repository, &source.member, &second).await;
    assert_eq!(made.unwrap().revision, Some(lost.base + 1));
    let volume = tempfile::tempdir().unwrap();
    let plan = restoration(volume.path(), "second", &lost.repository, Target::Latest);
    let error = Box::pin(restore(&lost.repository, &plan))
        .await
        .unwrap_err();
    let history = matches!(error, Error::Refused(Refusal::History(_)));
    assert!(history, "{error}");
    assert!(!volume.path().join("data").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn an_archive_of_another_cluster_is_not_put_over_a_backup() {
    let (folder, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let repository = Repository::folder(folder.path()).unwrap();
    let mut backed = Etcd::start().await;
    backed.fill(5).await;
    let made = make(&repository, &backed.member, &save(scratch.path(), "a")).await;
    let base = made.unwrap().revision.unwrap();
    let mut archived = Etcd::start_with(&["--initial-cluster-token=another"]).await;
    archived.fill(5).await;
    assert_eq!(revision(&archived).await, base);
    let mut writer = start(&repository, &archived, base);
    archived.client.put("k", "of another", None).await.unwrap();
    writer
        .is("it is archived", |known| known.through > base)
        .await;
    writer.kill().await;
    let volume = tempfile::tempdir().unwrap();
    let plan = restoration(volume.path(), "a", &repository, Target::Latest);
    let error = Box::pin(restore(&repository, &plan)).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused(Refusal::Cluster(..))),
        "{error}"
    );
    assert_eq!(
        std::fs::read_dir(volume.path()).unwrap().count(),
        0,
        "nothing was begun"
    );
}
