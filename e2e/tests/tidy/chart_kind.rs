//! What `hack/chart kind` asks of the API server is asked again until there is an answer: a busy machine is no finding.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::tree::root;

/// Runs `script` with the functions of `hack/chart-kind.sh`, a `kubectl` of these lines that knows how often it was
/// `asked`, and time that passes by sleeping alone: whether it succeeded, and what it said.
fn chart(here: &Path, kubectl: &str, script: &str) -> (bool, String) {
    let (root, here) = (root(), here.display());
    let prelude = format!(
        "set -euo pipefail; . {0}/images/lib.sh; . {0}/hack/chart-kind.sh; WORK='{here}'; SECONDS=0;
         sleep() {{ SECONDS=$((SECONDS + $1)); }};
         kube() {{ echo >>\"$WORK/asked\"; local asked; asked=$(wc -l <\"$WORK/asked\"); {kubectl}; }};",
        root.display(),
    );
    let output = Command::new("bash")
        .arg("-c")
        .arg(prelude + script)
        .env("ETCD_HARNESS_STATE", format!("{here}/state"))
        .output()
        .expect("bash starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = said + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// A server that does not answer twice, and then says this with this exit code.
fn busy(says: &str, code: u32) -> String {
    format!(
        "[ $asked -gt 2 ] || {{ echo 'i/o timeout' >&2; return 1; }}; echo '{says}'; return {code}"
    )
}

#[test]
fn only_a_no_is_a_no() {
    for (says, code, may) in [
        ("yes", 0, "yes"),
        ("no", 1, "no"),
        ("no - by a rule", 1, "no"),
    ] {
        let here = TempDir::new().expect("a temporary folder");
        let asked = chart(
            here.path(),
            &busy(says, code),
            "may get secrets a; echo \"may: $MAY\"",
        );
        assert_eq!(asked, (true, format!("may: {may}\n")));
    }
    let here = TempDir::new().expect("a temporary folder");
    let silent = "echo 'i/o timeout' >&2; return 1";
    let (answered, said) = chart(here.path(), silent, "may get secrets a; echo \"may: $MAY\"");
    assert!(!answered && !said.contains("may: "), "{said}");
    assert!(said.contains("may get secrets in a: i/o timeout"), "{said}");
}

#[test]
fn a_write_is_tried_again_for_a_minute() {
    let here = TempDir::new().expect("a temporary folder");
    let (taken, said) = chart(here.path(), &busy("OK", 0), "answers upgrade");
    assert!(taken, "{said}");
    let here = TempDir::new().expect("a temporary folder");
    let refused = "echo 'etcdserver: no leader' >&2; return 1";
    let (taken, said) = chart(here.path(), refused, "answers upgrade");
    assert!(!taken && said.contains("upgrade: a write"), "{said}");
    assert!(said.contains("etcdserver: no leader"), "{said}");
}

#[test]
fn members_that_cannot_be_listed_are_not_taken_for_recreated_ones() {
    let here = TempDir::new().expect("a temporary folder");
    std::fs::write(here.path().join("members"), "a 1 0\n").expect("write");
    let (same, said) = chart(here.path(), &busy("a 1 0", 0), "untouched upgrade");
    assert!(same && said.contains("no member restarted"), "{said}");
    let (same, said) = chart(here.path(), &busy("a 2 0", 0), "untouched upgrade");
    assert!(!same && said.contains("recreated or restarted"), "{said}");
}

#[test]
fn a_call_that_is_refused_for_a_moment_is_made_again() {
    // Every other call is refused, the first one too.
    let moody =
        "[ $((asked % 2)) = 0 ] || { echo 'too many requests' >&2; return 1; }; echo 'a 1 0'";
    let here = TempDir::new().expect("a temporary folder");
    let (done, said) = chart(here.path(), moody, "set_up; restore; cat $WORK/members");
    assert!(done && said.contains("a 1 0"), "{said}");
    for (script, what) in [
        ("set_up", "failed to delete namespace"),
        (
            "restore",
            "kubectl apply -k deploy failed: too many requests",
        ),
    ] {
        let here = TempDir::new().expect("a temporary folder");
        let refused = "echo 'too many requests' >&2; return 1";
        let (done, said) = chart(here.path(), refused, script);
        assert!(!done && said.contains(what), "{said}");
    }
}
