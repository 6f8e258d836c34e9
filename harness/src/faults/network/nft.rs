//! Packet rules as text for nft: one table a fault, so that faults overlap without knowing of each other and one
//! command removes all of one. Pure.
//!
//! Addresses are elements of sets and expire by themselves: the kernel is the innermost dead man's switch. The chains
//! hook before those of kube-proxy's and the network plugin's filters; there, destination addresses are already pods'
//! and source addresses still are, so a service's virtual address hides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::network::rules::{
    Address, Addresses, Count, Dropped, PROBE_PORTS, Port, RuleSet, Way,
};

/// Prefix of the tables; what `doctor --residue` looks for.
pub(crate) const TABLE_PREFIX: &str = "etcd_harness_";

/// Makes the table, with all addresses in it, in one transaction.
pub(crate) fn install(
    trace: &str,
    rules: &RuleSet,
    addresses: &Addresses,
    limit: Duration,
) -> String {
    let table = format!("inet {TABLE_PREFIX}{trace}");
    let drop = "update @own { ip saddr . ip daddr counter } counter name dropped drop";
    let verdict = match rules.loss_percent {
        Some(percent) => format!("counter name seen\n    numgen random mod 100 < {percent} {drop}"),
        // What is lost at random cannot be probed: a probe may get through.
        None => format!(
            "tcp sport {PROBE_PORTS} goto probed\n    tcp dport {PROBE_PORTS} goto probed\n    \
             counter name seen\n    {drop}"
        ),
    };
    let matches: Vec<String> = rules
        .rules
        .iter()
        .map(|rule| format!("    {} jump hit\n", expression(*rule)))
        .collect();
    let hooks: Vec<String> = rules
        .hooks()
        .iter()
        .map(|hook| {
            format!("  chain {hook} {{\n    type filter hook {hook} priority -250; policy accept;\n    jump cut\n  }}\n")
        })
        .collect();
    format!(
        "nft -f - <<'END-OF-RULES'\ntable {table} {{\n  set single {{ type ipv4_addr; flags timeout; }}\n  \
         set pairs {{ type ipv4_addr . ipv4_addr; flags timeout; }}\n  \
         set own {{ type ipv4_addr . ipv4_addr; size 4096; flags dynamic; }}\n  \
         set probes {{ type ipv4_addr . ipv4_addr; size 4096; flags dynamic; }}\n  \
         counter seen {{ }}\n  counter dropped {{ }}\n  \
         chain probed {{\n    update @probes {{ ip saddr . ip daddr counter }} drop\n  }}\n  \
         chain hit {{\n    {verdict}\n  }}\n  chain cut {{\n{}  }}\n{}}}\n{}END-OF-RULES",
        matches.concat(),
        hooks.concat(),
        elements("add", &table, addresses, Some(limit)),
    )
}

/// Points the rules at other addresses, in one transaction, without touching the counters.
pub(crate) fn update(trace: &str, old: &Addresses, new: &Addresses, limit: Duration) -> String {
    let table = format!("inet {TABLE_PREFIX}{trace}");
    let gone = Addresses {
        single: &old.single - &new.single,
        pairs: &old.pairs - &new.pairs,
    };
    let fresh = Addresses {
        single: &new.single - &old.single,
        pairs: &new.pairs - &old.pairs,
    };
    format!(
        "nft -f - <<'END-OF-RULES'\n{}{}END-OF-RULES",
        elements("delete", &table, &gone, None),
        elements("add", &table, &fresh, Some(limit)),
    )
}

/// Removes the table; right also when it is gone.
pub(crate) fn remove(trace: &str) -> String {
    format!(
        "nft list table inet {TABLE_PREFIX}{trace} >/dev/null 2>&1 || exit 0; nft delete table inet {TABLE_PREFIX}{trace}"
    )
}

/// Reads the counters.
pub(crate) fn count(trace: &str) -> String {
    format!("nft list table inet {TABLE_PREFIX}{trace}")
}

/// The counters of [`count`]'s output; `None` when the table is gone.
pub(crate) fn parse_count(text: &str) -> Option<Count> {
    let packets = |name: &str| -> Option<u64> {
        let (_, rest) = text.split_once(&format!("counter {name} {{"))?;
        rest.split_whitespace()
            .skip_while(|word| *word != "packets")
            .nth(1)?
            .parse()
            .ok()
    };
    Some(Count {
        seen: packets("seen")?,
        dropped: packets("dropped")?,
        ways: Dropped {
            own: set("own", text),
            probes: set("probes", text),
        },
    })
}

/// The elements of a set with their counters: `10.244.1.2 . 10.244.2.3 counter packets 7 bytes 420, ...`.
fn set(name: &str, text: &str) -> BTreeMap<Way, u64> {
    let body = text.split_once(&format!("set {name} {{"));
    let body = body.map(|(_, rest)| rest.split_once("\n\t}").map_or(rest, |(body, _)| body));
    let elements = body.and_then(|body| body.split_once("elements = {"));
    let elements = elements.and_then(|(_, rest)| rest.split_once('}'));
    let one = |element: &str| {
        let words: Vec<&str> = element.split_whitespace().collect();
        match words[..] {
            [from, ".", to, "counter", "packets", packets, ..] => Some((
                (from.parse().ok()?, to.parse().ok()?),
                packets.parse().ok()?,
            )),
            _ => None,
        }
    };
    let elements = elements.map_or("", |(elements, _)| elements).split(',');
    elements.filter_map(one).collect()
}

fn expression((address, port): (Address, Port)) -> String {
    let address = match address {
        Address::From => "ip saddr @single",
        Address::To => "ip daddr @single",
        Address::Pair => "ip saddr . ip daddr @pairs",
    };
    match port {
        Port::Any => address.to_owned(),
        Port::To(protocol, port) => format!("{address} {protocol} dport {port}"),
        Port::From(protocol, port) => format!("{address} {protocol} sport {port}"),
    }
}

fn elements(verb: &str, table: &str, addresses: &Addresses, limit: Option<Duration>) -> String {
    let timeout = limit
        .map(|limit| format!(" timeout {}s", limit.as_secs().max(1)))
        .unwrap_or_default();
    let line = |set: &str, items: Vec<String>| {
        if items.is_empty() {
            return String::new();
        }
        format!("{verb} element {table} {set} {{ {} }}\n", items.join(", "))
    };
    let single = addresses
        .single
        .iter()
        .map(|ip| format!("{ip}{timeout}"))
        .collect();
    let pairs = addresses
        .pairs
        .iter()
        .map(|(a, b)| format!("{a} . {b}{timeout}"))
        .collect();
    line("single", single) + &line("pairs", pairs)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    pub(crate) fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, 1, last)
    }

    #[test]
    fn a_table_holds_sets_counters_and_one_chain_a_hook() {
        let rules = RuleSet {
            rules: vec![
                (Address::To, Port::To("tcp", 2380)),
                (Address::Pair, Port::Any),
            ],
            loss_percent: None,
            local: false,
        };
        let addresses = Addresses {
            single: [ip(2)].into(),
            pairs: [(ip(2), ip(3))].into(),
        };
        let text = install("f1", &rules, &addresses, Duration::from_secs(90));
        for part in [
            "table inet etcd_harness_f1 {",
            "ip daddr @single tcp dport 2380 jump hit",
            "ip saddr . ip daddr @pairs jump hit",
            "type filter hook forward priority -250; policy accept;",
            "counter name dropped drop",
            "tcp sport 61000-65535 goto probed",
            "update @probes { ip saddr . ip daddr counter } drop",
            "add element inet etcd_harness_f1 single { 10.244.1.2 timeout 90s }",
            "add element inet etcd_harness_f1 pairs { 10.244.1.2 . 10.244.1.3 timeout 90s }",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("hook input"));
    }

    #[test]
    fn loss_drops_a_share_and_local_hooks_all_three() {
        let rules = RuleSet {
            rules: vec![(Address::From, Port::Any)],
            loss_percent: Some(30),
            local: true,
        };
        let text = install("f1", &rules, &Addresses::default(), Duration::from_secs(1));
        assert!(text.contains("numgen random mod 100 < 30 update @own { ip saddr . ip daddr counter } counter name dropped drop"));
        assert!(!text.contains("goto probed"), "chance cannot be probed");
        assert!(text.contains("hook input") && text.contains("hook output"));
        assert!(!text.contains("add element"));
    }

    #[test]
    fn a_new_address_replaces_the_old_one() {
        let old = Addresses {
            single: [ip(2), ip(3)].into(),
            ..Default::default()
        };
        let new = Addresses {
            single: [ip(3), ip(9)].into(),
            ..Default::default()
        };
        let text = update("f1", &old, &new, Duration::from_secs(5));
        assert!(
            text.contains("delete element inet etcd_harness_f1 single { 10.244.1.2 }"),
            "{text}"
        );
        assert!(
            text.contains("add element inet etcd_harness_f1 single { 10.244.1.9 timeout 5s }"),
            "{text}"
        );
        assert!(!text.contains("10.244.1.3"), "{text}");
    }

    #[test]
    fn counters_are_read_and_a_missing_table_has_none() {
        let text = "table inet etcd_harness_f1 {\n\tcounter seen {\n\t\tpackets 41 bytes 2460\n\t}\n\n\t\
            counter dropped {\n\t\tpackets 7 bytes 420\n\t}\n\n\tset pairs {\n\t\ttype ipv4_addr . ipv4_addr\n\t\t\
            elements = { 10.9.9.9 . 10.9.9.8 timeout 9s expires 8s }\n\t}\n\n\tset own {\n\t\t\
            type ipv4_addr . ipv4_addr\n\t\tsize 4096\n\t\tflags dynamic\n\t\t\
            elements = { 10.244.1.2 . 10.244.1.3 counter packets 4 bytes 240,\n\t\t\t     \
            10.244.1.3 . 10.244.1.2 counter packets 3 bytes 180 }\n\t}\n\n\tset probes {\n\t\t\
            type ipv4_addr . ipv4_addr\n\t\tsize 4096\n\t\tflags dynamic\n\t}\n\n\tchain probed {\n\t\t\
            update @probes { ip saddr . ip daddr counter } drop\n\t}\n}\n";
        let own = [((ip(2), ip(3)), 4), ((ip(3), ip(2)), 3)].into();
        let ways = Dropped {
            own,
            ..Default::default()
        };
        assert_eq!(
            parse_count(text),
            Some(Count {
                seen: 41,
                dropped: 7,
                ways
            })
        );
        assert_eq!(parse_count("Error: No such file or directory"), None);
    }
}
