//! soon
use crate::simulate::*;
#[test]
fn dbg() {
    let seed = 2u64;
    let plan = Plan { seed, members: 3, operations: 300 + seed % 7 * 50, unknown_percent: seed % 11, narrow_watcher: false, writer_period_ms: 40, ..Plan::default() };
    let h = simulate(&plan);
    for r in &h.records { let s = serde_json::to_string(r).unwrap(); if s.contains(&format!("{}", 0x300000000c8u64)) || s.contains("mod_revision\":242") || s.contains("mod_revision\":243") { println!("{}", &s[..s.len().min(600)]); } }
}
