//! Needs an `etcd` in `ETCD_BIN`, with `etcdutl` beside it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};

use super::*;
use crate::archive::collect::{Collector, Tail};
use crate::archive::replay::{Replay, plan};
use crate::archive::search::Target;
use crate::archive::segment::Event;
use crate::archive::store::Archive;
use crate::path::Folder;
use crate::repository::Repository;

/// The shortest time that a lease of a private etcd has, in seconds.
const SHORTEST: i64 = 12;

fn programs() -> Programs {
    let etcd = std::env::var_os("ETCD_BIN").map(PathBuf::from);
    let etcd = etcd.expect("ETCD_BIN");
    Programs {
        etcdutl: etcd.with_file_name("etcdutl"),
        etcd,
    }
}

/// Two ports that were free just now.
fn ports() -> Ports {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = |listener: TcpListener| listener.local_addr().expect("an address").port();
    let [client, peer] = listeners.map(port);
    Ports { client, peer }
}

/// A snapshot of an etcd with one key, and its revision.
async fn snapshot(folder: &Path) -> (PathBuf, i64) {
    let (data, file) = (folder.join("source"), folder.join("snapshot.db"));
    let programs = programs();
    let server = programs.start(&data, "source", ports()).await;
    let server = server.expect("an etcd");
    let member = server.member().await.expect("a member");
    let put = member.client().put("before", "1", None).await;
    put.expect("written");
    let status = member.status().await.expect("a status");
    take(&member, &file).await.expect("a snapshot");
    server.stop().await;
    (file, status.revision)
}

/// An archive of one change after a revision, whose key has a short lease.
async fn archive(store: Arc<ThrottledStore<InMemory>>, after: i64) -> Archive {
    let tail = Tail::New {
        after,
        cluster_id: "c".into(),
        since: 0,
    };
    let mut collector = Collector::new("w", tail);
    let revision = after + 1;
    let event = Event {
        key: b"leased".to_vec(),
        value: b"1".to_vec(),
        lease: 77,
        lease_seconds: SHORTEST,
        create_revision: revision,
        revision,
        version: 1,
        ..Event::default()
    };
    collector.event(event, 1).expect("no hole");
    collector.confirm(revision, 1).expect("no hole");
    let (segment, bytes) = collector.close(1).expect("a segment");
    let folder = Folder::read("pre/demo/shop-u/etcd/archive").expect("a folder");
    let archive = Archive::new(Repository::over(store), folder, None);
    let sequence = segment.header.sequence;
    let written = archive.append(sequence, bytes.into()).await;
    written.expect("written");
    archive
}

/// Puts an archive over a snapshot while each read takes so long, and renews leases so often.
async fn replayed(takes: Duration, keep: Duration) -> Result<(), Error> {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, base) = Box::pin(snapshot(folder.path())).await;
    let store = ThrottledStore::new(InMemory::new(), ThrottleConfig::default());
    let store = Arc::new(store);
    let replay = Replay {
        archive: archive(Arc::clone(&store), base).await,
        target: Target::Latest,
    };
    let plan = plan(&replay, (base, "c")).await?;
    store.config_mut(|config| config.wait_get_per_call = takes);
    let changes = Changes {
        plan: Some(plan),
        admin: None,
        unlooked: false,
    };
    let scratch = folder.path().join("scratch");
    std::fs::create_dir(&scratch).expect("a folder");
    let by = &programs();
    let done = altered(&changes, (by, ports()), (&file, &scratch), keep);
    let done = Box::pin(done).await;
    let found = programs().status(&file).await.expect("a snapshot");
    assert_eq!(found.revision, base + i64::from(done.is_ok()));
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn a_lease_that_ends_before_the_snapshot_is_taken_is_an_error_and_one_that_is_renewed_is_not()
{
    // Between the grant and the comparison lies one read.
    let takes = Duration::from_secs(u64::try_from(SHORTEST).unwrap_or_default() + 6);
    let found = Box::pin(replayed(takes, Duration::from_secs(3600))).await;
    let found = found.expect_err("its key is gone").to_string();
    assert!(found.contains("a lease ended while it was made"), "{found}");
    let kept = Box::pin(replayed(takes, KEEP)).await;
    kept.expect("it is there");
}
