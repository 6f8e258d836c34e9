//! How quickly linearizability is judged: a clean simulated history of N operations, all on one core.
//!
//! `cargo run --release -p etcd-history --example throughput -- 1000000`. Simulating takes longer than judging. Memory is
//! the process's peak before and after the check, so that what the check adds to its input can be seen.

use std::time::Instant;

use etcd_history::check::{self, Expectations};
use etcd_history::simulate::{Plan, simulate};

fn main() {
    let operations = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let plan = Plan {
        operations,
        clients: 32,
        keys: 20,
        writer_period_ms: 0,
        kill_leader: false,
        restart_follower: false,
        watchers: 3,
        ..Plan::default()
    };
    let begin = Instant::now();
    let history = simulate(&plan);
    println!("simulated {operations} operations, {} records in {:.2} s", history.records.len(), begin.elapsed().as_secs_f64());
    let before = peak_mib();
    let begin = Instant::now();
    let verdict = check::linearizable(&history);
    report("linearizable, from records to verdict", operations, begin);
    println!("  {:?}, peak memory {} MiB before, {} MiB after", verdict.outcome, before, peak_mib());
    let begin = Instant::now();
    let verdicts = check::all(&history, &Expectations { kubernetes: false, ..Expectations::default() });
    report("all checks", operations, begin);
    for verdict in verdicts {
        println!("  {:<13} {:?}", verdict.check, verdict.outcome);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn report(what: &str, operations: u64, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    println!("{what}: {seconds:.2} s, {:.0} operations a second", operations as f64 / seconds);
}

/// Peak resident memory of this process, where the kernel tells it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
