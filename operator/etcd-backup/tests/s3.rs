//! The repository in a bucket of a real S3 server (s3s over a folder): parts, conditions, credentials, errors.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use etcd_backup::archive::collect::{Collector, Tail};
use etcd_backup::archive::segment::Event;
use etcd_backup::archive::store::Archive;
use etcd_backup::digest::Digests;
use etcd_backup::error::Error;
use etcd_backup::path::Folder;
use etcd_backup::repository::{Repository, Snapshot};
use etcd_backup::s3::Bucket;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::net::TcpListener;

struct Server {
    root: TempDir,
    credentials: TempDir,
    endpoint: String,
    /// Connections that were made to it.
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let (root, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(root.path().join("bucket")).unwrap();
        secrets(credentials.path(), "me", "hidden");
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single("me", "hidden"));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let service = service.clone();
                tokio::spawn(async move {
                    let builder = Builder::new(TokioExecutor::new());
                    let _ended = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Server {
            root,
            credentials,
            endpoint,
            connections,
        }
    }

    fn bucket(&self) -> Bucket {
        Bucket {
            bucket: "bucket".into(),
            endpoint: Some(self.endpoint.clone()),
            region: None,
            virtual_hosted: false,
            credentials: self.credentials.path().to_owned(),
        }
    }

    fn open(&self) -> Repository {
        self.bucket().open().unwrap()
    }
}

fn secrets(folder: &Path, key: &str, secret: &str) {
    std::fs::write(folder.join("accessKeyId"), key).unwrap();
    std::fs::write(folder.join("secretAccessKey"), secret).unwrap();
}

fn folder() -> Folder {
    Folder::read("pre/demo/shop-u/etcd/b").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_many_parts_is_read_back_as_it_was_written() {
    let server = Server::start().await;
    let repository = server.open();
    let object = folder().snapshot("a");
    let mut upload = repository.begin(&object).await.unwrap();
    let mut digests = Digests::default();
    for number in 0_u32..20 {
        let piece = number.to_le_bytes().repeat(256 * 1024);
        digests.update(&piece);
        upload.write(&piece).await.unwrap();
    }
    // Nothing is there until all of it is.
    assert_eq!(repository.list(&folder(), |_| true).await.unwrap(), []);
    upload.finish().await.unwrap();
    let sum = digests.sum();
    assert_eq!(sum.bytes, 20 * 1024 * 1024);
    let file = server.credentials.path().join("read");
    let expected = Snapshot {
        object: "snapshot-a.db",
        bytes: sum.bytes,
        sha256: &sum.sha256,
        keys: None,
    };
    repository
        .fetch_snapshot(&folder(), &expected, &file)
        .await
        .unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().len(), sum.bytes);

    // The server keeps objects as files: one that was cut is found out.
    let kept = server.root.path().join("bucket").join(object.to_string());
    let bytes = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, &bytes[..bytes.len() - 1]).unwrap();
    let error = repository
        .fetch_snapshot(&folder(), &expected, &file)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Lying { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_given_up_leaves_no_object() {
    let server = Server::start().await;
    let repository = server.open();
    let mut upload = repository.begin(&folder().snapshot("a")).await.unwrap();
    upload.write(&vec![1; 10 * 1024 * 1024]).await.unwrap();
    upload.abort().await;
    assert_eq!(repository.list(&folder(), |_| true).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_of_a_manifest_one_wins() {
    let server = Server::start().await;
    let object = folder().manifest();
    server
        .open()
        .create(&object, b"one".to_vec())
        .await
        .unwrap();
    let error = server
        .open()
        .create(&object, b"two".to_vec())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Taken(_)), "{error}");
    assert!(error.to_string().contains("another pathPrefix"), "{error}");

    // At the same moment: this server looks and writes in two steps, so only a folder can tell.
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (
        Repository::folder(place.path()).unwrap(),
        Repository::folder(place.path()).unwrap(),
    );
    let (first, second) = tokio::join!(
        one.create(&object, b"one".to_vec()),
        two.create(&object, b"two".to_vec())
    );
    let lost = [first, second]
        .into_iter()
        .filter_map(Result::err)
        .collect::<Vec<_>>();
    assert!(matches!(lost.as_slice(), [Error::Taken(_)]), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_leaves_nothing_and_a_wrong_credential_says_what_to_do() {
    let server = Server::start().await;
    server.open().probe(&folder()).await.unwrap();
    assert_eq!(server.open().list(&folder(), |_| true).await.unwrap(), []);
    secrets(server.credentials.path(), "me", "wrong-secret");
    let error = server
        .open()
        .probe(&folder())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("probe") && error.contains("check the credential"),
        "{error}"
    );
    assert!(!error.contains("wrong-secret"), "{error}");
    assert!(server.connections.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_a_bucket_has_one_writer() {
    let server = Server::start().await;
    let archive = || Archive::new(server.open(), folder(), None);
    archive().fences("w").await.unwrap();
    let mut collector = Collector::new(
        "first",
        Tail::New {
            after: 1,
            cluster_id: "c".into(),
            since: 0,
        },
    );
    for revision in 2..5 {
        let event = Event {
            revision,
            ..Event::default()
        };
        collector.event(event, 1000 * revision).unwrap();
        collector.confirm(revision, 1000 * revision).unwrap();
        let (segment, bytes) = collector.close(1000 * revision).unwrap();
        let sequence = segment.header.sequence;
        // Twice, as after an answer that was lost.
        for _ in 0..2 {
            let stored = archive().append(sequence, bytes.clone().into()).await;
            stored.unwrap();
        }
        let other = archive().append(sequence, vec![1, 2, 3].into()).await;
        let error = other.unwrap_err();
        assert!(matches!(error, Error::Fenced { .. }), "{error}");
        assert!(error.to_string().contains("written by first"), "{error}");
    }
    let inventory = archive().inventory().await.unwrap();
    let link = archive().tail(&inventory).await.unwrap().unwrap();
    assert_eq!((link.sequence, link.through, link.until), (2, 4, 4000));
}
