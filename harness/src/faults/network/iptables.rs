//! The same packet rules as [`super::nft`] for nodes without nft: a chain of iptables a fault. Pure.
//!
//! No element expires by itself here, so the node's timer is the only dead man's switch.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::faults::network::probe::of_probe;
use crate::faults::network::rules::{
    Address, Addresses, Count, Dropped, PROBE_PORTS, Port, RuleSet, Way,
};

/// Prefix of the chains; what `doctor --residue` looks for.
pub(crate) const CHAIN_PREFIX: &str = "ETCDH-";
/// Comment of a rule that drops packets of probes.
const PROBE: &str = "etcd-harness-probe";

/// What a chain drops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut<'a> {
    /// Which packets.
    pub rules: &'a RuleSet,
    /// Whose.
    pub addresses: &'a Addresses,
    /// Addresses of all pods: what goes to and comes from each of them is counted by itself.
    pub everybody: &'a BTreeSet<Ipv4Addr>,
}

/// Fills the chain, then lets packets in.
pub(crate) fn install(trace: &str, cut: Cut<'_>) -> String {
    let chain = format!("{CHAIN_PREFIX}{trace}");
    let hooks: Vec<String> = cut
        .rules
        .hooks()
        .iter()
        .map(|hook| format!("iptables -w -I {} 1 -j {chain}\n", hook.to_uppercase()))
        .collect();
    format!("set -e\n{}\n{}", fill(&chain, cut), hooks.concat())
}

/// Points the rules at other addresses; fails where there are none any more. The chain's counters begin at 0 again.
pub(crate) fn update(trace: &str, cut: Cut<'_>) -> String {
    let chain = format!("{CHAIN_PREFIX}{trace}");
    format!(
        "set -e\niptables -w -nL {chain} >/dev/null\n{}",
        fill(&chain, cut)
    )
}

/// Makes the chain, or empties it, and fills it, in one transaction: a chain that is filled rule by rule would let
/// everything through meanwhile.
fn fill(chain: &str, cut: Cut<'_>) -> String {
    format!(
        "iptables-restore -w --noflush <<'END-OF-RULES'\n*filter\n:{chain} - [0:0]\n{}COMMIT\nEND-OF-RULES",
        rules(chain, cut)
    )
}

/// Removes the chain; right also when it is gone.
pub(crate) fn remove(trace: &str) -> String {
    let chain = format!("{CHAIN_PREFIX}{trace}");
    format!(
        "for hook in FORWARD INPUT OUTPUT; do iptables -w -D $hook -j {chain} 2>/dev/null; done\n\
         iptables -w -nL {chain} >/dev/null 2>&1 || exit 0\niptables -w -F {chain} && iptables -w -X {chain}"
    )
}

/// Reads the counters.
pub(crate) fn count(trace: &str) -> String {
    format!("iptables -w -nvxL {CHAIN_PREFIX}{trace}")
}

/// The counters of [`count`]'s output; `None` when the chain is gone. What was seen and let through is not counted.
pub(crate) fn parse_count(text: &str) -> Option<Count> {
    text.starts_with("Chain").then_some(())?;
    let mut count = Count::default();
    for line in text.lines().filter(|line| line.contains("DROP")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        // pkts bytes target prot opt in out source destination
        let [packets, _, _, _, _, _, _, from, to, ..] = words[..] else {
            continue;
        };
        let packets: u64 = packets.parse().ok()?;
        let mut ways = Dropped::default();
        let probe = line.contains(PROBE);
        if !probe {
            count.dropped += packets;
        }
        // A network stands for all senders; that it stands for no address keeps its packets apart from those of a pod.
        let way = (address(from), address(to));
        if packets > 0 {
            let of = if probe {
                &mut ways.probes
            } else {
                &mut ways.own
            };
            of.insert(way, packets);
        }
        count.ways.add(ways);
    }
    count.seen = count.dropped;
    Some(count)
}

/// An address; the unspecified one for `0.0.0.0/0`.
fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap_or(Ipv4Addr::UNSPECIFIED)
}

/// What is dropped between two pods has rules of its own before what is dropped of all others, so that it is counted
/// apart.
fn rules(chain: &str, cut: Cut<'_>) -> String {
    let (rules, addresses) = (cut.rules, cut.addresses);
    let mut text = String::new();
    for (address, port) in &rules.rules {
        let mut ends: Vec<String> = Vec::new();
        for (from, to) in ways(*address, cut) {
            ends.push(format!("-s {from} -d {to}"));
        }
        match address {
            Address::From => ends.extend(addresses.single.iter().map(|ip| format!("-s {ip}"))),
            Address::To => ends.extend(addresses.single.iter().map(|ip| format!("-d {ip}"))),
            Address::Pair => {}
        }
        let (protocol, loss) = (words(*port), loss(rules));
        for end in ends {
            let mut drop = |what: &str, comment: &str| {
                text.push_str(&format!(
                    "-A {chain} {end}{what}{loss} -m comment --comment {comment} -j DROP\n"
                ));
            };
            if rules.loss_percent.is_none() {
                for side in of_probe(*port) {
                    let range = PROBE_PORTS.replace('-', ":");
                    let protocol = if protocol.is_empty() {
                        " -p tcp"
                    } else {
                        &protocol
                    };
                    drop(&format!("{protocol} --{side} {range}"), PROBE);
                }
            }
            drop(&protocol, "etcd-harness");
        }
    }
    text
}

/// Pairs of pods that a rule is about.
fn ways(address: Address, cut: Cut<'_>) -> Vec<Way> {
    let each = |of: &dyn Fn(Ipv4Addr, Ipv4Addr) -> Way| {
        let singles = cut.addresses.single.iter();
        let pairs = singles.flat_map(|one| cut.everybody.iter().map(move |other| (*one, *other)));
        let pairs = pairs.filter(|(one, other)| one != other);
        pairs.map(|(one, other)| of(one, other)).collect()
    };
    match address {
        Address::From => each(&|one, other| (one, other)),
        Address::To => each(&|one, other| (other, one)),
        Address::Pair => cut.addresses.pairs.iter().copied().collect(),
    }
}

fn words(port: Port) -> String {
    match port {
        Port::Any => String::new(),
        Port::To(protocol, port) => format!(" -p {protocol} --dport {port}"),
        Port::From(protocol, port) => format!(" -p {protocol} --sport {port}"),
    }
}

fn loss(rules: &RuleSet) -> String {
    rules.loss_percent.map_or_else(String::new, |percent| {
        format!(" -m statistic --mode random --probability 0.{percent:02}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;
    use crate::faults::network::nft::tests::ip;

    fn some_rules() -> RuleSet {
        RuleSet {
            rules: vec![
                (Address::To, Port::To("tcp", 2379)),
                (Address::Pair, Port::Any),
            ],
            loss_percent: Some(5),
            local: true,
        }
    }

    fn cut<'a>(
        rules: &'a RuleSet,
        addresses: &'a Addresses,
        everybody: &'a BTreeSet<Ipv4Addr>,
    ) -> Cut<'a> {
        Cut {
            rules,
            addresses,
            everybody,
        }
    }

    #[test]
    fn every_rule_carries_our_name() {
        let addresses = Addresses {
            single: [ip(2)].into(),
            pairs: [(ip(2), ip(3))].into(),
        };
        let text = install("f1", cut(&some_rules(), &addresses, &BTreeSet::new()));
        assert!(text.contains(
            "-A ETCDH-f1 -d 10.244.1.2 -p tcp --dport 2379 -m statistic --mode random --probability 0.05 -m comment --comment etcd-harness -j DROP"
        ), "{text}");
        assert!(text.contains("-s 10.244.1.2 -d 10.244.1.3"));
        let (filled, hooked) = (text.find("-A ETCDH-f1"), text.find("-I FORWARD 1"));
        assert!(filled < hooked, "packets go in only when the chain is full");
        assert!(text.contains("-I INPUT 1") && text.contains("-I OUTPUT 1"));
    }

    #[test]
    fn rules_are_pointed_elsewhere_in_one_transaction() {
        let addresses = Addresses {
            single: [ip(2), ip(4)].into(),
            pairs: [(ip(2), ip(3))].into(),
        };
        let rules = some_rules();
        let text = update("f1", cut(&rules, &addresses, &[ip(2), ip(3)].into()));
        assert_is_shell(&text);
        let transaction = text
            .split_once(
                "iptables-restore -w --noflush <<'END-OF-RULES'\n*filter\n:ETCDH-f1 - [0:0]\n",
            )
            .and_then(|(_, rest)| rest.split_once("COMMIT\nEND-OF-RULES"));
        let (inside, after) = transaction.expect("a transaction");
        let count = inside.lines().count();
        assert!(
            count > 3 && inside.lines().all(|line| line.starts_with("-A ETCDH-f1 ")),
            "{inside}"
        );
        assert!(after.trim().is_empty(), "{after}");
        // Nothing else empties or fills it, step by step.
        let looks =
            text.starts_with("set -e\niptables -w -nL ETCDH-f1 >/dev/null\niptables-restore ");
        assert!(looks && text.matches("iptables").count() == 2, "{text}");
        let all = install("f1", cut(&rules, &addresses, &BTreeSet::new()));
        assert_is_shell(&all);
    }

    #[test]
    fn probes_and_pairs_of_pods_have_rules_before_those_of_anybody() {
        let rules = RuleSet {
            loss_percent: None,
            ..some_rules()
        };
        let addresses = Addresses {
            single: [ip(2)].into(),
            ..Default::default()
        };
        let everybody = [ip(2), ip(3)].into();
        let text = install("f1", cut(&rules, &addresses, &everybody));
        let rule = |end: &str, comment: &str| {
            let line = format!("{end} -m comment --comment {comment} -j DROP");
            text.find(&line)
                .unwrap_or_else(|| panic!("{line} is not in\n{text}"))
        };
        let probe = rule(
            "-s 10.244.1.3 -d 10.244.1.2 -p tcp --dport 2379 --sport 61000:65535",
            "etcd-harness-probe",
        );
        let pair = rule(
            "-s 10.244.1.3 -d 10.244.1.2 -p tcp --dport 2379",
            "etcd-harness",
        );
        let anybody = rule(
            "-A ETCDH-f1 -d 10.244.1.2 -p tcp --dport 2379",
            "etcd-harness",
        );
        assert!(probe < pair && pair < anybody);
    }

    #[test]
    fn packets_of_probes_are_counted_apart() {
        let text = "Chain ETCDH-f1 (1 references)\n    pkts      bytes target     prot opt in     out     source               destination\n\
            12 720 DROP tcp -- * * 10.244.1.2 10.244.1.3 tcp spts:61000:65535 /* etcd-harness-probe */\n\
            3 180 DROP all -- * * 10.244.1.2 10.244.1.3 /* etcd-harness */\n\
            4 200 DROP all -- * * 10.244.1.2 0.0.0.0/0 /* etcd-harness */\n\
            0 0 DROP all -- * * 10.244.1.3 10.244.1.2 /* etcd-harness */\n";
        let count = parse_count(text).expect("a chain");
        assert_eq!((count.seen, count.dropped), (7, 7));
        let way = (ip(2), ip(3));
        assert_eq!(count.ways.probes, [(way, 12)].into());
        let anybody = (ip(2), Ipv4Addr::UNSPECIFIED);
        assert_eq!(count.ways.own, [(way, 3), (anybody, 4)].into());
        assert_eq!(
            parse_count("iptables: No chain/target/match by that name."),
            None
        );
    }
}
