//! Each plan can find its bug, and is what documents and the Makefile say.

use std::time::Duration;

use super::*;
use crate::faults::{Disturbance, Fault};
use crate::scenario::Origin;

#[test]
fn every_bug_has_a_plan_that_can_find_it() {
    for bug in all() {
        assert_ne!(bug.affected, bug.fixed);
        assert!(!bug.checks.is_empty() || bug.panic.is_some());
        let plan = bug.plan(bug.affected, 4);
        let trial = plan.trial().expect("a load");
        let round = trial.lasts + trial.warm_up;
        assert!(round <= bug.budget, "{} has one round at least", bug.name);
        let again = format!(
            "harness bug {} --version {} --seed 4",
            bug.name, bug.affected
        );
        assert_eq!(plan.replay(), again);
        assert!(find(bug.name).is_some_and(|found| found.name == bug.name));
    }
    assert!(find("7").is_none());
}

#[test]
fn a_machine_that_stalls_for_seconds_does_not_end_the_search_where_the_bug_is() {
    for bug in all() {
        let limit = |version| bug.plan(version, 4).hunt.expect("a hunt").limit;
        let (has, has_not) = (limit(bug.affected), limit(bug.fixed));
        assert!(has >= 4 * bug.budget, "{}: {has:?}", bug.name);
        assert!(has >= Duration::from_secs(60), "{}: {has:?}", bug.name);
        assert_eq!(has_not, bug.budget, "{}", bug.name);
    }
}

#[test]
fn the_leader_stays_until_it_transfers_leadership_over_late_links() {
    let late = find("20418").expect("a bug").plan("v3.6.1", 4);
    let trial = late.trial().expect("a load");
    let [Fault::DisturbPeers { how, .. }, Fault::Elect { .. }] = trial.faults.as_slice() else {
        panic!("the links are late before the transfer: {:?}", trial.faults);
    };
    let Disturbance::Delay { ms, .. } = how else {
        panic!("{how:?}");
    };
    let setting = |name| trial.settings.iter().find(|(known, _)| *known == name);
    let (_, timeout) = setting("election-timeout").expect("a setting");
    let timeout: u32 = timeout.parse().expect("milliseconds");
    assert!(
        2 * ms < timeout,
        "etcd takes a transfer back after {timeout} ms"
    );
    assert!(*ms > 1_500, "members ask again every 500 ms");
}

#[test]
fn a_watch_of_revision_minus_one_meets_a_store_that_was_never_compacted() {
    let plan = find("20711").expect("a bug").plan("v3.6.1", 4);
    let load = plan.trial().expect("a load").load;
    assert!(load.negative && !load.compacts && !load.compacted_txns);
    assert_eq!(plan.expectations().auto_compaction, None);
    let rates = crate::scenario::client::rates(load);
    assert_eq!(rates["negative"], serde_json::json!(true));
}

#[test]
fn members_are_killed_within_a_compaction_to_a_delete() {
    let plan = find("19179").expect("a bug").plan("v3.5.17", 4);
    let trial = plan.trial().expect("a load");
    let rates = crate::scenario::client::rates(trial.load);
    assert_eq!(rates["compacts_deletes"], serde_json::json!(true));
    assert_eq!(rates["clients"], serde_json::json!(1));
    let flags = plan.layout("7").flags("bare-7-0");
    for wanted in ["batch-limit=10", "sleep-interval=100ms"] {
        let wanted = format!("--experimental-compaction-{wanted}");
        assert!(flags.contains(&wanted), "{flags:?}");
    }
}

#[test]
fn etcd_takes_as_many_compares_as_are_sent() {
    for (name, version) in [("13766", "v3.5.2"), ("14891", "v3.5.6")] {
        let plan = find(name).expect("a bug").plan(version, 4);
        let trial = plan.trial().expect("a load");
        let times = trial.load.compares.to_string();
        assert!(trial.settings.contains(&("max-txn-ops", times.as_str())));
        let flags = plan.layout("7").flags("bare-7-0");
        assert!(flags.contains(&format!("--max-txn-ops={times}")));
    }
}

#[test]
fn clients_log_in_where_their_user_is_replaced_and_nowhere_else() {
    let with: Vec<&str> = all()
        .iter()
        .filter(|bug| bug.plan(bug.affected, 4).has_users())
        .map(|bug| bug.name)
        .collect();
    assert_eq!(with, ["14571"]);
}

#[test]
fn a_single_member_loses_its_power_with_a_supervisor_before_it() {
    let plan = find("14370").expect("a bug").plan("v3.5.2", 4);
    assert_eq!(plan.expectations().members, 1);
    let layout = plan.layout("7");
    assert_eq!(layout.names(), ["bare-7-0"]);
    assert!(layout.is_supervised());
}

#[test]
fn members_change_their_version_as_their_bug_needs_it_and_have_a_later_one_each() {
    let changes = |name| {
        let bug = find(name).expect("a bug");
        for version in [bug.affected, bug.fixed] {
            assert_eq!(bug.plan(version, 4).images().len(), 2, "{version}");
        }
        let plan = bug.plan(bug.affected, 4);
        let trial = plan.trial().expect("a load");
        let [Fault::ChangeVersion { in_turn, .. }] = trial.faults.as_slice() else {
            panic!("one fault: {:?}", trial.faults);
        };
        (trial.origin, *in_turn)
    };
    assert_eq!(changes("13514"), (Origin::RolledBack, false));
    assert_eq!(changes("19557"), (Origin::Joined, true));
}

#[test]
fn the_later_version_of_a_bug_stands_in_front_of_flags() {
    let plan = find("19557")
        .expect("a bug")
        .plan("v3.5.16+unsafe-no-fsync", 4);
    assert_eq!(plan.version, "v3.5.16:v3.6.16+unsafe-no-fsync");
    let checked = plan.checked().map(|plan| plan.images());
    let images = ["etcd-harness/etcd:v3.5.16", "etcd-harness/etcd:v3.6.16"];
    assert_eq!(checked.expect("a plan"), images);
}

#[test]
fn the_versions_of_a_bug_can_run_its_plan_and_another_that_cannot_is_refused() {
    for bug in all() {
        for version in [bug.affected, bug.fixed] {
            let can = bug.plan(version, 4).can_run();
            assert!(can.is_ok(), "{}: {can:?}", bug.name);
        }
    }
    let can = |name, version| find(name).expect("a bug").plan(version, 4).can_run();
    assert!(can("15220", "v3.4.18").is_ok() && can("15271", "v3.4.18").is_ok());
    let why = can("20221", "v3.4.18")
        .expect_err("no such flag")
        .to_string();
    assert!(why.contains("--snapshot-catchup-entries"), "{why}");
    let why = can("19179", "v3.5.9")
        .expect_err("no such flag")
        .to_string();
    assert!(why.contains("--compaction-sleep-interval"), "{why}");
    assert!(can("14571", "v3.5.27").is_ok());
    for version in ["v3.5.35", "v3.6.1", "v3.7.3", "main"] {
        let why = can("14571", version).expect_err(version).to_string();
        assert!(why.contains("users alone"), "{why}");
    }
}

#[test]
fn a_compaction_is_made_long_in_each_version_by_the_flags_that_it_has() {
    let flags = |name, version| {
        let plan = find(name).expect("a bug").plan(version, 4);
        plan.layout("7").flags("bare-7-0")
    };
    let former = flags("17780", "v3.5.13");
    assert!(former.contains(&"--experimental-compaction-batch-limit=2".to_owned()));
    for (name, wanted) in [
        ("17780", "--compaction-batch-limit=2"),
        ("19179", "--compaction-batch-limit=10"),
        ("19179", "--compaction-sleep-interval=100ms"),
    ] {
        let later = flags(name, "v3.7.3");
        assert!(later.contains(&wanted.to_owned()), "{name}: {later:?}");
    }
}

#[test]
fn a_client_that_sends_little_can_prove_that_it_was_there() {
    for bug in all() {
        let plan = bug.plan(bug.affected, 4);
        let slow = plan
            .trial()
            .is_some_and(|trial| trial.load.lone_deletes > 0);
        let during = plan.expectations().traffic.during;
        assert_eq!(during, if slow { 3 } else { 10 }, "{}", bug.name);
        let few = plan
            .trial()
            .is_some_and(|trial| trial.load.compacts_deletes);
        let after = plan.expectations().traffic.after;
        assert_eq!(after, if few { 5 } else { 10 }, "{}", bug.name);
    }
}

#[test]
fn one_command_makes_the_images_of_a_bug() {
    let command = |name: &str| find(name).expect("a bug").images_by();
    assert_eq!(command("15220"), "images/etcd.sh v3.5.7 v3.5.9");
    assert_eq!(command("unsafe-no-fsync"), "images/etcd.sh v3.6.16");
    let one = find("15220").expect("a bug").images(false);
    assert_eq!(one, ["etcd-harness/etcd:v3.5.7"]);
}

#[test]
fn make_bugs_has_every_bug_and_its_versions() {
    let makefile = include_str!("../../../../Makefile");
    let words = |name: &str| -> Vec<&str> {
        let mut lines = makefile.lines();
        let line = lines.find_map(|line| line.strip_prefix(name));
        line.expect(name).split_whitespace().collect()
    };
    let (mut listed, versions) = (words("BUGS := "), words("BUGS_IN := "));
    let mut names: Vec<&str> = all().iter().map(|bug| bug.name).collect();
    listed.sort_unstable();
    names.sort_unstable();
    assert_eq!(listed, names);
    for image in all().iter().flat_map(|bug| bug.images(true)) {
        let version = image.rsplit(':').next().unwrap_or_default();
        assert!(versions.contains(&version), "{image}: {versions:?}");
    }
}

#[test]
fn an_issue_is_written_with_its_number_and_all_else_by_its_name() {
    assert_eq!(title("18667"), "#18667");
    assert_eq!(title("unsafe-no-fsync"), "unsafe-no-fsync");
    assert!(link("18667").ends_with("/issues/18667"));
}
