//! What agents are sent, and which of them the operator calls, against servers on loopback.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etcd_operator_api::names::ComponentName;
use http_limits::{Door, Limits, serve, serve_behind};
use jiff::{SignedDuration, Timestamp};
use kbagent_protocol::{
    ActionRequest, Asked, Authorization, Clock, ErrorAnswer, Id, Identity, Nonce, OPERATOR_NAME,
    PATH_ACTION, PATH_CLOCK, Signed, action,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use super::{AgentClient, Error, Peer, Trust};
use crate::agent::peer::Issuer;
use crate::certificates::{self, Ca, Made, Material, Names, Place, Subject};
use crate::fake_api::{NEVER, failure, server};

const TOKEN: &str = "the-token";
const POD: Identity<'_> = Identity {
    pod: "c-etcd-0",
    uid: "u0",
};

/// How a server answers for its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// As an agent does.
    Clock,
    /// As one that does not know the token.
    Unproven,
    /// As one of before.
    NotFound,
    /// Nonsense.
    Garbage,
}

/// What it was sent: path, `Authorization` and body.
type Sent = Arc<Mutex<Vec<(String, String, Bytes)>>>;

async fn answer(State((says, sent)): State<(Says, Sent)>, request: Request) -> Response {
    let path = request.uri().to_string();
    let shown = request.headers().get("authorization");
    let shown = shown
        .map_or("", |value| value.to_str().expect("text"))
        .to_owned();
    let body = axum::body::to_bytes(request.into_body(), 10_000)
        .await
        .expect("a body");
    sent.lock()
        .expect("no panic")
        .push((path.clone(), shown, body));
    let Some(nonce) = path.strip_prefix(&format!("{PATH_CLOCK}?nonce=")) else {
        return "{}".into_response();
    };
    let nonce: Nonce = nonce.parse().expect("a nonce");
    let clock = |token| {
        let clock = Clock::new(POD, (Id(7), 12), &[token], nonce);
        axum::Json(clock).into_response()
    };
    match says {
        Says::Clock => clock(TOKEN),
        Says::Unproven => clock("another"),
        Says::NotFound => StatusCode::NOT_FOUND.into_response(),
        Says::Garbage => "{}".into_response(),
    }
}

fn router(says: Says) -> (Router, Sent) {
    let sent = Sent::default();
    let state = (says, Arc::clone(&sent));
    (Router::new().fallback(answer).with_state(state), sent)
}

fn peer(address: SocketAddr, takes: Authorization, tls: Option<Issuer>) -> Peer {
    Peer {
        address,
        namespace: "n".into(),
        component: ComponentName::existing("c-etcd"),
        pod: POD.pod.into(),
        uid: POD.uid.into(),
        takes,
        tls,
    }
}

fn request() -> ActionRequest {
    ActionRequest {
        action: action::COMPACT.to_owned(),
        parameters: [].into(),
        timeout_seconds: None,
    }
}

fn no_secrets() -> AgentClient {
    server(|_| failure(404, "NotFound", "none")).0.agents
}

async fn plain(says: Says, takes: Authorization) -> (Result<(), Error>, Sent) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let (router, sent) = router(says);
    tokio::spawn(serve(listener, router, Limits::default()));
    let peer = peer(address, takes, None);
    let acted = no_secrets().act(&peer, TOKEN, &request()).await;
    (acted.map(drop), sent)
}

#[tokio::test]
async fn an_archives_writer_is_shown_the_uid_of_its_backup() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let (router, sent) = router(Says::Clock);
    tokio::spawn(serve(listener, router, Limits::default()));
    let writer = peer(address, Authorization::Bearer, None);
    let answer = no_secrets().archive(&writer, "u-1", 7).await;
    answer.expect_err("no report");
    let sent = sent.lock().expect("no panic");
    assert_eq!(sent[0].0, "/v1.0/archive?base=7&backup=u-1");
}

#[tokio::test]
async fn an_agent_that_takes_signed_requests_is_never_sent_the_token() {
    let signed = Authorization::Signed;
    for says in [Says::Unproven, Says::NotFound, Says::Garbage] {
        let (acted, sent) = plain(says, signed).await;
        let error = acted.expect_err("no clock").to_string();
        assert!(!error.contains(TOKEN), "{error}");
        let sent = sent.lock().expect("no panic");
        assert_eq!(sent.len(), 1, "only the clock is asked: {says:?}");
        assert!(
            sent.iter().all(|(_, shown, _)| shown.is_empty()),
            "{says:?}"
        );
    }
    let (acted, sent) = plain(Says::Clock, signed).await;
    acted.expect("it acts");
    let sent = sent.lock().expect("no panic");
    let (path, shown, body) = &sent[1];
    assert_eq!((sent.len(), path.as_str()), (2, PATH_ACTION));
    assert!(!shown.contains(TOKEN));
    let header: Signed = shown.parse().expect("a signed request");
    let asked = Asked {
        method: "POST",
        target: PATH_ACTION,
        body,
    };
    assert!(header.is_by(TOKEN, POD, &asked));
}

#[tokio::test]
async fn an_agent_of_before_gets_the_token_as_before() {
    let (acted, sent) = plain(Says::NotFound, Authorization::Bearer).await;
    acted.expect("it acts");
    let sent = sent.lock().expect("no panic");
    let (path, shown, _) = &sent[0];
    assert_eq!((sent.len(), path.as_str()), (1, PATH_ACTION));
    assert_eq!(shown, &format!("Bearer {TOKEN}"));
}

fn material() -> Material {
    Material {
        key: rcgen::KeyPair::generate().expect("a key"),
        serial: rand::random(),
    }
}

/// A CA, and what it has signed for the members and for applications, as of then.
struct Certified {
    ca: Made,
    member: Made,
    client: Made,
}

fn certified(then: Timestamp) -> Certified {
    let now = Timestamp::now();
    let ca = certificates::new_ca("c-etcd", &material(), now).expect("a CA");
    let place = Place {
        secret: "x".into(),
        ca: "tls.crt".into(),
        cert: "tls.crt".into(),
        key: "tls.key".into(),
    };
    let read = certificates::read_ca(&place, &parts(&ca), now).expect("it is read");
    let signs = Ca::new(&read).expect("it signs");
    let name = "*.c-etcd-headless.n.svc.cluster.local".to_owned();
    let names = Names {
        dns: [name].into(),
        addresses: [].into(),
    };
    let sign = |subject, names| certificates::sign(&signs, subject, names, &material(), then);
    Certified {
        member: sign(Subject::Member, &names).expect("signed"),
        client: sign(Subject::Client, &Names::default()).expect("signed"),
        ca,
    }
}

fn parts(made: &Made) -> certificates::Data {
    let parts = [
        ("ca.crt", &made.ca),
        ("tls.crt", &made.cert),
        ("tls.key", &made.key),
    ];
    let part = |(key, text): (&str, &String)| {
        (
            key.to_owned(),
            k8s_openapi::ByteString(text.clone().into_bytes()),
        )
    };
    parts.into_iter().map(part).collect()
}

/// Lets in who has a certificate of the CA; tells whether it is the operator's.
#[derive(Clone)]
struct Members(TlsAcceptor);

impl Members {
    fn of(made: &Made) -> Self {
        let pem = |text: &str| CertificateDer::from_pem_slice(text.as_bytes()).expect("PEM");
        let mut roots = RootCertStore::empty();
        roots.add(pem(&made.ca)).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(clients.build().expect("a verifier"))
            .with_single_cert(vec![pem(&made.cert)], key)
            .expect("a server");
        Self(TlsAcceptor::from(Arc::new(config)))
    }
}

impl Door for Members {
    type Stream = TlsStream<TcpStream>;
    type Link = bool;

    async fn enter(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, bool)> {
        let stream = self.0.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates();
        let shown = shown
            .and_then(|chain| chain.first())
            .expect("it is demanded");
        let shown = EndEntityCert::try_from(shown).expect("a certificate");
        let name = ServerName::try_from(OPERATOR_NAME).expect("a name");
        let operator = shown.verify_is_valid_for_subject_name(&name).is_ok();
        Ok((stream, operator))
    }
}

/// An operator whose API server has this Secret of the component's, and an agent with that certificate.
async fn calls(
    kept: (&'static str, &Made),
    served: Option<&Made>,
    issuer: Issuer,
) -> Result<bool, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let seen = Arc::new(Mutex::new(false));
    let note = Arc::clone(&seen);
    let router = Router::new().fallback(async move |request: Request| {
        let operator = request.extensions().get::<bool>().copied();
        *note.lock().expect("no panic") = operator == Some(true);
        r#"{"operation":"getRole","role":"leader","term":7}"#
    });
    match served {
        Some(made) => drop(tokio::spawn(serve_behind(
            listener,
            Members::of(made),
            router,
            Limits::default(),
        ))),
        None => drop(tokio::spawn(serve(listener, router, Limits::default()))),
    }
    let (name, made) = kept;
    let secret = secret(name, made);
    let (context, _) = server(
        move |line| match line.ends_with(&format!("/secrets/{name}")) {
            true => (200, secret.clone()),
            false => failure(404, "NotFound", "none"),
        },
    );
    let peer = peer(address, Authorization::Signed, Some(issuer));
    let told = context
        .agents
        .role(&peer)
        .await
        .map_err(|error| error.to_string());
    told.map(|_| *seen.lock().expect("no panic"))
}

fn secret(name: &str, made: &Made) -> Value {
    let data: serde_json::Map<String, Value> = parts(made)
        .into_iter()
        .map(|(key, part)| (key, STANDARD.encode(part.0).into()))
        .collect();
    let owner = json!([{ "apiVersion": "apps.kubeblocks.io/v1", "kind": "Component", "name": "c-etcd",
        "uid": "u", "controller": true }]);
    json!({ "metadata": { "name": name, "ownerReferences": owner }, "data": data })
}

#[tokio::test]
async fn the_operator_shows_a_certificate_of_its_own_by_the_components_ca() {
    let ours = certified(Timestamp::now());
    let called = calls(("c-etcd-ca", &ours.ca), Some(&ours.member), Issuer::Own).await;
    assert_eq!(called, Ok(true), "it is known as the operator");
    let called = calls(
        ("c-etcd-tls-certs", &ours.member),
        Some(&ours.member),
        Issuer::User,
    )
    .await;
    assert_eq!(called, Ok(false), "a user's CA has one certificate for all");
}

#[tokio::test]
async fn nothing_is_asked_of_who_has_no_certificate_of_a_member() {
    let (ours, other) = (certified(Timestamp::now()), certified(Timestamp::now()));
    let expired = certified(Timestamp::now() - SignedDuration::from_hours(24 * 400));
    let kept = |made| ("c-etcd-ca", made);
    let refused = async |kept, served, why: &str| {
        let called = calls(kept, served, Issuer::Own).await;
        let error = called.expect_err("refused");
        assert!(error.contains(why), "{why}: {error}");
    };
    refused(kept(&ours.ca), Some(&other.member), "no TLS: ").await;
    refused(kept(&ours.ca), Some(&ours.client), "no TLS: ").await;
    refused(kept(&expired.ca), Some(&expired.member), "no TLS: ").await;
    refused(kept(&ours.ca), None, "no TLS: ").await;
    refused(
        ("another", &ours.ca),
        Some(&ours.member),
        "failed to read Secret c-etcd-ca",
    )
    .await;
}

#[tokio::test]
async fn an_agent_that_is_silent_in_its_handshake_is_given_up() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let ca = secret("c-etcd-ca", &certified(Timestamp::now()).ca);
    let none = || failure(404, "NotFound", "none");
    let (context, _) = server(move |line| secrets(line, (200, ca.clone()), none()));
    let agents = context.agents.with_handshake(Duration::from_millis(7));
    let peer = peer(address, Authorization::Signed, Some(Issuer::Own));
    let error = agents.role(&peer).await.expect_err("no handshake");
    let error = error.to_string();
    assert!(error.contains("no TLS in 7 ms"), "{error}");
}

#[tokio::test]
async fn a_secret_of_others_is_not_used() {
    let ours = certified(Timestamp::now());
    let mut secret = secret("c-etcd-ca", &ours.ca);
    secret["metadata"]["ownerReferences"] = json!([]);
    let (context, _) = server(move |_| (200, secret.clone()));
    let peer = peer(
        ([127, 0, 0, 1], 9).into(),
        Authorization::Signed,
        Some(Issuer::Own),
    );
    let error = context
        .agents
        .role(&peer)
        .await
        .expect_err("not ours")
        .to_string();
    assert!(error.contains("was not made by the operator"), "{error}");
}

/// An agent with this certificate of a member: what only the operator asks is closed to others, as in kbagent.
async fn guarded(served: &Made) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let address = listener.local_addr().expect("address");
    let router = Router::new().fallback(async |request: Request| {
        let operator = request.extensions().get::<bool>() == Some(&true);
        if request.uri().path() != PATH_ACTION || operator {
            return answer(State((Says::Clock, Sent::default())), request).await;
        }
        let closed = ErrorAnswer {
            error_code: "ERR_CLOSED".to_owned(),
            message: "not the operator's".to_owned(),
        };
        (StatusCode::FORBIDDEN, axum::Json(closed)).into_response()
    });
    let served = Members::of(served);
    tokio::spawn(serve_behind(listener, served, router, Limits::default()));
    address
}

/// The Secrets of a component, each as the API server answers for it.
fn secrets(line: &str, ca: (u16, Value), tls: (u16, Value)) -> (u16, Value) {
    match line {
        _ if line.ends_with("/secrets/c-etcd-ca") => ca,
        _ if line.ends_with("/secrets/c-etcd-tls-certs") => tls,
        _ => failure(404, "NotFound", "none"),
    }
}

#[tokio::test]
async fn agents_are_read_by_the_members_certificate_where_the_ca_cannot_be_used() {
    let (ours, other) = (certified(Timestamp::now()), certified(Timestamp::now()));
    let address = guarded(&ours.member).await;
    let peer = peer(address, Authorization::Signed, Some(Issuer::Own));
    let tls = (200, secret("c-etcd-tls-certs", &ours.member));
    let right = (200, secret("c-etcd-ca", &ours.ca));
    let mut empty = right.1.clone();
    empty["data"]["tls.key"] = json!("");
    for (what, ca) in [
        ("it is gone", failure(404, "NotFound", "none")),
        ("it cannot be read", failure(500, "InternalError", "down")),
        ("it has no key", (200, empty)),
        ("it is another one", (200, secret("c-etcd-ca", &other.ca))),
    ] {
        let tls = tls.clone();
        let (context, _) = server(move |line| secrets(line, ca.clone(), tls.clone()));
        let agents = &context.agents;
        let watched = agents.watch(&peer).await;
        drop(watched.unwrap_or_else(|error| panic!("{what}: {error}")));
        let error = agents.act(&peer, TOKEN, &request()).await;
        let error = error.expect_err("a change");
        assert!(
            matches!(&error, Error::Refused { code, .. } if code == "ERR_CLOSED"),
            "{what}: {error}"
        );
    }
    // With the CA, or where the members' Secret tells nothing of another, the operator is known.
    for tls in [tls, failure(404, "NotFound", "none")] {
        let right = right.clone();
        let (context, _) = server(move |line| secrets(line, right.clone(), tls.clone()));
        let acted = context.agents.act(&peer, TOKEN, &request()).await;
        acted.expect("it acts");
    }
}

#[tokio::test]
async fn what_was_good_is_used_until_secrets_can_be_read_again() {
    let ours = certified(Timestamp::now());
    let (ca, tls) = (
        secret("c-etcd-ca", &ours.ca),
        secret("c-etcd-tls-certs", &ours.member),
    );
    for issuer in [Issuer::Own, Issuer::User] {
        let code = Arc::new(AtomicU16::new(200));
        let (says, ca, tls) = (Arc::clone(&code), ca.clone(), tls.clone());
        let (context, _) = server(move |line| match says.load(Ordering::SeqCst) {
            200 => secrets(line, (200, ca.clone()), (200, tls.clone())),
            // The one that is wanted is gone, and the members' is there.
            404 => secrets(line, failure(404, "NotFound", "none"), (200, tls.clone())),
            code => failure(code, "InternalError", "down"),
        });
        let trust = Trust::new(context.client.clone(), "cluster.local".to_owned());
        let peer = peer(
            ([127, 0, 0, 1], 9).into(),
            Authorization::Signed,
            Some(issuer),
        );
        let began = Instant::now();
        let at = async |seconds| {
            let now = began + Duration::from_secs(seconds);
            let known = trust.of_at(&peer, issuer, now).await;
            known.map(|(config, _)| config)
        };
        let first = at(0).await.expect("good");
        for (minutes, answer) in (60..).zip([500, 404, NEVER]) {
            if (issuer, answer) == (Issuer::User, 404) {
                continue;
            }
            code.store(answer, Ordering::SeqCst);
            let known = at(minutes * 60).await.expect("what was good");
            assert!(Arc::ptr_eq(&known, &first), "{issuer:?}: {answer}");
        }
        code.store(200, Ordering::SeqCst);
        let fresh = at(62 * 60 + 5).await.expect("good");
        assert!(
            !Arc::ptr_eq(&fresh, &first),
            "{issuer:?}: it is read again soon"
        );
        // A certificate that lives a day does not do for longer.
        code.store(500, Ordering::SeqCst);
        let late = at(30 * 3600).await;
        assert_eq!(late.is_ok(), issuer == Issuer::User);
    }
}
