//! What members believe does not change under them, whatever becomes of the Secrets that tell it.

use serde_json::{Value, json};

use super::certificates::{OWN, Recorded, after, given, made, now, recorded_round, user, wanted};
use super::secrets::Secrets;
use super::*;
use crate::certificates::Believed;
use crate::component::certificates::Certified;
use crate::component::plan::Certificates;
use crate::component::tls::Tls;

const COPY: &str = "ledger-store-tls-certs";

/// Members were made, and this is on record of what they believe.
fn running(tls: Tls, record: Option<&String>) -> Certificates {
    Certificates {
        believed: record.and_then(|text| Believed::read(text)),
        ..wanted(tls, true)
    }
}

/// What is told about a Secret at fault.
fn told(result: &Recorded) -> String {
    match result {
        Ok((Certified::Kept(text), _)) => text.clone(),
        Err(error) => error.to_string(),
        Ok((Certified::Good(text), _)) => panic!("nothing is at fault: {text}"),
    }
}

fn record(result: Recorded) -> String {
    let (_, record) = result.expect("certified");
    record[labels::CAS_BELIEVED].clone()
}

/// What may become of a Secret, another one's data at hand.
fn spoiled(secrets: &Secrets, name: &str, other: &Value) -> Vec<(&'static str, Secrets)> {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut secrets = secrets.clone();
        change(&mut secrets.get_mut(name).expect("there")["data"]);
        secrets
    };
    let mut without = secrets.clone();
    without.remove(name);
    vec![
        ("it is gone", without),
        ("it is empty", with(&|data| *data = json!({}))),
        ("no CA", with(&|data| data["ca.crt"] = json!("AA=="))),
        (
            "another CA",
            with(&|data| data["ca.crt"] = other["ca.crt"].clone()),
        ),
    ]
}

#[tokio::test]
async fn a_users_other_ca_is_not_copied_whatever_became_of_the_copy() {
    let secrets = given().await;
    let (result, _, _) = recorded_round(&secrets, &wanted(user(), false), now()).await;
    let first = record(result);
    let other = made().await[COPY]["data"].clone();
    let mut changed = secrets.clone();
    changed.get_mut("mine").expect("there")["data"] = other.clone();
    for (what, there) in spoiled(&changed, COPY, &other) {
        let known = running(user(), Some(&first));
        let (result, _, written) = recorded_round(&there, &known, after(1)).await;
        let text = told(&result);
        assert!(
            text.contains("another CA than the members were made with"),
            "{what}: {text}"
        );
        assert!(written.is_empty(), "{what}: {written:?}");
        // By an operator of before nothing was put on record.
        let (result, _, written) = recorded_round(&there, &running(user(), None), after(1)).await;
        let text = told(&result);
        assert!(
            text.contains("which CA members believe is not known"),
            "{what}: {text}"
        );
        assert!(
            text.contains("Secret ledger-store-tls-certs"),
            "{what}: {text}"
        );
        assert!(written.is_empty(), "{what}: {written:?}");
    }
    // Nor where the whole copy is of the other CA.
    let mut both = changed;
    both.get_mut(COPY).expect("there")["data"] = other.clone();
    let (result, _, written) =
        recorded_round(&both, &running(user(), Some(&first)), after(1)).await;
    told(&result);
    assert!(written.is_empty(), "{written:?}");
    // The same CA is copied again.
    for (what, there) in spoiled(&secrets, COPY, &other) {
        let known = running(user(), Some(&first));
        let (result, mended, written) = recorded_round(&there, &known, after(1)).await;
        assert_eq!(record(result), first, "{what}");
        assert_eq!(written.len(), 1, "{what}: {written:?}");
        assert_eq!(mended[COPY]["data"], secrets[COPY]["data"], "{what}");
    }
}

#[tokio::test]
async fn what_members_of_before_believe_is_taken_from_what_can_be_read() {
    let secrets = given().await;
    let (result, _, _) = recorded_round(&secrets, &running(user(), None), after(1)).await;
    let first = record(result);
    let mut gone = secrets.clone();
    gone.remove("mine");
    let (result, _, _) = recorded_round(&gone, &running(user(), None), after(1)).await;
    assert!(told(&result).contains("Secret mine is not there"));
    assert_eq!(record(result), first, "also while the user's is at fault");
    let mut lost = made().await;
    let (result, _, _) = recorded_round(&lost, &running(Tls::Own, None), after(1)).await;
    let own = record(result);
    lost.remove(OWN[0]);
    let (result, _, _) = recorded_round(&lost, &running(Tls::Own, None), after(1)).await;
    assert!(told(&result).contains("Secret ledger-store-ca"));
    assert_eq!(record(result), own, "also while the CA is lost");
}

#[tokio::test]
async fn a_ca_of_the_operator_that_members_do_not_believe_signs_nothing_without_other_secrets() {
    let secrets = made().await;
    let (result, _, _) = recorded_round(&secrets, &wanted(Tls::Own, false), now()).await;
    let first = record(result);
    let stale = made().await;
    let alone = |all: &Secrets| Secrets::from([(OWN[0].to_owned(), all[OWN[0]].clone())]);
    // Not even where all Secrets were put back together.
    for there in [alone(&stale), stale] {
        let known = running(Tls::Own, Some(&first));
        let (result, _, written) = recorded_round(&there, &known, after(300)).await;
        let text = told(&result);
        assert!(
            text.contains("Secret ledger-store-ca, key \"tls.crt\" holds another CA"),
            "{text}"
        );
        assert!(text.contains(&first), "{text}");
        assert!(written.is_empty(), "{written:?}");
    }
    let right = alone(&secrets);
    let (result, _, written) = recorded_round(&right, &running(Tls::Own, None), after(1)).await;
    let text = told(&result);
    assert!(
        text.contains("which CA members believe is not known"),
        "{text}"
    );
    assert!(written.is_empty(), "{written:?}");
    let known = running(Tls::Own, Some(&first));
    let (result, _, written) = recorded_round(&right, &known, after(1)).await;
    assert_eq!(record(result), first);
    let made = ["POST ledger-store-tls-certs", "POST ledger-store-client"];
    assert_eq!(written, made);
}

#[tokio::test]
async fn the_record_follows_a_ca_that_is_replaced() {
    let mut secrets = made().await;
    let (result, _, _) = recorded_round(&secrets, &wanted(Tls::Own, false), now()).await;
    let first = record(result);
    let asked = json!({ labels::CA_ROTATE: "monday" });
    secrets.get_mut(OWN[0]).expect("there")["metadata"]["annotations"] = asked;
    let known = running(Tls::Own, Some(&first));
    let (result, _, _) = recorded_round(&secrets, &known, after(1)).await;
    let both = record(result);
    assert_eq!(both.split(',').count(), 2, "{both}");
    assert!(both.contains(&first), "{both}");
}

#[tokio::test]
async fn which_cas_members_are_started_with_is_taken_from_a_ca_that_they_believe() {
    let secrets = made().await;
    let (result, _, _) = recorded_round(&secrets, &wanted(Tls::Own, false), now()).await;
    let known = Certificates {
        trust: Some("x".to_owned()),
        ..running(Tls::Own, Some(&record(result)))
    };
    let with = |ca: &Value, trust: Value| {
        let mut all = secrets.clone();
        let mut ca = ca.clone();
        ca["metadata"]["annotations"] = trust;
        all.insert(OWN[0].to_owned(), ca);
        all
    };
    let others = made().await;
    let (ours, other) = (&secrets[OWN[0]], &others[OWN[0]]);
    let mut lost = secrets.clone();
    lost.remove(OWN[0]);
    let trust = |text: &str| json!({ labels::CA_TRUST: text });
    let cases = [
        ("it says so", with(ours, trust("y")), "y"),
        ("it says nothing", with(ours, json!({})), "x"),
        ("another CA", with(other, trust("y")), "x"),
        ("no CA", lost, "x"),
    ];
    for (what, there, started_with) in cases {
        let (result, _, _) = recorded_round(&there, &known, after(1)).await;
        let (_, record) = result.expect("members have certificates");
        assert_eq!(record[labels::CA_TRUST], started_with, "{what}");
    }
}

#[test]
fn members_are_not_restarted_for_a_secret_that_is_lost_or_put_back() {
    let mut component = component();
    component.spec.tls_config = Some(super::tls::issued());
    let of = |its: Option<&InstanceSet>, trust: Option<&str>| {
        let observed = Observed {
            instance_set: its.cloned(),
            trust: trust.map(str::to_owned),
            ..shipped()
        };
        plan(&component, &observed, "cluster.local").expect("a plan")
    };
    let live = of(None, Some("x")).instance_set;
    let told = |its: &InstanceSet| its.spec.template.0.to_string();
    assert!(told(&live).contains("KB_TRUSTED_CAS"), "the first members");
    for trust in [None, Some("old")] {
        let plan = of(Some(&live), trust);
        assert_eq!(plan.instance_set.spec.template, live.spec.template);
        assert_eq!(plan.held, None);
        let wanted = plan.certificates.expect("certificates");
        assert_eq!(wanted.trust.as_deref(), Some("x"));
    }
    // What is on record is what they are restarted for.
    let mut recorded = live.clone();
    let annotations = recorded.annotations_mut();
    annotations.insert(labels::CA_TRUST.to_owned(), "y".to_owned());
    let plan = of(Some(&recorded), None);
    let wanted = told(&live).replace(r#""value":"x""#, r#""value":"y""#);
    assert_eq!(told(&plan.instance_set), wanted);
    assert_ne!(wanted, told(&live));
}

#[test]
fn the_record_is_read_from_the_members() {
    let mut component = component();
    component.spec.tls_config = Some(super::tls::issued());
    let mut observed = shipped();
    let mut its = planned(&component).instance_set;
    let text = "0123456789abcdef".to_owned();
    for (written, read) in [
        (text.clone(), Believed::read(&text)),
        ("x".to_owned(), None),
    ] {
        let annotations = its.annotations_mut();
        annotations.insert(labels::CAS_BELIEVED.to_owned(), written);
        observed.instance_set = Some(its.clone());
        let plan = plan(&component, &observed, "cluster.local").expect("a plan");
        assert_eq!(plan.certificates.expect("certificates").believed, read);
    }
}
