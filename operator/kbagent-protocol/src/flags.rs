//! Arguments of etcd, as its parser (Go's `flag`) reads them: with one dash or two, the value behind `=` or in the next
//! word.

/// etcd's flag for a file of settings. With it etcd reads no other flag.
pub const CONFIG_FILE: &str = "config-file";

/// Name and value of an argument that is a flag. The value is absent where it is the next word, or the flag stands
/// alone.
#[must_use]
pub fn read(argument: &str) -> Option<(&str, Option<&str>)> {
    let text = argument.strip_prefix('-')?;
    let text = text.strip_prefix('-').unwrap_or(text);
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    (!name.is_empty()).then_some((name, value))
}

/// The same arguments, with values that are separate words joined to their flags as `--flag=value`. A word that
/// may be a flag is left where it is: the flag before it may stand alone. What is no flag and no value is left,
/// too, and etcd refuses it.
#[must_use]
pub fn joined(arguments: &[String]) -> Vec<String> {
    let mut all = Vec::with_capacity(arguments.len());
    let mut words = arguments.iter().peekable();
    while let Some(word) = words.next() {
        let lacks = matches!(read(word), Some((_, None)));
        let value = words.next_if(|next| lacks && !is_flag(next));
        all.push(match value {
            Some(value) => format!("{word}={value}"),
            None => word.clone(),
        });
    }
    all
}

/// The same arguments without some flags and their values; all others are left as they are.
#[must_use]
pub fn without(arguments: &[String], drops: impl Fn(&str) -> bool) -> Vec<String> {
    let mut all = Vec::with_capacity(arguments.len());
    let mut words = arguments.iter().peekable();
    while let Some(word) = words.next() {
        match read(word) {
            Some((name, value)) if drops(name) => {
                words.next_if(|next| value.is_none() && !is_flag(next));
            }
            _ => all.push(word.clone()),
        }
    }
    all
}

/// Numbers below zero are none.
fn is_flag(word: &str) -> bool {
    let rest = word.strip_prefix('-');
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The last value of a flag among joined arguments, which is the one that etcd takes.
#[must_use]
pub fn last<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let mut flags = arguments.iter().filter_map(|argument| read(argument));
    flags.rfind(|(name, _)| *name == flag)?.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_a_word_of_its_own_is_joined_to_its_flag() {
        let table: [(&[&str], &[&str]); 9] = [
            (&[], &[]),
            (&["--a=1", "-b=x=y"], &["--a=1", "-b=x=y"]),
            (&["--a", "1", "-b", "2"], &["--a=1", "-b=2"]),
            (&["--alone", "--a", "1"], &["--alone", "--a=1"]),
            (&["-alone"], &["-alone"]),
            (&["--a=", "1"], &["--a=", "1"]),
            (&["--a", "-1", "-b", "-c"], &["--a=-1", "-b", "-c"]),
            (&["word", "--a", "1"], &["word", "--a=1"]),
            (&["--", "-", "1"], &["--", "-", "1"]),
        ];
        for (given, wanted) in table {
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            let found = joined(&given);
            assert_eq!(found, wanted, "{given:?}");
            assert_eq!(joined(&found), found, "once more changes nothing");
        }
    }

    #[test]
    fn a_flag_is_read_with_its_value() {
        let twice = ["--a=1", "-a=2", "--b"].map(str::to_owned);
        assert_eq!(last(&twice, "a"), Some("2"));
        assert_eq!(last(&twice, "b"), None);
        assert_eq!(read("--a=b=c"), Some(("a", Some("b=c"))));
        assert_eq!(read("-a"), Some(("a", None)));
        for word in ["", "-", "--", "a=b", "--=b"] {
            assert_eq!(read(word), None, "{word}");
        }
    }
}
