//! Which process made something, in a form that a label takes: so that another process sees that it has died.

use std::collections::HashMap;
use std::fs;

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

/// This process: its machine, the machine's start, its number and its own start.
pub(crate) fn own() -> String {
    let pid = std::process::id();
    format!("{}.{pid}.{}", machine(), started(pid).unwrap_or_default())
}

/// True when that process ran on this machine and does not run any more. Of other machines nothing is known.
pub(crate) fn has_died(owner: &str) -> bool {
    let machine = machine();
    let Some((host, _)) = machine.split_once('.') else {
        return false;
    };
    let parts: Vec<&str> = owner.split('.').collect();
    let [of, boot, pid, start] = parts[..] else {
        return false;
    };
    let (Ok(pid), Ok(start)) = (pid.parse::<u32>(), start.parse::<u64>()) else {
        return false;
    };
    // A start of 0 is of a system that tells none.
    if of != host || start == 0 {
        return false;
    }
    machine != format!("{of}.{boot}") || started(pid) != Some(start)
}

/// The machine and its start.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let short = |text: String| {
        let hash = Sha256::digest(text.trim());
        hash.iter()
            .take(4)
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
    };
    let host = short(read("/proc/sys/kernel/hostname"));
    let boot = short(read("/proc/sys/kernel/random/boot_id"));
    format!("{host}.{boot}")
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
        assert!(!has_died("0badcafe.0badcafe.1.1"), "of another machine");
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

    #[test]
    fn whatever_ran_before_the_machine_was_started_has_died() {
        let own = own();
        let parts: Vec<&str> = own.split('.').collect();
        let before = format!("{}.00000000.{}.{}", parts[0], parts[2], parts[3]);
        assert!(has_died(&before));
    }
}
