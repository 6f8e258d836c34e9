//! A member that speaks TLS and wants a certificate of its clients: backed up and archived with one, refused without.
//! Needs `ETCD_BIN`; run with `-- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test that breaks has to stop")]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod bench;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bench::{ports, programs, save};
use etcd_backup::archive::standing::Standing;
use etcd_backup::archive::store::Archive;
use etcd_backup::archive::write::{Write, write};
use etcd_backup::error::Error;
use etcd_backup::member::Member;
use etcd_backup::path::Folder;
use etcd_backup::repository::Repository;
use etcd_backup::save::save as make;
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::time::{sleep, timeout};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _waited = self.0.wait();
    }
}

/// An authority, and one certificate of it for member and client.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let authority = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    std::fs::write(folder.join("ca.crt"), pem).unwrap();
    std::fs::write(folder.join("tls.crt"), leaf.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs ETCD_BIN"]
async fn a_member_with_tls_is_backed_up_and_archived_with_a_certificate_and_not_without() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let [tls, data, folder, scratch] = [(); 4].map(|()| tempfile::tempdir().unwrap());
    certificates(tls.path());
    let (_etcd, url) = start(tls.path(), &data.path().join("data"));
    let up = async {
        loop {
            let member = Member::connect_by(&url, Some(tls.path())).await;
            if let Ok(member) = member
                && member.status().await.is_ok_and(|status| status.led)
            {
                break member;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let member = timeout(Duration::from_secs(60), up).await.unwrap();
    let mut client = client(&url, tls.path()).await;
    client.put("key", "value", None).await.unwrap();
    let repository = Repository::folder(folder.path()).unwrap();
    let made = make(&repository, &member, &save(scratch.path(), "a"))
        .await
        .unwrap();
    assert!(made.verification.verified, "{:?}", made.verification);

    let (sender, mut standing) = tokio::sync::watch::channel(Standing::default());
    let archive = Archive::new(
        repository,
        Folder::read("pre/demo/shop-u/etcd/archive").unwrap(),
        None,
    );
    let settings = Write {
        members: vec![url.clone()],
        tls: Some(tls.path().to_owned()),
        after: made.revision.unwrap(),
        writer: "w".into(),
        keep: None,
    };
    let answer = client.put("key", "later", None).await.unwrap();
    let revision = answer.header().unwrap().revision();
    let archived = timeout(
        Duration::from_secs(30),
        standing.wait_for(|now| now.through >= revision),
    );
    tokio::select! {
        archived = archived => drop(archived.unwrap().unwrap()),
        ended = write(&archive, &settings, &sender) => panic!("{}", ended.unwrap_err()),
    }

    let other = tempfile::tempdir().unwrap();
    certificates(other.path());
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
