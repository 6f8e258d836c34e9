//! Certificates as they are issued, and each thing that can be wrong with a Secret.

use etcd_operator_api::names::ComponentName;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Service;
use rcgen::KeyPair;

use super::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a moment")
}

fn after(days: i32) -> Timestamp {
    now().checked_add(DAY * days).expect("a moment")
}

fn material(serial: u8) -> Material {
    Material {
        key: KeyPair::generate().expect("a key"),
        serial: [serial; 16],
    }
}

fn place() -> Place {
    let text = str::to_owned;
    Place {
        secret: text("mine"),
        ca: text("ca.crt"),
        cert: text("tls.crt"),
        key: text("tls.key"),
    }
}

fn data(made: &Made) -> Data {
    let parts = [
        ("ca.crt", &made.ca),
        ("tls.crt", &made.cert),
        ("tls.key", &made.key),
    ];
    parts
        .into_iter()
        .map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())))
        .collect()
}

/// A CA of this moment, as it is read back.
fn ca(at: Timestamp) -> Read {
    let made = new_ca("ledger-store", &material(1), at).expect("a CA");
    read_ca(&place(), &data(&made), at).expect("a CA")
}

fn pods() -> [String; 3] {
    [0, 1, 2].map(|ordinal| format!("ledger-store-{ordinal}"))
}

fn names() -> Names {
    let name = ComponentName::existing("ledger-store");
    member_names(&name, "books", "cluster.local", (&pods(), &[]))
}

fn member(ca: &Read, at: Timestamp) -> Made {
    let signs = Ca::new(ca).expect("a CA");
    sign(&signs, Subject::Member, &names(), &material(2), at).expect("a certificate")
}

fn fault(data: &Data, needed: &[&str], at: Timestamp) -> Fault {
    let needed: Vec<String> = needed.iter().map(ToString::to_string).collect();
    let found = read(&place(), data, Subject::Member, &needed, at);
    found.expect_err("it is unsound")
}

#[test]
fn a_members_certificate_is_for_every_name_it_is_called_by() {
    let service: Service = serde_json::from_value(serde_json::json!({
        "metadata": { "name": "ledger-outside" },
        "spec": { "externalIPs": ["192.0.2.7", "no address!"] },
        "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.9" }, { "hostname": "etcd.example.org" },
            { "hostname": "_no name_" }] } },
    }))
    .expect("a Service");
    let name = ComponentName::existing("ledger-store");
    let names = member_names(&name, "books", "cluster.local", (&pods(), &[service]));
    let ca = ca(now());
    let signs = Ca::new(&ca).expect("a CA");
    let made = sign(&signs, Subject::Member, &names, &material(2), now()).expect("signed");
    let pod = "ledger-store-2.ledger-store-headless";
    let needed = [
        "ledger-store",
        "ledger-store.books",
        "ledger-store.books.svc",
        "ledger-store.books.svc.cluster.local",
        "ledger-store-headless.books.svc.cluster.local",
        pod,
        &format!("{pod}.books"),
        &format!("{pod}.books.svc"),
        &format!("{pod}.books.svc.cluster.local"),
        "ledger-outside.books.svc",
        "etcd.example.org",
        "192.0.2.7",
        "192.0.2.9",
        "localhost",
        "127.0.0.1",
        "::1",
    ];
    let needed = needed.map(str::to_owned);
    let found = read(&place(), &data(&made), Subject::Member, &needed, now());
    let found = found.expect("a certificate");
    assert_eq!(found.names, names);
    let other = fault(&data(&made), &["other.books.svc"], now());
    assert!(matches!(other, Fault::NameMissing { .. }), "{other}");
}

#[test]
fn a_client_s_certificate_is_no_servers_and_no_members() {
    let ca = ca(now());
    let signs = Ca::new(&ca).expect("a CA");
    let none = Names::default();
    let made = sign(&signs, Subject::Client, &none, &material(3), now()).expect("signed");
    let found = read(&place(), &data(&made), Subject::Client, &[], now());
    found.expect("a client's");
    let as_member = fault(&data(&made), &[], now());
    assert!(matches!(as_member, Fault::Usage { .. }), "{as_member}");
    let told = as_member.to_string();
    assert!(told.contains("(serverAuth is missing)"), "{told}");
    assert_ne!(Subject::Client.common_name(), Subject::Member.common_name());
}

#[test]
fn what_is_wrong_is_named_with_its_secret_its_key_and_its_date() {
    let ca_of_now = ca(now());
    let good = data(&member(&ca_of_now, now()));
    let with = |key: &str, value: Option<&[u8]>| {
        let mut changed = good.clone();
        changed.remove(key);
        changed.extend(value.map(|value| (key.to_owned(), ByteString(value.to_vec()))));
        changed
    };
    let other = member(&ca(now()), now());
    let many = ca_of_now.cert.repeat(17);
    let leaf = good["tls.crt"].0.clone();
    let cases = [
        (
            "half a Secret",
            with("tls.key", None),
            r#"Secret mine has no key "tls.key""#,
        ),
        (
            "an empty part",
            with("ca.crt", Some(b"")),
            r#"no key "ca.crt", or it is empty"#,
        ),
        (
            "no PEM",
            with("tls.crt", Some(b"\x00\xff")),
            r#"key "tls.crt" cannot be read"#,
        ),
        (
            "a broken key",
            with(
                "tls.key",
                Some(b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"),
            ),
            r#"key "tls.key" cannot be read"#,
        ),
        (
            "another's key",
            with("tls.key", Some(other.key.as_bytes())),
            r#"key "tls.key" is not the private key of the certificate in "tls.crt""#,
        ),
        (
            "another CA",
            with("ca.crt", Some(other.ca.as_bytes())),
            r#"the certificate in "tls.crt" is not signed by the CA in "ca.crt""#,
        ),
        (
            "no CA",
            with("ca.crt", Some(&leaf)),
            r#"key "ca.crt" holds a certificate that is no CA"#,
        ),
        (
            "too many",
            with("ca.crt", Some(many.as_bytes())),
            "holds 17 certificates: 16 at most",
        ),
    ];
    for (name, data, wanted) in cases {
        let told = fault(&data, &[], now()).to_string();
        assert!(told.contains(wanted), "{name}: {told}");
        assert!(told.contains("Secret mine"), "{name}: {told}");
    }
}

#[test]
fn a_certificate_out_of_time_is_named_with_its_date() {
    let good = data(&member(&ca(now()), now()));
    let early = fault(&good, &[], after(-1)).to_string();
    assert!(
        early.contains("not valid before 2026-03-01T10:00:00Z"),
        "{early}"
    );
    let late = fault(&good, &[], after(366)).to_string();
    assert!(late.contains("expired on 2027-03-01T12:00:00Z"), "{late}");
    assert!(late.contains("tls.crt"), "{late}");
}

#[test]
fn no_other_ca_is_advised_where_members_would_not_trust_it() {
    let ahead = after(11 * 365);
    let made = data(&new_ca("ledger-store", &material(1), ahead).expect("a CA"));
    let own = |at| {
        let read = read_ca(&place(), &made, at).map(|ca| ca.not_after);
        read.expect_err("it is out of time").to_string()
    };
    let users = |at| fault(&data(&member(&ca(ahead), now())), &[], at).to_string();
    for told in [own(now()), own(after(32 * 365)), users(now())] {
        assert!(told.contains("members trust no other CA"), "{told}");
        assert!(!told.contains("replace it"), "{told}");
    }
    assert!(own(now()).contains("delete the Secret"));
    assert!(users(now()).contains("put another CA there"));
    let good = data(&member(&ca(now()), now()));
    for day in [-1, 366] {
        let told = fault(&good, &[], after(day)).to_string();
        assert!(told.contains("replace it, and keep the CA"), "{told}");
    }
}

#[test]
fn a_ca_that_is_out_of_time_signs_nothing() {
    let old = ca(after(-20 * 365 + 100));
    let made = member(&old, now());
    let found = read(&place(), &data(&made), Subject::Member, &[], now());
    let certificate = found.expect("while the CA lives");
    assert_eq!(
        certificate.not_after, old.not_after,
        "it does not outlive it"
    );
    // One that claims another end.
    let endless = Read {
        not_after: after(1000),
        ..ca(after(-20 * 365 + 100))
    };
    let told = fault(&data(&member(&endless, now())), &[], after(200));
    assert!(
        matches!(&told, Fault::Expired { field, .. } if field == "ca.crt"),
        "{told}"
    );
}

#[test]
fn clocks_that_are_an_hour_behind_take_a_new_certificate() {
    let ca = ca(now());
    let made = data(&member(&ca, now()));
    let behind = now().checked_sub(SignedDuration::from_hours(1));
    let found = read(
        &place(),
        &made,
        Subject::Member,
        &[],
        behind.expect("a moment"),
    );
    found.expect("valid");
}

#[test]
fn what_was_issued_while_the_clock_was_years_ahead_is_issued_again_by_the_same_ca() {
    let ahead = after(5 * 365);
    let made = new_ca("ledger-store", &material(1), ahead).expect("a CA");
    let own = read_ca(&place(), &data(&made), now()).expect("a CA that is valid now");
    let all = names();
    let wanted = Wanted {
        names: &all,
        ca: &own.der,
        ca_ends: own.not_after,
    };
    let verdict = |data: &Data| {
        let found = read(&place(), data, Subject::Member, &[], now());
        leaf(Some(&found), wanted, now())
    };
    let early = verdict(&data(&member(&own, ahead)));
    let Leaf::Issue(why) = early else {
        panic!("it is kept")
    };
    assert!(why.contains("a clock was ahead"), "{why}");
    assert_eq!(verdict(&data(&member(&own, now()))), Leaf::Keep);
}

#[test]
fn certificates_are_issued_when_they_are_missing_unsound_due_or_short_of_a_name() {
    let own = ca(now());
    let all = names();
    let wanted = Wanted {
        names: &all,
        ca: &own.der,
        ca_ends: own.not_after,
    };
    let made = data(&member(&own, now()));
    let at = |data: &Data, wanted: Wanted<'_>, at: Timestamp| {
        let found = read(&place(), data, Subject::Member, &[], at);
        leaf(Some(&found), wanted, at)
    };
    assert_eq!(at(&made, wanted, now()), Leaf::Keep);
    // Two thirds of 365 days, and the two hours before.
    assert_eq!(at(&made, wanted, after(243)), Leaf::Keep);
    for day in [244, 300, 400] {
        let due = at(&made, wanted, after(day));
        assert!(matches!(due, Leaf::Issue(_)), "day {day}: {due:?}");
    }
    assert!(matches!(leaf(None, wanted, now()), Leaf::Issue(_)));
    let mut more = names();
    more.dns.insert("late.example.org".to_owned());
    let short = at(
        &made,
        Wanted {
            names: &more,
            ..wanted
        },
        now(),
    );
    assert_eq!(
        short,
        Leaf::Issue("it is not for late.example.org".to_owned())
    );
    let other = ca(now());
    let of_other = at(
        &made,
        Wanted {
            ca: &other.der,
            ..wanted
        },
        now(),
    );
    assert!(matches!(of_other, Leaf::Issue(_)));
    // The CA's end cannot be passed: it is not issued again and again.
    let ends = Wanted {
        ca_ends: after(365),
        ..wanted
    };
    assert_eq!(at(&made, ends, after(300)), Leaf::Keep);
}

#[test]
fn a_ca_that_members_believe_is_never_made_again() {
    assert_eq!(authority(false, false, "ca"), Ok(Authority::Make));
    assert_eq!(authority(true, true, "ca"), Ok(Authority::Keep));
    let lost = authority(false, true, "x-etcd-ca").expect_err("lost");
    assert!(lost.to_string().contains("x-etcd-ca"), "{lost}");
}
