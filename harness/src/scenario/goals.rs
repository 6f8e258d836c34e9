//! How long operations and repairs took, beside the time to reach. Shown, never judged. Pure.

use std::time::Duration;

use etcd_history::record::Nanos;
use etcd_history::{History, Record};

use crate::deploy::Guard;
use crate::faults::{DataLoss, Fault};
use crate::scenario::description::Trial;
use crate::scenario::sizes::sizes;
use crate::scenario::{Act, Operation, Plan};

/// How long something took in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Took {
    /// What was done.
    pub what: String,
    /// Members when it was asked for.
    pub members: u32,
    /// Seconds of each time that it was done.
    pub seconds: Vec<f64>,
    /// Seconds to reach, where there is such a goal: nothing else happened meanwhile, and the members have no TLS.
    pub goal: Option<f64>,
}

impl Took {
    /// The median of the times.
    fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = ((sorted.len().max(1) - 1) / 2, sorted.len() / 2);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        f64::midpoint(at(low), at(high))
    }
}

const COLUMNS: usize = 6;

const HEAD: [&str; COLUMNS] = [
    "operation",
    "members",
    "times",
    "seen s",
    "goal s",
    "scenario",
];

/// A table of trials, each with its scenario's name: a line for each thing that was done in one; nothing where nothing
/// was.
pub fn seen_table<'a>(trials: impl IntoIterator<Item = (&'a str, &'a [Took])>) -> Option<String> {
    let mut rows: Vec<[String; COLUMNS]> = Vec::new();
    for (scenario, took) in trials {
        rows.extend(took.iter().map(|took| row(scenario, took)));
    }
    if rows.is_empty() {
        return None;
    }
    rows.insert(0, HEAD.map(str::to_owned));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max();
    let widths: Vec<usize> = (0..COLUMNS).filter_map(width).collect();
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(&widths);
        let padded: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    Some(rows.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// The median, and the longest where it was done more than once.
fn row(scenario: &str, took: &Took) -> [String; COLUMNS] {
    let longest = took.seconds.iter().copied().fold(0.0, f64::max);
    let seen = match took.seconds.len() {
        1 => format!("{longest:.1}"),
        _ => format!("{:.1} (most {longest:.1})", took.median()),
    };
    let goal = took.goal.map(|goal| format!("{goal:.0}"));
    [
        took.what.clone(),
        took.members.to_string(),
        took.seconds.len().to_string(),
        seen,
        goal.unwrap_or_else(|| "-".to_owned()),
        scenario.to_owned(),
    ]
}

/// What a run did, in the order in which it was done first.
pub(super) fn took(plan: &Plan, history: &History) -> Vec<Took> {
    let Act::Faults(trial) = &plan.scenario.act else {
        return Vec::new();
    };
    let phases = phases(history);
    let mut all = operations(plan, trial, &phases);
    all.extend(repairs(plan, trial, &phases));
    all
}

/// From the request of each operation until its effect was seen.
fn operations(plan: &Plan, trial: &Trial, phases: &[(Nanos, &str)]) -> Vec<Took> {
    let quiet = trial.faults.is_empty() && trial.guard == Guard::Open;
    let sizes = sizes(plan.members, &trial.operations);
    let numbered = (trial.first_operation()..)
        .zip(&trial.operations)
        .zip(sizes);
    let mut all: Vec<Took> = Vec::new();
    for ((number, operation), members) in numbered {
        let begun = format!("operation_{number}");
        let seconds = between(phases, &begun, &format!("{begun}_done"));
        let what = text(*operation, members);
        match all.iter_mut().find(|took| took.what == what) {
            _ if seconds.is_empty() => {}
            Some(known) => known.seconds.extend(seconds),
            None => all.push(Took {
                goal: goal(*operation, members).filter(|_| quiet),
                what,
                members,
                seconds,
            }),
        }
    }
    all
}

/// From the loss of a member's claim until the cluster has all its members again.
fn repairs(plan: &Plan, trial: &Trial, phases: &[(Nanos, &str)]) -> Option<Took> {
    let [
        Fault::LoseData {
            how: DataLoss::ClaimDeleted,
            ..
        },
    ] = trial.faults[..]
    else {
        return None;
    };
    let seconds = between(phases, "fault", "recovered");
    let alone = trial.operations.is_empty() && trial.guard == Guard::Open;
    (!seconds.is_empty()).then(|| Took {
        what: "claim lost".to_owned(),
        members: plan.members,
        seconds,
        goal: alone.then_some(30.0),
    })
}

fn text(operation: Operation, members: u32) -> String {
    match operation {
        Operation::Scale(to) => format!("{members} to {to} members"),
        Operation::Upgrade { from, to } => format!("upgrade {from} to {to}"),
        other => other.word().replace('-', " "),
    }
}

/// Seconds that an operation on so many members is to take at most.
fn goal(operation: Operation, members: u32) -> Option<f64> {
    match operation {
        Operation::Restart if members == 3 => Some(20.0),
        Operation::Scale(5) if members == 3 => Some(12.0),
        Operation::Upgrade { from, to } if members == 3 && minor(from) != minor(to) => Some(25.0),
        _ => None,
    }
}

/// A version without its patch release.
fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

fn phases(history: &History) -> Vec<(Nanos, &str)> {
    let phase = |record| match record {
        &Record::Phase { t, ref name } => Some((t, name.as_str())),
        _ => None,
    };
    history.records.iter().filter_map(phase).collect()
}

/// Seconds from each of these phases to the next of the other name; a phase that comes again begins again.
fn between(phases: &[(Nanos, &str)], from: &str, to: &str) -> Vec<f64> {
    let mut begun = None;
    let mut all = Vec::new();
    for (t, name) in phases {
        if *name == from {
            begun = Some(*t);
        } else if *name == to
            && let Some(begun) = begun.take()
        {
            let took = Duration::from_nanos((t - begun).max(0).unsigned_abs());
            all.push(took.as_secs_f64());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(phases: &[(i64, &str)]) -> History {
        let record = |(second, name): &(i64, &str)| Record::Phase {
            t: second * 1_000_000_000,
            name: (*name).to_owned(),
        };
        History {
            records: phases.iter().map(record).collect(),
        }
    }

    fn plan(name: &str, members: u32) -> Plan {
        Plan::named(name, Some(members), 7).expect("a plan")
    }

    #[test]
    fn an_operation_takes_from_its_request_until_its_effect() {
        let told = history(&[
            (0, "warm_up"),
            (3, "operation_0"),
            (17, "operation_0_done"),
            (19, "operation_1"),
            (24, "operation_1_done"),
        ]);
        let told = took(&plan("operation::scale_out_and_in", 3), &told);
        let row = |what: &str, members, seconds, goal| Took {
            what: what.to_owned(),
            members,
            seconds: vec![seconds],
            goal,
        };
        let expected = [
            row("3 to 5 members", 3, 14.0, Some(12.0)),
            row("5 to 3 members", 5, 5.0, None),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_claim_that_is_lost_again_and_again_is_one_row() {
        let told = history(&[
            (0, "fault"),
            (2, "heal"),
            (3, "recover"),
            (9, "recovered"),
            (10, "fault"),
            (12, "recover"),
            (30, "recovered"),
            (31, "fault"),
        ]);
        let told = took(&plan("storage::claim_lost", 3), &told);
        assert_eq!(told.len(), 1);
        assert_eq!((&*told[0].what, told[0].goal), ("claim lost", Some(30.0)));
        assert_eq!(told[0].seconds, [9.0, 20.0]);
        assert!((told[0].median() - 14.5).abs() < 1e-9);
    }

    #[test]
    fn what_was_disturbed_or_did_not_end_is_held_against_no_goal() {
        let ended = history(&[(0, "operation_1"), (9, "operation_1_done")]);
        let told = took(&plan("operation::scale_out_leader_killed", 3), &ended);
        assert_eq!((told[0].goal, told[0].seconds[0]), (None, 9.0));
        let open = history(&[(0, "operation_0"), (9, "settle")]);
        assert_eq!(took(&plan("operation::rolling_restart", 3), &open), []);
        let five = history(&[(0, "operation_0"), (9, "operation_0_done")]);
        let told = took(&plan("operation::rolling_restart", 5), &five);
        assert_eq!(told[0].goal, None, "the goal is that of three members");
    }

    #[test]
    fn each_time_stands_beside_its_goal() {
        let took = |what: &str, seconds: &[f64], goal| Took {
            what: what.to_owned(),
            members: 3,
            seconds: seconds.to_vec(),
            goal,
        };
        let lost = [took("claim lost", &[9.0, 20.0, 7.04], Some(30.0))];
        let moved = [took("switchover", &[0.5], None)];
        let text = seen_table([("storage::a", &lost[..]), ("operation::b", &moved[..])]);
        let expected = "operation   members  times  seen s           goal s  scenario\n\
                        claim lost  3        3      9.0 (most 20.0)  30      storage::a\n\
                        switchover  3        1      0.5              -       operation::b";
        assert_eq!(text.as_deref(), Some(expected));
        assert_eq!(seen_table([]), None);
    }

    #[test]
    fn every_goal_is_one_of_a_scenario_of_the_suite() {
        let mut goals = Vec::new();
        for scenario in crate::scenario::catalog::all() {
            if let Act::Faults(trial) = &scenario.act {
                let sizes = sizes(scenario.members[0], &trial.operations);
                let all = trial.operations.iter().zip(sizes);
                goals.extend(all.filter_map(|(asked, members)| goal(*asked, members)));
            }
        }
        for wanted in [20.0, 12.0, 25.0] {
            assert!(goals.contains(&wanted), "{wanted}");
        }
    }
}
