//! Splits Rust source into code and prose, so that a rule about one is not confused by the other.

/// A source text twice: once with comments and string literals blanked, once with everything else blanked. Lines and
/// columns are those of the source.
pub(crate) struct Split {
    /// The code: comments and the insides of literals are spaces.
    pub(crate) code: String,
    /// Comments and the insides of string literals: code is spaces.
    pub(crate) prose: String,
}

/// Splits a Rust source text.
pub(crate) fn split(text: &str) -> Split {
    let chars: Vec<char> = text.chars().collect();
    let mut split = Split {
        code: String::with_capacity(text.len()),
        prose: String::with_capacity(text.len()),
    };
    let mut at = 0;
    while at < chars.len() {
        let (length, is_prose) = match literal(&chars, at) {
            Some(length) => (length, true),
            None => (1, false),
        };
        for &c in &chars[at..(at + length).min(chars.len())] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            split.code.push(if is_prose { blank } else { c });
            split.prose.push(if is_prose { c } else { blank });
        }
        at += length;
    }
    split
}

/// Length of the comment or literal that starts here, if one does.
fn literal(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => Some(rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
        ['/', '*', ..] => Some(block_comment(rest)),
        ['"', ..] => Some(string(rest)),
        ['r', '"' | '#', ..] if starts_word(chars, at) => raw_string(rest),
        ['\'', '\\', ..] => rest[3..].iter().position(|c| *c == '\'').map(|end| end + 4),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

fn starts_word(chars: &[char], at: usize) -> bool {
    // `br"..."` is one word too.
    let before = at.checked_sub(1).map_or(' ', |before| chars[before]);
    before == 'b' || !(before.is_alphanumeric() || before == '_')
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    let begin = hashes + 2;
    // `r#type` is an identifier.
    (rest.get(begin - 1) == Some(&'"')).then_some(())?;
    let end = (begin..rest.len()).find(|&at| {
        rest[at] == '"' && rest[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes
    });
    Some(end.map_or(rest.len(), |end| end + hashes + 1))
}

/// The code without the items that only tests compile, and their lines blanked. Rustfmt guarantees that an item ends in
/// the column in which it begins.
pub(crate) fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut skipped: Option<usize> = None;
    for line in code.lines() {
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        if skipped.is_none() && trimmed == "#[cfg(test)]" {
            skipped = Some(indent);
        } else if let Some(column) = skipped {
            let ends = trimmed.starts_with('}') || trimmed.ends_with([';', ',', '}']);
            if indent == column && !trimmed.is_empty() && ends {
                skipped = None;
            }
        } else {
            kept.push_str(line);
        }
        kept.push('\n');
    }
    kept
}

#[test]
fn literals_and_comments_are_prose() {
    let split =
        split("let a = \"b // c\"; // d\nlet e = r#\"f \" g\"#; let h: &'static str = i('\"');\n");
    assert_eq!(
        split.code.split_whitespace().collect::<Vec<_>>(),
        "let a = ; let e = ; let h: &'static str = i( );"
            .split(' ')
            .collect::<Vec<_>>()
    );
    assert_eq!(
        split.prose.split_whitespace().collect::<Vec<_>>(),
        "\"b // c\" // d r#\"f \" g\"# '\"'"
            .split(' ')
            .collect::<Vec<_>>()
    );
}

#[test]
fn escapes_and_nested_comments_end_where_they_end() {
    let code = |text| split(text).code.split_whitespace().collect::<String>();
    assert_eq!(code(r#"a("\\", '\'', "\"", b)"#), "a(,,,b)");
    assert_eq!(code("a /* b /* c */ d */ e"), "ae");
    assert_eq!(
        code("r#type + br\"x\" + r##\"y\"# z\"## + w"),
        "r#type+b++w"
    );
}

#[test]
fn only_items_of_tests_are_left_out() {
    let code = "use a;\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod c {\n    fn d() {}\n}\nfn e() {}\n";
    assert_eq!(
        without_tests(code).split_whitespace().collect::<String>(),
        "usea;fnb(){}fne(){}"
    );
    assert_eq!(without_tests(code).lines().count(), code.lines().count());
}
