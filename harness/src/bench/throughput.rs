//! How many writes a second clusters take that differ in one thing, measured in turn on the same machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::statistics::Summary;
use super::table::table;

/// How much of the first cluster's rate another one may lose.
const LOSS: f64 = 0.10;

/// One turn of one cluster, as its client tells it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// Acknowledged writes a second.
    pub writes_s: f64,
    /// Half of the writes were acknowledged within so many milliseconds.
    pub median_ms: f64,
    /// 99 of 100 were.
    pub p99_ms: f64,
    /// Clients that a write failed for; they end with it.
    pub failed: u64,
}

/// All turns of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ThroughputReport {
    /// Members of each cluster.
    pub members: u32,
    /// Clients, each with a connection of its own.
    pub clients: u32,
    /// Bytes of a value.
    pub bytes: u32,
    /// Seconds of a turn.
    pub seconds: u64,
    /// The clusters by their difference, the first of them what the others are held against; each with its turns.
    pub clusters: Vec<(String, Vec<Turn>)>,
}

impl ThroughputReport {
    /// The share of the first cluster's rate that another one has, turn by turn: their medians. Turns in which a client
    /// failed, in either of the two, are left out: it wrote nothing from then on.
    fn shares(&self) -> BTreeMap<&str, f64> {
        let Some(((_, first), others)) = self.clusters.split_first() else {
            return BTreeMap::new();
        };
        let share = |(name, turns): &'_ (String, Vec<Turn>)| {
            let pairs = turns.iter().zip(first);
            let whole = |turn: &Turn| turn.failed == 0;
            let pairs = pairs.filter(|(turn, first)| whole(turn) && whole(first));
            let pairs = pairs.filter(|(_, first)| first.writes_s > 0.0);
            let shares = pairs.map(|(turn, first)| turn.writes_s / first.writes_s);
            Summary::of(shares).map(|summary| (name.clone(), summary.median))
        };
        let names = others.iter().map(|(name, _)| name.as_str());
        let found: BTreeMap<String, f64> = others.iter().filter_map(share).collect();
        names
            .filter_map(|name| Some((name, *found.get(name)?)))
            .collect()
    }

    /// Turns in which a client failed.
    pub(crate) fn broken(&self) -> usize {
        let turns = self.clusters.iter().flat_map(|(_, turns)| turns);
        turns.filter(|turn| turn.failed > 0).count()
    }

    /// Those that lose more than they may, in words; `None` when nothing can be compared.
    pub(crate) fn lacking(&self) -> Option<Vec<String>> {
        let shares = self.shares();
        let least = 1.0 - LOSS;
        let lacking = shares.iter().filter(|(_, share)| **share < least);
        let words = lacking.map(|(name, share)| {
            format!(
                "{name}: {:.0} % of the first cluster's writes, at least {:.0} % are wanted",
                share * 100.0,
                least * 100.0
            )
        });
        (!shares.is_empty()).then(|| words.collect())
    }

    /// The table.
    pub(crate) fn text(&self) -> String {
        let shares = self.shares();
        let rows = self.clusters.iter().map(|(name, turns)| {
            let median = |pick: fn(&Turn) -> f64, places: usize| {
                let summary = Summary::of(turns.iter().map(pick));
                summary.map_or_else(|| "-".to_owned(), |s| format!("{:.places$}", s.median))
            };
            let share = shares.get(name.as_str());
            let failed: u64 = turns.iter().map(|turn| turn.failed).sum();
            vec![
                name.clone(),
                turns.len().to_string(),
                median(|turn| turn.writes_s, 0),
                share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
                median(|turn| turn.median_ms, 1),
                median(|turn| turn.p99_ms, 1),
                failed.to_string(),
            ]
        });
        let rows: Vec<Vec<String>> = rows.collect();
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{} members, {} clients through the leader service, values of {} bytes, turns of {} s:\n",
            self.members, self.clients, self.bytes, self.seconds
        );
        let head = [
            "",
            "turns",
            "writes/s",
            "share",
            "median ms",
            "p99 ms",
            "failed",
        ];
        text.push_str(&table(&head, &rows));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(clusters: &[(&str, &[f64])]) -> ThroughputReport {
        let turn = |writes_s: &f64| Turn {
            writes_s: *writes_s,
            median_ms: 4.0,
            p99_ms: 9.0,
            failed: 0,
        };
        let clusters = clusters.iter();
        ThroughputReport {
            members: 3,
            clients: 8,
            bytes: 256,
            seconds: 10,
            clusters: clusters
                .map(|(name, turns)| ((*name).to_owned(), turns.iter().map(turn).collect()))
                .collect(),
        }
    }

    #[test]
    fn a_cluster_is_compared_with_the_first_turn_by_turn() {
        // The machine was slow in the second turn: both were.
        let even = report(&[
            ("open", &[1000.0, 500.0, 1000.0]),
            ("TLS", &[950.0, 460.0, 940.0]),
        ]);
        assert_eq!(even.lacking(), Some(vec![]));
        assert!(even.text().contains("94 %"), "{}", even.text());
        let slow = report(&[("open", &[1000.0, 500.0]), ("TLS", &[800.0, 400.0])]);
        let lacking = slow.lacking().expect("compared");
        assert!(lacking[0].contains("TLS: 80 %"), "{lacking:?}");
    }

    #[test]
    fn nothing_is_compared_without_a_second_cluster_or_a_turn() {
        assert_eq!(report(&[("open", &[1000.0])]).lacking(), None);
        assert_eq!(report(&[("open", &[1000.0]), ("TLS", &[])]).lacking(), None);
    }
}
