//! The repository in a bucket of a real S3 server (s3s over a folder): parts, conditions, credentials, errors.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_backup::apart::apart;
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
use s3s::dto::{
    GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, PutObjectInput,
    PutObjectOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Server {
    root: TempDir,
    credentials: TempDir,
    endpoint: String,
    /// Connections that were made to it.
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(|files| files).await
    }

    /// With something in front of the files.
    async fn start_with<T: S3>(front: impl FnOnce(s3s_fs::FileSystem) -> T) -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let (root, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(root.path().join("bucket")).unwrap();
        secrets(credentials.path(), "me", "hidden");
        let files = s3s_fs::FileSystem::new(root.path()).unwrap();
        let mut builder = S3ServiceBuilder::new(front(files));
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

/// A line in front of a server that brings answers at so many bytes a second; its URL.
async fn slow_line(server: &Server, rate: u32) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = server.endpoint.replace("http://", "");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.unwrap();
            let (mut answers, mut requests) = server.into_split();
            let (mut asked, mut told) = client.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut asked, &mut requests).await });
            tokio::spawn(async move {
                let mut piece = vec![0; 4096];
                while let Ok(length @ 1..) = answers.read(&mut piece).await {
                    let bytes = u32::try_from(length).unwrap();
                    tokio::time::sleep(Duration::from_secs(1) * bytes / rate).await;
                    if told.write_all(&piece[..length]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_read_whose_bytes_need_longer_than_a_request_may_take() {
    const LIMIT: Duration = Duration::from_secs(5);
    const BYTES: u32 = 600_000;
    let server = Server::start().await;
    let mut bucket = server.bucket();
    // All of it takes six seconds, the thirtieth part 0.2, and a machine that stands still for some may be in it.
    bucket.endpoint = Some(slow_line(&server, BYTES / 6).await);
    let repository = bucket.open_within(LIMIT / 2, LIMIT).unwrap();
    let content = b"abcdefghijklmnopqrstuvwxyz".repeat(BYTES as usize / 26 + 1);
    let content = &content[..BYTES as usize];
    let object = folder().snapshot("a");
    let mut upload = repository.begin(&object).await.unwrap();
    upload.write(content).await.unwrap();
    upload.finish().await.unwrap();
    let mut digests = Digests::default();
    digests.update(content);
    let sum = digests.sum();
    let expected = Snapshot {
        object: "snapshot-a.db",
        bytes: sum.bytes,
        sha256: &sum.sha256,
        keys: None,
    };
    let file = server.credentials.path().join("read");
    // What one request reads is all of it.
    let large = repository.clone().in_ranges_of(1 << 20);
    let read = large.fetch_snapshot(&folder(), &expected, &file).await;
    let error = read.unwrap_err();
    assert!(matches!(error, Error::Store { .. }), "{error}");
    let small = repository.in_ranges_of(u64::from(BYTES / 30) + 1);
    let read = small.fetch_snapshot(&folder(), &expected, &file).await;
    read.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), content);
    let whole = small.whole(&object, u64::from(BYTES)).await.unwrap();
    assert_eq!(whole, content);
    let error = small.whole(&object, u64::from(BYTES) - 1).await;
    assert!(matches!(error, Err(Error::Lying { .. })), "{error:?}");
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

/// A gateway whose first write takes effect and is answered by an error.
struct Gateway {
    files: s3s_fs::FileSystem,
    writes: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl S3 for Gateway {
    async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let done = self.files.put_object(request).await;
        match self.writes.fetch_add(1, Ordering::SeqCst) {
            0 => Err(s3_error!(ServiceUnavailable)),
            _ => done,
        }
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(request).await
    }

    async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(request).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_whose_write_was_answered_by_an_error_and_repeated_is_the_writers_own() {
    let writes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&writes);
    let server = Server::start_with(|files| Gateway {
        files,
        writes: count,
    });
    let server = server.await;
    let object = folder().manifest();
    let create = async |content: &[u8]| server.open().create(&object, content.to_vec()).await;
    create(b"one").await.unwrap();
    assert_eq!(
        writes.load(Ordering::SeqCst),
        2,
        "the client has repeated it"
    );
    let error = create(b"two").await.unwrap_err();
    assert!(matches!(error, Error::Taken(_)), "{error}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_in_the_folder_of_an_archive_in_a_bucket_is_refused() {
    let server = Server::start().await;
    let inside = Folder::read(&format!("{}/demo/b", folder().path())).unwrap();
    // Others use the bucket, too: of these, only the names are like an archive's.
    let place = server.root.path().join("bucket/pre/demo");
    std::fs::create_dir_all(place.join("segment-000000000001")).unwrap();
    std::fs::write(place.join("segment-000000000001/x"), "x").unwrap();
    for number in 0..1500 {
        std::fs::write(place.join(format!("segment-of-others-{number}")), "x").unwrap();
    }
    apart(&server.open(), &inside).await.unwrap();
    for name in [
        "segment-000000000000",
        "merged-000000000000-000000000001-1-5",
    ] {
        let object = folder().path().clone().join(name);
        server.open().append(&object, "x".into()).await.unwrap();
        let error = apart(&server.open(), &inside).await.unwrap_err();
        let told = error.to_string();
        assert!(told.contains(&format!("lies in {}, which is", folder().path())));
        server.open().delete(&object).await.unwrap();
    }
    apart(&server.open(), &inside).await.unwrap();
}
