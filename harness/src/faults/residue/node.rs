//! What faults may have left in a node: a script and its output. Pure.
//!
//! A part of it that fails says so, and its last line says that it came to its end: no output is no answer.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::cluster::{addresses, volumes};
use crate::faults::data::full_disk::FILLER;
use crate::faults::network::iptables;
use crate::faults::network::nft;
use crate::faults::process::control_plane::ASIDE;
use crate::faults::switch::deadman;

/// Kind of a leftover that is none while the storage class of small volumes is there.
pub(crate) const SMALL_VOLUME: &str = "small volume";
/// Kind of a leftover that is none while a Service shows the address.
pub(crate) const BALANCED: &str = "address of a load balancer";
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
        .replace("BALANCED", BALANCED)
        .replace("LABEL", addresses::LABEL)
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
if command -v ip >/dev/null; then
  if t=$(ip -o -4 addr show label '*:LABEL' 2>&1); then echo "$t" | sed -n 's/^.* inet \([0-9.]*\).*/BALANCED: \1/p'
  else echo "unknown: ip addr: $t"; fi
fi
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

/// True for a small volume that is mounted under one of these names.
pub(crate) fn is_of(what: &str, volumes: &[String]) -> bool {
    let mount = what.strip_prefix(SMALL_VOLUME);
    let name = mount.and_then(|mount| mount.rsplit('/').next());
    name.is_some_and(|name| volumes.iter().any(|volume| volume == name))
}

/// True for an address that one of these is.
pub(crate) fn is_shown(what: &str, shown: &BTreeSet<Ipv4Addr>) -> bool {
    let address = what.strip_prefix(BALANCED);
    let address = address.and_then(|rest| rest.strip_prefix(": ")?.parse::<Ipv4Addr>().ok());
    address.is_some_and(|address| shown.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::assert_is_shell;

    #[test]
    fn a_volume_is_left_once_no_object_names_it() {
        let what = "small volume: /var/etcd-harness/csi/pvc-2f1f";
        let named = |name: &str| is_of(what, &[name.to_owned()]);
        assert!(named("pvc-2f1f") && !named("pvc-2f1") && !named("2f1f"));
        let other = "switch of a fault: /var/etcd-harness/csi/pvc-2f1f";
        assert!(!is_of(other, &["pvc-2f1f".to_owned()]));
    }

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

    /// What the script says where a program answers so.
    fn with(program: &str, answer: &str) -> String {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let file = folder.path().join(program);
        std::fs::write(&file, format!("#!/bin/sh\n{answer}\n")).expect("write");
        let path = folder.path().display();
        run(&format!(
            "chmod +x {path}/{program}; PATH={path}:$PATH\n{}",
            script()
        ))
    }

    #[test]
    fn an_address_of_a_load_balancer_is_left_unless_a_service_shows_it() {
        let ip = "[ \"$*\" = '-o -4 addr show label *:lb' ] || exit 1\n\
                  echo '9: eth0    inet 172.18.200.1/32 scope global eth0:lb\\ valid_lft forever'";
        let seen = parse(&with("ip", ip)).expect("an end");
        let what = "address of a load balancer: 172.18.200.1";
        assert!(seen.left.contains(&what.to_owned()), "{seen:?}");
        assert!(is_shown(what, &[Ipv4Addr::new(172, 18, 200, 1)].into()));
        assert!(!is_shown(what, &[Ipv4Addr::new(172, 18, 200, 2)].into()));
        assert!(!is_shown(
            "switch of a fault: 172.18.200.1",
            &[Ipv4Addr::new(172, 18, 200, 1)].into()
        ));
        let broken = parse(&with("ip", "echo 'no netlink' >&2; exit 1")).expect("an end");
        let unknown = "ip addr: no netlink".to_owned();
        assert!(broken.unknown.contains(&unknown), "{broken:?}");
        let none = parse(&with("ip", "")).expect("an end");
        assert!(!none.left.iter().any(|left| left.starts_with(BALANCED)));
    }

    #[test]
    fn a_program_that_fails_is_unknown_and_one_without_its_module_has_left_nothing() {
        let with = |answer: &str| with("nft", answer);
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
