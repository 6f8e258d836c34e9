//! An agent of a cluster with TLS: who is let in by which certificate, and what is left in plain text.

use std::path::Path;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use kbagent::etcd::Client;
use kbagent::http::Call;
use kbagent::tls::{FILES, Tls};
use kbagent_protocol::{
    Authorization, ErrorAnswer, OPERATOR_NAME, OPERATOR_NAME_VARIABLE, PATH_ACTION, PATH_AGENT,
    PATH_BEATS, PATH_CLOCK, PATH_DRAINED, PATH_ELECTION, PATH_GETROLE, PATH_HANDOFF, PATH_HEALTHZ,
    PATH_MEMBER, PATH_MEMBERS, PATH_STARTED, PATH_WATCH, TLS_DIRECTORY_VARIABLE,
};
use rcgen::{DnType, ExtendedKeyUsagePurpose, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::agent::{Agent, GUARD, TOKEN, get};
use super::ca::Ca;

impl Ca {
    fn member(&self, host: &str) -> [String; 2] {
        let host = SanType::IpAddress(host.parse().expect("an address"));
        self.certificate(|params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "etcd-member");
            params.subject_alt_names = vec![host];
        })
    }

    fn operator(&self) -> [String; 2] {
        let name = OPERATOR_NAME.try_into().expect("a name");
        self.certificate(|params| params.subject_alt_names = vec![SanType::DnsName(name)])
    }

    fn application(&self) -> [String; 2] {
        self.certificate(|params| {
            params
                .distinguished_name
                .push(DnType::CommonName, "etcd-client");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }
}

/// A caller's files: the CA that it believes, and what it shows.
struct Files {
    _dir: tempfile::TempDir,
    tls: Tls,
}

fn files(ca: &Ca, [cert, key]: &[String; 2]) -> Files {
    let dir = tempfile::tempdir().expect("tempdir");
    write(dir.path(), ca, [cert, key]);
    let tls = Tls::new(Some(dir.path()));
    Files { _dir: dir, tls }
}

fn write(dir: &Path, ca: &Ca, [cert, key]: [&String; 2]) {
    for (name, text) in FILES.iter().zip([&ca.pem, cert, key]) {
        std::fs::write(dir.join(name), text).expect("write");
    }
}

/// An agent with certificates; the directory is to be kept.
async fn secured(
    net: u8,
    ca: &Ca,
    authorization: &str,
    operator: bool,
) -> (Agent, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("tempdir");
    let [cert, key] = ca.member(&format!("127.78.{net}.1"));
    write(dir.path(), ca, [&cert, &key]);
    let mut more = vec![(TLS_DIRECTORY_VARIABLE, dir.path().display().to_string())];
    if operator {
        more.push((OPERATOR_NAME_VARIABLE, OPERATOR_NAME.to_owned()));
    }
    (Agent::start_with(net, 0, authorization, &more).await, dir)
}

impl Agent {
    /// A request with these certificates: a signed change, or a read.
    async fn with(&self, files: &Files, path: &str) -> Result<StatusCode, String> {
        let change = [PATH_ACTION, PATH_HANDOFF, PATH_ELECTION].contains(&path);
        let call = Call {
            method: if change { Method::POST } else { Method::GET },
            opens: change.then(|| self.opens(TOKEN, Authorization::Signed)),
            tls: Some(&files.tls),
            ..get(&self.address, path)
        };
        let answer = call.send(String::new()).await;
        answer.map(|(status, _)| status).map_err(|e| e.to_string())
    }

    /// A request in plain text, from another address than the pod's own.
    async fn in_plain_text(&self, method: &str, path: &str, header: &str) -> String {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 2], 0).into()).expect("bind");
        let address = self.address.parse().expect("an address");
        let stream = socket.connect(address).await.expect("connected");
        exchange(stream, method, path, header).await
    }
}

/// The beginning of what is answered; empty when the connection is closed.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    header: &str,
) -> String {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\ncontent-length: 0\r\n{header}connection: close\r\n\r\n"
    );
    let mut answer = vec![0; 4096];
    let read = async {
        stream.write_all(text.as_bytes()).await?;
        stream.read(&mut answer).await
    };
    let read = timeout(GUARD, read).await.expect("an answer or an end");
    String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned()
}

/// What everyone may read, and what only certificates open.
const OPEN: [&str; 2] = [PATH_GETROLE, PATH_HEALTHZ];
const READS: [&str; 5] = [
    PATH_MEMBER,
    PATH_MEMBERS,
    PATH_AGENT,
    PATH_WATCH,
    PATH_BEATS,
];

#[tokio::test]
async fn in_plain_text_there_is_the_role_and_no_more() {
    let ca = Ca::new();
    let (agent, _dir) = secured(10, &ca, "signed", true).await;
    for path in OPEN.iter().chain(&[PATH_STARTED, PATH_DRAINED]) {
        let answer = agent.in_plain_text("GET", path, "").await;
        assert!(
            !answer.contains("403") && answer.starts_with("HTTP/1.1 "),
            "{path}: {answer}"
        );
    }
    for path in READS.iter().chain(&[PATH_CLOCK, "/", "/v1.0/getrole/"]) {
        let answer = agent.in_plain_text("GET", path, "").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
    }
    // Not even by who knows the token.
    for path in [PATH_ACTION, PATH_HANDOFF, PATH_ELECTION] {
        let header = format!("authorization: {}\r\n", agent.signed(path, "").await);
        let answer = agent.in_plain_text("POST", path, &header).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{path}: {answer}");
        assert!(
            !answer.contains(TOKEN) && !answer.contains("mac="),
            "{answer}"
        );
        assert!(answer.contains("use TLS on the same port"), "{answer}");
    }
    let own = agent.opens(TOKEN, Authorization::Signed);
    assert_eq!(
        agent.hand_over(own).await,
        Ok(StatusCode::OK),
        "the pod's own command"
    );
}

#[tokio::test]
async fn members_read_and_only_the_operator_changes() {
    let ca = Ca::new();
    let (agent, _dir) = secured(11, &ca, "signed", true).await;
    let operator = files(&ca, &ca.operator());
    let others = [
        ("a member's", files(&ca, &ca.member("127.78.11.2"))),
        ("an application's", files(&ca, &ca.application())),
    ];
    for (whose, shown) in &others {
        for path in [PATH_MEMBER, PATH_AGENT, PATH_HEALTHZ] {
            assert_eq!(
                agent.with(shown, path).await,
                Ok(StatusCode::OK),
                "{whose} {path}"
            );
        }
        for path in [PATH_ACTION, PATH_HANDOFF] {
            assert_eq!(
                agent.with(shown, path).await,
                Ok(StatusCode::FORBIDDEN),
                "{whose} {path}"
            );
        }
        // What agents ask each other is signed, and then it is read: this one is no election request.
        let asked = agent.with(shown, PATH_ELECTION).await;
        assert_eq!(asked, Ok(StatusCode::BAD_REQUEST), "{whose}");
    }
    assert_eq!(
        agent.with(&operator, PATH_HANDOFF).await,
        Ok(StatusCode::OK)
    );
    // A certificate is no authority.
    let header = agent.signed(PATH_HANDOFF, "").await;
    for (header, status) in [("", 401), (header.as_str(), 200), (header.as_str(), 401)] {
        let call = Call {
            method: Method::POST,
            tls: Some(&operator.tls),
            headers: &[("authorization", header)],
            ..get(&agent.address, PATH_HANDOFF)
        };
        let (answered, body) = call.send(String::new()).await.expect("an answer");
        assert_eq!(answered.as_u16(), status, "{body:?}");
    }
}

#[tokio::test]
async fn who_has_no_certificate_of_the_ca_gets_no_answer() {
    let (ca, another) = (Ca::new(), Ca::new());
    let (agent, dir) = secured(12, &ca, "signed", true).await;
    let expired = ca.certificate(|params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let early = ca.certificate(|params| params.not_before = date_time_ymd(4000, 1, 1));
    let server_only = ca.certificate(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for (what, shown) in [
        ("of another cluster", another.operator()),
        ("of another cluster's member", another.member("127.78.12.1")),
        ("expired", expired),
        ("not valid yet", early),
        ("no client's", server_only),
    ] {
        for path in READS.iter().chain(&OPEN) {
            let answer = agent.with(&files(&ca, &shown), path).await;
            let error = answer.expect_err(what);
            assert!(!error.contains("PRIVATE"), "{error}");
        }
    }
    let shown = without_certificate(&ca, &agent).await;
    assert_eq!(shown, "", "no certificate");
    // Who believes another CA is not let on to the wrong agent.
    let deceived = agent
        .with(&files(&another, &ca.operator()), PATH_MEMBER)
        .await;
    deceived.expect_err("the agent is none of that CA's");
    // A CA in the agent's own files that is spoiled later leaves the last good one in use.
    std::fs::write(dir.path().join(FILES[0]), "nothing").expect("write");
    let operator = files(&ca, &ca.operator());
    assert_eq!(agent.with(&operator, PATH_MEMBER).await, Ok(StatusCode::OK));
}

/// What an agent answers over TLS to who shows no certificate.
async fn without_certificate(ca: &Ca, agent: &Agent) -> String {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(ca.pem.as_bytes()).expect("PEM");
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(&agent.address).await.expect("connected");
    let host = agent.address.split(':').next().expect("a host").to_owned();
    let name = ServerName::try_from(host).expect("a name");
    match TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
    {
        // In TLS 1.3 the client learns of the refusal when it reads.
        Ok(stream) => exchange(stream, "GET", PATH_GETROLE, "").await,
        Err(_) => String::new(),
    }
}

#[tokio::test]
async fn where_the_user_is_the_issuer_any_certificate_of_the_ca_may_ask_for_a_change() {
    let ca = Ca::new();
    let (agent, _dir) = secured(13, &ca, "signed", false).await;
    let member = files(&ca, &ca.member("127.78.13.2"));
    assert_eq!(agent.with(&member, PATH_HANDOFF).await, Ok(StatusCode::OK));
    let call = Call {
        method: Method::POST,
        tls: Some(&member.tls),
        ..get(&agent.address, PATH_HANDOFF)
    };
    let (status, body) = call.send(String::new()).await.expect("an answer");
    assert_eq!(status, StatusCode::UNAUTHORIZED, "not without a signature");
    let answer: ErrorAnswer = serde_json::from_slice(&body).expect("an error");
    assert_eq!(answer.error_code, "ERR_UNAUTHORIZED");
}

#[tokio::test]
async fn a_pod_of_a_definition_of_before_answers_operators_of_before() {
    let ca = Ca::new();
    let (agent, _dir) = secured(14, &ca, "bearer", false).await;
    let answer = agent.in_plain_text("GET", PATH_MEMBER, "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let header = format!("authorization: Bearer {TOKEN}\r\n");
    let answer = agent.in_plain_text("POST", PATH_HANDOFF, &header).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn half_a_handshake_takes_no_place_for_long_and_shuts_no_caller_out() {
    let ca = Ca::new();
    let (agent, _dir) = secured(15, &ca, "signed", true).await;
    let mut half = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&agent.address).await.expect("connected");
        stream
            .write_all(&[0x16, 3, 1, 2, 0, 1])
            .await
            .expect("sent");
        half.push(stream);
    }
    let operator = files(&ca, &ca.operator());
    assert_eq!(
        agent.with(&operator, PATH_HANDOFF).await,
        Ok(StatusCode::OK)
    );
    for stream in &mut half {
        let end = timeout(GUARD, stream.read(&mut [0; 64])).await;
        assert!(end.is_ok(), "it is closed when its time is up");
    }
}

/// This build of tonic has TLS of its own (see the dev-dependencies), as it has in the images' build.
#[tokio::test]
async fn etcd_is_spoken_to_by_the_agents_own_certificates_whatever_tonic_was_built_with() {
    let ca = Ca::new();
    let member = files(&ca, &ca.member("127.0.0.1"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let client = Client::new(&format!("https://{address}"), &member.tls).expect("a client");
    let status = tokio::spawn(async move { client.status(GUARD).await });
    let (stream, _) = timeout(GUARD, listener.accept())
        .await
        .expect("it dials")
        .expect("a connection");
    let (mut stream, _) = member.tls.accept(stream).await.expect("a handshake");
    let mut preface = [0; 24];
    let read = stream.read_exact(&mut preface);
    let read = timeout(GUARD, read).await.expect("it speaks");
    read.expect("bytes");
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    drop((stream, listener));
    let error = status.await.expect("it ends").expect_err("no etcd answers");
    assert!(!error.to_string().contains("without TLS"), "{error}");
}
