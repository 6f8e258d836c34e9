//! What must hold of every run of the model, and what the runs without troubles bring.

use super::*;

const CALM: Troubles = Troubles {
    members: 3,
    fault: Fault::Frozen,
    lost: 0,
    delay: 5,
    stalls: false,
    heals: false,
    old: 0,
    blind: false,
};

fn explore(troubles: Troubles, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| Some((seed, Model::new(troubles, seed).run().broken()?)))
}

fn faults(members: usize) -> Vec<Fault> {
    let cuts = (1..members).flat_map(|of| [Fault::CutOff(of), Fault::Peers(of)]);
    [Fault::None, Fault::Hung, Fault::Frozen, Fault::Lies]
        .into_iter()
        .chain(cuts)
        .collect()
}

#[test]
fn no_two_campaign_in_a_term_no_minority_does_and_no_judge_that_was_late_has_a_say() {
    for members in [3, 5] {
        for fault in faults(members) {
            for (lost, delay, stalls) in [(0, 5, false), (30, 60, true), (60, 400, true)] {
                let troubles = Troubles {
                    members,
                    fault,
                    lost,
                    delay,
                    stalls,
                    heals: lost > 0,
                    ..CALM
                };
                assert_eq!(explore(troubles, 150), None, "{troubles:?}");
            }
        }
    }
}

#[test]
fn a_leader_that_lives_is_left_alone_while_one_in_twenty_beats_is_lost_and_agents_stop() {
    for (lost, stalls) in [(0, false), (5, false), (5, true)] {
        let troubles = Troubles {
            members: 5,
            fault: Fault::None,
            lost,
            stalls,
            ..CALM
        };
        for seed in 1..=300 {
            let model = Model::new(troubles, seed).run();
            assert_eq!(model.orders, [], "{troubles:?}, seed {seed}");
        }
    }
}

#[test]
fn without_troubles_one_campaigns_long_before_rafts_own_timeout() {
    for members in [3, 5] {
        let majority = members / 2 + 1;
        for fault in faults(members) {
            let cut = match fault {
                Fault::None | Fault::Lies => continue,
                Fault::CutOff(of) | Fault::Peers(of) => of,
                Fault::Hung | Fault::Frozen => members - 1,
            };
            for seed in 1..=100 {
                let troubles = Troubles {
                    members,
                    fault,
                    ..CALM
                };
                let model = Model::new(troubles, seed).run();
                let first = model.orders.first().map(|(at, ..)| at - model.fault.0);
                if cut < majority {
                    assert_eq!(first, None, "{troubles:?}, seed {seed}: a minority");
                } else {
                    let times = match fault {
                        // A heartbeat, and until the kernel has sent again.
                        Fault::Peers(_) => RESENT..=RESENT + HEARTBEAT + 60,
                        _ => 120..=300,
                    };
                    let soon = first.is_some_and(|after| times.contains(&after));
                    assert!(soon, "{troubles:?}, seed {seed}: {first:?}");
                }
            }
        }
    }
}

#[test]
fn the_model_finds_judges_that_do_not_notice_that_they_were_late() {
    let troubles = Troubles {
        members: 5,
        fault: Fault::None,
        stalls: true,
        blind: true,
        lost: 30,
        delay: 60,
        ..CALM
    };
    assert!(explore(troubles, 2000).is_some());
}

#[test]
fn a_leader_whose_packets_are_lost_is_left_alone_while_something_is_acknowledged() {
    for members in [3, 5] {
        let troubles = Troubles {
            members,
            fault: Fault::None,
            lost: 5,
            ..CALM
        };
        let mut claims = 0;
        for seed in 1..=300 {
            let mut model = Model::new(troubles, seed);
            while model.now < END {
                model.now += 30;
                claims += u64::from(model.cut_off().is_some());
            }
            let model = Model::new(troubles, seed).run();
            assert_eq!(model.orders, [], "{troubles:?}, seed {seed}");
        }
        assert!(claims > 0, "connections are never lost for a look");
    }
}

#[test]
fn a_leader_whose_agent_lies_costs_one_election_in_a_rest() {
    for members in [3, 5] {
        for seed in 1..=100 {
            let troubles = Troubles {
                members,
                fault: Fault::Lies,
                ..CALM
            };
            let model = Model::new(troubles, seed).run();
            assert_eq!(model.orders.len(), 1, "{troubles:?}, seed {seed}");
        }
    }
}

#[test]
fn a_claim_counts_when_agents_of_a_majority_know_it() {
    for (members, old, campaigns) in [(3, 0, true), (3, 1, false), (5, 1, true), (5, 2, false)] {
        let troubles = Troubles {
            members,
            fault: Fault::Peers(members - 1),
            old,
            ..CALM
        };
        for seed in 1..=50 {
            let model = Model::new(troubles, seed).run();
            let found = !model.orders.is_empty();
            assert_eq!(found, campaigns, "{troubles:?}, seed {seed}");
        }
    }
}
