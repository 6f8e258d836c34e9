//! A member that speaks TLS and wants a certificate of its clients: backed up and archived with one, refused without.
//! Needs `ETCD_BIN`; run with `-- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[expect(dead_code, reason = "other tests use more of it")]
mod bench;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bench::archives::{archive, begin, settings};
use bench::{Etcd, ports, programs, save};
use etcd_backup::archive::replay::Replay;
use etcd_backup::archive::search::Target;
use etcd_backup::error::Error;
use etcd_backup::member::Member;
use etcd_backup::repository::Repository;
use etcd_backup::restore::{Restore, restore};
use etcd_backup::save::save as make;
use etcd_client::{
    Certificate, Client, ConnectOptions, Identity, Permission, TlsOptions, UserAddOptions,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// An authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate with this common name, for member and client, in a folder.
    fn issue(&self, name: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, name);
        let leaf = leaf.signed_by(&key, &self.issuer).unwrap();
        let key = key.serialize_pem();
        for (file, text) in [
            ("ca.crt", &self.pem),
            ("tls.crt", &leaf.pem()),
            ("tls.key", &key),
        ] {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        folder
    }
}

fn start(tls: &Path, data: &Path) -> (Killed, String) {
    let ports = ports();
    let url = format!("https://127.0.0.1:{}", ports.client);
    let file = |name: &str| tls.join(name).display().to_string();
    let child = Command::new(programs().etcd)
        .arg(format!("--data-dir={}", data.display()))
        .arg(format!("--listen-client-urls={url}"))
        .arg(format!("--advertise-client-urls={url}"))
        .arg(format!(
            "--listen-peer-urls=http://127.0.0.1:{}",
            ports.peer
        ))
        .arg(format!("--cert-file={}", file("tls.crt")))
        .arg(format!("--key-file={}", file("tls.key")))
        .arg(format!("--trusted-ca-file={}", file("ca.crt")))
        .args(["--client-cert-auth", "--log-level=error"])
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Killed(child), url)
}

async fn client(url: &str, tls: &Path) -> Client {
    let read = |name: &str| std::fs::read(tls.join(name)).unwrap();
    let options = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(read("ca.crt")))
        .identity(Identity::from_pem(read("tls.crt"), read("tls.key")));
    let options = ConnectOptions::new().with_tls(options);
    Client::connect([url], Some(options)).await.unwrap()
}

/// The member, when it leads itself.
async fn up(url: &str, tls: &Path) -> Member {
    let up = async {
        loop {
            let member = Member::connect_by(url, Some(tls)).await;
            if let Ok(member) = member
                && member.status().await.is_ok_and(|status| status.led)
            {
                break member;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(60), up).await.unwrap()
}

/// Archives what comes after a revision, until another one is there.
async fn archived(repository: &Repository, member: (&str, &Path), after: i64, until: i64) {
    let mut writing = begin(archive(repository), settings(member, after, "w"));
    writing.reaches(until).await;
    writing.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn a_member_with_tls_is_backed_up_and_archived_with_a_certificate_and_not_without() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let [data, folder, scratch] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let tls = Authority::new().issue("etcd-member");
    let (_etcd, url) = start(tls.path(), &data.path().join("data"));
    let member = up(&url, tls.path()).await;
    let mut client = client(&url, tls.path()).await;
    client.put("key", "value", None).await.unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let made = make(&repository, &member, &save(scratch.path(), "a"))
        .await
        .unwrap();
    assert!(made.verification.verified, "{:?}", made.verification);

    let answer = client.put("key", "later", None).await.unwrap();
    let revision = answer.header().unwrap().revision();
    let base = made.revision.unwrap();
    archived(&repository, (&url, tls.path()), base, revision).await;

    let other = Authority::new().issue("etcd-member");
    let stranger = Member::connect_by(&url, Some(other.path())).await;
    let refused = async {
        match stranger {
            Ok(member) => member.status().await.is_err(),
            Err(_) => true,
        }
    };
    assert!(refused.await, "another authority");
    std::fs::remove_file(other.path().join("tls.key")).unwrap();
    let missing = Member::connect_by(&url, Some(other.path()))
        .await
        .err()
        .unwrap();
    assert!(matches!(missing, Error::Settings(_)), "{missing}");
    assert!(missing.to_string().contains("tls.key"), "{missing}");
}

/// Gives etcd users as the operator does, and switches authentication on.
async fn lock(client: &mut Client) {
    client.role_add("keys").await.unwrap();
    let all = Permission::read_write("").with_all_keys();
    client.role_grant_permission("keys", all).await.unwrap();
    for (user, password, role) in [
        ("root", "r00t", "root"),
        ("etcd-member", "", "root"),
        ("etcd-backup", "", "root"),
        ("etcd-client", "", "keys"),
    ] {
        let none = password.is_empty();
        let options = none.then(|| UserAddOptions::new().with_no_pwd());
        client.user_add(user, password, options).await.unwrap();
        if role == "root" && client.role_get(role).await.is_err() {
            client.role_add(role).await.unwrap();
        }
        client.user_grant_role(user, role).await.unwrap();
    }
    client.auth_enable().await.unwrap();
}

fn restoration(volume: &Path, repository: &Repository, replayed: bool, admin: &str) -> Restore {
    let replay = || Replay {
        archive: archive(repository),
        target: Target::Latest,
    };
    Restore {
        replay: replayed.then(replay),
        admin: Some(admin.to_owned()),
        ..bench::restoration(volume)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn a_cluster_with_users_is_backed_up_by_its_own_user_and_restored_with_them_for_new_members()
{
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let [data, folder, scratch] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let authority = Authority::new();
    let [members, clients, backups] =
        ["etcd-member", "etcd-client", "etcd-backup"].map(|name| authority.issue(name));
    let (_etcd, url) = start(members.path(), &data.path().join("data"));
    let member = up(&url, members.path()).await;
    assert!(!member.authenticates().await.unwrap());
    let mut client = client(&url, clients.path()).await;
    lock(&mut member.client()).await;
    assert!(member.authenticates().await.unwrap());
    client.put("key", "value", None).await.unwrap();

    let repository = Repository::folder(folder.path()).unwrap();
    let application = up(&url, clients.path()).await;
    let refused = make(&repository, &application, &save(scratch.path(), "a")).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("etcd-backup"), "{refused}");
    let backup = up(&url, backups.path()).await;
    let made = make(&repository, &backup, &save(scratch.path(), "a"))
        .await
        .unwrap();
    assert!(made.verification.verified, "{:?}", made.verification);
    assert_eq!(made.authentication, Some(true));
    let answer = client.put("key", "later", None).await.unwrap();
    let revision = answer.header().unwrap().revision();
    let base = made.revision.unwrap();
    archived(&repository, (&url, backups.path()), base, revision).await;

    for (replayed, admin, value) in [(false, "etcd-member", "value"), (true, "theirs", "later")] {
        let volume = tempfile::tempdir().unwrap();
        let wanted = restoration(volume.path(), &repository, replayed, admin);
        Box::pin(restore(&repository, &wanted)).await.unwrap();
        let data = volume.path().join("data");
        let restored = Etcd::over(volume, &data, "seed-0").await;
        let mut client = restored.client.clone();
        assert!(restored.member.authenticates().await.unwrap());
        let users = client.user_list().await.unwrap().users().to_vec();
        assert!(users.contains(&"etcd-client".to_owned()), "{users:?}");
        let of = client.user_get(admin).await.unwrap();
        assert!(of.roles().contains(&"root".to_owned()), "{admin}");
        let password = ("root".to_owned(), "r00t".to_owned());
        let mut login = client.auth_client();
        login.authenticate(password.0, password.1).await.unwrap();
        let found = client.get("key", None).await.unwrap();
        assert_eq!(found.kvs()[0].value(), value.as_bytes());
    }
    refused_for_new_members_without_users(&repository, folder.path()).await;
}

/// A backup that was never verified does not say that it has users: the restore looks.
async fn refused_for_new_members_without_users(repository: &Repository, folder: &Path) {
    let volume = tempfile::tempdir().unwrap();
    let mut wanted = restoration(volume.path(), repository, false, "etcd-member");
    wanted.admin = None;
    let manifest = folder.join(wanted.folder.manifest().to_string());
    let mut told: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    told["verification"] = serde_json::json!({ "verified": false });
    told.as_object_mut().unwrap().remove("authentication");
    std::fs::write(&manifest, told.to_string()).unwrap();
    let refused = Box::pin(restore(repository, &wanted)).await.unwrap_err();
    for word in ["new Cluster", "systemAccounts", "delete it"] {
        assert!(refused.to_string().contains(word), "{refused}");
    }
    assert_eq!(std::fs::read_dir(volume.path()).unwrap().count(), 0);
}
