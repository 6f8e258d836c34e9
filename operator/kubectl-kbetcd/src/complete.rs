//! PURE: what may stand next on the command line, as kubectl asks for it.
//!
//! kubectl completes a plugin `kubectl-kbetcd` by running `kubectl_complete-kbetcd`, which is this program by another
//! name, with the words so far; it reads a candidate and its description from each line, and what to do from the last.

use clap::CommandFactory as _;

use crate::cli::Cli;

/// The name under which this program completes.
const NAME: &str = "kubectl_complete-";
/// kubectl's (cobra's) number for: no file names.
const NO_FILES: &str = ":4";

/// Whether a program that was called by this path is to complete.
pub(crate) fn is_meant(program: &str) -> bool {
    let name = program.rsplit(['/', '\\']).next().unwrap_or(program);
    name.starts_with(NAME)
}

/// The answer for these words, of which the last is not complete.
pub(crate) fn answer(words: &[String]) -> String {
    let (last, before) = words
        .split_last()
        .map_or(("", words), |(last, rest)| (last.as_str(), rest));
    let mut lines = candidates(before, last);
    lines.push(NO_FILES.to_owned());
    lines.join("\n") + "\n"
}

fn candidates(before: &[String], last: &str) -> Vec<String> {
    let command = Cli::command();
    let line = |name: String, help: Option<String>| match help {
        Some(help) => format!("{name}\t{help}"),
        None => name,
    };
    let verb = before.iter().find_map(|word| command.find_subcommand(word));
    let Some(verb) = verb else {
        let verbs = command
            .get_subcommands()
            .filter(|verb| verb.get_name().starts_with(last));
        let help = |verb: &clap::Command| verb.get_about().map(ToString::to_string);
        return verbs
            .map(|verb| line(verb.get_name().to_owned(), help(verb)))
            .collect();
    };
    let asked = before.last().map(String::as_str).unwrap_or_default();
    for argument in verb.get_arguments() {
        let positional = argument.is_positional() && asked == verb.get_name();
        if positional || is_flag(argument, asked) {
            let values = argument.get_possible_values();
            let values = values
                .iter()
                .filter(|value| value.get_name().starts_with(last));
            let values: Vec<String> = values
                .filter(|_| argument.get_action().takes_values())
                .map(|value| {
                    line(
                        value.get_name().to_owned(),
                        value.get_help().map(ToString::to_string),
                    )
                })
                .collect();
            if !values.is_empty() {
                return values;
            }
        }
    }
    if !last.starts_with('-') {
        return Vec::new();
    }
    let flags = verb.get_arguments().filter_map(|argument| {
        let flag = format!("--{}", argument.get_long()?);
        let help = argument.get_help().map(ToString::to_string);
        flag.starts_with(last).then(|| line(flag, help))
    });
    flags.collect()
}

fn is_flag(argument: &clap::Arg, word: &str) -> bool {
    let long = argument
        .get_long()
        .is_some_and(|long| word == format!("--{long}"));
    long || argument
        .get_short()
        .is_some_and(|short| word == format!("-{short}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let answer = answer(&words);
        let lines = answer
            .lines()
            .map(|line| line.split('\t').next().unwrap_or_default().to_owned());
        lines.collect()
    }

    #[test]
    fn verbs_values_and_flags_are_offered() {
        assert_eq!(names("re"), ["restart", "rebuild", ":4"]);
        assert_eq!(names("status db -o "), ["text", "json", ":4"]);
        assert_eq!(names("completion f"), ["fish", ":4"]);
        assert_eq!(names("rebuild db --fo"), ["--force", ":4"]);
        assert_eq!(names("b"), ["backup", ":4"]);
        assert_eq!(names("backup db --method "), ["datafile", "archive", ":4"]);
        assert_eq!(names("d"), ["defrag", ":4"]);
        assert_eq!(names("status "), [":4"]);
        assert!(names("").contains(&"explain".to_owned()));
        assert_eq!(answer(&[]).lines().last(), Some(":4"));
    }

    #[test]
    fn the_name_decides() {
        assert!(is_meant("/usr/bin/kubectl_complete-kbetcd"));
        assert!(!is_meant("kubectl-kbetcd"));
    }
}
