//! How busy the machine was in the run and in every round, as figures. It judges nothing.

use super::case::Case;
use super::gaps::Window;
use super::rounds::{Round, rounds};
use super::verdict::{Findings, Verdict};

/// Name of the verdict that shows how busy the machine was.
const CHECK: &str = "machine";

pub(super) fn check(case: &Case<'_>) -> Verdict {
    let mut findings = Findings::default();
    let run = Window {
        from: case.index.start,
        to: case.index.end,
    };
    case.machine.load(run).tell("run", &mut findings);
    let rounds = rounds(case.index);
    for Round { number, window, .. } in &rounds {
        let load = case.machine.load(*window);
        load.tell(&format!("round_{number}"), &mut findings);
    }
    let starved = rounds
        .iter()
        .filter(|round| case.machine.starved(round.window).is_some());
    findings.count("rounds", rounds.len());
    findings.count("rounds_starved", starved.count());
    findings.verdict(CHECK)
}
