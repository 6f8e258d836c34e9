//! What a bare run is before it begins, and what is expected of it.

use etcd_history::check::{AutoCompaction, OperationKind, Traffic};

use super::*;
use crate::bare::bugs;
use crate::scenario::{Event, Load, client};

fn plan(name: &str) -> BarePlan {
    BarePlan::named(name, None, VERSION, 7).expect("a plan")
}

#[test]
fn nothing_is_claimed_of_a_service_that_is_not_there() {
    for scenario in catalog::all().into_iter().chain(shared::all()) {
        let expectations = plan(scenario.name).expectations();
        assert!(!expectations.kubernetes, "{}", scenario.name);
        assert!(expectations.gaps.is_empty(), "{}", scenario.name);
        assert_eq!(expectations.terms_per_election, None, "{}", scenario.name);
        let faults = scenario.all_faults().len() * scenario.rounds() as usize;
        assert_eq!(expectations.faults as usize, faults, "{}", scenario.name);
        let members = scenario.members.first().copied();
        assert_eq!(Some(expectations.members), members, "{}", scenario.name);
    }
}

#[test]
fn a_fault_waits_for_what_stands_before_it_and_no_other_does() {
    let later = plan("bare::successor_frozen");
    let trial = later.trial().expect("faults");
    assert_eq!(trial.trigger(0), None);
    assert_eq!(trial.trigger(1), Some(Event::LeaderChanged));
    assert!(trial.waits_for_events() && !trial.counts_snapshots());
    let first = plan("bare::killed_at_revision");
    let trial = first.trial().expect("faults");
    assert_eq!(trial.trigger(0), Some(Event::Revisions(200)));
    let sent = plan("bare::snapshot_after_split");
    let trial = sent.trial().expect("faults");
    assert!(trial.waits_for_events() && trial.counts_snapshots());
}

#[test]
fn locks_and_elections_must_be_contested_where_there_are_some() {
    let contested = |name| plan(name).expectations().contested_locks;
    assert_eq!(contested("bare::locks_leader_killed"), 2);
    assert_eq!(contested("bare::locks_leader_frozen"), 2);
    assert_eq!(contested("bare::leader_killed"), 0);
    let of = |holders| {
        Load {
            holders,
            ..Load::default()
        }
        .contested()
    };
    assert_eq!([0, 1, 2, 3, 4].map(of), [0, 0, 0, 1, 2]);
}

/// Holds what is expected of a load against what its recording client is told to send.
fn expects_what_is_sent(name: &str, load: Load, expected: &Expectations) {
    let sent = client::rates(load);
    let on = |rate: &str| sent[rate] != false && sent[rate] != 0;
    let compacts = [
        "compacts",
        "compacted_txns",
        "compacts_deletes",
        "lone_deletes",
    ];
    for (kind, is_sent) in [
        (OperationKind::Compact, compacts.into_iter().any(on)),
        (OperationKind::LeaseEnd, sent.get("lease_s").is_some()),
        (OperationKind::GuardedWrite, on("holders")),
        (OperationKind::RefusedHolder, on("holders")),
        (OperationKind::FurtherPage, on("keepers")),
        (OperationKind::OutdatedWrite, on("keepers")),
    ] {
        let wanted = expected.operations.contains(&kind);
        assert_eq!(wanted, is_sent, "{name}: {kind:?}");
    }
    let around = if on("compacts_deletes") { 5 } else { 10 };
    let traffic = Traffic {
        before: around,
        during: if on("lone_deletes") { 3 } else { 10 },
        after: around,
    };
    assert_eq!(expected.traffic, traffic, "{name}");
}

#[test]
fn what_is_expected_of_the_traffic_is_what_the_load_of_the_plan_sends() {
    let scenarios = catalog::all().into_iter().chain(shared::all());
    let bare = scenarios.map(|scenario| plan(scenario.name));
    let bugs = bugs::all();
    let bugs = bugs.iter().map(|bug| bug.plan(bug.affected, 7));
    for plan in bare.chain(bugs) {
        let load = plan.trial().expect("a load").load;
        expects_what_is_sent(plan.plan.scenario.name, load, &plan.expectations());
    }
    for scenario in crate::scenario::catalog::all() {
        if let Act::Faults(trial) = &scenario.act {
            let expected = trial.load.expected(Expectations::default());
            expects_what_is_sent(scenario.name, trial.load, &expected);
        }
    }
}

#[test]
fn clients_of_objects_must_meet_each_other_and_list_in_pages() {
    let met = |name| {
        let kinds = plan(name).expectations().operations;
        let of_objects = [OperationKind::FurtherPage, OperationKind::OutdatedWrite];
        of_objects.map(|kind| kinds.contains(&kind))
    };
    assert_eq!(met("bare::objects_leader_killed"), [true, true]);
    assert_eq!(met("bare::leader_killed"), [false, false]);
}

#[test]
fn what_etcd_is_set_to_compact_by_itself_is_expected_of_it() {
    let mut plan = plan("bare::leader_killed");
    assert_eq!(plan.expectations().auto_compaction, None);
    let Act::Faults(trial) = &mut plan.plan.scenario.act else {
        panic!("it has faults");
    };
    trial.settings.push(("auto-compaction-retention", "5s"));
    let keeps = AutoCompaction::Periodic {
        retention_ms: 5_000,
    };
    assert_eq!(plan.expectations().auto_compaction, Some(keeps));
}

#[test]
fn a_follower_that_is_cut_off_moves_no_leadership() {
    let terms = |name| plan(name).expectations().terms_per_round;
    assert_eq!(terms("bare::follower_cut_off"), Some(0));
    assert_eq!(terms("bare::leader_killed"), None);
}

#[test]
fn the_command_that_repeats_it_leads_back_to_the_plan() {
    let plan = BarePlan::named("bare::all_killed", Some(5), "v3.6.1", 9).expect("a plan");
    assert_eq!(
        plan.replay(),
        "harness bare run bare::all_killed --members 5 --version v3.6.1 --seed 9"
    );
    assert_eq!(plan.images(), ["etcd-harness/etcd:v3.6.1"]);
    let again = BarePlan::named(&plan.plan.trial(), None, "v3.6.1", 9).expect("a plan");
    assert_eq!(again, plan);
}

#[test]
fn flags_behind_a_version_are_switched_on_and_no_part_of_the_image() {
    let mut plan = plan("bare::all_killed");
    assert!(!plan.layout("7").is_supervised());
    plan.version = "v3.6.1+unsafe-no-fsync".to_owned();
    assert_eq!(plan.images(), ["etcd-harness/etcd:v3.6.1"]);
    let command = plan.layout("7").command("bare-7-0");
    assert!(command.contains(&"--unsafe-no-fsync=true".to_owned()));
    assert!(plan.replay().contains("--version v3.6.1+unsafe-no-fsync"));
}

#[test]
fn members_have_several_versions_in_turn_and_none_is_for_nobody() {
    let of = |version| BarePlan::named("bare::all_killed", Some(3), version, 7);
    let two = of("v3.5.35,v3.6.16+unsafe-no-fsync").expect("a plan");
    let images = ["etcd-harness/etcd:v3.5.35", "etcd-harness/etcd:v3.6.16"];
    assert_eq!(two.images(), images);
    let command = two.layout("7").command("bare-7-0");
    assert!(command.contains(&"--unsafe-no-fsync=true".to_owned()));
    assert!(
        two.replay()
            .contains("--version v3.5.35,v3.6.16+unsafe-no-fsync")
    );
    let error = of("v3.5.35,v3.6.1,v3.6.16,v3.7.3").expect_err("one is for no member");
    let text = error.to_string();
    assert!(
        text.contains("4 versions") && text.contains("3 members"),
        "{text}"
    );
    for wrong in ["", "v3.6.1,", "v3.6.1+", "v3.6.1+unsafe-no-fsync,v3.6.16"] {
        let error = of(wrong).expect_err(wrong).to_string();
        assert!(error.contains("--version"), "{wrong:?}: {error}");
    }
    let mut save = plan("bare::leader_panics_in_save");
    save.version = "v3.6.1,v3.6.16-gofail".to_owned();
    assert!(
        save.replay()
            .contains("--version v3.6.1-gofail,v3.6.16-gofail ")
    );
}

#[test]
fn a_later_version_is_for_members_whose_version_changes_and_for_no_others() {
    let of = |name, version| BarePlan::named(name, Some(3), version, 7);
    let plan = of("bare::all_upgraded", "v3.5.35:v3.6.16+unsafe-no-fsync").expect("a plan");
    let images = ["etcd-harness/etcd:v3.5.35", "etcd-harness/etcd:v3.6.16"];
    assert_eq!(plan.images(), images);
    assert!(plan.replay().contains("--version v3.5.35:v3.6.16+unsafe"));
    assert_eq!(plan.layout("7").next_version(), Some("v3.6.16"));
    let plain = of("bare::all_upgraded", "v3.6.16").expect("a plan");
    assert_eq!(plain.layout("7").next_version(), None);
    let said = |name, version| of(name, version).expect_err("it is refused").to_string();
    assert!(said("bare::all_killed", "v3.5.35:v3.6.16").contains("keep their version"));
    for wrong in [
        "v3.5.35:",
        ":v3.6.16",
        "v3.5.35:v3.6.1:v3.6.16",
        "v3.5.35:v3.6.1,v3.6.16",
    ] {
        assert!(
            said("bare::all_upgraded", wrong).contains("--version"),
            "{wrong}"
        );
    }
    assert!(said("bare::all_upgraded", "v3.4.18:v3.6.16").contains("beside 3.5 alone"));
    assert!(said("bare::all_upgraded", "v3.6.16:v3.5.35").contains("invalid downgrade"));
    assert!(of("bare::all_upgraded", "v3.5.35:v3.5.9").is_ok());
}

#[test]
fn a_version_that_cannot_run_a_scenario_is_refused_before_anything_is_made() {
    let of = |name, version| BarePlan::named(name, Some(3), version, 7);
    let said = |name, version| of(name, version).expect_err("it is refused").to_string();
    for (name, version, why) in [
        (
            "bare::snapshot_after_split",
            "v3.5.9",
            "etcd v3.5.9: --snapshot",
        ),
        (
            "bare::all_killed",
            "v3.4.9+unsafe-no-fsync",
            "--unsafe-no-fsync",
        ),
        ("bare::leader_panics_in_save", "v3.4.18", "failpoints"),
    ] {
        let said = said(name, version);
        assert!(said.contains(name) && said.contains(why), "{said}");
    }
    assert!(said("bare::all_killed", "v3.4.18,v3.6.16").contains("beside 3.5 alone"));
    let mixed = of("bare::all_killed", "v3.4.18,v3.5.9").expect("a plan");
    let images = ["etcd-harness/etcd:v3.4.18", "etcd-harness/etcd:v3.5.9"];
    assert_eq!(mixed.images(), images);
}

#[test]
fn each_member_has_the_flags_of_its_own_version() {
    let name = "bare::snapshot_after_split";
    let mixed = BarePlan::named(name, Some(3), "v3.5.35,v3.6.16", 7).expect("a plan");
    let layout = mixed.layout("7");
    let flags = |member: &str| layout.flags(member).join(" ");
    for member in ["bare-7-0", "bare-7-2"] {
        assert!(flags(member).contains(" --experimental-snapshot-catchup-entries=50"));
    }
    assert!(flags("bare-7-1").contains(" --snapshot-catchup-entries=50"));
}

#[test]
fn a_scenario_with_failpoints_chooses_the_build_of_the_version_that_is_asked_for() {
    let mut plan = plan("bare::leader_panics_in_save");
    assert!(plan.layout("7").has_failpoints());
    plan.version = "v3.6.1+unsafe-no-fsync".to_owned();
    assert_eq!(plan.images(), ["etcd-harness/etcd:v3.6.1-gofail"]);
    let build = "--version v3.6.1-gofail+unsafe-no-fsync --seed 7";
    assert!(plan.replay().ends_with(build), "{}", plan.replay());
    let command = plan.layout("7").command("bare-7-0");
    assert!(command.contains(&"--unsafe-no-fsync=true".to_owned()));
    let named = |version| BarePlan::named("bare::all_killed", None, version, 7);
    let plain = named("v3.6.1-gofail").expect("a plan");
    assert_eq!(plain.images(), ["etcd-harness/etcd:v3.6.1-gofail"]);
    assert!(!plain.layout("7").has_failpoints());
}

#[test]
fn only_members_whose_disk_has_a_fault_are_supervised() {
    let command = |name| plan(name).layout("7").command("bare-7-0");
    assert_eq!(command("bare::all_power_lost")[0], "/workload");
    assert_eq!(command("bare::failing_disk_leader")[0], "/workload");
    assert_eq!(command("bare::full_disk_leader")[0], "/workload");
    assert_eq!(command("bare::unreadable_log_follower")[0], "/workload");
    assert_eq!(
        command("bare::unreadable_snapshots_follower")[0],
        "/workload"
    );
    assert_eq!(command("bare::log_torn")[0], "/usr/local/bin/etcd");
}

#[test]
fn a_wrong_name_says_where_the_right_ones_are() {
    let error = BarePlan::named("leader_killed", None, VERSION, 7).expect_err("no such name");
    let text = error.to_string();
    assert!(
        text.contains("harness bare list") && text.contains("near: bare::leader_killed"),
        "{text}"
    );
}
