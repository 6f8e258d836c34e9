//! Commands that documents show are there: those of the harness are taken by its command line, targets are make's, and
//! scripts are files.

use std::fs;

use harness::commands::Cli;

use crate::tree::{files, report, root};

/// How a command of the harness begins.
const HARNESS: &[&str] = &[
    "cargo run -p harness -- ",
    "cargo run --release -p harness -- ",
    "harness ",
];

/// A command of a document, and where it stands.
struct Shown {
    place: String,
    command: String,
}

/// The commands that documents show in blocks, without what stands behind a `#`, and between backticks. `CHANGELOG.md`
/// speaks of former releases.
fn shown() -> Vec<Shown> {
    let documents = files(Some("md")).into_iter();
    let documents = documents.filter(|(name, _)| name != "CHANGELOG.md");
    documents
        .flat_map(|(name, text)| {
            let lines = (1..).zip(text.lines());
            let all = lines.flat_map(|(number, line)| {
                commands(line)
                    .into_iter()
                    .map(move |command| (number, command))
            });
            let all = all.map(|(number, command): (u32, String)| Shown {
                place: format!("{name}:{number}"),
                command,
            });
            all.collect::<Vec<_>>()
        })
        .collect()
}

/// The commands of a line: all of it where it is indented as a block is, else what stands between backticks.
fn commands(line: &str) -> Vec<String> {
    let is_block = line.starts_with("    ") && !line.trim_start().starts_with(['-', '|']);
    let parts: Vec<&str> = match is_block {
        true => vec![line],
        false => line.split('`').skip(1).step_by(2).collect(),
    };
    let plain = |part: &&str| {
        part.split(" #")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    parts.iter().map(plain).collect()
}

/// What is wrong with a command of the harness; nothing of another one, and of one that names no arguments or has some
/// left out.
fn refused(command: &str) -> Option<String> {
    let arguments = HARNESS.iter().find_map(|head| command.strip_prefix(head))?;
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let is_form = |word: &&str| {
        let mut letters = word.chars();
        *word == "..." || letters.all(|letter| letter.is_ascii_uppercase())
    };
    if words.len() < 2 || words.iter().any(is_form) {
        return None;
    }
    let read = Cli::read(std::iter::once("harness").chain(words));
    let error = read.err()?.to_string();
    Some(error.lines().next().unwrap_or_default().to_owned())
}

/// The target of a command of make.
fn target(command: &str) -> Option<&str> {
    command.strip_prefix("make ")?.split_whitespace().next()
}

/// A script that a command begins with; none for a form such as `images/NAME`.
fn script(command: &str) -> Option<&str> {
    let word = command.split_whitespace().next()?;
    let ours = word.starts_with("hack/") || word.starts_with("images/");
    let plain = word.chars().all(|letter| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "/.-_".contains(letter)
    });
    (ours && plain).then_some(word)
}

#[test]
fn commands_of_the_documents_are_there() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("Makefile");
    let (mut findings, mut looked) = (Vec::new(), 0);
    for Shown { place, command } in shown() {
        if let Some(target) = target(&command) {
            looked += 1;
            if !makefile.contains(&format!("\n{target}:")) {
                findings.push(format!("{place}: `{command}`: no target {target}"));
            }
        }
        if let Some(script) = script(&command)
            && !root().join(script).exists()
        {
            findings.push(format!("{place}: {script} is not there"));
        }
        if let Some(why) = refused(&command) {
            findings.push(format!("{place}: `{command}`: {why}"));
        }
    }
    assert!(looked > 20, "{looked} commands of make");
    report("commands of documents that are not there", &findings);
}

#[test]
fn a_command_that_is_not_there_is_found() {
    let wrong = commands("    harness bench failover --kind forcibly   # a comment");
    assert_eq!(wrong, ["harness bench failover --kind forcibly"]);
    assert!(refused(&wrong[0]).is_some_and(|why| why.contains("forcibly")));
    assert_eq!(refused("harness bench failover --kind forced"), None);
    assert!(refused("cargo run -p harness -- list --short").is_some());
    for form in ["harness bug N", "harness run ... --seed 7", "harness check"] {
        assert_eq!(refused(form), None, "{form}");
    }
    let spans =
        commands("Run `make bare FILTER=a`, or `images/etcd.sh v3.6.1`, for `images/NAME`.");
    let targets: Vec<_> = spans.iter().filter_map(|span| target(span)).collect();
    assert_eq!(targets, ["bare"]);
    let scripts: Vec<_> = spans.iter().filter_map(|span| script(span)).collect();
    assert_eq!(scripts, ["images/etcd.sh"]);
}
