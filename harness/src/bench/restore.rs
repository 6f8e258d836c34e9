//! What a loss of everything costs: how far back lost writes reach, and how long a restore takes beside bare etcdutl.

use serde::Serialize;

use super::statistics::Summary;
use super::table::table;

/// One restore, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Restored {
    /// From the request until the first member answers a linearizable read.
    pub serves_s: f64,
    /// Until all members are there and the Cluster says that it runs.
    pub whole_s: f64,
    /// `etcdutl snapshot restore` of the same object, from the same volume, in a pod that is there.
    pub bare_s: f64,
}

/// All of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct RestoreReport {
    /// Members.
    pub members: u32,
    /// Bytes of the snapshot.
    pub bytes: u64,
    /// Seconds until the backup was there and verified.
    pub backup_s: f64,
    /// Age of the first acknowledged write that was not archived, at moments of a load, in milliseconds; 0 where all
    /// were.
    pub lost_ms: Option<Summary>,
    /// Acknowledged writes a second meanwhile.
    pub writes_s: f64,
    /// The restores.
    pub restores: Vec<Restored>,
}

impl RestoreReport {
    /// The table.
    pub(crate) fn text(&self) -> String {
        let mebibytes = self.bytes as f64 / f64::from(1 << 20);
        let mut text = format!(
            "{} members, a snapshot of {mebibytes:.0} MiB: backed up and verified in {:.0} s.\n\n",
            self.members, self.backup_s
        );
        let row = |name: &str, summary: Option<Summary>, places: usize| {
            let summary = summary?;
            let figures = [summary.median, summary.p95, summary.max];
            let cells = figures.iter().map(|figure| format!("{figure:.places$}"));
            let first = [name.to_owned(), summary.count.to_string()];
            Some(first.into_iter().chain(cells).collect::<Vec<_>>())
        };
        let of = |pick: fn(&Restored) -> f64| Summary::of(self.restores.iter().map(pick));
        let lost = format!(
            "age of what would be lost, at {:.0} writes a second: ms",
            self.writes_s
        );
        let rows: Vec<Vec<String>> = [
            row(&lost, self.lost_ms, 0),
            row(
                "restore until a member serves: s",
                of(|one| one.serves_s),
                1,
            ),
            row("restore until all members run: s", of(|one| one.whole_s), 1),
            row("bare etcdutl snapshot restore: s", of(|one| one.bare_s), 1),
        ]
        .into_iter()
        .flatten()
        .collect();
        text.push_str(&table(&["", "samples", "median", "p95", "max"], &rows));
        text
    }
}

/// How far back the writes reach that would be lost at `now`, when the archive has all through a revision: of writes by
/// the time of their acknowledgement (in milliseconds) and their revision, in order.
pub(crate) fn lost(writes: &[(f64, i64)], through: i64, now: f64) -> f64 {
    let mut missing = writes
        .iter()
        .filter(|(at, revision)| *at <= now && *revision > through);
    missing.next().map_or(0.0, |(at, _)| now - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_and_not_archived_is_lost() {
        let writes = [(10.0, 5), (20.0, 6), (30.0, 7)];
        assert_eq!(lost(&writes, 7, 40.0), 0.0);
        assert_eq!(lost(&writes, 5, 40.0), 20.0);
        assert_eq!(lost(&writes, 5, 15.0), 0.0, "it was not acknowledged yet");
    }

    #[test]
    fn a_table_has_a_line_for_what_was_measured() {
        let restored = Restored {
            serves_s: 20.0,
            whole_s: 35.5,
            bare_s: 7.0,
        };
        let report = RestoreReport {
            members: 3,
            bytes: 1 << 30,
            backup_s: 60.0,
            lost_ms: Summary::of([100.0, 300.0]),
            writes_s: 40.0,
            restores: vec![restored],
        };
        let text = report.text();
        assert!(text.contains("1024 MiB") && text.contains("35.5"), "{text}");
        assert!(text.contains("200"), "{text}");
    }
}
