//! A handful of samples in few numbers, honest about how few they are.

use etcd_history::record::Nanos;
use serde::Serialize;

/// Samples in few numbers, in the unit of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Samples.
    pub count: usize,
    /// Half of the samples are at or below it.
    pub median: f64,
    /// 95 of 100 samples are at or below it (nearest rank: with fewer than 20 samples the largest).
    pub p95: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Of samples in any order; absent when there is none.
    pub(crate) fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let max = *sorted.last()?;
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        let rank = (sorted.len() * 95).div_ceil(100);
        Some(Self {
            count: sorted.len(),
            median,
            p95: sorted[rank - 1],
            max,
        })
    }
}

/// A time in milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "a run lasts minutes: microseconds are exact"
)]
pub(crate) fn milliseconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e6
}

/// With how much probability at most the next sample is above all those seen, with 95 % confidence: `1 - 0.05^(1/n)`.
/// Twenty good failovers still allow for one bad one in seven.
pub(crate) fn above_all_seen(samples: usize) -> f64 {
    match u32::try_from(samples) {
        Ok(0) | Err(_) => 1.0,
        Ok(samples) => 1.0 - 0.05_f64.powf(1.0 / f64::from(samples)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let summary = Summary::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(
            summary,
            Summary {
                count: 4,
                median: 2.5,
                p95: 4.0,
                max: 4.0
            }
        );
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn one_bad_sample_of_twenty_is_the_largest_and_not_the_95th() {
        let samples = (0..20).map(|n| if n == 7 { 900.0 } else { f64::from(n) });
        let summary = Summary::of(samples).unwrap();
        assert_eq!((summary.p95, summary.max), (19.0, 900.0));
    }

    #[test]
    fn twenty_samples_bound_the_rest_by_fourteen_percent() {
        assert!((above_all_seen(20) - 0.139).abs() < 0.001);
        assert!((above_all_seen(0) - 1.0).abs() < f64::EPSILON);
    }
}
