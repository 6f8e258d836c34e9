//! Modules are read from the bottom to the top: no module names itself by way of others, and folders keep a direction.

use std::collections::BTreeSet;

use crate::modules::{Crate, Module, circles};
use crate::tree::{outdated, production, report};

/// Crates whose modules must form no circle, and how many modules lie in one yet. A number may only fall.
const CIRCLES: &[(&str, usize)] = &[
    ("harness/src", 0),
    ("harness/history/src", 0),
    ("harness/workload/src", 0),
    ("harness/machine/src", 0),
    ("operator/src", 31),
    ("operator/agent/src", 2),
    ("operator/api/src", 2),
    ("operator/kubectl-etcd/src", 0),
];

/// Folders of a crate, from the bottom to the top: a folder may use those above it in this table.
const FLOORS: &[(&str, &[&str])] = &[
    (
        "harness/src",
        &[
            "timeouts", "wait", "cluster", "deploy", "faults", "observe", "report", "bench",
            "scenario", "bare", "doctor", "commands",
        ],
    ),
    (
        "harness/history/src",
        &["hash", "record", "history", "index", "check", "simulate"],
    ),
];

#[test]
fn modules_form_no_circles() {
    let files = production();
    let mut findings = Vec::new();
    for (src, allowed) in CIRCLES {
        let uses = Crate::read(src, &files).uses();
        let found = circles(&uses);
        let modules: usize = found.iter().map(BTreeSet::len).sum();
        if !outdated(*allowed, modules) {
            continue;
        }
        findings.push(format!(
            "{src}: {modules} modules lie in circles, {allowed} are allowed (lower that if it fell)"
        ));
        for circle in found {
            for module in &circle {
                let inside: Vec<String> = uses[module].intersection(&circle).map(name).collect();
                findings.push(format!("  {} uses {}", name(module), inside.join(", ")));
            }
        }
    }
    report(
        "modules in circles: move what they share into one below",
        &findings,
    );
}

fn name(module: &Module) -> String {
    match module.as_slice() {
        [] => "the root".to_owned(),
        path => path.join("::"),
    }
}

/// Uses of a folder that stands higher, as (module, what it uses).
fn upward(krate: &Crate, floors: &[&str]) -> Vec<(Module, Module)> {
    let floor = |module: &Module| {
        let folder = module.first()?;
        floors.iter().position(|name| name == folder)
    };
    krate
        .uses()
        .into_iter()
        .flat_map(|(module, used)| used.into_iter().map(move |used| (module.clone(), used)))
        .filter(|(module, used)| match (floor(module), floor(used)) {
            (Some(from), Some(to)) => to > from,
            _ => false,
        })
        .collect()
}

#[test]
fn folders_use_only_what_is_below_them() {
    let files = production();
    let mut findings = Vec::new();
    for (src, floors) in FLOORS {
        for (module, used) in upward(&Crate::read(src, &files), floors) {
            findings.push(format!("{src}: {} uses {}", name(&module), name(&used)));
        }
    }
    report("uses against the direction of folders", &findings);
}

#[test]
fn a_use_of_a_higher_folder_is_found() {
    let files: Vec<(String, String)> = [
        ("a/src/lib.rs", "mod cluster;\nmod faults;\n"),
        ("a/src/cluster.rs", "use crate::faults::inject;\n"),
        ("a/src/faults.rs", "use crate::cluster;\n"),
    ]
    .map(|(name, code)| (name.to_owned(), code.to_owned()))
    .to_vec();
    let found = upward(&Crate::read("a/src", &files), &["cluster", "faults"]);
    assert_eq!(found.len(), 1);
    assert_eq!(name(&found[0].0), "cluster");
}

#[test]
fn every_folder_of_the_tables_is_there() {
    let files = production();
    for (src, floors) in FLOORS {
        for folder in *floors {
            let there = |name: &str| {
                name == format!("{src}/{folder}.rs")
                    || name.starts_with(&format!("{src}/{folder}/"))
            };
            assert!(
                files.iter().any(|(name, _)| there(name)),
                "{src}/{folder} is not there"
            );
        }
    }
}

/// Files `mod.rs` that have functions yet: a `mod.rs` only declares, so that a name leads to the file of its code.
const LOGIC_IN_MOD: &[&str] = &["operator/src/instanceset/plan/mod.rs"];

fn has_function(code: &str) -> bool {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == "fn")
}

#[test]
fn a_mod_file_only_declares() {
    let findings: Vec<String> = production()
        .iter()
        .filter(|(name, _)| name.ends_with("/mod.rs"))
        .filter(|(name, code)| has_function(code) != LOGIC_IN_MOD.contains(&name.as_str()))
        .map(|(name, code)| match has_function(code) {
            true => format!("{name} has functions: move them to a file with a name"),
            false => format!("{name} is clean: take it out of the table"),
        })
        .collect();
    report("logic in mod.rs", &findings);
}

#[test]
fn a_declaration_is_no_function() {
    assert!(has_function("mod a;\npub(crate) fn b() {}\n"));
    assert!(!has_function("mod fn_a;\npub use a::{b, fnord};\n"));
}
