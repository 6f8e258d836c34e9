//! The namespaces that an operator is told to serve. Pure.

/// Most that are served by name: each has watches of its own. Serve all instead.
const MOST: usize = 32;

/// Names of namespaces, each once; none means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespaces(pub Vec<String>);

/// A list that names no namespaces.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// Not a name.
    #[error("{0:?} is no name of a namespace: write names with commas between them")]
    NoName(String),
    /// Too many.
    #[error("{0} namespaces are more than {MOST}: leave the list empty to serve all")]
    TooMany(usize),
}

/// Reads names with commas between them.
///
/// # Errors
/// When one is no name of a namespace, or there are too many.
pub(crate) fn parse(text: &str) -> Result<Namespaces, ParseError> {
    let mut names: Vec<String> = Vec::new();
    let words = text.split(',').map(str::trim);
    for word in words.filter(|word| !word.is_empty()) {
        if !is_name(word) {
            return Err(ParseError::NoName(word.to_owned()));
        }
        if !names.iter().any(|name| name == word) {
            names.push(word.to_owned());
        }
    }
    if names.len() > MOST {
        return Err(ParseError::TooMany(names.len()));
    }
    Ok(Namespaces(names))
}

/// A DNS label, as Kubernetes wants it.
fn is_name(word: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    word.len() <= 63 && word.chars().all(inner) && !word.starts_with('-') && !word.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_each_once_and_none_means_all() {
        let read = |text| parse(text).map(|found| found.0);
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(
            read(" shop, bank,,shop"),
            Ok(vec!["shop".to_owned(), "bank".to_owned()])
        );
        for wrong in ["Shop", "a b", "-a", "*", "a/b"] {
            assert_eq!(read(wrong), Err(ParseError::NoName(wrong.to_owned())));
        }
        let many: Vec<_> = (0..=MOST).map(|n| format!("n{n}")).collect();
        assert_eq!(read(&many.join(",")), Err(ParseError::TooMany(MOST + 1)));
    }
}
