//! The table of a suite: one line a trial, printed when the last of this process has ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use e2e::spent::{self, Spent};
use e2e::unjudged;
use harness::report::Severity;
use harness::scenario::{Gaps, Plan, Time, Took, TrialResult, seen_table};

/// Lines in the order in which trials ended.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Mutex<Vec<Row>>,
}

/// The cells of a line, and what it says of time.
#[derive(Debug)]
struct Row {
    trial: String,
    cells: [String; COLUMNS],
    time: Option<Time>,
    spent: Spent,
    took: Vec<Took>,
}

const COLUMNS: usize = 8;

const HEAD: [&str; COLUMNS] = [
    "scenario",
    "members",
    "result",
    "time",
    "median gap ms new/held/dial-all",
    "longest",
    "operations",
    "seconds",
];

impl Table {
    /// Adds a trial; one that could not be run at all has no end.
    pub(crate) fn add(&self, plan: &Plan, ended: Option<&TrialResult>) {
        let gaps = ended.and_then(|ended| ended.gaps);
        let cell = |part: fn(Gaps) -> [f64; 3]| match gaps.map(part) {
            Some([new, held, all]) => format!("{new:.0}/{held:.0}/{all:.0}"),
            None => "-".to_owned(),
        };
        let time = ended.map(|ended| ended.time);
        let cells = [
            plan.scenario.name.to_owned(),
            plan.members.to_string(),
            ended
                .map_or("error", |ended| word(ended.severity))
                .to_owned(),
            time.map_or("-", Time::word).to_owned(),
            cell(|gaps| gaps.median),
            cell(|gaps| gaps.most),
            ended.map_or_else(|| "-".to_owned(), |ended| ended.operations.to_string()),
            ended.map_or_else(
                || "-".to_owned(),
                |ended| format!("{:.1}", ended.seconds - ended.ahead_s),
            ),
        ];
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Row {
                trial: plan.trial(),
                cells,
                time,
                spent: ended
                    .map(|ended| Spent::new(&ended.phases, ended.seconds, ended.ahead_s))
                    .unwrap_or_default(),
                took: ended.map(|ended| ended.took.clone()).unwrap_or_default(),
            });
    }

    /// Prints all lines.
    pub(crate) fn print(&self) {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row.cells[column].len());
            cells.chain([HEAD[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let line = |cells: [&str; COLUMNS]| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        println!("\n\n{}", line(HEAD));
        for row in rows.iter() {
            println!("{}", line(row.cells.each_ref().map(String::as_str)));
        }
        let seen = rows.iter().map(|row| (&*row.cells[0], &*row.took));
        if let Some(seen) = seen_table(seen) {
            println!("\n{seen}");
        }
        println!("\n{}", spent::told(rows.iter().map(|row| &row.spent)));
        // Of a trial that was made again the last run counts.
        let trials: BTreeMap<&str, Option<Time>> = rows
            .iter()
            .map(|row| (row.trial.as_str(), row.time))
            .collect();
        let judged = |time: Option<Time>| match time {
            Some(Time::Judged) => Some(true),
            Some(Time::NotJudged) => Some(false),
            Some(Time::NoClaim) | None => None,
        };
        let trials = trials.into_iter().map(|(name, time)| (name, judged(time)));
        println!("{}\n", unjudged::told(trials));
    }
}

/// The result but for time, which has a column of its own.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Pass | Severity::NotJudged => Severity::Pass.word(),
        worse => worse.word(),
    }
}
