//! Which process made something, in a form that a label takes: so that another process sees that it has died.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use sha2::{Digest, Sha256};

/// Label of containers and networks that a run makes beside the nodes; its value is the run.
pub(crate) const LABEL: &str = "etcd-harness.bare";
/// Label with the process that made them.
pub(crate) const LABEL_OWNER: &str = "etcd-harness.bare.owner";

/// Labels of what this process makes for a run.
pub(crate) fn labels(run: &str) -> HashMap<String, String> {
    HashMap::from([
        (LABEL.to_owned(), run.to_owned()),
        (LABEL_OWNER.to_owned(), own()),
    ])
}

/// This process: its machine, the machine's start, its namespace of processes, its number there and its own start.
pub(crate) fn own() -> String {
    let pid = std::process::id();
    format!(
        "{}.{pid}.{}",
        Place::here().words(),
        started(pid).unwrap_or_default()
    )
}

/// True when that process ran in this namespace of processes and does not run any more. Of other machines nothing is
/// known, and nothing of another container on this one: its processes have numbers of their own.
pub(crate) fn has_died(owner: &str) -> bool {
    has_died_at(&Place::here(), owner, started)
}

fn has_died_at(here: &Place, owner: &str, started: impl Fn(u32) -> Option<u64>) -> bool {
    let parts: Vec<&str> = owner.split('.').collect();
    let [host, boot, namespace, pid, start] = parts[..] else {
        return false;
    };
    let (Ok(pid), Ok(start)) = (pid.parse::<u32>(), start.parse::<u64>()) else {
        return false;
    };
    // A start or a namespace of 0 is of a system that tells none.
    let known = start != 0 && here.namespace != 0;
    if !known || host != here.host || namespace != here.namespace.to_string() {
        return false;
    }
    if boot != here.boot {
        // Containers on two machines may have one name, and namespaces of one number; machines are named apart.
        return here.namespace == FIRST;
    }
    started(pid) != Some(start)
}

/// Inode of the first namespace of processes in every kernel: that of a machine itself.
const FIRST: u64 = 0xEFFF_FFFC;

/// Where a process has its number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The machine, or the container.
    host: String,
    /// The machine's start.
    boot: String,
    /// Inode of the namespace of processes; 0 where none is told.
    namespace: u64,
}

impl Place {
    fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let short = |text: String| {
            let hash = Sha256::digest(text.trim());
            hash.iter()
                .take(4)
                .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
        };
        let namespace = fs::metadata("/proc/self/ns/pid");
        Self {
            host: short(read("/proc/sys/kernel/hostname")),
            boot: short(read("/proc/sys/kernel/random/boot_id")),
            namespace: namespace.map(|found| found.ino()).unwrap_or_default(),
        }
    }

    fn words(&self) -> String {
        format!("{}.{}.{}", self.host, self.boot, self.namespace)
    }
}

/// When a process was started, in ticks since the machine was; `None` when none of this number runs.
fn started(pid: u32) -> Option<u64> {
    start(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The same, from what the kernel says of it.
fn start(stat: &str) -> Option<u64> {
    // Its name, in brackets, may hold anything; then comes its state, and 19 fields after that the start.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    // One that has ended stays in the table until its parent asks for it.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_has_not_died_and_one_that_ended_has() {
        let own = own();
        assert!(own.len() <= 63 && own.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'));
        assert!(!has_died(&own));
        let Some((rest, _)) = own.rsplit_once('.') else {
            panic!("{own} has no start")
        };
        assert!(
            has_died(&format!("{rest}.1")),
            "another process of its number"
        );
        assert!(!has_died("0badcafe.0badcafe.1.1.1"), "of another machine");
        assert!(!has_died("me"), "not written by us");
    }

    #[test]
    fn a_process_that_ended_has_no_start_although_its_parent_did_not_ask_for_it() {
        let stat = |state: &str| {
            format!(
                "42 (har) ness) {state} 1 2 3 0 -1 4194560 80 0 0 0 1 2 0 0 20 0 1 0 8401 9 12\n"
            )
        };
        assert_eq!(start(&stat("S")), Some(8401));
        assert_eq!(start(&stat("R")), Some(8401));
        assert_eq!(start(&stat("Z")), None);
        assert_eq!(start(&stat("X")), None);
        assert_eq!(start(""), None);
    }

    fn place(namespace: u64) -> Place {
        Place {
            host: "aa".to_owned(),
            boot: "bb".to_owned(),
            namespace,
        }
    }

    #[test]
    fn nothing_is_claimed_of_a_container_with_the_same_name() {
        let of = |namespace| format!("{}.7.100", place(namespace).words());
        let none_runs = |_| None;
        let died = |here, owner: &str| has_died_at(&place(here), owner, none_runs);
        assert!(died(4_026_532_001, &of(4_026_532_001)));
        assert!(!died(4_026_532_001, &of(4_026_532_002)), "the other one");
        assert!(!died(FIRST, &of(4_026_532_001)), "on this machine itself");
        assert!(!died(0, &of(0)), "no namespace is told");
        assert!(!died(FIRST, "aa.bb.7.100"), "of an earlier harness");
        let runs = |pid| (pid == 7).then_some(100);
        assert!(!has_died_at(&place(FIRST), &of(FIRST), runs));
        let another = |_| Some(101);
        assert!(has_died_at(&place(FIRST), &of(FIRST), another));
    }

    #[test]
    fn whatever_ran_on_a_machine_before_it_was_started_has_died() {
        let before = |namespace: u64| format!("aa.00.{namespace}.7.100");
        let died = |here| has_died_at(&place(here), &before(here), |_| Some(100));
        assert!(died(FIRST));
        assert!(!died(4_026_532_001), "a container, maybe elsewhere");
        let other = format!("ab.00.{FIRST}.7.100");
        assert!(!has_died_at(&place(FIRST), &other, |_| None));
    }
}
