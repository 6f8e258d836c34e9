//! Archives: where they lie, segments as a writer stores them, and a writer of a real etcd's.

use std::path::Path;
use std::time::Duration;

use etcd_backup::archive::collect::{Collector, Tail};
use etcd_backup::archive::segment::Event;
use etcd_backup::archive::standing::Standing;
use etcd_backup::archive::store::Archive;
use etcd_backup::archive::write::{Write, write};
use etcd_backup::error::Error;
use etcd_backup::path::Folder;
use etcd_backup::repository::Repository;
use etcd_backup::seal::Keys;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Etcd;

pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The key that [`fill`] writes.
pub(crate) const KEY: &[u8] = b"a secret key";

pub(crate) fn place() -> Folder {
    Folder::read("pre/demo/shop-u/etcd/archive").unwrap()
}

pub(crate) fn archive(repository: &Repository) -> Archive {
    archive_with(repository, None)
}

/// One that is encrypted, when there are keys.
pub(crate) fn archive_with(repository: &Repository, keys: Option<&Keys>) -> Archive {
    Archive::new(repository.clone(), place(), keys.cloned())
}

/// The end of an archive that has nothing yet, and begins after a revision.
pub(crate) fn new_tail(after: i64) -> Tail {
    Tail::New {
        after,
        cluster_id: "c".into(),
        since: 0,
    }
}

/// Segments of one revision each, from revision 2 on.
pub(crate) async fn fill(archive: &Archive, count: i64) {
    fill_with(archive, count, |_| 0).await;
}

/// With values of these lengths.
pub(crate) async fn fill_with(archive: &Archive, count: i64, length: impl Fn(i64) -> usize) {
    fill_after(archive, new_tail(1), count, length).await;
}

/// After what is there.
pub(crate) async fn fill_after(
    archive: &Archive,
    tail: Tail,
    count: i64,
    length: impl Fn(i64) -> usize,
) {
    fill_by("w", archive, tail, count, length).await;
}

/// By a pod of this name, which notes nowhere for which Backup.
pub(crate) async fn fill_by(
    pod: &str,
    archive: &Archive,
    tail: Tail,
    count: i64,
    length: impl Fn(i64) -> usize,
) {
    let mut collector = Collector::new(pod, tail);
    for number in 1..=count {
        let event = Event {
            key: KEY.to_vec(),
            value: vec![7; length(number)],
            create_revision: 2,
            revision: number + 1,
            version: number,
            ..Event::default()
        };
        collector.event(event, number * 1000).unwrap();
        collector.confirm(number + 1, number * 1000).unwrap();
        store(archive, &mut collector, number * 1000).await;
    }
}

/// Stores what a collector has as a segment: twice, as after an answer that was lost.
pub(crate) async fn store(archive: &Archive, collector: &mut Collector, at: i64) {
    let (segment, bytes) = collector.close(at).unwrap();
    let sequence = segment.header.sequence;
    let bytes = archive.sealed(sequence, bytes).unwrap();
    for _ in 0..2 {
        archive.append(sequence, bytes.clone()).await.unwrap();
    }
}

/// What a writer of an archive is told: the URL of a member, its certificates, what the archive begins after, and the
/// writer's name.
pub(crate) fn settings((url, tls): (&str, &Path), after: i64, writer: &str) -> Write {
    Write {
        members: vec![url.to_owned()],
        tls: Some(tls.to_owned()),
        after,
        writer: writer.to_owned(),
        backup_uid: "uid".into(),
        keep: None,
        told: None,
    }
}

/// A writer that can be killed at any moment.
pub(crate) struct Writing {
    pub(crate) task: JoinHandle<Error>,
    pub(crate) standing: watch::Receiver<Standing>,
}

/// Writes what happens in `source` after a revision into the archive of a repository.
pub(crate) fn start(repository: &Repository, source: &Etcd, after: i64, name: &str) -> Writing {
    let member = (source.server.client_url(), source.server.certificates());
    begin(archive(repository), settings(member, after, name))
}

pub(crate) fn begin(archive: Archive, settings: Write) -> Writing {
    let (sender, standing) = watch::channel(Standing::default());
    let task = tokio::spawn(async move {
        let Err(error) = write(&archive, &settings, &sender).await;
        error
    });
    Writing { task, standing }
}

impl Writing {
    /// Waits until the repository has a revision.
    pub(crate) async fn reaches(&mut self, revision: i64) {
        let what = format!("revision {revision} is archived");
        self.is(&what, |known| known.through >= revision).await;
    }

    /// Waits until that is so.
    pub(crate) async fn is(&mut self, what: &str, is: impl FnMut(&Standing) -> bool) {
        let reached = timeout(LONG, self.standing.wait_for(is)).await;
        let ended = reached.unwrap_or_else(|_| panic!("not: {what}")).is_err();
        if ended {
            let error = (&mut self.task).await.unwrap();
            panic!("not: {what}: {error}");
        }
    }

    pub(crate) async fn kill(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}
