//! Users of etcd: who etcd is given, which Secrets are made, and what is refused with members left as they are.

use std::collections::BTreeMap;

use etcd_operator_api::account::{KeyAccess, KeyPermission, PasswordSecretRef, SystemAccount};
use etcd_operator_api::condition::Truth;
use etcd_operator_api::instance_set::AccountsStatus;
use k8s_openapi::ByteString;
use kbagent_protocol::{ACCOUNTS_FILE, Accounts};
use serde_json::{Value, json};

use super::secrets::{Secrets, serving};
use super::*;
use crate::component::accounts::{Planned, Source, as_user};
use crate::component::certificates::member_user;
use crate::component::credentials::{CredentialError, Provided, provide};
use crate::controller::ApplyError;
use crate::fake_api::server;

const ALL: &str = "ledger-store-accounts";

fn account(name: &str, prefix: Option<&str>) -> SystemAccount {
    let permission = |prefix: &str| KeyPermission {
        key: None,
        prefix: Some(prefix.to_owned()),
        access: KeyAccess::ReadWrite,
    };
    SystemAccount {
        name: name.to_owned(),
        permissions: prefix.map(permission).into_iter().collect(),
        ..SystemAccount::default()
    }
}

fn given(name: &str, secret: &str) -> SystemAccount {
    SystemAccount {
        secret_ref: Some(PasswordSecretRef {
            name: secret.to_owned(),
            namespace: None,
            password: "password".to_owned(),
        }),
        ..account(name, Some("/app/"))
    }
}

fn with(accounts: Vec<SystemAccount>) -> Component {
    let mut component = component();
    component.spec.tls_config = Some(super::tls::issued());
    component.spec.system_accounts = accounts;
    component
}

fn users(accounts: Vec<SystemAccount>) -> Vec<Planned> {
    planned(&with(accounts)).accounts.expect("users")
}

/// One round with these Secrets there; those that are there afterwards, and the requests that wrote.
async fn round(
    secrets: &Secrets,
    planned: &[Planned],
) -> (Result<Provided, CredentialError>, Secrets, Vec<String>) {
    let (context, asked) = serving(secrets);
    let result = provide(&context.client, &component(), planned).await;
    let (mut after, mut written) = (secrets.clone(), Vec::new());
    for (line, body) in asked.lock().expect("no panic").iter() {
        if !line.starts_with("GET") {
            let name = body["metadata"]["name"].as_str().expect("a name");
            after.insert(name.to_owned(), body.clone());
            written.push(name.to_owned());
        }
    }
    (result, after, written)
}

fn provided(result: Result<Provided, CredentialError>) -> Provided {
    result.expect("provided")
}

fn secret(data: &[(&str, &str)]) -> Value {
    let encoded = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
    let data = data
        .iter()
        .map(|(key, text)| ((*key).to_owned(), encoded(text)));
    json!({ "metadata": { "name": "mine", "namespace": "books" }, "data": data.collect::<BTreeMap<_, _>>() })
}

/// What agents are given.
fn file(secrets: &Secrets) -> Accounts {
    let bytes: ByteString =
        serde_json::from_value(secrets[ALL]["data"][ACCOUNTS_FILE].clone()).expect("bytes");
    serde_json::from_slice(&bytes.0).expect("accounts")
}

fn password(secrets: &Secrets, name: &str) -> Option<String> {
    let accounts = file(secrets).accounts;
    let account = accounts.into_iter().find(|account| account.name == name);
    account.expect("a user").password.map(|password| password.0)
}

#[test]
fn members_root_and_the_applications_certificate_are_users_without_being_named() {
    let all = users(vec![account("billing", Some("/billing/"))]);
    let told = |planned: &Planned| {
        let (of, rights) = (&planned.account, planned.account.permissions.len());
        let generated = matches!(planned.source, Source::Generated { .. });
        (of.name.clone(), of.admin, rights, generated)
    };
    let told: Vec<_> = all.iter().map(told).collect();
    let text = str::to_owned;
    let wanted = [
        (text("etcd-member"), true, 0, false),
        (text("etcd-backup"), true, 0, false),
        (text("root"), true, 0, true),
        (text("etcd-client"), false, 1, false),
        (text("billing"), false, 1, true),
    ];
    assert_eq!(told, wanted);
    // Named, they are as they are named; what is disabled is not there.
    let off = SystemAccount {
        disabled: Some(true),
        ..account("etcd-client", None)
    };
    let names = users(vec![given("root", "mine"), off]);
    let names: Vec<_> = names.iter().map(|of| of.account.name.as_str()).collect();
    assert_eq!(names, ["etcd-member", "etcd-backup", "root"]);
}

fn with_users_ca(accounts: Vec<SystemAccount>) -> Component {
    let mut component = with(accounts);
    let tls = json!({ "enable": true, "issuer": { "name": "UserProvided",
        "secretRef": { "name": "mine", "ca": "ca.crt", "cert": "tls.crt", "key": "tls.key" } } });
    component.spec.tls_config = serde_json::from_value(tls).expect("an issuer");
    component
}

#[test]
fn with_a_users_ca_members_are_whom_their_certificate_names() {
    let accounts = vec![account("billing", Some("/billing/"))];
    let mut all = planned(&with_users_ca(accounts)).accounts.expect("users");
    let names = |all: &[Planned]| {
        let names = all.iter().map(|of| of.account.name.clone());
        names.collect::<Vec<_>>()
    };
    // What his CA has signed is not known: no one has rights that were not named.
    assert_eq!(names(&all), ["root", "billing"]);
    as_user(&mut all, "ledger.example").expect("a user");
    assert_eq!(names(&all), ["ledger.example", "root", "billing"]);
    assert!(all[0].account.admin && all[0].source == Source::Certificate);
    for name in ["root", "billing"] {
        let refused = as_user(&mut all, name).expect_err("refused").to_string();
        assert!(refused.contains("put another common name"), "{refused}");
    }
    let refused = |component: &Component| {
        let plan = super::super::plan::plan(component, &shipped(), "cluster.local");
        plan.err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    };
    let mut plain = with(vec![account("root", None)]);
    plain.spec.tls_config = None;
    assert!(refused(&plain).contains("tls: true"), "in plain text");
}

/// A Secret with a certificate of these common names.
fn named(names: &[&str]) -> Value {
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    };
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca_pem = ca.self_signed(&ca_key).expect("a CA").pem();
    let ca = Issuer::new(ca, ca_key);
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name = DistinguishedName::new();
    for name in names {
        leaf.distinguished_name.push(DnType::CommonName, *name);
    }
    let key = KeyPair::generate().expect("a key");
    let cert = leaf.signed_by(&key, &ca).expect("signed").pem();
    let key = key.serialize_pem();
    let files = [
        ("ca.crt", ca_pem.as_str()),
        ("tls.crt", cert.as_str()),
        ("tls.key", key.as_str()),
    ];
    let mut copy = secret(&files);
    copy["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps.kubeblocks.io/v1", "kind": "Component",
        "name": "ledger-store", "uid": "u-2", "controller": true }]);
    copy
}

#[tokio::test]
async fn a_certificate_without_a_common_name_is_refused_where_etcd_has_users() {
    let user = async |names: &[&str]| {
        let copy = named(names);
        let (context, _) = server(move |_| (200, copy.clone()));
        let now = "2026-03-01T12:00:00Z".parse().expect("a moment");
        member_user(&context.client, &component(), now).await
    };
    assert_eq!(
        user(&["ledger.example"]).await.ok().as_deref(),
        Some("ledger.example")
    );
    let refused = user(&[]).await.expect_err("refused").to_string();
    assert!(refused.contains("no common name"), "{refused}");
    assert!(
        refused.contains("Secret ledger-store-tls-certs"),
        "{refused}"
    );
}

#[test]
fn the_agent_reads_the_users_and_no_other_container_does() {
    let plan = planned(&with(vec![account("root", None)]));
    let (_, spec) = pod(&plan);
    let volume = spec
        .volumes
        .iter()
        .flatten()
        .find(|v| v.name == "kb-accounts");
    let secret = volume.and_then(|v| v.secret.as_ref()).expect("a Secret");
    assert_eq!(secret.secret_name.as_deref(), Some(ALL));
    assert_eq!(secret.default_mode, Some(0o440));
    for container in &spec.containers {
        let mounts = container.volume_mounts.iter().flatten();
        let mounted = mounts.filter(|mount| mount.name == "kb-accounts").count();
        assert_eq!(
            mounted == 1,
            container.name == "kbagent",
            "{}",
            container.name
        );
    }
    assert_eq!(plan.instance_set.annotations()[labels::ACCOUNTS], "on");
    let before = planned(&with(Vec::new()));
    assert!(before.accounts.is_none());
    assert!(
        !before
            .instance_set
            .annotations()
            .contains_key(labels::ACCOUNTS)
    );
    // Users are the owner's doing, so their pods are not held back.
    let mut observed = shipped();
    observed.instance_set = Some(before.instance_set);
    let held = super::super::plan::plan(
        &with(vec![account("root", None)]),
        &observed,
        "cluster.local",
    );
    assert_eq!(held.expect("a plan").held, None);
}

#[test]
fn what_cannot_be_had_is_refused_by_its_field() {
    let mut plain = component();
    plain.spec.system_accounts = vec![account("root", None)];
    let told = refused(&plain, &shipped());
    assert!(told.starts_with("systemAccounts need tls: true"), "{told}");
    let told = refused(&with(vec![account("etcd-member", Some(""))]), &shipped());
    assert!(told.contains("take another name"), "{told}");
    let mut far = given("billing", "mine");
    if let Some(secret) = &mut far.secret_ref {
        secret.namespace = Some("other".to_owned());
    }
    let told = refused(&with(vec![far]), &shipped());
    assert!(
        told.contains(r#"systemAccounts[billing].secretRef.namespace "other""#),
        "{told}"
    );
    // Once it is on it stays on.
    let mut observed = shipped();
    observed.instance_set = Some(planned(&with(vec![account("root", None)])).instance_set);
    let told = refused(&with(Vec::new()), &observed);
    assert!(
        told.starts_with("systemAccounts cannot be emptied"),
        "{told}"
    );
}

#[tokio::test]
async fn passwords_are_drawn_once_and_kept() {
    let planned = users(vec![account("billing", Some("/billing/"))]);
    let (result, secrets, written) = round(&Secrets::new(), &planned).await;
    let first = provided(result);
    assert_eq!((first.users, &first.kept), (5, &None));
    assert_eq!(
        written,
        [
            "ledger-store-account-root",
            "ledger-store-account-billing",
            ALL
        ]
    );
    let drawn = password(&secrets, "billing").expect("a password");
    assert!(drawn.len() == 64 && password(&secrets, "root") != Some(drawn.clone()));
    assert_eq!(password(&secrets, "etcd-member"), None);
    let (result, _, written) = round(&secrets, &planned).await;
    assert_eq!((provided(result), written.len()), (first.clone(), 0));
    // Its Secret is made again as it was, and etcd is given nothing new.
    let mut lost = secrets.clone();
    lost.remove("ledger-store-account-billing");
    let (result, after, written) = round(&lost, &planned).await;
    assert_eq!(provided(result), first);
    assert_eq!(written, ["ledger-store-account-billing"]);
    assert_eq!(password(&after, "billing"), Some(drawn));
}

#[tokio::test]
async fn another_password_in_a_secret_is_another_generation() {
    let planned = users(vec![given("billing", "mine")]);
    let mut secrets = Secrets::from([("mine".to_owned(), secret(&[("password", "one")]))]);
    let (result, after, _) = round(&secrets, &planned).await;
    let first = provided(result);
    assert_eq!(password(&after, "billing").as_deref(), Some("one"));
    secrets = after;
    secrets.insert("mine".to_owned(), secret(&[("password", "two")]));
    let (result, after, written) = round(&secrets, &planned).await;
    assert_ne!(provided(result).generation, first.generation);
    assert_eq!(written, [ALL]);
    assert_eq!(password(&after, "billing").as_deref(), Some("two"));
    assert!(
        !format!("{:?}", file(&after)).contains("two"),
        "it is hidden"
    );
}

#[tokio::test]
async fn a_secret_at_fault_is_named_and_the_password_of_before_stays() {
    let planned = users(vec![given("billing", "mine")]);
    let good = Secrets::from([("mine".to_owned(), secret(&[("password", "one")]))]);
    let (result, good, _) = round(&good, &planned).await;
    let first = provided(result);
    let long = "x".repeat(73);
    let cases = [
        (None, "Secret mine is not there"),
        (
            Some(secret(&[("other", "x")])),
            r#"Secret mine has no key "password""#,
        ),
        (Some(secret(&[("password", "")])), "or it is empty"),
        (Some(secret(&[("password", "two\n")])), "a line break"),
        (Some(secret(&[("password", &long)])), "more than 72 bytes"),
        (
            Some(json!({ "metadata": { "name": "mine" }, "data": { "password": "//79" } })),
            "it is no text",
        ),
    ];
    for (found, wanted) in cases {
        let mut secrets = good.clone();
        secrets.remove("mine");
        secrets.extend(found.clone().map(|found| ("mine".to_owned(), found)));
        let (result, _, written) = round(&secrets, &planned).await;
        let kept = provided(result);
        assert_eq!((&kept.generation, written.len()), (&first.generation, 0));
        let text = kept.kept.expect("a fault");
        assert!(
            text.starts_with("systemAccounts[billing]") && text.contains(wanted),
            "{text}"
        );
        // Without one of before nothing is given to any agent.
        secrets.remove(ALL);
        let (result, after, _) = round(&secrets, &planned).await;
        let fault = result.expect_err("a fault").to_string();
        assert!(
            fault.contains(wanted) && !after.contains_key(ALL),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn secrets_of_others_are_neither_read_nor_written() {
    let planned = users(vec![account("billing", Some("/"))]);
    for name in [ALL, "ledger-store-account-root"] {
        let theirs = Secrets::from([(name.to_owned(), secret(&[("password", "known")]))]);
        let (result, after, written) = round(&theirs, &planned).await;
        let error = result.expect_err("refused");
        let foreign = matches!(&error, CredentialError::Apply(ApplyError::Foreign { .. }));
        assert!(foreign, "{name}: {error}");
        assert_eq!(after[name], theirs[name]);
        assert!(!written.contains(&ALL.to_owned()), "{written:?}");
    }
}

#[test]
fn the_condition_says_when_etcd_has_its_users() {
    let its = |accounts: Option<AccountsStatus>| {
        let mut its = instance_set(3, 3, "clusterID: abc\n");
        its.status.get_or_insert_default().accounts = accounts;
        its
    };
    let at_hand = |kept: Option<&str>| Secured {
        certified: None,
        provided: Some(Provided {
            generation: "two".to_owned(),
            users: 4,
            kept: kept.map(str::to_owned),
        }),
    };
    let told = |applied: Option<&str>, fault: Option<&str>, kept: Option<&str>| {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let status_of = AccountsStatus {
            applied: text(applied),
            fault: text(fault),
        };
        let its = its(Some(status_of));
        let secured = at_hand(kept);
        let seen = status(
            &component(),
            Some(&its),
            &Outcome::Applied,
            &secured,
            &at(20),
        );
        let found = condition::find(&seen.conditions, ConditionType::AccountsReady);
        let found = found.expect("a condition").clone();
        (
            found.status == Truth::True.as_str(),
            found.reason,
            found.message,
        )
    };
    let (fine, reason, text) = told(Some("two"), None, None);
    assert!(
        fine && reason == "AccountsApplied" && text.contains("4 users"),
        "{text}"
    );
    let (fine, reason, _) = told(Some("one"), None, None);
    assert!(!fine && reason == "AccountsPending");
    let (fine, reason, text) = told(Some("one"), Some("why"), None);
    assert!(!fine && reason == "AccountFault" && text == "why");
    let (fine, reason, text) = told(Some("two"), None, Some("a Secret"));
    assert!(!fine && reason == "AccountFault" && text == "a Secret");
}
