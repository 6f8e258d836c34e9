//! Certificates of cert-manager: what is asked of it, what is told while it has not issued, and what is refused.

use etcd_operator_api::tls::TlsConfig;
use serde_json::{Value, json};

use super::certificates::{given, good, now, round, user, wanted};
use super::secrets::Secrets;
use super::*;
use crate::component::manager::ask;
use crate::component::plan::Certificates;
use crate::component::request::RequestSpec;
use crate::fake_api::{failure, server};

/// The Certificate.
const NAME: &str = "ledger-store";

fn with(issuer: Option<&str>, tls: TlsConfig) -> Component {
    let mut component = component();
    let annotations = component.annotations_mut();
    let issuer = issuer.map(|issuer| (labels::CERT_MANAGER_ISSUER.to_owned(), issuer.to_owned()));
    annotations.extend(issuer);
    component.spec.tls_config = Some(tls);
    component
}

fn keys(ca: &str) -> TlsConfig {
    let issuer = json!({ "enable": true, "issuer": { "name": "UserProvided",
        "secretRef": { "name": "mine", "ca": ca, "cert": "tls.crt", "key": "tls.key" } } });
    serde_json::from_value(issuer).expect("an issuer")
}

fn request() -> RequestSpec {
    let component = with(Some("ClusterIssuer/company"), keys("ca.crt"));
    let certificates = planned(&component).certificates.expect("certificates");
    certificates.request.expect("a request")
}

fn asked() -> Certificates {
    Certificates {
        request: Some(request()),
        ..wanted(user(), false)
    }
}

#[test]
fn the_members_names_are_asked_for_and_none_from_outside() {
    let request = serde_json::to_value(request()).expect("JSON");
    assert_eq!(request["secretName"], "mine");
    assert_eq!(request["commonName"], "etcd-member-u-2");
    let issuer = json!({ "group": "cert-manager.io", "kind": "ClusterIssuer", "name": "company" });
    assert_eq!(request["issuerRef"], issuer);
    let names = request["dnsNames"].to_string();
    for name in [
        "*.ledger-store-headless.books.svc.cluster.local",
        "ledger-store.books.svc",
        "localhost",
    ] {
        assert!(names.contains(&format!("{name:?}")), "{name}: {names}");
    }
    assert_eq!(request["ipAddresses"], json!(["127.0.0.1", "::1"]));
    let mut observed = shipped();
    let service =
        json!({ "metadata": { "name": "clients" }, "spec": { "externalIPs": ["203.0.113.7"] } });
    observed.leading = vec![serde_json::from_value(service).expect("a Service")];
    let component = with(Some("ClusterIssuer/company"), keys("ca.crt"));
    let plan = super::super::plan::plan(&component, &observed, "cluster.local").expect("a plan");
    let certificates = plan.certificates.expect("certificates");
    let outside = "203.0.113.7".to_owned();
    assert!(
        certificates
            .names
            .addresses
            .iter()
            .any(|of| of.to_string() == outside)
    );
    let request = certificates.request.expect("a request");
    assert!(!request.ip_addresses.contains(&outside));
    assert!(request.dns_names.contains(&"clients.books.svc".to_owned()));
}

#[test]
fn an_issuer_that_would_have_no_effect_is_refused_with_what_is_accepted() {
    for (issuer, tls) in [
        ("company", keys("ca.crt")),
        ("ClusterIssuer/company", keys("ca.pem")),
        ("ClusterIssuer/company", super::tls::issued()),
        ("ClusterIssuer/company", TlsConfig::default()),
    ] {
        let component = with(Some(issuer), tls);
        let refused = super::super::plan::plan(&component, &shipped(), "cluster.local");
        let text = refused
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            text.contains(labels::CERT_MANAGER_ISSUER),
            "{issuer}: {text}"
        );
    }
}

/// A live Certificate.
pub(super) fn live(ready: &str, message: &str) -> Value {
    json!({ "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
        "metadata": { "name": NAME, "namespace": "books", "uid": "c-1",
            "ownerReferences": [{ "apiVersion": "apps.kubeblocks.io/v1", "kind": "Component", "name": NAME,
                "uid": "u-2", "controller": true }] },
        "spec": request(),
        "status": { "conditions": [{ "type": "Ready", "status": ready, "message": message }] } })
}

#[tokio::test]
async fn cert_manager_is_asked_and_its_words_are_told_until_it_has_issued() {
    let (result, after, written) = round(&Secrets::new(), &asked(), now()).await;
    let text = result.expect_err("nothing is issued yet").to_string();
    assert_eq!(written, [format!("PATCH {NAME}")]);
    assert_eq!(after[NAME]["spec"]["secretName"], "mine");
    assert_eq!(after[NAME]["metadata"]["ownerReferences"][0]["uid"], "u-2");
    assert!(text.contains("Secret mine is not there"), "{text}");
    let waits = Secrets::from([(NAME.to_owned(), live("False", "issuer not found"))]);
    let (result, _, _) = round(&waits, &asked(), now()).await;
    let text = result.expect_err("nothing is issued yet").to_string();
    assert!(
        text.contains("by ClusterIssuer company: issuer not found"),
        "{text}"
    );
    let mut issued = given().await;
    issued.insert(NAME.to_owned(), live("True", ""));
    let (result, _, _) = round(&issued, &asked(), now()).await;
    assert!(!good(&result).contains("cert-manager"), "{result:?}");
    // What keeps it from being renewed is told while it is good.
    issued.insert(NAME.to_owned(), live("False", "the CA is gone"));
    let (result, _, _) = round(&issued, &asked(), now()).await;
    assert!(good(&result).contains("the CA is gone"), "{result:?}");
}

#[tokio::test]
async fn without_cert_manager_its_absence_is_told() {
    // So an API server answers whose API group it is not: in plain text.
    let plain = || (404, json!("404 page not found"));
    let named = || failure(404, "NotFound", "certificates.cert-manager.io not found");
    for answer in [plain(), named()] {
        let (context, _) = server(move |_| answer.clone());
        let told = ask(&context.client, &component(), Some(&request())).await;
        let told = told.expect("told").unwrap_or_default();
        assert!(told.contains("install cert-manager"), "{told}");
        let nothing = ask(&context.client, &component(), None).await;
        assert_eq!(nothing.expect("nothing to take back"), None);
    }
}

#[tokio::test]
async fn a_certificate_that_is_wanted_no_longer_is_deleted_and_another_s_is_not() {
    for (owner, deleted) in [("u-2", true), ("theirs", false)] {
        let mut live = live("True", "");
        live["metadata"]["ownerReferences"][0]["uid"] = json!(owner);
        let (context, asked) = server(move |_| (200, live.clone()));
        let done = ask(&context.client, &component(), None).await;
        assert_eq!(done.ok(), Some(None));
        let asked = asked.lock().expect("no panic");
        let found = asked.iter().any(|(line, _)| line.starts_with("DELETE"));
        assert_eq!(found, deleted, "{owner}");
    }
}
