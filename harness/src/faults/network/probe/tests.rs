//! The proofs of cuts: what each fault names, and that nothing less counts as seen.

use super::*;
use crate::cluster::assert_is_shell;
use crate::faults::member::tests::members;
use crate::faults::network::plan;
use crate::faults::{Direction, Fault, Selector, Traffic};

fn at(member: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, member, 5)
}

/// The proofs of a fault whose chosen members are these.
fn of(fault: &Fault, chosen: &[usize], count: u32) -> Proofs {
    let all = members(count, 0);
    let chosen: Vec<Member> = chosen.iter().map(|i| all[*i].clone()).collect();
    let plan = plan::of(fault).expect("a network fault");
    let parties = plan::parties(&plan.cut, &chosen, &all);
    let ips = all
        .iter()
        .map(|member| (member.pod.clone(), ip(member).expect("an address")))
        .collect();
    let addresses = plan::addresses(&parties, plan.direction, &ips);
    proofs(&plan.proof, &parties, (&plan.rules, &addresses), &all)
}

fn isolate(traffic: Traffic, direction: Direction) -> Fault {
    Fault::Isolate {
        of: Selector::Leader,
        traffic,
        direction,
    }
}

/// Every probe silent and dropped, and one packet of the cluster's own on every way.
fn all_seen(proofs: &Proofs) -> (BTreeMap<usize, Answer>, Dropped) {
    let answers = (0..proofs.probes.len())
        .map(|n| (n, Answer::None))
        .collect();
    let dropped = Dropped {
        own: proofs.own.iter().map(|way| (*way, 1)).collect(),
        probes: proofs.probes.iter().map(|probe| (probe.drops, 1)).collect(),
    };
    (answers, dropped)
}

#[test]
fn every_pair_and_direction_of_a_split_is_proved_by_itself() {
    let split = Fault::Split {
        side: Selector::Minority,
        direction: Direction::Both,
    };
    let proofs = of(&split, &[1, 2], 5);
    assert_eq!(proofs.own.len(), 12);
    let (answers, dropped) = all_seen(&proofs);
    assert_eq!(missing(&proofs, &answers, &dropped), None);
    for way in &proofs.own {
        let mut less = dropped.clone();
        less.own.remove(way);
        let told = missing(&proofs, &answers, &less).expect("one way is not proved");
        assert!(told.contains(&format!("{} -> {}", way.0, way.1)), "{told}");
        let mut less = dropped.clone();
        less.probes.remove(way);
        assert!(missing(&proofs, &answers, &less).is_some(), "{way:?}");
    }
    for number in 0..proofs.probes.len() {
        for answer in [Answer::Some, Answer::Gone, Answer::Unknown] {
            let mut other = answers.clone();
            other.insert(number, answer);
            assert!(missing(&proofs, &other, &dropped).is_some(), "{answer:?}");
        }
        let mut less = answers.clone();
        less.remove(&number);
        assert!(missing(&proofs, &less, &dropped).is_some());
    }
}

#[test]
fn a_hole_at_the_end_is_named_and_a_pod_that_is_gone_is_none() {
    let proofs = of(&isolate(Traffic::Peer, Direction::Outgoing), &[0], 3);
    let answers = [(0, Answer::Some), (1, Answer::Gone)].into();
    let named = |number: usize| {
        let way = proofs.probes[number].way;
        format!("{} -> {}:2380", way.0, way.1)
    };
    assert_eq!(connected(&proofs, &answers), [named(0)]);
    assert!(untried(&proofs, &answers).is_empty());
}

#[test]
fn what_could_not_be_tried_at_the_end_is_named_and_no_hole() {
    let proofs = of(&isolate(Traffic::Peer, Direction::Outgoing), &[0], 3);
    let way = |number: usize| proofs.probes[number].way;
    let named = |number| format!("{} -> {}:2380", way(number).0, way(number).1);
    assert_eq!(untried(&proofs, &BTreeMap::new()), [named(0), named(1)]);
    let answers = [(0, Answer::None), (1, Answer::Unknown)].into();
    assert_eq!(untried(&proofs, &answers), [named(1)]);
    assert!(connected(&proofs, &answers).is_empty());
}

#[test]
fn packets_of_probes_alone_prove_nothing() {
    let proofs = of(&isolate(Traffic::Peer, Direction::Both), &[0], 3);
    let (answers, mut dropped) = all_seen(&proofs);
    dropped.own.clear();
    let told = missing(&proofs, &answers, &dropped).expect("no packet of the cluster's own");
    assert!(told.contains("of the cluster's own"), "{told}");
}

#[test]
fn a_bridge_names_the_two_halves_and_not_the_bridge() {
    let bridge = Fault::Bridge {
        through: Selector::AnyFollower,
    };
    let proofs = of(&bridge, &[1], 3);
    assert_eq!(proofs.own, [(at(0), at(2)), (at(2), at(0))].into());
    assert_eq!(proofs.probes.len(), 2);
}

#[test]
fn one_way_starts_its_probes_at_the_sender() {
    let proofs = of(&isolate(Traffic::Peer, Direction::Incoming), &[0], 3);
    assert_eq!(proofs.own, [(at(1), at(0)), (at(2), at(0))].into());
    for probe in &proofs.probes {
        assert_eq!(probe.way, probe.drops);
        assert_eq!(probe.way.1, at(0));
        assert_eq!(probe.port, 2380);
    }
}

#[test]
fn everybody_is_tried_on_every_port_of_a_member() {
    let proofs = of(&isolate(Traffic::All, Direction::Both), &[0], 3);
    let ports: BTreeSet<u16> = proofs.probes.iter().map(|probe| probe.port).collect();
    assert_eq!(ports, [2379, 2380, 5001].into());
    assert_eq!(proofs.probes.len(), 12, "two pairs, two ways, three ports");
}

#[test]
fn a_servers_answers_that_are_dropped_are_asked_for_by_its_clients() {
    let proofs = of(&isolate(Traffic::Client, Direction::Outgoing), &[0], 3);
    for probe in &proofs.probes {
        assert_eq!((probe.way.1, probe.port), (at(0), 2379));
        assert_eq!(probe.drops.0, at(0), "the answer is what must be dropped");
    }
    assert_eq!((proofs.own_from.len(), proofs.own_to.len()), (1, 0));
    let (answers, mut dropped) = all_seen(&proofs);
    assert!(
        missing(&proofs, &answers, &dropped).is_some(),
        "no client yet"
    );
    dropped.own.insert((at(0), Ipv4Addr::new(10, 244, 9, 9)), 3);
    assert_eq!(missing(&proofs, &answers, &dropped), None);
}

#[test]
fn an_answer_is_what_curl_saw() {
    let text = "probe 0 28 0.000000\nprobe 1 7 0.000000\nprobe 2 0 0.000312\nprobe 3 28 0.000250\n\
                probe 4 none 0\nprobe 5 2 0.0\nnoise";
    let answers = parse(text);
    let at = |number: usize| answers.get(&number).copied();
    assert_eq!(at(0), Some(Answer::None));
    assert_eq!(
        at(1),
        Some(Answer::Some),
        "refused: the packet came through"
    );
    assert_eq!(at(2), Some(Answer::Some));
    assert_eq!(
        at(3),
        Some(Answer::Some),
        "connected, only the answer was slow"
    );
    assert_eq!(at(4), Some(Answer::Gone));
    assert_eq!(at(5), Some(Answer::Unknown));
    assert_eq!(at(6), None);
}

#[test]
fn the_script_is_valid_shell_and_names_pod_and_address() {
    let proofs = of(&isolate(Traffic::Peer, Direction::Outgoing), &[0], 3);
    let numbered: Vec<(usize, &Probe)> = proofs.probes.iter().enumerate().collect();
    let script = script(&numbered);
    assert_is_shell(&script);
    assert!(
        script.contains("probe 0 'uid-0' http://10.244.1.5:2380/ &"),
        "{script}"
    );
    assert!(script.contains("echo \"probe $1 none 0\""), "{script}");
    assert!(script.contains("--local-port 61000-65535") && script.ends_with("wait"));
}
