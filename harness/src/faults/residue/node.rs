//! What faults may have left in a node: a script and its output. Pure.
//!
//! A part of it that fails says so, and its last line says that it came to its end: no output is no answer.

use crate::cluster::volumes;
use crate::faults::data::full_disk::FILLER;
use crate::faults::network::iptables;
use crate::faults::network::nft;
use crate::faults::process::control_plane::ASIDE;
use crate::faults::switch::deadman;

/// Kind of a leftover that is none while the storage class of small volumes is there.
pub(crate) const SMALL_VOLUME: &str = "small volume";
/// Begins a line about something that could not be looked at.
const UNKNOWN: &str = "unknown: ";
/// Begins the line with the pod network.
const NETWORK: &str = "pod network: ";
/// The last line.
const END: &str = "looked";

/// What was seen in a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// What is left.
    pub left: Vec<String>,
    /// What could not be looked at.
    pub unknown: Vec<String>,
    /// The first pod network in the configuration that the node's runtime rendered for itself.
    pub network: Option<String>,
}

/// One line a thing: what kind, then its name.
pub(crate) fn script() -> String {
    SCRIPT
        .replace("TABLE", nft::TABLE_PREFIX)
        .replace("CHAIN", iptables::CHAIN_PREFIX)
        .replace("SWITCHES", deadman::DIR)
        .replace("ASIDE", ASIDE)
        .replace("VOLUMES", volumes::DIR)
        .replace("FILLER", FILLER)
        .replace("SMALL", SMALL_VOLUME)
}

/// A program that the kernel has no module for cannot have left rules.
const SCRIPT: &str = r#"
rules() { # PROGRAM COMMAND FILTER
  command -v $1 >/dev/null || return 0
  if t=$(sh -c "$2" 2>&1); then echo "$t" | sed -n "$3"; return 0; fi
  case $t in *'not supported'* | *'does not exist'* | *'No such file'*) ;;
  *) echo "unknown: $2: $(echo "$t" | tail -n 1)" ;; esac
}
rules nft 'nft list tables' 's/^\(.*TABLE.*\)$/packet rules: \1/p'
rules iptables 'iptables -w -S' 's/^-N \(CHAIN.*\)$/packet rules: iptables chain \1/p'
list() { # FOLDER KIND
  [ -e $1 ] || return 0
  if t=$(ls $1 2>&1); then [ -z "$t" ] || echo "$t" | sed "s/^/$2: /"; else echo "unknown: $t"; fi
}
list SWITCHES 'switch of a fault'
list ASIDE 'static pod moved aside'
m=$(findmnt -rn -o TARGET) || echo 'unknown: findmnt fails'
echo "$m" | grep -F VOLUMES/ | sed 's/^/SMALL: /'
for v in VOLUMES/*/*/volume; do [ -e $v/FILLER ] && echo "full volume: $v/FILLER"; done
for i in VOLUMES/*/*/image; do
  [ -e $i ] || continue
  echo "$m" | grep -qxF ${i%image}volume && continue
  if ! t=$(debugfs -R 'stat /FILLER' $i 2>&1); then echo "unknown: $i: $t"; fi
  echo "$t" | grep -q '^Inode:' && echo "full volume: $i, which is not mounted"
done
for d in /var/tmp/etcd-harness-trial.*; do [ -e $d ] && echo "trial of a loop mount: $d"; done
for s in $(grep -ls '^State:.T' /proc/[0-9]*/status); do
  n=$(sed -n 's/^Name:.//p' $s 2>/dev/null) || continue
  p=${s%/status}; echo "stopped process: $n ${p#/proc/}"
done
systemctl is-active -q kubelet 2>/dev/null || echo 'kubelet: not running'
c=/etc/cni/net.d/10-containerd-net.conflist
[ -e $c ] && sed -n 's/.*"subnet": *"\([^"]*\)".*/pod network: \1/p' $c | head -n 1
echo looked
"#;

/// What a script's output says; else that it was cut off.
pub(crate) fn parse(text: &str) -> Result<Seen, String> {
    let mut seen = Seen::default();
    let mut ended = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        ended = line == END;
        if let Some(why) = line.strip_prefix(UNKNOWN) {
            seen.unknown.push(why.to_owned());
        } else if let Some(network) = line.strip_prefix(NETWORK) {
            seen.network = Some(network.to_owned());
        } else if line.contains(": ") {
            seen.left.push(line.to_owned());
        }
    }
    if ended {
        Ok(seen)
    } else {
        Err("the look did not come to its end".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    fn run(script: &str) -> String {
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .output();
        String::from_utf8_lossy(&output.expect("a shell").stdout).into_owned()
    }

    #[test]
    fn the_script_is_valid_shell() {
        let script = script();
        assert_is_shell(&script);
    }

    #[test]
    fn each_line_is_one_leftover() {
        let text =
            "packet rules: table inet etcd_harness_f1\nnoise\nstopped process: etcd 77\nlooked\n";
        let seen = parse(text).expect("it ended");
        assert_eq!(seen.left.len(), 2);
        assert_eq!(seen.left[1], "stopped process: etcd 77");
    }

    #[test]
    fn no_output_and_a_look_that_was_cut_off_are_no_answer() {
        for text in ["", "packet rules: x\n", "looked\nstopped process: etcd 1\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse("looked\n"), Ok(Seen::default()));
    }

    #[test]
    fn a_program_that_fails_is_unknown_and_one_without_its_module_has_left_nothing() {
        let with = |answer: &str| {
            let folder = tempfile::tempdir().expect("a scratch folder");
            let nft = folder.path().join("nft");
            std::fs::write(&nft, format!("#!/bin/sh\n{answer}\n")).expect("write");
            let path = folder.path().display();
            run(&format!(
                "chmod +x {path}/nft; PATH={path}:$PATH\n{}",
                script()
            ))
        };
        let broken = parse(&with("echo 'netlink: out of buffers' >&2; exit 1")).expect("an end");
        assert!(
            broken
                .unknown
                .iter()
                .any(|why| why.contains("out of buffers")),
            "{broken:?}"
        );
        let absent = parse(&with("echo 'Protocol not supported' >&2; exit 1")).expect("an end");
        assert!(
            !absent.unknown.iter().any(|why| why.contains("nft")),
            "{absent:?}"
        );
        let left = parse(&with("echo 'table inet etcd_harness_f1'")).expect("an end");
        let rules = "packet rules: table inet etcd_harness_f1".to_owned();
        assert!(left.left.contains(&rules), "{left:?}");
    }
}
