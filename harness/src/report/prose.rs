//! `verdict.txt`: the verdicts as prose. Its first line is the cause.

use std::fmt::Write as _;

use super::run_header::RunHeader;
use super::{Severity, Verdict, worst};

/// Columns of a terminal that text is wrapped to.
const WIDTH: usize = 100;

/// The whole text.
pub(crate) fn verdict(header: &RunHeader, verdicts: &[Verdict]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", headline(verdicts));
    let _ = writeln!(text);
    let members = if header.members == 0 {
        String::new()
    } else {
        format!(" with {} members", header.members)
    };
    let _ = writeln!(
        text,
        "Scenario {}{members}, seed {}.",
        header.scenario, header.seed
    );
    if !header.story.is_empty() {
        wrap(&mut text, "", &header.story);
    }
    if !header.started.is_empty() {
        let _ = writeln!(text, "Started {}.", header.started);
    }
    let _ = writeln!(text, "Again: {}", header.replay());
    for severity in [
        Severity::Violation,
        Severity::Inconclusive,
        Severity::NotJudged,
        Severity::Pass,
    ] {
        for verdict in verdicts.iter().filter(|j| j.severity() == severity) {
            section(&mut text, verdict);
        }
    }
    text
}

/// One line: how the run ended and why.
pub(crate) fn headline(verdicts: &[Verdict]) -> String {
    let (severity, cause) = worst(verdicts);
    match (severity, cause) {
        (Severity::NotJudged, Some(cause)) => {
            let reason = one_line(cause.explanation());
            format!("PASS, time not judged: {}: {reason}", cause.check)
        }
        (_, Some(cause)) => {
            let word = severity.word().to_uppercase();
            let explanation = one_line(cause.explanation());
            format!("{word}: {}: {explanation}", cause.check)
        }
        (Severity::Pass, None) => format!("PASS: all {} checks hold.", verdicts.len()),
        (_, None) => "INCONCLUSIVE: nothing was checked.".to_owned(),
    }
}

/// A figure as people read it: no endless fractions.
pub(crate) fn figure(value: &f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn section(text: &mut String, verdict: &Verdict) {
    let _ = writeln!(text);
    let _ = writeln!(text, "[{}] {}", verdict.severity().word(), verdict.check);
    for paragraph in verdict.explanation().lines() {
        wrap(text, "  ", paragraph);
    }
    for (name, value) in &verdict.figures {
        let _ = writeln!(text, "  {name} = {}", figure(value));
    }
}

/// Appends words in lines no wider than [`WIDTH`] unless a single word is.
fn wrap(text: &mut String, indent: &str, paragraph: &str) {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            column = 0;
        }
        if column == 0 {
            text.push_str(indent);
            column = indent.len();
        } else {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Finding;

    #[test]
    fn the_cause_comes_first_and_the_passes_last() {
        let header = RunHeader {
            scenario: "failover/kill".to_owned(),
            seed: 9,
            ..RunHeader::default()
        };
        let explanation = format!("a read went back\nto revision 3 {}", "word ".repeat(60));
        let mut pass = Verdict::new("roles", Finding::Pass);
        pass.figures.insert("labels".to_owned(), 4.into());
        let bad = Verdict::new(
            "linearizable",
            Finding::Violation {
                explanation,
                ops: vec![1],
            },
        );
        let text = verdict(&header, &[pass, bad]);
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("VIOLATION: linearizable: a read went back to revision 3"));
        assert!(text.find("[violation]").unwrap() < text.find("[pass]").unwrap());
        assert!(text.contains("labels = 4"));
        assert!(text.contains("harness run failover/kill --seed 9"));
        assert!(
            text.lines().skip(1).all(|line| line.len() <= WIDTH),
            "{text}"
        );
    }
}
