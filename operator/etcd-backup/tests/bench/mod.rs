//! A bench: a real etcd, repositories that misbehave, and what a backup is made with.
//! Needs an `etcd` in `ETCD_BIN`, with `etcdutl` beside it.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that breaks has to stop the test"
)]

pub(crate) mod archives;
pub(crate) mod troubled;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use etcd_backup::manifest::Source;
use etcd_backup::member::Member;
use etcd_backup::pace::Pace;
use etcd_backup::path::Folder;
use etcd_backup::progress::Progress;
use etcd_backup::restore::Restore;
use etcd_backup::save::Save;
use etcd_backup::utility::{NewMember, Ports, Programs, Server};
use etcd_backup::verify::Bench;
use tempfile::TempDir;

pub(crate) fn programs() -> Programs {
    let etcd = PathBuf::from(std::env::var_os("ETCD_BIN").unwrap());
    Programs {
        etcdutl: etcd.with_file_name("etcdutl"),
        etcd,
    }
}

/// Two ports that were free just now.
pub(crate) fn ports() -> Ports {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [client, peer] = listeners.map(|listener| listener.local_addr().unwrap().port());
    Ports { client, peer }
}

/// A cluster of one.
pub(crate) struct Etcd {
    pub(crate) server: Server,
    pub(crate) member: Member,
    pub(crate) client: etcd_client::Client,
    _dir: TempDir,
}

impl Etcd {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self::over(dir, &data, "source").await
    }

    /// With more flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self::over_with(dir, &data, "source", flags).await
    }

    pub(crate) async fn over(dir: TempDir, data: &Path, name: &str) -> Self {
        Self::over_with(dir, data, name, &[]).await
    }

    async fn over_with(dir: TempDir, data: &Path, name: &str, flags: &[&str]) -> Self {
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let server = programs().start_with(data, name, ports(), flags).await;
        let server = server.unwrap();
        let member = server.member().await.unwrap();
        Etcd {
            client: member.client(),
            member,
            server,
            _dir: dir,
        }
    }

    /// Writes keys of a kilobyte, several times each.
    pub(crate) async fn fill(&mut self, keys: usize) {
        for number in 0..keys * 2 {
            let key = format!("key-{}", number % keys);
            let value = format!("{number}-").repeat(200);
            self.client.put(key, value, None).await.unwrap();
        }
    }
}

pub(crate) fn save(scratch: &Path, attempt: &str) -> Save {
    Save {
        source: Source {
            backup_uid: "uid".into(),
            namespace: "demo".into(),
            cluster: "shop".into(),
            component: "etcd".into(),
        },
        folder: Folder::read("pre/demo/shop-u/etcd/b").unwrap(),
        attempt: attempt.into(),
        pace: Pace::new(None),
        keys: None,
        progress: Progress::default(),
        bench: Some(Bench {
            programs: programs(),
            scratch: scratch.to_owned(),
            ports: ports(),
        }),
    }
}

pub(crate) fn new_member() -> NewMember {
    NewMember {
        name: "seed-0".into(),
        peer_url: "http://127.0.0.1:2380".into(),
        token: "new".into(),
        bump: true,
    }
}

/// The restore of a full backup alone, for a new cluster.
pub(crate) fn restoration(volume: &Path) -> Restore {
    Restore {
        folder: save(volume, "a").folder,
        volume: volume.to_owned(),
        data: "data".into(),
        member: new_member(),
        identity: ("identity.json".into(), "{\"cluster\":\"new\"}".into()),
        programs: programs(),
        keys: None,
        sha256: String::new(),
        replay: None,
        admin: None,
        ports: ports(),
    }
}
