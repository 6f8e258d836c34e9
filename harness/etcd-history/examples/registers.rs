//! Judges the logs of Jepsen's register tests: a line a log with its name, the verdict and microseconds, then the
//! peak memory in KiB. `hack/porcupine` runs it beside porcupine on the same logs.
//!
//! `cargo run --release -p etcd-history --example registers -- LOG...`;
//! with `-v` in front the cause of each broken one.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use etcd_history::Finding;
use etcd_history::registers::{jepsen, judge};

/// Steps after which the search of a log gives up.
const STEPS_MAX: u64 = 100_000_000;

fn main() -> ExitCode {
    let mut logs: Vec<String> = std::env::args().skip(1).collect();
    let verbose = logs.first().is_some_and(|word| word == "-v");
    if verbose {
        logs.remove(0);
    }
    if logs.is_empty() {
        eprintln!("registers: give the logs to judge");
        return ExitCode::FAILURE;
    }
    for log in &logs {
        if let Err(error) = one(Path::new(log), verbose) {
            eprintln!("registers: {log}: {error}");
            return ExitCode::FAILURE;
        }
    }
    println!("peak {}", peak_kib());
    ExitCode::SUCCESS
}

fn one(log: &Path, verbose: bool) -> Result<(), Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(log)?;
    let begin = Instant::now();
    let events = jepsen::read(&text)?;
    let found = judge(&events, STEPS_MAX);
    let time = begin.elapsed().as_micros();
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    let verdict = match &found {
        _ if events.is_empty() => "empty",
        Finding::Pass => "linearizable",
        Finding::Violation { .. } => "broken",
        Finding::NotJudged { .. } | Finding::Inconclusive { .. } => "unknown",
    };
    println!("{name} {verdict} {time}");
    if verbose && let Finding::Violation { explanation, .. } = found {
        println!("    {explanation}");
    }
    Ok(())
}

/// Peak resident memory of this process, where the kernel tells it.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0)
}
