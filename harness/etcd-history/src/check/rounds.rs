//! Rounds of a run: a scenario does the same several times over, and each time gives one sample.
//!
//! Faults that are on at the same time are one round. It lasts until the next one begins: what comes late, after the
//! heal, is its doing too.

use super::gaps::Window;
use crate::index::Index;
use crate::record::Nanos;

/// The phase in which traffic has stopped and the last reads are made.
const LAST_PHASE: &str = "final";

/// False for a recording that was cut off: it has phases, and not the last one.
pub(crate) fn came_to_its_end(index: &Index<'_>) -> bool {
    index.phases.is_empty() || index.phase(LAST_PHASE).is_some()
}

/// Faults that were on together, and the time until the next ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// Counted from 0.
    pub(crate) number: usize,
    pub(crate) window: Window,
    /// Their numbers.
    pub(crate) faults: Vec<u32>,
}

/// All rounds, in order.
pub(crate) fn rounds(index: &Index<'_>) -> Vec<Round> {
    let traffic_ends = index.phase(LAST_PHASE).unwrap_or(index.end);
    let mut faults: Vec<_> = index.faults.iter().collect();
    faults.sort_by_key(|fault| fault.from);
    let mut rounds: Vec<Round> = Vec::new();
    let mut on_until: Nanos = Nanos::MIN;
    for fault in faults {
        let healed = fault.healed.unwrap_or(index.end);
        match rounds.last_mut() {
            Some(round) if fault.from <= on_until => round.faults.push(fault.fault),
            before => {
                if let Some(round) = before {
                    round.window.to = fault.from;
                }
                rounds.push(Round {
                    number: rounds.len(),
                    window: Window {
                        from: fault.from,
                        to: traffic_ends.max(fault.from),
                    },
                    faults: vec![fault.fault],
                });
            }
        }
        on_until = on_until.max(healed);
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::test_support::{Story, ms};

    #[test]
    fn faults_that_overlap_are_one_round_and_it_lasts_until_the_next() {
        let story = Story::new()
            .fault_at(0, 100, 400)
            .fault_at(1, 200, 400)
            .fault_at(2, 600, 700)
            .phase(900, "final")
            .phase(1_000, "end");
        let history = story.history();
        let rounds = rounds(&Index::new(&history));
        let told: Vec<_> = rounds
            .iter()
            .map(|round| (round.faults.clone(), round.window.from, round.window.to))
            .collect();
        assert_eq!(
            told,
            [(vec![0, 1], ms(100), ms(600)), (vec![2], ms(600), ms(900))]
        );
    }
}
