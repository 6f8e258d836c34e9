//! The table of a suite: one line a trial, printed when the last of this process has ended.

use std::sync::{Mutex, PoisonError};

use harness::scenario::{Ended, Plan};

/// Lines in the order in which trials ended.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Mutex<Vec<[String; 6]>>,
}

const HEAD: [&str; 6] = [
    "scenario",
    "members",
    "verdict",
    "gap ms new/held/dial-all",
    "operations",
    "seconds",
];

impl Table {
    /// Adds a trial; one that could not be run at all has no end.
    pub(crate) fn add(&self, plan: &Plan, ended: Option<&Ended>) {
        let gaps = ended.and_then(|ended| ended.gaps_ms);
        let gaps = gaps.map_or_else(
            || "-".to_owned(),
            |[fresh, held, all]| format!("{fresh:.0}/{held:.0}/{all:.0}"),
        );
        let row = [
            plan.scenario.name.to_owned(),
            plan.members.to_string(),
            ended
                .map_or("error", |ended| ended.severity.word())
                .to_owned(),
            gaps,
            ended.map_or_else(|| "-".to_owned(), |ended| ended.operations.to_string()),
            ended.map_or_else(|| "-".to_owned(), |ended| format!("{:.1}", ended.seconds)),
        ];
        self.rows
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(row);
    }

    /// Prints all lines.
    pub(crate) fn print(&self) {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].len());
            cells.chain([HEAD[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let line = |cells: [&str; 6]| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        println!("\n\n{}", line(HEAD));
        for row in rows.iter() {
            println!("{}", line(row.each_ref().map(String::as_str)));
        }
        println!();
    }
}
