//! The crates that are published: what a registry asks of them, and that one command names the repository everywhere.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::tree::{files, root};

/// Folder and manifest of each crate that is published.
fn published() -> Vec<(String, String)> {
    let manifests = files(Some("toml")).into_iter();
    let found: Vec<_> = manifests
        .filter(|(_, text)| text.lines().any(|line| line == "publish = true"))
        .filter_map(|(name, text)| Some((name.strip_suffix("/Cargo.toml")?.to_owned(), text)))
        .collect();
    assert!(found.len() > 1, "the crates were not found: {found:?}");
    found
}

/// What a registry refuses, or shows no reader of; `ours` is the workspace's manifest.
fn faults(manifest: &str, ours: &str) -> Vec<String> {
    let value = |key: &str| {
        let key = format!("{key} = ");
        manifest.lines().find_map(|line| line.strip_prefix(&key))
    };
    let wanted = ["description", "readme", "keywords", "categories", "include"];
    let missing = wanted.into_iter().filter(|key| value(key).is_none());
    let mut faults: Vec<String> = missing.map(|key| format!("no {key}")).collect();
    let keywords = value("keywords").unwrap_or_default();
    let words: Vec<&str> = keywords.split('"').skip(1).step_by(2).collect();
    if words.len() > 5 || words.iter().any(|word| word.len() > 20) {
        faults.push(format!("at most 5 keywords of 20 characters: {keywords}"));
    }
    let needed = manifest.split("\n[dependencies]\n").nth(1);
    let needed = needed.unwrap_or_default().split("\n[").next();
    for line in needed.unwrap_or_default().lines() {
        let name = line.split(['.', ' ']).next().unwrap_or_default();
        if ours.contains(&format!("\n{name} = {{ path = ")) {
            faults.push(format!("{name} is only in this repository"));
        }
    }
    faults
}

#[test]
fn what_is_published_has_what_a_registry_wants() {
    let ours = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    for (folder, manifest) in published() {
        assert_eq!(faults(&manifest, &ours), Vec::<String>::new(), "{folder}");
        let license = fs::read(root().join(&folder).join("LICENSE")).expect("LICENSE");
        assert!(license == fs::read(root().join("LICENSE")).expect("LICENSE"));
        assert!(root().join(&folder).join("README.md").is_file(), "{folder}");
    }
}

#[test]
fn a_crate_that_cannot_be_published_is_found() {
    let manifest = "[package]\ndescription = \"x\"\nreadme = \"R\"\nkeywords = [\"a-word-of-many-letters\"]\n\
        include = [\"src\"]\n\n[dependencies]\nserde.workspace = true\nmachine.workspace = true\n\n[lints]\n";
    let ours = "[workspace.dependencies]\nmachine = { path = \"m\" }\nserde = \"1\"\n";
    let found = faults(manifest, ours);
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[0], "no categories");
    assert!(found[2].starts_with("machine "), "{found:?}");
}

/// Errors that are enums and may not grow: names of those in `text` that are not `#[non_exhaustive]`.
fn closed_errors(text: &str) -> Vec<&str> {
    let derived = text.split("thiserror::Error)]").skip(1);
    let ends = derived.filter_map(|rest| rest.split_once("\npub enum "));
    ends.filter(|(between, _)| !between.contains("pub ") && !between.contains("#[non_exhaustive]"))
        .filter_map(|(_, name)| name.split_whitespace().next())
        .collect()
}

#[test]
fn errors_of_published_crates_may_grow() {
    let folders: Vec<String> = published().into_iter().map(|(name, _)| name).collect();
    let sources = files(Some("rs"));
    let ours = sources.iter().filter(|(name, _)| {
        let mut folders = folders.iter();
        folders.any(|folder| name.starts_with(&format!("{folder}/src/")))
    });
    let found: Vec<_> = ours.flat_map(|(_, text)| closed_errors(text)).collect();
    assert_eq!(found, Vec::<&str>::new());
}

#[test]
fn an_error_that_may_not_grow_is_found() {
    let error = "#[derive(Debug, thiserror::Error)]\n";
    let open = format!("{error}#[non_exhaustive]\npub enum Open {{}}\n");
    let closed = format!("{error}pub enum Closed {{}}\n");
    let record = format!("{error}pub struct Record;\n\npub enum Other {{}}\n");
    let text = [open, closed, record].concat();
    assert_eq!(closed_errors(&text), ["Closed"]);
}

/// The files that `hack/address` reads and writes, in a folder of their own.
fn copy(published: &[(String, String)]) -> TempDir {
    let here = TempDir::new().expect("a temporary folder");
    let manifests = published
        .iter()
        .map(|(name, _)| format!("{name}/Cargo.toml"));
    let others = [
        "Cargo.toml",
        "hack/address",
        "deploy/chart/Chart.yaml",
        "docs/releases.md",
    ];
    for file in manifests.chain(others.map(str::to_owned)) {
        let to = here.path().join(&file);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(root().join(&file), to).expect("a copy");
    }
    here
}

fn address(here: &Path, url: &str) -> Output {
    let mut script = Command::new(here.join("hack/address"));
    script.arg(url).output().expect("hack/address runs")
}

#[test]
fn one_command_names_the_repository_everywhere() {
    let published = published();
    let here = copy(&published);
    let read = |file: &str| fs::read_to_string(here.path().join(file)).expect("a file");
    for url in [
        "https://github.com/first/one",
        "https://git.example.org/second/an.other",
    ] {
        let output = address(here.path(), url);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let line = format!("\nrepository = \"{url}\"\n");
        assert_eq!(read("Cargo.toml").matches(&line).count(), 1);
        for (folder, _) in &published {
            let manifest = read(&format!("{folder}/Cargo.toml"));
            let lines = manifest.matches("\nrepository.workspace = true\n");
            assert_eq!(lines.count(), 1, "{manifest}");
        }
        let chart = read("deploy/chart/Chart.yaml");
        let expected = format!("\nhome: {url}\nsources: [{url}]\n");
        assert!(chart.contains(&expected), "{chart}");
        let path = url.splitn(4, '/').nth(3).expect("a path");
        let releases = read("docs/releases.md");
        assert!(releases.contains(&format!("--repo {path}\n")), "{releases}");
    }
    assert!(!read("docs/releases.md").contains("first/one"));
    let refused = address(here.path(), "github.com/first/one");
    assert_eq!(refused.status.code(), Some(2));
}
