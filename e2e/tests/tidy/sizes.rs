//! Sizes that a person can take in: files, functions, lines of comments.

use crate::lexer::split;
use crate::tree::{files, report};

/// Longest file, in lines.
const FILE_LINES_MAX: usize = 600;
/// Longest function, in lines.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest line of a comment, in columns; rustfmt bounds code only.
const COMMENT_COLUMNS_MAX: usize = 120;

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

/// Whether a line of code begins a function: visibility and qualifiers, then `fn`.
fn begins_function(code: &str) -> bool {
    let mut rest = code.trim_start();
    if let Some(after) = rest.strip_prefix("pub") {
        rest = match after.strip_prefix('(') {
            Some(inside) => inside.split_once(')').map_or("", |(_, rest)| rest),
            None => after,
        };
    }
    rest.split_whitespace()
        .find(|word| !matches!(*word, "default" | "const" | "async" | "unsafe" | "extern"))
        == Some("fn")
}

/// First line and length of functions over the limit. Rustfmt guarantees that a function ends in the column of its
/// `fn`: with a brace, or with a semicolon in a trait.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let code = split(text).code;
    let lines: Vec<&str> = code.lines().map(str::trim_end).collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (start, first) in lines.iter().enumerate() {
        if !begins_function(first) {
            continue;
        }
        let end = lines[start..]
            .iter()
            .enumerate()
            .position(|(number, line)| {
                indent(line) == indent(first)
                    && !line.is_empty()
                    && (line.trim_start() == "}"
                        || line.ends_with(';')
                        || number == 0 && line.ends_with('}'))
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
fn every_form_of_function_is_measured() {
    let body = "    call();\n".repeat(FUNCTION_LINES_MAX);
    for head in [
        "fn",
        "pub fn",
        "pub(crate) fn",
        "pub(super) fn",
        "pub(in crate::a) fn",
        "pub(crate) async fn",
        "pub const fn",
    ] {
        let text = format!("{head} long() {{\n{body}}}\n");
        assert_eq!(
            long_functions(&text),
            [(1, FUNCTION_LINES_MAX + 2)],
            "{head}"
        );
    }
    // A literal with a brace in the column of the function does not end it.
    let text = format!("fn long() {{\n    let a = r\"\n}}\n\";\n{body}}}\n");
    assert_eq!(long_functions(&text).len(), 1);
    let text = format!("fn short() {{\n}}\nfn one() {{}}\n// fn comment(\nstruct A {{\n{body}}}\n");
    assert!(long_functions(&text).is_empty());
}

/// Numbers of the lines whose comment is too wide. A link or a table cannot be broken.
fn wide_comments(text: &str) -> Vec<usize> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.chars().count() > COMMENT_COLUMNS_MAX)
        .filter(|(_, line)| line.trim_start().starts_with("//"))
        .filter(|(_, line)| !line.contains("://") && !line.contains("// |"))
        .map(|(number, _)| number + 1)
        .collect()
}

#[test]
fn comments_fit_on_a_line() {
    let findings: Vec<String> = files(Some("rs"))
        .iter()
        .flat_map(|(name, text)| {
            wide_comments(text)
                .into_iter()
                .map(move |line| format!("{name}:{line}: at most {COMMENT_COLUMNS_MAX} columns"))
        })
        .collect();
    report("comments too wide", &findings);
}

#[test]
fn a_wide_comment_is_found() {
    let wide = format!("    /// {}\n", "a".repeat(COMMENT_COLUMNS_MAX));
    assert_eq!(wide_comments(&format!("// short\n{wide}")), [2]);
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
