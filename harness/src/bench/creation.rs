//! Creations as a distribution, beside StatefulSets of as many bare etcd pods that were created in turn with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::stages::{Stage, Stages};
use super::statistics::Summary;
use super::table::table;

/// Most seconds that the median creation may take: the design's figures, for volumes that are there already.
const AIMS: [(u32, f64); 2] = [(3, 6.0), (5, 9.0)];
/// How many times as long as bare pods it may take.
const TIMES: f64 = 1.4;

/// All creations of a measurement, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CreationReport {
    /// Members.
    pub members: u32,
    /// Where the data is, in words.
    pub storage: String,
    /// Each: the Cluster's, and that of the bare pods after it.
    pub creations: Vec<[f64; 2]>,
    /// Of the Clusters: all members ready and labelled, the leader service leading to the leader, the phase Running.
    pub cluster: Option<Summary>,
    /// Of the StatefulSets: all pods ready.
    pub bare: Option<Summary>,
    /// Of the differences of each pair.
    pub over_bare: Option<Summary>,
    /// When all pods had come so far, in seconds: of the Clusters, and of the StatefulSets.
    pub stages: BTreeMap<Stage, [Option<Summary>; 2]>,
}

impl CreationReport {
    /// Of pairs: a Cluster's creation and that of bare pods, in seconds.
    pub(crate) fn of(
        members: u32,
        storage: &str,
        creations: Vec<[f64; 2]>,
        stages: &[[Stages; 2]],
    ) -> Self {
        let stage = |stage: Stage| {
            let of = |which: usize| {
                Summary::of(
                    stages
                        .iter()
                        .filter_map(|both| both[which].get(&stage).copied()),
                )
            };
            (stage, [of(0), of(1)])
        };
        Self {
            stages: Stage::ALL.map(stage).into(),
            members,
            storage: storage.to_owned(),
            cluster: Summary::of(creations.iter().map(|[cluster, _]| *cluster)),
            bare: Summary::of(creations.iter().map(|[_, bare]| *bare)),
            over_bare: Summary::of(creations.iter().map(|[cluster, bare]| cluster - bare)),
            creations,
        }
    }

    /// What the design asks for in this case.
    pub(crate) fn aim_s(&self) -> Option<f64> {
        let aim = AIMS.iter().find(|(members, _)| *members == self.members);
        aim.map(|(_, seconds)| *seconds)
    }

    /// How many times as long as the bare pods, by the medians.
    pub(crate) fn times(&self) -> Option<f64> {
        Some(self.cluster.as_ref()?.median / self.bare.as_ref()?.median)
    }

    /// The table.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} members on {}, {} creations. Seconds from the request to the whole:\n\n",
            self.members,
            self.storage,
            self.creations.len()
        );
        let row = |name: &str, summary: &Option<Summary>| {
            let summary = summary.as_ref()?;
            let figures = [summary.median, summary.p95, summary.max];
            let cells = figures.iter().map(|figure| format!("{figure:.1}"));
            Some([name.to_owned()].into_iter().chain(cells).collect())
        };
        let rows: Vec<Vec<String>> = [
            row("Cluster: ready, labelled, served, Running", &self.cluster),
            row("StatefulSet of bare etcd: ready", &self.bare),
            row("Cluster over StatefulSet", &self.over_bare),
        ]
        .into_iter()
        .flatten()
        .collect();
        text.push_str(&table(&["", "median", "p95", "max"], &rows));
        let cell = |summary: &Option<Summary>| {
            summary.map_or_else(String::new, |summary| format!("{:.1}", summary.median))
        };
        let seen = self
            .stages
            .iter()
            .filter(|(_, both)| both.iter().any(Option::is_some));
        let rows: Vec<Vec<String>> = seen
            .map(|(stage, [cluster, bare])| {
                vec![stage.words().to_owned(), cell(cluster), cell(bare)]
            })
            .collect();
        if !rows.is_empty() {
            text.push_str("\nSeconds after the request at which this held of all, medians:\n\n");
            text.push_str(&table(&["", "Cluster", "StatefulSet"], &rows));
        }
        if let Some(times) = self.times() {
            let _ = writeln!(
                text,
                "\nThe Cluster takes {times:.2} times as long as the StatefulSet; the design reaches for {TIMES} at most."
            );
        }
        if let Some(aim) = self.aim_s() {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "\nThe design reaches for {aim:.0} s, with images and volumes present."
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_compared_one_by_one() {
        let pairs = vec![[5.5, 4.0], [6.0, 5.5], [5.0, 3.0]];
        let stages = |ready| Stages::from([(Stage::Created, 0.5), (Stage::Ready, ready)]);
        let both = [[stages(5.0), stages(4.0)], [stages(4.0), stages(3.0)]];
        let report = CreationReport::of(3, "volumes", pairs, &both);
        assert_eq!(report.cluster.unwrap().median, 5.5);
        assert_eq!(report.bare.unwrap().median, 4.0);
        assert_eq!(report.over_bare.unwrap().median, 1.5);
        let text = report.text();
        assert!(text.contains("Cluster over StatefulSet"), "{text}");
        assert!(text.contains("reaches for 6 s"), "{text}");
        assert!(text.contains("takes 1.38 times as long"), "{text}");
        let ready = text.lines().find(|line| line.contains("pods ready"));
        assert!(
            ready.is_some_and(|line| line.contains("4.5") && line.contains("3.5")),
            "{text}"
        );
    }

    #[test]
    fn nothing_measured_is_an_empty_table() {
        let report = CreationReport::of(7, "volumes", vec![], &[]);
        assert_eq!((report.cluster, report.aim_s()), (None, None));
        assert!(!report.text().contains("Cluster:"));
    }
}
