//! nextest ends no scenario: one that waits for leftovers and is made again takes as long as its own limits say, and
//! what is killed leaves its fault to timers.

use std::fs;

use crate::tree::{report, root};

/// Seconds that a scenario needs at most to heal and save: nodes come back within 180, everything else is quicker.
const GRACE_S: u64 = 300;

/// What is wrong with the limits of the profile for scenarios.
fn faults(text: &str) -> Vec<String> {
    let mut section = "";
    let mut faults = Vec::new();
    let mut grace = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let of_scenarios = section.contains("profile.e2e") || section == "[profile.default]";
        if !of_scenarios || !line.starts_with("slow-timeout") {
            continue;
        }
        if line.contains("terminate-after") {
            faults.push(format!("{section}: {line}: it kills a scenario that waits"));
        }
        if section == "[profile.e2e]" {
            grace = seconds(line, "grace-period");
        }
    }
    if grace.is_none_or(|grace| grace < GRACE_S) {
        faults.push(format!(
            "[profile.e2e]: one that is interrupted needs {GRACE_S} s to heal and save (slow-timeout.grace-period)"
        ));
    }
    faults
}

/// The seconds of `key = "300s"` in a line.
fn seconds(line: &str, key: &str) -> Option<u64> {
    let (_, rest) = line.split_once(key)?;
    let value = rest.split('"').nth(1)?;
    value.strip_suffix('s')?.parse().ok()
}

#[test]
fn no_scenario_is_ended_from_outside_and_an_interrupted_one_has_time_to_heal() {
    let text = fs::read_to_string(root().join(".config/nextest.toml"));
    let findings = faults(&text.expect("nextest's configuration"));
    report("limits of nextest", &findings);
}

#[test]
fn a_limit_of_nextest_that_kills_is_found() {
    let good = "[profile.e2e]\nslow-timeout = { period = \"60s\", grace-period = \"600s\" }\n";
    assert_eq!(faults(good), Vec::<String>::new());
    let all = [
        good.replace("grace", "terminate-after = 8, grace"),
        good.replace("600s", "10s"),
        good.replace(", grace-period = \"600s\"", ""),
        format!(
            "{good}[[profile.e2e.overrides]]\nslow-timeout = {{ period = \"60s\", terminate-after = 8 }}\n"
        ),
    ];
    for bad in all {
        assert_eq!(faults(&bad).len(), 1, "{bad}");
    }
    assert_eq!(faults("").len(), 1);
}
