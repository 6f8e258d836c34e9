//! Documents that lead somewhere, and rules that are written down.

use std::fs;
use std::path::Path;

use crate::tree::{files, production, report, root};

/// A line without what stands in backticks: an expression there may look like a link.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

#[test]
fn code_is_no_link() {
    assert_eq!(without_code("`[a](b)` and [`c`](d)"), " and [](d)");
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
        let text: Vec<String> = text.lines().map(without_code).collect();
        for target in text
            .iter()
            .flat_map(|line| line.split("](").skip(1))
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
fn every_document_is_in_the_index() {
    let index = fs::read_to_string(root().join("docs/README.md")).expect("docs/README.md");
    let missing: Vec<String> = files(Some("md"))
        .into_iter()
        .filter_map(|(name, _)| Some(name.strip_prefix("docs/")?.to_owned()))
        .filter(|name| name != "README.md" && !index.contains(&format!("]({name})")))
        .map(|name| format!("docs/README.md does not list {name}"))
        .collect();
    report("documents that no reader finds", &missing);
}

/// Files and tests that a document names in backticks and that are nowhere: files by the end of their path, tests
/// behind the word `Test:`.
fn names_nothing(document: &str, paths: &[&str], code: &str) -> Vec<String> {
    let quoted = |text: &str| -> Vec<String> {
        let parts = text.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let files = quoted(document).into_iter().filter(|name| {
        name.ends_with(".rs")
            && !paths
                .iter()
                .any(|path| format!("/{path}").ends_with(&format!("/{name}")))
    });
    let tests = document.split("Test: ").skip(1).flat_map(|rest| {
        let line = rest.split("\n\n").next().unwrap_or_default();
        quoted(line)
    });
    let tests = tests.filter(|name| {
        let is_scenario = code.contains(&format!("\"{name}\""));
        !name.contains(' ') && !is_scenario && !code.contains(&format!("fn {name}("))
    });
    files.chain(tests).collect()
}

#[test]
fn documents_name_files_and_tests_that_are_there() {
    let sources = files(Some("rs"));
    let paths: Vec<&str> = sources.iter().map(|(name, _)| name.as_str()).collect();
    let code: String = sources.iter().map(|(_, text)| text.as_str()).collect();
    let findings: Vec<String> = files(Some("md"))
        .iter()
        .filter(|(name, _)| name != "CHANGELOG.md")
        .flat_map(|(name, text)| {
            let missing = names_nothing(text, &paths, &code);
            missing
                .into_iter()
                .map(move |what| format!("{name}: `{what}` is not there"))
        })
        .collect();
    report("documents that name what is not there", &findings);
}

#[test]
fn a_file_or_test_that_is_not_there_is_found() {
    let text = "In `plan/a.rs` and `b.rs`. Test: `one`, `two`, `x::y`, `make it`.\n\nElse `three`.";
    let code = "fn one() {}\n\"x::y\"\n";
    assert_eq!(
        names_nothing(text, &["src/plan/a.rs", "src/sub.rs"], code),
        ["b.rs", "two"]
    );
}

/// Types in the last column of a table that are not the only one of their name. One behind a module may have others.
fn not_alone(table: &str, code: &str) -> Vec<String> {
    let cells = table.lines().filter(|line| line.starts_with("| "));
    let types = cells.filter_map(|line| line.split('`').nth_back(1));
    let found = |name: &str| {
        let kinds = ["struct", "enum", "type", "trait"].iter();
        let defined = kinds.map(|kind| format!("{kind} {name}"));
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let count = |text: String| code.split(&text).skip(1).filter(|rest| ends(rest)).count();
        defined.map(count).sum::<usize>()
    };
    types
        .filter(|name| !name.contains("::") && found(name) != 1)
        .map(|name| format!("`{name}` is defined {} times", found(name)))
        .collect()
}

#[test]
fn a_word_of_the_architecture_is_one_type() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let table = text.split("## Words").nth(1).expect("its table of words");
    let table = table.split("\n## ").next().unwrap_or_default();
    let code: Vec<String> = production().into_iter().map(|(_, code)| code).collect();
    report("words with two types", &not_alone(table, &code.join("\n")));
}

#[test]
fn two_types_of_one_word_are_found() {
    let table = "| a | what | `Verdict` |\n| b | what | `Route` |\n| c | what | `x::Target` |\n";
    let code = "struct Verdict;\nenum Verdict {}\nstruct Routes;\nenum Route {}";
    assert_eq!(not_alone(table, code), ["`Verdict` is defined 2 times"]);
}

#[test]
fn every_reason_to_wait_is_explained() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("a file of the tree");
    let explained = read("docs/troubleshooting.md");
    let source = read("operator/src/instanceset/plan/waiting.rs");
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
        .filter(|reason| !explained.contains(&format!("| `{reason}` |")))
        .map(|reason| format!("docs/troubleshooting.md has no row for `{reason}`"))
        .collect();
    report("reasons without an explanation", &missing);
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
