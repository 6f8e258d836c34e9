//! The store of etcd's API v2 before 3.5 goes to 3.6.

use etcd_operator_api::instance_set::V2StoreStatus;

use super::super::snapshot::BackupSeen;
use super::running::running;
use super::*;

/// A component of 3.5.35 that is asked to go to 3.6.16, whose members say this of their stores.
fn asked(stores: [Option<(Option<bool>, &str)>; 3]) -> (Component, Observed) {
    let mut wish = component();
    wish.spec.service_version = Some("3.6.16".into());
    let mut observed = running("3.5.35", &[Some("3.5.35"); 3]);
    observed.backup = Some(BackupSeen::default());
    let its = observed.instance_set.as_mut().expect("an InstanceSet");
    let members = &mut its.status.get_or_insert_default().members;
    for (member, told) in members.iter_mut().zip(stores) {
        member.v2_store = told.map(|(clean, message)| V2StoreStatus {
            clean,
            message: Some(message.to_owned()),
        });
    }
    (wish, observed)
}

const CLEAN: Option<(Option<bool>, &str)> = Some((Some(true), ""));
const CONTENT: Option<(Option<bool>, &str)> = Some((Some(false), "detected custom content"));

fn made_for(plan: &Plan) -> &str {
    &plan.instance_set.annotations()[labels::SERVICE_VERSION]
}

#[test]
fn what_the_next_minor_would_not_start_with_refuses_the_upgrade_before_anything_is_made() {
    let (mut wish, observed) = asked([CLEAN, CONTENT, None]);
    let told = refused(&wish, &observed);
    for part in [
        "ledger-store-1",
        "detected custom content",
        "new Cluster",
        labels::WITHOUT_V2_CHECK,
    ] {
        assert!(told.contains(part), "{told}");
    }
    let mut say = |text: &str| {
        let without = (labels::WITHOUT_V2_CHECK.to_owned(), text.to_owned());
        wish.annotations_mut().extend([without]);
        plan(&wish, &observed, "cluster.local").map_err(|error| error.to_string())
    };
    assert!(say("false").is_err());
    let told = say("yes").expect_err("neither true nor false");
    assert!(told.contains("\"yes\" is neither true"), "{told}");
    let plan = say("true").expect("plan");
    assert!(plan.waits.expect("told").text.contains("Backup"));
}

#[test]
fn a_member_that_has_not_said_is_waited_for_and_the_backup_comes_after() {
    for (store, word) in [
        (None, "OpsRequest Restart"),
        (
            Some((None, "its etcdutl checks the snapshot")),
            "its etcdutl",
        ),
    ] {
        let (wish, observed) = asked([CLEAN, CLEAN, store]);
        let plan = plan(&wish, &observed, "cluster.local").expect("plan");
        assert_eq!((made_for(&plan), plan.backup.as_ref()), ("3.5.35", None));
        let waits = plan.waits.expect("told");
        assert_eq!(waits.reason, condition::Reason::V2StoreUnchecked);
        assert!(
            waits.text.contains("ledger-store-2") && waits.text.contains(word),
            "{waits:?}"
        );
    }
    let (wish, observed) = asked([CLEAN; 3]);
    let planned = plan(&wish, &observed, "cluster.local").expect("plan");
    assert!(planned.backup.is_some());
    // Nothing is said of members that are not known.
    let (wish, mut observed) = asked([CLEAN; 3]);
    let its = observed.instance_set.as_mut().expect("an InstanceSet");
    its.status.get_or_insert_default().members.clear();
    let waits = plan(&wish, &observed, "cluster.local").expect("plan").waits;
    assert!(waits.expect("told").text.contains("no member is known"));
}

#[test]
fn it_is_not_asked_within_a_minor_nor_when_the_next_one_runs_already() {
    let (mut wish, mut observed) = asked([CONTENT; 3]);
    wish.spec.service_version = Some("3.5.35".into());
    assert_eq!(
        plan(&wish, &observed, "cluster.local").expect("plan").waits,
        None
    );
    wish.spec.service_version = Some("3.6.16".into());
    let its = observed.instance_set.as_mut().expect("an InstanceSet");
    its.status.get_or_insert_default().members[0].version = Some("3.6.16".into());
    let planned = plan(&wish, &observed, "cluster.local").expect("plan");
    assert_eq!(
        (made_for(&planned), planned.waits.as_ref()),
        ("3.6.16", None)
    );
}

#[test]
fn an_update_that_waits_for_it_is_told_as_that() {
    let waits = Outcome::Waits(super::super::change::Wait {
        reason: condition::Reason::V2StoreUnchecked,
        text: "a-0: it has not said".into(),
    });
    let told = status(&component(), None, &waits, &Secured::default(), &at(1_000));
    let held = condition::held_of(&told.conditions).expect("told on");
    assert_eq!(held.reason.as_str(), "V2StoreUnchecked");
}
