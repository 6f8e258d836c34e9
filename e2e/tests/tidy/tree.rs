//! The files of the repository, as the rules read them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::lexer::{Split, split, without_tests};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("e2e lies in the workspace")
        .to_path_buf()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("readable directory").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if matches!(name.to_str(), Some("target" | ".git" | "runs")) {
            continue;
        }
        // A link leads to what is read in its own place.
        let kind = entry.file_type().expect("a kind of file");
        if kind.is_symlink() {
            continue;
        }
        if kind.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// Name and text of every file with this extension, or of every file.
pub(crate) fn files(extension: Option<&str>) -> Vec<(String, String)> {
    let root = root();
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter(|path| extension.is_none_or(|wanted| path.extension().is_some_and(|e| e == wanted)))
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            let name = path
                .strip_prefix(&root)
                .ok()?
                .to_string_lossy()
                .into_owned();
            Some((name, text))
        })
        .collect()
}

/// Name and code of every Rust file that is compiled into a product: without comments, literals and tests.
pub(crate) fn production() -> Vec<(String, String)> {
    let sources: Vec<(String, Split)> = files(Some("rs"))
        .into_iter()
        .map(|(name, text)| (name, split(&text)))
        .collect();
    let tests: BTreeSet<String> = sources
        .iter()
        .flat_map(|(name, split)| test_modules(name, &split.code))
        .collect();
    sources
        .into_iter()
        .filter(|(name, _)| !is_test(name, &tests))
        .map(|(name, split)| (name, without_tests(&split.code)))
        .collect()
}

fn is_test(name: &str, tests: &BTreeSet<String>) -> bool {
    let in_folder = |folder: &str| name.split('/').rev().skip(1).any(|part| part == folder);
    in_folder("tests")
        || in_folder("examples")
        || tests
            .iter()
            .any(|module| name == format!("{module}.rs") || name.starts_with(&format!("{module}/")))
}

/// Paths, without their extension, of the modules that a file declares for tests only.
fn test_modules(name: &str, code: &str) -> Vec<String> {
    let folder = folder_of_children(name);
    let lines: Vec<&str> = code.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|pair| pair[0] == "#[cfg(test)]")
        .filter_map(|pair| declared_module(pair[1]))
        .map(|module| format!("{folder}/{module}"))
        .collect()
}

/// `name` of `mod name;` and `pub(crate) mod name;`.
pub(crate) fn declared_module(line: &str) -> Option<&str> {
    let declaration = line.strip_suffix(';')?;
    let (before, module) = declaration.rsplit_once(' ')?;
    (before == "mod" || before.ends_with(" mod")).then_some(module)
}

/// Where the modules lie that a file declares.
pub(crate) fn folder_of_children(name: &str) -> String {
    let path = name.strip_suffix(".rs").unwrap_or(name);
    let (folder, stem) = path.rsplit_once('/').unwrap_or(("", path));
    match stem {
        "mod" | "lib" | "main" => folder.to_owned(),
        _ => path.to_owned(),
    }
}

/// Fails with all that was found, if anything was.
pub(crate) fn report(title: &str, findings: &[String]) {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "  {finding}");
    }
    assert!(findings.is_empty(), "{title}:\n{text}");
}

#[test]
fn modules_of_tests_are_no_production() {
    let tests: BTreeSet<String> = test_modules(
        "a/src/plan/mod.rs",
        "#[cfg(test)]\nmod world;\nmod steps;\n",
    )
    .into_iter()
    .collect();
    assert!(is_test("a/src/plan/world.rs", &tests));
    assert!(is_test("a/src/plan/world/server.rs", &tests));
    assert!(!is_test("a/src/plan/steps.rs", &tests));
    assert!(!is_test("a/src/plan/worlds.rs", &tests));
    assert_eq!(
        test_modules("a/src/b.rs", "#[cfg(test)]\nmod tests;\n"),
        ["a/src/b/tests"]
    );
}
