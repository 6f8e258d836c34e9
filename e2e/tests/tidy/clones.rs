//! `images/crates.sh`, which passes compiled dependencies from clone to clone: a cache that is partial or broken costs
//! time, never the build.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::tree::root;

/// Runs `script` with the functions of `images/crates.sh`, a state folder of its own and `$here/target` to fill.
fn crates(here: &Path, script: &str) -> String {
    let prelude = format!(
        "set -euo pipefail; . {0}/images/lib.sh; . {0}/images/crates.sh; cd '{1}';
         free_gb() {{ echo 100; }}; use() {{ use_crates dev target debug; }}; cache() {{ printf '%s\\n' $STATE_DIR/crates/*/dev/debug; }};
         built() {{ sleep 0.01; unit $1; echo $PWD > target/debug/.fingerprint/$1/lib.json; }};
         unit() {{ mkdir -p target/debug/{{deps,build,.fingerprint/$1}}; touch target/debug/deps/lib$1.rlib target/debug/.fingerprint/$1/invoked.timestamp; }};",
        root().display(),
        here.display()
    );
    let output = Command::new("bash")
        .arg("-c")
        .arg(prelude + script)
        .env("ETCD_HARNESS_STATE", here.join("state"))
        .output()
        .expect("bash starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{script}: {}: {said}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned() + &said
}

const KEEP_ONE: &str = "use; built serde-0a; unit half-0b; keep_crates;";

#[test]
fn finished_dependencies_come_into_the_next_clone_and_others_do_not() {
    let here = TempDir::new().expect("a temporary folder");
    crates(here.path(), KEEP_ONE);
    crates(here.path(), "rm -r target; use");
    let debug = here.path().join("target/debug");
    assert!(debug.join("deps/libserde-0a.rlib").exists());
    assert!(debug.join(".fingerprint/serde-0a/lib.json").exists());
    assert!(
        !debug.join(".fingerprint/half-0b").exists(),
        "a unit that was not finished was kept"
    );
}

#[test]
fn nothing_is_kept_where_the_disk_is_short() {
    let here = TempDir::new().expect("a temporary folder");
    let short = format!("free_gb() {{ echo 7; }}; {KEEP_ONE} [ ! -e $(cache) ]");
    let said = crates(here.path(), &short);
    assert!(said.contains("not kept"), "{said}");
    assert!(
        here.path()
            .join("target/debug/deps/libserde-0a.rlib")
            .exists()
    );
}

#[test]
fn a_partial_cache_is_used_as_far_as_it_goes() {
    let here = TempDir::new().expect("a temporary folder");
    crates(here.path(), KEEP_ONE);
    crates(here.path(), "rm -rf target $(cache)/build; use");
    assert!(
        here.path()
            .join("target/debug/.fingerprint/serde-0a/lib.json")
            .exists()
    );
}

#[test]
fn a_broken_cache_is_dropped_and_the_build_goes_on() {
    let here = TempDir::new().expect("a temporary folder");
    crates(here.path(), KEEP_ONE);
    let said = crates(
        here.path(),
        "rm -rf target $(cache)/deps; touch $(cache)/deps; use; [ ! -e $(cache) ]",
    );
    assert!(said.contains("not used"), "{said}");
    assert!(!here.path().join("target/debug/.fingerprint").exists());
}

/// The same crate compiled in two folders may have two hashes, which cargo does not compare.
#[test]
fn only_what_was_filled_from_a_cache_adds_to_it() {
    let here = TempDir::new().expect("a temporary folder");
    // Two clones begin with no cache; the second to end has compiled serde too.
    let said = crates(
        here.path(),
        "mkdir b; (cd b; use); use; built serde-0a; keep_crates; cd b; built serde-0a; built json-0b; keep_crates",
    );
    assert!(said.contains("come from another clone"), "{said}");
    let shown = crates(
        here.path(),
        "ls $(cache)/.fingerprint; cat $(cache)/.fingerprint/serde-0a/lib.json",
    );
    assert!(
        !shown.contains("json-0b") && !shown.contains("/b\n"),
        "{shown}"
    );
}

#[test]
fn a_clone_adds_what_its_own_cache_lacked() {
    let here = TempDir::new().expect("a temporary folder");
    crates(here.path(), KEEP_ONE);
    let both =
        "use; built json-0b; keep_crates; built yaml-0c; keep_crates; ls $(cache)/.fingerprint";
    let shown = crates(here.path(), &format!("rm -rf target; {both}"));
    for unit in ["serde-0a", "json-0b", "yaml-0c"] {
        assert!(shown.contains(unit), "{shown}");
    }
    // Filled from the state before that.
    let said = crates(
        here.path(),
        "mkdir b; cd b; cp -r ../target .; echo older > target/.crates; use; built toml-0d; keep_crates",
    );
    assert!(said.contains("come from another clone"), "{said}");
}

#[test]
fn a_cache_whose_addition_was_interrupted_is_not_used() {
    let here = TempDir::new().expect("a temporary folder");
    crates(here.path(), KEEP_ONE);
    crates(
        here.path(),
        "rm -rf target $(dirname $(cache))/id; use; [ ! -e target/debug ]; built json-0b; keep_crates",
    );
    let shown = crates(here.path(), "ls $(cache)/.fingerprint");
    assert_eq!(shown.trim(), "json-0b");
}
