//! Style as a test: sizes, purity and direction of dependencies, words that must not appear. Needs no cluster.
//!
//! A rule that hurts is changed here, in the open, not worked around.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines: what a person can hold in the head.
const FILE_LINES_MAX: usize = 600;
/// Longest function, in lines.
const FUNCTION_LINES_MAX: usize = 70;

/// Rooms that may not use certain words, and why.
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
        "harness/history/src",
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
        "operator/agent/src/election/plan",
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
        "operator/api/src",
        &["kube::Client", "tokio", "async fn"],
        "the API is data",
    ),
    (
        "operator/protocol/src",
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
        "harness/history",
        &["kube", "tokio", "k8s-openapi", "harness"],
        "the history is pure",
    ),
    (
        "operator/api",
        &["tokio", "kbagent", "operator"],
        "the API depends on nothing of ours",
    ),
    (
        "operator",
        &["etcd-client", "harness"],
        "the operator speaks to etcd through kbagent only",
    ),
];

fn root() -> PathBuf {
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
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn files(extension: Option<&str>) -> Vec<(String, String)> {
    let root = root();
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter(|path| extension.is_none_or(|wanted| path.extension().is_some_and(|e| e == wanted)))
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?;
            Some((
                path.strip_prefix(&root)
                    .ok()?
                    .to_string_lossy()
                    .into_owned(),
                text,
            ))
        })
        .collect()
}

/// The lines of a file before its in-file tests.
fn production(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn is_test_file(name: &str) -> bool {
    name.contains("/tests/")
        || name.ends_with("tests.rs")
        || name.contains("/examples/")
        || name.contains("test_support")
}

fn report(title: &str, findings: &[String]) {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "  {finding}");
    }
    assert!(findings.is_empty(), "{title}:\n{text}");
}

#[test]
fn files_fit_in_a_head() {
    let findings: Vec<String> = files(Some("rs"))
        .iter()
        .filter_map(|(name, text)| {
            let lines = text.lines().count();
            (lines > FILE_LINES_MAX)
                .then(|| format!("{name}: {lines} lines, at most {FILE_LINES_MAX}: split it"))
        })
        .collect();
    report("files too long", &findings);
}

/// Functions by their indentation: rustfmt guarantees that a function ends with a brace in the column of its `fn`.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let head = code.split('(').next().unwrap_or_default();
        let is_function =
            head.split_whitespace().any(|word| word == "fn") && !code.starts_with("//");
        if !is_function {
            continue;
        }
        let end = lines[start..].iter().position(|l| {
            l.len() - l.trim_start().len() == indent
                && (l.trim_start() == "}" || l.trim_end().ends_with(';'))
        });
        if let Some(length) = end
            && length + 1 > FUNCTION_LINES_MAX
        {
            found.push((start + 1, length + 1));
        }
    }
    found
}

#[test]
fn functions_fit_on_a_screen() {
    let findings: Vec<String> = files(Some("rs"))
        .iter()
        .flat_map(|(name, text)| {
            long_functions(text).into_iter().map(move |(line, length)| {
                format!("{name}:{line}: {length} lines, at most {FUNCTION_LINES_MAX}")
            })
        })
        .collect();
    report("functions too long", &findings);
}

#[test]
fn the_measure_of_functions_can_find_one() {
    let text = format!(
        "fn long() {{\n{}}}\n",
        "    call();\n".repeat(FUNCTION_LINES_MAX)
    );
    assert_eq!(long_functions(&text), vec![(1, FUNCTION_LINES_MAX + 2)]);
    assert!(long_functions("fn short() {\n}\n").is_empty());
}

#[test]
fn every_file_says_what_it_is() {
    let findings: Vec<String> = files(Some("rs"))
        .iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(name, _)| {
            format!("{name}: begin with `//!`: what it is, where it sits, what it must not do")
        })
        .collect();
    report("files without a first sentence", &findings);
}

#[test]
fn pure_rooms_stay_pure() {
    let mut findings = Vec::new();
    for (name, text) in files(Some("rs")) {
        for (room, words, why) in PURE {
            if !name.starts_with(room) || is_test_file(&name) {
                continue;
            }
            for (number, line) in production(&text).lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                    findings.push(format!("{name}:{}: `{word}`: {why}", number + 1));
                }
            }
        }
    }
    report("impure code in a pure room", &findings);
}

#[test]
fn dependencies_go_one_way() {
    let mut findings = Vec::new();
    for (dir, words, why) in DIRECTION {
        let manifest = fs::read_to_string(root().join(dir).join("Cargo.toml")).expect("manifest");
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines() {
            if let Some(word) = words.iter().find(|word| line.starts_with(**word)) {
                findings.push(format!("{dir}/Cargo.toml: `{word}`: {why}"));
            }
        }
    }
    report("dependencies against the direction", &findings);
}

#[test]
fn only_the_wait_primitive_sleeps_in_the_harness() {
    let findings: Vec<String> = files(Some("rs"))
        .iter()
        .filter(|(name, _)| name.starts_with("harness/src") || name.starts_with("e2e/tests/e2e"))
        .filter(|(name, _)| name != "harness/src/wait.rs")
        .flat_map(|(name, text)| {
            text.lines()
                .enumerate()
                .filter(|(_, line)| {
                    line.split("//")
                        .next()
                        .is_some_and(|code| code.contains("sleep("))
                })
                .map(move |(number, _)| {
                    format!(
                        "{name}:{}: use wait.rs, which says what it waits for",
                        number + 1
                    )
                })
        })
        .collect();
    report("sleeps", &findings);
}

#[test]
fn words_that_must_not_appear() {
    let leftovers = ["dbg!(", "todo!(", "FIXME", "unimplemented!("];
    let mut findings = Vec::new();
    for (name, text) in files(Some("rs")) {
        if name.ends_with("tidy.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for word in leftovers {
                if line.contains(word) {
                    findings.push(format!("{name}:{}: `{word}`", number + 1));
                }
            }
        }
    }
    for (name, text) in files(None) {
        // What lies in images/node runs in the image, whose paths are its own.
        if name.ends_with("tidy.rs") || name == "Cargo.lock" || name.starts_with("images/node/") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for word in [
                "/root/",
                "/work/",
                "../shared",
                "deb.debian.org",
                "proxy.golang.org",
                "static.crates.io",
            ] {
                if names(line, word) {
                    findings.push(format!(
                        "{name}:{}: `{word}`: no machine paths, no registry hosts",
                        number + 1
                    ));
                }
            }
        }
    }
    report("words that must not appear", &findings);
}

/// Whether a line names a path or host from its beginning, and not as the tail of a longer one such as `$dir/root/`.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_}*.".contains(c))
    })
}

#[test]
fn paths_are_told_from_tails() {
    assert!(names("cp /root/x .", "/root/"));
    assert!(!names("rm -rf $WORK/root/x", "/root/"));
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for (name, text) in files(Some("md")) {
        let base = root()
            .join(&name)
            .parent()
            .map(Path::to_path_buf)
            .unwrap_or_default();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || base.join(path).exists() {
                continue;
            }
            findings.push(format!("{name}: `{target}` is not there"));
        }
    }
    report("dead links", &findings);
}

#[test]
fn every_reason_to_wait_is_explained() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("a file of the tree");
    let told = read("docs/troubleshooting.md");
    let source = read("operator/src/instanceset/plan/steps.rs");
    let reasons: Vec<&str> = source
        .lines()
        .filter(|line| line.trim_start().starts_with("Waiting::"))
        .filter_map(|line| line.split_once("=> \"")?.1.split('"').next())
        .collect();
    assert!(
        reasons.len() > 20,
        "the reasons were not found: {reasons:?}"
    );
    let missing: Vec<String> = reasons
        .iter()
        .filter(|reason| !told.contains(&format!("| `{reason}` |")))
        .map(|reason| format!("docs/troubleshooting.md has no row for `{reason}`"))
        .collect();
    report("reasons that nobody explains", &missing);
}

#[test]
fn cited_rules_are_written_down() {
    let hazards = fs::read_to_string(root().join("docs/hazards.md")).expect("docs/hazards.md");
    let mut findings = Vec::new();
    for (name, text) in files(Some("rs")) {
        for (number, line) in text.lines().enumerate() {
            let Some(comment) = line.split("//").nth(1) else {
                continue;
            };
            for rule in cited_rules(comment) {
                if !hazards.contains(&format!("**{rule}**")) {
                    findings.push(format!(
                        "{name}:{}: rule {rule} is not in docs/hazards.md",
                        number + 1
                    ));
                }
            }
        }
    }
    report("rules without a text", &findings);
}

/// Words such as `M10` inside brackets: `(M10, B2)`.
fn cited_rules(comment: &str) -> Vec<String> {
    comment
        .split('(')
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .flat_map(|inside| inside.split([',', ' ', '-']))
        .filter(|word| {
            let mut chars = word.chars();
            chars.next().is_some_and(|c| "MBNPDVC".contains(c))
                && word.len() <= 3
                && word.len() >= 2
                && chars.all(|c| c.is_ascii_digit())
        })
        .map(str::to_owned)
        .collect()
}
