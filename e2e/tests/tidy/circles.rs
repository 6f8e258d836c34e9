//! Modules are read from the bottom to the top: no module names itself by way of others, and folders keep a direction.

use std::collections::BTreeSet;

use crate::modules::{Crate, Module, circles};
use crate::tree::{production, report};

/// Crates whose modules form no circle.
const CRATES: &[&str] = &[
    "harness/src",
    "harness/etcd-history/src",
    "harness/workload/src",
    "harness/machine/src",
    "harness/disk-faults/src",
    "harness/pod-policies/src",
    "operator/src",
    "operator/kbagent/src",
    "operator/etcd-operator-api/src",
    "operator/kubectl-kbetcd/src",
    "operator/etcd-backup/src",
];

/// Folders of a crate, from the bottom to the top: a folder may use those that stand before it in this table.
const FLOORS: &[(&str, &[&str])] = &[
    (
        "operator/src",
        &[
            "config",
            "namespaces",
            "shallow",
            "telemetry",
            "watches",
            "crd",
            "client",
            "lease",
            "metrics",
            "token",
            "certificates",
            "agent",
            "controller",
            "server",
            "admission",
            "definition",
            "roles",
            "instanceset",
            "component",
            "cluster",
            "operations",
            "backup",
            "page",
            "run",
        ],
    ),
    (
        "harness/src",
        &[
            "timeouts", "wait", "cluster", "deploy", "faults", "observe", "report", "bench",
            "scenario", "bare", "doctor", "commands",
        ],
    ),
    (
        "harness/etcd-history/src",
        &[
            "hash",
            "record",
            "parts",
            "error",
            "binary",
            "history",
            "index",
            "check",
            "registers",
            "simulate",
        ],
    ),
];

#[test]
fn modules_form_no_circles() {
    let files = production();
    let mut findings = Vec::new();
    for src in CRATES {
        let uses = Crate::read(src, &files).uses();
        for circle in circles(&uses) {
            for module in &circle {
                let inside: Vec<String> = uses[module].intersection(&circle).map(name).collect();
                findings.push(format!(
                    "{src}: {} uses {}",
                    name(module),
                    inside.join(", ")
                ));
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
fn the_table_has_every_folder_and_no_other() {
    let files = production();
    for (src, floors) in FLOORS {
        let there = Crate::read(src, &files);
        let there: BTreeSet<&str> = there
            .modules()
            .filter_map(|m| m.first().map(String::as_str))
            .collect();
        let declared = floors.iter().copied().collect();
        assert_eq!(there, declared, "{src}: folders, and what the table says");
    }
}

/// A `mod.rs` only declares, so that a name leads to the file of its code.
fn has_function(code: &str) -> bool {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == "fn")
}

#[test]
fn a_mod_file_only_declares() {
    let findings: Vec<String> = production()
        .iter()
        .filter(|(name, code)| name.ends_with("/mod.rs") && has_function(code))
        .map(|(name, _)| format!("{name} has functions: move them to a file with a name"))
        .collect();
    report("logic in mod.rs", &findings);
}

#[test]
fn a_declaration_is_no_function() {
    assert!(has_function("mod a;\npub(crate) fn b() {}\n"));
    assert!(!has_function("mod fn_a;\npub use a::{b, fnord};\n"));
}
