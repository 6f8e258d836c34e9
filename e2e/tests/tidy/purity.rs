//! What pure folders may not use, which crates may not name which, and who may sleep.

use std::fs;

use crate::tree::{production, report, root};

/// What is not given to a module but fetched by it.
const FETCHED: &[&str] = &[
    "tokio",
    "kube::",
    "async fn",
    ".await",
    "Timestamp::now",
    "Instant::now",
    "rand::",
    "std::env",
];

/// The same where names of objects are read with kube.
const FETCHED_OR_READ: &[&str] = &[
    "Api<",
    "tokio",
    "async fn",
    ".await",
    "SystemTime",
    "Timestamp::now",
    "std::env",
];

/// Folders that may not use certain words, and why.
const PURE: &[(&str, &[&str], &str)] = &[
    (
        "operator/src/instanceset/plan",
        &[
            "kube::Client",
            "kube::Api",
            "Api<",
            "tokio",
            "async fn",
            ".await",
            "SystemTime",
            "Instant::now",
            "rand::",
            "std::env",
        ],
        "a plan sees no client, clock, randomness or environment",
    ),
    (
        "operator/src/certificates",
        &[
            "kube::",
            "tokio",
            "async fn",
            ".await",
            "SystemTime::now",
            "Timestamp::now",
            "generate()",
            "rand::",
            "std::env",
        ],
        "certificates are given their keys, serial numbers and time",
    ),
    (
        "harness/etcd-history/src",
        &[
            "tokio",
            "kube::",
            "async fn",
            ".await",
            "SystemTime",
            "Instant::now",
            "std::env",
            "std::net",
        ],
        "a check sees nothing but a history",
    ),
    (
        "operator/kbagent/src/election/plan.rs",
        &[
            "tokio",
            "async fn",
            ".await",
            "SystemTime",
            "Instant::now",
            "rand::",
            "std::env",
            "std::net",
        ],
        "the planner of elections sees no clock and no network",
    ),
    (
        "operator/kbagent/src/election/reach.rs",
        FETCHED,
        "who is reached follows from looks at connections",
    ),
    (
        "operator/kbagent/src/election/sockets.rs",
        FETCHED,
        "connections follow from the kernel's text",
    ),
    (
        "operator/kbagent/src/accounts/plan.rs",
        &[
            "tokio",
            "async fn",
            ".await",
            "SystemTime",
            "Instant::now",
            "rand::",
            "std::env",
            "std::net",
        ],
        "changes of users follow from what is wanted and what is there",
    ),
    (
        "operator/kbagent/src/wal/scan.rs",
        FETCHED,
        "what a log holds follows from its records",
    ),
    (
        "operator/kbagent/src/wal/wire.rs",
        FETCHED,
        "fields follow from bytes",
    ),
    (
        "operator/src/page/view.rs",
        FETCHED,
        "the status page is made of facts alone",
    ),
    (
        "operator/src/page/html.rs",
        FETCHED,
        "the status page is made of its view alone",
    ),
    (
        "operator/src/roles/failover.rs",
        FETCHED,
        "a failover's times come from its caller",
    ),
    (
        "operator/src/backup/plan.rs",
        FETCHED_OR_READ,
        "what becomes of a Backup is decided without a client and a clock",
    ),
    (
        "operator/src/backup/continuous.rs",
        FETCHED_OR_READ,
        "what becomes of an archive is decided without a client and a clock",
    ),
    (
        "operator/src/backup/probe.rs",
        FETCHED_OR_READ,
        "whether a repository can be reached is decided without a client and a clock",
    ),
    (
        "operator/src/backup/leave.rs",
        FETCHED_OR_READ,
        "how a Backup goes is decided without a client and a clock",
    ),
    (
        "operator/etcd-backup/src/archive/collect.rs",
        &[
            "tokio",
            "async fn",
            ".await",
            "object_store",
            "etcd_client",
            "SystemTime",
            "Timestamp::now",
            "std::env",
        ],
        "what an archive writes is decided without a clock and a client",
    ),
    (
        "operator/etcd-backup/src/archive/segment.rs",
        &[
            "tokio",
            "async fn",
            ".await",
            "object_store",
            "etcd_client",
            "SystemTime",
            "Timestamp::now",
            "std::env",
        ],
        "a segment is data",
    ),
    (
        "operator/etcd-backup/src/archive/search.rs",
        &[
            "tokio",
            "async fn",
            ".await",
            "object_store",
            "etcd_client",
            "SystemTime",
            "Timestamp::now",
            "std::env",
        ],
        "what an archive leads to is decided without reading",
    ),
    (
        "operator/etcd-operator-api/src",
        &["kube::Client", "tokio", "async fn"],
        "the API is data",
    ),
    (
        "harness/pod-policies/src/plan.rs",
        FETCHED_OR_READ,
        "a node's rules follow from what the API server has",
    ),
    (
        "operator/kbagent-protocol/src",
        &["tokio", "kube::", "async fn"],
        "the protocol is data",
    ),
];

/// Crates that may not name others: the direction of dependencies.
const DIRECTION: &[(&str, &[&str], &str)] = &[
    (
        "harness",
        &["operator.workspace", "operator =", "kbagent.workspace"],
        "nothing in the harness knows the operator's insides",
    ),
    (
        "harness/etcd-history",
        &["kube", "tokio", "k8s-openapi", "harness"],
        "the history is pure",
    ),
    (
        "operator/etcd-operator-api",
        &["tokio", "kbagent", "operator"],
        "the API depends on nothing of ours",
    ),
    (
        "operator",
        &["etcd-client", "harness"],
        "the operator speaks to etcd through kbagent only",
    ),
];

fn impurities(name: &str, code: &str) -> Vec<String> {
    PURE.iter()
        .filter(|(folder, _, _)| name.starts_with(folder))
        .flat_map(|(_, words, why)| {
            code.lines().enumerate().filter_map(move |(number, line)| {
                let word = words.iter().find(|word| line.contains(**word))?;
                Some(format!("{name}:{}: `{word}`: {why}", number + 1))
            })
        })
        .collect()
}

#[test]
fn pure_folders_stay_pure() {
    let findings: Vec<String> = production()
        .iter()
        .flat_map(|(name, code)| impurities(name, code))
        .collect();
    report("impure code in a pure folder", &findings);
}

#[test]
fn impure_code_is_found_behind_declarations_of_tests() {
    let code = crate::lexer::without_tests(
        "#[cfg(test)]\nmod tests;\n\npub fn plan() {\n    Instant::now();\n}\n",
    );
    let found = impurities("operator/src/instanceset/plan/mod.rs", &code);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("mod.rs:5:"), "{found:?}");
    assert!(impurities("operator/src/instanceset/observe.rs", &code).is_empty());
}

#[test]
fn every_pure_folder_is_read() {
    let sources = production();
    for (folder, _, _) in PURE {
        let lines: usize = sources
            .iter()
            .filter(|(name, _)| name.starts_with(folder))
            .map(|(_, code)| code.lines().filter(|line| !line.trim().is_empty()).count())
            .sum();
        let least = if folder.ends_with(".rs") { 20 } else { 100 };
        assert!(
            lines > least,
            "{folder}: only {lines} lines of production code were found"
        );
    }
}

fn against_direction(manifest: &str, words: &[&'static str]) -> Vec<&'static str> {
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    dependencies
        .lines()
        .filter_map(|line| words.iter().find(|word| line.starts_with(**word)).copied())
        .collect()
}

#[test]
fn dependencies_go_one_way() {
    let mut findings = Vec::new();
    for (dir, words, why) in DIRECTION {
        let manifest = fs::read_to_string(root().join(dir).join("Cargo.toml")).expect("manifest");
        for word in against_direction(&manifest, words) {
            findings.push(format!("{dir}/Cargo.toml: `{word}`: {why}"));
        }
    }
    report("dependencies against the direction", &findings);
}

#[test]
fn a_dependency_against_the_direction_is_found() {
    let manifest = "[package]\nname = \"a\"\n\n[dependencies]\nkube.workspace = true\n\n[dev-dependencies]\ntokio = \"1\"\n";
    assert_eq!(against_direction(manifest, &["kube", "tokio"]), ["kube"]);
}

#[test]
fn only_the_wait_primitive_sleeps_in_the_harness() {
    let findings: Vec<String> = crate::tree::files(Some("rs"))
        .iter()
        .filter(|(name, _)| name.starts_with("harness/src") || name.starts_with("e2e/tests/e2e"))
        .filter(|(name, _)| name != "harness/src/wait.rs")
        .flat_map(|(name, text)| {
            sleeps(text).into_iter().map(move |line| {
                format!("{name}:{line}: use wait.rs, which says what it waits for")
            })
        })
        .collect();
    report("sleeps", &findings);
}

fn sleeps(text: &str) -> Vec<usize> {
    crate::lexer::split(text)
        .code
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("sleep("))
        .map(|(number, _)| number + 1)
        .collect()
}

#[test]
fn a_sleep_is_found() {
    assert_eq!(sleeps("// sleep(\ntokio::time::sleep(a).await;\n"), [2]);
}
