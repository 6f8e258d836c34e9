//! The table of known bugs in docs/known-bugs.md: a row a bug, made from what a series of runs saw. Pure.

use std::time::Duration;

use crate::bare::bugs::{self, Bug};
use crate::report::Severity;

/// How the table begins.
pub(super) const HEAD: &str = "| bug | plan | has it | found | median | worst | budget | does not | there | last reproduced |";

/// What a series of runs saw of one bug.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Time under load until it was shown, of each run that showed it.
    pub shown: Vec<Duration>,
    /// Runs of the version that has it.
    pub runs: u32,
    /// Time under load of each run of the version that does not have it.
    pub clean: Vec<Duration>,
    /// What was wrong with the version that does not have it, and how bad that is; empty when nothing was.
    pub unclean: Vec<(Severity, String)>,
}

impl Series {
    /// The middle of the times until it was shown.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted = self.shown.clone();
        sorted.sort_unstable();
        let at = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            count if count % 2 == 1 => sorted.get(at).copied(),
            _ => Some((sorted[at - 1] + sorted[at]) / 2),
        }
    }

    /// The row of a bug.
    pub fn row(&self, bug: &Bug, date: &str) -> String {
        let told = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), seconds);
        let there = match (self.clean.len(), self.unclean.len()) {
            (0, 0) => "not run".to_owned(),
            (runs, 0) => format!("{runs} runs, {}: clean", seconds(self.clean.iter().sum())),
            (runs, wrong) => format!("{wrong} of {runs} runs are not clean"),
        };
        format!(
            "{} {} | {} | {} of {} | {} | {} | {} | {} | {there} | {date} |",
            first(bug.name),
            bug.how,
            bug.affected,
            self.shown.len(),
            self.runs,
            told(self.median()),
            told(self.shown.iter().max().copied()),
            seconds(bug.budget),
            bug.fixed,
        )
    }
}

/// The document with this bug's row, in place of the one that it had.
///
/// # Errors
/// When there is no such table in it.
pub fn recorded(text: &str, name: &str, row: &str) -> Result<String, String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let head = lines.iter().position(|line| *line == HEAD);
    let head = head.ok_or_else(|| format!("there is no line `{HEAD}` in it"))?;
    let rows = lines[head..]
        .iter()
        .take_while(|line| line.starts_with('|'));
    let end = head + rows.count();
    match (head..end).find(|at| lines[*at].starts_with(&first(name))) {
        Some(at) => lines[at] = row,
        None => lines.insert(end, row),
    }
    Ok(lines.join("\n") + "\n")
}

fn first(name: &str) -> String {
    format!("| [{name}]({}) |", bugs::link(name))
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 && time.subsec_millis() > 0 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.0} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    /// What stands for the date in the row of a bug that was never looked for.
    const NEVER: &str = "never run";

    fn series(shown: &[u32]) -> Series {
        Series {
            shown: shown.iter().map(|ms| MS * *ms).collect(),
            runs: 3,
            clean: vec![MS * 1_100, MS * 900],
            unclean: Vec::new(),
        }
    }

    #[test]
    fn a_row_replaces_that_of_its_bug_alone() {
        let bug = bugs::find("18667").expect("a bug");
        let of = |shown: &[u32]| series(shown).row(&bug, "2026-11-28");
        let before = format!("# Bugs\n\n{HEAD}\n|---|\n\nafter\n");
        let one = recorded(&before, "18667", &of(&[300])).expect("a table");
        let other = recorded(&one, "7", &format!("{} x |", first("7"))).expect("a table");
        let again = recorded(&other, "18667", &of(&[300, 100, 700])).expect("a table");
        assert!(again.contains("| 3 of 3 | 0.30 s | 0.70 s | 1 s | v3.7.3 | 2 runs, 2 s: clean |"));
        assert!(!again.contains("1 of 3") && again.contains(&first("7")));
        assert!(again.ends_with("\nafter\n"), "{again}");
        assert!(recorded("# Bugs\n", "7", "| x |").is_err());
    }

    #[test]
    fn what_was_not_seen_is_not_made_up() {
        let bug = bugs::find("18667").expect("a bug");
        let nothing = Series::default().row(&bug, "2026-11-28");
        assert!(nothing.contains("| 0 of 0 | - | - | 1 s | v3.7.3 | not run |"));
        let unclean = Series {
            unclean: vec![(Severity::Violation, "raft".to_owned())],
            ..series(&[])
        };
        assert!(unclean.row(&bug, "").contains("1 of 2 runs are not clean"));
        assert_eq!(series(&[4, 1, 2, 3]).median(), Some(MS * 5 / 2));
    }

    #[test]
    fn the_document_has_a_row_for_every_bug_and_none_for_others() {
        let text = include_str!("../../../docs/known-bugs.md");
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| ["))
            .collect();
        assert_eq!(rows.len(), bugs::all().len());
        for bug in bugs::all() {
            let start = format!("{} {} | {} |", first(bug.name), bug.how, bug.affected);
            let row = rows.iter().find(|row| row.starts_with(&first(bug.name)));
            assert!(
                row.is_some_and(|row| row.starts_with(&start)),
                "{}",
                bug.name
            );
            if row.is_some_and(|row| row.contains(" | 0 of 0 | ")) {
                let made = Series::default().row(&bug, NEVER);
                assert_eq!(row.copied(), Some(made.as_str()), "{}", bug.name);
            }
        }
    }
}
