//! Which users may read what the program writes.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn what_lies_in_a_claim_is_for_its_user_and_group_alone() {
    let claim = tempfile::tempdir().unwrap();
    // It deletes the object that it has written, and leaves that one's folder.
    let ended = Command::new(env!("CARGO_BIN_EXE_etcd-backup"))
        .args(["probe", "--path=a/probe", "--folder"])
        .arg(claim.path())
        .output()
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let made = std::fs::metadata(claim.path().join("a")).unwrap();
    let mode = made.permissions().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
}
