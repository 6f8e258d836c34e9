//! The Helm chart's templates come from deploy/*.yaml, and the Kustomization lists all of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::tree::root;

/// `hack/chart drift` of a copy of the repository's parts that it reads.
fn drift(copy: &Path) -> Output {
    Command::new(copy.join("hack/chart"))
        .arg("drift")
        .env("ETCD_HARNESS_STATE", copy.join("state"))
        .output()
        .expect("hack/chart runs")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("readable directory").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().expect("a kind of file");
        if kind.is_symlink() {
            symlink(fs::read_link(&path).expect("a link"), &target).expect("link");
        } else if kind.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copy");
        }
    }
}

/// A copy of what `hack/chart` reads; gone when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let folder = format!("{test}-{}", std::process::id());
        let scratch = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
        for folder in ["deploy", "hack", "images"] {
            copy(&root().join(folder), &scratch.0.join(folder));
        }
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts one text for another in a file of the copy and returns what `hack/chart drift` says.
fn after(scratch: &Path, file: &str, old: &str, new: &str) -> String {
    let path = scratch.join(file);
    let text = fs::read_to_string(&path).expect("readable");
    assert!(text.contains(old), "{file} has no {old:?}");
    fs::write(&path, text.replace(old, new)).expect("write");
    let output = drift(scratch);
    fs::write(&path, text).expect("write");
    assert!(
        !output.status.success(),
        "{file}: {new:?} for {old:?} passes"
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_charts_templates_are_those_of_deploy() {
    let output = drift(&Scratch::new("same").0);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn a_change_of_deploy_alone_is_found() {
    let scratch = Scratch::new("changed");
    let said = |file, old, new| after(&scratch.0, file, old, new);
    let changed = said("deploy/20-rbac.yaml", "[get, list, watch, patch]", "[get]");
    assert!(changed.contains("run hack/chart write"), "{changed}");
    let edited = said(
        "deploy/chart/templates/25-admission.yaml",
        "failurePolicy: Fail",
        "failurePolicy: Ignore",
    );
    assert!(edited.contains("run hack/chart write"), "{edited}");
    let ruled = said("deploy/30-operator.yaml", "  replicas: 2", "  replicas: 3");
    assert!(ruled.contains("correct the rule"), "{ruled}");
    let image = said(
        "deploy/40-componentdefinition.yaml",
        "kbagent:dev",
        "other:dev",
    );
    assert!(image.contains("correct the rule"), "{image}");
    let listed = said("deploy/Kustomization", "- 25-admission.yaml\n", "");
    assert!(listed.contains("does not list"), "{listed}");
}

#[test]
fn the_operator_may_replace_no_object_that_it_only_patches() {
    let text = fs::read_to_string(root().join("deploy/20-rbac.yaml")).expect("readable");
    let (mut resources, mut replaced) = ("", Vec::new());
    for line in text.lines().map(str::trim) {
        if let Some(named) = line.strip_prefix("resources: ") {
            resources = named;
        }
        let part = ["/status", "/finalizers"]
            .iter()
            .any(|part| resources.contains(part));
        if line.starts_with("verbs: ") && line.contains("update") && !part {
            replaced.push(resources);
        }
    }
    assert_eq!(replaced, ["[secrets]", "[leases]"]);
}

/// The parts of `hack/chart kind` with `more` in place of what they call, in a copy without a cluster.
fn on_kind(scratch: &Scratch, more: &str) -> Output {
    let script = "set -euo pipefail; . images/lib.sh; . hack/chart-checks.sh; . hack/chart-kind.sh
        WORK=$PWD/work NOT_IN_CHART=10-namespace.yaml; mkdir -p $WORK
        kube() { echo deployment; }; quiet_helm() { :; }; tool() { echo helm; }; end_lanes() { :; }
        ";
    Command::new("bash")
        .args(["-c", &format!("{script}{more}; try_on_kind")])
        .current_dir(&scratch.0)
        .env("ETCD_HARNESS_STATE", scratch.0.join("state"))
        .output()
        .expect("bash runs")
}

#[test]
fn the_kustomization_is_built_where_the_cluster_brings_a_kubectl() {
    let scratch = Scratch::new("kustomize");
    // Another code than that of anything that fails.
    let built = on_kind(&scratch, "check_kustomize() { exit 42; }");
    let said = String::from_utf8_lossy(&built.stderr);
    assert_eq!(built.status.code(), Some(42), "{said}");
}
