//! `hack/etcd-tests --built` with programs that are imitated: each newest etcd that runs here is tried, and no other.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::tree::root;

/// An etcd that runs on this machine, and one that does not.
const RUNS: &str = "#!/bin/sh\necho 'etcd Version: 3.6'\n";
const OF_ANOTHER_MACHINE: &str = "#!/no/such/machine\n";

fn program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a program");
}

/// Tries what is in the cache of `here` by a cargo that notes which etcd it was given, and ends with this code: whether
/// the script succeeded, the folders of what was tried, and what it said.
fn tried(here: &Path, code: u32) -> (bool, Vec<String>, String) {
    let (cargo, noted) = (here.join("cargo"), here.join("noted"));
    let note = "#!/bin/sh\necho \"$ETCD_BIN\" >>\"$NOTED\"\nfor name; do :; done\necho \"test $name ... ok\"\n";
    program(&cargo, &format!("{note}exit {code}\n"));
    fs::write(&noted, "").expect("written");
    let output = Command::new(root().join("hack/etcd-tests"))
        .arg("--built")
        .env("CARGO", &cargo)
        .env("NOTED", &noted)
        .env("ETCD_HARNESS_STATE", here)
        .output()
        .expect("the script starts");
    let noted = fs::read_to_string(&noted).expect("notes");
    let folder = |etcd: &str| etcd.rsplit('/').nth(1).unwrap_or_default().to_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (
        output.status.success(),
        noted.lines().map(folder).collect(),
        said,
    )
}

#[test]
fn the_newest_etcd_of_each_minor_that_runs_here_is_tried() {
    let here = TempDir::new().expect("a temporary folder");
    let (well, etcds, said) = tried(here.path(), 0);
    assert!(well && etcds.is_empty(), "{said}");
    for (folder, etcd) in [
        ("etcd-v3.6.2-a", RUNS),
        ("etcd-v3.6.9-a", RUNS),
        ("etcd-v3.6.16-a", RUNS),
        ("etcd-v3.6.16-b", OF_ANOTHER_MACHINE),
        ("etcd-v3.6.17-gofail-a", RUNS),
        ("etcd-v3.7.3-b", OF_ANOTHER_MACHINE),
    ] {
        program(&here.path().join("cache").join(folder).join("etcd"), etcd);
    }
    let (well, etcds, said) = tried(here.path(), 0);
    assert!(well, "{said}");
    assert_eq!(etcds, ["etcd-v3.6.16-a"], "{said}");
    assert!(said.contains("no etcd 3.7 that runs here"), "{said}");
    // One that does not take the message is tried again, and then told.
    let (well, etcds, said) = tried(here.path(), 1);
    assert!(!well && etcds.len() == 3, "{etcds:?}: {said}");
    assert!(said.contains("does not take the message"), "{said}");
}
