//! How quickly linearizability is judged: a clean simulated history of N operations, all on one core.
//!
//! `cargo run --release -p etcd-history --example throughput -- 1000000`. Simulating takes longer than judging. Memory
//! is the process's peak before and after the check, so that what the check adds to its input can be seen. Time is the
//! process's own where the kernel tells it, so that a busy machine does not blur the figure.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use etcd_history::check::{self, Expectations};
use etcd_history::simulate::{Plan, simulate};

fn main() {
    let operations = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
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
    let begin = spent();
    let history = simulate(&plan);
    println!(
        "simulated {operations} operations, {} records in {:.2} s",
        history.records.len(),
        (spent() - begin).as_secs_f64()
    );
    let before = peak_mib();
    let begin = spent();
    let verdict = check::linearizable(&history);
    report("linearizable, from records to verdict", operations, begin);
    println!(
        "  {:?}, peak memory {} MiB before, {} MiB after",
        verdict.finding,
        before,
        peak_mib()
    );
    let begin = spent();
    let verdicts = check::all(
        &history,
        &Expectations {
            kubernetes: false,
            ..Expectations::default()
        },
    );
    report("all checks", operations, begin);
    for verdict in verdicts {
        println!("  {:<13} {:?}", verdict.check, verdict.finding);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn report(what: &str, operations: u64, begin: Duration) {
    let seconds = (spent() - begin).as_secs_f64();
    println!(
        "{what}: {seconds:.2} s, {:.0} operations a second",
        operations as f64 / seconds
    );
}

/// Processor time of this process, else the time since its start. `schedstat` is in nanoseconds.
fn spent() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let told = text
        .split_whitespace()
        .next()
        .and_then(|nanos| nanos.parse().ok());
    told.filter(|nanos| *nanos > 0)
        .map_or_else(|| START.elapsed(), Duration::from_nanos)
}

/// Peak resident memory of this process, where the kernel tells it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or(0) / 1024
}
