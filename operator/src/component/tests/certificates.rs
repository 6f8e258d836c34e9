//! Secrets with certificates at an API server: what is made, what is kept, what is never taken over.

use std::collections::BTreeMap;

use etcd_operator_api::tls::TlsSecretRef;
use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::secrets::{Secrets, serving};
use super::*;
use crate::certificates::{Data, Fault};
use crate::component::certificates::{CertificateError, Certified, certify};
use crate::component::plan::Certificates;
use crate::component::tls::Tls;
use crate::controller::ApplyError;

pub(super) const OWN: [&str; 3] = [
    "ledger-store-ca",
    "ledger-store-client",
    "ledger-store-tls-certs",
];

pub(super) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a moment")
}

pub(super) fn after(days: i64) -> Timestamp {
    let hours = SignedDuration::from_hours(24 * days);
    now().checked_add(hours).expect("a moment")
}

pub(super) fn wanted(tls: Tls, members_made: bool) -> Certificates {
    let mut component = component();
    component.spec.tls_config = Some(super::tls::issued());
    let wanted = planned(&component).certificates.expect("certificates");
    let domain = "ledger-store-headless.books.svc.cluster.local";
    Certificates {
        tls,
        members_made,
        needed: vec![format!("ledger-store-0.{domain}"), "127.0.0.1".to_owned()],
        ..wanted
    }
}

pub(super) fn user() -> Tls {
    let text = str::to_owned;
    Tls::User(TlsSecretRef {
        namespace: None,
        name: text("mine"),
        ca: text("ca.crt"),
        cert: text("tls.crt"),
        key: text("tls.key"),
    })
}

/// What members have, and what is put on record of what they believe.
pub(super) type Recorded = Result<(Certified, BTreeMap<String, String>), CertificateError>;

/// One round at this time, with these Secrets there; those that are there afterwards, and the requests that wrote.
pub(super) async fn round(
    secrets: &Secrets,
    wanted: &Certificates,
    at: Timestamp,
) -> (Result<Certified, CertificateError>, Secrets, Vec<String>) {
    let (result, after, written) = recorded_round(secrets, wanted, at).await;
    (result.map(|(certified, _)| certified), after, written)
}

/// The same, with what is put on record.
pub(super) async fn recorded_round(
    secrets: &Secrets,
    wanted: &Certificates,
    at: Timestamp,
) -> (Recorded, Secrets, Vec<String>) {
    let (context, asked) = serving(secrets);
    let result = certify(&context.client, &component(), wanted, at).await;
    let result = result.map(|certification| {
        let record = certification.record().collect();
        (certification.certified, record)
    });
    let mut after = secrets.clone();
    let mut written = Vec::new();
    for (line, body) in asked.lock().expect("no panic").iter() {
        if !line.starts_with("GET") {
            let name = body["metadata"]["name"].as_str().expect("a name");
            let mut body = body.clone();
            body["metadata"]["resourceVersion"] = json!("1");
            after.insert(name.to_owned(), body);
            let (method, _) = line.split_once(' ').expect("a request");
            written.push(format!("{method} {name}"));
        }
    }
    (result, after, written)
}

pub(super) fn good(result: &Result<Certified, CertificateError>) -> &str {
    match result {
        Ok(Certified::Good(text)) => text,
        other => panic!("{other:?}"),
    }
}

pub(super) fn kept(result: &Result<Certified, CertificateError>) -> &str {
    match result {
        Ok(Certified::Kept(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// The three Secrets, made on the first day.
pub(super) async fn made() -> Secrets {
    let (result, secrets, _) = round(&Secrets::new(), &wanted(Tls::Own, false), now()).await;
    good(&result);
    secrets
}

#[tokio::test]
async fn three_secrets_are_made_once_and_the_ca_s_key_is_in_none_that_is_mounted() {
    let (result, secrets, written) = round(&Secrets::new(), &wanted(Tls::Own, false), now()).await;
    assert!(
        good(&result).contains("valid until 2027-03-01T12:00:00Z"),
        "{result:?}"
    );
    let names: Vec<_> = secrets.keys().map(String::as_str).collect();
    assert_eq!(names, OWN);
    assert!(
        written.iter().all(|line| line.starts_with("POST")),
        "{written:?}"
    );
    for (name, secret) in &secrets {
        assert_eq!(secret["type"], "kubernetes.io/tls", "{name}");
        assert_eq!(
            secret["metadata"]["ownerReferences"][0]["uid"], "u-2",
            "{name}"
        );
        let labels = &secret["metadata"]["labels"];
        assert_eq!(
            labels["apps.kubeblocks.io/component-name"], "store",
            "{name}"
        );
    }
    let key = &secrets["ledger-store-ca"]["data"]["tls.key"];
    assert!(key.is_string());
    assert!(secrets["ledger-store-ca"]["data"]["ca.crt"].is_null());
    for other in &OWN[1..] {
        assert_ne!(&secrets[*other]["data"]["tls.key"], key);
        assert_eq!(
            secrets[*other]["data"]["ca.crt"],
            secrets["ledger-store-ca"]["data"]["tls.crt"]
        );
    }
    let (result, _, written) = round(&secrets, &wanted(Tls::Own, true), after(1)).await;
    good(&result);
    assert!(written.is_empty(), "nothing is written twice: {written:?}");
}

#[tokio::test]
async fn where_etcd_has_users_the_jobs_of_backups_have_a_certificate_of_their_own() {
    let with_users = Certificates {
        users: true,
        ..wanted(Tls::Own, true)
    };
    let (result, secrets, written) = round(&made().await, &with_users, now()).await;
    good(&result);
    assert_eq!(written, ["POST ledger-store-backup"]);
    let data: Data = serde_json::from_value(secrets["ledger-store-backup"]["data"].clone())
        .expect("data of a Secret");
    let (_, pem) = x509_parser::pem::parse_x509_pem(&data["tls.crt"].0).expect("PEM");
    let read = pem.parse_x509().expect("a certificate");
    let mut names = read.subject().iter_common_name();
    let name = names.next().and_then(|name| name.as_str().ok());
    assert_eq!(name, Some("etcd-backup"));
    let usage = read.extended_key_usage().expect("read").expect("one");
    assert!(usage.value.client_auth && !usage.value.server_auth);
    let (result, _, written) = round(&secrets, &with_users, now()).await;
    good(&result);
    assert!(written.is_empty(), "{written:?}");
}

#[tokio::test]
async fn certificates_are_renewed_in_time_and_the_ca_stays() {
    let secrets = made().await;
    let (result, renewed, written) = round(&secrets, &wanted(Tls::Own, true), after(250)).await;
    assert!(
        good(&result).contains("valid until 2027-11-06T12:00:00Z"),
        "{result:?}"
    );
    assert_eq!(
        written,
        ["PUT ledger-store-tls-certs", "PUT ledger-store-client"]
    );
    assert_eq!(renewed["ledger-store-ca"], secrets["ledger-store-ca"]);
    // One that was spoiled by hand is issued again, one that is gone is made again.
    let mut spoiled = secrets.clone();
    spoiled.remove("ledger-store-client");
    spoiled.get_mut("ledger-store-tls-certs").expect("there")["data"]["tls.key"] = json!("AA==");
    let (result, _, written) = round(&spoiled, &wanted(Tls::Own, true), after(1)).await;
    good(&result);
    assert_eq!(
        written,
        ["PUT ledger-store-tls-certs", "POST ledger-store-client"]
    );
}

#[tokio::test]
async fn an_operator_that_dies_between_two_secrets_continues_with_the_same_ca() {
    let secrets = made().await;
    let half = Secrets::from([(
        "ledger-store-ca".to_owned(),
        secrets["ledger-store-ca"].clone(),
    )]);
    let (result, continued, written) = round(&half, &wanted(Tls::Own, false), now()).await;
    good(&result);
    assert_eq!(
        written,
        ["POST ledger-store-tls-certs", "POST ledger-store-client"]
    );
    assert_eq!(continued["ledger-store-ca"], half["ledger-store-ca"]);
}

#[tokio::test]
async fn a_lost_ca_is_not_replaced_under_members_that_believe_it() {
    let mut secrets = made().await;
    secrets.remove("ledger-store-ca");
    let (result, _, written) = round(&secrets, &wanted(Tls::Own, true), after(300)).await;
    assert!(
        kept(&result).contains("Secret ledger-store-ca"),
        "{result:?}"
    );
    assert!(written.is_empty(), "{written:?}");
    let (result, _, written) = round(&Secrets::new(), &wanted(Tls::Own, true), after(1)).await;
    assert!(
        matches!(result, Err(CertificateError::Fault(Fault::CaLost { .. }))),
        "{result:?}"
    );
    assert!(written.is_empty(), "{written:?}");
}

#[tokio::test]
async fn a_ca_that_members_do_not_believe_signs_nothing() {
    let secrets = made().await;
    let mut stale = secrets.clone();
    stale.insert(OWN[0].to_owned(), made().await[OWN[0]].clone());
    for day in [1, 300] {
        let (result, _, written) = round(&stale, &wanted(Tls::Own, true), after(day)).await;
        let text = kept(&result);
        assert!(
            text.contains("Secret ledger-store-ca, key \"tls.crt\" holds another CA"),
            "{text}"
        );
        assert!(text.contains("in Secret ledger-store-tls-certs"), "{text}");
        assert!(written.is_empty(), "{written:?}");
    }
    // Nor is it replaced, whatever it says of itself.
    let asked = json!({ labels::CA_ROTATE: "monday", labels::CA_STEP: "restarting" });
    stale.get_mut(OWN[0]).expect("there")["metadata"]["annotations"] = asked;
    let (result, _, written) = round(&stale, &wanted(Tls::Own, true), after(1)).await;
    kept(&result);
    assert!(written.is_empty(), "{written:?}");
    // What members believe is known from any Secret that they have a certificate in.
    stale.remove("ledger-store-tls-certs");
    let (result, _, written) = round(&stale, &wanted(Tls::Own, true), after(1)).await;
    assert!(
        matches!(
            result,
            Err(CertificateError::Fault(Fault::CaReplaced { .. }))
        ),
        "{result:?}"
    );
    assert!(written.is_empty(), "{written:?}");
    let mut spoiled = secrets.clone();
    let ca = &stale[OWN[0]]["data"]["tls.crt"];
    spoiled.get_mut("ledger-store-tls-certs").expect("there")["data"]["ca.crt"] = ca.clone();
    let (result, _, written) = round(&spoiled, &wanted(Tls::Own, true), after(1)).await;
    good(&result);
    assert_eq!(written, ["PUT ledger-store-tls-certs"]);
    // Without members any CA will do.
    let (result, _, written) = round(&stale, &wanted(Tls::Own, false), after(1)).await;
    good(&result);
    assert!(written.len() >= 2, "{written:?}");
}

#[tokio::test]
async fn secrets_of_others_are_neither_read_nor_written() {
    let secrets = made().await;
    for name in OWN {
        for owners in [
            json!([]),
            json!([{ "apiVersion": "v1", "kind": "X", "name": "x", "uid": "theirs", "controller": true }]),
        ] {
            let mut foreign = secrets.clone();
            foreign.get_mut(name).expect("there")["metadata"]["ownerReferences"] = owners;
            let (result, _, written) = round(&foreign, &wanted(Tls::Own, false), after(300)).await;
            assert!(
                matches!(
                    result,
                    Err(CertificateError::Apply(ApplyError::Foreign { .. }))
                ),
                "{name}: {result:?}"
            );
            assert!(
                !written.iter().any(|line| line.ends_with(name)),
                "{written:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_ca_whose_life_ends_is_told_in_time() {
    let secrets = made().await;
    let last = 20 * 365;
    let (result, early, _) = round(&secrets, &wanted(Tls::Own, true), after(last - 750)).await;
    assert!(!good(&result).contains("replaced"), "{result:?}");
    let (result, secrets, _) = round(&early, &wanted(Tls::Own, true), after(last - 700)).await;
    assert!(
        good(&result).contains("it is being replaced (trusting)"),
        "{result:?}"
    );
    // Members that are never restarted hold it up.
    let (_, secrets, _) = round(&secrets, &wanted(Tls::Own, true), after(last - 300)).await;
    let (_, mut secrets, _) = round(&secrets, &wanted(Tls::Own, true), after(last - 299)).await;
    secrets.get_mut(OWN[0]).expect("there")["metadata"]["annotations"][labels::CA_MINUTES] =
        json!("1h");
    let (result, _, _) = round(&secrets, &wanted(Tls::Own, true), after(last - 50)).await;
    let text = kept(&result);
    assert!(
        text.contains("Secret ledger-store-ca ends on 2046-02-24"),
        "{text}"
    );
    assert!(text.contains("members must be restarted"), "{text}");
    assert!(text.contains("5 to 1440 minutes"), "{text}");
}

/// CAs in a Secret.
fn believed(secrets: &Secrets, name: &str) -> usize {
    let bytes: ByteString =
        serde_json::from_value(secrets[name]["data"]["ca.crt"].clone()).expect("bytes");
    String::from_utf8(bytes.0)
        .expect("PEM")
        .matches("BEGIN")
        .count()
}

fn step(secrets: &Secrets) -> String {
    let step = &secrets[OWN[0]]["metadata"]["annotations"][labels::CA_STEP];
    let step = step.as_str().unwrap_or_default();
    step.split(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_ca_is_replaced_in_steps_that_each_wait_for_the_members() {
    let mut secrets = made().await;
    let first = secrets[OWN[0]]["data"].clone();
    secrets.get_mut(OWN[0]).expect("there")["metadata"]["annotations"] =
        json!({ labels::CA_ROTATE: "monday" });
    let (mut minute, mut wanted) = (0, wanted(Tls::Own, true));
    let mut walk = Vec::new();
    for _ in 0..14 {
        let at = now() + SignedDuration::from_mins(minute);
        let (result, next, _) = round(&secrets, &wanted, at).await;
        good(&result);
        let told = (
            step(&next),
            believed(&next, OWN[1]),
            believed(&next, OWN[2]),
        );
        if walk.last() != Some(&told) {
            walk.push(told);
        }
        // Members are restarted later than they must be.
        let trust = &next[OWN[0]]["metadata"]["annotations"][labels::CA_TRUST];
        if minute >= 240 {
            wanted.started_with = trust.as_str().map(str::to_owned);
        }
        secrets = next;
        minute += 60;
    }
    let told = |step: &str, cas| (step.to_owned(), cas, cas);
    let wanted_walk = [
        told("trusting", 2),
        told("restarting", 2),
        told("reissuing", 2),
        told("dropping", 1),
        told("", 1),
    ];
    assert_eq!(walk, wanted_walk);
    let data = secrets[OWN[0]]["data"].as_object().expect("data");
    assert_eq!(data.len(), 2);
    assert_ne!(data["tls.crt"], first["tls.crt"]);
    assert_ne!(data["tls.key"], first["tls.key"]);
}

#[tokio::test]
async fn a_wish_about_a_ca_that_cannot_be_read_is_told() {
    let mut secrets = made().await;
    let annotations = json!({ labels::CA_MINUTES: "1h" });
    secrets.get_mut(OWN[0]).expect("there")["metadata"]["annotations"] = annotations;
    let (result, _, _) = round(&secrets, &wanted(Tls::Own, true), now()).await;
    assert!(good(&result).contains("5 to 1440 minutes"), "{result:?}");
    // So it is while the CA cannot be used.
    let mut unsound = secrets.clone();
    unsound.get_mut(OWN[0]).expect("there")["data"] = json!({});
    let (result, _, _) = round(&unsound, &wanted(Tls::Own, true), now()).await;
    let text = kept(&result);
    assert!(
        text.contains("has no key") && text.contains("5 to 1440 minutes"),
        "{text}"
    );
}

/// A user's Secret that is sound, and the copy of it.
pub(super) async fn given() -> Secrets {
    let data = made().await["ledger-store-tls-certs"]["data"].clone();
    let mine = json!({ "metadata": { "name": "mine" }, "data": data });
    let secrets = Secrets::from([("mine".to_owned(), mine)]);
    let (result, secrets, written) = round(&secrets, &wanted(user(), false), now()).await;
    assert!(good(&result).contains("Secret mine"), "{result:?}");
    assert_eq!(written, ["POST ledger-store-tls-certs"]);
    secrets
}

#[tokio::test]
async fn a_users_certificate_is_copied_and_followed() {
    let mut secrets = given().await;
    let copy = secrets["ledger-store-tls-certs"]["data"].clone();
    assert_eq!(copy, secrets["mine"]["data"]);
    let (result, _, written) = round(&secrets, &wanted(user(), true), after(1)).await;
    assert!(!good(&result).contains("renew it now"), "{result:?}");
    assert!(written.is_empty(), "{written:?}");
    let (result, _, _) = round(&secrets, &wanted(user(), true), after(300)).await;
    assert!(good(&result).contains("renew it now"), "{result:?}");
    let (result, _, _) = round(&secrets, &wanted(user(), true), after(355)).await;
    assert!(
        kept(&result).contains("put a new one there now"),
        "{result:?}"
    );
    // The same CA signs a new one: as the operator does when it renews.
    let ca = made().await;
    let (_, renewed, _) = round(&ca, &wanted(Tls::Own, true), after(250)).await;
    secrets = Secrets::from([
        (
            "mine".to_owned(),
            json!({ "metadata": { "name": "mine" }, "data": renewed["ledger-store-tls-certs"]["data"] }),
        ),
        (
            "ledger-store-tls-certs".to_owned(),
            ca["ledger-store-tls-certs"].clone(),
        ),
    ]);
    let (result, after, written) = round(&secrets, &wanted(user(), true), after(251)).await;
    good(&result);
    assert_eq!(written, ["PUT ledger-store-tls-certs"]);
    assert_eq!(
        after["ledger-store-tls-certs"]["data"],
        renewed["ledger-store-tls-certs"]["data"]
    );
}

#[tokio::test]
async fn a_users_certificate_of_another_common_name_is_not_taken_once_etcd_has_users() {
    let secrets = given().await;
    let knows = |user: &str| Certificates {
        users: true,
        member_user: Some(user.to_owned()),
        ..wanted(super::certificates::user(), true)
    };
    let (result, _, written) = round(&secrets, &knows("etcd-member"), after(1)).await;
    good(&result);
    assert!(written.is_empty(), "{written:?}");
    let (result, _, written) = round(&secrets, &knows("ledger.example"), after(1)).await;
    let text = kept(&result);
    assert!(
        text.contains("\"etcd-member\"") && text.contains("\"ledger.example\""),
        "{text}"
    );
    assert!(written.is_empty(), "{written:?}");
}

#[tokio::test]
async fn what_becomes_of_a_users_secret_leaves_the_members_what_they_have() {
    let secrets = given().await;
    let without = |change: &dyn Fn(&mut Secrets)| {
        let mut secrets = secrets.clone();
        change(&mut secrets);
        secrets
    };
    let other = made().await["ledger-store-tls-certs"]["data"].clone();
    let cases = [
        (
            "Secret mine is not there",
            without(&|all| drop(all.remove("mine"))),
            1,
        ),
        (
            "no key \"tls.key\"",
            without(&|all| {
                drop(
                    all.get_mut("mine")
                        .and_then(|mine| mine["data"].as_object_mut()?.remove("tls.key")),
                )
            }),
            1,
        ),
        (
            "holds another CA than the members were made with",
            without(&|all| all.get_mut("mine").expect("there")["data"] = other.clone()),
            1,
        ),
        ("expired on 2027-03-01T12:00:00Z", secrets.clone(), 400),
    ];
    for (wanted_text, there, day) in cases {
        let (result, _, written) = round(&there, &wanted(user(), true), after(day)).await;
        assert!(
            kept(&result).contains(wanted_text),
            "{wanted_text}: {result:?}"
        );
        assert!(written.is_empty(), "{wanted_text}: {written:?}");
        // Where no member has one yet, nothing is made.
        let mut first = there.clone();
        first.remove("ledger-store-tls-certs");
        let (result, _, written) = round(&first, &wanted(user(), false), after(day)).await;
        if wanted_text.contains("another CA") {
            good(&result);
        } else {
            assert!(
                matches!(result, Err(CertificateError::Fault(_))),
                "{result:?}"
            );
            assert!(written.is_empty(), "{written:?}");
        }
    }
}

#[tokio::test]
async fn members_whose_names_a_users_certificate_does_not_hold_are_not_made() {
    let secrets = given().await;
    let mut more = wanted(user(), true);
    more.needed.push("elsewhere.example.org".to_owned());
    let (result, _, written) = round(&secrets, &more, after(1)).await;
    let Err(CertificateError::Fault(fault @ Fault::NameMissing { .. })) = result else {
        panic!("{result:?}");
    };
    assert!(
        fault.to_string().contains("elsewhere.example.org"),
        "{fault}"
    );
    assert!(written.is_empty(), "{written:?}");
}

#[tokio::test]
async fn a_user_s_secret_under_our_name_is_refused() {
    let mut secrets = given().await;
    let mine = secrets["mine"].clone();
    secrets.insert("ledger-store-tls-certs".to_owned(), mine);
    let (result, _, written) = round(&secrets, &wanted(user(), false), now()).await;
    assert!(
        matches!(
            result,
            Err(CertificateError::Apply(ApplyError::Foreign { .. }))
        ),
        "{result:?}"
    );
    assert!(written.is_empty(), "{written:?}");
}
