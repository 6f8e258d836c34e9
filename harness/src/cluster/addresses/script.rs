//! Scripts for a node's addresses. A label marks ours. Pure.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What the labels of our addresses end with, behind the device and a colon.
pub(crate) const LABEL: &str = "lb";

fn words(addresses: &BTreeSet<Ipv4Addr>) -> String {
    let words: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
    words.join(" ")
}

/// For the shell: the device with the node's own address, and what is done with each address of ours that is on it.
fn for_each(node: Ipv4Addr, body: &str) -> String {
    format!(
        "set -e\n\
         d=$(ip -o -4 addr show to {node}/32 | awk '{{print $2; exit}}'); [ -n \"$d\" ]\n\
         for a in $(ip -o -4 addr show dev $d label $d:{LABEL} | awk '{{print $4}}'); do\n{body}\ndone\n"
    )
}

/// Makes the node answer for `on`, and for none of ours that no Service has.
pub(super) fn answer(
    node: Ipv4Addr,
    on: &BTreeSet<Ipv4Addr>,
    taken: &BTreeSet<Ipv4Addr>,
) -> String {
    let (on, taken) = (words(on), words(taken));
    let stale = format!(
        "case \" {taken} \" in *\" ${{a%/*}} \"*) ;; *) ip addr del ${{a%/*}}/32 dev $d ;; esac"
    );
    for_each(node, &stale)
        + &format!("for a in {on}; do ip addr replace $a/32 dev $d label $d:{LABEL}; done\n")
}

/// Takes these from the node, where they are there.
pub(super) fn take_back(node: Ipv4Addr, ours: &BTreeSet<Ipv4Addr>) -> String {
    let ours = words(ours);
    let take =
        format!("case \" {ours} \" in *\" ${{a%/*}} \"*) ip addr del ${{a%/*}}/32 dev $d ;; esac");
    for_each(node, &take)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    /// Runs a script where `ip` shows these addresses of ours; returns what it was told to change.
    fn changes(script: &str, there: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a folder");
        let told = dir.path().join("told").display().to_string();
        let lines = there.iter().map(|at| {
            format!("echo '9: eth0    inet {at} scope global eth0:{LABEL}\\ valid_lft forever'\n")
        });
        let ip = format!(
            "ip() {{ case \"$*\" in *' to '*) echo '9: eth0    inet 172.18.0.3/16 x';;\n\
             *' show '*) :\n{};;\n*) echo \"$*\" >>{told};; esac; }}\n: >{told}\n",
            lines.collect::<String>()
        );
        let status = std::process::Command::new("sh")
            .args(["-c", &(ip + script)])
            .status();
        assert!(status.expect("a shell").success(), "{script}");
        let told = std::fs::read_to_string(told).expect("what it was told");
        told.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_scripts_add_ours_keep_what_others_have_and_take_the_rest() {
        let node = Ipv4Addr::new(172, 18, 0, 3);
        let at = |last: u8| Ipv4Addr::new(172, 18, 200, last);
        let there = ["172.18.200.1/32", "172.18.200.2/32", "172.18.200.3/32"];
        let text = answer(node, &[at(1)].into(), &[at(1), at(2)].into());
        assert_is_shell(&text);
        let changed = changes(&text, &there);
        let added = "addr replace 172.18.200.1/32 dev eth0 label eth0:lb";
        assert_eq!(changed, ["addr del 172.18.200.3/32 dev eth0", added]);
        let none = BTreeSet::new();
        let all_gone = changes(&answer(node, &none, &none), &there);
        assert_eq!(all_gone.len(), 3, "{all_gone:?}");
        let taken = changes(&take_back(node, &[at(1), at(9)].into()), &there);
        assert_eq!(taken, ["addr del 172.18.200.1/32 dev eth0"]);
        assert!(changes(&take_back(node, &none), &there).is_empty());
    }
}
