//! What a suite finds: how often it is red when failovers are slower than they were.
//!
//! Runs of a healthy system give the rounds. Each round of a made-up suite is one of them, drawn at random from those
//! of all runs with the same limits, and so many milliseconds are added to a share of them. What comes of it is judged
//! as the suite does: where medians alone are late, the rounds of a second run are added.

use etcd_history::check::GapSamples;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

/// Delays that are added, in milliseconds; none first, which tells how often a healthy suite is red.
pub(crate) const DELAYS_MS: [f64; 6] = [0.0, 50.0, 100.0, 300.0, 1000.0, 2000.0];
/// Shares of the failovers that are delayed, in percent.
pub(crate) const SHARES_PERCENT: [u32; 3] = [100, 50, 10];

/// What was found of one delay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Found {
    /// Added to a failover, in milliseconds.
    pub delay_ms: f64,
    /// Failovers that it was added to, in percent.
    pub share_percent: u32,
    /// How many trials were red, in percent: the mean over all trials.
    pub trial_percent: f64,
    /// How many suites had a red trial, in percent.
    pub suite_percent: f64,
}

/// Makes up `suites` suites of these runs for every delay and share.
pub(crate) fn power(runs: &[GapSamples], suites: u32, seed: u64) -> Vec<Found> {
    let mut random = StdRng::seed_from_u64(seed);
    let pools: Vec<Vec<&Vec<f64>>> = runs
        .iter()
        .map(|run| {
            let alike = runs.iter().filter(|other| run.has_limits_of(other));
            alike.flat_map(GapSamples::rounds).collect()
        })
        .collect();
    let mut found = Vec::new();
    for delay_ms in DELAYS_MS {
        for share_percent in SHARES_PERCENT {
            let (mut red_trials, mut red_suites) = (0_u32, 0_u32);
            for _ in 0..suites {
                let late = |(run, pool): &(&GapSamples, &Vec<&Vec<f64>>)| {
                    let count = run.rounds().len();
                    let delay = (delay_ms, share_percent);
                    let first = drawn(pool, count, delay, &mut random);
                    run.late(&first) && {
                        let second = drawn(pool, count, delay, &mut random);
                        run.far_out(&first)
                            || run.far_out(&second)
                            || run.late(&[first, second].concat())
                    }
                };
                let red = runs.iter().zip(&pools).filter(late).count();
                red_trials += u32::try_from(red).unwrap_or(u32::MAX);
                red_suites += u32::from(red > 0);
            }
            let trials =
                f64::from(suites) * f64::from(u32::try_from(runs.len()).unwrap_or(u32::MAX));
            found.push(Found {
                delay_ms,
                share_percent,
                trial_percent: 100.0 * f64::from(red_trials) / trials.max(1.0),
                suite_percent: 100.0 * f64::from(red_suites) / f64::from(suites.max(1)),
            });
            if delay_ms == 0.0 {
                break;
            }
        }
    }
    found
}

/// So many rounds, each drawn from the pool; some with a delay on every route.
fn drawn(
    pool: &[&Vec<f64>],
    count: usize,
    (delay_ms, percent): (f64, u32),
    random: &mut StdRng,
) -> Vec<Vec<f64>> {
    let draw = |_| {
        let row = pool[random.random_range(0..pool.len())];
        let delayed = random.random_range(0..100) < percent;
        let more = if delayed { delay_ms } else { 0.0 };
        row.iter().map(|ms| ms + more).collect()
    };
    (0..count).map(draw).collect()
}

#[cfg(test)]
mod tests {
    use etcd_history::check::GapBudget;
    use etcd_history::record::Route;

    use super::*;

    #[test]
    fn a_shift_of_all_and_a_single_late_round_are_found_and_a_healthy_suite_is_green() {
        let budget = GapBudget {
            route: Route::ServiceFresh,
            median_ms: Some(150.0),
            limit_ms: 1000.0,
            over_dial_all: false,
        };
        let rounds = [90.0, 100.0, 100.0, 110.0, 120.0].map(|ms| vec![ms]);
        let run = GapSamples::new(vec![budget], rounds.to_vec());
        let found = power(&vec![run; 10], 100, 1);
        let of = |delay_ms, share| {
            let line = found.iter().find(|found| {
                found.delay_ms == delay_ms && (share == 0 || found.share_percent == share)
            });
            line.expect("a line").suite_percent
        };
        assert_eq!(of(0.0, 0), 0.0);
        assert_eq!(of(100.0, 100), 100.0);
        assert!(of(2000.0, 10) > 95.0);
        assert!(of(100.0, 10) < 50.0);
    }
}
