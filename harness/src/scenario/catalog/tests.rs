//! The catalogue as a whole: names, sizes, and that everything that can be done is done somewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_operator_api::labels;

use super::all;
use crate::deploy::{Guard, Reach};
use crate::faults::{
    Absence, ControlPlanePart, Declared, Deletion, Fault, NodeSelector, Selector, Traffic,
};
use crate::scenario::{Act, Event, Operation, under_fault};
use crate::timeouts;

#[test]
fn names_are_unique_and_have_a_room() {
    let mut names = BTreeSet::new();
    for scenario in all() {
        assert!(
            names.insert(scenario.name),
            "{} stands twice",
            scenario.name
        );
        let (group, what) = scenario.name.split_once("::").expect("group::what");
        let plain = |text: &str| {
            text.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        assert!(plain(group) && plain(what), "{}", scenario.name);
    }
}

#[test]
fn none_asks_for_what_only_bare_members_have() {
    for scenario in all() {
        if let Act::Faults(trial) = &scenario.act {
            let bare = trial.until.is_some() || trial.sends_snapshot || trial.load.pinned;
            assert!(!bare, "{}", scenario.name);
            for (_, event) in &trial.when {
                assert_eq!(*event, Event::LeaderChanged, "{}", scenario.name);
            }
        }
        let disturbs = |fault: &Fault| {
            matches!(
                fault,
                Fault::DisturbPeers { .. }
                    | Fault::FreezeInTurns { .. }
                    | Fault::LosePower { .. }
                    | Fault::FailDisk { .. }
                    | Fault::FailReads { .. }
                    | Fault::ChangeVersion { .. }
                    | Fault::Failpoint { .. }
                    | Fault::ShiftClock { .. }
                    | Fault::DriftClock { .. }
                    | Fault::DamageLog { .. }
            )
        };
        assert!(
            !scenario.all_faults().iter().any(disturbs),
            "{}",
            scenario.name
        );
    }
}

#[test]
fn the_second_of_two_leaders_dies_when_it_leads() {
    let all = all();
    let two = all
        .iter()
        .find(|scenario| scenario.name == "failover::two_leaders_in_a_row");
    let two = two.expect("a scenario");
    let Act::Faults(trial) = &two.act else {
        panic!("it has faults")
    };
    let leader = |fault: &Fault| {
        let of = Selector::Leader;
        matches!(fault, Fault::KillProcess { of: is, .. } if *is == of)
    };
    assert!(trial.faults.len() == 2 && trial.faults.iter().all(leader));
    assert_eq!(trial.trigger(0), None);
    assert_eq!(trial.trigger(1), Some(Event::LeaderChanged));
}

#[test]
fn every_kind_of_fault_is_used() {
    let used: BTreeSet<&str> = all()
        .iter()
        .flat_map(|s| s.all_faults().to_vec())
        .map(|fault| fault.name())
        .collect();
    let wanted = [
        "kill_process",
        "keep_killing",
        "freeze_process",
        "exhaust_memory",
        "starve",
        "elect",
        "delete_pod",
        "isolate",
        "split",
        "bridge",
        "lose_packets",
        "pause_node",
        "restart_node",
        "kill_node",
        "stop_kubelet",
        "operator",
        "control_plane",
        "drop_dns",
        "freeze_dns",
        "lose_data",
        "wrong_template",
        "flood_agents",
        "fill_disk",
        "fill_quota",
        "corrupt_data",
    ];
    assert_eq!(used, BTreeSet::from(wanted));
}

#[test]
fn only_another_ca_has_steps_and_the_operations_within_it_find_theirs() {
    for scenario in all() {
        let Act::Faults(trial) = &scenario.act else {
            continue;
        };
        let rotates = trial.operations.first() == Some(&Operation::RotateCa);
        assert!(trial.steps == 1 || rotates, "{}", scenario.name);
        let within = trial.operations.len().saturating_sub(1);
        let places = trial.steps.div_ceil(2) as usize;
        assert!(!trial.overlap || within <= places, "{}", scenario.name);
    }
}

#[test]
fn the_dead_mans_switch_outlives_every_wait_with_a_fault_on() {
    let mut recover = 0;
    for scenario in all() {
        let Act::Faults(trial) = &scenario.act else {
            continue;
        };
        // Its effect is looked for when it begins, and a cut's at its end as well.
        let mut on = timeouts::EFFECT_SLOW + trial.lasts + timeouts::EFFECT;
        on += trial.when.iter().map(|_| timeouts::EVENT).sum::<Duration>();
        if trial.recovers_under_fault {
            recover += 1;
            on += timeouts::patient(scenario.promise.whole_again());
        }
        let dead_man = under_fault::dead_man(trial, &scenario.promise);
        assert!(on < dead_man, "{}: {on:?}, {dead_man:?}", scenario.name);
        assert!(dead_man >= timeouts::DEAD_MAN, "{}", scenario.name);
    }
    assert!(recover > 0, "none recovers while its fault is on");
}

#[test]
fn an_owners_time_is_waited_for_where_nothing_else_is_declared() {
    let mut late = 0;
    for scenario in all() {
        let Act::Faults(trial) = &scenario.act else {
            continue;
        };
        let Some(minutes) = trial.replaced_after else {
            continue;
        };
        late += 1;
        let name = scenario.name;
        let read = labels::minutes_unreachable(&minutes.to_string());
        assert_eq!(read, Some(minutes), "{name}: the operator refuses it");
        let off = |fault: &Fault| {
            let declared = Declared::Nothing;
            matches!(fault, Fault::KillNode { declared: is, .. } if *is == declared)
        };
        let [fault] = trial.faults.as_slice() else {
            panic!("{name}: one node is off")
        };
        assert!(off(fault), "{name}: {fault}");
        assert_eq!(trial.rounds, 1, "{name}: one member is replaced");
        assert!(trial.recovers_under_fault, "{name}");
        assert_eq!(trial.lasts.as_secs(), u64::from(minutes) * 60, "{name}");
        assert!(scenario.promise.replaces_member && scenario.long, "{name}");
    }
    assert!(late > 0, "no scenario waits for it");
}

#[test]
fn every_scenario_can_be_judged() {
    for scenario in all() {
        assert!(scenario.story.len() > 20, "{} tells nothing", scenario.name);
        assert!(
            scenario.members.iter().all(|count| count % 2 == 1),
            "{}",
            scenario.name
        );
        let Act::Faults(trial) = &scenario.act else {
            continue;
        };
        let events = trial.events();
        assert!(events > 0, "nothing happens in {}", scenario.name);
        let expected = scenario.promise.expectations(scenario.members[0], events);
        assert_eq!(expected.faults as usize, events, "{}", scenario.name);
        assert!(
            !expected.operations.is_empty(),
            "{} would be green without load",
            scenario.name
        );
        assert_eq!(
            trial.judged_live(),
            !matches!(
                scenario.name,
                "storage::out_of_space"
                    | "storage::data_corrupted"
                    | "disaster::quorum_lost_for_good"
            ),
            "{}",
            scenario.name
        );
        let judged = !expected.gaps.is_empty();
        let excused = scenario.promise.loses_quorum
            || matches!(
                trial.faults.first(),
                Some(
                    // etcd itself refuses until the alarm is disarmed: how long is bounded by the time to recover.
                    Fault::FillQuota
                        // Raft elects as often as it likes where no member has time.
                        | Fault::Starve { .. }
                        | Fault::CorruptData { .. }
                        | Fault::ControlPlane { .. }
                        | Fault::Isolate {
                            traffic: Traffic::Client,
                            ..
                        }
                )
            );
        assert!(
            judged || excused,
            "{} promises no continuity and has no excuse",
            scenario.name
        );
    }
}

#[test]
fn the_smoke_subset_is_small_and_covers_the_promise() {
    let smoke: Vec<_> = all()
        .into_iter()
        .filter(|s| s.smoke)
        .map(|s| s.name)
        .collect();
    let wanted = [
        "provision::conform",
        "failover::leader_etcd_killed",
        "failover::leader_pod_deleted",
        "partition::leader_cut_off_from_peers",
    ];
    assert_eq!(smoke, wanted);
}

/// Scenarios that make sense with one size only, and why.
const ONE_SIZE: &[(&str, &str)] = &[
    (
        "partition::leader_in_the_minority",
        "two of three are no minority",
    ),
    ("quorum::two_of_five_down", "two of three are no minority"),
    (
        "quorum::leader_killed_and_follower_cut_off",
        "three have no quorum without both",
    ),
    (
        "failover::two_leaders_in_a_row",
        "three have no quorum without both",
    ),
    (
        "node::leader_node_not_ready_too_long",
        "five show in seven minutes what three do",
    ),
];

#[test]
fn every_scenario_of_faults_has_three_and_five_members_or_a_reason() {
    for scenario in all()
        .iter()
        .filter(|scenario| !scenario.all_faults().is_empty())
    {
        let Act::Faults(trial) = &scenario.act else {
            continue;
        };
        // What is sampled of other scenarios is run with the size that shows it.
        let sampled = trial.guard != Guard::Open || trial.reach == Reach::DeniedByDefault;
        if !trial.operations.is_empty() || sampled {
            continue;
        }
        let mut counts = [scenario.counts(false), scenario.counts(true)].concat();
        counts.sort_unstable();
        let excused = ONE_SIZE.iter().any(|(name, _)| *name == scenario.name);
        assert_eq!(counts.len() == 1, excused, "{} {counts:?}", scenario.name);
        assert!(excused || counts == [3, 5], "{} {counts:?}", scenario.name);
    }
}

#[test]
fn no_size_stands_in_the_suite_and_in_the_long_set() {
    for scenario in all() {
        let (suite, long) = (scenario.counts(false), scenario.counts(true));
        assert!(
            suite.iter().all(|count| !long.contains(count)),
            "{}",
            scenario.name
        );
        assert!(!suite.is_empty() || !long.is_empty(), "{}", scenario.name);
    }
}

#[test]
fn everything_that_can_be_away_is_away_somewhere() {
    let faults: Vec<Fault> = all().iter().flat_map(|s| s.all_faults().to_vec()).collect();
    let stopped = |part| {
        faults.contains(&Fault::ControlPlane {
            part,
            how: Absence::Stopped,
        })
    };
    assert!(stopped(ControlPlanePart::ApiServer) && stopped(ControlPlanePart::Scheduler));
    let by_force = Fault::DeletePod {
        of: Selector::All,
        how: Deletion::Forced,
    };
    assert!(faults.contains(&by_force));
    let full = |of| faults.contains(&Fault::FillDisk { of });
    assert!(full(Selector::Leader) && full(Selector::AnyFollower));
    let operators = Fault::PauseNode {
        of: NodeSelector::Operator,
    };
    assert!(faults.contains(&operators));
    for declared in [Declared::Nothing, Declared::Gone, Declared::OutOfService] {
        let of = NodeSelector::Of(Selector::Leader);
        assert!(faults.contains(&Fault::KillNode { of, declared }));
    }
}
