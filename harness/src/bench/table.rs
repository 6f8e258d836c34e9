//! The tables of `harness bench`, for a terminal of a hundred columns.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use etcd_history::record::Route;

use super::failover::{Failover, FailoverReport, ROUTES};
use super::power::Found;
use super::probes::{Probe, ProbeReport};
use super::statistics::Summary;
use crate::report::continuity::Stage;

/// Rows of cells under a head, padded to the widest of each column; the first column to the left, the rest to the
/// right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (at, (cell, width)) in cells.zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = match at {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// The name of a route.
pub(crate) fn route(route: Route) -> &'static str {
    match route {
        Route::ServiceFresh => "service, new connections",
        Route::ServiceHeld => "service, held connections",
        Route::DialAll => "dial-all client",
        Route::Member => "one member",
    }
}

/// The word for a stage.
pub(super) fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Election => "election",
        Stage::Label => "label",
        Stage::Endpoints => "endpoints",
        Stage::Client => "client",
    }
}

fn cells(name: String, summary: &Summary) -> Vec<String> {
    let number = |value: f64| format!("{value:.0}");
    vec![
        name,
        number(summary.median),
        number(summary.p95),
        number(summary.max),
    ]
}

/// The whole report of `harness bench failover`.
pub(crate) fn failover(report: &FailoverReport) -> String {
    let FailoverReport {
        kind,
        members,
        failovers,
        ..
    } = report;
    let mut text = format!(
        "Leader {kind}, {members} members, {} failovers. Longest time without an acknowledged write, ms:\n\n",
        failovers.len()
    );
    let head = ["", "median", "p95", "max"];
    let mut rows: Vec<_> = ROUTES
        .iter()
        .filter_map(|r| Some(cells(route(*r).to_owned(), report.gap_ms.get(r)?)))
        .collect();
    for (r, summary) in &report.over_dial_all_ms {
        rows.push(cells(format!("{} over dial-all", route(*r)), summary));
    }
    text.push_str(&table(&head, &rows));
    text.push_str("\nWhere it went, ms:\n\n");
    let mut rows = Vec::new();
    for r in ROUTES {
        for (s, summary) in report.stages_ms.get(&r).into_iter().flatten() {
            rows.push(cells(format!("{}: {}", route(r), stage(*s)), summary));
        }
    }
    text.push_str(&table(&head, &rows));
    if !report.probes.is_empty() {
        text.push_str(&probes(&report.probes));
    }
    text.push_str("\nEach:\n\n");
    let columns: Vec<Probe> = report.probes.keys().copied().collect();
    text.push_str(&each(failovers, &columns));
    if report.unusable > 0 {
        let _ = writeln!(
            text,
            "\n{} of {} are no samples (no effect, a route without writes, or a gap that never ended): the measurement \
             is inconclusive.",
            report.unusable,
            failovers.len()
        );
    }
    let _ = writeln!(
        text,
        "\nThe next failover is worse than all of these with a probability of at most {:.0} % (95 % confidence).",
        report.above_all_seen * 100.0
    );
    text
}

/// What the limits find, as `docs/verdicts.md` has it.
pub(crate) fn power(trials: usize, suites: u32, found: &[Found]) -> String {
    let row = |found: &Found| {
        let (delay, share) = match found.delay_ms {
            0.0 => ("none".to_owned(), "-".to_owned()),
            delay => (format!("{delay:.0}"), format!("{} %", found.share_percent)),
        };
        vec![
            delay,
            share,
            format!("{:.1} %", found.trial_percent),
            format!("{:.1} %", found.suite_percent),
        ]
    };
    let head = ["delay ms", "of failovers", "trial red", "suite red"];
    let rows: Vec<_> = found.iter().map(row).collect();
    format!(
        "{trials} trials, {suites} suites a line.\n\n{}",
        table(&head, &rows)
    )
}

/// Clients that are not ours.
fn probes(reports: &BTreeMap<Probe, ProbeReport>) -> String {
    let row = |(probe, report): (&Probe, &ProbeReport)| {
        let word = probe.word().to_owned();
        let none = || vec![word.clone(), "none".into(), "none".into(), "none".into()];
        let mut row = report
            .gap_ms
            .as_ref()
            .map_or_else(none, |gap| cells(word.clone(), gap));
        let counts = [report.failed, report.writes, report.unusable];
        row.extend(counts.map(|count| count.to_string()));
        row
    };
    let rows: Vec<_> = reports.iter().map(row).collect();
    let head = [
        "",
        "median",
        "p95",
        "max",
        "failed",
        "of writes",
        "no samples",
    ];
    format!(
        "\nOther clients through the service, longest time without an acknowledged write, ms:\n\n{}",
        table(&head, &rows)
    )
}

fn each(failovers: &[Failover], probes: &[Probe]) -> String {
    let row = |failover: &Failover| {
        let cell = |gap: Option<(f64, bool)>| match gap {
            Some((gap_ms, true)) => format!("{gap_ms:.0}"),
            Some((gap_ms, false)) => format!("> {gap_ms:.0}"),
            None => "none".to_owned(),
        };
        let of_route = |route| {
            let cost = failover.routes.get(&route);
            cell(cost.map(|cost| (cost.gap_ms, cost.closed)))
        };
        let of_probe = |probe: &Probe| {
            let toll = failover.probes.get(probe);
            cell(toll.map(|toll| (toll.gap_ms, toll.closed)))
        };
        let mut row = vec![failover.target.clone()];
        row.extend(ROUTES.map(of_route));
        row.extend(probes.iter().map(of_probe));
        row.push(failover.run.clone());
        row
    };
    let mut head = vec!["hit", "new", "held", "dial-all"];
    head.extend(probes.iter().map(|probe| probe.word()));
    head.push("run");
    table(&head, &failovers.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::failover::Cost;
    use crate::bench::probes::Toll;

    fn failover_of(fresh: f64, dial_all: f64) -> Failover {
        let cost = |gap_ms, stages: &[(Stage, f64)]| {
            let stages_ms = stages.iter().copied().collect();
            Cost {
                gap_ms,
                closed: true,
                stages_ms,
            }
        };
        let stages = [
            (Stage::Election, dial_all),
            (Stage::Client, fresh - dial_all),
        ];
        Failover {
            run: "1".into(),
            fault: "kill_process".into(),
            target: "e-0".into(),
            effective: true,
            routes: BTreeMap::from([
                (Route::ServiceFresh, cost(fresh, &stages)),
                (Route::ServiceHeld, cost(fresh, &stages)),
                (Route::DialAll, cost(dial_all, &stages[..1])),
            ]),
            probes: BTreeMap::new(),
        }
    }

    #[test]
    fn the_table_shows_the_service_beside_the_yardstick() {
        let failovers = vec![failover_of(900.0, 800.0), failover_of(1000.0, 850.0)];
        let text = failover(&FailoverReport::of("sigkill", 3, failovers, &[]));
        let line = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..]
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(line("dial-all client"), "825 850 850");
        assert_eq!(
            line("service, new connections over dial-all"),
            "125 150 150"
        );
        assert_eq!(line("service, new connections: election"), "825 850 850");
        assert!(!text.contains("inconclusive"), "{text}");
        assert!(text.contains("at most 78 %"), "{text}");
    }

    #[test]
    fn a_probe_has_a_row_and_a_column() {
        let mut one = failover_of(900.0, 800.0);
        let toll = Toll {
            gap_ms: 1020.0,
            closed: true,
            failed: 3,
            writes: 500,
        };
        one.probes.insert(Probe::Go, toll);
        let text = failover(&FailoverReport::of(
            "sigkill",
            3,
            vec![one],
            &[Probe::Etcdctl],
        ));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<_> = text.lines().map(words).collect();
        let has = |line: &str| assert!(lines.iter().any(|other| other == line), "{text}");
        has("go 1020 1020 1020 3 500 0");
        has("etcdctl none none none 0 0 1");
        has("hit new held dial-all go etcdctl run");
        has("e-0 900 900 800 1020 none 1");
    }

    #[test]
    fn an_open_gap_is_shown_as_a_lower_bound_and_spoils_the_measurement() {
        let mut bad = failover_of(900.0, 800.0);
        if let Some(cost) = bad.routes.get_mut(&Route::ServiceHeld) {
            cost.closed = false;
        }
        let text = failover(&FailoverReport::of("freeze", 3, vec![bad], &[]));
        assert!(text.contains("> 900"), "{text}");
        assert!(text.contains("1 of 1 are no samples"), "{text}");
    }
}
