//! Which packets a network fault drops: from the fault's words to rules and parties. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::faults::network::rules::{Address, Addresses, Port, RuleSet};
use crate::faults::{Direction, Fault, Member, Selector, Traffic};

/// Port of etcd for its peers.
const PEER_PORT: u16 = 2380;
/// Port of etcd for its clients.
const CLIENT_PORT: u16 = 2379;
/// Port of the agent.
const AGENT_PORT: u16 = 5001;
/// Port of DNS servers.
const DNS_PORT: u16 = 53;

/// Which members are cut from which others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// These from all others.
    Members(Selector),
    /// These from the other members.
    Side(Selector),
    /// Two halves from each other, all but this one.
    Around(Selector),
}

/// A network fault: who, and which of their packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Who.
    pub cut: Cut,
    /// Which way pairs are cut.
    pub direction: Direction,
    /// Which packets.
    pub rules: RuleSet,
    /// What must be seen of it.
    pub proof: Proof,
}

/// What must be seen of a network fault before it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Every pair, each way that is cut: no connection to these ports, packets of the cluster's own dropped.
    Pairs(Vec<u16>),
    /// No connection to this port of the members; packets of all clients dropped, each way that is cut.
    Server(u16),
    /// No connection to this port of these addresses from outside.
    Remote(Vec<Ipv4Addr>, u16),
    /// Some lookup dropped in every node; one is made on purpose where there is none.
    Lookups,
    /// Some packet dropped in every node.
    Any,
}

/// The parties of a cut, by pod name: `near` pods' nodes hold the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parties {
    /// Those whose nodes hold the rules.
    pub near: Vec<String>,
    /// The others; empty when the near ones are cut off from all others.
    pub far: Vec<String>,
}

/// The plan of a network fault; `None` for any other.
pub(crate) fn of(fault: &Fault) -> Option<Plan> {
    Some(match fault {
        Fault::Isolate {
            of,
            traffic,
            direction,
        } => Plan {
            cut: Cut::Members(of.clone()),
            direction: *direction,
            rules: rules(toward(*traffic, *direction), None),
            proof: proof(*traffic),
        },
        Fault::LosePackets {
            of,
            traffic,
            percent,
        } => Plan {
            cut: Cut::Members(of.clone()),
            direction: Direction::Both,
            rules: rules(
                toward(*traffic, Direction::Both),
                Some((*percent).clamp(1, 99)),
            ),
            proof: Proof::Any,
        },
        Fault::Split { side, direction } => Plan {
            cut: Cut::Side(side.clone()),
            direction: *direction,
            rules: rules(vec![(Address::Pair, Port::Any)], None),
            proof: Proof::Pairs(vec![PEER_PORT]),
        },
        Fault::Bridge { through } => Plan {
            cut: Cut::Around(through.clone()),
            direction: Direction::Both,
            rules: rules(vec![(Address::Pair, Port::Any)], None),
            proof: Proof::Pairs(vec![PEER_PORT]),
        },
        Fault::DropDns { of } => Plan {
            cut: Cut::Members(of.clone()),
            direction: Direction::Outgoing,
            rules: rules(
                vec![
                    (Address::From, Port::To("udp", DNS_PORT)),
                    (Address::From, Port::To("tcp", DNS_PORT)),
                ],
                None,
            ),
            proof: Proof::Lookups,
        },
        _ => return None,
    })
}

fn proof(traffic: Traffic) -> Proof {
    match traffic {
        Traffic::All => Proof::Pairs(vec![CLIENT_PORT, PEER_PORT, AGENT_PORT]),
        Traffic::Peer => Proof::Pairs(vec![PEER_PORT]),
        Traffic::Client => Proof::Server(CLIENT_PORT),
        Traffic::Agent => Proof::Server(AGENT_PORT),
    }
}

fn rules(rules: Vec<(Address, Port)>, loss_percent: Option<u8>) -> RuleSet {
    RuleSet {
        rules,
        loss_percent,
        local: false,
    }
}

/// The packets of one kind of traffic of the single addresses, one way or both.
fn toward(traffic: Traffic, direction: Direction) -> Vec<(Address, Port)> {
    let outgoing = match traffic {
        Traffic::All => vec![(Address::From, Port::Any)],
        // A member dials its peers and is dialled by them.
        Traffic::Peer => vec![
            (Address::From, Port::To("tcp", PEER_PORT)),
            (Address::From, Port::From("tcp", PEER_PORT)),
        ],
        // Its own server only: what runs beside it may still ask other members.
        Traffic::Client => vec![(Address::From, Port::From("tcp", CLIENT_PORT))],
        Traffic::Agent => vec![(Address::From, Port::From("tcp", AGENT_PORT))],
    };
    let incoming: Vec<_> = outgoing
        .iter()
        .map(|(_, port)| (Address::To, mirrored(*port)))
        .collect();
    match direction {
        Direction::Outgoing => outgoing,
        Direction::Incoming => incoming,
        Direction::Both => outgoing.into_iter().chain(incoming).collect(),
    }
}

fn mirrored(port: Port) -> Port {
    match port {
        Port::Any => Port::Any,
        Port::To(protocol, port) => Port::From(protocol, port),
        Port::From(protocol, port) => Port::To(protocol, port),
    }
}

/// Who is on which side, given the members chosen and all members. The smaller side is near: fewer nodes hold rules.
pub(crate) fn parties(cut: &Cut, chosen: &[Member], all: &[Member]) -> Parties {
    let names =
        |members: &[Member]| -> Vec<String> { members.iter().map(|m| m.pod.clone()).collect() };
    let others: Vec<Member> = all
        .iter()
        .filter(|m| !chosen.contains(m))
        .cloned()
        .collect();
    match cut {
        Cut::Members(_) => Parties {
            near: names(chosen),
            far: Vec::new(),
        },
        Cut::Side(_) => Parties {
            near: names(chosen),
            far: names(&others),
        },
        Cut::Around(_) => {
            let (near, far) = others.split_at(others.len() / 2);
            Parties {
                near: names(near),
                far: names(far),
            }
        }
    }
}

/// The addresses of a cut, given where the pods are now. A pod without an address has no packets.
pub(crate) fn addresses(
    parties: &Parties,
    direction: Direction,
    ips: &BTreeMap<String, Ipv4Addr>,
) -> Addresses {
    let of = |names: &[String]| -> Vec<Ipv4Addr> {
        names.iter().filter_map(|n| ips.get(n).copied()).collect()
    };
    let (near, far) = (of(&parties.near), of(&parties.far));
    if parties.far.is_empty() {
        return Addresses {
            single: near.into_iter().collect(),
            ..Default::default()
        };
    }
    let mut pairs = std::collections::BTreeSet::new();
    for a in &near {
        for b in &far {
            if direction != Direction::Incoming {
                pairs.insert((*a, *b));
            }
            if direction != Direction::Outgoing {
                pairs.insert((*b, *a));
            }
        }
    }
    Addresses {
        pairs,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::member::tests::members;

    fn ips(members: &[Member]) -> BTreeMap<String, Ipv4Addr> {
        members
            .iter()
            .map(|m| {
                (
                    m.pod.clone(),
                    m.ip.as_deref().expect("ip").parse().expect("v4"),
                )
            })
            .collect()
    }

    fn pairs(cut: &Cut, chosen: &[u32], direction: Direction, count: u32) -> Vec<(u8, u8)> {
        let all = members(count, 0);
        let chosen: Vec<Member> = chosen.iter().map(|i| all[*i as usize].clone()).collect();
        let found = addresses(&parties(cut, &chosen, &all), direction, &ips(&all));
        found
            .pairs
            .into_iter()
            .map(|(a, b)| (a.octets()[2], b.octets()[2]))
            .collect()
    }

    #[test]
    fn a_split_cuts_every_pair_across_and_none_within() {
        let cut = Cut::Side(Selector::Minority);
        let both = pairs(&cut, &[1, 2], Direction::Both, 5);
        assert_eq!(both.len(), 12);
        assert!(!both.contains(&(1, 2)) && !both.contains(&(0, 3)));
        assert_eq!(pairs(&cut, &[0], Direction::Outgoing, 3), [(0, 1), (0, 2)]);
        assert_eq!(pairs(&cut, &[0], Direction::Incoming, 3), [(1, 0), (2, 0)]);
    }

    #[test]
    fn a_bridge_reaches_both_halves_that_do_not_reach_each_other() {
        let cut = Cut::Around(Selector::Leader);
        assert_eq!(pairs(&cut, &[0], Direction::Both, 3), [(1, 2), (2, 1)]);
        let five = pairs(&cut, &[0], Direction::Both, 5);
        assert_eq!(five.len(), 8);
        assert!(five.iter().all(|(a, b)| *a != 0 && *b != 0));
    }

    #[test]
    fn client_traffic_is_the_members_own_server_both_ways() {
        let fault = Fault::Isolate {
            of: Selector::Leader,
            traffic: Traffic::Client,
            direction: Direction::Both,
        };
        assert_eq!(
            of(&fault).expect("a network fault").rules.rules,
            [
                (Address::From, Port::From("tcp", 2379)),
                (Address::To, Port::To("tcp", 2379))
            ]
        );
    }

    #[test]
    fn one_way_peer_traffic_covers_connections_dialled_by_either_end() {
        let fault = Fault::Isolate {
            of: Selector::Leader,
            traffic: Traffic::Peer,
            direction: Direction::Incoming,
        };
        assert_eq!(
            of(&fault).expect("a network fault").rules.rules,
            [
                (Address::To, Port::From("tcp", 2380)),
                (Address::To, Port::To("tcp", 2380))
            ]
        );
    }
}
