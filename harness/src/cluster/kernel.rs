//! What the kernel under the nodes can do: every primitive is tried, in a network and mount namespace of its own, and
//! undone with it. Names of features prove nothing; a packet that was dropped does. Pure: a script and its output.

use std::collections::BTreeMap;

use crate::cluster::ShellOutput;

/// nft drops, counts, and lets addresses expire.
pub(crate) const NFT: &str = "nft drop and expiry";
/// nft has random numbers.
pub(crate) const NFT_RANDOM: &str = "nft random loss";
/// iptables drops and counts.
pub(crate) const IPTABLES: &str = "iptables drop";
/// iptables has chance.
pub(crate) const IPTABLES_RANDOM: &str = "iptables random loss";
/// Delay and reordering by the traffic control layer.
pub(crate) const NETEM: &str = "netem";
/// Packets can be handed to a process.
pub(crate) const NFQUEUE: &str = "NFQUEUE";
/// A file can be mounted as ext4.
pub(crate) const LOOP_MOUNT: &str = "loop mount";
/// A process can be stopped by a signal.
pub(crate) const SIGSTOP: &str = "SIGSTOP";
/// Which version of cgroups the nodes see.
pub(crate) const CGROUP: &str = "cgroup";

/// What each trial gave: nothing for success, else the complaint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trial(BTreeMap<String, Result<String, String>>);

impl Trial {
    /// True when it was tried and worked.
    pub(crate) fn works(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Ok(_)))
    }

    /// What a trial gave; `None` when it was not made.
    pub(crate) fn result(&self, name: &str) -> Option<&Result<String, String>> {
        self.0.get(name)
    }

    /// With what another attempt gave: what worked once works.
    pub(crate) fn with(mut self, again: Self) -> Self {
        for (name, result) in again.0 {
            if !self.works(&name) {
                self.0.insert(name, result);
            }
        }
        self
    }
}

/// The trials. Root in a container with all capabilities runs it; it prints one line each.
pub(crate) fn script() -> String {
    let body = TRIALS.replace('\'', r"'\''");
    format!("unshare -n -m sh -c '{body}'")
}

const TRIALS: &str = r#"
try() { # NAME COMMAND: the last line of its complaint on failure
  if out=$(sh -c "$2" 2>&1); then echo "ok|$1|$out"; else echo "no|$1|$(echo "$out" | tail -n 1)"; fi
}
ip link set lo up 2>/dev/null
hit='curl -s -m 0.2 http://127.0.0.1:9/ >/dev/null 2>&1;'
try "nft drop and expiry" "printf 'table inet t {\n set s { type ipv4_addr; flags timeout; }\n set p { type ipv4_addr . ipv4_addr; flags timeout; }\n counter c { }\n chain o { type filter hook output priority -250; ip daddr @s counter name c drop; }\n}\nadd element inet t s { 127.0.0.1 timeout 9s }\n' | nft -f - && { $hit nft list counters table inet t | grep -q 'packets [1-9]' || { echo 'nothing was dropped'; exit 1; }; }"
nft flush ruleset 2>/dev/null
try "nft random loss" "printf 'table inet t {\n chain o { type filter hook output priority 0; numgen random mod 100 < 50 counter drop; }\n}\n' | nft -f -"
nft flush ruleset 2>/dev/null
try "iptables drop" "printf '*filter\n:T - [0:0]\nCOMMIT\n' | iptables-restore -w --noflush && iptables -w -A OUTPUT -d 127.0.0.1 -j DROP && { $hit iptables -w -nvxL OUTPUT | grep -q '^ *[1-9].*DROP' || { echo 'nothing was dropped'; exit 1; }; }"
try "iptables random loss" "iptables -w -A OUTPUT -d 127.0.0.2 -m statistic --mode random --probability 0.5 -j DROP"
try "NFQUEUE" "iptables -w -A OUTPUT -d 127.0.0.3 -j NFQUEUE --queue-num 7 --queue-bypass"
try "netem" "tc qdisc add dev lo root netem delay 1ms"
try "loop mount" "d=\$(mktemp -d /var/tmp/etcd-harness-trial.XXXXXX) && cd \$d && truncate -s 8M i && mkfs.ext4 -q -m 0 -F i && mkdir m && l=\$(losetup -f) && { [ -e \$l ] || mknod \$l b 7 \${l#/dev/loop}; } && mount -o loop i m; r=\$?; umount m 2>/dev/null; cd /; rm -rf \$d; exit \$r"
try "SIGSTOP" "sleep 5 & p=\$!; kill -STOP \$p; for i in 1 2 3 4 5 6 7 8 9 10; do grep -q '^State:.T' /proc/\$p/status; r=\$?; [ \$r = 0 ] && break; sleep 0.1; done; kill -KILL \$p; exit \$r"
try "cgroup" "if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo v2; else echo v1; fi"
"#;

/// The trials in the script's output.
pub(crate) fn parse(text: &str) -> Trial {
    let line = |line: &str| {
        let mut parts = line.splitn(3, '|');
        let (verdict, name) = (parts.next()?, parts.next()?);
        let words = parts.next().unwrap_or_default().trim().to_owned();
        let result = match verdict {
            "ok" => Ok(words),
            "no" => Err(words),
            _ => return None,
        };
        Some((name.to_owned(), result))
    };
    Trial(text.lines().filter_map(line).collect())
}

/// What an attempt gave.
///
/// # Errors
/// When it did not come as far as one trial; what it said.
pub(crate) fn read(output: &ShellOutput) -> Result<Trial, String> {
    let trial = parse(&output.stdout);
    if trial.0.is_empty() {
        let last = output.stderr.lines().last().unwrap_or("nothing was said");
        return Err(format!("status {}: {last}", output.status));
    }
    Ok(trial)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    #[test]
    fn the_script_is_valid_shell_and_tries_every_primitive() {
        assert_is_shell(TRIALS);
        for name in [
            NFT,
            NFT_RANDOM,
            IPTABLES,
            IPTABLES_RANDOM,
            NETEM,
            NFQUEUE,
            LOOP_MOUNT,
            SIGSTOP,
            CGROUP,
        ] {
            assert!(TRIALS.contains(&format!("try \"{name}\"")), "{name}");
        }
    }

    #[test]
    fn a_trial_that_was_not_made_does_not_work() {
        let trial = parse("ok|netem|\nno|NFQUEUE|No chain/target/match by that name.\nnoise\n");
        assert!(trial.works(NETEM) && !trial.works(NFQUEUE) && !trial.works(NFT));
        assert_eq!(trial.result(NFT), None);
        assert!(matches!(trial.result(NFQUEUE), Some(Err(words)) if words.starts_with("No chain")));
    }

    #[test]
    fn what_worked_once_works_and_a_refusal_is_more_than_no_trial() {
        let first = parse("ok|netem|\nno|NFQUEUE|busy\n");
        let both = first.with(parse("no|netem|busy\nok|NFQUEUE|\nno|SIGSTOP|no\n"));
        assert!(both.works(NETEM) && both.works(NFQUEUE));
        assert!(matches!(both.result(SIGSTOP), Some(Err(_))));
    }

    #[test]
    fn an_attempt_that_tried_nothing_is_none() {
        let output = |stdout: &str| ShellOutput {
            status: 1,
            stdout: stdout.to_owned(),
            stderr: "unshare: Operation not permitted\n".to_owned(),
        };
        let told = read(&output("")).expect_err("nothing was tried");
        assert_eq!(told, "status 1: unshare: Operation not permitted");
        assert!(read(&output("ok|netem|\n")).is_ok_and(|trial| trial.works(NETEM)));
    }
}
