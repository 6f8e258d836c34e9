//! A harness that is killed in the middle of a run: what it leaves is gone soon, and no next run or `--fix` is needed.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use libtest_mimic::Failed;

use crate::HARNESS;

/// Of no kind cluster: what is looked for here is of bare runs alone.
const NO_CLUSTER: &str = "bare-test-without-cluster";
/// Lines that a run prints from its beginning to its heal, of which one is the last.
const LINES: usize = 12;
const KILLS: usize = 3;
/// Longest time until nothing is left: most of it is Docker's, on a busy machine.
const GONE_S: &str = "60";
/// What Docker was asked for and had not done yet when the harness died comes a little later, and must go, too.
const LOOKS: usize = 10;

pub(crate) fn killed() -> Result<(), Failed> {
    let runs = tempfile::tempdir()?;
    for _ in 0..KILLS {
        let last = rand::random_range(1..=LINES);
        killed_at(last, runs.path()).map_err(|error| format!("killed at line {last}: {error}"))?;
    }
    Ok(())
}

fn killed_at(last: usize, runs: &Path) -> Result<(), String> {
    let mut child = begun(runs)?;
    let printed = child.stderr.take().ok_or("it prints nothing")?;
    let told = BufReader::new(printed).lines().take(last).count();
    child.kill().map_err(|error| error.to_string())?;
    // Not waited for yet: it has ended, and its parent has not asked for it.
    let gone = nothing_is_left();
    child.wait().map_err(|error| error.to_string())?;
    gone?;
    if told < last {
        return Err(format!("it ended by itself after {told} lines"));
    }
    Ok(())
}

/// Looks alone, which remove nothing.
fn nothing_is_left() -> Result<(), String> {
    for _ in 0..LOOKS {
        let output = doctor(&["--wait", GONE_S])?;
        if !output.status.success() {
            let seen = String::from_utf8_lossy(&output.stdout);
            return Err(format!("something is left after {GONE_S} s: {seen}"));
        }
    }
    Ok(())
}

fn begun(runs: &Path) -> Result<Child, String> {
    Command::new(HARNESS)
        .args(["bare", "run", "bare::leader_killed", "--runs"])
        .arg(runs)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("failed to start {HARNESS}: {error}"))
}

fn doctor(more: &[&str]) -> Result<Output, String> {
    Command::new(HARNESS)
        .args(["--name", NO_CLUSTER, "doctor", "--residue"])
        .args(more)
        .output()
        .map_err(|error| format!("failed to start {HARNESS}: {error}"))
}
