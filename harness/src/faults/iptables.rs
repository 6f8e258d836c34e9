//! The same packet rules as [`super::rules`] for nodes without nft: a chain of iptables a fault. Pure.
//!
//! No element expires by itself here, so the node's timer is the only dead man's switch.

use super::rules::{Address, Addresses, Count, Port, RuleSet};

/// Prefix of the chains; what `doctor --residue` looks for.
pub(crate) const CHAIN_PREFIX: &str = "ETCDH-";

/// Makes the chain, fills it, then lets packets in.
pub(crate) fn install(trace: &str, rules: &RuleSet, addresses: &Addresses) -> String {
    let chain = format!("{CHAIN_PREFIX}{trace}");
    let hooks: Vec<String> = rules
        .hooks()
        .iter()
        .map(|hook| format!("iptables -w -I {} 1 -j {chain}\n", hook.to_uppercase()))
        .collect();
    format!(
        "set -e\niptables -w -N {chain}\n{}{}",
        fill(&chain, rules, addresses),
        hooks.concat()
    )
}

/// Points the rules at other addresses. The chain's counters start anew.
pub(crate) fn update(trace: &str, rules: &RuleSet, addresses: &Addresses) -> String {
    let chain = format!("{CHAIN_PREFIX}{trace}");
    format!(
        "set -e\niptables -w -F {chain}\n{}",
        fill(&chain, rules, addresses)
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
    let dropped = text
        .lines()
        .filter(|line| line.contains("DROP"))
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Some(Count {
        seen: dropped,
        dropped,
    })
}

fn fill(chain: &str, rules: &RuleSet, addresses: &Addresses) -> String {
    let mut text = String::new();
    for (address, port) in &rules.rules {
        let ends: Vec<String> = match address {
            Address::From => addresses
                .single
                .iter()
                .map(|ip| format!("-s {ip}"))
                .collect(),
            Address::To => addresses
                .single
                .iter()
                .map(|ip| format!("-d {ip}"))
                .collect(),
            Address::Pair => addresses
                .pairs
                .iter()
                .map(|(a, b)| format!("-s {a} -d {b}"))
                .collect(),
        };
        let port = match port {
            Port::Any => String::new(),
            Port::To(protocol, port) => format!(" -p {protocol} --dport {port}"),
            Port::From(protocol, port) => format!(" -p {protocol} --sport {port}"),
        };
        let loss = rules.loss_percent.map_or_else(String::new, |percent| {
            format!(" -m statistic --mode random --probability 0.{percent:02}")
        });
        for end in ends {
            text.push_str(&format!(
                "iptables -w -A {chain} {end}{port}{loss} -m comment --comment etcd-harness -j DROP\n"
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::ip;
    use super::*;

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

    #[test]
    fn every_rule_carries_our_name() {
        let addresses = Addresses {
            single: [ip(2)].into(),
            pairs: [(ip(2), ip(3))].into(),
        };
        let text = install("f1", &some_rules(), &addresses);
        assert!(text.contains(
            "-A ETCDH-f1 -d 10.244.1.2 -p tcp --dport 2379 -m statistic --mode random --probability 0.05 -m comment --comment etcd-harness -j DROP"
        ), "{text}");
        assert!(text.contains("-s 10.244.1.2 -d 10.244.1.3"));
        let (filled, hooked) = (text.find("-A ETCDH-f1"), text.find("-I FORWARD 1"));
        assert!(filled < hooked, "packets go in only when the chain is full");
        assert!(text.contains("-I INPUT 1") && text.contains("-I OUTPUT 1"));
    }

    #[test]
    fn counters_are_summed() {
        let text = "Chain ETCDH-f1 (1 references)\n    pkts      bytes target     prot\n      12      720 DROP  tcp\n       3      180 DROP  all\n";
        assert_eq!(
            parse_count(text),
            Some(Count {
                seen: 15,
                dropped: 15
            })
        );
        assert_eq!(
            parse_count("iptables: No chain/target/match by that name."),
            None
        );
    }
}
