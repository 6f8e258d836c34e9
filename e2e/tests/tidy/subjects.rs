//! Subjects of commits, as `hack/subjects` checks them for new commits in CI.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::tree::root;

fn accepted(subject: &str) -> bool {
    let mut check = Command::new(root().join("hack/subjects"))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("hack/subjects starts");
    let mut input = check.stdin.take().expect("stdin is a pipe");
    writeln!(input, "{subject}").expect("hack/subjects reads");
    drop(input);
    check.wait().expect("hack/subjects ends").success()
}

#[test]
fn a_subject_names_its_area_and_is_short() {
    assert!(accepted("harness: remove a circle between faults"));
    assert!(accepted("agent/fence, docs: treat a switchover as planned"));
    assert!(!accepted("Labels that looked well and were old"));
    assert!(!accepted("harness remove a circle"));
    assert!(!accepted("harness: "));
    assert!(!accepted(&format!("harness: {}", "a".repeat(64))));
    assert!(accepted(&format!("harness: {}", "a".repeat(63))));
}
