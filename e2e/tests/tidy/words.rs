//! Plain words: comments, strings and documents use the terms of the field, and no word of a private dialect.
//!
//! Identifiers are not read, nor those that a literal captures.

use crate::lexer::split;
use crate::tree::{files, report};

/// Words of the dialect, and what to write instead.
const DIALECT: &[(&str, &str)] = &[
    ("all the same", "anyway, still"),
    ("anew", "again; recreate, rebuild"),
    ("anybody", "any client, any member"),
    ("are away", "are unavailable"),
    ("calmly", "at the slow interval"),
    ("condemned", "marked for rebuild"),
    ("densely", "at the fast interval"),
    ("drawn again", "repeated, measured again"),
    ("everybody", "every client, all members"),
    ("for good", "permanently"),
    ("go on", "continue"),
    ("goes on", "continues"),
    ("going on", "in progress"),
    ("hand over", "transfer leadership; pass"),
    ("handed over", "transferred; passed"),
    ("handing over", "transferring; passing"),
    ("hands over", "transfers leadership; passes"),
    ("heard", "received"),
    ("hears", "receives"),
    ("in its own eyes", "as it reports itself"),
    ("is away", "is unavailable"),
    ("is well", "is healthy"),
    ("lacks", "has no; is missing"),
    ("let go", "close, disconnect, release"),
    ("lets go", "closes, disconnects, releases"),
    ("letting go", "closing, releasing"),
    ("mend", "repair, remove what is left"),
    ("nobody", "no client, no process, none"),
    ("put right", "corrected"),
    ("road", "route"),
    ("roads", "routes"),
    ("room", "folder, module, group; space"),
    ("rooms", "folders, modules, groups"),
    ("shall", "must, will, is to"),
    ("somebody", "another client, another process, a user"),
    ("stranger", "unknown member, unknown client"),
    ("tell of", "report, show"),
    ("tells of", "reports, shows"),
    ("thaw", "resume, unpause"),
    ("told of", "reported, derived from"),
    ("was away", "was unavailable"),
    ("went on", "continued"),
    ("whoever", "the client, the process, who"),
    ("whole again", "recovered, fully ready"),
    ("whom", "name the one that is meant"),
    ("wish", "desired state, request"),
    ("wishes", "desired state, requests"),
    ("word of", "report of"),
    ("words of", "reports of, text of"),
    ("yardstick", "reference client"),
];

/// Where the dialect stands in a text: line and word.
fn dialect(text: &str) -> Vec<(usize, &'static str)> {
    text.lines()
        .enumerate()
        .flat_map(|(number, line)| {
            let line = without_names(line).to_lowercase();
            DIALECT
                .iter()
                .flat_map(move |(word, _)| {
                    let times = line
                        .match_indices(word)
                        .filter(|(at, _)| stands_alone(&line, *at, word))
                        .count();
                    std::iter::repeat_n((number + 1, *word), times)
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Text without what stands in backticks: names, which may be those of an API.
fn without_names(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

fn stands_alone(line: &str, at: usize, word: &str) -> bool {
    let before = line[..at].chars().next_back();
    let after = line[at + word.len()..].chars().next();
    // A literal that is the word alone is a name, as of a field.
    if before == Some('"') && matches!(after, Some('"' | '\\')) {
        return false;
    }
    // Nor does a captured variable of a format string.
    if before == Some('{') && matches!(after, Some('}' | ':')) {
        return false;
    }
    let outside = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    outside(before) && outside(after)
}

/// Name and prose of every file that a person reads.
fn prose() -> Vec<(String, String)> {
    files(None)
        .into_iter()
        .filter(|(name, _)| {
            name != "Cargo.lock" && !name.ends_with("LICENSE") && name != "e2e/tests/tidy/words.rs"
        })
        .map(|(name, text)| {
            let prose = if name.ends_with(".rs") {
                split(&text).prose
            } else {
                text
            };
            (name, prose)
        })
        .collect()
}

#[test]
fn words_are_plain() {
    let mut findings = Vec::new();
    for (name, text) in prose() {
        for (line, word) in dialect(&text) {
            let instead = DIALECT
                .iter()
                .find(|(other, _)| *other == word)
                .map_or("", |(_, i)| i);
            findings.push(format!("{name}:{line}: `{word}`: write: {instead}"));
        }
    }
    report("words of a private dialect", &findings);
}

#[test]
fn dialect_is_found_in_prose_only() {
    let rust = "/// Nobody is told of it.\nfn nobody() { say(\"it shall\") }\n";
    assert_eq!(
        dialect(&split(rust).prose),
        [(1, "nobody"), (1, "told of"), (2, "shall")]
    );
    assert_eq!(
        dialect("broad roads, shallow, Anew."),
        [(1, "anew"), (1, "roads")]
    );
    assert!(dialect("| `Stranger` | an unknown member |").is_empty());
    assert!(dialect(r#"alias = "road""#).is_empty());
    assert!(dialect("{wish:?} has {road}").is_empty());
    assert_eq!(dialect("{a road} {road").len(), 2);
    assert!(dialect("a member is recreated, a route is permanent").is_empty());
}

#[test]
fn words_that_must_not_appear() {
    let leftovers = ["dbg!(", "todo!(", "FIXME", "unimplemented!("];
    let mut findings = Vec::new();
    for (name, text) in files(Some("rs")) {
        if name.starts_with("e2e/tests/tidy/") {
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
        if name.starts_with("e2e/tests/tidy/")
            || name == "Cargo.lock"
            || name.starts_with("images/node/")
        {
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
