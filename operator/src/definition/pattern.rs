//! How a tenant names definitions: by a prefix, or by a regular expression of bounded size.

/// Whether `pattern` means `name`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    name.starts_with(pattern) || matches_expression(pattern, name)
}

fn matches_expression(pattern: &str, name: &str) -> bool {
    expression(pattern).is_some_and(|expression| expression.is_match(name))
}

/// The pattern is a tenant's: one that would compile to more than this matches nothing.
const LARGEST_EXPRESSION: usize = 64 * 1024;
/// As for groups within groups.
const DEEPEST_EXPRESSION: u32 = 16;

/// The expression; none when it is malformed or too large.
pub(super) fn expression(pattern: &str) -> Option<regex_lite::Regex> {
    let mut builder = regex_lite::RegexBuilder::new(pattern);
    builder
        .size_limit(LARGEST_EXPRESSION)
        .nest_limit(DEEPEST_EXPRESSION);
    builder.build().ok()
}
