//! IO: where text goes. What a cluster says may hold control characters, which a terminal would obey.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::Output;

/// Text as a terminal may be given it.
fn printable(text: &str) -> String {
    let safe = |c: char| c == '\n' || c == '\t' || !c.is_control();
    text.chars()
        .map(|c| {
            if safe(c) {
                c
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// Writes to standard output, at once.
pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(printable(text).as_bytes())?;
    stdout.flush()
}

/// What has come of something that was made: beside the output where that is for programs. What is made continues
/// whether it is told or not, so nothing ends by it.
pub(crate) fn step(output: Output, text: &str) {
    let told = match output {
        Output::Text => unless_closed(say(&format!("{text}\n"))),
        Output::Json => {
            note(text);
            Ok(())
        }
    };
    if let Err(error) = told {
        note(&format!("{text} (standard output fails: {error})"));
    }
}

/// An object, where the output is for programs.
pub(crate) fn object<T: Serialize>(output: Output, object: &T) -> anyhow::Result<()> {
    if output == Output::Json {
        let text = serde_json::to_string_pretty(object).context("failed to write JSON")?;
        unless_closed(say(&format!("{text}\n")))?;
    }
    Ok(())
}

/// A closed pipe, as of `| head`, is no failure.
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A note beside the output: a line of standard error. Where that is closed there is no place to complain.
pub(crate) fn note(text: &str) {
    let _closed = writeln!(io::stderr().lock(), "{}", printable(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_escape_sequence_reaches_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[2Jb\r\n\tc"),
            "a\u{fffd}[2Jb\u{fffd}\n\tc"
        );
        assert_eq!(printable("größer"), "größer");
    }
}
