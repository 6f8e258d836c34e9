//! Images of a release: valid OCI layouts, the same for the same programs whenever and wherever they are made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::tree::root;

/// Two layouts of one program; gone when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let folder = format!("release-{test}-{}", std::process::id());
        let scratch = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
        fs::create_dir_all(&scratch.0).expect("a folder");
        scratch
    }

    /// A layout of image `name`, with this program for both architectures.
    fn layout(&self, folder: &str, name: &str, program: &str) -> PathBuf {
        let layout = self.0.join(folder);
        let made = self.0.join(format!("{folder}.program"));
        fs::write(&made, program).expect("a program");
        let script = "set -euo pipefail; . images/lib.sh; . images/oci.sh; workdir release-test; \
            VERSION=1.2.3 REVISION=abc SOURCE= CREATED=2026-01-01T00:00:00Z; export SOURCE_DATE_EPOCH=1767225600; \
            layout \"$1\" \"$2\" amd64=\"$3\" arm64=\"$3\"";
        let output = Command::new("bash")
            .args(["-c", script, "release"])
            .arg(&layout)
            .arg(name)
            .arg(&made)
            .current_dir(root())
            .env("ETCD_HARNESS_STATE", self.0.join("state"))
            .output()
            .expect("bash runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        layout
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn json(path: &Path) -> Value {
    let text = fs::read(path).expect("a file of the layout");
    serde_json::from_slice(&text).expect("JSON")
}

/// The file that a descriptor names, which has the size that it says.
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest");
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    let size = fs::metadata(&path).expect("a blob").len();
    assert_eq!(descriptor["size"], size, "{digest}");
    path
}

/// The digests of all blobs are those of their bytes.
fn digests_hold(layout: &Path) {
    let folder = layout.join("blobs/sha256");
    let mut command = Command::new("sha256sum");
    for entry in fs::read_dir(&folder).expect("blobs").flatten() {
        command.arg(entry.path());
    }
    let output = command.output().expect("sha256sum runs");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (sum, path) = line.split_once("  ").expect("a sum and a path");
        assert!(path.ends_with(sum), "{line}");
    }
}

#[test]
fn an_image_is_a_valid_layout_for_each_architecture() {
    let scratch = Scratch::new("valid");
    let layout = scratch.layout("one", "kbagent", "program");
    digests_hold(&layout);
    let top = json(&layout.join("index.json"));
    let index = json(&blob(&layout, &top["manifests"][0]));
    assert_eq!(
        json(&layout.join("oci-layout"))["imageLayoutVersion"],
        "1.0.0"
    );
    let manifests = index["manifests"].as_array().expect("manifests");
    let mut architectures = Vec::new();
    for descriptor in manifests {
        let manifest = json(&blob(&layout, descriptor));
        let config = json(&blob(&layout, &manifest["config"]));
        let layer = &manifest["layers"][0];
        blob(&layout, layer);
        assert_eq!(config["rootfs"]["diff_ids"][0], layer["digest"]);
        assert_eq!(
            config["architecture"],
            descriptor["platform"]["architecture"]
        );
        assert_eq!(config["config"]["User"], "65532:65532");
        let labels = &config["config"]["Labels"];
        assert_eq!(labels["org.opencontainers.image.version"], "1.2.3");
        assert_eq!(labels["org.opencontainers.image.title"], "kbagent");
        assert_eq!(labels.get("org.opencontainers.image.source"), None);
        architectures.push(config["architecture"].clone());
    }
    assert_eq!(architectures, ["amd64", "arm64"]);
}

/// What the chart installs of ours: `NAME` of each `etcd-harness/NAME`, but etcd's own.
fn of_the_chart() -> Vec<String> {
    let values = fs::read_to_string(root().join("deploy/chart/values.yaml")).expect("values");
    let named = values.lines().filter_map(|line| {
        let (_, after) = line.split_once("repository: etcd-harness/")?;
        let end = after.find([',', '}'])?;
        Some(after[..end].to_owned())
    });
    named.filter(|name| name != "etcd").collect()
}

#[test]
fn a_release_has_every_image_that_the_chart_names_and_its_parts() {
    let names = of_the_chart();
    assert!(names.len() > 3, "{names:?}");
    let read = |path: &str| fs::read_to_string(root().join(path)).expect(path);
    let release = read("images/release.sh");
    let all = release.lines().find(|line| line.starts_with("all=("));
    let all = all.expect("the names of a release");
    let (oci, sbom, guide) = (
        read("images/oci.sh"),
        read("hack/sbom"),
        read("docs/quick-start.md"),
    );
    for name in &names {
        let listed = all.trim_start_matches("all=(").trim_end_matches(')');
        assert!(listed.split(' ').any(|word| word == name), "{name}: {all}");
        assert!(oci.contains(&format!(" {name}) text=")), "{name}: oci.sh");
        let mut takes = sbom.lines().filter(|line| line.starts_with("take "));
        let taken = takes.any(|line| line.split(' ').skip(2).any(|word| word == name));
        assert!(taken, "{name}: hack/sbom");
        assert!(
            guide.contains(&format!("{name}:dev")),
            "{name}: quick start"
        );
    }
}

#[test]
fn the_same_program_makes_the_same_image() {
    let scratch = Scratch::new("same");
    let index = |folder: &str, name: &str, program: &str| {
        let layout = scratch.layout(folder, name, program);
        json(&layout.join("index.json"))["manifests"][0]["digest"].clone()
    };
    let first = index("one", "operator", "program");
    assert_eq!(index("two", "operator", "program"), first);
    assert_ne!(index("three", "operator", "another"), first);
    assert_ne!(index("four", "kbagent", "program"), first);
}
